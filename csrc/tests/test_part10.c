#include <zlib.h>

#include "bytes.h"

#define LE DICORE_EXPLICIT_LE

typedef struct parsed {
    dicore_part10 part;
    dicore_status status;
    dicore_error error;
    dicore_deviation noted[16];
    uint32_t count;
} parsed;

static parsed parse(const bytes *b, int strict)
{
    parsed p = {0};
    dicore_deviations deviations = {p.noted, 16, 0};
    dicore_read_options options = {.strict = (uint8_t)strict, .deviations = &deviations};
    p.status = dicore_part10_parse(b->data, b->size, &options, &p.part, &p.error);
    p.count = deviations.count;
    return p;
}

/* Leniently `code` is noted (first), strictly it is the error. */
static parsed expect(const bytes *b, uint32_t code)
{
    parsed p = parse(b, 0), s = parse(b, 1);
    CHECK_EQ(p.status, DICORE_OK);
    if (code) {
        int found = 0;
        for (uint32_t i = 0; i < p.count && i < 16; i++)
            found |= p.noted[i].code == code;
        CHECK(found);
        CHECK_EQ(s.status, DICORE_DEVIATION);
        CHECK_EQ(s.error.detail, p.noted[0].code);
    } else {
        CHECK_EQ(p.count, 0);
        CHECK_EQ(s.status, DICORE_OK);
    }
    for (size_t end = 0; end < b->size; end++) { /* no prefix is read past its end, or reads as more than it is */
        uint8_t *cut = guarded_copy(b->data, end);
        dicore_part10 part;
        dicore_status status = dicore_part10_parse(cut, end, NULL, &part, NULL);
        CHECK(status == DICORE_OK || status == DICORE_NOT_DICOM || status == DICORE_BAD_META);
        CHECK(status != DICORE_OK || (part.dataset_offset <= end && part.meta_offset + part.meta_size <= end));
        dicore_read_options partial = {.partial = 1};
        dicore_error error = {0};
        status = dicore_part10_parse(cut, end, &partial, &part, &error);
        CHECK(status == DICORE_OK || status == DICORE_NOT_DICOM || (status == DICORE_TRUNCATED && error.offset > end));
        CHECK(status != DICORE_OK || part.dataset_offset == p.part.dataset_offset);
        guarded_free(cut, end);
    }
    return p;
}

static bytes file_of(dicore_span syntax)
{
    bytes b = {0};
    size_t size = 0;
    CHECK_EQ(dicore_part10_write_meta(b.data, sizeof b.data, &size, SPAN("1.2.840.10008.5.1.4.1.1.7"), SPAN("1.2.3.4"), syntax,
                                      SPAN("1.2.826.0.1.3680043.9.9999"), SPAN("DICORE_010"), SPAN("SCANNER")),
             DICORE_OK);
    b.size = size;
    return b;
}

static void what_is_written_is_read(void)
{
    bytes b = file_of(SPAN("1.2.840.10008.1.2.1"));
    size_t meta_end = b.size;
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080070, "LO", "maker of it ");
    parsed p = expect(&b, 0);
    CHECK_EQ(p.part.has_preamble, 1);
    CHECK_EQ(p.part.meta_offset, 132);
    CHECK_EQ(p.part.meta_size, meta_end - 132);
    CHECK_EQ(p.part.dataset_offset, meta_end);
    CHECK_EQ(p.part.encoding, LE);
    CHECK_EQ(p.part.deflated, 0);
    CHECK(IS(p.part.sop_class, "1.2.840.10008.5.1.4.1.1.7"));
    CHECK(IS(p.part.sop_instance, "1.2.3.4"));
    CHECK(IS(p.part.transfer_syntax, "1.2.840.10008.1.2.1"));
    CHECK(IS(p.part.implementation, "1.2.826.0.1.3680043.9.9999"));
    CHECK(IS(p.part.version_name, "DICORE_010"));
    CHECK(IS(p.part.source_ae, "SCANNER"));
    /* the length of the group, and every element even (PS3.10 7.1) */
    CHECK_EQ(b.data[140] | b.data[141] << 8, meta_end - 144);
    dicore_tape tape = {0};
    counted heap = {0};
    dicore_allocator allocator = COUNTED(heap);
    dicore_read_options strict = {.strict = 1};
    CHECK_EQ(dicore_tape_read(&tape, b.data, meta_end, 132, LE, &strict, &allocator, NULL), DICORE_OK);
    CHECK_EQ(tape.count, 8);
    dicore_tape_free(&tape, &allocator);
}

