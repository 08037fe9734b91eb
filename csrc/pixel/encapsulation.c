/* Encapsulated Pixel Data (PS3.5 A.4): items to fragments, fragments to frames. */
#include "base/load.h"
#include "dicore/pixel.h"

#include <string.h>

enum { ITEM = 0, DELIMITER = 1, OTHER = 2 };

static int kind_of(const uint8_t *at)
{
    switch (load_tag_le(at)) {
    case 0xFFFEE000: return ITEM;
    case 0xFFFEE0DD: return DELIMITER;
    default: return OTHER;
    }
}

/* What stream begins here: 1 JPEG (SOI, a marker), 2 JPEG 2000 (SOC, SIZ), 3 JP2, 4 JPEG XL in boxes, 5 bare; 0 none. */
static int stream_kind(const uint8_t *at, uint64_t size)
{
    static const uint8_t box[4] = {0, 0, 0, 12};
    if (size >= 3 && at[0] == 0xFF && at[1] == 0xD8 && at[2] == 0xFF)
        return 1;
    if (size >= 4 && at[0] == 0xFF && at[1] == 0x4F && at[2] == 0xFF && at[3] == 0x51)
        return 2;
    if (size >= 8 && memcmp(at, box, 4) == 0)
        return memcmp(at + 4, "jP  ", 4) == 0 ? 3 : memcmp(at + 4, "JXL ", 4) == 0 ? 4 : 0;
    return size >= 2 && at[0] == 0xFF && at[1] == 0x0A ? 5 : 0;
}

/* EOI and EOC are both FFD9; padding and a little garbage may follow. */
static int ends_stream(const uint8_t *at, uint64_t size)
{
    for (uint64_t back = 2; back <= size && back <= 10; back++)
        if (at[size - back] == 0xFF && at[size - back + 1] == 0xD9)
            return 1;
    return 0;
}

dicore_status dicore_fragments_read(const uint8_t *items, size_t size, dicore_fragment *fragments, size_t capacity,
                                    dicore_encapsulation *out, dicore_error *error)
{
    dicore_encapsulation e = {0};
    uint64_t at = 0, seen = 0, used = 0;
    if (size < 8 || kind_of(items) != ITEM)
        return dicore_fail(error, DICORE_BAD_FRAGMENTS, 0, 0x7FE00010);
    uint64_t first = load_u32le(items + 4);
    int kind = stream_kind(items + 8, first < size - 8 ? first : size - 8);
    if (kind != 1 && kind != 2) {
        if (first > size - 8)
            return dicore_fail(error, DICORE_BAD_FRAGMENTS, 4, 0x7FE00010);
        e.table_offset = 8;
        e.table_length = first;
        at = 8 + first;
    }
    e.origin = at;
    while (size - at >= 8) {
        int item = kind_of(items + at);
        if (item != ITEM) {
            e.damaged = item == OTHER;
            break;
        }
        uint64_t length = load_u32le(items + at + 4), left = size - at - 8;
        if (length > left) { /* cut short, or a length that lies: FFFFFFFF too, which no fragment may have */
            e.damaged = e.truncated = 1;
            length = left;
        }
        if (seen < capacity)
            fragments[seen] = (dicore_fragment){.offset = at + 8, .length = length};
        seen++;
        if (length || e.truncated)
            used = seen; /* empty items at the end belong to no frame */
        at += 8 + length;
        if (e.truncated)
            break;
    }
    if (!e.damaged && at < size && size - at < 8)
        e.damaged = 1;
    e.count = used;
    e.end = at;
    *out = e;
    return used > capacity ? dicore_fail(error, DICORE_NO_MEMORY, 0, 0x7FE00010) : DICORE_OK;
}

/* The fragment whose item begins at `offset` from the origin, searched upwards from `from`; count when there is none. */
static uint64_t fragment_at(const dicore_encapsulation *e, const dicore_fragment *fragments, uint64_t from, uint64_t offset)
{
    while (from < e->count && fragments[from].offset - 8 - e->origin < offset)
        from++;
    return from < e->count && fragments[from].offset - 8 - e->origin == offset ? from : e->count;
}

static uint64_t total(const dicore_fragment *fragments, uint64_t first, uint64_t count)
{
    uint64_t sum = 0; /* each is inside the span and none overlaps: cannot overflow */
    for (uint64_t i = first; i < first + count; i++)
        sum += fragments[i].length;
    return sum;
}

