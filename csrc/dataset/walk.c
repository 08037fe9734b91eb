/* The cursor's public face, and what it does with everything unusual. */
#include "dataset/cursor.h"

dicore_status dicore_walk_begin(dicore_walk *walk, const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding,
                                const dicore_read_options *options)
{
    return cursor_begin(walk, data, size, start, encoding, options);
}

/* Apart, so that the usual element does not pay for the registers that the unusual needs. */
static __attribute__((noinline)) dicore_status next_of_any_kind(dicore_walk *walk, dicore_entry *out, dicore_error *error)
{
    return cursor_next(walk, CURSOR_WALK, out, error);
}

dicore_status dicore_walk_next(dicore_walk *walk, dicore_entry *out, dicore_error *error)
{
    if (cursor_plain(walk, &walk->frames[walk->depth], out))
        return DICORE_OK;
    return next_of_any_kind(walk, out, error);
}

dicore_status dicore_walk_some(dicore_walk *walk, dicore_entry *out, size_t capacity, size_t *count, dicore_error *error)
{
    dicore_status status = DICORE_OK;
    for (*count = 0; *count < capacity && status == DICORE_OK;) {
        *count += plain_elements(walk, out + *count, capacity - *count);
        if (*count < capacity) {
            status = next_of_any_kind(walk, out + *count, error);
            *count += status == DICORE_OK;
        }
    }
    return status;
}

/* Only with options.partial: `bytes` are needed at least. */
static dicore_status need(const dicore_walk *c, uint64_t bytes, uint32_t tag, dicore_error *error)
{
    return fail_at_depth(error, DICORE_TRUNCATED, bytes > c->size ? bytes : c->size + 1, tag, c->depth, 0);
}

static int all_zero(const uint8_t *data, uint64_t from, uint64_t to)
{
    while (from < to && data[from] == 0)
        from++;
    return from == to;
}

/* Items around the cursor that were too short reach to `end`, which the caller has checked against hard_end. */
static void stretch(dicore_walk *c, uint64_t end)
{
    for (uint32_t d = c->depth; d > 0; d--) {
        dicore_walk_frame *f = &c->frames[d];
        if (f->item_end < end)
            f->item_end = end;
        if (f->sequence_end >= end)
            break;
        f->sequence_end = end;
    }
}

dicore_status cursor_edge(dicore_walk *c, dicore_walk_frame *f, dicore_error *error)
{
    uint64_t position = c->position;
    if (c->options.partial && position + 8 > c->size)
        return need(c, position + 8, 0, error);
    if (position >= f->item_end) {
        if (c->depth == 0)
            return DICORE_END;
        if (f->flags & FRAME_ITEM_UNDEFINED)
            DEVIATE(DICORE_DEV_MISSING_DELIMITER, position, DICORE_TAG_ITEM_END);
        close_item(c, f, 0);
        return DICORE_OK;
    }
    /* 1 to 7 bytes, no room for a header */
    int zeros = all_zero(c->data, position, f->item_end);
    if (c->depth > 0 && !zeros && f->hard_end - position >= 8) {
        DEVIATE(DICORE_DEV_ITEM_LENGTH, position, DICORE_TAG_ITEM);
        stretch(c, position + 8);
        return DICORE_OK;
    }
    DEVIATE(zeros ? DICORE_DEV_TRAILING_PADDING : DICORE_DEV_HEADER_TRUNCATED, position, 0);
    if (c->depth == 0)
        f->item_end = position;
    else
        c->position = f->item_end;
    return DICORE_OK;
}

dicore_status cursor_padding(dicore_walk *c, dicore_walk_frame *f, dicore_error *error)
{
    uint64_t at = c->position;
    if (at < c->nonzero)
        return DICORE_OK;
    while (at < c->size && c->data[at] == 0)
        at++;
    if (at < c->size) {
        c->nonzero = at;
        return DICORE_OK;
    }
    if (c->options.partial)
        return need(c, c->size + 1, 0, error);
    DEVIATE(DICORE_DEV_TRAILING_PADDING, c->position, 0);
    f->item_end = c->position; /* of the root: the data set ends here */
    return DICORE_END;
}

