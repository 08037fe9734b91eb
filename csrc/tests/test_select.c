#include <sys/mman.h>

#include "dataset/select.h"

#include "bytes.h"

#define LE DICORE_EXPLICIT_LE

static const uint32_t TAGS[5] = {0x00080018, 0x00080060, 0x00081115, 0x00100010, 0x00280010};

static bytes sample(dicore_encoding as)
{
    bytes b = {0};
    put_text(&b, as, 0x00080016, "UI", "1.2.33");
    put_text(&b, as, 0x00080018, "UI", "1.2.3.44");
    put_text(&b, as, 0x00080060, "CS", "CT");
    put_header(&b, as, 0x00081110, "SQ", 0xFFFFFFFF); /* skipped, though it holds a wanted tag */
    put_item(&b, as, 0xFFFFFFFF);
    put_header(&b, as, 0x00081115, "SQ", 0xFFFFFFFF);
    put_item(&b, as, 0);
    put_sequence_end(&b, as);
    put_text(&b, as, 0x00100010, "PN", "WRONG ");
    put_item_end(&b, as);
    put_sequence_end(&b, as);
    put_header(&b, as, 0x00081115, "SQ", 0xFFFFFFFF); /* wanted */
    put_item(&b, as, 10);
    put_text(&b, as, 0x00080060, "CS", "MR");
    put_sequence_end(&b, as);
    put_text(&b, as, 0x00100010, "PN", "DOE^JOHN");
    put_text(&b, as, 0x00280011, "US", "\2\1");
    put_header(&b, as, DICORE_TAG_PIXEL_DATA, "OW", 100000); /* not there */
    return b;
}

static void wanted_tags_are_found_in_every_encoding(void)
{
    for (int encoding = 0; encoding < 4; encoding++) {
        bytes b = sample((dicore_encoding)encoding);
        uint8_t *data = guarded_copy(b.data, b.size);
        for (int quick = 0; quick < 2; quick++) {
            dicore_deviations none = {0};
            dicore_read_options options = {.deviations = quick ? NULL : &none};
            dicore_selected got[5];
            uint64_t position = 0;
            dicore_error error;
            CHECK_EQ(dicore_select(data, b.size, 0, (dicore_encoding)encoding, &options, TAGS, 5, got, &position, &error), DICORE_OK);
            CHECK(memcmp(data + got[0].offset, "1.2.3.44", 8) == 0 && got[0].length == 8);
            CHECK(memcmp(data + got[1].offset, "CT", 2) == 0 && got[1].length == 2);
            CHECK_EQ(got[2].length, 18); /* one item of 10 bytes */
            CHECK(got[2].flags & DICORE_ENTRY_SEQUENCE && got[2].flags & DICORE_ENTRY_DELIMITED);
            CHECK(memcmp(data + got[3].offset, "DOE^JOHN", 8) == 0);
            CHECK_EQ(got[3].vr, encoding & 1 ? DICORE_VR('P', 'N') : 0);
            CHECK_EQ(got[4].flags, 0); /* absent: stopped at (0028,0011) */
            CHECK_EQ(got[4].tag, 0x00280010);
            CHECK(position < b.size);
            CHECK_EQ(none.count, 0);
        }
        guarded_free(data, b.size);
    }
}

