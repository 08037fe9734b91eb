/* A few wanted tags of the top level: the loop of an archive scan. */
#include "dataset/select.h"

#include "dataset/cursor.h"

static inline uint32_t step_tag(const select_step *step) { return (uint32_t)step->word << 16 | (uint32_t)step->word >> 16; }

/* The elements that are as in the data set before, from c->position on. The last tag passed is returned, or `last`. */
static inline uint32_t pass_alike(const uint8_t *data, uint64_t end, uint64_t *position, uint32_t last, size_t *wanted,
                                  const uint32_t *tags, dicore_selected *out, select_layout *layout)
{
    const select_step *step = layout->steps + layout->at, *const stop = layout->steps + layout->count;
    while (step < stop && step_tag(step) <= last)
        step++;
    const select_step *const first = step;
    uint64_t at = *position;
    for (; step < stop && step->size <= end - at; step++) {
        const uint8_t *p = data + at;
        if (load_u64le(p) != step->word || (step->header == 12 && load_u32le(p + 8) != step->size - 12))
            break;
        if (step->wanted) {
            *wanted = step->wanted;
            out[step->wanted - 1] = (dicore_selected){.offset = at + step->header, .length = step->size - step->header,
                                                      .tag = tags[step->wanted - 1], .vr = load_u16be(p + 4),
                                                      .flags = DICORE_EXPLICIT_LE | DICORE_SELECTED};
        }
        at += step->size;
    }
    layout->at = (uint32_t)(step - layout->steps);
    *position = at;
    return step == first ? last : step_tag(step - 1);
}

/* An element that was not as expected, or not at all: expect it the next time. */
static inline void expect(select_layout *layout, uint64_t word, uint32_t tag, uint64_t size, uint32_t header, size_t wanted)
{
    select_step *step = layout->steps + layout->at, *const stop = layout->steps + layout->count;
    while (step < stop && step_tag(step) < tag)
        step++;
    layout->at = (uint32_t)(step - layout->steps);
    if (size > UINT32_MAX || (step < stop && step_tag(step) != tag) || layout->at == LAYOUT_MAX) {
        layout->missed++;
        return;
    }
    *step = (select_step){.word = word, .size = (uint32_t)size, .header = (uint16_t)header, .wanted = (uint16_t)wanted};
    layout->count += step == stop;
    layout->at++;
}

/* Pass the elements that cursor_plain would give, and those that have only to be skipped: private ones and sequences with a
 * length. What is wanted among the plain ones is put down, all but the last tag, behind which more has to be looked at.
 * tags[wanted] is the first tag not passed; its new number is returned. Nothing is noted here, so not for strict reading. */
static inline size_t pass_plain(dicore_walk *c, const uint32_t *tags, size_t wanted, size_t count, dicore_selected *out,
                                select_layout *layout)
{
    dicore_walk_frame *f = &c->frames[0];
    const uint64_t end = f->item_end;
    uint64_t position = c->position;
    uint32_t last = f->last_tag, target = tags[wanted];
    const int is_explicit = f->encoding == DICORE_EXPLICIT_LE;
    if (f->encoding > DICORE_EXPLICIT_LE || c->depth != 0)
        return wanted;
    if (!is_explicit)
        layout = NULL;
    for (;;) {
        if (layout && position <= end) { /* a value may reach beyond the bytes that are here */
            last = pass_alike(c->data, end, &position, last, &wanted, tags, out, layout);
            while (tags[wanted] <= last) /* stops: the last of them is not passed here */
                wanted++;
            target = tags[wanted];
        }
        if (end < 12 || position > end - 12)
            break;
        const uint8_t *p = c->data + position;
        uint32_t tag = load_tag_le(p), length, header = 8;
        uint16_t vr = 0;
        size_t found = 0;
        if (tag <= last || tag > c->stop || tag >= 0xFFFE0000u)
            break;
        if (is_explicit) {
            vr = load_u16be(p + 4);
            const unsigned kind = vr_kind(load_u16le(p + 4));
            length = load_u16le(p + 6);
            if (kind != VR_KIND_SHORT) {
                if (kind == VR_KIND_OTHER)
                    break;
                length = load_u32le(p + 8);
                header = 12;
            }
        } else {
            length = load_u32le(p + 4);
        }
        if (length & 1 || length > end - position - header)
            break;
        if (tag >= target) {
            while (tags[wanted] < tag) /* stops, for tag <= tags[count - 1] */
                wanted++;
            target = tags[wanted];
            if (tag == target) {
                if (wanted == count - 1 || tag & 0x10000 || vr == DICORE_VR_SQ || vr == DICORE_VR_UN ||
                    (!is_explicit && load_u32le(p + 8) == 0xE000FFFEu))
                    break;
                out[wanted] = (dicore_selected){.offset = position + header, .length = length, .tag = tag, .vr = vr,
                                                .flags = (uint16_t)(f->encoding | DICORE_SELECTED)};
                target = tags[++wanted];
                found = wanted;
            }
        }
        if (layout)
            expect(layout, load_u64le(p), tag, (uint64_t)header + length, header, found);
        last = tag;
        position += (uint64_t)header + length; /* may exceed 32 bits */
    }
    f->last_tag = last;
    c->position = position;
    return wanted;
}

