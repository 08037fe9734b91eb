/* De-identification of hostile bytes. Nothing outside is read or written (ASan), memory is given back, and the new file reads,
 * holds no private element, has a zeroed preamble, and is de-identified again without a failure. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dicore/dicore.h"
#include "fuzz/fuzz.h"

#define SPAN(text) ((dicore_span){(const uint8_t *)(text), sizeof(text) - 1})

static const dicore_deid_rule RULES[] = {
    {0x00080016, DICORE_DEID_KEEP},   {0x00080018, DICORE_DEID_UID},   {0x00080020, DICORE_DEID_SHIFT},
    {0x00080090, DICORE_DEID_EMPTY},
    {0x0008103E, DICORE_DEID_CLEAN},  {0x00081115, DICORE_DEID_KEEP},  {0x00081140, DICORE_DEID_DUMMY},
    {0x00081155, DICORE_DEID_UID},    {0x00100010, DICORE_DEID_NAME},  {0x00100020, DICORE_DEID_ID},
    {0x00101040, DICORE_DEID_REMOVE}, {0x0040A730, DICORE_DEID_CLEAN},
};
static const dicore_change CONSTANTS[] = {{.tag = 0x00120062, .vr = DICORE_VR('C', 'S'), .value = SPAN("YES")}};
static const dicore_deid_private SAFE[] = {{0x0019000C, SPAN("SIEMENS MR HEADER")}};
static uint64_t words[2];

static uint8_t *apply(const uint8_t *data, size_t size, dicore_span syntax, int safe, size_t *out_size)
{
    dicore_deidentifier how = {.rules = RULES, .rule_count = sizeof RULES / sizeof *RULES, .safe = SAFE, .safe_count = safe ? 1 : 0,
                               .words = words, .word_slots = 2, .constants = CONSTANTS, .constant_count = 1,
                               .implementation = SPAN("1.2.3"), .version_name = SPAN("FUZZ"), .curves = DICORE_DEID_REMOVE,
                               .overlay_data = DICORE_DEID_REMOVE, .overlay_comments = DICORE_DEID_REMOVE,
                               .dates = DICORE_DEID_SHIFT, .uids = DICORE_DEID_UID, .names = DICORE_DEID_DUMMY,
                               .links = DICORE_DEID_REMOVE, .key = {1, 2, 3}};
    words[0] = dicore_deid_word_hash((const uint8_t *)"chest", 5) & ~(uint64_t)1; /* any hash: a full slot and a free one */
    dicore_deidentified planned;
    dicore_error error;
    if (dicore_deidentify_plan(&how, data, size, syntax, (dicore_span){0}, (dicore_span){0}, &plain_heap, &planned, &error) != DICORE_OK)
        return NULL;
    uint8_t *out = malloc((size_t)planned.size);
    MUST(out);
    MUST(dicore_deidentify_emit(&planned, out, (size_t)planned.size) == DICORE_OK);
    *out_size = (size_t)planned.size;
    dicore_deidentify_free(&planned, &plain_heap);
    return out;
}

static void check(const uint8_t *data, size_t size, dicore_span syntax)
{
    size_t new_size = 0, again_size = 0;
    uint8_t *out = apply(data, size, syntax, 0, &new_size);
    if (!out)
        return;
    dicore_part10 part;
    dicore_tape tape = {0};
    MUST(dicore_part10_parse(out, new_size, NULL, &part, NULL) == DICORE_OK);
    MUST(part.has_preamble && part.meta_size && !part.source_ae.size);
    for (size_t i = 0; i < 128; i++)
        MUST(out[i] == 0);
    MUST(dicore_tape_read(&tape, out, new_size, part.dataset_offset, (dicore_encoding)part.encoding, NULL, &plain_heap, NULL) == DICORE_OK);
    for (uint32_t i = 0; i < tape.count; i++)
        MUST(tape.entries[i].flags & DICORE_ENTRY_ITEM || !(tape.entries[i].tag & 0x10000));
    dicore_tape_free(&tape, &plain_heap);
    uint8_t *again = apply(out, new_size, (dicore_span){0}, 0, &again_size);
    MUST(again);
    free(again);
    free(out);
    free(apply(data, size, syntax, 1, &new_size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size, (dicore_span){0});
    check(data, size, SPAN("1.2.840.10008.1.2"));
    check(data, size, SPAN("1.2.840.10008.1.2.1"));
    check(data, size, SPAN("1.2.840.10008.1.2.2"));
    return 0;
}
