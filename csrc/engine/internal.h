/* What the files of the engine share. engine.c: threads, sockets, timers; peer.c: one connection; lane.c: helper threads. */
#ifndef DICORE_ENGINE_INTERNAL_H
#define DICORE_ENGINE_INTERNAL_H

#include <pthread.h>
#include <string.h>

#include "dicore/dataset.h"
#include "engine/ring.h"

enum {
    LANDING = 512 * 1024, /* of a landing buffer: what one read may bring */
    ROOM = 128 * 1024,    /* a landing buffer with less room left is not read into again */
    TAKE = 32 * 1024,     /* less than this of an unfinished data set is copied out of a landing buffer */
    JOIN = 512,           /* a fragment up to this size is moved to the one before it */
    KEPT = 64,            /* landing buffers of a thread that stay when nobody needs them */
    KEPT_TOKENS = 256,
    MESSAGE_COST = 4096,  /* what an unanswered message counts in flight beside its bytes */
    OVERFLOW = 256,       /* connections beyond the limit that are still told so by an A-ASSOCIATE-RJ */
    OVERFLOW_PEER = 32,   /* the same, of one address */
    SLOTS = 512,          /* of the timer wheel */
    EVENTS = 128,         /* of one epoll_wait */
    ACCEPTS = 256,        /* of one turn */
    HELPERS = 2,          /* threads that write lanes */
    HOSTS = 256           /* chains of the table of addresses */
};

typedef struct thread thread;
typedef struct peer peer;

/** What all connections from one address share. */
typedef struct host {
    struct host *next;
    uint8_t family, address[16];
    bool local;
    atomic_size_t connections;          /* changed under engine->hosts_lock */
    atomic_uint_least64_t admitted, in_flight;
} host;

/** Memory that bytes of a peer land in; the bytes follow. */
typedef struct landing {
    struct landing *next;
    size_t capacity;
    size_t used;                        /* what lies before belongs to messages */
    unsigned holders;
    host *host;                         /* who is charged for it */
    uint8_t data[];
} landing;

typedef struct fragment {
    uint32_t buffer;                    /* index into the peer's buffers; one past the last: the buffer being read */
    uint32_t offset, length;
} fragment;

/** Something for a thread, from another one. */
typedef struct item {
    struct item *next;
    enum item_kind { ITEM_CONNECTION, ITEM_ANSWER, ITEM_LANE } kind;
} item;

typedef struct connection {
    item item;
    int fd;
    uint8_t family, address[16];
    uint16_t port;
} connection;

/** One C-STORE: from its command until its answer. */
typedef struct token {
    item item;
    peer *peer;
    uint64_t size;                      /* of the data set */
    dicore_status status;               /* what the commit loop said */
    int system;
    uint64_t commanded, first, last, settled; /* ns: see dicore/phases.h */
    uint16_t message_id;
    uint8_t context_id, class_size, instance_size;
    uint8_t sop_class[64], sop_instance[64];
} token;

/** A data set on its way into a lane. One job at a time: its pieces are written, then it is committed if that is wanted. */
typedef struct stream {
    item item;
    struct stream *next_job;
    peer *peer;
    token *token;
    dicore_lane lane;
    bool begun, commit, dead;           /* dead: the peer has gone, abort when the job is done */
    dicore_status status;
    dicore_error error;
    dicore_outcome outcome;
    landing **buffers;                  /* under the pieces */
    size_t buffer_count, buffer_capacity;
    dicore_span *pieces;
    size_t piece_count, piece_capacity;
    uint8_t source_size, syntax_size;
    uint8_t source_ae[16], transfer_syntax[64];
} stream;

typedef enum gathering {
    GATHER_NONE,                        /* between data sets */
    GATHER_STORE,                       /* a data set is gathered */
    GATHER_STREAM,                      /* a data set goes to a lane */
    GATHER_REFUSED                      /* a data set is dropped; peer->token is answered with `refusal`, if there is one */
} gathering;

/** An accepted presentation context; its texts stand behind the array. */
typedef struct agreed {
    uint8_t id, class_size, syntax_size;
    uint16_t class_at, syntax_at;
} agreed;

struct peer {
    thread *thread;
    host *host;
    dicore_association *core;
    peer *next, *previous;              /* of the thread's connections */
    peer *later, **earlier;             /* of a slot of the wheel; `earlier` NULL: in none */
    peer *waiting;                      /* next of those that are not read because of the limits in flight */
    peer *dirty;                        /* next of those that have something to send */
    peer *dead;                         /* next of those to be freed */
    int fd;                             /* -1: gone */
    uint16_t port;
    uint16_t refusal;
    uint32_t interest;                  /* what epoll was told */
    uint64_t due;                       /* of its slot */
    gathering kind;
    bool admitted, ended, negotiated, is_waiting, is_dirty, resumed, blocked;
    uint8_t why, why_source, why_reason;
    bool why_set;
    dicore_status why_status;
    int why_system;
    uint64_t why_offset, started, closing_since;
    agreed *contexts;
    size_t context_count, context_bytes;
    token *token;                       /* of the data set that is coming */
    stream *stream;
    bool job;                           /* the stream is with a helper: nothing is taken meanwhile */
    landing *rest;                      /* bytes that were read but not taken: rest->data[rest_at, rest_end) */
    size_t rest_at, rest_end;
    size_t unanswered;                  /* tokens elsewhere */
    uint64_t message_size, gathered;
    landing **buffers;
    size_t buffer_count, buffer_capacity;
    landing *own, *tail;
    fragment *fragments;
    size_t fragment_count, fragment_capacity;
    uint8_t *raw;                       /* before negotiation, when connections may be handed over */
    size_t raw_size, raw_capacity;
    uint64_t stores, stored_bytes, echoes;
    uint64_t accepted, asked, echoed;   /* ns; of the A-ASSOCIATE-RQ and C-ECHO that are not answered, else 0 */
    uint64_t commanded, first_byte;     /* of the data set that is coming */
    token *settled;                     /* what has a response that is not with the kernel yet, the newest first */
    uint64_t accept_time, negotiate_time;
    uint64_t single[4];                 /* the phases of the first message: most associations have only one */
    uint64_t timed;                     /* messages */
    dicore_times *times;                /* the phases of all, from the second message on */
    dicore_capture_stream *shown;       /* NULL: nobody captures */
    dicore_capture_how how;             /* the connection has ended, for the capture */
    char calling_ae[17], called_ae[17];
};

