/* New bytes from old ones: changes spliced into a data set, and its encoding changed (PS3.5 7, annex A).
 *
 * A plan is a list of pieces. The level that something changes in is gone through sibling by sibling; a sibling without
 * changes inside is one run of the source, and runs that follow each other are one piece. Recursion goes down only where
 * something changes (everywhere when re-encoding), and no deeper than the tape, which has a depth limit. */
#include <string.h>

#include "dataset/deviation.h"
#include "dataset/element.h"

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        dicore_status try_status = (call);                                                                             \
        if (try_status != DICORE_OK)                                                                                   \
            return try_status;                                                                                         \
    } while (0)

enum { SOURCE = 0, LITERAL = 1, VALUE = 2 }; /* kinds of piece: pieces of one kind that touch are one */
enum { SMALL = 64 };                         /* a value up to this size is copied behind its header: fewer pieces */

/* Memory of the plan: blocks that never move, since pieces point into them. */
typedef struct block {
    struct block *before;
    size_t size, used; /* of `bytes` */
    uint8_t bytes[];
} block;

typedef struct operation { /* a change at one data set */
    uint32_t where;        /* 0: the top level, else 1 + tape index of the item */
    uint32_t tag;
    uint32_t change;
    uint32_t found; /* tape index of the element it replaces, DICORE_NO_ENTRY */
} operation;

typedef struct pair { /* something by its tag: what binary search goes over */
    uint32_t tag, index;
} pair;

typedef struct editor {
    const dicore_tape *tape;
    const uint8_t *data;
    size_t size;
    const dicore_change *changes;
    operation *operations; /* by where, then tag; one per element */
    size_t count, room;
    dicore_edit_options options;
    const dicore_allocator *allocator;
    dicore_plan plan;
    uint32_t change; /* the one being written, for the error */
    dicore_error *error;
} editor;

typedef struct level { /* a data set and what is known of it */
    const struct level *around;
    uint32_t first, stop;
    uint32_t where;
    unsigned to;    /* encoding to write; without reencode: that of new elements */
    int sign;       /* Pixel Representation here or around: 0, 1; -1: none; -2: not looked up */
    pair *creators; /* private creators in tag order; NULL: not collected, or none */
    uint32_t creator_count;
    int collected;
} level;

static dicore_status fail(editor *e, dicore_status status, uint64_t offset, uint32_t tag)
{
    return fail_at_depth(e->error, status, offset, tag, 0, e->change);
}

static void *get_memory(editor *e, size_t count, size_t each)
{
    if (count > SIZE_MAX / each)
        return NULL;
    return e->allocator->resize(e->allocator->context, NULL, 0, count * each);
}

static void give_back(editor *e, void *memory, size_t count, size_t each)
{
    if (memory)
        e->allocator->resize(e->allocator->context, memory, count * each, 0);
}

/* ---- sorting: in place, n log n whatever the input ------------------------------------------------------------------ */

static int operation_before(const operation *a, const operation *b)
{
    if (a->where != b->where)
        return a->where < b->where;
    return a->tag != b->tag ? a->tag < b->tag : a->change < b->change;
}

static int pair_before(const pair *a, const pair *b) { return a->tag != b->tag ? a->tag < b->tag : a->index < b->index; }

#define DEFINE_SORT(name, type, before)                                                                                \
    static void name(type *items, size_t count)                                                                        \
    {                                                                                                                  \
        size_t sorted = 1;                                                                                             \
        while (sorted < count && !before(&items[sorted], &items[sorted - 1]))                                          \
            sorted++;                                                                                                  \
        if (sorted >= count)                                                                                           \
            return;                                                                                                    \
        for (size_t heap = count / 2, end = count; end > 1;) { /* heapsort */                                          \
            size_t root;                                                                                               \
            type moved;                                                                                                \
            if (heap) {                                                                                                \
                moved = items[root = --heap];                                                                          \
            } else {                                                                                                   \
                moved = items[--end];                                                                                  \
                items[end] = items[root = 0];                                                                          \
            }                                                                                                          \
            for (size_t child; (child = 2 * root + 1) < end; root = child) {                                           \
                if (child + 1 < end && before(&items[child], &items[child + 1]))                                       \
                    child++;                                                                                           \
                if (!before(&moved, &items[child]))                                                                    \
                    break;                                                                                             \
                items[root] = items[child];                                                                            \
            }                                                                                                          \
            items[root] = moved;                                                                                       \
        }                                                                                                              \
    }

DEFINE_SORT(sort_operations, operation, operation_before)
DEFINE_SORT(sort_pairs, pair, pair_before)

/* ---- pieces --------------------------------------------------------------------------------------------------------- */