static void the_writer_knows_its_bounds(void)
{
    uint8_t out[DICORE_META_MAX];
    char uid[65];
    memset(uid, '1', 65);
    dicore_span longest = {(const uint8_t *)uid, 64}, text = {(const uint8_t *)uid, 16}, none = {0};
    size_t size = 0;
    CHECK_EQ(dicore_part10_write_meta(out, sizeof out, &size, longest, longest, longest, longest, text, text), DICORE_OK);
    CHECK(size <= DICORE_META_MAX);
    CHECK_EQ(dicore_part10_write_meta(out, size - 1, &size, longest, longest, longest, longest, text, text), DICORE_NO_MEMORY);
    CHECK_EQ(dicore_part10_write_meta(out, sizeof out, &size, none, longest, longest, longest, text, text), DICORE_BAD_LENGTH);
    longest.size = 65;
    CHECK_EQ(dicore_part10_write_meta(out, sizeof out, &size, longest, text, text, text, none, none), DICORE_BAD_LENGTH);
    text.size = 17;
    longest.size = 64;
    CHECK_EQ(dicore_part10_write_meta(out, sizeof out, &size, longest, longest, longest, longest, text, none), DICORE_BAD_LENGTH);
    CHECK_EQ(dicore_part10_write_meta(out, sizeof out, &size, longest, longest, longest, longest, none, none), DICORE_OK);
    CHECK_EQ(size, 132 + 12 + 14 + 4 * 72);
}

static void transfer_syntaxes(void)
{
    static const struct {
        const char *uid;
        dicore_encoding encoding;
        int deflated;
    } KNOWN[] = {
        {"1.2.840.10008.1.2", DICORE_IMPLICIT_LE, 0},     {"1.2.840.10008.1.2.1", LE, 0},
        {"1.2.840.10008.1.2.2", DICORE_EXPLICIT_BE, 0},   {"1.2.840.10008.1.2.1.99", LE, 1},
        {"1.2.840.10008.1.2.4.70", LE, 0},                {"1.2.840.10008.1.2.4.95", LE, 1},
        {"1.2.840.113619.5.2", DICORE_IMPLICIT_LE, 0},    {"1.2.3.4.5.6.7.8.9", LE, 0},
        {"", LE, 0},
    };
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        int deflated = -1;
        CHECK_EQ(dicore_syntax_encoding((const uint8_t *)KNOWN[i].uid, strlen(KNOWN[i].uid), &deflated), KNOWN[i].encoding);
        CHECK_EQ(deflated, KNOWN[i].deflated);
    }
}

static void data_sets_in_another_encoding_than_declared(void)
{
    static const char *SYNTAX[4] = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", NULL, "1.2.840.10008.1.2.2"};
    for (int declared = 0; declared < 4; declared++)
        for (int real = 0; real < 4; real++) {
            if (!SYNTAX[declared] || real == 2)
                continue;
            bytes b = file_of((dicore_span){(const uint8_t *)SYNTAX[declared], strlen(SYNTAX[declared])});
            put_text(&b, (dicore_encoding)real, 0x00080060, "CS", "CT");
            put_text(&b, (dicore_encoding)real, 0x00100010, "PN", "A^B ");
            parsed p = parse(&b, 0);
            CHECK_EQ(p.status, DICORE_OK);
            CHECK_EQ(p.part.encoding, real);
            CHECK_EQ(p.count, declared != real);
            if (declared != real)
                CHECK_EQ(p.noted[0].code, DICORE_DEV_WRONG_TRANSFER_SYNTAX);
        }
    bytes b = file_of(SPAN("1.2.840.10008.1.2.1.99")); /* said to be deflated, and is not */
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    parsed p = expect(&b, DICORE_DEV_WRONG_TRANSFER_SYNTAX);
    CHECK_EQ(p.part.deflated, 0);
    CHECK_EQ(p.part.encoding, LE);
}

