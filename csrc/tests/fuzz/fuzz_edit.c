/* Edits of hostile bytes by hostile lists: the first 64 bytes are changes, the rest is a data set. What is checked is that no
 * byte outside is read or written (ASan), that a plan writes what it says, that what was put can be read back from the result,
 * and that a clean data set survives the other encodings. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dicore/dicore.h"
#include "fuzz/fuzz.h"

static const uint32_t TAGS[8] = {0x00080018, 0x00081115, 0x00081199, 0x00100010, 0x0020000E, 0x00280010, 0x7FE00010, DICORE_TAG_ITEM};
static const char VRS[8][3] = {"UI", "SQ", "UN", "PN", "US", "OW", "LT", "FD"};

enum { CHANGES = 8, OPERANDS = 64 };

static uint8_t *result(const dicore_tape *tape, const uint8_t *data, size_t size, dicore_encoding encoding,
                       const dicore_change *changes, size_t count, const dicore_edit_options *options, size_t *out_size)
{
    dicore_error error = {0};
    dicore_plan plan = {0};
    dicore_status status = dicore_edit_plan(&plan, tape, data, size, encoding, changes, count, options, &plain_heap, &error);
    MUST(status != DICORE_BAD_ARGUMENT && status != DICORE_NO_MEMORY);
    if (status != DICORE_OK)
        return NULL;
    uint64_t total = 0;
    for (size_t i = 0; i < plan.count; i++)
        total += plan.pieces[i].size;
    MUST(total == plan.size);
    uint8_t *out = malloc((size_t)plan.size + (plan.size == 0)); /* exactly: one byte more is ASan's */
    MUST(dicore_plan_emit(&plan, out, (size_t)plan.size) == DICORE_OK);
    *out_size = (size_t)plan.size;
    dicore_plan_free(&plan, &plain_heap);
    return out;
}

static int clean(const uint8_t *data, size_t size, dicore_encoding encoding)
{
    dicore_tape tape = {0};
    dicore_read_options strict = {.strict = 1};
    dicore_status status = dicore_tape_read(&tape, data, size, 0, encoding, &strict, &plain_heap, NULL);
    dicore_tape_free(&tape, &plain_heap);
    return status == DICORE_OK;
}

