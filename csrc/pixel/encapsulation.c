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

static dicore_status from_memory(void *context, uint64_t offset, uint8_t *to, size_t size)
{
    memcpy(to, ((const dicore_span *)context)->data + offset, size);
    return DICORE_OK;
}

/* All of [offset, offset + size), which the caller has checked to be inside; or the reader's failure. */
static dicore_status get(const dicore_reader *reader, uint64_t offset, uint8_t *to, uint64_t size)
{
    return size ? reader->read(reader->context, offset, to, (size_t)size) : DICORE_OK;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The kind of stream that begins at `offset` in a fragment of `size` bytes. */
static dicore_status kind_at(const dicore_reader *reader, uint64_t offset, uint64_t size, int *kind)
{
    uint8_t bytes[8];
    dicore_status status = get(reader, offset, bytes, least(size, 8));
    *kind = status == DICORE_OK ? stream_kind(bytes, least(size, 8)) : 0;
    return status;
}

/* The item of the basic offset table, if the first item is one. */
static dicore_status open_items(const dicore_reader *reader, dicore_encapsulation *e, dicore_error *error)
{
    uint8_t header[8];
    int kind;
    if (reader->size < 8)
        return dicore_fail(error, DICORE_BAD_FRAGMENTS, 0, 0x7FE00010);
    dicore_status status = get(reader, 0, header, 8);
    if (status != DICORE_OK)
        return dicore_fail(error, status, 0, 0x7FE00010);
    if (kind_of(header) != ITEM)
        return dicore_fail(error, DICORE_BAD_FRAGMENTS, 0, 0x7FE00010);
    uint64_t first = load_u32le(header + 4);
    status = kind_at(reader, 8, least(first, reader->size - 8), &kind);
    if (status != DICORE_OK)
        return dicore_fail(error, status, 8, 0x7FE00010);
    if (kind != 1 && kind != 2) {
        if (first > reader->size - 8)
            return dicore_fail(error, DICORE_BAD_FRAGMENTS, 4, 0x7FE00010);
        e->table_offset = 8;
        e->table_length = first;
        e->origin = 8 + first;
    }
    return DICORE_OK;
}

dicore_status dicore_fragments_scan(const dicore_reader *reader, dicore_fragment *fragments, size_t capacity,
                                    dicore_encapsulation *out, dicore_error *error)
{
    dicore_encapsulation e = {0};
    uint64_t seen = 0, used = 0, size = reader->size;
    dicore_status status = open_items(reader, &e, error);
    if (status != DICORE_OK)
        return status;
    uint64_t at = e.origin;
    while (size - at >= 8) {
        uint8_t header[8];
        status = get(reader, at, header, 8);
        if (status != DICORE_OK)
            return dicore_fail(error, status, at, 0x7FE00010);
        int item = kind_of(header);
        if (item != ITEM) {
            e.damaged = item == OTHER;
            break;
        }
        uint64_t length = load_u32le(header + 4), left = size - at - 8;
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

dicore_status dicore_fragments_read(const uint8_t *items, size_t size, dicore_fragment *fragments, size_t capacity,
                                    dicore_encapsulation *out, dicore_error *error)
{
    dicore_span span = {items, size};
    dicore_reader reader = {from_memory, &span, size};
    return dicore_fragments_scan(&reader, fragments, capacity, out, error);
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

/* ---- offset tables --------------------------------------------------------------------------------------------------- */

enum { CHUNK = 512 }; /* entries that are read at a time */

/* An offset table, in memory (extended) or behind the reader (basic), a chunk of which is at hand. */
typedef struct entries {
    const dicore_reader *reader; /* NULL: at `data` */
    const uint8_t *data;
    uint64_t offset, count;      /* in the reader; entries */
    unsigned width;
    uint64_t first, held;        /* of the chunk */
    uint8_t chunk[CHUNK * 4];
} entries;

static dicore_status entry(entries *table, uint64_t i, uint64_t *value)
{
    if (!table->reader) {
        *value = load_u64le(table->data + i * 8);
        return DICORE_OK;
    }
    if (i < table->first || i - table->first >= table->held) {
        table->first = i;
        table->held = least(CHUNK, table->count - i);
        dicore_status status = get(table->reader, table->offset + i * 4, table->chunk, table->held * 4);
        if (status != DICORE_OK) {
            table->held = 0;
            return status;
        }
    }
    *value = load_u32le(table->chunk + (i - table->first) * 4);
    return DICORE_OK;
}

/* Whether a table of `size` bytes can be one of `wanted` frames or more; its entries then. */
static int table_of(entries *table, const dicore_reader *reader, const uint8_t *data, uint64_t offset, uint64_t size,
                    dicore_span lengths, uint64_t wanted)
{
    table->reader = reader;
    table->data = data;
    table->offset = offset;
    table->width = reader ? 4 : 8;
    table->count = size / table->width;
    table->first = table->held = 0;
    if (size == 0 || size % table->width || table->count < wanted)
        return 0;
    return reader || (uint64_t)lengths.size == size;
}

/* Not 0: the table holds, *written says how many frames were written. */
static int from_table(const dicore_encapsulation *e, const dicore_fragment *fragments, uint64_t wanted, entries *table,
                      dicore_span lengths, dicore_frame *frames, uint64_t *written, dicore_status *status)
{
    uint64_t next = 0;
    if (table->count > e->count)
        return 0;
    for (uint64_t i = 0; i < table->count; i++) {
        uint64_t offset;
        *status = entry(table, i, &offset);
        if (*status != DICORE_OK)
            return 0;
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
    if (table->count == wanted) {
        frames[wanted - 1].count = e->count - next;
        frames[wanted - 1].size = total(fragments, next, e->count - next);
    }
    if (table->width == 8) /* PS3.3 C.7.6.3.1.8: one fragment a frame; its length without the padding */
        for (uint64_t i = 0; i < wanted; i++) {
            uint64_t length = load_u64le(lengths.data + i * 8);
            if (frames[i].count != 1 || length == 0 || length > frames[i].size)
                return 0;
            frames[i].size = length;
        }
    *written = wanted;
    return 1;
}

/* Cut where a stream begins (mode 0) or where one has ended (mode 1). *found: the number of frames there are. */
static dicore_status cut(const dicore_reader *reader, const dicore_encapsulation *e, const dicore_fragment *fragments,
                         int mode, uint64_t wanted, dicore_frame *frames, uint64_t *found)
{
    int kind = 0, ended = 0;
    *found = 0;
    for (uint64_t i = 0; i < e->count; i++) {
        const dicore_fragment *f = &fragments[i];
        int starts = i == 0;
        dicore_status status = DICORE_OK;
        if (mode == 0) {
            int here;
            status = kind_at(reader, f->offset, f->length, &here);
            if (i == 0)
                kind = here;
            starts |= kind && here == kind;
        } else {
            uint8_t tail[10];
            uint64_t size = least(f->length, 10);
            starts |= ended;
            status = get(reader, f->offset + f->length - size, tail, size);
            ended = status == DICORE_OK && ends_stream(tail, size);
        }
        if (status != DICORE_OK)
            return status;
        if (starts && ++*found <= wanted)
            frames[*found - 1] = (dicore_frame){.first = i};
        if (*found <= wanted) {
            frames[*found - 1].count++;
            frames[*found - 1].size += f->length;
        }
    }
    return DICORE_OK;
}

dicore_status dicore_frames_build(const dicore_reader *reader, const dicore_encapsulation *e,
                                  const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                  dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                  dicore_frames_source *source, dicore_error *error)
{
    entries table;
    dicore_status status = DICORE_OK;
    if (wanted == 0 || e->end > reader->size || e->table_offset + e->table_length > reader->size)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    if (e->count == 0)
        return dicore_fail(error, DICORE_BAD_FRAGMENTS, e->end, 0x7FE00010);
    if (wanted <= e->count) {
        if (table_of(&table, NULL, offsets.data, 0, offsets.size, lengths, wanted)
            && from_table(e, fragments, wanted, &table, lengths, frames, found, &status)) {
            *source = DICORE_FROM_EXTENDED;
            return DICORE_OK;
        }
        if (table_of(&table, reader, NULL, e->table_offset, e->table_length, lengths, wanted)
            && from_table(e, fragments, wanted, &table, lengths, frames, found, &status)) {
            *source = DICORE_FROM_BASIC;
            return DICORE_OK;
        }
        if (status != DICORE_OK)
            return dicore_fail(error, status, e->table_offset, 0x7FE00010);
    }
    *source = DICORE_FROM_FRAGMENTS;
    if (wanted == 1) { /* A.4: all fragments are the frame's */
        status = cut(reader, e, fragments, 0, 1, frames, found);
        if (status != DICORE_OK)
            return dicore_fail(error, status, e->origin, 0x7FE00010);
        if (*found == 1)
            return DICORE_OK;
    }
    if (e->count <= wanted) {
        for (uint64_t i = 0; i < e->count; i++)
            frames[i] = (dicore_frame){.first = i, .count = 1, .size = fragments[i].length};
        *found = e->count;
        return DICORE_OK;
    }
    /* As many as wanted is the better answer: a stream may hold FFD8 and FFD9 inside (a SPIFF header, a thumbnail). */
    for (int attempt = 0; attempt < 4; attempt++) {
        status = cut(reader, e, fragments, attempt & 1, wanted, frames, found);
        if (status != DICORE_OK)
            return dicore_fail(error, status, e->origin, 0x7FE00010);
        if (*found == wanted || (attempt >= 2 && *found > wanted)) {
            *found = wanted;
            return DICORE_OK;
        }
    }
    return dicore_fail(error, DICORE_BAD_FRAGMENTS, e->origin, 0x7FE00010);
}

dicore_status dicore_frames_resolve(const uint8_t *items, size_t size, const dicore_encapsulation *e,
                                    const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                    dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                    dicore_frames_source *source, dicore_error *error)
{
    dicore_span span = {items, size};
    dicore_reader reader = {from_memory, &span, size};
    return dicore_frames_build(&reader, e, fragments, wanted, offsets, lengths, frames, found, source, error);
}

/* ---- one frame by the table alone ------------------------------------------------------------------------------------ */

/* Ascends from 0 and stays inside: as much as can be said of a table without looking at the items. */
static dicore_status plausible(entries *table, uint64_t room, int *yes)
{
    uint64_t before = 0;
    *yes = 0;
    for (uint64_t i = 0; i < table->count; i++) {
        uint64_t offset;
        dicore_status status = entry(table, i, &offset);
        if (status != DICORE_OK)
            return status;
        if (offset > room || room - offset < 8 || (i == 0 ? offset != 0 : offset < before || offset - before < 8))
            return DICORE_OK;
        before = offset;
    }
    *yes = 1;
    return DICORE_OK;
}

dicore_status dicore_frame_table_open(const dicore_reader *reader, uint64_t wanted, dicore_span offsets,
                                      dicore_span lengths, dicore_frame_table *out, dicore_error *error)
{
    dicore_encapsulation e = {0};
    entries table;
    int yes = 0;
    if (wanted == 0)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    dicore_status status = open_items(reader, &e, error);
    if (status != DICORE_OK)
        return status;
    uint64_t room = reader->size - e.origin;
    *out = (dicore_frame_table){.source = DICORE_FROM_FRAGMENTS, .wanted = wanted, .origin = e.origin};
    if (table_of(&table, NULL, offsets.data, 0, offsets.size, lengths, wanted)) {
        status = plausible(&table, room, &yes);
        if (yes) {
            out->source = DICORE_FROM_EXTENDED;
            out->entries = table.count;
        }
    }
    if (status == DICORE_OK && !yes && table_of(&table, reader, NULL, e.table_offset, e.table_length, lengths, wanted)) {
        status = plausible(&table, room, &yes);
        if (yes) {
            out->source = DICORE_FROM_BASIC;
            out->entries = table.count;
            out->table_offset = e.table_offset;
        }
    }
    return status == DICORE_OK ? DICORE_OK : dicore_fail(error, status, 0, 0x7FE00010);
}

dicore_status dicore_frame_find(const dicore_reader *reader, const dicore_frame_table *from, uint64_t number,
                                dicore_span offsets, dicore_span lengths, dicore_fragment *fragments, size_t capacity,
                                dicore_frame *out, dicore_error *error)
{
    entries table = {.reader = from->source == DICORE_FROM_BASIC ? reader : NULL,
                     .data = offsets.data, .offset = from->table_offset, .count = from->entries,
                     .width = from->source == DICORE_FROM_BASIC ? 4 : 8};
    dicore_frame frame = {.first = number};
    uint64_t start, stop = UINT64_MAX, used = 0, size = 0;
    if (from->source == DICORE_FROM_FRAGMENTS || number >= from->wanted || from->wanted > from->entries
        || from->origin > reader->size
        || (table.width == 8 && (offsets.size / 8 < from->entries || lengths.size / 8 < from->entries)))
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    dicore_status status = entry(&table, number, &start);
    if (status == DICORE_OK && number + 1 < from->entries)
        status = entry(&table, number + 1, &stop);
    if (status != DICORE_OK)
        return dicore_fail(error, status, from->table_offset, 0x7FE00010);
    uint64_t room = reader->size - from->origin;
    for (uint64_t at = start; at != stop;) {
        uint8_t header[8];
        if (at > room || room - at < 8)
            return dicore_fail(error, DICORE_BAD_FRAGMENTS, from->origin + at, 0x7FE00010);
        status = get(reader, from->origin + at, header, 8);
        if (status != DICORE_OK)
            return dicore_fail(error, status, from->origin + at, 0x7FE00010);
        uint64_t length = load_u32le(header + 4);
        int item = kind_of(header);
        if (item == DELIMITER && stop == UINT64_MAX)
            break;
        if (item != ITEM || length > room - at - 8 || (stop != UINT64_MAX && length > stop - at - 8))
            return dicore_fail(error, DICORE_BAD_FRAGMENTS, from->origin + at, 0x7FE00010);
        if (frame.count < capacity)
            fragments[frame.count] = (dicore_fragment){.offset = from->origin + at + 8, .length = length};
        frame.count++;
        size += length;
        if (length || stop != UINT64_MAX) {
            used = frame.count; /* empty items at the end belong to no frame */
            frame.size = size;
        }
        at += 8 + length;
        if (stop == UINT64_MAX && at == room)
            break;
    }
    frame.count = used;
    if (used == 0)
        return dicore_fail(error, DICORE_BAD_FRAGMENTS, from->origin + start, 0x7FE00010);
    if (table.width == 8) { /* PS3.3 C.7.6.3.1.8 */
        uint64_t length = load_u64le(lengths.data + number * 8);
        if (used != 1 || length == 0 || length > frame.size)
            return dicore_fail(error, DICORE_BAD_FRAGMENTS, from->origin + start, 0x7FE00010);
        frame.size = length;
    }
    *out = frame;
    return used > capacity ? dicore_fail(error, DICORE_NO_MEMORY, from->origin + start, 0x7FE00010) : DICORE_OK;
}