static void parts_that_are_missing(void)
{
    for (int encoding = 0; encoding < 4; encoding++) { /* a bare data set: the encoding is guessed */
        bytes b = {0};
        if (encoding == 2)
            continue;
        put_text(&b, (dicore_encoding)encoding, 0x00080005, "CS", "ISO_IR 100");
        put_text(&b, (dicore_encoding)encoding, 0x00100010, "PN", "A^B ");
        parsed p = parse(&b, 0);
        CHECK_EQ(p.status, DICORE_OK);
        CHECK_EQ(p.part.encoding, encoding);
        CHECK_EQ(p.part.guessed, 1);
        CHECK_EQ(p.part.dataset_offset, 0);
        CHECK_EQ(p.noted[0].code, DICORE_DEV_NO_PREAMBLE);
        CHECK_EQ(p.noted[1].code, DICORE_DEV_NO_FILE_META);
        CHECK_EQ(parse(&b, 1).status, DICORE_DEVIATION);
    }
    bytes whole = file_of(SPAN("1.2.840.10008.1.2.1")), b = {0};
    put_text(&whole, LE, 0x00080060, "CS", "CT");
    put_text(&whole, LE, 0x00080070, "LO", "maker of it ");
    put(&b, whole.data + 132, whole.size - 132); /* no preamble, but group 0002 */
    parsed p = expect(&b, DICORE_DEV_NO_PREAMBLE);
    CHECK_EQ(p.part.meta_offset, 0);
    CHECK_EQ(p.part.guessed, 0);
    b.size = 0;
    put(&b, whole.data + 128, whole.size - 128); /* DICM without preamble */
    CHECK_EQ(expect(&b, DICORE_DEV_NO_PREAMBLE).part.meta_offset, 4);

    b.size = 0; /* preamble, no group 0002 */
    put(&b, whole.data, 132);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080060, NULL, "CT");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00100010, NULL, "A^B ");
    p = expect(&b, DICORE_DEV_NO_FILE_META);
    CHECK_EQ(p.part.encoding, DICORE_IMPLICIT_LE);

    b.size = 0; /* no transfer syntax, no group length */
    put(&b, whole.data, 132);
    put_text(&b, LE, 0x00020003, "UI", "1.2.3.44");
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080070, "LO", "maker of it ");
    p = expect(&b, DICORE_DEV_NO_TRANSFER_SYNTAX);
    CHECK_EQ(p.part.encoding, LE);
    CHECK(IS(p.part.sop_instance, "1.2.3.44"));

    b = whole; /* a wrong group length does not matter */
    b.data[140] ^= 0x55;
    p = expect(&b, DICORE_DEV_META_LENGTH);
    CHECK_EQ(p.part.encoding, LE);

    b.size = 0; /* group 0002 in implicit VR */
    put(&b, whole.data, 132);
    put_header(&b, DICORE_IMPLICIT_LE, 0x00020000, NULL, 4);
    put(&b, "\34\0\0\0", 4);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00020010, NULL, "1.2.840.10008.1.2.1 ");
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080070, "LO", "maker of it ");
    p = expect(&b, DICORE_DEV_IMPLICIT_META);
    CHECK_EQ(p.part.meta_encoding, DICORE_IMPLICIT_LE);
    CHECK_EQ(p.part.encoding, LE);
    CHECK_EQ(p.count, 1);
}

/* A command set before the data set (PS3.7 6.3) is implicit little endian, and tells nothing about what follows. */
static void a_command_set_stands_before_the_data_set(void)
{
    bytes b = file_of(SPAN("1.2.840.10008.1.2.1"));
    size_t meta_end = b.size;
    put_header(&b, DICORE_IMPLICIT_LE, 0x00000000, NULL, 4);
    put(&b, "\12\0\0\0", 4);
    put_header(&b, DICORE_IMPLICIT_LE, 0x00000100, NULL, 2);
    put(&b, "\1\0", 2);
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080070, "LO", "maker of it ");
    parsed p = expect(&b, 0);
    CHECK_EQ(p.part.encoding, LE);
    CHECK_EQ(p.part.dataset_offset, meta_end);
}

