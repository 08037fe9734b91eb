/* How the threads of this column wake one another, and their clock. */
#ifndef DICORE_ENGINE_BELL_H
#define DICORE_ENGINE_BELL_H

#include <errno.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

/** Make an eventfd readable. */
static inline void bell_ring(int descriptor)
{
    const uint64_t one = 1;
    while (write(descriptor, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/** It is no longer readable. */
static inline void bell_quiet(int descriptor)
{
    uint64_t count;
    while (read(descriptor, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/** Milliseconds of CLOCK_MONOTONIC, a few at a time. */
static inline uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#endif
