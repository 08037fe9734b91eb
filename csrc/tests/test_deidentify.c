/* De-identification: what becomes of each kind of element, at the top and nested, in each encoding; what stands in for an
 * identity; and that nothing is read, written or kept beyond what is there. */
#include "bytes.h"

#define LE DICORE_EXPLICIT_LE
#define IM DICORE_IMPLICIT_LE
#define BE DICORE_EXPLICIT_BE

static counted heap;

static const dicore_deid_rule RULES[] = {
    {0x00080018, DICORE_DEID_UID},   {0x00080020, DICORE_DEID_SHIFT}, {0x00080030, DICORE_DEID_SHIFT},
    {0x00080090, DICORE_DEID_EMPTY}, {0x0008103E, DICORE_DEID_CLEAN}, {0x00081140, DICORE_DEID_KEEP},
    {0x00081150, DICORE_DEID_KEEP},  {0x00081155, DICORE_DEID_UID},   {0x00081199, DICORE_DEID_CLEAN},
    {0x00100010, DICORE_DEID_NAME},  {0x00100020, DICORE_DEID_ID},    {0x00101040, DICORE_DEID_REMOVE},
    {0x00181030, DICORE_DEID_DUMMY}, {0x0040A730, DICORE_DEID_DUMMY},
};
static const dicore_change CONSTANTS[] = {
    {.tag = 0x00120062, .vr = DICORE_VR('C', 'S'), .value = SPAN("YES")},
};
static const dicore_deid_private SAFE[] = {{0x00190027, SPAN("SIEMENS MR HEADER")}, {0x0019000C, SPAN("SIEMENS MR HEADER")}};
static uint64_t words[16];

static dicore_deidentifier deidentifier(void)
{
    dicore_deidentifier how = {.rules = RULES, .rule_count = sizeof RULES / sizeof *RULES, .safe = SAFE, .safe_count = 2,
                               .words = words, .word_slots = 16, .constants = CONSTANTS, .constant_count = 1,
                               .implementation = SPAN("1.2.3.99"), .version_name = SPAN("TEST"),
                               .curves = DICORE_DEID_REMOVE, .overlay_data = DICORE_DEID_REMOVE,
                               .overlay_comments = DICORE_DEID_REMOVE, .dates = DICORE_DEID_SHIFT, .uids = DICORE_DEID_UID,
                               .names = DICORE_DEID_DUMMY, .links = DICORE_DEID_REMOVE};
    memset(words, 0, sizeof words);
    const char *allowed[] = {"chest", "axial", "smith"};
    for (size_t i = 0; i < 3; i++) {
        uint64_t hash = dicore_deid_word_hash((const uint8_t *)allowed[i], strlen(allowed[i]));
        size_t slot = hash & 15;
        while (words[slot])
            slot = (slot + 1) & 15;
        words[slot] = hash;
    }
    for (uint8_t i = 0; i < 32; i++)
        how.key[i] = i;
    return how;
}

