/* A folder of segments in a temporary place, an allocator that counts, and instances to store. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "check.h"
#include "dicore/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>

static long fixture_blocks;     /* allocated and not yet freed */
static long fixture_refuse = -1; /* the so-manieth allocation from now fails; -1: none */

static void *fixture_resize(void *context, void *pointer, size_t old_size, size_t new_size)
{
    (void)context;
    (void)old_size;
    if (new_size == 0) {
        fixture_blocks -= pointer != NULL;
        free(pointer);
        return NULL;
    }
    if (refuse_this() || (fixture_refuse >= 0 && fixture_refuse-- == 0))
        return NULL;
    void *block = realloc(pointer, new_size);
    fixture_blocks += pointer == NULL && block != NULL;
    return block;
}

static char fixture_path[64];

static int fixture_folder(void)
{
    strcpy(fixture_path, "/tmp/dicore-test-XXXXXX");
    if (!mkdtemp(fixture_path))
        refuse_end(), abort();
    return open(fixture_path, O_RDONLY | O_DIRECTORY);
}

static int fixture_count(int folder)
{
    int count = 0;
    DIR *dir = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY));
    for (struct dirent *entry; (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

static void fixture_remove(int folder)
{
    DIR *dir = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY));
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(folder, entry->d_name, 0);
    closedir(dir);
    close(folder);
    rmdir(fixture_path);
}

static dicore_span text(const char *s) { return (dicore_span){(const uint8_t *)s, strlen(s)}; }

static dicore_store_options fixture_options(int folder, dicore_durability durability)
{
    return (dicore_store_options){.folder = folder, .segment_size = DICORE_SEGMENT_MIN, .durability = durability,
                                  .allocator = {fixture_resize, NULL}, .implementation = text("1.2.3.4")};
}

static uint8_t *fixture_bytes(uint32_t seed, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
    return bytes;
}

/* Store `size` bytes under the UID, in three pieces. */
static dicore_status fixture_append(dicore_store *store, const char *uid, uint32_t seed, size_t size, dicore_outcome *outcome,
                                    dicore_error *error)
{
    uint8_t *bytes = fixture_bytes(seed, size);
    const dicore_span pieces[4] = {{bytes, size / 3}, {NULL, 0}, {bytes + size / 3, size / 3}, {bytes + size / 3 * 2, size - size / 3 * 2}};
    const dicore_instance instance = {.sop_class = text("1.2.840.10008.5.1.4.1.1.2"), .sop_instance = text(uid),
                                      .transfer_syntax = text("1.2.840.10008.1.2"), .source_ae = text("SENDER"),
                                      .pieces = pieces, .count = 4, .token = (void *)(uintptr_t)(seed + 1)};
    *outcome = 0;
    const dicore_status status = dicore_store_append(store, &instance, outcome, error);
    free(bytes);
    return status;
}

/* Scan a segment: how many records are whole, the damage is counted apart. */
static int fixture_scan(dicore_scan *scan, int *damaged, int *unreadable)
{
    static uint8_t buffer[65536];
    dicore_found found;
    dicore_status status;
    int records = 0;
    *damaged = *unreadable = 0;
    scan->buffer = buffer;
    scan->capacity = sizeof buffer;
    scan->offset = DICORE_SEGMENT_HEADER;
    for (int i = 0; (status = dicore_scan_next(scan, &found)) == DICORE_OK; i++) {
        if (i > 100000)
            refuse_end(), abort();
        records += found.kind == DICORE_FOUND_RECORD;
        *damaged += found.kind == DICORE_FOUND_DAMAGED;
        *unreadable += found.kind == DICORE_FOUND_UNREADABLE;
    }
    CHECK_EQ(status, DICORE_END);
    return records;
}

static int fixture_scan_segment(int folder, uint64_t id, dicore_scan *scan, int *damaged, int *unreadable)
{
    dicore_error error = {0};
    *scan = (dicore_scan){0};
    if (dicore_segment_open(folder, id, 0, &scan->file, &scan->info, &error) != DICORE_OK)
        return -1;
    scan->limit = (uint64_t)lseek(scan->file, 0, SEEK_END);
    const int records = fixture_scan(scan, damaged, unreadable);
    close(scan->file);
    return records;
}

#endif
