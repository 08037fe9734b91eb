/* Scanning: what becomes a row, a null, a problem; by pread and by io_uring; and what leaves as Arrow. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "bytes.h"

#define LE DICORE_EXPLICIT_LE

static counted memory;
static char folder[] = "/tmp/dicore-scan-XXXXXX";

enum { C_PATH, C_SYNTAX, C_UID, C_DATE, C_TIME, C_MODALITY, C_NAME, C_TYPE, C_NUMBER, C_SPACING, C_ROWS, C_LEAST, C_NESTED, C_COUNT };

static const dicore_scan_step STEPS[] = {
    {0x00020010, 0}, {0x00080018, 0}, {0x00080020, 0}, {0x00080030, 0}, {0x00080060, 0}, {0x00100010, 0}, {0x00080008, 0},
    {0x00200013, 0}, {0x00280030, 0}, {0x00280010, 0}, {0x00280106, 0}, {0x00081115, 1}, {0x0020000E, 0},
};
static dicore_scan_column columns[C_COUNT];

static dicore_scan_column column(int step, uint32_t count, const char *vr, int several, int ambiguous)
{
    dicore_scan_column c = {.steps = STEPS + step, .count = count, .vr = DICORE_VR(vr[0], vr[1])};
    dicore_scan_column_type(c.vr, several, ambiguous, &c.type, &c.flags);
    return c;
}

static void make_columns(void)
{
    columns[C_PATH] = (dicore_scan_column){.type = DICORE_SCAN_TEXT};
    static const char *const VRS[] = {"UI", "UI", "DA", "TM", "CS", "PN", "CS", "IS", "DS", "US", "US"};
    for (int i = 0; i < 11; i++)
        columns[i + 1] = column(i, 1, VRS[i], i == 6 || i == 8, i == 10);
    columns[C_NESTED] = column(11, 2, "UI", 0, 0);
}

/* A Part 10 file; `padding` bytes of a private element stand before group 0010, to make the head long. */
static size_t instance(uint8_t *out, const char *name, const char *number, const char *charset, uint32_t padding)
{
    size_t size = 0;
    if (dicore_part10_write_meta(out, DICORE_META_MAX, &size, SPAN("1.2"), SPAN("1.2.3"), SPAN("1.2.840.10008.1.2.1"),
                                 SPAN("1.2.4"), (dicore_span){0}, (dicore_span){0}) != DICORE_OK)
        refuse_end(), abort();
    bytes b = {0};
    if (*charset)
        put_text(&b, LE, 0x00080005, "CS", charset);
    put_text(&b, LE, 0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL ");
    put_text(&b, LE, 0x00080018, "UI", "1.2.3.44");
    put_text(&b, LE, 0x00080020, "DA", "20240229");
    put_text(&b, LE, 0x00080030, "TM", "235960.5");
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
    put_item(&b, LE, 0);
    put_item(&b, LE, 0xFFFFFFFF);
    put_text(&b, LE, 0x0020000E, "UI", "9.8.7.66");
    put_item_end(&b, LE);
    put_sequence_end(&b, LE);
    if (padding) {
        put_text(&b, LE, 0x00090010, "LO", "TEST");
        put_header(&b, LE, 0x00091001, "OB", padding);
    }
    memcpy(out + size, b.data, b.size);
    size += b.size;
    memset(out + size, 7, padding);
    size += padding;
    b.size = 0;
    put_text(&b, LE, 0x00100010, "PN", name);
    put_text(&b, LE, 0x00200013, "IS", number);
    put_text(&b, LE, 0x00280010, "US", "\2\1");
    put_text(&b, LE, 0x00280030, "DS", "0.5\\\\1.25 ");
    put_header(&b, LE, 0x00280103, "US", 2);
    put(&b, "\1\0", 2);
    put_header(&b, LE, 0x00280106, "SS", 2);
    put(&b, "\xFE\xFF", 2);
    put_header(&b, LE, DICORE_TAG_PIXEL_DATA, "OW", 100000);
    memcpy(out + size, b.data, b.size);
    return size + b.size;
}

static void save(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        refuse_end(), abort();
    close(fd);
}

static int decode_upper(void *context, dicore_span raw, dicore_span charset, uint16_t vr, dicore_span *text)
{
    (void)raw;
    ++*(int *)context;
    CHECK(IS(charset, "ISO_IR 144"));
    CHECK_EQ(vr, DICORE_VR('P', 'N'));
    *text = SPAN("DECODED");
    return 0;
}

static dicore_scan *open_scan(dicore_scan_io io, int *decoded)
{
    dicore_scan_options options = {.columns = columns, .count = C_COUNT, .io = io, .decode = decode_upper, .context = decoded};
    dicore_scan *scan = NULL;
    dicore_error error = {0};
    dicore_status status = dicore_scan_open(&options, &COUNTED(memory), &scan, &error);
    if (status == DICORE_IO)
        return NULL; /* a kernel, or a container, without io_uring */
    CHECK_EQ(status, DICORE_OK);
    return scan;
}

static int32_t offset_at(const dicore_scan_values *v, size_t i)
{
    int32_t at;
    memcpy(&at, v->offsets.data + 4 * i, 4);
    return at;
}

static int text_is(const dicore_scan_values *v, size_t i, const char *text)
{
    size_t size = (size_t)(offset_at(v, i + 1) - offset_at(v, i));
    return size == strlen(text) && memcmp(v->data.data + offset_at(v, i), text, size) == 0;
}

static int null_at(const dicore_scan_values *v, size_t i) { return v->nulls && !(v->validity.data[i / 8] >> i % 8 & 1); }

enum { FILES = 9 };
static char names[FILES][64];
static const char *paths[FILES];

static void make_files(void)
{
    static uint8_t data[200000];
    if (!mkdtemp(folder))
        refuse_end(), abort();
    for (int i = 0; i < FILES; i++) {
        snprintf(names[i], sizeof names[i], "%s/%d.dcm", folder, i);
        paths[i] = names[i];
    }
    save(paths[0], data, instance(data, "DOE^JANE=", "12", "", 0));
    save(paths[1], "no DICOM at all, but long enough to be told from it", 52);
    save(paths[2], data, instance(data, "M\xFCLLER", "-3", "ISO_IR 100", 100000)); /* a head of 100 KB */
    save(paths[3], data, 0);
    save(paths[4], data, instance(data, "M\xC3\xBCLLER", "x7", "ISO_IR 192", 6000)); /* a number that is none */
    save(paths[5], data, instance(data, "\xB0\xB1", "1\\2 ", "ISO_IR 144", 0));      /* by the decoder; two numbers */
    save(paths[6], data, instance(data, "LAST", "9999", "", 0) - 60);                  /* cut off */
    unlink(paths[7]);
    mkdir(paths[8], 0700);
}

static void check_rows(const dicore_scan_batch *batch)
{
    const dicore_scan_array *a[C_COUNT];
    for (size_t i = 0; i < C_COUNT; i++)
        a[i] = dicore_scan_batch_array(batch, i);
    CHECK_EQ(dicore_scan_batch_rows(batch), 5); /* 0 2 4 5 6 */
    for (int i = 0; i < C_COUNT; i++)
        CHECK_EQ(a[i]->values.count, 5);
    CHECK(text_is(&a[C_PATH]->values, 1, paths[2]));
    CHECK_EQ(a[C_SYNTAX]->child.count, 1); /* a dictionary */
    CHECK(text_is(&a[C_SYNTAX]->child, 0, "1.2.840.10008.1.2.1"));
    CHECK(text_is(&a[C_UID]->child, 0, "1.2.3.44"));
    int32_t date;
    memcpy(&date, a[C_DATE]->values.data.data, 4);
    CHECK_EQ(date, 19782); /* 2024-02-29 */
    int64_t number;
    memcpy(&number, a[C_TIME]->values.data.data, 8);
    CHECK_EQ(number, 86399500000); /* a leap second is second 59 */
    CHECK(text_is(&a[C_NAME]->values, 0, "DOE^JANE"));
    CHECK(text_is(&a[C_NAME]->values, 1, "M\xC3\xBCLLER"));
    CHECK(text_is(&a[C_NAME]->values, 2, "M\xC3\xBCLLER"));
    CHECK(text_is(&a[C_NAME]->values, 3, "DECODED"));
    CHECK(text_is(&a[C_NAME]->values, 4, "LAST"));
    CHECK_EQ(offset_at(&a[C_TYPE]->values, 1), 3);
    CHECK(text_is(&a[C_TYPE]->child, 2, "AXIAL"));
    memcpy(&number, a[C_NUMBER]->values.data.data + 8, 8);
    CHECK_EQ(number, -3);
    CHECK(!null_at(&a[C_NUMBER]->values, 0) && !null_at(&a[C_NUMBER]->values, 1));
    CHECK(null_at(&a[C_NUMBER]->values, 2) && null_at(&a[C_NUMBER]->values, 3));
    CHECK_EQ(a[C_NUMBER]->values.nulls, 2);
    CHECK_EQ(offset_at(&a[C_SPACING]->values, 1), 3);
    CHECK(null_at(&a[C_SPACING]->child, 1) && !null_at(&a[C_SPACING]->child, 2));
    double spacing;
    memcpy(&spacing, a[C_SPACING]->child.data.data + 16, 8);
    CHECK(spacing == 1.25);
    CHECK(null_at(&a[C_SPACING]->values, 4)); /* what was cut off */
    uint16_t rows;
    memcpy(&rows, a[C_ROWS]->values.data.data, 2);
    CHECK_EQ(rows, 0x102);
    int32_t least;
    memcpy(&least, a[C_LEAST]->values.data.data, 4);
    CHECK_EQ(least, -2);
    CHECK(text_is(&a[C_NESTED]->child, 0, "9.8.7.66"));
    size_t count = 0;
    const dicore_scan_problem *p = dicore_scan_batch_problems(batch, &count);
    CHECK_EQ(count, 6);
    CHECK(p[0].source == 101 && p[0].status == DICORE_NOT_DICOM && p[0].column == -1);
    CHECK(p[1].source == 103 && p[1].status == DICORE_NOT_DICOM);
    CHECK(p[2].source == 104 && p[2].status == DICORE_BAD_ARGUMENT && p[2].column == C_NUMBER && p[2].tag == 0x00200013);
    CHECK(p[3].source == 105 && p[3].status == DICORE_BAD_LENGTH && p[3].column == C_NUMBER);
    CHECK(p[4].source == 107 && p[4].status == DICORE_IO && p[4].system == ENOENT);
    CHECK(p[5].source == 108 && p[5].status == DICORE_IO && p[5].system == EISDIR);
    CHECK_EQ(dicore_scan_batch_invalid(batch), 2);
}

static void files_become_rows_and_problems(dicore_scan_io io)
{
    int decoded = 0;
    dicore_scan *scan = open_scan(io, &decoded);
    if (!scan)
        return;
    CHECK_EQ(dicore_scan_uses_uring(scan), io == DICORE_SCAN_URING);
    for (int again = 0; again < 3; again++) { /* the size of the first read adapts meanwhile */
        dicore_scan_batch *batch;
        size_t done;
        CHECK_EQ(dicore_scan_batch_new(scan, &batch), DICORE_OK);
        CHECK_EQ(dicore_scan_run(scan, paths, FILES, 100, batch, &done), DICORE_OK);
        CHECK_EQ(done, FILES);
        CHECK_EQ(dicore_scan_batch_finish(batch), DICORE_OK);
        check_rows(batch);
        dicore_scan_batch_release(batch);
    }
    CHECK_EQ(decoded, 3);
    dicore_scan_close(scan);
    CHECK_EQ(memory.held, 0);
}

/* Many files, so that groups, folders and the first read change on the way: the same by both ways. */
static void both_ways_of_reading_agree(void)
{
    static const char *many[900];
    dicore_scan_batch *batch[2];
    int decoded = 0;
    for (int i = 0; i < 900; i++)
        many[i] = i % 7 == 3 ? "/dev/null" : i % 11 == 5 ? "." : paths[(i * i + i / 50) % FILES];
    dicore_scan *scan[2] = {open_scan(DICORE_SCAN_PREAD, &decoded), open_scan(DICORE_SCAN_URING, &decoded)};
    for (int i = 0; i < 2 && scan[1]; i++) {
        size_t done = 0, at = 0;
        CHECK_EQ(dicore_scan_batch_new(scan[i], &batch[i]), DICORE_OK);
        for (; at < 900; at += done)
            if (dicore_scan_run(scan[i], many + at, at + 271 < 900 ? 271 : 900 - at, at, batch[i], &done) != DICORE_OK || !done)
                refuse_end(), abort();
    }
    if (scan[1]) {
        size_t count[2];
        const dicore_scan_problem *p = dicore_scan_batch_problems(batch[0], &count[0]);
        const dicore_scan_problem *q = dicore_scan_batch_problems(batch[1], &count[1]);
        CHECK_EQ(count[0], count[1]);
        for (size_t i = 0; i < count[0]; i++)
            CHECK(p[i].source == q[i].source && p[i].status == q[i].status && p[i].system == q[i].system && p[i].column == q[i].column);
        for (size_t i = 0; i < C_COUNT; i++) {
            const dicore_scan_array *a = dicore_scan_batch_array(batch[0], i), *b = dicore_scan_batch_array(batch[1], i);
            CHECK(a->values.count == b->values.count && a->values.data.size == b->values.data.size);
            CHECK(a->values.data.size == 0 || memcmp(a->values.data.data, b->values.data.data, a->values.data.size) == 0);
        }
        dicore_scan_batch_release(batch[0]);
        dicore_scan_batch_release(batch[1]);
    }
    dicore_scan_close(scan[0]);
    dicore_scan_close(scan[1]);
    CHECK_EQ(memory.held, 0);
}

/* A reader of a stream has a beginning only: every prefix gives the row, or says how much it takes. */
static void a_beginning_answers_or_asks_for_more(void)
{
    static uint8_t data[20000];
    int decoded = 0;
    size_t size = instance(data, "DOE^JANE", "12", "", 0), answered = 0;
    dicore_scan *scan = open_scan(DICORE_SCAN_PREAD, &decoded);
    dicore_scan_batch *batch;
    CHECK_EQ(dicore_scan_batch_new(scan, &batch), DICORE_OK);
    for (size_t end = 0; end <= size; end++) {
        uint8_t *copy = guarded_copy(data, end);
        uint64_t need = 0, rows = dicore_scan_batch_rows(batch);
        dicore_status status = dicore_scan_memory(scan, SPAN("m"), copy, end, 0, 0, batch, &need);
        CHECK(status == DICORE_OK || (status == DICORE_TRUNCATED && need > end && need <= size));
        CHECK_EQ(dicore_scan_batch_rows(batch), rows + (status == DICORE_OK));
        answered += status == DICORE_OK;
        status = dicore_scan_memory(scan, SPAN("m"), copy, end, 1, 0, batch, &need); /* and as a whole file, which is cut off */
        CHECK_EQ(status, DICORE_OK);
        guarded_free(copy, end);
    }
    CHECK(answered >= 8);
    dicore_scan_batch_release(batch);
    dicore_scan_close(scan);
}

static void want_of_memory_leaves_a_whole_batch(void)
{
    int decoded = 0;
    size_t refused = 0;
    for (size_t limit = 1000; limit < 400000; limit += limit / 37) {
        dicore_scan_options options = {.columns = columns, .count = C_COUNT, .io = DICORE_SCAN_PREAD, .decode = decode_upper,
                                       .context = &decoded};
        dicore_scan *scan = NULL;
        dicore_scan_batch *batch = NULL;
        size_t done;
        memory.refuse_above = limit;
        if (dicore_scan_open(&options, &COUNTED(memory), &scan, NULL) == DICORE_OK &&
            dicore_scan_batch_new(scan, &batch) == DICORE_OK) {
            dicore_status status = dicore_scan_run(scan, paths, FILES, 0, batch, &done);
            CHECK(status == DICORE_OK || status == DICORE_NO_MEMORY);
            refused += status == DICORE_NO_MEMORY;
            for (size_t i = 0; i < C_COUNT; i++) {
                const dicore_scan_array *a = dicore_scan_batch_array(batch, i);
                CHECK_EQ(a->values.count, dicore_scan_batch_rows(batch));
                if (a->flags & DICORE_SCAN_LIST)
                    CHECK_EQ(offset_at(&a->values, a->values.count), (int32_t)a->child.count);
            }
        }
        dicore_scan_batch_release(batch);
        dicore_scan_close(scan);
        CHECK_EQ(memory.held, 0);
    }
    memory.refuse_above = 0;
    CHECK(refused > 3);
}

static void a_large_value_or_head_is_a_problem(void)
{
    int decoded = 0;
    dicore_scan_options options = {.columns = columns, .count = C_COUNT, .decode = decode_upper, .context = &decoded, .limit = 65536,
                                   .value_limit = 7};
    dicore_scan *scan;
    dicore_scan_batch *batch;
    size_t done, count = 0;
    CHECK_EQ(dicore_scan_open(&options, &COUNTED(memory), &scan, NULL), DICORE_OK);
    CHECK_EQ(dicore_scan_batch_new(scan, &batch), DICORE_OK);
    CHECK_EQ(dicore_scan_run(scan, paths, 3, 0, batch, &done), DICORE_OK);
    CHECK_EQ(dicore_scan_batch_rows(batch), 1); /* the head of 100 KB is beyond the limit */
    const dicore_scan_problem *p = dicore_scan_batch_problems(batch, &count);
    CHECK(count > 2 && p[count - 1].status == DICORE_LIMIT && p[count - 1].column == -1 && p[count - 1].source == 2);
    CHECK(p[0].status == DICORE_LIMIT && p[0].column == C_SYNTAX);
    dicore_scan_batch_release(batch);
    dicore_scan_close(scan);
    CHECK_EQ(memory.held, 0);
}

static void rows_can_be_left_out(void)
{
    int decoded = 0;
    static const uint8_t KEEP[5] = {0, 1, 0, 1, 1};
    dicore_scan *scan = open_scan(DICORE_SCAN_AUTO, &decoded);
    dicore_scan_batch *batch, *some;
    size_t done, count;
    CHECK_EQ(dicore_scan_batch_new(scan, &batch), DICORE_OK);
    CHECK_EQ(dicore_scan_run(scan, paths, FILES, 0, batch, &done), DICORE_OK);
    CHECK_EQ(dicore_scan_batch_filter(batch, KEEP, &some), DICORE_OK);
    dicore_scan_batch_release(batch);
    CHECK_EQ(dicore_scan_batch_rows(some), 3);
    CHECK(text_is(&dicore_scan_batch_array(some, C_NAME)->values, 1, "DECODED"));
    CHECK(text_is(&dicore_scan_batch_array(some, C_PATH)->values, 0, paths[2]));
    const dicore_scan_array *spacing = dicore_scan_batch_array(some, C_SPACING);
    CHECK(offset_at(&spacing->values, 2) == 6 && spacing->child.nulls == 2 && null_at(&spacing->values, 2));
    dicore_scan_batch_problems(some, &count);
    CHECK_EQ(count, 6);
    dicore_scan_batch_release(some);
    dicore_scan_close(scan);
    CHECK_EQ(memory.held, 0);
}

static void columns_leave_as_arrow(void)
{
    int decoded = 0;
    const char *column_names[C_COUNT];
    static const char *const FORMATS[C_COUNT] = {"u", "i", "i", "tdD", "ttu", "i", "u", "+l", "l", "+l", "S", "i", "i"};
    for (int i = 0; i < C_COUNT; i++)
        column_names[i] = i == C_PATH ? "path" : "other";
    dicore_scan *scan = open_scan(DICORE_SCAN_AUTO, &decoded);
    dicore_scan_batch *batch;
    size_t done;
    CHECK_EQ(dicore_scan_batch_new(scan, &batch), DICORE_OK);
    CHECK_EQ(dicore_scan_run(scan, paths, FILES, 0, batch, &done), DICORE_OK);
    CHECK_EQ(dicore_scan_batch_finish(batch), DICORE_OK);
    struct ArrowArrayStream stream;
    dicore_scan_batch *const two[2] = {batch, batch};
    CHECK_EQ(dicore_scan_export_stream(columns, column_names, C_COUNT - 1, two, 2, &COUNTED(memory), &stream), DICORE_OK);
    struct ArrowSchema schema;
    CHECK_EQ(stream.get_schema(&stream, &schema), 0);
    CHECK(strcmp(schema.format, "+s") == 0 && schema.n_children == C_COUNT - 1);
    for (int i = 0; i < C_COUNT - 1; i++)
        CHECK(strcmp(schema.children[i]->format, FORMATS[i]) == 0);
    CHECK(strcmp(schema.children[0]->name, "path") == 0 && !(schema.children[0]->flags & ARROW_FLAG_NULLABLE));
    CHECK(strcmp(schema.children[C_SPACING]->children[0]->format, "g") == 0);
    CHECK(strcmp(schema.children[C_SYNTAX]->dictionary->format, "u") == 0);
    schema.release(&schema);
    CHECK(schema.release == NULL);
    struct ArrowArray array, moved, end;
    CHECK_EQ(stream.get_next(&stream, &array), 0);
    CHECK(array.length == 5 && array.n_children == C_COUNT - 1 && array.n_buffers == 1);
    CHECK(array.children[C_PATH]->buffers[2] == dicore_scan_batch_array(batch, C_PATH)->values.data.data); /* not copied */
    CHECK(array.children[C_NUMBER]->null_count == 2 && array.children[C_NUMBER]->n_buffers == 2);
    moved = *array.children[C_NAME]; /* as the interface allows */
    array.children[C_NAME]->release = NULL;
    array.release(&array);
    CHECK_EQ(stream.get_next(&stream, &array), 0);
    array.release(&array);
    CHECK_EQ(stream.get_next(&stream, &end), 0);
    CHECK(end.release == NULL);
    stream.release(&stream);
    dicore_scan_close(scan);
    dicore_scan_batch_release(batch);
    CHECK(memcmp(moved.buffers[2], "DOE^JANE", 8) == 0); /* the child alone keeps the batch */
    moved.release(&moved);
    CHECK_EQ(memory.held, 0);
}

static void columns_that_cannot_be_are_refused(void)
{
    dicore_scan *scan = NULL;
    dicore_scan_column bad[4] = {columns[C_NAME], columns[C_NAME], columns[C_ROWS], columns[C_PATH]};
    bad[0].type = 99;
    bad[1].count = DICORE_SCAN_STEPS_MAX + 1;
    bad[2].flags = DICORE_SCAN_DICTIONARY;
    bad[3].type = DICORE_SCAN_INT64;
    for (int i = 0; i < 4; i++) {
        dicore_scan_options options = {.columns = &bad[i], .count = 1};
        CHECK_EQ(dicore_scan_open(&options, &COUNTED(memory), &scan, NULL), DICORE_BAD_ARGUMENT);
    }
    CHECK_EQ(memory.held, 0);
}

int main(void)
{
    make_columns();
    make_files();
    files_become_rows_and_problems(DICORE_SCAN_PREAD);
    files_become_rows_and_problems(DICORE_SCAN_URING);
    both_ways_of_reading_agree();
    a_beginning_answers_or_asks_for_more();
    want_of_memory_leaves_a_whole_batch();
    a_large_value_or_head_is_a_problem();
    rows_can_be_left_out();
    columns_leave_as_arrow();
    columns_that_cannot_be_are_refused();
    for (int i = 0; i < FILES; i++)
        remove(paths[i]);
    remove(folder);
    return check_result("scan");
}