static void what_is_not_dicom(void)
{
    bytes b = {0};
    CHECK_EQ(parse(&b, 0).status, DICORE_NOT_DICOM);
    put(&b, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
    CHECK_EQ(parse(&b, 0).status, DICORE_NOT_DICOM);
    memset(b.data, 0, 5000);
    b.size = 5000;
    CHECK_EQ(parse(&b, 0).status, DICORE_NOT_DICOM);
    b.size = 0;
    put(&b, "hello, this is a text and nothing else than a text", 50);
    CHECK_EQ(parse(&b, 0).status, DICORE_NOT_DICOM);
    memset(b.data, 0, 128);
    memcpy(b.data + 128, "DICM", 4);
    b.size = 132;
    CHECK_EQ(parse(&b, 0).status, DICORE_OK); /* an empty data set */
    put_header(&b, LE, 0x00020001, "OB", 0xFFFFFFFF);
    CHECK_EQ(parse(&b, 0).status, DICORE_BAD_META);
}

static size_t deflate_raw(const uint8_t *data, size_t size, uint8_t *out, size_t capacity)
{
    z_stream z = {0};
    deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
    z.next_in = (uint8_t *)(uintptr_t)data;
    z.avail_in = (unsigned)size;
    z.next_out = out;
    z.avail_out = (unsigned)capacity;
    CHECK_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return capacity - z.avail_out;
}

static void inflating_within_limits(void)
{
    size_t big = 3 << 20;
    uint8_t *plain = calloc(1, big), packed[20000], *out = NULL;
    if (!plain)
        abort();
    for (size_t i = 0; i < 10000; i++)
        plain[i] = (uint8_t)(i * i >> 3);
    size_t packed_size = deflate_raw(plain, big, packed, sizeof packed), size = 0, capacity = 0;
    counted heap = {0};
    dicore_allocator allocator = COUNTED(heap);
    dicore_error error = {0};
    packed[packed_size] = 0; /* the pad byte of an odd stream, PS3.5 A.5 */
    uint8_t *in = guarded_copy(packed, packed_size + 1);
    CHECK_EQ(dicore_inflate(in, packed_size + 1, NULL, NULL, &allocator, &out, &size, &capacity, &error), DICORE_OK);
    CHECK_EQ(size, big);
    CHECK(out && memcmp(out, plain, big) == 0);
    CHECK_EQ(heap.held, capacity);
    allocator.resize(allocator.context, out, capacity, 0);
    dicore_inflate_limits limits = {.size = 1 << 20};
    CHECK_EQ(dicore_inflate(in, packed_size, &limits, NULL, &allocator, &out, &size, &capacity, &error), DICORE_BAD_DEFLATE);
    CHECK(heap.most < 9 << 20);
    CHECK_EQ(heap.held, 0);
    limits = (dicore_inflate_limits){.ratio = 100, .ratio_from = 1 << 16};
    CHECK_EQ(dicore_inflate(in, packed_size, &limits, NULL, &allocator, &out, &size, &capacity, &error), DICORE_BAD_DEFLATE);
    limits = (dicore_inflate_limits){.size = big}; /* exactly enough */
    CHECK_EQ(dicore_inflate(in, packed_size, &limits, NULL, &allocator, &out, &size, &capacity, &error), DICORE_OK);
    CHECK_EQ(size, big);
    allocator.resize(allocator.context, out, capacity, 0);
    guarded_free(in, packed_size + 1);
    CHECK_EQ(heap.held, 0);
    for (size_t end = 0; end < packed_size; end += 97) { /* cut: what came out is kept, strictly it is an error */
        uint8_t *cut = guarded_copy(packed, end);
        dicore_deviation one;
        dicore_deviations deviations = {&one, 1, 0};
        dicore_read_options lenient = {.deviations = &deviations}, strict = {.strict = 1};
        dicore_status status = dicore_inflate(cut, end, NULL, &lenient, &allocator, &out, &size, &capacity, &error);
        CHECK(status == DICORE_OK || (status == DICORE_BAD_DEFLATE && end < 200));
        if (status == DICORE_OK) {
            CHECK_EQ(one.code, DICORE_DEV_DEFLATE_TRUNCATED);
            CHECK(size > 0 && memcmp(out, plain, size) == 0);
            allocator.resize(allocator.context, out, capacity, 0);
            CHECK_EQ(dicore_inflate(cut, end, NULL, &strict, &allocator, &out, &size, &capacity, &error), DICORE_DEVIATION);
        }
        guarded_free(cut, end);
        CHECK_EQ(heap.held, 0);
    }
    uint8_t junk[64];
    memset(junk, 0xFF, sizeof junk);
    CHECK_EQ(dicore_inflate(junk, sizeof junk, NULL, NULL, &allocator, &out, &size, &capacity, &error), DICORE_BAD_DEFLATE);
    heap.refuse_above = 1000;
    CHECK_EQ(dicore_inflate(packed, packed_size, NULL, NULL, &allocator, &out, &size, &capacity, &error), DICORE_NO_MEMORY);
    heap.refuse_above = 200000;
    CHECK_EQ(dicore_inflate(packed, packed_size, NULL, NULL, &allocator, &out, &size, &capacity, &error), DICORE_NO_MEMORY);
    CHECK_EQ(heap.held, 0);
    free(plain);
}

/* With the whole size known, a beginning that suffices gives what the whole gives, and the guess does not depend on it. */
static void a_beginning_says_what_the_whole_says(void)
{
    bytes b = {0};
    put_header(&b, DICORE_IMPLICIT_LE, 0x00080005, NULL, 9000); /* longer than any first read */
    for (int i = 0; i < 9000; i++)
        put(&b, "x", 1);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00100020, NULL, "4711");
    parsed whole = parse(&b, 0);
    CHECK_EQ(whole.status, DICORE_OK);
    for (size_t here = 0; here <= b.size; here += here < 300 ? 1 : 97) {
        uint8_t *in = guarded_copy(b.data, here);
        dicore_read_options options = {.partial = 1, .total = b.size};
        dicore_part10 part;
        dicore_error error = {0};
        dicore_status status = dicore_part10_parse(in, here, &options, &part, &error);
        if (status == DICORE_OK)
            CHECK(part.encoding == whole.part.encoding && part.dataset_offset == whole.part.dataset_offset);
        else
            CHECK(status == DICORE_TRUNCATED && error.offset > here && error.offset <= b.size);
        guarded_free(in, here);
    }
}