static dicore_status add_piece(editor *e, const uint8_t *data, size_t size, unsigned swap, uint32_t kind)
{
    dicore_plan *plan = &e->plan;
    if (size == 0)
        return DICORE_OK;
    plan->size += size;
    if (plan->count && swap == 0) {
        dicore_piece *last = &plan->pieces[plan->count - 1];
        if (last->kind == kind && last->swap == 0 && last->data + last->size == data) {
            last->size += size;
            return DICORE_OK;
        }
    }
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity ? plan->capacity * 2 : 64;
        if (capacity > SIZE_MAX / sizeof(dicore_piece))
            return fail(e, DICORE_NO_MEMORY, 0, 0);
        dicore_piece *pieces = e->allocator->resize(e->allocator->context, plan->pieces, plan->capacity * sizeof *pieces,
                                                    capacity * sizeof *pieces);
        if (!pieces)
            return fail(e, DICORE_NO_MEMORY, 0, 0);
        plan->pieces = pieces;
        plan->capacity = capacity;
    }
    plan->pieces[plan->count++] = (dicore_piece){data, size, swap, kind};
    plan->swapped += swap != 0;
    return DICORE_OK;
}

/* `size` bytes of the plan's own, to be written by the caller; NULL when there is no memory. */
static uint8_t *own_bytes(editor *e, size_t size)
{
    block *b = e->plan.memory;
    if (!b || b->size - b->used < size) {
        size_t room = size > 4064 ? size : 4064;
        if (room > SIZE_MAX - sizeof(block))
            return NULL;
        block *fresh = get_memory(e, room + sizeof(block), 1);
        if (!fresh)
            return NULL;
        *fresh = (block){.before = b, .size = room};
        e->plan.memory = b = fresh;
    }
    b->used += size;
    return b->bytes + b->used - size;
}

/* As the next piece. */
static uint8_t *literal(editor *e, size_t size)
{
    uint8_t *bytes = own_bytes(e, size);
    return bytes && add_piece(e, bytes, size, 0, LITERAL) == DICORE_OK ? bytes : NULL;
}

static void swap_copy(uint8_t *out, const uint8_t *data, size_t size, unsigned width)
{
    size_t i = 0, whole = size - size % width;
    switch (width) { /* each loop is one that compilers make vectors of */
    case 2:
        for (; i < whole; i += 2)
            store_u16le(out + i, load_u16be(data + i));
        break;
    case 4:
        for (; i < whole; i += 4)
            store_u32le(out + i, load_u32be(data + i));
        break;
    default:
        for (; i < whole; i += 8)
            store_u64le(out + i, load_u64be(data + i));
        break;
    }
    if (i < size)
        memcpy(out + i, data + i, size - i);
}

static dicore_status add_value(editor *e, const uint8_t *data, size_t size, unsigned swap, uint32_t kind)
{
    if (size > SMALL || size == 0)
        return add_piece(e, data, size, swap, kind);
    uint8_t *copy = literal(e, size);
    if (!copy)
        return fail(e, DICORE_NO_MEMORY, 0, 0);
    if (swap)
        swap_copy(copy, data, size, swap);
    else
        memcpy(copy, data, size);
    return DICORE_OK;
}

static dicore_status add_header(editor *e, unsigned to, uint32_t tag, uint16_t vr, uint32_t length, uint8_t **at)
{
    uint8_t header[12];
    size_t size = 0;
    if (dicore_write_element_header(header, sizeof header, (dicore_encoding)to, tag, vr, length, &size) != DICORE_OK)
        return fail(e, DICORE_BAD_VR, 0, tag);
    uint8_t *bytes = literal(e, size);
    if (!bytes)
        return fail(e, DICORE_NO_MEMORY, 0, tag);
    memcpy(bytes, header, size);
    if (at)
        *at = bytes + size - 4; /* where a length of 32 bits is */
    return DICORE_OK;
}

static unsigned swap_width(uint16_t vr)
{
    if (vr == VR('A', 'T')) /* PS3.5 6.2: two numbers of 16 bits */
        return 2;
    size_t width = dicore_vr_width(vr);
    return width > 1 ? (unsigned)width : 0;
}

/* A value with its header, in `to`; `big`: it is in big endian now, in numbers of `width` bytes, 0: as its VR has them. */
static dicore_status add_element(editor *e, unsigned to, uint32_t tag, uint16_t vr, const uint8_t *value, uint64_t size, int big,
                                 unsigned width, uint32_t kind)
{
    uint64_t padded = size + (size & 1);
    if (padded >= DICORE_UNDEFINED_LENGTH)
        return fail(e, DICORE_BAD_LENGTH, 0, tag);
    int to_big = (to & DICORE_ENTRY_BIG_ENDIAN) != 0;
    if ((to & DICORE_ENTRY_EXPLICIT) && padded > 0xFFFE && vr_in(SHORT_VRS, vr))
        to_big = 0; /* becomes UN, which is in little endian (PS3.5 6.2.2) */
    TRY(add_header(e, to, tag, vr, (uint32_t)padded, NULL));
    TRY(add_value(e, value, (size_t)size, big == to_big ? 0 : width ? width : swap_width(vr), kind));
    if (size & 1) {
        uint8_t *pad = literal(e, 1);
        if (!pad)
            return fail(e, DICORE_NO_MEMORY, 0, tag);
        *pad = vr == VR('U', 'I') || dicore_vr_width(vr) ? 0 : ' '; /* PS3.5 6.2 */
    }
    return DICORE_OK;
}

static dicore_status add_delimiter(editor *e, unsigned to, uint32_t tag) { return add_header(e, to, tag, 0, 0, NULL); }

