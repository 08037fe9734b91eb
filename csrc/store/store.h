/* What writer.c and lane.c share. */
#ifndef DICORE_STORE_INTERNAL_H
#define DICORE_STORE_INTERNAL_H

#include "dicore/store.h"
#include "store/table.h"

#include <pthread.h>

#define DICORE_STAGE_SIZE ((size_t)16 << 20) /* bytes of each of the two staging buffers */

typedef struct dicore_open_segment {
    struct dicore_open_segment *next;
    dicore_segment_info info;
    int file;                    /* holds the lock */
    int direct;                  /* the same file with O_DIRECT, or -1 */
    uint64_t end;                /* the next record goes here */
    uint64_t synced;             /* all below is durable */
    uint64_t marked;             /* ... and written down so far */
    uint64_t zeroed;             /* zero-filled up to here */
    uint64_t fill_from, fill_to; /* being zero-filled right now, by a thread without the lock: not to be written */
    size_t waiting;              /* waiters that are not answered yet */
    int error;                   /* errno of the sync or write that failed: never written or synced again */
    int dirty;                   /* relaxed: written since the last sync */
    int syncing;                 /* 1: part of the group under way, 2: and synced. Relaxed: 1, a sync is under way */
    int sealing;                 /* given out as a task */
} dicore_open_segment;

typedef struct dicore_stage {
    uint8_t *memory;             /* DICORE_STAGE_SIZE bytes, aligned to 4096 */
    size_t fill;
    uint64_t base;               /* its place in the segment, a multiple of 4096 */
    dicore_open_segment *of;     /* NULL: empty */
} dicore_stage;

typedef struct dicore_queue {
    dicore_waiter *items;
    size_t count, capacity;
} dicore_queue;

struct dicore_store {
    dicore_store_options options;
    pthread_mutex_t lock;        /* everything below; held during the gathered write, which the inode's lock serialises anyway */
    pthread_cond_t arrived;      /* the commit loop waits */
    pthread_cond_t drained;      /* appends wait for a stage or a zero-filled stretch */
    pthread_cond_t task;         /* the background waits */
    dicore_table table;
    dicore_open_segment *current, *spare, *retired;
    dicore_queue queues[2];
    int queue;                   /* the one that fills */
    dicore_stage stages[2];
    int stage;
    void *stage_block;
    uint64_t next_id;
    uint64_t last_received;      /* of all records known: each new one is younger, whatever the clock does */
    int stopped;
    int making_spare;
    int prepared;                /* have a segment ready before there is anything to append */
    int fill_soon;               /* there is something to zero-fill when appends pause */
    uint64_t last_append;        /* milliseconds, monotonic */
    int bad_segments;            /* that failed one after the other */
    int last_error;              /* errno of the last */
    uint64_t retry_at;           /* milliseconds, monotonic: no new segment before */
    int failed;                  /* relaxed: errno of a failed sync */
    dicore_store_counters counters;
};

/** The instance that somebody wants to store, wherever its data set is. */
typedef struct dicore_candidate {
    const void *uid;
    size_t uid_size;
    uint8_t uid_hash[16];
    uint64_t data_size;
    uint32_t data_crc;
    const dicore_span *pieces;   /* NULL: in `file` from `offset` on */
    int file;
    uint64_t offset;
} dicore_candidate;

typedef enum dicore_verdict {
    DICORE_NEW,                  /* store it, with `flags` */
    DICORE_SAME,                 /* it is at *place already */
    DICORE_REFUSED,
    DICORE_UNKNOWN               /* what is stored under its UID could not be read, and the policy has to know */
} dicore_verdict;

/** With the lock held: what the duplicate policy says. *flags are for the record's header; `forced` replaces by any policy. */
dicore_verdict dicore_store_judge(dicore_store *store, const dicore_candidate *candidate, uint16_t forced, uint16_t *flags,
                                  dicore_place *place);

/** With the lock held: the record at the place is durable now, so what counts under its hash is decided anew. */
void dicore_store_settle(dicore_store *store, dicore_place *place);

/** With the lock held: when a record that is written now was received. */
uint64_t dicore_store_received(dicore_store *store);

/** Is this failpoint due now? Those that kill do not return. */
int dicore_store_fails(dicore_store *store, dicore_failpoint point);

uint64_t dicore_now(void); /* microseconds since 1970-01-01 UTC */
dicore_status dicore_random(uint64_t *out);

#endif
