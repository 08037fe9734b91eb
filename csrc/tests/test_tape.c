#include "bytes.h"

#define LE DICORE_EXPLICIT_LE

static bytes sample(dicore_encoding as)
{
    bytes b = {0};
    put_text(&b, as, 0x00080060, "CS", "CT");          /* 0 */
    put_header(&b, as, 0x00081115, "SQ", 0xFFFFFFFF);  /* 1 */
    put_item(&b, as, 0xFFFFFFFF);                      /* 2 */
    put_header(&b, as, 0x00081199, "SQ", 8);           /* 3 */
    put_item(&b, as, 0);                               /* 4 */
    put_text(&b, as, 0x0020000E, "UI", "1.22");        /* 5 */
    put_item_end(&b, as);
    put_item(&b, as, 0);                               /* 6 */
    put_sequence_end(&b, as);
    put_text(&b, as, 0x00100010, "PN", "A^B ");        /* 7 */
    put_header(&b, as, DICORE_TAG_PIXEL_DATA, "OB", 0xFFFFFFFF); /* 8 */
    put_item(&b, as, 0);
    put_item(&b, as, 4);
    put(&b, "abcd", 4);
    put_sequence_end(&b, as);
    return b;
}

/* Whatever was read, a tape hangs together. */
static void check_shape(const dicore_tape *tape, uint64_t size)
{
    for (uint32_t i = 0; i < tape->count; i++) {
        const dicore_entry *e = &tape->entries[i];
        CHECK(e->next > i && e->next <= tape->count);
        CHECK(e->offset + e->header + e->length + (e->flags & DICORE_ENTRY_DELIMITED ? 8 : 0) <= size);
        uint64_t end = e->offset + e->header + e->length;
        for (uint32_t child = i + 1; child < e->next; child = tape->entries[child].next) {
            const dicore_entry *c = &tape->entries[child];
            CHECK(c->next <= e->next);
            CHECK(c->offset >= e->offset + e->header && c->offset + c->header + c->length <= end);
            CHECK(e->flags & (DICORE_ENTRY_ITEM | DICORE_ENTRY_SEQUENCE));
            CHECK_EQ((c->flags & DICORE_ENTRY_ITEM) != 0, (e->flags & DICORE_ENTRY_SEQUENCE) != 0);
            CHECK_EQ(c->depth, e->depth + (e->flags & DICORE_ENTRY_SEQUENCE ? 1 : 0));
        }
    }
}

static void a_whole_data_set_with_siblings_and_lengths(void)
{
    for (int encoding = 0; encoding < 4; encoding++) {
        bytes b = sample((dicore_encoding)encoding);
        unsigned header = encoding & 1 ? 12 : 8;
        uint8_t *data = guarded_copy(b.data, b.size);
        counted heap = {0};
        dicore_allocator allocator = COUNTED(heap);
        dicore_tape tape = {0};
        dicore_error error;
        CHECK_EQ(dicore_tape_read(&tape, data, b.size, 0, (dicore_encoding)encoding, NULL, &allocator, &error), DICORE_OK);
        static const uint32_t NEXT[9] = {1, 7, 6, 5, 5, 6, 7, 8, 9};
        CHECK_EQ(tape.count, 9);
        for (uint32_t i = 0; i < 9 && i < tape.count; i++)
            CHECK_EQ(tape.entries[i].next, NEXT[i]);
        CHECK_EQ(tape.end, b.size);
        CHECK_EQ(sizeof(dicore_entry), 32);
        /* raw of an undefined length: its items without the delimiter */
        CHECK_EQ(tape.entries[2].length, header + 8 + 8 + 4);
        CHECK_EQ(tape.entries[1].length, 8 + tape.entries[2].length + 8 + 8);
        CHECK_EQ(tape.entries[8].length, 8 + 12);
        CHECK(tape.entries[1].flags & DICORE_ENTRY_DELIMITED && tape.entries[2].flags & DICORE_ENTRY_DELIMITED);
        CHECK(!(tape.entries[6].flags & DICORE_ENTRY_DELIMITED));
        check_shape(&tape, b.size);
        CHECK_EQ(dicore_tape_find(&tape, 0, tape.count, 0x00100010), 7);
        CHECK_EQ(dicore_tape_find(&tape, 0, tape.count, 0x0020000E), DICORE_NO_ENTRY); /* nested, not a sibling */
        CHECK_EQ(dicore_tape_find(&tape, 3, tape.entries[2].next, 0x0020000E), 5);
        dicore_tape_free(&tape, &allocator);
        CHECK_EQ(heap.held, 0);
        CHECK(tape.entries == NULL);
        guarded_free(data, b.size);
        for (size_t end = 0; end < b.size; end++) { /* cut anywhere: lenient keeps, strict and partial say so */
            uint8_t *cut = guarded_copy(b.data, end);
            CHECK_EQ(dicore_tape_read(&tape, cut, end, 0, (dicore_encoding)encoding, NULL, &allocator, &error), DICORE_OK);
            check_shape(&tape, end);
            dicore_read_options partial = {.partial = 1};
            CHECK_EQ(dicore_tape_read(&tape, cut, end, 0, (dicore_encoding)encoding, &partial, &allocator, &error), DICORE_TRUNCATED);
            CHECK(error.offset > end);
            guarded_free(cut, end);
        }
        dicore_tape_free(&tape, &allocator);
    }
}