/* Fragments that were followed already are not read again: their bytes may be missing. */
static void a_chain_of_fragments_that_is_known(void)
{
    bytes b = {0};
    put_text(&b, LE, 0x00100020, "LO", "4711");
    put_header(&b, LE, DICORE_TAG_PIXEL_DATA, "OB", DICORE_UNDEFINED_LENGTH);
    size_t value = b.size;
    put_item(&b, LE, 0);
    put_item(&b, LE, 4);
    put(&b, "abcd", 4);
    size_t end = b.size;
    put_sequence_end(&b, LE);
    put_text(&b, LE, 0xFFFCFFFC, "OB", "pad ");
    dicore_entry memory[8];
    dicore_tape tape = {memory, 0, 8, 0};
    dicore_read_options options = {.strict = 1};
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, &options, NULL, NULL), DICORE_OK);
    CHECK_EQ(tape.count, 3);
    memset(b.data + value, 0, end - value);
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, &options, NULL, NULL), DICORE_DEVIATION);
    options.chain_value = value;
    options.chain_end = end;
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, &options, NULL, NULL), DICORE_OK);
    CHECK_EQ(tape.count, 3);
    CHECK_EQ(tape.entries[1].length, end - value);
    CHECK(tape.entries[1].flags & DICORE_ENTRY_DELIMITED);
    options.chain_end = b.size + 100; /* beyond the input: not believed */
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, LE, &options, NULL, NULL), DICORE_DEVIATION);
}

int main(void)
{
    what_is_written_is_read();
    the_writer_knows_its_bounds();
    transfer_syntaxes();
    data_sets_in_another_encoding_than_declared();
    parts_that_are_missing();
    a_command_set_stands_before_the_data_set();
    what_is_not_dicom();
    inflating_within_limits();
    a_beginning_says_what_the_whole_says();
    a_chain_of_fragments_that_is_known();
    return check_result("test_part10");
}