/* The length of what was written since `start`, into the header at `length`; beyond 32 bits it is closed by `delimiter`. */
static dicore_status close_length(editor *e, unsigned to, uint64_t start, uint8_t *length, uint32_t delimiter)
{
    uint64_t size = e->plan.size - start;
    uint32_t said = size >= DICORE_UNDEFINED_LENGTH ? DICORE_UNDEFINED_LENGTH : (uint32_t)size;
    if (to & DICORE_ENTRY_BIG_ENDIAN)
        store_u32be(length, said);
    else
        store_u32le(length, said);
    return said == DICORE_UNDEFINED_LENGTH ? add_delimiter(e, to, delimiter) : DICORE_OK;
}

/* ---- VRs of elements that have none --------------------------------------------------------------------------------- */

static uint32_t collect_creators(editor *e, level *l, pair *out)
{
    uint32_t n = 0;
    for (uint32_t i = l->first; i < l->stop; i = e->tape->entries[i].next) {
        uint32_t tag = e->tape->entries[i].tag;
        if (!(tag & 0x10000) || (tag & 0xFFFF) < 0x10 || (tag & 0xFFFF) > 0xFF)
            continue;
        if (out)
            out[n] = (pair){tag, i};
        n++;
    }
    return n;
}

/* The private creator of `tag` (PS3.5 7.8.1): as dicore_tape_creator, in log n. */
static dicore_status creator_of(editor *e, level *l, uint32_t tag, dicore_span *out)
{
    *out = (dicore_span){0};
    if (!l->collected) {
        l->collected = 1;
        l->creator_count = collect_creators(e, l, NULL);
        if (l->creator_count) {
            l->creators = get_memory(e, l->creator_count, sizeof(pair));
            if (!l->creators)
                return fail(e, DICORE_NO_MEMORY, 0, tag);
            collect_creators(e, l, l->creators);
            sort_pairs(l->creators, l->creator_count);
        }
    }
    uint32_t block_tag = (tag & 0xFFFF0000) | (tag & 0xFFFF) >> 8, low = 0, high = l->creator_count;
    while (low < high) { /* behind the last one of that tag */
        uint32_t middle = low + (high - low) / 2;
        if (l->creators[middle].tag <= block_tag)
            low = middle + 1;
        else
            high = middle;
    }
    if (low && l->creators[low - 1].tag == block_tag) {
        const dicore_entry *c = &e->tape->entries[l->creators[low - 1].index];
        const uint8_t *value = e->data + c->offset + c->header;
        *out = (dicore_span){value, dicore_value_trim(value, (size_t)c->length)};
    }
    return DICORE_OK;
}

static int number_at(editor *e, uint32_t index)
{
    if (index == DICORE_NO_ENTRY || e->tape->entries[index].length < 2)
        return -1;
    const dicore_entry *entry = &e->tape->entries[index];
    const uint8_t *value = e->data + entry->offset + entry->header;
    return entry->flags & DICORE_ENTRY_BIG_ENDIAN ? load_u16be(value) : load_u16le(value);
}

static int pixel_sign(editor *e, level *l)
{
    if (l->sign == -2) {
        int here = number_at(e, dicore_tape_find(e->tape, l->first, l->stop, 0x00280103));
        l->sign = here >= 0 ? here > 0 : -1;
        if (here < 0)
            for (const level *o = l->around; o && l->sign < 0; o = o->around) {
                int there = number_at(e, dicore_tape_find(e->tape, o->first, o->stop, 0x00280103));
                l->sign = there >= 0 ? there > 0 : -1;
            }
    }
    return l->sign;
}

/* Bytes of a number of Pixel Data in OW whose cells take several words, else 0. PS3.5 6.2 turns the two bytes of a word; but
 * what writes cells of 32 bits in big endian writes big endian numbers, and that is how they are decoded. */
static unsigned cell_width(editor *e, const level *l, uint32_t tag, uint16_t vr)
{
    if (tag != DICORE_TAG_PIXEL_DATA || vr != DICORE_VR_OW)
        return 0;
    int bits = number_at(e, dicore_tape_find(e->tape, l->first, l->stop, 0x00280100));
    return bits == 32 ? 4 : bits == 64 ? 8 : 0;
}

/* What dicore_tape_vr says of an element without VR, without going over the siblings each time. */
static dicore_status find_vr(editor *e, level *l, uint32_t index, uint16_t *vr)
{
    const dicore_entry *entry = &e->tape->entries[index];
    uint32_t element = entry->tag & 0xFFFF;
    *vr = entry->vr;
    if (entry->flags & DICORE_ENTRY_SEQUENCE && !entry->vr)
        *vr = DICORE_VR_SQ;
    if (*vr)
        return DICORE_OK;
    if (entry->tag & 0x10000 && element >= 0x1000) {
        dicore_span creator;
        dicore_dictionary_entry known;
        TRY(creator_of(e, l, entry->tag, &creator));
        *vr = DICORE_VR_UN;
        if (creator.size == 0 || !dicore_dictionary_private(creator.data, creator.size, entry->tag, &known) || !known.vr[0])
            return DICORE_OK;
        if (known.vr[1] == 0) {
            *vr = known.vr[0];
            return DICORE_OK;
        }
        *vr = known.vr[0] == VR('U', 'S') && known.vr[1] == VR('S', 'S') ? (pixel_sign(e, l) > 0 ? VR('S', 'S') : VR('U', 'S'))
                                                                        : DICORE_VR_OW;
        return DICORE_OK;
    }
    uint32_t first = index, stop = index + 1; /* siblings are looked at for LUT Data only */
    int sign = -1;
    if (entry->tag == 0x00283006)
        first = l->first, stop = l->stop;
    else if (dicore_dictionary_vr(entry->tag) == VR('U', 'S') && entry->tag != 0x00280103)
        sign = pixel_sign(e, l);
    *vr = dicore_tape_vr(e->tape, e->data, e->size, first, stop, index, sign);
    return DICORE_OK;
}

