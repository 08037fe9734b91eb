/* Every reader of dataset.h over hostile bytes: as a file, and as a bare data set in each encoding. What is checked is that
 * no byte outside is read (ASan), that lengths stay inside, that the tape hangs together, and that walk, tape and select agree. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataset/select.h"
#include "dicore/dicore.h"
#include "fuzz/fuzz.h"

static const uint32_t WANTED[] = {0x00080005, 0x00080018, 0x00080060, 0x00081115, 0x00100010, 0x0020000D, 0x00280010,
                                  0x52009230, DICORE_TAG_PIXEL_DATA};
enum { WANTED_COUNT = sizeof WANTED / sizeof *WANTED };

static void touch(const uint8_t *data, size_t size, const dicore_entry *e)
{
    static volatile uint8_t sink;
    MUST(e->offset + e->header + e->length <= size);
    if (e->length) {
        sink ^= data[e->offset + e->header];
        sink ^= data[e->offset + e->header + e->length - 1];
    }
}

static void use_values(const uint8_t *data, size_t size)
{
    uint64_t numbers[16];
    double decimals[16];
    int64_t integers[16];
    size_t count;
    size_t some = size < 128 ? size : 128;
    dicore_value_numbers(DICORE_VR('U', 'S'), 0, data, some, numbers, 64, &count);
    dicore_value_numbers(DICORE_VR('F', 'D'), 1, data, some, numbers, 16, &count);
    dicore_value_decimals(data, some, decimals, 16, &count);
    dicore_value_integers(data, some, integers, 16, &count);
    dicore_value_count(data, some);
}

static void read_as(const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding, int flags)
{
    dicore_deviation noted[8];
    dicore_deviations deviations = {noted, 8, 0};
    dicore_read_options options = {.strict = flags & 1, .partial = flags >> 1 & 1, .depth_limit = flags & 4 ? 3 : 0,
                                   .deviations = flags & 8 ? &deviations : NULL};
    dicore_tape tape = {0};
    dicore_error error = {0};
    dicore_status status = dicore_tape_read(&tape, data, size, start, encoding, &options, &plain_heap, &error);
    MUST(status == DICORE_OK || status == DICORE_TOO_DEEP || (status == DICORE_TRUNCATED && options.partial) ||
         (status == DICORE_DEVIATION && options.strict));
    MUST(status != DICORE_DEVIATION || (error.detail > 0 && error.detail < DICORE_DEV_COUNT));
    MUST(status != DICORE_TRUNCATED || error.offset > size);
    MUST(tape.end <= size);
    dicore_walk walk;
    dicore_entry w;
    MUST(dicore_walk_begin(&walk, data, size, start, encoding, &options) == DICORE_OK);
    for (uint32_t i = 0; i < tape.count; i++) {
        const dicore_entry *e = &tape.entries[i];
        MUST(dicore_walk_next(&walk, &w, NULL) == DICORE_OK);
        MUST(w.offset == e->offset && w.tag == e->tag && w.depth == e->depth && w.vr == e->vr && w.header == e->header);
        MUST(e->next > i && e->next <= tape.count);
        if (!options.partial)
            touch(data, size, e);
        for (uint32_t child = i + 1, n = 0; child < e->next && n < 4; child = tape.entries[child].next, n++) {
            MUST(tape.entries[child].next <= e->next);
            MUST(tape.entries[child].offset >= e->offset + e->header);
        }
        if (i < 64 && !(e->flags & DICORE_ENTRY_ITEM)) {
            dicore_tape_vr(&tape, data, size, 0, tape.count, i, -1);
            dicore_tape_creator(&tape, data, size, 0, tape.count, e->tag);
            if (!options.partial)
                use_values(data + e->offset + e->header, (size_t)e->length);
        }
    }
    MUST(dicore_walk_next(&walk, &w, NULL) == (status == DICORE_OK ? DICORE_END : status));

    dicore_selected found[WANTED_COUNT];
    uint64_t position = 0;
    dicore_status selected = dicore_select(data, size, start, encoding, &options, WANTED, WANTED_COUNT, found, &position, &error);
    static select_layout layout; /* learned from another part of the input, then from all of it */
    dicore_selected like[WANTED_COUNT];
    uint64_t like_position = 0;
    memset(&layout, 0, sizeof layout);
    for (int turn = 0; turn < 2; turn++) {
        select_like(data + size / 8, size - size / 8, 0, encoding, NULL, WANTED, WANTED_COUNT, like, &like_position, &layout, NULL);
        MUST(select_like(data, size, start, encoding, &options, WANTED, WANTED_COUNT, like, &like_position, &layout, NULL) ==
             selected);
        MUST(like_position == position && memcmp(like, found, sizeof found) == 0);
    }
    MUST(selected != DICORE_TRUNCATED || (options.partial && position > size));
    for (int i = 0; i < WANTED_COUNT; i++) {
        if (!(found[i].flags & DICORE_SELECTED))
            continue;
        MUST(found[i].tag == WANTED[i]);
        MUST(options.partial || found[i].offset + found[i].length <= size);
        if (status == DICORE_OK && selected == DICORE_OK && !options.partial) {
            uint32_t index = DICORE_NO_ENTRY; /* it is one of the tape's elements of that tag, whole */
            for (uint32_t k = 0; k < tape.count; k = tape.entries[k].next)
                if (tape.entries[k].offset + tape.entries[k].header == found[i].offset)
                    index = k;
            MUST(index != DICORE_NO_ENTRY);
            MUST(tape.entries[index].tag == found[i].tag && tape.entries[index].length == found[i].length);
        }
    }
    dicore_tape_free(&tape, &plain_heap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* the options are drawn from the bytes, so that a find replays as it was found */
    int flags = size ? data[size - 1] ^ data[size / 2] : 0;
    dicore_element_header header;
    for (int encoding = 0; encoding < 4; encoding++)
        dicore_read_element_header(data, size, (dicore_encoding)encoding, &header);
    dicore_read_options options = {.strict = flags >> 4 & 1, .partial = flags >> 5 & 1};
    dicore_part10 part, some;
    dicore_error error = {0};
    dicore_read_options whole = {.strict = options.strict}, beginning = {.strict = options.strict, .partial = 1, .total = size};
    dicore_status said = dicore_part10_parse(data, size, &whole, &part, &error);
    for (size_t here = size / 2; here > 8; here /= 2) { /* a beginning says what the whole says, or asks for more */
        dicore_status status = dicore_part10_parse(data, here, &beginning, &some, NULL);
        MUST(status == DICORE_TRUNCATED || status == said);
        MUST(status != DICORE_OK || (some.encoding == part.encoding && some.dataset_offset == part.dataset_offset &&
                                     some.deflated == part.deflated));
    }
    if (dicore_part10_parse(data, size, &options, &part, &error) == DICORE_OK) {
        MUST(part.dataset_offset <= size && part.meta_offset + part.meta_size <= size);
        read_as(data, (size_t)(part.meta_offset + part.meta_size), part.meta_offset, (dicore_encoding)part.meta_encoding, 0);
        if (part.deflated) {
            dicore_inflate_limits limits = {.size = 1 << 22, .ratio = 500, .ratio_from = 1 << 20};
            uint8_t *out = NULL;
            size_t out_size = 0, capacity = 0;
            if (dicore_inflate(data + part.dataset_offset, size - (size_t)part.dataset_offset, &limits, &options, &plain_heap, &out,
                               &out_size, &capacity, &error) == DICORE_OK) {
                read_as(out, out_size, 0, DICORE_EXPLICIT_LE, flags);
                free(out);
            }
        } else {
            read_as(data, size, part.dataset_offset, (dicore_encoding)part.encoding, flags);
            read_as(data, size, part.dataset_offset, (dicore_encoding)part.encoding, 0);
        }
    }
    for (int encoding = 0; encoding < 4; encoding++)
        read_as(data, size, 0, (dicore_encoding)encoding, flags);
    return 0;
}