dicore_status cursor_odd_header(dicore_walk *c, dicore_walk_frame *f, dicore_status why, dicore_element_header *h,
                                unsigned *encoding, dicore_error *error)
{
    uint64_t position = c->position;
    const uint8_t *p = c->data + position;
    uint32_t tag = load_tag(p, *encoding);
    int short_form = why != DICORE_BAD_VR && !vr_in(KNOWN_VRS, load_u16be(p + 4)) && (p[6] || p[7]);
    if (why == DICORE_TRUNCATED && !short_form) { /* 8 to 11 bytes of a header of 12 */
        if (c->options.partial && position + 12 > c->size)
            return need(c, position + 12, tag, error);
        if (c->depth > 0 && f->hard_end - position >= 12) {
            DEVIATE(DICORE_DEV_ITEM_LENGTH, position, tag);
            stretch(c, position + 12);
            return DICORE_END;
        }
        DEVIATE(DICORE_DEV_HEADER_TRUNCATED, position, tag);
        if (c->depth == 0)
            f->item_end = position;
        else
            c->position = f->item_end;
        return DICORE_END;
    }
    if (why == DICORE_BAD_VR) { /* some writers switch to implicit VR halfway, as pydicom knows (its issues 1035, 1067) */
        if (tag == 0 && c->depth == 0) {
            dicore_status status = cursor_padding(c, f, error);
            if (status != DICORE_OK)
                return status;
        }
        DEVIATE(DICORE_DEV_IMPLICIT_ELEMENT, position, tag);
        *encoding &= ~DICORE_ENTRY_EXPLICIT;
        return read_header(p, f->item_end - position, *encoding, h);
    }
    DEVIATE(DICORE_DEV_UNKNOWN_VR, position, tag);
    if (short_form) /* a length stands where the long form has two zero bytes */
        *h = (dicore_element_header){.tag = tag, .vr = load_u16be(p + 4), .size = 8,
                                     .length = *encoding & DICORE_ENTRY_BIG_ENDIAN ? load_u16be(p + 6) : load_u16le(p + 6)};
    return DICORE_OK;
}

dicore_status cursor_delimiter(dicore_walk *c, dicore_walk_frame *f, uint32_t tag, uint32_t length, dicore_error *error)
{
    uint64_t position = c->position;
    if (tag != DICORE_TAG_ITEM && length != 0)
        DEVIATE(DICORE_DEV_DELIMITER_LENGTH, position, tag);
    if (c->depth > 0 && tag == DICORE_TAG_ITEM_END) {
        if (!(f->flags & FRAME_ITEM_UNDEFINED))
            DEVIATE(DICORE_DEV_STRAY_DELIMITER, position, tag);
        close_item(c, f, (f->flags & FRAME_ITEM_UNDEFINED) != 0);
        c->position = position + 8;
        return DICORE_END;
    }
    if (c->depth > 0 && ((tag == DICORE_TAG_ITEM && f->flags & FRAME_ITEM_UNDEFINED) ||
                         (tag == DICORE_TAG_SEQUENCE_END && f->flags & FRAME_SEQUENCE_UNDEFINED))) {
        DEVIATE(f->flags & FRAME_ITEM_UNDEFINED ? DICORE_DEV_MISSING_DELIMITER : DICORE_DEV_ITEM_LENGTH, position, tag);
        close_item(c, f, 0); /* and the delimiter or item is looked at again, between items */
        return DICORE_END;
    }
    DEVIATE(DICORE_DEV_STRAY_DELIMITER, position, tag);
    c->position = position + 8;
    return DICORE_END;
}

/* The encoding of the elements of the item that begins at c->position. What the data set says holds, unless the first
 * element cannot be that (PS3.5 6.2.2; and writers that mix). */