/* ---- splicing ------------------------------------------------------------------------------------------------------- */

/* Where operations at `where` or beyond begin. */
static size_t operations_from(const editor *e, uint32_t where)
{
    size_t low = 0, high = e->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (e->operations[middle].where < where)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Does anything change inside the sequence or item `index`, or of itself? */
static int changes_within(const editor *e, uint32_t index)
{
    if (e->count == 0)
        return 0;
    size_t at = operations_from(e, index + 1);
    return at < e->count && e->operations[at].where <= e->tape->entries[index].next;
}

/* Whatever follows, this reads again as it did: it says itself where it ends. */
static int is_closed(const editor *e, const dicore_entry *entry)
{
    if (entry->flags & DICORE_ENTRY_TRUNCATED)
        return 0;
    if (entry->flags & DICORE_ENTRY_UNDEFINED)
        return (entry->flags & DICORE_ENTRY_DELIMITED) != 0;
    if (!(entry->flags & (DICORE_ENTRY_SEQUENCE | DICORE_ENTRY_ITEM)))
        return 1;
    return load_length(e->data + entry->offset + entry->header - 4, entry->flags) == entry->length; /* not stretched */
}

static dicore_status copy_entry(editor *e, const dicore_entry *entry)
{
    return add_piece(e, e->data + entry->offset,
                     (size_t)(entry->header + entry->length + (entry->flags & DICORE_ENTRY_DELIMITED ? 8 : 0)), 0, SOURCE);
}

static dicore_status add_level(editor *e, level *l);
static dicore_status add_range(editor *e, const level *around, uint32_t first, uint32_t stop, uint32_t where, unsigned to);

static int ends_undefined(const editor *e, const dicore_entry *entry)
{
    if (e->options.reencode && e->options.lengths != DICORE_LENGTHS_KEEP)
        return e->options.lengths == DICORE_LENGTHS_UNDEFINED;
    return (entry->flags & DICORE_ENTRY_UNDEFINED) != 0;
}

static dicore_status add_item(editor *e, const level *around, uint32_t index, unsigned to, int in_un)
{
    const dicore_entry *item = &e->tape->entries[index];
    if (!e->options.reencode) {
        if (!changes_within(e, index) && is_closed(e, item))
            return copy_entry(e, item);
        to = item->flags & DICORE_ENTRY_ENCODING;
        if (in_un && item->next == index + 1)
            to = DICORE_IMPLICIT_LE; /* nothing has said yet how it is encoded: as PS3.5 6.2.2 asks */
    }
    int undefined = ends_undefined(e, item);
    uint8_t *length;
    TRY(add_header(e, to, DICORE_TAG_ITEM, 0, undefined ? DICORE_UNDEFINED_LENGTH : 0, &length));
    uint64_t start = e->plan.size;
    TRY(add_range(e, around, index + 1, item->next, index + 1, to));
    return undefined ? add_delimiter(e, to, DICORE_TAG_ITEM_END) : close_length(e, to, start, length, DICORE_TAG_ITEM_END);
}

/* The item itself is deleted: the last operation at it, since no tag is higher. */
static int item_deleted(const editor *e, uint32_t index)
{
    size_t end = operations_from(e, index + 2);
    return end && e->operations[end - 1].where == index + 1 && e->operations[end - 1].tag == DICORE_TAG_ITEM;
}

static dicore_status add_sequence(editor *e, level *l, uint32_t index, unsigned to)
{
    const dicore_entry *entry = &e->tape->entries[index];
    uint16_t vr = entry->vr ? entry->vr : DICORE_VR_SQ;
    unsigned inside = to;
    if (e->options.reencode && vr != DICORE_VR_SQ) {
        if (to & DICORE_ENTRY_EXPLICIT) { /* stays UN, implicit inside (PS3.5 6.2.2) */
            vr = DICORE_VR_UN;
            inside = DICORE_IMPLICIT_LE;
        } else {
            vr = DICORE_VR_SQ;
        }
    }
    if (!e->options.reencode && index + 1 < entry->next)
        inside = e->tape->entries[index + 1].flags & DICORE_ENTRY_ENCODING; /* the byte order of the delimiter */
    int undefined = ends_undefined(e, entry);
    uint8_t *length;
    TRY(add_header(e, to, entry->tag, vr, undefined ? DICORE_UNDEFINED_LENGTH : 0, &length));
    uint64_t start = e->plan.size;
    for (uint32_t i = index + 1; i < entry->next; i = e->tape->entries[i].next)
        if (!(e->count && item_deleted(e, i)))
            TRY(add_item(e, l, i, inside, vr == DICORE_VR_UN));
    if (undefined)
        return add_delimiter(e, inside, DICORE_TAG_SEQUENCE_END);
    uint64_t size = e->plan.size - start;
    if (size >= DICORE_UNDEFINED_LENGTH && inside != to) /* its delimiter and its length differ in byte order: rare beyond words */
        return fail(e, DICORE_BAD_LENGTH, entry->offset, entry->tag);
    return close_length(e, to, start, length, DICORE_TAG_SEQUENCE_END);
}

static dicore_status add_entry(editor *e, level *l, uint32_t index)
{
    const dicore_entry *entry = &e->tape->entries[index];
    int sequence = (entry->flags & DICORE_ENTRY_SEQUENCE) != 0;
    unsigned to = e->options.reencode ? l->to : entry->flags & DICORE_ENTRY_ENCODING;
    if (!e->options.reencode && is_closed(e, entry) && !(sequence && changes_within(e, index)))
        return copy_entry(e, entry);
    if (sequence)
        return add_sequence(e, l, index, to);
    const uint8_t *value = e->data + entry->offset + entry->header;
    int big = (entry->flags & DICORE_ENTRY_BIG_ENDIAN) != 0;
    uint16_t vr = entry->vr;
    if (to & DICORE_ENTRY_EXPLICIT || big != ((to & DICORE_ENTRY_BIG_ENDIAN) != 0))
        TRY(find_vr(e, l, index, &vr));
    if (entry->flags & DICORE_ENTRY_FRAGMENTS && (entry->tag == DICORE_TAG_PIXEL_DATA || !e->options.reencode)) {
        if (big != ((to & DICORE_ENTRY_BIG_ENDIAN) != 0))
            return fail(e, DICORE_BAD_SYNTAX, entry->offset, entry->tag);
        TRY(add_header(e, to, entry->tag, vr, DICORE_UNDEFINED_LENGTH, NULL));
        TRY(add_value(e, value, (size_t)entry->length, 0, SOURCE));
        return add_delimiter(e, to, DICORE_TAG_SEQUENCE_END);
    }
    return add_element(e, to, entry->tag, vr, value, entry->length, big, cell_width(e, l, entry->tag, vr), SOURCE);
}

/* An element given whole, in `from`, brought into `to` by an editor of its own. */
static dicore_status add_encoded(editor *e, const uint8_t *data, size_t size, uint32_t tag, unsigned from, unsigned to)
{
    dicore_tape tape = {0};
    dicore_status status = dicore_tape_read(&tape, data, size, 0, (dicore_encoding)from, NULL, e->allocator, NULL);
    if (status == DICORE_OK && (tape.count == 0 || tape.entries[0].next != tape.count || tape.entries[0].tag != tag ||
                                tape.end != size))
        status = DICORE_BAD_VR;
    if (status == DICORE_OK) {
        editor outer = *e;
        e->tape = &tape;
        e->data = data;
        e->size = size;
        e->count = 0;
        e->options.reencode = 1;
        status = add_range(e, NULL, 0, tape.count, 0, to);
        e->tape = outer.tape;
        e->data = outer.data;
        e->size = outer.size;
        e->count = outer.count;
        e->options.reencode = outer.options.reencode;
    }
    dicore_tape_free(&tape, e->allocator);
    return status == DICORE_OK ? DICORE_OK : fail(e, status == DICORE_NO_MEMORY || status == DICORE_BAD_SYNTAX ||
                                                     status == DICORE_BAD_LENGTH ? status : DICORE_BAD_VR, 0, tag);
}

/* The new element of a change, in `to`. */
static dicore_status add_change(editor *e, uint32_t number, unsigned to)
{
    const dicore_change *c = &e->changes[number];
    dicore_status status = DICORE_OK;
    e->change = number;
    /* as it is given, when nothing about it has to change */
    unsigned from = c->encoded == 2 ? DICORE_EXPLICIT_BE : DICORE_EXPLICIT_LE;
    int plain = to == from && !(e->options.reencode && (e->options.lengths || e->options.canonical));
    if (c->encoded) {
        dicore_element_header h;
        if (read_header(c->value.data, c->value.size, from, &h) != DICORE_OK)
            status = fail(e, DICORE_BAD_VR, 0, c->tag);
        else if (h.tag != c->tag)
            status = fail(e, DICORE_BAD_TAG, 0, h.tag);
        else if (h.vr == DICORE_VR_SQ || h.length == DICORE_UNDEFINED_LENGTH)
            status = plain ? add_value(e, c->value.data, c->value.size, 0, VALUE)
                           : add_encoded(e, c->value.data, c->value.size, c->tag, from, to);
        else if (h.length != c->value.size - h.size)
            status = fail(e, DICORE_BAD_VR, 0, c->tag);
        else
            status = add_element(e, to, c->tag, h.vr, c->value.data + h.size, h.length, from == DICORE_EXPLICIT_BE,
                                 0, VALUE);
    } else if (c->vr == DICORE_VR_SQ && !plain && c->value.size) {
        uint8_t *whole = c->value.size < 0xFFFFFFFEu ? own_bytes(e, c->value.size + 12) : NULL;
        size_t header;
        if (!whole)
            return fail(e, c->value.size < 0xFFFFFFFEu ? DICORE_NO_MEMORY : DICORE_BAD_LENGTH, 0, c->tag);
        dicore_write_element_header(whole, 12, DICORE_EXPLICIT_LE, c->tag, c->vr, (uint32_t)c->value.size, &header);
        memcpy(whole + 12, c->value.data, c->value.size);
        status = add_encoded(e, whole, c->value.size + 12, c->tag, from, to);
    } else {
        status = add_element(e, to, c->tag, c->vr, c->value.data, c->value.size, 0, 0, VALUE);
    }
    e->change = 0;
    return status;
}

/* New elements that come before `tag`. */
static dicore_status add_new(editor *e, size_t *at, size_t end, uint64_t tag, unsigned to)
{
    for (; *at < end && e->operations[*at].tag < tag; ++*at) {
        const operation *o = &e->operations[*at];
        uint8_t kind = e->changes[o->change].kind;
        if (o->found == DICORE_NO_ENTRY && (kind == DICORE_CHANGE_PUT || kind == DICORE_CHANGE_ADD))
            TRY(add_change(e, o->change, to));
    }
    return DICORE_OK;
}

/* The operation on `tag` among operations[*at .. end): siblings mostly come in order, and then `*at` only moves on. */
static operation *operation_on(editor *e, size_t begin, size_t end, size_t *at, uint32_t tag)
{
    if (*at > begin && e->operations[*at - 1].tag >= tag) { /* out of order */
        size_t low = begin, high = end;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (e->operations[middle].tag < tag)
                low = middle + 1;
            else
                high = middle;
        }
        *at = low;
    }
    while (*at < end && e->operations[*at].tag < tag)
        ++*at;
    return *at < end && e->operations[*at].tag == tag ? &e->operations[*at] : NULL;
}