static void memory_is_the_callers_or_grows_by_arrival(void)
{
    bytes b = {0};
    for (uint32_t i = 0; i < 1000; i++)
        put_text(&b, LE, 0x00080100 + i, "SH", "ab");
    dicore_entry room[10];
    dicore_tape tape = {room, 0, 10, 0};
    dicore_error error;
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, NULL, NULL, &error), DICORE_NO_MEMORY);
    CHECK_EQ(tape.count, 10);
    CHECK_EQ(error.offset, 100);
    CHECK_EQ(dicore_tape_read(&tape, b.data, 100, 0, LE, NULL, NULL, &error), DICORE_OK); /* just enough */
    CHECK_EQ(tape.count, 10);
    counted heap = {.refuse_above = 20000};
    dicore_allocator allocator = COUNTED(heap);
    tape = (dicore_tape){0};
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, NULL, &allocator, &error), DICORE_NO_MEMORY);
    CHECK_EQ(tape.count, 512);
    heap.refuse_above = 0;
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, NULL, &allocator, &error), DICORE_OK); /* and goes on with it */
    CHECK_EQ(tape.count, 1000);
    dicore_tape_free(&tape, &allocator);
    CHECK_EQ(heap.held, 0);
    /* refused inside a sequence: what is open is closed */
    bytes s = sample(LE);
    for (uint32_t capacity = 0; capacity < 9; capacity++) {
        tape = (dicore_tape){room, 0, capacity, 0};
        CHECK_EQ(dicore_tape_read(&tape, s.data, s.size, 0, LE, NULL, NULL, &error), DICORE_NO_MEMORY);
        CHECK_EQ(tape.count, capacity);
        check_shape(&tape, s.size);
    }
    b.size = 0; /* a length of 4 GiB asks for nothing */
    put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFE);
    put_item(&b, LE, 0xFFFFFFF0);
    tape = (dicore_tape){0};
    heap = (counted){0};
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, NULL, &allocator, &error), DICORE_OK);
    CHECK_EQ(tape.count, 2);
    CHECK(heap.most < 10000);
    dicore_tape_free(&tape, &allocator);
}

static void too_deep_leaves_a_tape_that_hangs_together(void)
{
    bytes b = {0};
    for (int i = 0; i < 100; i++) {
        put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
        put_item(&b, LE, 0xFFFFFFFF);
    }
    counted heap = {0};
    dicore_allocator allocator = COUNTED(heap);
    dicore_tape tape = {0};
    dicore_error error;
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, NULL, &allocator, &error), DICORE_TOO_DEEP);
    CHECK_EQ(error.depth, 64);
    CHECK_EQ(tape.count, 128);
    check_shape(&tape, b.size);
    dicore_tape_free(&tape, &allocator);
    CHECK_EQ(heap.held, 0);
}

static uint16_t vr_of(const dicore_tape *tape, const bytes *b, uint32_t tag, int pixel_representation)
{
    uint32_t index = dicore_tape_find(tape, 0, tape->count, tag);
    return index == DICORE_NO_ENTRY ? 0
                                    : dicore_tape_vr(tape, b->data, b->size, 0, tape->count, index, pixel_representation);
}

