/* dicore/engine.h: the second driver: threads over epoll that take C-STORE and C-ECHO from plain TCP sockets into the store.
 *
 * The engine owns listening sockets that somebody else has bound. Its first thread accepts and deals the connections out;
 * each association then belongs to one thread. It negotiates by the policy in the options, gathers data sets where they
 * landed, appends them to the store, and answers: relaxed at once, durable when the store's commit loop has said so, and
 * never before. A data set beyond `stream_from` goes through a lane, written by helper threads. Without a store data sets
 * are checked against a checksum's worth of work and dropped: a sink to measure with.
 *
 * Everything else is for the owner, who waits for `dicore_engine_descriptor` to become readable and calls
 * `dicore_engine_next` until it has nothing more: connections handed over (their A-ASSOCIATE-RQ proposes a SOP class of
 * `foreign`), the end of associations, failures to store. Limits: every one has a counter, and what is refused is told so in
 * the protocol.
 *
 * The allocator is called by all threads at once. Times are milliseconds of CLOCK_MONOTONIC. */
#ifndef DICORE_ENGINE_H
#define DICORE_ENGINE_H

#include "dicore/capture.h"
#include "dicore/net.h"
#include "dicore/phases.h"
#include "dicore/store.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A range of addresses. An IPv4 address, also one mapped into IPv6, has family 4 and its 4 bytes first. */
typedef struct dicore_network {
    uint8_t family;              /* 4 or 6 */
    uint8_t bits;                /* of `address` that count: up to 32 or 128 */
    uint8_t address[16];
} dicore_network;

/** Lists: `items` NULL is "any" ; spans and arrays are copied. */
typedef struct dicore_names {
    const dicore_span *items;
    size_t count;
} dicore_names;

typedef struct dicore_engine_options {
    dicore_allocator allocator;
    dicore_association_options association;
    dicore_store *store;               /* stays the caller's, must outlive the engine; NULL: data sets are dropped */
    unsigned threads;                  /* 1 to 64 */
    uint32_t window;                   /* operations that a peer may have under way, when it proposes that (PS3.7 D.3.3.3) */
    uint64_t associations;             /* in all */
    uint64_t associations_per_peer;    /* by address, and a few more connections without one; the loopback has no such limit */
    uint64_t dataset;                  /* bytes of a data set */
    uint64_t stream_from;              /* bytes from which one goes through a lane */
    uint64_t in_flight;                /* bytes of buffers held for data sets that are not done */
    uint64_t in_flight_per_peer;
    uint32_t turn;                     /* bytes that one association is read before the others have their turn */
    uint64_t interval;                 /* resolution of the timers, in ms */
    bool report_ends;                  /* DICORE_ENGINE_ENDED is wanted */
    dicore_names called_ae, calling_ae;
    dicore_names sop_classes, transfer_syntaxes; /* that are accepted; Verification always is */
    dicore_names foreign;              /* SOP classes that hand the connection over; NULL: none */
    const dicore_network *networks;    /* that may associate; NULL: any */
    size_t network_count;
    dicore_span implementation_uid, implementation_version;
    void (*lane_stored)(void *context, uint64_t segment); /* NULL allowed: an instance has become that segment. Called by a
                                          helper thread before the success is answered */
    void *context;
    dicore_capture *capture;           /* NULL allowed: where all that is said is shown. Outlives the threads */
} dicore_engine_options;

/** The defaults of docs (DESIGN 5); allocator, store and implementation UID are the caller's to set. */
DICORE_API void dicore_engine_defaults(dicore_engine_options *options);

typedef struct dicore_engine dicore_engine;

/** Start the threads over listening, non-blocking sockets, which stay the caller's (TCP_NODELAY is set on what they accept).
 *  @return DICORE_OK, DICORE_BAD_ARGUMENT, DICORE_NO_MEMORY, DICORE_IO (`error->system`). */
DICORE_API dicore_status dicore_engine_start(const dicore_engine_options *options, const int *sockets, size_t count,
                                             dicore_engine **out, dicore_error *error);

/** No new associations or messages: what is under way is finished and answered, what is idle is aborted. Once no connection is
 *  left DICORE_ENGINE_EMPTY is reported. The sockets are not used any more when this returns; returns soon. */
DICORE_API void dicore_engine_drain(dicore_engine *engine);

/** Abort what is left, wait for the store to answer for what it has, end the threads. Blocks; the store's commit loop must still
 *  run. Afterwards only events, counters and dicore_engine_free are left. */
DICORE_API void dicore_engine_stop(dicore_engine *engine);

/** Stop, if that was not done, and free everything. NULL is allowed. */
DICORE_API void dicore_engine_free(dicore_engine *engine);

typedef enum dicore_engine_kind {
    DICORE_ENGINE_NOTHING = 0,
    DICORE_ENGINE_HANDOVER = 1,   /* .socket is the caller's now, .data are the bytes read from it so far (the whole RQ): give
                                     them back by dicore_engine_release. It counts against the limits of associations until
                                     dicore_engine_gone(.host), which must be called before dicore_engine_free */
    DICORE_ENGINE_ENDED = 2,      /* a connection has gone: .why and what was done on it */
    DICORE_ENGINE_FAILED = 3,     /* an instance (.text its UID) was not stored: .status and .system. Answered A700 */
    DICORE_ENGINE_STORED = 4,     /* something was stored since the last one; not more often than every 50 ms */
    DICORE_ENGINE_EMPTY = 5       /* draining, and the last connection has gone */
} dicore_engine_kind;