/* A reader that has 8 KiB and grows: each prefix either answers as the whole does, or says how much it needs. */
static void a_prefix_answers_or_asks_for_more(void)
{
    for (int encoding = 0; encoding < 4; encoding++) {
        bytes b = sample((dicore_encoding)encoding);
        dicore_read_options partial = {.partial = 1};
        dicore_selected whole[5], got[5];
        uint64_t position, needed = 0;
        CHECK_EQ(dicore_select(b.data, b.size, 0, (dicore_encoding)encoding, &partial, TAGS, 5, whole, &position, NULL), DICORE_OK);
        size_t answered = 0;
        for (size_t end = 0; end <= b.size; end++) {
            uint8_t *cut = guarded_copy(b.data, end);
            dicore_status status = dicore_select(cut, end, 0, (dicore_encoding)encoding, &partial, TAGS, 5, got, &position, NULL);
            if (status == DICORE_OK) {
                answered++;
                CHECK(memcmp(got, whole, sizeof got) == 0);
                CHECK(end >= needed);
            } else {
                CHECK_EQ(status, DICORE_TRUNCATED);
                CHECK(position > end);
                needed = position;
                CHECK_EQ(answered, 0);
            }
            guarded_free(cut, end);
        }
        CHECK(answered > 0);
    }
}