static dicore_status add_sibling(editor *e, level *l, uint32_t index, size_t begin, size_t end, size_t *at, size_t *fresh)
{
    const dicore_entry *entry = &e->tape->entries[index];
    operation *o = operation_on(e, begin, end, at, entry->tag);
    TRY(add_new(e, fresh, end, entry->tag, l->to));
    if (o && e->changes[o->change].kind != DICORE_CHANGE_ADD) {
        if (o->found != index || e->changes[o->change].kind == DICORE_CHANGE_DELETE)
            return DICORE_OK;
        return add_change(e, o->change, l->to);
    }
    return add_entry(e, l, index);
}

/* `tag` lies between the operations before and at `at`: nothing is done to it. */
static inline int between(const editor *e, size_t begin, size_t end, size_t at, uint32_t tag)
{
    return (at == end || tag < e->operations[at].tag) && (at == begin || e->operations[at - 1].tag < tag);
}

/* Siblings from `i` on that nothing changes and that say themselves where they end, as one run where they touch. Only faster
 * than add_sibling for each. Returns the first sibling that is not one. */
static uint32_t add_run(editor *e, const level *l, uint32_t i, size_t begin, size_t end, size_t at, size_t fresh,
                        dicore_status *status)
{
    uint64_t from = 0, to = 0;
    for (; i < l->stop; i = e->tape->entries[i].next) {
        const dicore_entry *entry = &e->tape->entries[i];
        if (!between(e, begin, end, at, entry->tag) || (fresh < end && e->operations[fresh].tag < entry->tag) ||
            (entry->tag & 0xFFFF) == 0 ||
            entry->flags & (DICORE_ENTRY_SEQUENCE | DICORE_ENTRY_UNDEFINED | DICORE_ENTRY_TRUNCATED))
            break;
        if (entry->offset != to) {
            *status = add_piece(e, e->data + from, (size_t)(to - from), 0, SOURCE);
            if (*status != DICORE_OK)
                return i;
            from = entry->offset;
        }
        to = entry->offset + entry->header + entry->length;
    }
    *status = add_piece(e, e->data + from, (size_t)(to - from), 0, SOURCE);
    return i;
}