/* One reference item: class and instance. */
static void put_reference(bytes *b, dicore_encoding e, uint32_t sequence, const char *uid)
{
    bytes item = {.size = 0};
    put_text(&item, e, 0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2 ");
    put_text(&item, e, 0x00081155, "UI", uid);
    put_text(&item, e, 0x00101040, "LO", "nested home");
    put_header(b, e, sequence, "SQ", (uint32_t)item.size + 8);
    put_item(b, e, (uint32_t)item.size);
    put(b, item.data, item.size);
}

static void put_data_set(bytes *b, dicore_encoding e)
{
    put_text(b, e, 0x00080000, "UL", "abcd");
    put_text(b, e, 0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2 ");
    put_header(b, e, 0x00080018, "UI", 6);
    put(b, "1.2.3", 6);
    put_text(b, e, 0x00080020, "DA", "20200301");
    put_text(b, e, 0x00080030, "TM", "101112");
    put_text(b, e, 0x00080090, "PN", "Smith^Jo");
    put_text(b, e, 0x0008103E, "LO", "chest Smith, 3/4/1960 AXIAL ");
    put_reference(b, e, 0x00081140, "1.2.3.4 ");
    put_text(b, e, 0x00081190, "UR", "http://here ");
    put_reference(b, e, 0x00081199, "1.2.3 ");
    put_text(b, e, 0x00100010, "PN", "Roe^Richard ");
    put_text(b, e, 0x00100020, "LO", "PID1");
    put_text(b, e, 0x00101040, "LO", "Main St.");
    put_text(b, e, 0x00120062, "CS", "NO");
    put_text(b, e, 0x00181020, "LO", "for ROE ");
    put_text(b, e, 0x00181030, "LO", "protocol");
    put_text(b, e, 0x00190010, "LO", "SIEMENS MR HEADER ");
    put_text(b, e, 0x00190011, "LO", "SIEMENS MR HEADER ");
    put_text(b, e, 0x0019100B, "DS", "23");
    put_text(b, e, 0x0019100C, "IS", "1000");
    put_text(b, e, 0x0019110C, "IS", "Roe^");
    put_text(b, e, 0x0020000D, "UI", "1.2.3.5 ");
    put_text(b, e, 0x00201041, "DS", "12.5");
    bytes content = {.size = 0};
    put_text(&content, e, 0x0040A040, "CS", "TEXT");
    put_text(&content, e, 0x0040A160, "UT", "seen by Smith ");
    put_header(b, e, 0x0040A730, "SQ", (uint32_t)content.size + 8);
    put_item(b, e, (uint32_t)content.size);
    put(b, content.data, content.size);
    put_text(b, e, 0x00420001, "LO", "not in the dictionary ");
    put_text(b, e, 0x50000005, "US", "cc");
    put_text(b, e, 0x60020010, "US", "rr");
    put_text(b, e, 0x60023000, "OW", "overlay ");
    put_text(b, e, 0x7FE00010, "OW", "pixels");
    put_text(b, e, 0xFFFCFFFC, "OB", "padding ");
}

static void put_file(bytes *b, dicore_encoding e)
{
    static const char *const SYNTAX[] = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "", "1.2.840.10008.1.2.2"};
    size_t size = 0;
    CHECK_EQ(dicore_part10_write_meta(b->data, sizeof b->data, &size, SPAN("1.2.840.10008.5.1.4.1.1.2"), SPAN("1.2.3"),
                                      (dicore_span){(const uint8_t *)SYNTAX[e], strlen(SYNTAX[e])}, SPAN("1.2.3.98"),
                                      SPAN("OLD"), SPAN("AE_OLD")), DICORE_OK);
    b->size = size;
    memcpy(b->data, "preamble of Roe", 15);
    put_data_set(b, e);
}

/* De-identify at a guard page; the new file ends at one, too. */
static dicore_status apply(const uint8_t *file, size_t size, dicore_span patient, dicore_span name, bytes *out,
                           dicore_deid_entry *log, size_t *log_count, dicore_error *error)
{
    dicore_deidentifier how = deidentifier();
    dicore_allocator allocator = COUNTED(heap);
    dicore_deidentified planned = {0};
    uint8_t *data = guarded_copy(file, size);
    dicore_status status = dicore_deidentify_plan(&how, data, size, (dicore_span){0}, patient, name, &allocator, &planned, error);
    if (status == DICORE_OK) {
        bytes zeros = {.size = 0};
        CHECK(planned.size <= sizeof zeros.data);
        uint8_t *target = guarded_copy(zeros.data, (size_t)planned.size);
        CHECK_EQ(dicore_deidentify_emit(&planned, target, (size_t)planned.size - 1), DICORE_NO_MEMORY);
        CHECK_EQ(dicore_deidentify_emit(&planned, target, (size_t)planned.size), DICORE_OK);
        out->size = (size_t)planned.size;
        memcpy(out->data, target, out->size);
        guarded_free(target, out->size);
        if (log) {
            *log_count = planned.log_count;
            memcpy(log, planned.log, planned.log_count * sizeof *log);
        }
        dicore_deidentify_free(&planned, &allocator);
    }
    guarded_free(data, size);
    CHECK_EQ(heap.held, 0);
    return status;
}

/* The value at a path of tags (items 0), as text without padding. */
static const char *value(const bytes *file, const uint32_t *path, size_t steps)
{
    static char text[128];
    dicore_allocator allocator = COUNTED(heap);
    dicore_part10 part;
    dicore_tape tape = {0};
    dicore_read_options strict = {.strict = 1};
    strcpy(text, "(absent)");
    if (dicore_part10_parse(file->data, file->size, &strict, &part, NULL) != DICORE_OK ||
        dicore_tape_read(&tape, file->data, file->size, part.dataset_offset, (dicore_encoding)part.encoding, &strict, &allocator,
                         NULL) != DICORE_OK) {
        strcpy(text, "(not read)");
    } else {
        uint32_t first = 0, stop = tape.count, at = DICORE_NO_ENTRY;
        for (size_t i = 0; i < steps; i++) {
            at = dicore_tape_find(&tape, first, stop, path[i]);
            if (at == DICORE_NO_ENTRY)
                break;
            first = at + 2;
            stop = tape.entries[at].next;
        }
        if (at != DICORE_NO_ENTRY) {
            const dicore_entry *e = &tape.entries[at];
            size_t n = dicore_value_trim(file->data + e->offset + e->header, (size_t)e->length);
            n = n < 127 ? n : 127;
            memcpy(text, file->data + e->offset + e->header, n);
            text[n] = 0;
        }
    }
    dicore_tape_free(&tape, &allocator);
    return text;
}

#define AT(file, ...) value(file, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4)
#define CHECK_TEXT(got, want)                                                                                          \
    do {                                                                                                               \
        const char *check_text = (got);                                                                                \
        CHECK(strcmp(check_text, want) == 0);                                                                          \
        if (strcmp(check_text, want) != 0)                                                                             \
            fprintf(stderr, "  is '%s', not '%s'\n", check_text, want);                                                \
    } while (0)

static int contains(const bytes *b, const char *text)
{
    return memmem(b->data, b->size, text, strlen(text)) != NULL;
}

static void test_each_kind_of_element(dicore_encoding e)
{
    bytes file = {.size = 0}, out = {.size = 0};
    dicore_deid_entry log[64];
    size_t count = 0;
    dicore_error error = {0};
    put_file(&file, e);
    CHECK_EQ(apply(file.data, file.size, SPAN("NEW7"), SPAN("New^Name"), &out, log, &count, &error), DICORE_OK);
    CHECK_TEXT(AT(&out, 0x00080018), "2.25.297474306538503625856005579476174292793");
    CHECK_TEXT(AT(&out, 0x00080016), "1.2.840.10008.5.1.4.1.1.2");
    CHECK_TEXT(AT(&out, 0x00080030), "101112");
    CHECK_TEXT(AT(&out, 0x00080090), "");
    CHECK_TEXT(AT(&out, 0x0008103E), "chest AXIAL"); /* smith is allowed, but somebody's name here */
    CHECK_TEXT(AT(&out, 0x00081140, 0x00081150), "1.2.840.10008.5.1.4.1.1.2");
    CHECK_TEXT(AT(&out, 0x00081140, 0x00101040), "(absent)");
    CHECK_TEXT(AT(&out, 0x00081199, 0x00081155), "2.25.297474306538503625856005579476174292793"); /* that of 0008,0018 */
    CHECK_TEXT(AT(&out, 0x00081190), "(absent)");
    CHECK_TEXT(AT(&out, 0x00100010), "New^Name");
    CHECK_TEXT(AT(&out, 0x00100020), "NEW7");
    CHECK_TEXT(AT(&out, 0x00101040), "(absent)");
    CHECK_TEXT(AT(&out, 0x00120062), "YES");
    CHECK_TEXT(AT(&out, 0x00181020), "DEIDENTIFIED"); /* no rule, but it names the patient */
    CHECK_TEXT(AT(&out, 0x00181030), "DEIDENTIFIED");
    CHECK_TEXT(AT(&out, 0x00190010), "SIEMENS MR HEADER");
    CHECK_TEXT(AT(&out, 0x0019100C), "1000");
    CHECK_TEXT(AT(&out, 0x0019100B), "(absent)");
    CHECK_TEXT(AT(&out, 0x0019110C), "(absent)"); /* safe by its tag, not by what it holds */
    CHECK_TEXT(AT(&out, 0x00190011), "(absent)");
    CHECK_TEXT(AT(&out, 0x00201041), "12.5");
    CHECK_TEXT(AT(&out, 0x0040A730, 0x0040A040), "TEXT");
    CHECK_TEXT(AT(&out, 0x0040A730, 0x0040A160), "DEIDENTIFIED");
    CHECK_TEXT(AT(&out, 0x00420001), "(absent)");
    CHECK_TEXT(AT(&out, 0x50000005), "(absent)");
    CHECK_TEXT(AT(&out, 0x60020010), "rr");
    CHECK_TEXT(AT(&out, 0x60023000), "(absent)");
    CHECK_TEXT(AT(&out, 0x7FE00010), "pixels");
    const char *gone[] = {"Roe", "Smith", "PID1", "Main", "home", "overlay", "protocol", "20200301", "here", "OLD",
                          "not in", "1960"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (contains(&out, gone[i])) {
            CHECK(!"an identity is left");
            fprintf(stderr, "  %s\n", gone[i]);
        }
    CHECK(contains(&out, "1.2.3.99"));
    CHECK(!contains(&out, "1.2.3.98"));
    for (size_t i = 0; i < 128; i++)
        CHECK_EQ(out.data[i], 0);
    size_t uids = 0, added = 0;
    for (size_t i = 0; i < count; i++) {
        uids += log[i].action == DICORE_DEID_UID;
        added += log[i].action == DICORE_DEID_ADD;
    }
    CHECK_EQ(uids, 4); /* instance, study, two references */
    CHECK_EQ(added, 1);
    /* once more is nothing new but the hashes */
    bytes again = {.size = 0};
    CHECK_EQ(apply(out.data, out.size, SPAN("NEW7"), SPAN("New^Name"), &again, NULL, NULL, &error), DICORE_OK);
    CHECK_TEXT(AT(&again, 0x0008103E), "chest AXIAL");
}

static void test_pseudonyms_of_the_key(void)
{
    bytes file = {.size = 0}, out = {.size = 0};
    dicore_error error = {0};
    put_file(&file, LE);
    CHECK_EQ(apply(file.data, file.size, (dicore_span){0}, (dicore_span){0}, &out, NULL, NULL, &error), DICORE_OK);
    uint8_t expected[DICORE_DEID_PSEUDONYM + 1] = {0};
    dicore_deidentifier how = deidentifier();
    dicore_deid_pseudonym(how.key, SPAN("PID1"), expected);
    CHECK_TEXT((const char *)expected, "8Q0BKPC8H50HR9SZ");
    CHECK_TEXT(AT(&out, 0x00100020), "8Q0BKPC8H50HR9SZ");
    CHECK_TEXT(AT(&out, 0x00100010), "8Q0BKPC8H50HR9SZ");
    CHECK_EQ(dicore_deid_days(how.key, SPAN("PID1")), -1667);
    dicore_deid_pseudonym(how.key, (dicore_span){0}, expected);
    CHECK_TEXT((const char *)expected, "ZVGG1E3EPH597V1M");
    uint8_t moved[8];
    size_t n = 0;
    CHECK_EQ(dicore_deid_shift(DICORE_VR('D', 'A'), (const uint8_t *)"20200301", 8, -1667, moved, &n), DICORE_OK);
    CHECK(memcmp(AT(&out, 0x00080020), moved, 8) == 0);
}

static void test_uids(void)
{
    uint8_t out[65] = {0};
    dicore_deidentifier how = deidentifier();
    char nines[71];
    memset(nines, '9', 70);
    CHECK_EQ(dicore_deid_uid(how.key, (dicore_span){(uint8_t *)nines, 70}, out), strlen("2.25.252608142578603199648449816787400631638"));
    CHECK(memcmp(out, "2.25.252608142578603199648449816787400631638", strlen("2.25.252608142578603199648449816787400631638")) == 0);
    CHECK_EQ(dicore_deid_uid(how.key, (dicore_span){0}, out), 0);
    CHECK_EQ(dicore_deid_uid(how.key, SPAN("1.2.840.10008.1.2"), out), 17);
    CHECK(memcmp(out, "1.2.840.10008.1.2", 17) == 0);
    CHECK(dicore_deid_uid(how.key, SPAN("1.2.840.10008.Roe"), out) > 17 && memcmp(out, "2.25.", 5) == 0);
    CHECK(dicore_deid_uid(how.key, SPAN("1.2.840.100081"), out) > 17);
    for (unsigned i = 0; i < 1000; i++) { /* always a valid UID (PS3.5 9.1) */
        char text[16];
        int size = snprintf(text, sizeof text, "1.%u", i);
        size_t n = dicore_deid_uid(how.key, (dicore_span){(uint8_t *)text, (size_t)size}, out);
        CHECK(n >= 40 && n <= DICORE_DEID_UID_MAX && out[5] != '0');
    }
}

static void test_dates(void)
{
    static const struct { const char *vr, *value; int days; const char *want; } CASES[] = {
        {"DA", "20200301", -1, "20200229"}, {"DA", "20210301", -1, "20210228"}, {"DA", "20000101", -1, "19991231"},
        {"DA", "19000301", -1, "19000228"}, {"DA", "20001231", 1, "20010101"}, {"DA", "2020.03.01", -1, "20200229"},
        {"DA", "20200301\\20200302 ", -1, "20200229\\20200301"}, {"DA", "\\20200302", -1, "\\20200301"},
        {"DA", "16000229", 146097, "20000229"}, {"DA", " 20200301", -1, "20200229"},
        {"DT", "20200301101112.5+0100", -1, "20200229101112.5+0100"}, {"DT", "202003", -30, "202002"},
        {"DT", "2020", -400, "2019"}, {"DT", "2020030110", 1, "2020030210"},
        {"DA", "Roe", -1, NULL}, {"DA", "202003", -1, NULL}, {"DA", "20201301", -1, NULL}, {"DA", "20200132", -1, NULL},
        {"DA", "20200301 Roe", -1, NULL}, {"DT", "20200301Roe", -1, NULL}, {"DT", "202", -1, NULL}, {"DA", "00010101", -400, NULL},
        {"DA", "00000101", 1, NULL}, {"DA", "99991231", 1, NULL}, {"DT", "20200", 1, NULL}, {"DA", "", 1, ""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        size_t size = strlen(CASES[i].value), n = 0;
        uint8_t out[64], *data = guarded_copy(CASES[i].value, size);
        dicore_status status = dicore_deid_shift(DICORE_VR(CASES[i].vr[0], CASES[i].vr[1]), data, size, CASES[i].days, out, &n);
        CHECK_EQ(status, CASES[i].want ? DICORE_OK : DICORE_BAD_ARGUMENT);
        if (CASES[i].want && status == DICORE_OK) {
            CHECK(n <= size && n == strlen(CASES[i].want) && memcmp(out, CASES[i].want, n) == 0);
            if (n != strlen(CASES[i].want) || memcmp(out, CASES[i].want, n) != 0)
                fprintf(stderr, "  %s is %.*s\n", CASES[i].value, (int)n, (const char *)out);
        }
        guarded_free(data, size);
    }
    /* every day of 800 years goes there and back */
    uint8_t day[8], moved[8];
    size_t n = 0;
    CHECK_EQ(dicore_deid_shift(DICORE_VR('D', 'A'), (const uint8_t *)"16000101", 8, 0, day, &n), DICORE_OK);
    for (int i = 1; i <= 292194; i++) {
        uint8_t next[8];
        if (dicore_deid_shift(DICORE_VR('D', 'A'), day, 8, 1, next, &n) != DICORE_OK ||
            dicore_deid_shift(DICORE_VR('D', 'A'), next, 8, -1, moved, &n) != DICORE_OK || memcmp(moved, day, 8) != 0 ||
            memcmp(next, day, 8) <= 0) {
            CHECK(!"a day is lost");
            break;
        }
        memcpy(day, next, 8);
    }
    CHECK(memcmp(day, "24000101", 8) == 0);
}

static void test_what_is_refused(void)
{
    bytes file = {.size = 0}, out;
    dicore_error error = {0};
    put_text(&file, LE, 0x00041220, "SQ", "");
    put_text(&file, LE, 0x00080016, "UI", "1.2 ");
    put_text(&file, LE, 0x00080018, "UI", "1.2 ");
    CHECK_EQ(apply(file.data, file.size, (dicore_span){0}, (dicore_span){0}, &out, NULL, NULL, &error), DICORE_BAD_SYNTAX);
    CHECK_EQ(error.tag, 0x00041220);
    file.size = 0;
    put_text(&file, LE, 0x00080016, "UI", "1.2 ");
    put_text(&file, LE, 0x00080060, "CS", "CT");
    CHECK_EQ(apply(file.data, file.size, (dicore_span){0}, (dicore_span){0}, &out, NULL, NULL, &error), DICORE_BAD_META);
    CHECK_EQ(error.tag, 0x00080018);
    CHECK_EQ(apply((const uint8_t *)"GIF89a, no DICOM at all", 23, (dicore_span){0}, (dicore_span){0}, &out, NULL, NULL, &error),
             DICORE_NOT_DICOM);
    dicore_deidentified planned;
    dicore_allocator allocator = COUNTED(heap);
    CHECK_EQ(dicore_deidentify_plan(NULL, file.data, file.size, (dicore_span){0}, (dicore_span){0}, (dicore_span){0}, &allocator,
                                    &planned, &error), DICORE_BAD_ARGUMENT);
}

static void test_cut_anywhere(dicore_encoding e)
{
    bytes file = {.size = 0}, out;
    dicore_error error = {0};
    put_file(&file, e);
    size_t whole = 0;
    for (size_t end = 0; end <= file.size; end++) {
        dicore_status status = apply(file.data, end, (dicore_span){0}, (dicore_span){0}, &out, NULL, NULL, &error);
        if (status == DICORE_OK) {
            whole++;
            CHECK(!contains(&out, "Roe") && !contains(&out, "PID1") && !contains(&out, "Main"));
        }
    }
    CHECK(whole > 400);
}

static void test_memory_refused(void)
{
    bytes file = {.size = 0};
    put_file(&file, LE);
    dicore_deidentifier how = deidentifier();
    dicore_allocator allocator = COUNTED(heap);
    dicore_deidentified planned = {0};
    dicore_error error;
    heap.most = 0;
    CHECK_EQ(dicore_deidentify_plan(&how, file.data, file.size, (dicore_span){0}, (dicore_span){0}, (dicore_span){0}, &allocator,
                                    &planned, &error), DICORE_OK);
    size_t most = heap.most;
    dicore_deidentify_free(&planned, &allocator);
    CHECK_EQ(heap.held, 0);
    for (size_t limit = 1; limit < most; limit += 97) {
        heap.refuse_above = limit;
        CHECK_EQ(dicore_deidentify_plan(&how, file.data, file.size, (dicore_span){0}, (dicore_span){0}, (dicore_span){0},
                                        &allocator, &planned, &error), DICORE_NO_MEMORY);
        CHECK_EQ(heap.held, 0);
    }
    heap.refuse_above = 0;
}

int main(void)
{
    test_each_kind_of_element(LE);
    test_each_kind_of_element(BE);
    test_each_kind_of_element(IM);
    test_pseudonyms_of_the_key();
    test_uids();
    test_dates();
    test_what_is_refused();
    test_cut_anywhere(LE);
    test_cut_anywhere(IM);
    test_memory_refused();
    return check_result("deidentify");
}
