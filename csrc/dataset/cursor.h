/* The one loop over elements, inlined into walk.c, select.c and tape.c, which differ in what they do with an element.
 *
 * State is a stack of frames: frame 0 is the data set, each further one a sequence together with its current item. A frame
 * is either between items or in one. Positions only grow, each call moves at least one header on or closes a frame, and
 * whatever is searched for is remembered, so that the work is linear in the input however hostile it is. */
#ifndef DICORE_DATASET_CURSOR_H
#define DICORE_DATASET_CURSOR_H

#include <string.h>

#include "dataset/deviation.h"
#include "dataset/element.h"

typedef enum cursor_mode { CURSOR_WALK, CURSOR_SELECT } cursor_mode;

enum {
    FRAME_SEQUENCE_UNDEFINED = 1,
    FRAME_ITEM_UNDEFINED = 2,
    FRAME_IN_ITEM = 4,
    FRAME_UN = 8 /* the sequence is a UN of undefined length: implicit VR little endian inside (PS3.5 6.2.2) */
};

/* Strictly, a deviation ends the reading. Everything that a cursor function needs is called the same everywhere. */
#define DEVIATE(code, offset, tag)                                                                                     \
    do {                                                                                                               \
        c->noted++;                                                                                                    \
        if (note_deviation(&c->options, (code), (offset), (tag)))                                                      \
            return fail_at_depth(error, DICORE_DEVIATION, (offset), (tag), c->depth, (code));                          \
    } while (0)

static inline int item_tag_at(const uint8_t *p)
{
    return load_tag_le(p) == DICORE_TAG_ITEM || load_tag_be(p) == DICORE_TAG_ITEM;
}

static inline dicore_status cursor_begin(dicore_walk *c, const uint8_t *data, size_t size, uint64_t start,
                                         dicore_encoding encoding, const dicore_read_options *options)
{
    if (start > size || (unsigned)encoding > DICORE_EXPLICIT_BE || (size && !data))
        return DICORE_BAD_ARGUMENT;
    c->data = data;
    c->size = size;
    c->position = start;
    c->options = options ? *options : (dicore_read_options){0};
    if (c->options.depth_limit == 0)
        c->options.depth_limit = DICORE_DEPTH_DEFAULT;
    if (c->options.depth_limit > DICORE_DEPTH_MAX)
        c->options.depth_limit = DICORE_DEPTH_MAX;
    c->depth = 0;
    c->noted = 0;
    c->tape = NULL;
    c->closed_length = 0;
    c->nonzero = 0;
    c->broken_fragments = 0;
    c->closed_delimited = 0;
    c->stop = UINT32_MAX;
    c->frames[0] = (dicore_walk_frame){.sequence_end = size, .item_end = size, .hard_end = size,
                                       .encoding = (uint8_t)encoding, .items_encoding = (uint8_t)encoding,
                                       .flags = FRAME_IN_ITEM};
    return DICORE_OK;
}

/* The entry of something that was open is complete: its value ends at `end`. */
static inline void close_entry(const dicore_walk *c, uint32_t index, uint64_t end, int delimited)
{
    if (c->tape) {
        dicore_entry *entry = c->tape->entries + index;
        entry->length = end - entry->offset - entry->header;
        entry->next = c->tape->count;
        if (delimited)
            entry->flags |= DICORE_ENTRY_DELIMITED;
    }
}

static inline void close_item(dicore_walk *c, dicore_walk_frame *f, int delimited)
{
    close_entry(c, f->item_entry, c->position, delimited);
    f->flags &= (uint8_t)~(FRAME_IN_ITEM | FRAME_ITEM_UNDEFINED);
}

static inline void close_sequence(dicore_walk *c, dicore_walk_frame *f, int delimited)
{
    close_entry(c, f->sequence_entry, c->position, delimited);
    if (--c->depth == 0) {
        c->closed_length = c->position; /* made relative by select, which knows the beginning */
        c->closed_delimited = (uint32_t)delimited;
    }
}

