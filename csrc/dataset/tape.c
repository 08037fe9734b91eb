/* The whole data set as a flat array, and the questions that a view on it asks. */
#include "dataset/cursor.h"

/* Room for one more entry. Doubles, so that memory follows what arrived. */
static dicore_status grow(dicore_tape *tape, const dicore_allocator *allocator)
{
    if (tape->count < tape->capacity)
        return DICORE_OK;
    if (!allocator)
        return DICORE_NO_MEMORY;
    if (tape->capacity >= UINT32_MAX / 2)
        return DICORE_LIMIT;
    uint32_t capacity = tape->capacity < 128 ? 256 : tape->capacity * 2;
    void *entries = allocator->resize(allocator->context, tape->entries, (size_t)tape->capacity * sizeof(dicore_entry),
                                      (size_t)capacity * sizeof(dicore_entry));
    if (!entries)
        return DICORE_NO_MEMORY;
    tape->entries = entries;
    tape->capacity = capacity;
    return DICORE_OK;
}

/* As many elements of the usual kind as stand here and as there is room for. */
static void put_plain(dicore_walk *c, dicore_tape *tape)
{
    if (tape->count == tape->capacity) /* or there is no memory yet */
        return;
    uint32_t count = tape->count, more = (uint32_t)plain_elements(c, tape->entries + count, tape->capacity - count);
    for (tape->count += more; count < tape->count; count++)
        tape->entries[count].next = count + 1;
}

dicore_status dicore_tape_read(dicore_tape *tape, const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding,
                               const dicore_read_options *options, const dicore_allocator *allocator, dicore_error *error)
{
    dicore_walk c;
    if (!tape || cursor_begin(&c, data, size, start, encoding, options) != DICORE_OK)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    tape->count = 0;
    c.tape = tape;
    dicore_status status;
    for (;;) {
        put_plain(&c, tape);
        dicore_entry e, *slot = tape->count < tape->capacity ? tape->entries + tape->count : &e;
        status = cursor_next(&c, CURSOR_WALK, slot, error);
        if (status != DICORE_OK)
            break;
        if (slot != &e) {
            slot->next = ++tape->count;
            continue;
        }
        status = grow(tape, allocator); /* only for an element that did arrive */
        if (status != DICORE_OK) {
            fail_at_depth(error, status, e.offset, e.tag, e.depth, 0);
            /* the frame that this entry opened has no entry */
            if (e.flags & DICORE_ENTRY_SEQUENCE)
                c.depth--;
            else if (e.flags & DICORE_ENTRY_ITEM)
                c.frames[c.depth].flags &= (uint8_t)~FRAME_IN_ITEM;
            c.position = e.offset;
            break;
        }
        e.next = tape->count + 1;
        tape->entries[tape->count++] = e;
    }
    for (; c.depth > 0; c.depth--) { /* only after a failure: what is open ends here */
        dicore_walk_frame *f = &c.frames[c.depth];
        uint64_t end = c.position < f->sequence_end ? c.position : f->sequence_end;
        if (f->flags & FRAME_IN_ITEM)
            close_entry(&c, f->item_entry, end, 0);
        close_entry(&c, f->sequence_entry, end, 0);
    }
    tape->end = c.position < size ? c.position : size;
    return status == DICORE_END ? DICORE_OK : status;
}

void dicore_tape_free(dicore_tape *tape, const dicore_allocator *allocator)
{
    if (tape->entries && allocator)
        allocator->resize(allocator->context, tape->entries, (size_t)tape->capacity * sizeof(dicore_entry), 0);
    *tape = (dicore_tape){0};
}

uint32_t dicore_tape_find(const dicore_tape *tape, uint32_t first, uint32_t end, uint32_t tag)
{
    uint32_t found = DICORE_NO_ENTRY;
    if (end > tape->count)
        end = tape->count;
    for (uint32_t i = first; i < end; i = tape->entries[i].next)
        if (tape->entries[i].tag == tag)
            found = i;
    return found;
}