static dicore_status add_level(editor *e, level *l)
{
    const dicore_entry *entries = e->tape->entries;
    size_t begin = e->count ? operations_from(e, l->where) : 0, end = begin;
    while (end < e->count && e->operations[end].where == l->where)
        end++;
    size_t at = begin, fresh = begin;
    dicore_status status = DICORE_OK;
    if (begin < end)
        for (uint32_t i = l->first; i < l->stop; i = entries[i].next) {
            if (between(e, begin, end, at, entries[i].tag))
                continue;
            operation *o = operation_on(e, begin, end, &at, entries[i].tag);
            if (o)
                o->found = i;
        }
    at = begin;
    /* a group length counts what has changed: dropped, but for one that is set on purpose */
    int ordered = 1;
    if (e->options.reencode && e->options.canonical)
        for (uint32_t i = l->first, last = 0; i < l->stop && ordered; last = entries[i].tag, i = entries[i].next)
            ordered = i == l->first || entries[i].tag > last;
    if (ordered) {
        for (uint32_t i = l->first; i < l->stop; i = entries[i].next) {
            if (!e->options.reencode) {
                i = add_run(e, l, i, begin, end, at, fresh, &status);
                if (status != DICORE_OK || i >= l->stop)
                    break;
            }
            if ((entries[i].tag & 0xFFFF) != 0 || operation_on(e, begin, end, &at, entries[i].tag))
                TRY(add_sibling(e, l, i, begin, end, &at, &fresh));
        }
        if (status != DICORE_OK)
            return status;
        return add_new(e, &fresh, end, (uint64_t)1 << 32, l->to);
    }
    size_t count = 0;
    for (uint32_t i = l->first; i < l->stop; i = entries[i].next)
        count++;
    pair *sorted = get_memory(e, count, sizeof *sorted);
    if (!sorted)
        return fail(e, DICORE_NO_MEMORY, 0, 0);
    size_t n = 0;
    for (uint32_t i = l->first; i < l->stop; i = entries[i].next)
        sorted[n++] = (pair){entries[i].tag, i};
    sort_pairs(sorted, count);
    for (size_t k = 0; k < count && status == DICORE_OK; k++)
        if ((k + 1 == count || sorted[k + 1].tag != sorted[k].tag) && /* of twins the last one counts */
            ((sorted[k].tag & 0xFFFF) != 0 || operation_on(e, begin, end, &at, sorted[k].tag)))
            status = add_sibling(e, l, sorted[k].index, begin, end, &at, &fresh);
    give_back(e, sorted, count, sizeof *sorted);
    return status == DICORE_OK ? add_new(e, &fresh, end, (uint64_t)1 << 32, l->to) : status;
}

