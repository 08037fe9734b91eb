/* dicore/retrieve.h: stored instances leave over associations: the C-STORE sub-operations of C-GET and C-MOVE (PS3.4 C.4.2, C.4.3).
 *
 * A `dicore_retriever` has a few threads, each over an epoll; a `dicore_retrieval` is a list of records for one association, which
 * somebody else has made and lends for as long as it lasts. Records are read by pread, one ahead of the wire, and checked: what the
 * disk does not give, or gives damaged, is a failed sub-operation and not a dead process. A record that does not fit a buffer is
 * read twice: once to check it, before a byte of it goes out, and once to send it. Of the window that was negotiated as much is used
 * as there is; the peer's PDU length is the association's business.
 *
 * What the peer says beside its answers (C-CANCEL, another request, A-ABORT) ends the retrieval at the next whole message: the
 * owner gets the association back with that event, and the bytes behind it, and may go on with another retrieval. So does an
 * instance for whose class and syntax there is no context: it is left for whoever can rewrite it.
 *
 * Times are milliseconds of CLOCK_MONOTONIC; the allocator is called by all threads at once. */
#ifndef DICORE_RETRIEVE_H
#define DICORE_RETRIEVE_H

#include "dicore/net.h"
#include "dicore/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dicore_retriever dicore_retriever;
typedef struct dicore_retrieval dicore_retrieval;

typedef struct dicore_retriever_options {
    dicore_allocator allocator;
    unsigned threads;                  /* 1 to 64 */
    uint64_t memory;                   /* bytes of buffers; beyond it small ones are used, and nothing is read ahead */
} dicore_retriever_options;

DICORE_API void dicore_retriever_defaults(dicore_retriever_options *options); /* the allocator is the caller's to set */

/** @return DICORE_OK, DICORE_BAD_ARGUMENT, DICORE_NO_MEMORY, DICORE_IO (`error->system`). */
DICORE_API dicore_status dicore_retriever_start(const dicore_retriever_options *options, dicore_retriever **out,
                                                dicore_error *error);

/** Stop every retrieval, end the threads, free all but the retrievals, which are their owners'. NULL is allowed. */
DICORE_API void dicore_retriever_free(dicore_retriever *retriever);

/** A record of a store. */
typedef struct dicore_stored {
    int file;                          /* its segment, open for reading until the retrieval is freed */
    uint64_t nonce, offset;            /* of the segment; of the record in it */
    uint64_t size;                     /* of the record, as far as it is known: how much is read at first */
    uint8_t uid_hash[16];
} dicore_stored;

/** An accepted presentation context. */
typedef struct dicore_offer {
    dicore_span sop_class, transfer_syntax;
    uint8_t id;
} dicore_offer;

typedef enum dicore_sub_operation {
    DICORE_SUB_LEFT = 0,               /* its turn did not come */
    DICORE_SUB_ANSWERED = 1,           /* .status is the peer's */
    DICORE_SUB_UNREADABLE = 2,         /* .detail: errno */
    DICORE_SUB_DAMAGED = 3,            /* .detail: dicore_status */
    DICORE_SUB_UNFIT = 4,              /* it cannot go out as it is: no context, an odd length, no identity in its first bytes */
    DICORE_SUB_LOST = 5,               /* begun, and the association ended before the answer */
    DICORE_SUB_UNANSWERED = 6          /* sent whole; .status is the message id whose answer has yet to come */
} dicore_sub_operation;

typedef struct dicore_sub_result {
    dicore_sub_operation outcome;
    uint16_t status;
    int detail;
} dicore_sub_result;

typedef struct dicore_retrieval_options {
    dicore_association *association;   /* nobody else uses it until the retrieval is done */
    int socket;                        /* non-blocking; closed when it is done, so give a duplicate */
    const dicore_offer *offers;        /* copied */
    size_t offer_count;
    dicore_stored *items;              /* these two are the caller's, and stay until the retrieval is freed */
    dicore_sub_result *results;
    size_t count;
    uint16_t message_id;               /* the last one that was used */
    unsigned window;                   /* operations under way at a time, 1 to 64 */
    uint64_t network_timeout;          /* without a byte taken by the peer, which has yet to take some; 0: forever */
    dicore_span originator;            /* AE title and message id of the C-MOVE that this is for; size 0: none */
    uint16_t originator_id;
    bool answers;                      /* C-GET: the peer is told how far it is (FF00), as in what follows */
    uint8_t context_id;
    uint16_t request_id;
    dicore_span request_class;
    uint64_t answer_every;             /* ms between two of them */
    uint64_t total, completed, failed, warning; /* sub-operations of the whole request; those done before */
    void *token;                       /* the owner's */
} dicore_retrieval_options;

/** Take the association and begin. @return DICORE_OK, DICORE_BAD_ARGUMENT, DICORE_NO_MEMORY (then nothing was taken). */
DICORE_API dicore_status dicore_retrieval_start(dicore_retriever *retriever, const dicore_retrieval_options *options,
                                                dicore_retrieval **out);

/** Begin no more sub-operations: it is done when what is under way is answered. From any thread, until it is freed. */
DICORE_API void dicore_retrieval_cancel(dicore_retrieval *retrieval);

/** Let go of the association now, amid a message if need be. From any thread, until it is freed. */
DICORE_API void dicore_retrieval_stop(dicore_retrieval *retrieval);

/** Sub-operations that are done: completed, failed, with a warning; bytes of data sets sent. From any thread. */
DICORE_API void dicore_retrieval_progress(const dicore_retrieval *retrieval, uint64_t out[4]);

typedef enum dicore_retrieval_why {
    DICORE_RETRIEVAL_DONE = 0,         /* every item had its turn, or it was cancelled */
    DICORE_RETRIEVAL_EVENT = 1,        /* .event, which the association has yielded with .status: the owner's to deal with, and
                                          then .rest, bytes that were read and not yet given to it */
    DICORE_RETRIEVAL_CLOSED = 2,       /* the peer has closed the connection */
    DICORE_RETRIEVAL_BROKEN = 3,       /* .system: errno of the socket */
    DICORE_RETRIEVAL_STALLED = 4,      /* network_timeout */
    DICORE_RETRIEVAL_STOPPED = 5,
    DICORE_RETRIEVAL_CUT = 6           /* an instance could not be read any more when half of it was on the wire */
} dicore_retrieval_why;

/** How it ended. What it points to lives until the retrieval is freed, or the association is used. */
typedef struct dicore_retrieval_end {
    dicore_retrieval_why why;
    bool amid;                         /* the peer has half a PDU: nothing that can be said would be understood */
    int system;
    uint16_t message_id;               /* the last one that was used */
    dicore_status status;
    dicore_event event;
    const uint8_t *rest;
    size_t rest_size;
} dicore_retrieval_end;

/** Becomes readable when retrievals are done; the retriever's. */
DICORE_API int dicore_retriever_descriptor(const dicore_retriever *retriever);

/** The token of the next one that is done; its association is the owner's again. For one thread. @return false: there is none, and the
 *  descriptor was reset. */
DICORE_API bool dicore_retriever_next(dicore_retriever *retriever, void **token);

/** Of one that is done. */
DICORE_API const dicore_retrieval_end *dicore_retrieval_ended(const dicore_retrieval *retrieval);

/** Free one that is done (also after its retriever was freed). NULL is allowed. */
DICORE_API void dicore_retrieval_free(dicore_retrieval *retrieval);

#ifdef __cplusplus
}
#endif
#endif