static void edit_as(const uint8_t *operands, const uint8_t *data, size_t size, dicore_encoding encoding)
{
    dicore_tape tape = {0};
    if (dicore_tape_read(&tape, data, size, 0, encoding, NULL, &plain_heap, NULL) != DICORE_OK) {
        dicore_tape_free(&tape, &plain_heap);
        return;
    }
    int is_clean = clean(data, size, encoding);
    size_t out_size = 0, again_size = 0;
    uint8_t *out = result(&tape, data, size, encoding, NULL, 0, NULL, &out_size);
    MUST(out);
    if (is_clean) /* nothing changes: the same bytes, but for group lengths */
        MUST(out_size <= size && (out_size < size || out_size == 0 || memcmp(out, data, size) == 0));
    free(out);

    dicore_change changes[CHANGES];
    dicore_step steps[CHANGES][2];
    size_t count = operands[0] % (CHANGES + 1);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *o = operands + 1 + i * 7;
        dicore_change *c = &changes[i];
        *c = (dicore_change){.tag = TAGS[o[0] & 7], .kind = o[0] >> 3 & 3, .vr = DICORE_VR(VRS[o[1] & 7][0], VRS[o[1] & 7][1]),
                             .encoded = o[1] >> 3 & 1, .path_length = (o[1] >> 4) % 3, .path = steps[i]};
        for (int k = 0; k < 2; k++)
            steps[i][k] = (dicore_step){TAGS[1 + (o[2] >> k & 1)], o[3] >> (4 * k) & 4 ? DICORE_EVERY_ITEM : o[3] >> (4 * k) & 3};
        size_t from = size ? (size_t)(o[4] | o[5] << 8) % size : 0, most = size - from;
        c->value = (dicore_span){data + from, o[6] < most ? o[6] : most};
        if (!c->path_length && o[2] & 0x80 && tape.count) {
            uint32_t at = o[3] % tape.count;
            c->item = tape.entries[at].flags & DICORE_ENTRY_ITEM ? at : 0;
        }
    }
    out = result(&tape, data, size, encoding, changes, count, NULL, &out_size);
    if (out) {
        dicore_tape after = {0};
        dicore_status status = dicore_tape_read(&after, out, out_size, 0, encoding, NULL, &plain_heap, NULL);
        MUST(status == DICORE_OK || status == DICORE_TOO_DEEP);
        if (is_clean && status == DICORE_OK)
            for (size_t i = 0; i < count; i++) { /* what was put at the top is there, unless a later change or odd value hides it */
                const dicore_change *c = &changes[i];
                int later = 0;
                for (size_t k = 0; k < count; k++)
                    later |= (k > i && changes[k].tag == c->tag) || (changes[k].kind != DICORE_CHANGE_DELETE && (changes[k].encoded ||
                             changes[k].vr == DICORE_VR_SQ || changes[k].vr == DICORE_VR_UN || changes[k].tag == 0x00081115 || changes[k].tag == 0x00081199));
                if (c->item || c->path_length || later)
                    continue;
                uint32_t at = dicore_tape_find(&after, 0, after.count, c->tag);
                if (c->kind == DICORE_CHANGE_PUT || c->kind == DICORE_CHANGE_ADD)
                    MUST(at != DICORE_NO_ENTRY);
                if (c->kind == DICORE_CHANGE_DELETE)
                    MUST(at == DICORE_NO_ENTRY);
                if (c->kind == DICORE_CHANGE_PUT && !(encoding & DICORE_ENTRY_BIG_ENDIAN))
                    MUST(after.entries[at].length == c->value.size + (c->value.size & 1) &&
                         memcmp(out + after.entries[at].offset + after.entries[at].header, c->value.data, c->value.size) == 0);
            }
        dicore_tape_free(&after, &plain_heap);
        free(out);
    }

    dicore_edit_options options = {.reencode = 1, .encoding = operands[57] & 3, .lengths = operands[58] % 3,
                                   .canonical = operands[58] >> 4 & 1};
    out = result(&tape, data, size, encoding, changes, operands[58] & 0x20 ? count : 0, &options, &out_size);
    if (out && is_clean && !(operands[58] & 0x20)) {
        dicore_encoding to = (dicore_encoding)options.encoding;
        dicore_tape after = {0};
        dicore_status status = dicore_tape_read(&after, out, out_size, 0, to, NULL, &plain_heap, NULL);
        MUST(status == DICORE_OK || status == DICORE_TOO_DEEP);
        if (status == DICORE_OK && encoding & 1 && to & 1) { /* no VR is lost: a second pass changes nothing more, and there is a way back */
            uint8_t *again = result(&after, out, out_size, to, NULL, 0, &options, &again_size);
            MUST(again && again_size == out_size && (out_size == 0 || memcmp(again, out, out_size) == 0));
            free(again);
        }
        dicore_tape_free(&after, &plain_heap);
    }
    free(out);
    for (uint32_t i = 0; i < tape.count; i++)
        if (tape.entries[i].flags & DICORE_ENTRY_ITEM) {
            options.item = i;
            free(result(&tape, data, size, encoding, NULL, 0, &options, &out_size));
            break;
        }
    dicore_tape_free(&tape, &plain_heap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t operands[OPERANDS] = {0};
    size_t n = size < OPERANDS ? size : OPERANDS;
    if (n)
        memcpy(operands, data, n);
    dicore_encoding encoding = (dicore_encoding)(operands[63] & 3);
    edit_as(operands, data + n, size - n, encoding);
    if (size - n < 4096) {
        uint8_t *out = NULL, *back = NULL;
        size_t out_size = 0, capacity = 0, back_size = 0, back_capacity = 0;
        MUST(dicore_deflate(data + n, size - n, operands[62] % 10, &plain_heap, &out, &out_size, &capacity, NULL) == DICORE_OK);
        MUST(dicore_inflate(out, out_size, NULL, NULL, &plain_heap, &back, &back_size, &back_capacity, NULL) == DICORE_OK);
        MUST(back_size == size - n && (back_size == 0 || memcmp(back, data + n, back_size) == 0));
        free(out);
        free(back);
    }
    return 0;
}