static dicore_status item_encoding(dicore_walk *c, dicore_walk_frame *f, dicore_error *error)
{
    unsigned declared = f->items_encoding, found = declared;
    uint64_t left = f->item_end - c->position;
    const uint8_t *p = c->data + c->position;
    f->encoding = (uint8_t)declared;
    if (left < 8 || load_tag(p, declared) >> 16 == 0xFFFE)
        return DICORE_OK;
    uint16_t vr = load_u16be(p + 4);
    if (declared & DICORE_ENTRY_EXPLICIT) {
        /* in a UN the standard has implicit VR, so only a VR that exists speaks against it */
        int explicit_vr = f->flags & FRAME_UN ? vr_in(KNOWN_VRS, vr) : is_capital(p[4]) && is_capital(p[5]);
        if (!explicit_vr)
            found &= ~DICORE_ENTRY_EXPLICIT;
        if (f->flags & FRAME_UN ? found != DICORE_IMPLICIT_LE : !explicit_vr)
            DEVIATE(f->flags & FRAME_UN ? DICORE_DEV_UN_ENCODING : DICORE_DEV_IMPLICIT_ELEMENT, c->position,
                    load_tag(p, declared));
    } else if (vr_in(KNOWN_VRS, vr) && load_length(p + 4, declared) > left - 8 &&
               load_length(p + 4, declared) != DICORE_UNDEFINED_LENGTH) {
        /* two letters where they make no length that fits: explicit, if that fits */
        dicore_element_header h;
        if (read_header(p, left, declared | DICORE_ENTRY_EXPLICIT, &h) == DICORE_OK &&
            (h.length == DICORE_UNDEFINED_LENGTH || h.length <= left - h.size)) {
            DEVIATE(DICORE_DEV_EXPLICIT_ELEMENT, c->position, h.tag);
            found |= DICORE_ENTRY_EXPLICIT;
        }
    }
    f->encoding = (uint8_t)found;
    return DICORE_OK;
}

dicore_status cursor_item(dicore_walk *c, dicore_walk_frame *f, dicore_entry *out, int *have, dicore_error *error)
{
    uint64_t position = c->position, end = f->sequence_end;
    if (c->options.partial && position + 8 > c->size)
        return need(c, position + 8, 0, error);
    if (position + 8 > end) {
        if (position < end) {
            DEVIATE(DICORE_DEV_HEADER_TRUNCATED, position, 0);
            c->position = end;
        }
        if (f->flags & FRAME_SEQUENCE_UNDEFINED)
            DEVIATE(DICORE_DEV_MISSING_DELIMITER, position, DICORE_TAG_SEQUENCE_END);
        close_sequence(c, f, 0);
        return DICORE_OK;
    }
    const uint8_t *p = c->data + position;
    uint32_t tag = load_tag(p, f->items_encoding), length = load_length(p + 4, f->items_encoding);
    if (tag == DICORE_TAG_SEQUENCE_END) {
        if (length != 0)
            DEVIATE(DICORE_DEV_DELIMITER_LENGTH, position, tag);
        int undefined = (f->flags & FRAME_SEQUENCE_UNDEFINED) != 0;
        if (!undefined) { /* its length says where it ends */
            DEVIATE(DICORE_DEV_STRAY_DELIMITER, position, tag);
            c->position = end;
        }
        close_sequence(c, f, undefined);
        if (undefined)
            c->position = position + 8;
        return DICORE_OK;
    }
    if (tag == DICORE_TAG_ITEM_END) {
        DEVIATE(DICORE_DEV_STRAY_DELIMITER, position, tag);
        c->position = position + 8;
        return DICORE_OK;
    }
    if (tag != DICORE_TAG_ITEM) {
        DEVIATE(DICORE_DEV_BAD_ITEM, position, tag);
        if (!(f->flags & FRAME_SEQUENCE_UNDEFINED))
            c->position = end;
        close_sequence(c, f, 0);
        return DICORE_OK;
    }
    uint64_t value = position + 8;
    dicore_entry e = {.offset = position, .length = length, .tag = tag, .flags = DICORE_ENTRY_ITEM, .header = 8,
                      .depth = (uint8_t)c->depth};
    f->item_end = end;
    f->flags |= FRAME_IN_ITEM;
    if (length == DICORE_UNDEFINED_LENGTH) {
        f->flags |= FRAME_ITEM_UNDEFINED;
        e.flags |= DICORE_ENTRY_UNDEFINED;
    } else {
        if (length & 1)
            DEVIATE(DICORE_DEV_ODD_LENGTH, position, tag);
        if (length <= end - value) {
            f->item_end = value + length;
        } else if (!c->options.partial || value + length <= c->size) {
            if (length <= f->hard_end - value) {
                DEVIATE(DICORE_DEV_ITEM_LENGTH, position, tag);
                stretch(c, value + length);
            } else {
                DEVIATE(end == c->size ? DICORE_DEV_VALUE_TRUNCATED : DICORE_DEV_ITEM_LENGTH, position, tag);
                e.flags |= DICORE_ENTRY_TRUNCATED;
                e.length = end - value;
            }
        }
    }
    f->last_tag = f->block = 0;
    f->creators = 0;
    f->item_entry = c->tape ? c->tape->count : 0;
    c->position = value;
    dicore_status status = item_encoding(c, f, error);
    if (status != DICORE_OK)
        return status;
    e.flags |= (uint16_t)(f->encoding | (c->noted ? DICORE_ENTRY_DEVIATES : 0));
    *out = e;
    *have = 1;
    return DICORE_OK;
}