static dicore_span value_of(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t index)
{
    if (index == DICORE_NO_ENTRY)
        return (dicore_span){0};
    const dicore_entry *e = &tape->entries[index];
    uint64_t value = e->offset + e->header;
    if (value > size || e->length > size - value)
        return (dicore_span){0};
    return (dicore_span){data + value, (size_t)e->length};
}

dicore_span dicore_tape_creator(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first, uint32_t end,
                                uint32_t tag)
{
    uint32_t element = tag & 0xFFFF;
    if (!(tag & 0x10000) || element < 0x1000)
        return (dicore_span){0};
    dicore_span creator = value_of(tape, data, size, dicore_tape_find(tape, first, end, (tag & 0xFFFF0000) | element >> 8));
    if (creator.size)
        creator.size = dicore_value_trim(creator.data, creator.size);
    return creator;
}

/* The first number of the 16-bit element `tag` among the siblings, -1 when there is none. */
static int sibling_u16(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first, uint32_t end, uint32_t tag)
{
    uint32_t index = dicore_tape_find(tape, first, end, tag);
    dicore_span value = value_of(tape, data, size, index);
    if (value.size < 2)
        return -1;
    return tape->entries[index].flags & DICORE_ENTRY_BIG_ENDIAN ? load_u16be(value.data) : load_u16le(value.data);
}

/* Which of several VRs (PS3.5 annex A; PS3.3 C.7.6.3, C.11): the choices of pydicom 3's correct_ambiguous_vr. */
static uint16_t choose_vr(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first, uint32_t end,
                          const dicore_entry *e, const uint16_t vr[3], int pixel_representation)
{
    if (vr[0] == VR('U', 'S') && vr[1] == VR('S', 'S') && vr[2] == 0) {
        int here = sibling_u16(tape, data, size, first, end, 0x00280103); /* Pixel Representation */
        if (here < 0)
            here = pixel_representation;
        return here > 0 ? VR('S', 'S') : VR('U', 'S');
    }
    if (e->tag == 0x00283006) /* LUT Data, by the first number of the LUT Descriptor */
        return sibling_u16(tape, data, size, first, end, 0x00283002) == 1 ? VR('U', 'S') : DICORE_VR_OW;
    if (e->tag == DICORE_TAG_PIXEL_DATA && e->flags & DICORE_ENTRY_UNDEFINED)
        return DICORE_VR_OB;
    if (vr[0] == DICORE_VR_OB && (e->tag & 0xFF00FFFF) != 0x60003000 && e->flags & DICORE_ENTRY_EXPLICIT) {
        int bits = sibling_u16(tape, data, size, first, end, e->tag >> 16 == 0x5400 ? 0x54001004 : 0x00280100);
        return bits > 8 ? DICORE_VR_OW : DICORE_VR_OB;
    }
    return DICORE_VR_OW;
}

uint16_t dicore_tape_vr(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first, uint32_t end,
                        uint32_t index, int pixel_representation)
{
    const dicore_entry *e = &tape->entries[index];
    if (e->flags & DICORE_ENTRY_SEQUENCE)
        return DICORE_VR_SQ;
    if (e->vr != 0 && e->vr != DICORE_VR_UN)
        return e->vr;
    dicore_dictionary_entry known;
    if (e->tag & 0x10000) {
        uint32_t element = e->tag & 0xFFFF;
        if (element >= 0x10 && element <= 0xFF)
            return VR('L', 'O'); /* a private creator, PS3.5 7.8.1 */
        dicore_span creator = dicore_tape_creator(tape, data, size, first, end, e->tag);
        if (!creator.size || !dicore_dictionary_private(creator.data, creator.size, e->tag, &known))
            return DICORE_VR_UN;
    } else if (e->vr == DICORE_VR_UN && e->length >= 0xFFFF) {
        return DICORE_VR_UN;
    } else if (!dicore_dictionary_find(e->tag, &known)) {
        return (e->tag & 0xFFFF) == 0 && e->vr == 0 ? VR('U', 'L') : DICORE_VR_UN; /* a group length, PS3.5 7.2 */
    }
    if (known.vr[0] == 0)
        return DICORE_VR_UN;
    return known.vr[1] == 0 ? known.vr[0] : choose_vr(tape, data, size, first, end, e, known.vr, pixel_representation);
}
