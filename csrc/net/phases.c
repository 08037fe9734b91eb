#include "dicore/phases.h"

#include <time.h>

uint64_t dicore_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < 1u << DICORE_PHASE_FIRST)
        return 0;
    const unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    if (power >= DICORE_PHASE_LAST)
        return DICORE_PHASE_BUCKETS - 1;
    return (power - DICORE_PHASE_FIRST) * 4 + (unsigned)(ns >> (power - 2) & 3) + 1;
}

/** The longest that is in it. */
static uint64_t last_of(unsigned bucket)
{
    if (bucket >= DICORE_PHASE_BUCKETS - 1)
        return UINT64_MAX;
    return ((uint64_t)(4 + bucket % 4) << (bucket / 4 + DICORE_PHASE_FIRST - 2)) - 1;
}

static void more(uint64_t *number, uint64_t by) /* no lock: nobody else writes it */
{
    __atomic_store_n(number, __atomic_load_n(number, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

void dicore_times_add(dicore_times *times, uint64_t ns)
{
    more(&times->count, 1);
    more(&times->sum, ns);
    more(&times->buckets[bucket_of(ns)], 1);
    if (ns > times->longest)
        __atomic_store_n(&times->longest, ns, __ATOMIC_RELAXED);
}

void dicore_times_merge(dicore_times *to, const dicore_times *from)
{
    const uint64_t longest = __atomic_load_n(&from->longest, __ATOMIC_RELAXED);
    if (longest > to->longest)
        to->longest = longest;
    to->sum += __atomic_load_n(&from->sum, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < DICORE_PHASE_BUCKETS; i++) {
        const uint64_t n = __atomic_load_n(&from->buckets[i], __ATOMIC_RELAXED);
        to->buckets[i] += n;
        to->count += n; /* so that it is the sum of the buckets, whatever is added meanwhile */
    }
}

void dicore_times_summary(const dicore_times *times, dicore_time_summary *out)
{
    uint64_t seen = 0;
    *out = (dicore_time_summary){.count = times->count, .longest = times->longest};
    for (unsigned i = 0; i < DICORE_PHASE_BUCKETS; i++) {
        seen += times->buckets[i];
        const uint64_t end = last_of(i) < times->longest ? last_of(i) : times->longest;
        if (!out->p50 && seen && seen * 2 >= times->count)
            out->p50 = end;
        if (!out->p99 && seen && seen * 100 >= times->count * 99)
            out->p99 = end;
    }
}
