/* dicore/phases.h: how long the parts of an association and of a message take, counted in buckets.
 *
 * A recorder belongs to one thread; any other may read it meanwhile and sees each number whole. */
#ifndef DICORE_PHASES_H
#define DICORE_PHASES_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Each ends where the next begins, so that those of a message add up to what its sender waited. */
typedef enum dicore_phase {
    DICORE_PHASE_ACCEPT,         /* the connection was accepted - A-ASSOCIATE-RQ is whole */
    DICORE_PHASE_NEGOTIATE,      /* - its answer is with the kernel */
    DICORE_PHASE_FIRST_BYTE,     /* a command is whole - the first byte of its data set is here */
    DICORE_PHASE_LAST_BYTE,      /* - the last byte of it */
    DICORE_PHASE_COMMIT,         /* - the store, the sink or the handler has decided */
    DICORE_PHASE_ANSWER,         /* - the response is with the kernel */
    DICORE_PHASES
} dicore_phase;

/** Four buckets from a power of two to the next, from 2^8 ns to 2^38 ns (275 s); one before, one after. */
enum { DICORE_PHASE_FIRST = 8, DICORE_PHASE_LAST = 38, DICORE_PHASE_BUCKETS = (DICORE_PHASE_LAST - DICORE_PHASE_FIRST) * 4 + 2 };

typedef struct dicore_times {
    uint64_t count, sum, longest;            /* ns */
    uint64_t buckets[DICORE_PHASE_BUCKETS];
} dicore_times;

/** The quantiles are the upper ends of their buckets, at most 25 % too long, and never beyond `longest`. */
typedef struct dicore_time_summary {
    uint64_t count, p50, p99, longest;
} dicore_time_summary;

/** CLOCK_MONOTONIC. */
DICORE_API uint64_t dicore_now_ns(void);

/** One more. By the thread that it belongs to. */
DICORE_API void dicore_times_add(dicore_times *times, uint64_t ns);

/** Everything of `from`, which another thread may be adding to, into `to`. */
DICORE_API void dicore_times_merge(dicore_times *to, const dicore_times *from);

DICORE_API void dicore_times_summary(const dicore_times *times, dicore_time_summary *out);

#ifdef __cplusplus
}
#endif
#endif