static dicore_status add_range(editor *e, const level *around, uint32_t first, uint32_t stop, uint32_t where, unsigned to)
{
    level l = {.around = around, .first = first, .stop = stop, .where = where, .to = to, .sign = -2};
    dicore_status status = add_level(e, &l);
    give_back(e, l.creators, l.creator_count, sizeof(pair));
    return status;
}

/* ---- from changes to operations ------------------------------------------------------------------------------------- */

static dicore_status add_operation(editor *e, uint32_t where, uint32_t number)
{
    if (e->count == e->room) {
        size_t room = e->room ? e->room * 2 : 32;
        operation *larger = room > SIZE_MAX / sizeof(operation) ? NULL :
            e->allocator->resize(e->allocator->context, e->operations, e->room * sizeof(operation), room * sizeof(operation));
        if (!larger)
            return fail(e, DICORE_NO_MEMORY, 0, 0);
        e->operations = larger;
        e->room = room;
    }
    e->operations[e->count++] = (operation){where, e->changes[number].tag, number, DICORE_NO_ENTRY};
    return DICORE_OK;
}

static dicore_status follow(editor *e, uint32_t number, uint32_t step, uint32_t first, uint32_t stop, uint32_t where, int must)
{
    const dicore_change *c = &e->changes[number];
    if (step == c->path_length)
        return add_operation(e, where, number);
    const dicore_step *s = &c->path[step];
    uint32_t sequence = dicore_tape_find(e->tape, first, stop, s->tag), item = 0;
    if (s->item == DICORE_EVERY_ITEM)
        must = 0;
    if (sequence != DICORE_NO_ENTRY && e->tape->entries[sequence].flags & DICORE_ENTRY_SEQUENCE)
        for (uint32_t i = sequence + 1, end = e->tape->entries[sequence].next; i < end; i = e->tape->entries[i].next, item++) {
            if (s->item == DICORE_EVERY_ITEM || s->item == item)
                TRY(follow(e, number, step + 1, i + 1, e->tape->entries[i].next, i + 1, must));
            if (s->item == item)
                return DICORE_OK;
        }
    return must ? fail_at_depth(e->error, DICORE_NO_ITEM, 0, s->tag, step, number) : DICORE_OK;
}

static dicore_status take_changes(editor *e, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const dicore_change *c = &e->changes[i];
        e->change = (uint32_t)i;
        if (c->kind > DICORE_CHANGE_DELETE || c->encoded > 2 || (c->path_length && (!c->path || c->item)) || (c->value.size && !c->value.data) ||
            c->path_length > DICORE_DEPTH_MAX)
            return fail(e, DICORE_BAD_ARGUMENT, 0, c->tag);
        if (c->tag >> 16 == 0xFFFE && !(c->tag == DICORE_TAG_ITEM && c->kind == DICORE_CHANGE_DELETE && (c->path_length || c->item)))
            return fail(e, DICORE_BAD_TAG, 0, c->tag);
        if (c->kind != DICORE_CHANGE_DELETE && !c->encoded && !(is_capital(c->vr >> 8) && is_capital(c->vr & 0xFF)))
            return fail(e, DICORE_BAD_VR, 0, c->tag);
        if (c->path_length) {
            TRY(follow(e, (uint32_t)i, 0, 0, e->tape->count, 0, c->kind == DICORE_CHANGE_PUT || c->kind == DICORE_CHANGE_ADD));
        } else {
            if (c->item && (c->item >= e->tape->count || !(e->tape->entries[c->item].flags & DICORE_ENTRY_ITEM)))
                return fail(e, DICORE_BAD_ARGUMENT, 0, c->tag);
            TRY(add_operation(e, c->item ? c->item + 1 : 0, (uint32_t)i));
        }
    }
    e->change = 0;
    sort_operations(e->operations, e->count);
    size_t kept = 0; /* of two on one element the later one */
    for (size_t i = 0; i < e->count; i++)
        if (i + 1 == e->count || e->operations[i + 1].where != e->operations[i].where ||
            e->operations[i + 1].tag != e->operations[i].tag)
            e->operations[kept++] = e->operations[i];
    e->count = kept;
    return DICORE_OK;
}

