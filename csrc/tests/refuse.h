/* DICORE_REFUSE=n: the n-th allocation of a test program is refused (tests/faults/test_allocations.py). The first check that
 * fails because of it ends the program, so that LeakSanitizer sees what the library left. */
#ifndef REFUSE_H
#define REFUSE_H

#include <stdatomic.h>
#include <stdlib.h>

enum { REFUSE_READY, REFUSE_AT, REFUSE_COUNT, REFUSE_DONE };

static inline atomic_long *refuse_state(int which)
{
    static atomic_long state[4];
    if (!atomic_exchange(&state[REFUSE_READY], 1)) {
        const char *at = getenv("DICORE_REFUSE");
        atomic_store(&state[REFUSE_AT], at ? atol(at) : 0);
    }
    return &state[which];
}

/** Count an allocation; is it the one to refuse? */
static inline int refuse_this(void)
{
    const long count = atomic_fetch_add(refuse_state(REFUSE_COUNT), 1) + 1;
    if (count != atomic_load(refuse_state(REFUSE_AT)))
        return 0;
    atomic_store(refuse_state(REFUSE_DONE), 1);
    return 1;
}

/** A check has failed: was it after a refusal? Then that is the end. */
static inline void refuse_end(void)
{
    if (atomic_load(refuse_state(REFUSE_DONE)))
        exit(0);
}

#endif
