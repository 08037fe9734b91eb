/* Nanoseconds an element: the walk by one and by 32, the tape and the selection of 20 tags over many different headers, one after the other.
 * The floor reads each header by a length that it is told, so it waits for no length: the least that touching them takes.
 * usage: walk_floor FILE ROUNDS; FILE holds data sets in explicit VR little endian, each behind its size in 8 bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dicore/dataset.h"

static const uint32_t TAGS[] = {0x00080016, 0x00080018, 0x00080020, 0x00080021, 0x00080030, 0x00080050, 0x00080060,
                                0x00080070, 0x00081030, 0x0008103E, 0x00100010, 0x00100020, 0x00100030, 0x00100040,
                                0x0020000D, 0x0020000E, 0x00200011, 0x00200013, 0x00280010, 0x00280011};
enum { COUNT = sizeof TAGS / sizeof *TAGS };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *resize(void *context, void *pointer, size_t old_size, size_t new_size)
{
    (void)context, (void)old_size;
    if (new_size)
        return realloc(pointer, new_size);
    free(pointer);
    return NULL;
}

int main(int argc, char **argv)
{
    FILE *f = argc > 2 ? fopen(argv[1], "rb") : NULL;
    if (!f || fseek(f, 0, SEEK_END))
        return 1;
    size_t size = (size_t)ftell(f), sets = 0, elements = 0;
    uint8_t *all = malloc(size + 16);
    uint32_t *offsets = malloc(size);
    rewind(f);
    if (!all || !offsets || fread(all, 1, size, f) != size)
        return 1;
    const dicore_allocator heap = {resize, NULL};
    dicore_tape tape = {0};
    uint64_t position, one;
    for (int round = 0; round < atoi(argv[2]); round++) {
        double took[5] = {0};
        uint64_t sum = 0, told = 0;
        elements = sets = 0;
        for (int way = 0; way < 5; way++) {
            double start = now();
            uint32_t *next = offsets;
            for (size_t at = 0; at < size; at += 8 + one) {
                memcpy(&one, all + at, 8);
                const uint8_t *data = all + at + 8;
                if (way == 0) {
                    dicore_walk walk;
                    dicore_entry e;
                    dicore_walk_begin(&walk, data, one, 0, DICORE_EXPLICIT_LE, NULL);
                    while (dicore_walk_next(&walk, &e, NULL) == DICORE_OK)
                        sum += e.tag + e.length, elements++;
                    sets++;
                } else if (way == 1) {
                    tape.count = 0;
                    if (dicore_tape_read(&tape, data, one, 0, DICORE_EXPLICIT_LE, NULL, &heap, NULL) != DICORE_OK)
                        return 1;
                    told += tape.count;
                    for (uint32_t i = 0; i < tape.count; i++)
                        sum -= tape.entries[i].tag + tape.entries[i].length;
                    for (uint32_t i = 0; round == 0 && i < tape.count; i++)
                        *next++ = (uint32_t)tape.entries[i].offset;
                    if (round == 0)
                        *next++ = UINT32_MAX;
                } else if (way == 2) {
                    dicore_selected found[COUNT];
                    if (dicore_select(data, one, 0, DICORE_EXPLICIT_LE, NULL, TAGS, COUNT, found, &position, NULL) != DICORE_OK)
                        return 1;
                } else if (way == 4) {
                    dicore_walk walk;
                    dicore_entry some[32];
                    size_t n;
                    dicore_status status;
                    dicore_walk_begin(&walk, data, one, 0, DICORE_EXPLICIT_LE, NULL);
                    do {
                        status = dicore_walk_some(&walk, some, 32, &n, NULL);
                        for (size_t i = 0; i < n; i++)
                            told += some[i].tag + some[i].length;
                    } while (status == DICORE_OK);
                } else {
                    for (uint64_t word; *next != UINT32_MAX; next++) {
                        memcpy(&word, data + *next, 8);
                        told ^= word;
                    }
                    next++;
                }
            }
            took[way] = now() - start;
        }
        if (sum != 0)
            return 2; /* walk and tape do not have the same elements */
        printf("%f %f %f %f %f %llu\n", took[0] / (double)elements, took[1] / (double)elements, took[2] / (double)sets,
               took[3] / (double)elements, took[4] / (double)elements, (unsigned long long)told);
    }
    return 0;
}