static void the_last_wanted_tag_ends_the_search(void)
{
    bytes b = sample(LE);
    uint32_t pixels = DICORE_TAG_PIXEL_DATA, modality = 0x00080060, two[2] = {0x00080060, 0x00080060};
    dicore_read_options partial = {.partial = 1};
    dicore_selected got[2];
    uint64_t position;
    CHECK_EQ(dicore_select(b.data, b.size, 0, LE, &partial, &pixels, 1, got, &position, NULL), DICORE_OK);
    CHECK_EQ(got[0].offset, b.size); /* the value is beyond: offset and length say where */
    CHECK_EQ(got[0].length, 100000);
    CHECK_EQ(dicore_select(b.data, b.size, 0, LE, NULL, &pixels, 1, got, &position, NULL), DICORE_OK);
    CHECK_EQ(got[0].length, 0); /* the input ends: truncated */
    CHECK(got[0].flags & DICORE_ENTRY_TRUNCATED);
    CHECK_EQ(dicore_select(b.data, 42, 0, LE, &partial, &modality, 1, got, &position, NULL), DICORE_OK);
    CHECK(got[0].flags & DICORE_SELECTED);
    CHECK_EQ(dicore_select(b.data, b.size, 0, LE, NULL, two, 2, got, &position, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_select(b.data, b.size, b.size + 1, LE, NULL, two, 1, got, &position, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_select(b.data, b.size, 0, LE, NULL, NULL, 0, NULL, &position, NULL), DICORE_OK);
}

static void out_of_order_twice_and_strict(void)
{
    bytes b = {0};
    put_text(&b, LE, 0x00080018, "UI", "1.22");
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080018, "UI", "1.33");
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    uint32_t tags[2] = {0x00080018, 0x00100010};
    dicore_selected got[2];
    uint64_t position;
    CHECK_EQ(dicore_select(b.data, b.size, 0, LE, NULL, tags, 2, got, &position, NULL), DICORE_OK);
    CHECK(memcmp(b.data + got[0].offset, "1.33", 4) == 0); /* the last one counts */
    CHECK(got[1].flags & DICORE_SELECTED);
    put_text(&b, LE, 0x00100010, "PN", "C^D "); /* the last wanted one twice */
    CHECK_EQ(dicore_select(b.data, b.size, 0, LE, NULL, tags, 2, got, &position, NULL), DICORE_OK);
    CHECK(memcmp(b.data + got[1].offset, "C^D ", 4) == 0);
    dicore_read_options strict = {.strict = 1};
    dicore_error error = {0};
    CHECK_EQ(dicore_select(b.data, b.size, 0, LE, &strict, tags, 2, got, &position, &error), DICORE_DEVIATION);
    CHECK_EQ(error.detail, DICORE_DEV_ORDER);
    CHECK_EQ(error.tag, 0x00080018);
    CHECK_EQ(error.offset, 22);
}

/* The quick path, what is expected from the data set before, and the cursor agree on everything they are given. */
static void quick_and_thorough_agree_on_damaged_input(void)
{
    uint32_t random = 1;
    uint64_t agreed = 0, alike = 0;
    static select_layout layout;
    for (int round = 0; round < 20000; round++) {
        bytes b = sample((dicore_encoding)(round & 3));
        for (int hit = 0; hit < 1 + round % 3; hit++) {
            random = random * 1664525 + 1013904223;
            b.data[(random >> 8) % b.size] = (uint8_t)(random >> 3);
        }
        dicore_deviation list[4];
        dicore_deviations deviations = {list, 4, 0};
        dicore_read_options thorough = {.deviations = &deviations};
        dicore_selected x[5], y[5];
        uint64_t at_x = 0, at_y = 0;
        dicore_status a = dicore_select(b.data, b.size, 0, (dicore_encoding)(round & 3), NULL, TAGS, 5, x, &at_x, NULL);
        dicore_status c = dicore_select(b.data, b.size, 0, (dicore_encoding)(round & 3), &thorough, TAGS, 5, y, &at_y, NULL);
        dicore_selected z[5];
        uint64_t at_z = 0;
        dicore_status d = select_like(b.data, b.size, 0, (dicore_encoding)(round & 3), NULL, TAGS, 5, z, &at_z, &layout, NULL);
        alike += a == d && at_x == at_z && memcmp(x, z, sizeof x) == 0;
        for (int i = 0; i < 5; i++)
            x[i].flags &= (uint16_t)~DICORE_ENTRY_DEVIATES, y[i].flags &= (uint16_t)~DICORE_ENTRY_DEVIATES;
        agreed += a == c && at_x == at_y && memcmp(x, y, sizeof x) == 0;
    }
    CHECK_EQ(agreed, 20000);
    CHECK_EQ(alike, 20000);
    CHECK(layout.count > 3);
}

/* A value of 4 GiB - 2 and an element behind it: lengths and headers are added in 64 bits. Nobody touches the value. */
static void offsets_beyond_32_bits(void)
{
    const size_t value = 0xFFFFFFFEu, size = value + 64;
    uint8_t *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return; /* an address space that is too small for it */
    bytes b = {0};
    put_header(&b, DICORE_EXPLICIT_LE, 0x00420011, "OB", (uint32_t)value);
    memcpy(data, b.data, b.size);
    uint64_t at = b.size + value;
    b.size = 0;
    put_text(&b, DICORE_EXPLICIT_LE, 0x00430020, "LO", "4711");
    memcpy(data + at, b.data, b.size);
    const uint32_t tags[] = {0x00430020};
    dicore_selected found;
    uint64_t position;
    CHECK_EQ(dicore_select(data, at + b.size, 0, DICORE_EXPLICIT_LE, NULL, tags, 1, &found, &position, NULL), DICORE_OK);
    CHECK_EQ(found.offset, at + 8);
    dicore_entry memory[4];
    dicore_tape tape = {memory, 0, 4, 0};
    CHECK_EQ(dicore_tape_read(&tape, data, at + b.size, 0, DICORE_EXPLICIT_LE, NULL, NULL, NULL), DICORE_OK);
    CHECK_EQ(tape.count, 2);
    CHECK_EQ(tape.entries[1].offset, at);
    dicore_walk walk;
    dicore_entry entry;
    CHECK_EQ(dicore_walk_begin(&walk, data, at + b.size, 0, DICORE_EXPLICIT_LE, NULL), DICORE_OK);
    CHECK_EQ(dicore_walk_next(&walk, &entry, NULL), DICORE_OK);
    CHECK_EQ(dicore_walk_next(&walk, &entry, NULL), DICORE_OK);
    CHECK_EQ(entry.offset, at);
    CHECK_EQ(dicore_walk_next(&walk, &entry, NULL), DICORE_END);
    munmap(data, size);
}

int main(void)
{
    wanted_tags_are_found_in_every_encoding();
    a_prefix_answers_or_asks_for_more();
    the_last_wanted_tag_ends_the_search();
    out_of_order_twice_and_strict();
    quick_and_thorough_agree_on_damaged_input();
    offsets_beyond_32_bits();
    return check_result("test_select");
}