/* ---- the unusual, in walk.c. DICORE_END from these means: look again where the cursor stands now -------------------- */

/* The private creator of `block` (group << 16 | block number) among the elements from `at` on: its value, or an empty span.
 * PS3.5 7.8.1: creators stand before what they reserve, and a group has at most 240. */
dicore_span cursor_find_creator(const uint8_t *data, uint64_t at, uint64_t end, unsigned encoding, uint32_t block);

/* Fewer than 8 bytes are left in the innermost item, or none. DICORE_END here is the end of the data set. */
dicore_status cursor_edge(dicore_walk *c, dicore_walk_frame *f, dicore_error *error);

/* Between items: the next item (`*have` becomes 1), or the end of the sequence. */
dicore_status cursor_item(dicore_walk *c, dicore_walk_frame *f, dicore_entry *out, int *have, dicore_error *error);

/* FFFE,E000 E00D or E0DD where an element could stand. */
dicore_status cursor_delimiter(dicore_walk *c, dicore_walk_frame *f, uint32_t tag, uint32_t length, dicore_error *error);

/* A header that is cut off, has no VR where there must be one, or one that nobody knows: fills `h` all the same. */
dicore_status cursor_odd_header(dicore_walk *c, dicore_walk_frame *f, dicore_status why, dicore_element_header *h,
                                unsigned *encoding, dicore_error *error);

/* A tag 0000,0000: is there nothing but zeros from here to the end? */
dicore_status cursor_padding(dicore_walk *c, dicore_walk_frame *f, dicore_error *error);

/* The private element `tag` stands at c->position: is it, or has it, a creator? */
dicore_status cursor_private(dicore_walk *c, dicore_walk_frame *f, uint32_t tag, dicore_error *error);

/* Whether nothing is to be said of the private `tag` at `position`: it is a creator, or its block has one, which `f` then
 * knows. The part of cursor_private that is no deviation. */
int cursor_enter_block(const uint8_t *data, uint64_t position, dicore_walk_frame *f, uint32_t tag);

/* Is an element without a telling VR a sequence? */
int cursor_is_sequence(const dicore_walk *c, const dicore_walk_frame *f, const dicore_entry *e);

/* Where a value of undefined length that is not a sequence ends (PS3.5 A.4): sets length and flags. */
dicore_status cursor_fragments(dicore_walk *c, const dicore_walk_frame *f, dicore_entry *e, dicore_error *error);

/* A value that ends beyond what surrounds it: stretches that, or cuts the value. */
dicore_status cursor_overrun(dicore_walk *c, dicore_walk_frame *f, dicore_entry *e, dicore_error *error);

/* The element as nearly all are: explicit or implicit VR little endian, in order, a known VR, an even length that
 * fits, no sequence. 1 when one stands at data[*position], and then `*out` is it, `*position` behind it and `*last` its
 * tag; else nothing has changed but what cursor_enter_block keeps in `f`.
 * cursor_next does the same and everything else; this is only faster: one load has tag, VR and short length, and what
 * goes from one element to the next stays in registers where it is called in a loop. */