dicore_status cursor_overrun(dicore_walk *c, dicore_walk_frame *f, dicore_entry *e, dicore_error *error)
{
    uint64_t value = e->offset + e->header, end = value + e->length;
    if (c->options.partial && end > c->size)
        return DICORE_OK; /* the caller has only the beginning; whoever goes on from here needs more */
    if (end <= f->hard_end) {
        DEVIATE(DICORE_DEV_ITEM_LENGTH, e->offset, e->tag);
        stretch(c, end);
        return DICORE_OK;
    }
    DEVIATE(f->item_end == c->size ? DICORE_DEV_VALUE_TRUNCATED : DICORE_DEV_ITEM_LENGTH, e->offset, e->tag);
    e->length = f->item_end - value;
    e->flags |= DICORE_ENTRY_TRUNCATED;
    return DICORE_OK;
}

dicore_status cursor_fragments(dicore_walk *c, const dicore_walk_frame *f, dicore_entry *e, dicore_error *error)
{
    uint64_t value = e->offset + e->header, at = value, end = f->item_end;
    unsigned encoding = e->flags & DICORE_ENTRY_ENCODING;
    e->flags |= DICORE_ENTRY_FRAGMENTS;
    if (e->tag != DICORE_TAG_PIXEL_DATA || (e->vr != DICORE_VR_OB && e->vr != DICORE_VR_OW && e->vr != 0))
        DEVIATE(DICORE_DEV_UNDEFINED_LENGTH, e->offset, e->tag);
    if (value >= c->broken_fragments) { /* else this is inside a chain that is known to break */
        if (value == c->options.chain_value && c->options.chain_end > value)
            at = c->options.chain_end;
        while (end >= 8 && at <= end - 8 && load_tag(c->data + at, encoding) == DICORE_TAG_ITEM)
            at += 8 + (uint64_t)load_length(c->data + at + 4, encoding);
        if (at + 8 <= end && load_tag(c->data + at, encoding) == DICORE_TAG_SEQUENCE_END) {
            if (load_length(c->data + at + 4, encoding) != 0)
                DEVIATE(DICORE_DEV_DELIMITER_LENGTH, at, DICORE_TAG_SEQUENCE_END);
            e->length = at - value;
            e->flags |= DICORE_ENTRY_DELIMITED;
            return DICORE_OK;
        }
        if (c->options.partial && at + 8 > c->size)
            return need(c, at + 8, e->tag, error);
        c->broken_fragments = at < end ? at : end;
    }
    /* not a chain of items: as pydicom does, whatever stands before the first delimiter */
    static const uint8_t LITTLE[4] = {0xFE, 0xFF, 0xDD, 0xE0}, BIG[4] = {0xFF, 0xFE, 0xE0, 0xDD};
    const uint8_t *found = end > value ? memmem(c->data + value, end - value,
                                                encoding & DICORE_ENTRY_BIG_ENDIAN ? BIG : LITTLE, 4) : NULL;
    if (found && end - (uint64_t)(found - c->data) >= 8) {
        DEVIATE(DICORE_DEV_FRAGMENTS, e->offset, e->tag);
        e->length = (uint64_t)(found - c->data) - value;
        e->flags |= DICORE_ENTRY_DELIMITED;
        return DICORE_OK;
    }
    if (c->options.partial && end >= c->size)
        return need(c, c->size + 1, e->tag, error);
    DEVIATE(DICORE_DEV_MISSING_DELIMITER, e->offset, e->tag);
    e->length = end - value;
    e->flags |= DICORE_ENTRY_TRUNCATED;
    return DICORE_OK;
}