/* ---- public --------------------------------------------------------------------------------------------------------- */

dicore_status dicore_edit_plan(dicore_plan *plan, const dicore_tape *tape, const uint8_t *data, size_t size,
                               dicore_encoding encoding, const dicore_change *changes, size_t count,
                               const dicore_edit_options *options, const dicore_allocator *allocator, dicore_error *error)
{
    editor e = {.tape = tape, .data = data, .size = size, .changes = changes, .allocator = allocator, .error = error,
                .options = options ? *options : (dicore_edit_options){0}};
    uint32_t item = e.options.item;
    if (!plan || !tape || !allocator || (size && !data) || (count && !changes) || count > UINT32_MAX ||
        (unsigned)encoding > DICORE_EXPLICIT_BE || e.options.encoding > DICORE_EXPLICIT_BE ||
        e.options.lengths > DICORE_LENGTHS_UNDEFINED ||
        (item && (item >= tape->count || !(tape->entries[item].flags & DICORE_ENTRY_ITEM))))
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    if (!e.options.reencode)
        e.options.lengths = e.options.canonical = 0;
    dicore_status status = take_changes(&e, count);
    if (status == DICORE_OK) {
        unsigned from = item ? tape->entries[item].flags & DICORE_ENTRY_ENCODING : (unsigned)encoding;
        unsigned to = e.options.reencode ? e.options.encoding : from;
        if (item)
            status = add_range(&e, NULL, item + 1, tape->entries[item].next, item + 1, to);
        else
            status = add_range(&e, NULL, 0, tape->count, 0, to);
    }
    if (status == DICORE_OK && e.plan.size > SIZE_MAX)
        status = fail(&e, DICORE_BAD_LENGTH, 0, 0);
    give_back(&e, e.operations, e.room, sizeof(operation));
    if (status != DICORE_OK) {
        dicore_plan_free(&e.plan, allocator);
        return status;
    }
    *plan = e.plan;
    return DICORE_OK;
}

dicore_status dicore_plan_emit(const dicore_plan *plan, uint8_t *out, size_t capacity)
{
    if (plan->size > capacity)
        return DICORE_NO_MEMORY;
    for (size_t i = 0; i < plan->count; i++) {
        const dicore_piece *piece = &plan->pieces[i];
        if (piece->swap)
            swap_copy(out, piece->data, piece->size, piece->swap);
        else
            memcpy(out, piece->data, piece->size);
        out += piece->size;
    }
    return DICORE_OK;
}

dicore_status dicore_plan_spans(const dicore_plan *plan, dicore_span *out, size_t capacity)
{
    if (plan->swapped)
        return DICORE_BAD_ARGUMENT;
    if (plan->count > capacity)
        return DICORE_NO_MEMORY;
    for (size_t i = 0; i < plan->count; i++)
        out[i] = (dicore_span){plan->pieces[i].data, plan->pieces[i].size};
    return DICORE_OK;
}

void dicore_plan_free(dicore_plan *plan, const dicore_allocator *allocator)
{
    for (block *b = plan->memory, *before; b; b = before) {
        before = b->before;
        allocator->resize(allocator->context, b, sizeof(block) + b->size, 0);
    }
    if (plan->pieces)
        allocator->resize(allocator->context, plan->pieces, plan->capacity * sizeof(dicore_piece), 0);
    *plan = (dicore_plan){0};
}

dicore_status dicore_edit(const dicore_tape *tape, const uint8_t *data, size_t size, dicore_encoding encoding,
                          const dicore_change *changes, size_t count, const dicore_edit_options *options,
                          const dicore_allocator *allocator, uint8_t **out, size_t *out_size, dicore_error *error)
{
    dicore_plan plan;
    TRY(dicore_edit_plan(&plan, tape, data, size, encoding, changes, count, options, allocator, error));
    size_t total = (size_t)plan.size;
    uint8_t *bytes = allocator->resize(allocator->context, NULL, 0, total ? total : 1);
    if (bytes) {
        dicore_plan_emit(&plan, bytes, total);
        *out = bytes;
        *out_size = total;
    }
    dicore_plan_free(&plan, allocator);
    return bytes ? DICORE_OK : dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
}

dicore_status dicore_convert(const dicore_tape *tape, const uint8_t *data, size_t size, dicore_encoding from,
                             dicore_encoding to, int canonical, const dicore_allocator *allocator, uint8_t **out,
                             size_t *out_size, dicore_error *error)
{
    dicore_edit_options options = {.reencode = 1, .encoding = (uint8_t)to, .canonical = canonical != 0,
                                   .lengths = canonical ? DICORE_LENGTHS_DEFINED : DICORE_LENGTHS_KEEP};
    if ((unsigned)to > DICORE_EXPLICIT_BE)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    return dicore_edit(tape, data, size, from, NULL, 0, &options, allocator, out, out_size, error);
}