static inline __attribute__((always_inline)) int plain_element(const uint8_t *data, uint64_t end, unsigned encoding, unsigned depth,
                                                              dicore_walk_frame *f, uint64_t *position, uint32_t *last,
                                                              dicore_entry *out)
{
    if (end < 16 || *position > end - 16)
        return 0;
    const uint8_t *p = data + *position;
    const uint64_t word = load_u64le(p);
    const uint32_t tag = (uint32_t)word << 16 | (uint32_t)word >> 16;
    uint32_t length, header = 8;
    uint16_t vr = 0;
    if (tag <= *last || tag >= 0xFFFE0000u)
        return 0;
    if (tag & 0x10000 && f->block != ((tag & 0xFFFF0000) | (tag >> 8 & 0xFF)) && !cursor_enter_block(data, *position, f, tag))
        return 0;
    if (encoding == DICORE_EXPLICIT_LE) {
        const unsigned kind = vr_kind((unsigned)(word >> 32) & 0xFFFF);
        vr = (uint16_t)((word >> 24 & 0xFF00) | (word >> 40 & 0xFF));
        length = (uint32_t)(word >> 48);
        if (kind != VR_KIND_SHORT) {
            if (kind != VR_KIND_LONG)
                return 0;
            length = load_u32le(p + 8);
            header = 12;
        }
    } else {
        length = (uint32_t)(word >> 32);
        if (load_u32le(p + 8) == 0xE000FFFEu) /* perhaps an item */
            return 0;
    }
    if (length & 1 || length > end - *position - header) /* an undefined length is odd, too */
        return 0;
    if ((tag & 0x1FF00) == 0x10000 && length && p[header] > ' ') /* a creator: what follows is its block as a rule */
        f->block = tag;
    out->offset = *position;
    out->length = length;
    out->tag = tag;
    out->next = 0;
    out->vr = vr;
    out->flags = (uint16_t)encoding;
    out->header = (uint8_t)header;
    out->depth = (uint8_t)depth;
    out->reserved = 0;
    *last = tag;
    *position += (uint64_t)header + length; /* up to 4 GiB and 10 bytes */
    return 1;
}

static inline int cursor_plain(dicore_walk *c, dicore_walk_frame *f, dicore_entry *out)
{
    if (!(f->flags & FRAME_IN_ITEM) || f->encoding > DICORE_EXPLICIT_LE)
        return 0;
    return plain_element(c->data, f->item_end, f->encoding, c->depth, f, &c->position, &f->last_tag, out);
}

/* As many of them as stand here in a row; what goes from one to the next stays in registers. */
static inline size_t plain_elements(dicore_walk *c, dicore_entry *out, size_t capacity)
{
    dicore_walk_frame *f = &c->frames[c->depth];
    if (!(f->flags & FRAME_IN_ITEM) || f->encoding > DICORE_EXPLICIT_LE)
        return 0;
    const uint8_t *data = c->data;
    const uint64_t end = f->item_end;
    const unsigned encoding = f->encoding, depth = c->depth;
    uint64_t position = c->position;
    uint32_t last = f->last_tag;
    size_t count = 0;
    if (encoding == DICORE_EXPLICIT_LE)
        while (count < capacity && plain_element(data, end, DICORE_EXPLICIT_LE, depth, f, &position, &last, &out[count]))
            count++;
    else
        while (count < capacity && plain_element(data, end, encoding, depth, f, &position, &last, &out[count]))
            count++;
    c->position = position;
    f->last_tag = last;
    return count;
}