dicore_span cursor_find_creator(const uint8_t *data, uint64_t at, uint64_t end, unsigned encoding, uint32_t block)
{
    for (int n = 0; n < 256 && at < end; n++) {
        dicore_element_header h;
        unsigned as = encoding;
        if (read_header(data + at, end - at, encoding, &h) == DICORE_BAD_VR)
            as &= ~DICORE_ENTRY_EXPLICIT;
        if (read_header(data + at, end - at, as, &h) != DICORE_OK || h.tag >> 16 != block >> 16 || h.tag > block)
            break;
        uint64_t value = at + h.size;
        if (h.length > end - value)
            break;
        if (h.tag == block)
            return (dicore_span){data + value, dicore_value_trim(data + value, h.length)};
        at = value + h.length;
    }
    return (dicore_span){0};
}

int cursor_enter_block(const uint8_t *data, uint64_t position, dicore_walk_frame *f, uint32_t tag)
{
    uint32_t element = tag & 0xFFFF, group = tag & 0xFFFF0000, block = group | element >> 8;
    if (element >= 0x10 && element <= 0xFF) {
        if (f->creators == 0 || (f->block & 0xFFFF0000) != group) {
            f->creators = position + 1;
            f->block = group;
        }
        return 1;
    }
    if (element < 0x1000)
        return 1; /* neither reserves nor is reserved */
    if (f->creators == 0 || (f->block & 0xFFFF0000) != group ||
        cursor_find_creator(data, f->creators - 1, position, f->encoding, block).size == 0)
        return 0;
    f->block = block;
    return 1;
}

dicore_status cursor_private(dicore_walk *c, dicore_walk_frame *f, uint32_t tag, dicore_error *error)
{
    uint32_t element = tag & 0xFFFF, group = tag & 0xFFFF0000, block = group | element >> 8;
    if ((element >= 0x1000 && f->block == block) || cursor_enter_block(c->data, c->position, f, tag))
        return DICORE_OK;
    if ((f->block & 0xFFFF0000) != group)
        f->creators = 0;
    f->block = block;
    DEVIATE(DICORE_DEV_NO_PRIVATE_CREATOR, c->position, tag);
    return DICORE_OK;
}

int cursor_is_sequence(const dicore_walk *c, const dicore_walk_frame *f, const dicore_entry *e)
{
    uint64_t value = e->offset + e->header;
    uint32_t block = (e->tag & 0xFFFF0000) | (e->tag & 0xFFFF) >> 8;
    int is_private = (e->tag & 0x10000) != 0;
    if (e->flags & DICORE_ENTRY_UNDEFINED) {
        uint16_t known = is_private || e->vr ? 0 : dicore_dictionary_vr(e->tag);
        if (known || e->tag == DICORE_TAG_PIXEL_DATA)
            return known == DICORE_VR_SQ;
        if (f->item_end - value < 8)
            return 0;
        const uint8_t *p = c->data + value;
        return item_tag_at(p) || load_tag_le(p) == DICORE_TAG_SEQUENCE_END || load_tag_be(p) == DICORE_TAG_SEQUENCE_END;
    }
    if (is_private) {
        if (f->creators == 0 || (e->tag & 0xFFFF) < 0x1000)
            return 0;
        dicore_span creator = cursor_find_creator(c->data, f->creators - 1, e->offset, f->encoding, block);
        return creator.size &&
               dicore_private_vr(c->options.private_dictionary, creator.data, creator.size, e->tag) == DICORE_VR_SQ;
    }
    return !(e->vr && e->length >= 0xFFFF) && dicore_dictionary_vr(e->tag) == DICORE_VR_SQ;
}
