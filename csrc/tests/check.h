/* A test program in one header: TEST functions, CHECK lines, main() that runs them and says how many. */
#ifndef CHECK_H
#define CHECK_H

#include "refuse.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int check_failures;
static int check_count;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        check_count++;                                                                                                 \
        if (!(condition)) {                                                                                            \
            refuse_end();                                                                                              \
            check_failures++;                                                                                          \
            fprintf(stderr, "%s:%d: %s: %s does not hold\n", __FILE__, __LINE__, __func__, #condition);               \
        }                                                                                                              \
    } while (0)

#define CHECK_EQ(got, want)                                                                                            \
    do {                                                                                                               \
        long long check_got = (long long)(got), check_want = (long long)(want);                                        \
        check_count++;                                                                                                 \
        if (check_got != check_want) {                                                                                 \
            refuse_end();                                                                                              \
            check_failures++;                                                                                          \
            fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__, #got, check_got, check_want); \
        }                                                                                                              \
    } while (0)

/** A copy of `size` bytes that ends exactly at a page nobody may touch: one byte too far is a SIGSEGV.
 *  Free with guarded_free(copy, size). */
static inline uint8_t *guarded_copy(const void *data, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
    uint8_t *map = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + body, page, PROT_NONE) != 0)
        abort();
    uint8_t *copy = map + body - size;
    if (size)
        memcpy(copy, data, size);
    return copy;
}

static inline void guarded_free(uint8_t *copy, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
    munmap(copy + size - body, body + page);
}

static inline int check_result(const char *name)
{
    printf("%s: %d checks, %d failed\n", name, check_count, check_failures);
    if (getenv("DICORE_REFUSE"))
        printf("%ld allocations\n", atomic_load(refuse_state(REFUSE_COUNT)));
    return check_failures != 0;
}

#endif
