/* Reading a segment that may be torn or damaged. What cannot be believed is skipped up to the next header that can: a header
 * carries the segment's nonce and a CRC over its own place, so neither stale nor foreign bytes pass for one. */
#include "base/file.h"
#include "base/load.h"
#include "dicore/store.h"

#include <string.h>

#define GAP 4096u /* a group written by O_DIRECT ends at a multiple of this, zeros before it */
#define UNIT DICORE_RECORD_UNIT
#define STRETCHES 64

/* Read up to `size` bytes for a scan: what cannot be read, three times, is not there for the caller, and counted. */
static size_t read_some(dicore_scan *scan, uint64_t offset, size_t size, int *unreadable)
{
    size_t got = 0;
    if (offset >= scan->limit)
        return 0;
    if (size > scan->limit - offset)
        size = (size_t)(scan->limit - offset);
    for (int attempt = 0; attempt < 3; attempt++) {
        *unreadable = dicore_file_read(scan->file, offset, scan->buffer, size, &got, NULL) != DICORE_OK;
        if (!*unreadable)
            return got;
    }
    scan->unread++;
    return 0;
}

/* Are the record's bytes those that were written? Reads it in pieces of the buffer. */
static int is_whole(dicore_scan *scan, uint64_t offset, const dicore_record *record)
{
    uint64_t at = offset + DICORE_RECORD_HEADER, rest = record->data_offset;
    uint32_t crc[2] = {0, 0};
    int unreadable = 0;
    for (int part = 0; part < 2; part++, rest = record->file_size - record->data_offset) {
        while (rest) {
            const size_t want = rest < scan->capacity ? (size_t)rest : scan->capacity;
            const size_t got = read_some(scan, at, want, &unreadable);
            if (got < want)
                return 0;
            crc[part] = dicore_crc32c(crc[part], scan->buffer, got);
            at += got;
            rest -= got;
        }
    }
    if (crc[1] != record->data_crc || read_some(scan, at, 4, &unreadable) < 4)
        return 0;
    return load_u32le(scan->buffer) == dicore_crc32c_combine(crc[0], crc[1], record->file_size - record->data_offset);
}

/* The first believable header in [from, end), or `end`. `*dirty` becomes 1 when anything but zeros was passed. */
static uint64_t search_stretch(dicore_scan *scan, uint64_t from, uint64_t end, int *dirty)
{
    static const uint8_t nothing[UNIT];
    dicore_record record;
    while (from < end) {
        int unreadable = 0;
        const size_t want = end - from < scan->capacity ? (size_t)(end - from) : scan->capacity;
        const size_t got = read_some(scan, from, want, &unreadable);
        if (unreadable) { /* a bad sector: go on behind its page */
            *dirty = 1;
            from = (from / GAP + 1) * GAP;
            continue;
        }
        if (got < UNIT) /* the file ends within the unit */
            return end;
        for (size_t i = 0; i + UNIT <= got; i += UNIT) {
            if (memcmp(scan->buffer + i, nothing, UNIT) == 0)
                continue;
            if (dicore_record_read_header(scan->buffer + i, UNIT, scan->info.nonce, from + i, &record) == DICORE_OK)
                return from + i;
            *dirty = 1;
        }
        from += got / UNIT * UNIT;
    }
    return end;
}

/* As above up to the limit; holes of the file are stepped over, not read. */
static uint64_t search(dicore_scan *scan, uint64_t from, int *dirty)
{
    for (;;) {
        uint64_t stretch[STRETCHES][2];
        size_t count = 0;
        while (count < STRETCHES && from < scan->limit) { /* all before any is read: see file.h */
            dicore_file_next_data(scan->file, from, scan->limit, &stretch[count][0], &stretch[count][1]);
            from = stretch[count][1];
            count += stretch[count][0] < scan->limit;
        }
        for (size_t i = 0; i < count; i++) {
            const uint64_t found = search_stretch(scan, stretch[i][0] / UNIT * UNIT, stretch[i][1], dirty);
            if (found < stretch[i][1])
                return found;
        }
        if (count < STRETCHES)
            return scan->limit;
    }
}