/* Entries of 4 (basic) or 8 bytes (extended). 1: the table holds; *frames_written says how many were written. */
static int from_table(const dicore_encapsulation *e, const dicore_fragment *fragments, uint64_t wanted, const uint8_t *table,
                      uint64_t size, unsigned width, dicore_span lengths, dicore_frame *frames, uint64_t *written)
{
    uint64_t entries = size / width, next = 0;
    if (size == 0 || size % width || entries < wanted || entries > e->count)
        return 0;
    if (width == 8 && (uint64_t)lengths.size != size)
        return 0;
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t offset = width == 4 ? load_u32le(table + i * 4) : load_u64le(table + i * 8);
        uint64_t fragment = fragment_at(e, fragments, i ? next + 1 : 0, offset);
        if (fragment == e->count || (i == 0 && fragment != 0))
            return 0;
        if (i && i - 1 < wanted) { /* the frame before ends here */
            frames[i - 1].count = fragment - next;
            frames[i - 1].size = total(fragments, next, fragment - next);
        }
        if (i < wanted)
            frames[i] = (dicore_frame){.first = fragment, .count = 1};
        next = fragment;
    }
    if (entries == wanted) {
        frames[wanted - 1].count = e->count - next;
        frames[wanted - 1].size = total(fragments, next, e->count - next);
    }
    if (width == 8) /* PS3.3 C.7.6.3.1.8: one fragment a frame; its length without the padding */
        for (uint64_t i = 0; i < wanted; i++) {
            uint64_t length = load_u64le(lengths.data + i * 8);
            if (frames[i].count != 1 || length == 0 || length > frames[i].size)
                return 0;
            frames[i].size = length;
        }
    *written = wanted;
    return 1;
}

/* Cut where a stream begins (mode 0) or where one has ended (mode 1). Gives the number of frames there are. */
static uint64_t cut(const uint8_t *items, const dicore_encapsulation *e, const dicore_fragment *fragments, int mode,
                    uint64_t wanted, dicore_frame *frames)
{
    uint64_t found = 0;
    int kind = stream_kind(items + fragments[0].offset, fragments[0].length);
    for (uint64_t i = 0; i < e->count; i++) {
        const dicore_fragment *f = &fragments[i];
        int starts = i == 0;
        if (mode == 0)
            starts |= kind && stream_kind(items + f->offset, f->length) == kind;
        else if (i)
            starts |= ends_stream(items + f[-1].offset, f[-1].length);
        if (starts && ++found <= wanted)
            frames[found - 1] = (dicore_frame){.first = i};
        if (found <= wanted) {
            frames[found - 1].count++;
            frames[found - 1].size += f->length;
        }
    }
    return found;
}

dicore_status dicore_frames_resolve(const uint8_t *items, size_t size, const dicore_encapsulation *e,
                                    const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                    dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                    dicore_frames_source *source, dicore_error *error)
{
    if (wanted == 0 || e->end > size || e->table_offset + e->table_length > size)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    if (e->count == 0)
        return dicore_fail(error, DICORE_BAD_FRAGMENTS, e->end, 0x7FE00010);
    if (wanted <= e->count) {
        if (from_table(e, fragments, wanted, offsets.data, offsets.size, 8, lengths, frames, found)) {
            *source = DICORE_FROM_EXTENDED;
            return DICORE_OK;
        }
        dicore_span none = {0};
        if (from_table(e, fragments, wanted, items + e->table_offset, e->table_length, 4, none, frames, found)) {
            *source = DICORE_FROM_BASIC;
            return DICORE_OK;
        }
    }
    *source = DICORE_FROM_FRAGMENTS;
    if (wanted == 1 && cut(items, e, fragments, 0, 1, frames) == 1) { /* A.4: all fragments are the frame's */
        *found = 1;
        return DICORE_OK;
    }
    if (e->count <= wanted) {
        for (uint64_t i = 0; i < e->count; i++)
            frames[i] = (dicore_frame){.first = i, .count = 1, .size = fragments[i].length};
        *found = e->count;
        return DICORE_OK;
    }
    if (cut(items, e, fragments, 0, wanted, frames) >= wanted || cut(items, e, fragments, 1, wanted, frames) >= wanted) {
        *found = wanted;
        return DICORE_OK;
    }
    return dicore_fail(error, DICORE_BAD_FRAGMENTS, e->origin, 0x7FE00010);
}
