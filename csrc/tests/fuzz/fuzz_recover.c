/* Any bytes as the records of a segment: the scan ends, steps forward only, and a repair leaves a segment that scans clean.
 * CRCs of headers at multiples of 64 are made right where the first byte of the unit asks for it, or nothing would be reached. */
#include "base/load.h"
#include "dicore/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan_all(dicore_scan *scan)
{
    dicore_found found;
    uint64_t before = DICORE_SEGMENT_HEADER;
    scan->offset = before;
    scan->end = scan->synced = 0;
    scan->dirty = 0;
    while (dicore_scan_next(scan, &found) == DICORE_OK) {
        if (found.offset < before || scan->offset < found.offset || (scan->offset == before && found.size == 0))
            abort();
        before = scan->offset;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buffer[65536];
    if (size > 1 << 18)
        return 0;
    uint8_t *bytes = malloc(size + 1);
    if (size)
        memcpy(bytes, data, size);
    for (size_t at = 0; at + 64 <= size; at += 64)
        if (bytes[at] == '!') {
            dicore_record record = {.file_size = load_u64le(bytes + at + 8), .data_offset = load_u32le(bytes + at + 16),
                                    .data_crc = load_u32le(bytes + at + 20), .synced = load_u32le(bytes + at + 24)};
            dicore_record_write_header(&record, 7, DICORE_SEGMENT_HEADER + at, bytes + at);
        }
    const int file = memfd_create("segment", 0);
    if (file < 0 || pwrite(file, bytes, size, DICORE_SEGMENT_HEADER) != (ssize_t)size)
        abort();
    dicore_scan scan = {.file = file, .info = {.nonce = 7}, .limit = DICORE_SEGMENT_HEADER + size, .buffer = buffer,
                        .capacity = sizeof buffer, .expected = size ? DICORE_SEGMENT_HEADER + data[0] * 16u : 0};
    scan_all(&scan);
    scan.expected = 0;
    const uint64_t end = scan.end;
    if (dicore_segment_repair(&scan, NULL) != DICORE_OK)
        abort();
    scan_all(&scan);
    if (scan.end != end || scan.dirty)
        abort();
    close(file);
    free(bytes);
    return 0;
}