static void vrs_by_the_dictionaries(void)
{
    counted heap = {0};
    dicore_allocator allocator = COUNTED(heap);
    dicore_tape tape = {0};
    bytes b = {0};
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080000, NULL, "abcd");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080060, NULL, "CT");
    put_header(&b, DICORE_IMPLICIT_LE, 0x00081115, NULL, 0);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00089999, NULL, "?!");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00090010, NULL, "CARDIO-D.R. 1.0 ");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00091001, NULL, "ab");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00091101, NULL, "ab");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00280106, NULL, "ab");
    put_text(&b, DICORE_IMPLICIT_LE, 0x60003000, NULL, "ab");
    put_text(&b, DICORE_IMPLICIT_LE, DICORE_TAG_PIXEL_DATA, NULL, "ab");
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, DICORE_IMPLICIT_LE, NULL, &allocator, NULL), DICORE_OK);
    CHECK_EQ(vr_of(&tape, &b, 0x00080000, -1), DICORE_VR('U', 'L'));
    CHECK_EQ(vr_of(&tape, &b, 0x00080060, -1), DICORE_VR('C', 'S'));
    CHECK_EQ(vr_of(&tape, &b, 0x00081115, -1), DICORE_VR_SQ);
    CHECK_EQ(vr_of(&tape, &b, 0x00089999, -1), DICORE_VR_UN);
    CHECK_EQ(vr_of(&tape, &b, 0x00090010, -1), DICORE_VR('L', 'O'));
    CHECK_EQ(vr_of(&tape, &b, 0x00091101, -1), DICORE_VR_UN);
    dicore_span creator = dicore_tape_creator(&tape, b.data, b.size, 0, tape.count, 0x00091001);
    CHECK(IS(creator, "CARDIO-D.R. 1.0")); /* without its padding */
    uint16_t known = dicore_dictionary_private_vr(creator.data, creator.size, 0x00091001);
    CHECK_EQ(vr_of(&tape, &b, 0x00091001, -1), known ? known : DICORE_VR_UN);
    CHECK_EQ(dicore_tape_creator(&tape, b.data, b.size, 0, tape.count, 0x00091101).size, 0);
    CHECK_EQ(dicore_tape_creator(&tape, b.data, b.size, 0, tape.count, 0x00080060).size, 0);
    CHECK_EQ(vr_of(&tape, &b, 0x00280106, -1), DICORE_VR('U', 'S'));
    CHECK_EQ(vr_of(&tape, &b, 0x00280106, 0), DICORE_VR('U', 'S'));
    CHECK_EQ(vr_of(&tape, &b, 0x00280106, 1), DICORE_VR('S', 'S'));
    CHECK_EQ(vr_of(&tape, &b, 0x60003000, -1), DICORE_VR_OW);
    CHECK_EQ(vr_of(&tape, &b, DICORE_TAG_PIXEL_DATA, -1), DICORE_VR_OW);

    b.size = 0; /* explicit, stored as UN; the siblings decide before what is said from outside */
    put_text(&b, LE, 0x00080060, "UN", "CT");
    put_header(&b, LE, 0x00280100, "US", 2);
    put(&b, "\10\0", 2);
    put_header(&b, LE, 0x00280103, "US", 2);
    put(&b, "\1\0", 2);
    put_text(&b, LE, 0x00280106, "UN", "ab");
    put_header(&b, LE, 0x00283002, "US", 6);
    put(&b, "\1\0\0\0\20\0", 6);
    put_text(&b, LE, 0x00283006, "UN", "ab");
    put_text(&b, LE, DICORE_TAG_PIXEL_DATA, "UN", "ab");
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, NULL, &allocator, NULL), DICORE_OK);
    CHECK_EQ(vr_of(&tape, &b, 0x00080060, -1), DICORE_VR('C', 'S'));
    CHECK_EQ(vr_of(&tape, &b, 0x00280106, 0), DICORE_VR('S', 'S'));
    CHECK_EQ(vr_of(&tape, &b, 0x00283006, 0), DICORE_VR('U', 'S'));
    CHECK_EQ(vr_of(&tape, &b, DICORE_TAG_PIXEL_DATA, 0), DICORE_VR_OB);
    CHECK_EQ(tape.entries[0].vr, DICORE_VR_UN); /* what is stored stays */
    dicore_tape_free(&tape, &allocator);
    CHECK_EQ(heap.held, 0);
}

int main(void)
{
    a_whole_data_set_with_siblings_and_lengths();
    memory_is_the_callers_or_grows_by_arrival();
    too_deep_leaves_a_tape_that_hangs_together();
    vrs_by_the_dictionaries();
    return check_result("test_tape");
}