/* Does the last wanted tag come twice? Only bytes that are here are looked at. */
static int same_tag_follows(const dicore_walk *c, unsigned encoding, uint32_t tag)
{
    return c->position <= c->size && c->size - c->position >= 8 && load_tag(c->data + c->position, encoding) == tag;
}

dicore_status dicore_select(const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding,
                            const dicore_read_options *options, const uint32_t *tags, size_t count, dicore_selected *out,
                            uint64_t *position, dicore_error *error)
{
    return select_like(data, size, start, encoding, options, tags, count, out, position, NULL, error);
}

dicore_status select_like(const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding,
                          const dicore_read_options *options, const uint32_t *tags, size_t count, dicore_selected *out,
                          uint64_t *position, select_layout *layout, dicore_error *error)
{
    dicore_walk c;
    if ((count && (!tags || !out)) || !position || cursor_begin(&c, data, size, start, encoding, options) != DICORE_OK)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    for (size_t i = 0; i < count; i++) {
        if (i && tags[i] <= tags[i - 1])
            return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, tags[i]);
        out[i] = (dicore_selected){.tag = tags[i]};
    }
    *position = start;
    if (count == 0)
        return DICORE_OK;
    uint32_t last = c.stop = tags[count - 1];
    size_t wanted = 0; /* tags[wanted] is the first one that the elements have not passed */
    dicore_selected *open = NULL; /* a found sequence of undefined length, whose end is not known yet */
    dicore_entry e;
    dicore_error why = {0};
    dicore_status status;
    if (layout) {
        if (layout->missed > 8) /* of another series */
            layout->count = 0;
        layout->at = layout->missed = 0;
    }
    const int quick = !c.options.strict && !c.options.deviations;
    for (;;) {
        if (quick && wanted < count && !open)
            wanted = pass_plain(&c, tags, wanted, count, out, layout);
        status = cursor_next(&c, CURSOR_SELECT, &e, &why);
        if (status != DICORE_OK)
            break;
        if (e.depth > 0)
            continue;
        if (open) {
            open->length = c.closed_length - open->offset;
            open->flags |= c.closed_delimited ? DICORE_ENTRY_DELIMITED : 0;
            if (open->tag == last && e.tag != last)
                break;
            open = NULL;
        }
        if (wanted && e.tag <= tags[wanted - 1]) /* out of order, or twice */
            wanted = 0;
        while (wanted < count && tags[wanted] < e.tag)
            wanted++;
        if (wanted == count || tags[wanted] != e.tag)
            continue;
        dicore_selected *found = &out[wanted++];
        *found = (dicore_selected){.offset = e.offset + e.header, .length = e.length, .tag = e.tag, .vr = e.vr,
                                   .flags = (uint16_t)(e.flags | DICORE_SELECTED)};
        if ((e.flags & (DICORE_ENTRY_SEQUENCE | DICORE_ENTRY_UNDEFINED)) == (DICORE_ENTRY_SEQUENCE | DICORE_ENTRY_UNDEFINED)) {
            found->length = 0;
            open = found;
        } else if (e.tag == last && !same_tag_follows(&c, e.flags, last)) {
            break;
        }
    }
    if (open && open->length == 0 && c.depth == 0) {
        open->length = c.closed_length - open->offset;
        open->flags |= c.closed_delimited ? DICORE_ENTRY_DELIMITED : 0;
    } else if (open && open->length == 0) { /* stopped inside: it is not found */
        *open = (dicore_selected){.tag = open->tag};
    }
    *position = c.position;
    if (status == DICORE_OK || status == DICORE_END)
        return DICORE_OK;
    if (status == DICORE_TRUNCATED)
        *position = why.offset;
    if (error)
        *error = why;
    return status;
}