static inline dicore_status cursor_next(dicore_walk *c, cursor_mode mode, dicore_entry *out, dicore_error *error)
{
    c->noted = 0;
    for (;;) {
        dicore_walk_frame *f = &c->frames[c->depth];
        if (mode == CURSOR_WALK && c->noted == 0 && cursor_plain(c, f, out))
            return DICORE_OK;
        dicore_status status;
        if (!(f->flags & FRAME_IN_ITEM)) {
            int have = 0;
            status = cursor_item(c, f, out, &have, error);
            if (status != DICORE_OK || have)
                return status;
            continue;
        }
        uint64_t position = c->position;
        if (position + 8 > f->item_end) {
            status = cursor_edge(c, f, error);
            if (status != DICORE_OK)
                return status;
            continue;
        }
        const uint8_t *p = c->data + position;
        unsigned encoding = f->encoding;
        dicore_element_header h;
        status = read_header(p, f->item_end - position, encoding, &h);
        if (status != DICORE_OK || (h.size == 12 && !vr_in(KNOWN_VRS, h.vr))) {
            status = cursor_odd_header(c, f, status, &h, &encoding, error);
            if (status == DICORE_END)
                continue;
            if (status != DICORE_OK)
                return status;
        }
        if (mode == CURSOR_SELECT && h.tag > c->stop && c->depth == 0 && !tag_has_no_vr(h.tag))
            return DICORE_END;
        if (h.tag <= f->last_tag || h.tag >= 0xFFFE0000u) { /* the unusual, kept out of the way */
            if (tag_has_no_vr(h.tag)) {
                status = cursor_delimiter(c, f, h.tag, h.length, error);
                if (status != DICORE_END)
                    return status;
                continue;
            }
            if (h.tag == 0 && c->depth == 0) {
                status = cursor_padding(c, f, error);
                if (status == DICORE_END)
                    continue;
                if (status != DICORE_OK)
                    return status;
            }
            if (h.tag < f->last_tag)
                DEVIATE(DICORE_DEV_ORDER, position, h.tag);
            else if (h.tag == f->last_tag && h.tag != 0)
                DEVIATE(DICORE_DEV_TWICE, position, h.tag);
        }
        f->last_tag = h.tag;
        if (h.tag & 0x10000) {
            status = cursor_private(c, f, h.tag, error);
            if (status != DICORE_OK)
                return status;
        }
        dicore_entry e = {.offset = position, .length = h.length, .tag = h.tag, .vr = h.vr, .flags = (uint16_t)encoding,
                          .header = h.size, .depth = (uint8_t)c->depth};
        uint64_t value = position + h.size;
        int sequence = h.vr == DICORE_VR_SQ, undefined = h.length == DICORE_UNDEFINED_LENGTH;
        if (undefined) {
            e.flags |= DICORE_ENTRY_UNDEFINED;
            sequence |= (h.vr == DICORE_VR_UN || h.vr == 0) && cursor_is_sequence(c, f, &e);
            if (!sequence) {
                status = cursor_fragments(c, f, &e, error);
                if (status != DICORE_OK)
                    return status;
            }
        } else {
            if (h.length & 1)
                DEVIATE(DICORE_DEV_ODD_LENGTH, position, h.tag);
            if (h.length > f->item_end - value) {
                status = cursor_overrun(c, f, &e, error);
                if (status != DICORE_OK)
                    return status;
            }
            if (mode == CURSOR_SELECT)
                sequence = 0; /* skipped by its length */
            else if ((h.vr == 0 || h.vr == DICORE_VR_UN) && e.length >= 8 && c->size - value >= 8 &&
                     item_tag_at(c->data + value))
                sequence = cursor_is_sequence(c, f, &e);
        }
        if (!sequence) {
            c->position = value + e.length + (e.flags & DICORE_ENTRY_DELIMITED ? 8 : 0);
        } else {
            if (c->depth >= c->options.depth_limit)
                return fail_at_depth(error, DICORE_TOO_DEEP, position, h.tag, c->depth, c->options.depth_limit);
            e.flags |= DICORE_ENTRY_SEQUENCE;
            uint64_t end = undefined || value + e.length > f->item_end ? f->item_end : value + e.length;
            dicore_walk_frame *g = &c->frames[++c->depth];
            *g = (dicore_walk_frame){.sequence_end = end, .item_end = end, .hard_end = undefined ? f->hard_end : end,
                                     .sequence_entry = c->tape ? c->tape->count : 0, .items_encoding = (uint8_t)encoding};
            if (undefined)
                g->flags |= FRAME_SEQUENCE_UNDEFINED;
            if (h.vr == DICORE_VR_UN) {
                g->flags |= FRAME_UN;
                /* PS3.5 6.2.2: little endian also in a big endian file; as the items say, when they say otherwise */
                if (end - value >= 4)
                    g->items_encoding = (uint8_t)(DICORE_ENTRY_EXPLICIT |
                                                  (load_tag_be(c->data + value) == DICORE_TAG_ITEM ? DICORE_ENTRY_BIG_ENDIAN : 0));
            }
            c->position = value;
        }
        if (c->noted)
            e.flags |= DICORE_ENTRY_DEVIATES;
        *out = e;
        return DICORE_OK;
    }
}

#endif
