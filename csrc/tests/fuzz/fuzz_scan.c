/* Scanning hostile bytes: whole, and as a beginning. What is checked is that no byte outside is read (ASan), that columns are of
 * one length, that text is UTF-8 with offsets in order, and that a beginning that answers says what the whole says. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dicore/dicore.h"
#include "fuzz/fuzz.h"
#include "scan/value.h"

static const dicore_scan_step STEPS[] = {
    {0x00020010, 0}, {0x00080020, 0}, {0x00080030, 0}, {0x00080060, 0}, {0x00100010, 0}, {0x00080008, 0}, {0x00200013, 0},
    {0x00280030, 0}, {0x00280010, 0}, {0x00280106, 0}, {0x00080018, 0}, {0x00281050, 0}, {0x00091001, 0}, {0x00081115, 0},
    {0x0020000E, 0}, {0x00081115, 1}, {0x00081199, 0}, {0x00100010, 0},
};
static const char *const VRS[] = {"UI", "DA", "TM", "CS", "PN", "CS", "IS", "DS", "US", "US", "UI", "DS", "UN"};
enum { SINGLE = 13, COLUMNS = SINGLE + 3 };

static int decode(void *context, dicore_span raw, dicore_span charset, uint16_t vr, dicore_span *text)
{
    (void)context, (void)charset, (void)vr;
    MUST(raw.size > 0);
    *text = (dicore_span){(const uint8_t *)"decoded\\text", 12};
    return raw.data[0] & 1;
}

static void check_values(const dicore_scan_values *v, int text, size_t width, uint64_t count)
{
    MUST(v->count == count && v->nulls <= count);
    MUST(v->nulls == 0 || v->validity.size >= (count + 7) / 8);
    uint64_t nulls = 0;
    for (uint64_t i = 0; v->nulls && i < count; i++)
        nulls += !(v->validity.data[i / 8] >> i % 8 & 1);
    MUST(nulls == v->nulls);
    if (width) {
        MUST(v->data.size == width * count);
        return;
    }
    MUST(v->offsets.size == 4 * (count + 1));
    int32_t before = 0;
    for (uint64_t i = 0; i <= count; i++) {
        int32_t at;
        memcpy(&at, v->offsets.data + 4 * i, 4);
        MUST(at >= before && (i || at == 0));
        if (text && at > before)
            MUST(value_is_utf8((dicore_span){v->data.data + before, (size_t)(at - before)}));
        before = at;
    }
    MUST(!text || (size_t)before == v->data.size);
}

static void check_batch(const dicore_scan_batch *batch)
{
    static const uint8_t WIDTH[] = {0, 0, 2, 2, 4, 4, 8, 8, 4, 8, 4, 8};
    for (size_t i = 0; i < dicore_scan_batch_columns(batch); i++) {
        const dicore_scan_array *a = dicore_scan_batch_array(batch, i);
        int list = a->flags & DICORE_SCAN_LIST, words = a->flags & DICORE_SCAN_DICTIONARY;
        check_values(&a->values, !list && a->type == DICORE_SCAN_TEXT, words ? 4 : list ? 0 : WIDTH[a->type],
                     dicore_scan_batch_rows(batch));
        if (list || words)
            check_values(&a->child, a->type == DICORE_SCAN_TEXT, WIDTH[a->type], a->child.count);
    }
}

static uint64_t rows_of(dicore_scan *scan, const uint8_t *data, size_t size, int whole, dicore_scan_batch **out, int *more)
{
    uint64_t need = 0;
    if (dicore_scan_batch_new(scan, out) != DICORE_OK)
        abort();
    dicore_status status = dicore_scan_memory(scan, (dicore_span){data, size < 9 ? size : 9}, data, size, whole, 0, *out, &need);
    MUST(status == DICORE_OK || (status == DICORE_TRUNCATED && !whole && need > size));
    *more = status == DICORE_TRUNCATED;
    check_batch(*out);
    return dicore_scan_batch_rows(*out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dicore_scan_column columns[COLUMNS + 1];
    for (uint32_t i = 0; i < SINGLE; i++) {
        columns[i] = (dicore_scan_column){.steps = STEPS + i, .count = 1, .vr = DICORE_VR(VRS[i][0], VRS[i][1])};
        dicore_scan_column_type(columns[i].vr, i == 5 || i == 7 || i == 11, i == 9, &columns[i].type, &columns[i].flags);
    }
    columns[SINGLE] = (dicore_scan_column){.steps = STEPS + 13, .count = 2, .vr = DICORE_VR('U', 'I'), .flags = DICORE_SCAN_DICTIONARY};
    columns[SINGLE + 1] = (dicore_scan_column){.steps = STEPS + 15, .count = 3, .vr = DICORE_VR('P', 'N')};
    columns[SINGLE + 2] = (dicore_scan_column){.steps = STEPS + 15, .count = 3, .type = DICORE_SCAN_TEXT, .flags = DICORE_SCAN_LIST,
                                               .vr = DICORE_VR('L', 'O')};
    columns[COLUMNS] = (dicore_scan_column){.type = DICORE_SCAN_TEXT};
    dicore_scan_options options = {.columns = columns, .count = COLUMNS, .io = DICORE_SCAN_PREAD, .decode = decode, .limit = 1 << 20,
                                   .value_limit = 4096};
    dicore_scan *scan;
    dicore_scan_batch *whole, *some, *kept;
    int more = 0;
    if (dicore_scan_open(&options, &plain_heap, &scan, NULL) != DICORE_OK)
        abort();
    uint64_t rows = rows_of(scan, data, size, 1, &whole, &more);
    for (size_t cut = size; cut; cut /= 2) {
        uint8_t *copy = malloc(cut);
        if (!copy)
            abort();
        memcpy(copy, data, cut);
        rows_of(scan, copy, cut, 0, &some, &more);
        dicore_scan_batch_release(some);
        free(copy);
    }
    uint8_t keep = size & 1;
    if (dicore_scan_batch_filter(whole, &keep, &kept) != DICORE_OK)
        abort();
    MUST(dicore_scan_batch_rows(kept) == (rows && keep));
    check_batch(kept);
    dicore_scan_batch_release(kept);
    dicore_scan_batch_release(whole);
    dicore_scan_close(scan);
    return 0;
}