struct thread {
    dicore_engine *engine;
    pthread_t id;
    bool started;
    unsigned number;
    int epoll, wake;                    /* wake: an eventfd */
    _Atomic(item *) inbox;              /* pushed by anybody, the newest first */
    uint64_t now;
    peer *peers;                        /* connections */
    peer *wheel[SLOTS];
    uint64_t wheel_at;                  /* the next slot to look at, in intervals */
    size_t timed;                       /* peers in the wheel */
    peer *waiting, *dirty, *dead;
    size_t living;                      /* peers that are not freed yet */
    landing *spare, *current;
    size_t spare_count;
    token *tokens;
    size_t token_count;
    dicore_span *spans;                 /* scratch */
    size_t span_capacity;
    bool draining_seen, accepting, accept_paused, stopping_seen;
    bool stored;                        /* since the last DICORE_ENGINE_STORED */
    uint64_t stored_said;
    uint64_t read_at;                   /* ns of the last read */
    dicore_times times[DICORE_PHASES];
    atomic_uint_least64_t counters[DICORE_COUNTERS];
};

typedef struct name {
    uint16_t size;
    uint8_t text[64];
} name;

typedef struct name_set {
    name *items;
    size_t count;
    bool any;
} name_set;

struct dicore_engine {
    dicore_engine_options options;
    ring events;
    thread *threads;
    unsigned thread_count, deal;        /* deal: of the first thread alone */
    int *sockets;
    size_t socket_count;
    atomic_bool draining, stopping;
    atomic_size_t accepting;            /* the first thread still uses the sockets */
    pthread_mutex_t drain_lock;
    pthread_cond_t drained;
    atomic_uint_least64_t open, admitted, in_flight;
    atomic_bool empty_said;
    pthread_mutex_t hosts_lock;
    host *hosts[HOSTS];
    name_set called_ae, calling_ae, sop_classes, transfer_syntaxes, foreign;
    dicore_network *networks;
    size_t network_count;
    pthread_mutex_t policy;             /* over calling_ae and networks, which may be changed */
    uint8_t implementation_uid[64], implementation_version[16];
    pthread_t helpers[HELPERS];
    unsigned helper_count;
    pthread_mutex_t jobs_lock;
    pthread_cond_t jobs_there;
    stream *jobs, **jobs_end;
    bool jobs_stop;
    bool stopped;                       /* the threads have ended */
};

static inline void *engine_resize(dicore_engine *e, void *p, size_t old_size, size_t new_size)
{
    return e->options.allocator.resize(e->options.allocator.context, p, old_size, new_size);
}

/** Only its own thread changes a counter, anybody may read it. */
static inline void count_more(thread *t, dicore_engine_counter which, uint64_t n)
{
    atomic_store_explicit(&t->counters[which], atomic_load_explicit(&t->counters[which], memory_order_relaxed) + n,
                          memory_order_relaxed);
}

bool name_in(const name_set *set, dicore_span text);

/* engine.c */
void thread_post(thread *t, item *i);               /* from any thread */
void wheel_put(thread *t, peer *p, uint64_t due);   /* look at it then */
void wheel_remove(thread *t, peer *p);
host *host_take(dicore_engine *e, uint8_t family, const uint8_t address[16]); /* NULL: no memory */
void host_leave(dicore_engine *e, host *h);
struct sockaddr_storage;
void address_of(const struct sockaddr_storage *from, connection *c); /* also the port */
bool admitted_address(const dicore_engine *e, const host *h);
void watch(peer *p);                                /* tell epoll what it waits for */
void event_put(thread *t, const dicore_engine_event *event);

/* peer.c */
void peer_connect(thread *t, const connection *c);
void peer_ready(peer *p, uint32_t events);          /* what epoll says */
void peer_tick(peer *p);
void peer_answered(token *k);                       /* the commit loop has spoken */
void peer_lane_done(stream *s);
void peer_flush(peer *p);                           /* send what the core has to say */
void peer_drain(peer *p);
void peer_stop(peer *p);
void peer_free(peer *p);                            /* at the end of a round */
void peers_waiting(thread *t, bool spill);          /* go on where the limits allow it */
void thread_free_memory(thread *t);

/* lane.c */
dicore_status helpers_start(dicore_engine *e);
void helpers_stop(dicore_engine *e);
void helpers_submit(dicore_engine *e, stream *s);

#endif