typedef enum dicore_engine_why {
    DICORE_WHY_RELEASED = 0,
    DICORE_WHY_ABORTED_BY_PEER = 1,     /* .source .reason */
    DICORE_WHY_VIOLATION = 2,           /* .status .reason .offset */
    DICORE_WHY_CLOSED = 3,              /* without release */
    DICORE_WHY_CLOSED_EARLY = 4,        /* before an association */
    DICORE_WHY_LOST = 5,                /* .system */
    DICORE_WHY_TIMEOUT = 6,             /* .reason: dicore_timeout */
    DICORE_WHY_DRAINED = 7,
    DICORE_WHY_OVERLOAD = 8,            /* too many connections even to say so */
    DICORE_WHY_UNREAD = 9,              /* its answers are not read */
    DICORE_WHY_DATASET_LIMIT = 10,
    DICORE_WHY_RESPONSE = 11,           /* a response to nothing */
    DICORE_WHY_NO_MEMORY = 12,
    DICORE_WHY_REJECTED_DRAINING = 20,  /* from here on: A-ASSOCIATE-RJ */
    DICORE_WHY_REJECTED_FULL = 21,
    DICORE_WHY_REJECTED_PEER_FULL = 22,
    DICORE_WHY_REJECTED_CONTEXT = 23,   /* application context */
    DICORE_WHY_REJECTED_CALLED = 24,
    DICORE_WHY_REJECTED_CALLING = 25,
    DICORE_WHY_REJECTED_ADDRESS = 26
} dicore_engine_why;

typedef struct dicore_engine_event {
    dicore_engine_kind kind;
    dicore_engine_why why;
    int socket;
    uint8_t family, source, reason;    /* family: 4 or 6 */
    uint8_t address[16];               /* of the peer */
    uint16_t port;
    dicore_status status;
    int system;
    uint64_t offset;
    uint64_t started;                  /* ms */
    uint64_t accepted;                 /* ns of dicore_now_ns */
    uint64_t stores, stored_bytes, echoes;
    uint32_t contexts;                 /* that were accepted */
    dicore_time_summary phases[DICORE_PHASES]; /* of its C-STOREs; of the first two there is one each */
    char calling_ae[17], called_ae[17];
    char text[65];
    uint8_t *data;
    size_t size;
    dicore_capture_stream *stream;     /* of a HANDOVER: the caller's, to go on with and to end; it has `data`. NULL: no capture */
    void *host;                        /* HANDOVER: for dicore_engine_gone */
} dicore_engine_event;

/** Becomes readable when there are events; the engine's. */
DICORE_API int dicore_engine_descriptor(const dicore_engine *engine);

/** The next event. For one thread. @return false: there is none, and the descriptor was reset. */
DICORE_API bool dicore_engine_next(dicore_engine *engine, dicore_engine_event *event);

/** A connection that was handed over has ended. From any thread; once for each. */
DICORE_API void dicore_engine_gone(dicore_engine *engine, void *host);

/** `bytes` more (or fewer) are held in flight by the owner, for connections that were handed over: one budget for both. From
 *  any thread. @return what is in flight now, of both. */
DICORE_API uint64_t dicore_engine_hold(dicore_engine *engine, int64_t bytes);

/** Give back what a HANDOVER brought (not the socket). */
DICORE_API void dicore_engine_release(dicore_engine *engine, dicore_engine_event *event);

typedef enum dicore_engine_counter {
    DICORE_COUNT_CONNECTIONS, DICORE_COUNT_ASSOCIATIONS, DICORE_COUNT_RELEASED, DICORE_COUNT_ABORTED_BY_PEER,
    DICORE_COUNT_ABORTED, DICORE_COUNT_CLOSED, DICORE_COUNT_REJECTED, DICORE_COUNT_VIOLATIONS,
    DICORE_COUNT_LIMIT_ASSOCIATIONS, DICORE_COUNT_LIMIT_PER_PEER, DICORE_COUNT_LIMIT_IN_FLIGHT, DICORE_COUNT_LIMIT_DATASET,
    DICORE_COUNT_TIMEOUT_ARTIM, DICORE_COUNT_TIMEOUT_NETWORK, DICORE_COUNT_TIMEOUT_DIMSE, DICORE_COUNT_TIMEOUT_IDLE,
    DICORE_COUNT_UNSUPPORTED, DICORE_COUNT_ECHOES, DICORE_COUNT_STORES, DICORE_COUNT_STORES_FAILED, DICORE_COUNT_STREAMED,
    DICORE_COUNT_BYTES, DICORE_COUNT_HANDED_OVER, DICORE_COUNT_EVENTS_LOST, DICORE_COUNT_LIMIT_PDU,
    DICORE_COUNT_LIMIT_NEGOTIATION, DICORE_COUNT_LIMIT_COMMAND, DICORE_COUNT_LIMIT_IN_FLIGHT_PER_PEER, DICORE_COUNT_LIMIT_UNREAD,
    DICORE_COUNT_OPEN,                 /* connections now */
    DICORE_COUNT_IN_FLIGHT,            /* bytes now */
    DICORE_COUNTERS
} dicore_engine_counter;

/** Other callers from now on, as the options of these names have it. What is open stays open. From any thread.
 *  @return DICORE_OK, DICORE_BAD_ARGUMENT, DICORE_NO_MEMORY: the rules stay as they were. */
DICORE_API dicore_status dicore_engine_admit(dicore_engine *engine, dicore_names calling_ae, const dicore_network *networks,
                                             size_t network_count);

/** The times of all messages, from any thread. */
DICORE_API void dicore_engine_times(dicore_engine *engine, dicore_times out[DICORE_PHASES]);

/** All counters, from any thread. */
DICORE_API void dicore_engine_count(dicore_engine *engine, uint64_t out[DICORE_COUNTERS]);

#ifdef __cplusplus
}
#endif
#endif