dicore_status dicore_scan_next(dicore_scan *scan, dicore_found *out)
{
    if (!scan->buffer || scan->capacity < 65536 || scan->capacity % UNIT || scan->offset < DICORE_SEGMENT_HEADER ||
        scan->offset % UNIT)
        return DICORE_BAD_ARGUMENT;
    if (scan->end < DICORE_SEGMENT_HEADER)
        scan->end = DICORE_SEGMENT_HEADER;
    uint64_t offset;
    dicore_record record;
    int unreadable, again = 0;
    dicore_status status;
look:
    offset = scan->offset;
    unreadable = 0;
    status = DICORE_END;
    for (int hop = 0; hop < 2; hop++) {
        const size_t got = read_some(scan, offset, DICORE_RECORD_HEADER, &unreadable);
        status = unreadable ? DICORE_BAD_RECORD
                            : dicore_record_read_header(scan->buffer, got, scan->info.nonce, offset, &record);
        if (status != DICORE_END || offset % GAP == 0)
            break;
        offset = (offset / GAP + 1) * GAP; /* padding of a group: the next one begins at the next multiple */
    }
    if (status != DICORE_OK) {
        /* nothing, or nothing believable: is there anything behind? */
        int dirty = unreadable;
        uint64_t next = search(scan, scan->offset, &dirty);
        if (next < scan->limit && !again) {
            /* Somebody may be writing: what has come since the first look is found in the usual way, if it is sound. */
            again = 1;
            goto look;
        }
        if (next >= scan->limit) {
            scan->dirty |= dirty;
            const uint64_t padded = dirty ? scan->offset : (scan->offset + GAP - 1) / GAP * GAP;
            if (scan->expected <= padded)
                return DICORE_END;
            next = (scan->expected + UNIT - 1) / UNIT * UNIT; /* records were here and are gone, with the end of the file perhaps */
            scan->expected = 0;
        }
        *out = (dicore_found){.kind = DICORE_FOUND_UNREADABLE, .offset = scan->offset, .size = next - scan->offset};
        scan->offset = next;
        return DICORE_OK;
    }
    const uint64_t size = dicore_record_size(record.file_size);
    *out = (dicore_found){.kind = DICORE_FOUND_RECORD, .offset = offset, .size = size, .record = record};
    if ((uint64_t)record.synced * UNIT > scan->synced)
        scan->synced = (uint64_t)record.synced * UNIT;
    if (size > scan->limit - offset || (offset + size > scan->check_from && !is_whole(scan, offset, &record))) {
        out->kind = DICORE_FOUND_DAMAGED;
        /* its length is covered by the header's CRC, so the chain goes on behind it */
        scan->offset = size > scan->limit - offset ? (scan->limit + UNIT - 1) / UNIT * UNIT : offset + size;
        scan->dirty = 1;
        return DICORE_OK;
    }
    scan->offset = scan->end = offset + size;
    scan->dirty = 0;
    return DICORE_OK;
}

dicore_status dicore_segment_repair(const dicore_scan *scan, dicore_error *error)
{
    const uint64_t from = scan->end < DICORE_SEGMENT_HEADER ? DICORE_SEGMENT_HEADER : scan->end;
    if (from >= scan->limit)
        return DICORE_OK;
    /* the page of the last record by writing, the rest by the extent map */
    uint64_t page = (from / GAP + 1) * GAP;
    if (page > scan->limit)
        page = scan->limit;
    dicore_status status = dicore_file_write_zeros(scan->file, from, page - from, error);
    if (status == DICORE_OK && page < scan->limit)
        status = dicore_file_zero(scan->file, page, scan->limit - page, error);
    return status == DICORE_OK ? dicore_file_sync(scan->file, error) : status;
}

dicore_status dicore_record_copy(int from, uint64_t from_nonce, uint64_t from_offset, int to, uint64_t to_nonce,
                                 uint64_t to_offset, uint8_t *buffer, size_t capacity, dicore_record *record,
                                 dicore_error *error)
{
    uint8_t header[DICORE_RECORD_HEADER], tail[4 + UNIT] = {0};
    if (capacity < 65536 || capacity % UNIT)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    dicore_status status = dicore_file_read_whole(from, from_offset, header, sizeof header, error);
    if (status == DICORE_OK)
        status = dicore_record_read_header(header, sizeof header, from_nonce, from_offset, record);
    if (status != DICORE_OK)
        return dicore_fail(error, status == DICORE_END ? DICORE_BAD_RECORD : status, from_offset, 0);
    uint64_t at = DICORE_RECORD_HEADER, rest = record->data_offset;
    uint32_t crc[2] = {0, 0};
    for (int part = 0; part < 2; part++, rest = record->file_size - record->data_offset)
        while (rest) {
            const size_t n = rest < capacity ? (size_t)rest : capacity;
            status = dicore_file_read_whole(from, from_offset + at, buffer, n, error);
            if (status != DICORE_OK)
                return status;
            crc[part] = dicore_crc32c(crc[part], buffer, n);
            const dicore_span piece = {buffer, n};
            status = dicore_file_write(to, to_offset + at, &piece, 1, error);
            if (status != DICORE_OK)
                return status;
            at += n;
            rest -= n;
        }
    status = dicore_file_read_whole(from, from_offset + at, tail, 4, error);
    if (status != DICORE_OK)
        return status;
    if (crc[1] != record->data_crc ||
        load_u32le(tail) != dicore_crc32c_combine(crc[0], crc[1], record->file_size - record->data_offset))
        return dicore_fail(error, DICORE_BAD_CRC, from_offset, 0);
    record->synced = (uint32_t)(to_offset / UNIT); /* the segment gets its name when all of it is durable */
    dicore_record_write_header(record, to_nonce, to_offset, header);
    const dicore_span ends[2] = {{tail, (size_t)(dicore_record_size(record->file_size) - at)}, {header, sizeof header}};
    status = dicore_file_write(to, to_offset + at, &ends[0], 1, error);
    return status == DICORE_OK ? dicore_file_write(to, to_offset, &ends[1], 1, error) : status;
}
