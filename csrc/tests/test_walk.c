#include "bytes.h"

#define LE DICORE_EXPLICIT_LE
#define DEPTHS 130

/* The walk as text: tags with * for sequences and items, indented by nothing: "00081115* FFFEE000* 00080060 ..." */
typedef struct walked {
    char text[4096];
    dicore_entry entries[256];
    size_t count;
    dicore_status status;
    dicore_error error;
    dicore_deviation noted[64];
    dicore_deviations deviations;
} walked;

static walked walk_all(const uint8_t *data, size_t size, dicore_encoding encoding, int strict)
{
    walked w = {0};
    w.deviations = (dicore_deviations){w.noted, 64, 0};
    dicore_read_options options = {.strict = (uint8_t)strict, .deviations = &w.deviations};
    dicore_walk walk;
    CHECK_EQ(dicore_walk_begin(&walk, data, size, 0, encoding, &options), DICORE_OK);
    dicore_entry e;
    while ((w.status = dicore_walk_next(&walk, &e, &w.error)) == DICORE_OK && w.count < 256) {
        int container = e.flags & (DICORE_ENTRY_ITEM | DICORE_ENTRY_SEQUENCE);
        snprintf(w.text + strlen(w.text), sizeof w.text - strlen(w.text), "%s%08X%s", w.count ? " " : "", e.tag, container ? "*" : "");
        w.entries[w.count++] = e;
        /* never past the span, whatever the input */
        CHECK(e.offset + e.header <= size);
        CHECK(e.length == DICORE_UNDEFINED_LENGTH || e.length <= size - e.offset - e.header);
    }
    dicore_deviation again[64];
    dicore_deviations same = {again, 64, 0};
    options.deviations = &same;
    dicore_entry some[3];
    size_t count = 0, all = 0;
    dicore_status status;
    CHECK_EQ(dicore_walk_begin(&walk, data, size, 0, encoding, &options), DICORE_OK);
    do {
        status = dicore_walk_some(&walk, some, 3, &count, NULL);
        CHECK(status != DICORE_OK || count == 3);
        for (size_t i = 0; i < count && all + i < w.count; i++)
            CHECK(memcmp(&some[i], &w.entries[all + i], sizeof some[i]) == 0);
        all += count;
    } while (status == DICORE_OK && all < 256);
    if (w.count < 256) {
        CHECK_EQ(status, w.status);
        CHECK_EQ(all, w.count);
        CHECK_EQ(same.count, w.deviations.count);
    }
    w.deviations.items = NULL; /* w is returned by value */
    return w;
}

static int noted(const walked *w, uint32_t code)
{
    int n = 0;
    for (uint32_t i = 0; i < w->deviations.count && i < 64; i++)
        n += w->noted[i].code == code;
    return n;
}

/* What every malformed vector must do: read leniently as `text` with deviation `code` noted, and fail strictly with it. */
static walked expect(const bytes *b, dicore_encoding encoding, uint32_t code, const char *text)
{
    uint8_t *data = guarded_copy(b->data, b->size);
    walked w = walk_all(data, b->size, encoding, 0);
    CHECK_EQ(w.status, DICORE_END);
    if (strcmp(w.text, text) != 0) {
        CHECK(!"the walk differs");
        fprintf(stderr, "  got  %s\n  want %s\n", w.text, text);
    }
    if (code) {
        CHECK(noted(&w, code) > 0);
        walked s = walk_all(data, b->size, encoding, 1);
        CHECK_EQ(s.status, DICORE_DEVIATION);
        CHECK_EQ(s.error.detail, w.noted[0].code);
        CHECK_EQ(s.error.offset, w.noted[0].offset);
    } else {
        CHECK_EQ(w.deviations.count, 0);
        CHECK_EQ(walk_all(data, b->size, encoding, 1).status, DICORE_END);
    }
    guarded_free(data, b->size);
    /* every prefix is read without touching the page behind it, and partially it asks for more */
    for (size_t end = 0; end < b->size; end++) {
        uint8_t *cut = guarded_copy(b->data, end);
        walked p = walk_all(cut, end, encoding, 0);
        CHECK_EQ(p.status, DICORE_END);
        dicore_read_options partial = {.partial = 1};
        dicore_walk walk;
        dicore_entry e;
        dicore_error error = {0};
        CHECK_EQ(dicore_walk_begin(&walk, cut, end, 0, encoding, &partial), DICORE_OK);
        dicore_status status;
        while ((status = dicore_walk_next(&walk, &e, &error)) == DICORE_OK)
            ;
        CHECK_EQ(status, DICORE_TRUNCATED);
        CHECK(error.offset > end);
        guarded_free(cut, end);
    }
    return w;
}

static void nested_sequences_of_both_lengths(void)
{
    for (int encoding = 0; encoding < 4; encoding++) {
        dicore_encoding as = (dicore_encoding)encoding;
        bytes b = {0};
        uint32_t header = encoding & 1 ? 12 : 8;
        put_text(&b, as, 0x00080060, "CS", "CT");
        put_header(&b, as, 0x00081115, "SQ", 0xFFFFFFFF);      /* undefined, PS3.5 7.5.1 */
        put_item(&b, as, 0xFFFFFFFF);
        put_header(&b, as, 0x00081199, "SQ", 8 + 8 + 4);       /* defined */
        put_item(&b, as, 8 + 4);
        put_text(&b, as, 0x00081155, "UI", "1.22");
        put_item_end(&b, as);
        put_item(&b, as, 0);                                   /* an empty item */
        put_sequence_end(&b, as);
        put_text(&b, as, 0x00100010, "PN", "A^B ");
        walked w = expect(&b, as, 0, "00080060 00081115* FFFEE000* 00081199* FFFEE000* 00081155 FFFEE000* 00100010");
        CHECK_EQ(w.entries[0].depth, 0);
        CHECK_EQ(w.entries[2].depth, 1);
        CHECK_EQ(w.entries[3].depth, 1);
        CHECK_EQ(w.entries[5].depth, 2);
        CHECK_EQ(w.entries[7].depth, 0);
        CHECK_EQ(w.entries[1].header, header);
        CHECK_EQ(w.entries[5].flags & DICORE_ENTRY_ENCODING, encoding);
        CHECK_EQ(w.entries[5].length, 4);
        CHECK_EQ(w.entries[1].vr, encoding & 1 ? DICORE_VR_SQ : 0);
    }
}

static void depth_is_limited(void)
{
    bytes b = {0};
    for (int i = 0; i < DEPTHS; i++) {
        put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
        put_item(&b, LE, 0xFFFFFFFF);
    }
    for (int i = 0; i < DEPTHS; i++) {
        put_item_end(&b, LE);
        put_sequence_end(&b, LE);
    }
    walked w = walk_all(b.data, b.size, LE, 0);
    CHECK_EQ(w.status, DICORE_TOO_DEEP);
    CHECK_EQ(w.count, 2 * 64);
    CHECK_EQ(w.error.depth, 64);
    CHECK_EQ(w.error.offset, 20 * 64);
    dicore_read_options options = {.depth_limit = 3};
    dicore_walk walk;
    dicore_entry e;
    dicore_error error;
    CHECK_EQ(dicore_walk_begin(&walk, b.data, b.size, 0, LE, &options), DICORE_OK);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(dicore_walk_next(&walk, &e, &error), DICORE_OK);
    CHECK_EQ(dicore_walk_next(&walk, &e, &error), DICORE_TOO_DEEP);
    options.depth_limit = 255; /* means the most there is */
    CHECK_EQ(dicore_walk_begin(&walk, b.data, b.size, 0, LE, &options), DICORE_OK);
    for (unsigned i = 0; i < 2 * DICORE_DEPTH_MAX; i++)
        CHECK_EQ(dicore_walk_next(&walk, &e, &error), DICORE_OK);
    CHECK_EQ(dicore_walk_next(&walk, &e, &error), DICORE_TOO_DEEP);
    CHECK_EQ(dicore_walk_begin(&walk, b.data, 3, 4, LE, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_walk_begin(&walk, b.data, 3, 0, (dicore_encoding)9, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_walk_begin(&walk, NULL, 0, 0, LE, NULL), DICORE_OK);
    CHECK_EQ(dicore_walk_next(&walk, &e, NULL), DICORE_END);
}

static void elements_odd_out_of_order_and_twice(void)
{
    bytes b = {0};
    put_text(&b, LE, 0x00080060, "CS", "CTX");
    put_text(&b, LE, 0x00080070, "LO", "X ");
    walked w = expect(&b, LE, DICORE_DEV_ODD_LENGTH, "00080060 00080070");
    CHECK(w.entries[0].flags & DICORE_ENTRY_DEVIATES);
    CHECK(!(w.entries[1].flags & DICORE_ENTRY_DEVIATES));

    b.size = 0;
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080018, "UI", "1.22");
    expect(&b, LE, DICORE_DEV_ORDER, "00080060 00080018");

    b.size = 0;
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080060, "CS", "MR");
    expect(&b, LE, DICORE_DEV_TWICE, "00080060 00080060");
}

static void vrs_that_are_unknown_or_missing(void)
{
    bytes b = {0};
    put(&b, "\x08\0\x60\0ZZ\0\0\2\0\0\0CT", 14); /* long form, PS3.5 6.2 */
    put_text(&b, LE, 0x00080070, "LO", "X ");
    walked w = expect(&b, LE, DICORE_DEV_UNKNOWN_VR, "00080060 00080070");
    CHECK_EQ(w.entries[0].vr, DICORE_VR('Z', 'Z'));
    CHECK_EQ(w.entries[0].length, 2);

    b.size = 0;
    put(&b, "\x08\0\x60\0ZZ\2\0CT", 10); /* its reserved bytes are a length: short form */
    w = walk_all(b.data, b.size, LE, 0);
    CHECK_EQ(w.count, 1);
    CHECK_EQ(w.entries[0].header, 8);
    CHECK_EQ(w.entries[0].length, 2);

    b.size = 0;
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080070, NULL, "X ");
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    w = expect(&b, LE, DICORE_DEV_IMPLICIT_ELEMENT, "00080060 00080070 00100010");
    CHECK_EQ(w.entries[1].vr, 0);
    CHECK_EQ(w.entries[1].flags & DICORE_ENTRY_ENCODING, DICORE_IMPLICIT_LE);
    CHECK_EQ(w.entries[2].flags & DICORE_ENTRY_ENCODING, LE);
}

static void items_in_another_encoding(void)
{
    bytes b = {0};
    put_header(&b, LE, 0x00081115, "SQ", 8 + 10 + 10);
    put_item(&b, LE, 20);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080060, NULL, "CT");
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080070, NULL, "X ");
    walked w = expect(&b, LE, DICORE_DEV_IMPLICIT_ELEMENT, "00081115* FFFEE000* 00080060 00080070");
    CHECK_EQ(w.entries[3].flags & DICORE_ENTRY_ENCODING, DICORE_IMPLICIT_LE);

    b.size = 0;
    put_header(&b, DICORE_IMPLICIT_LE, 0x00081115, NULL, 8 + 10 + 10);
    put_item(&b, LE, 20);
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00080070, "LO", "X ");
    w = expect(&b, DICORE_IMPLICIT_LE, DICORE_DEV_EXPLICIT_ELEMENT, "00081115* FFFEE000* 00080060 00080070");
    CHECK_EQ(w.entries[3].vr, DICORE_VR('L', 'O'));

    /* UN of undefined length: implicit VR little endian inside, in a big endian data set too (PS3.5 6.2.2) */
    for (int encoding = 1; encoding < 4; encoding += 2) {
        b.size = 0;
        put_header(&b, (dicore_encoding)encoding, 0x00091010, "UN", 0xFFFFFFFF);
        put_item(&b, DICORE_IMPLICIT_LE, 0xFFFFFFFF);
        put_text(&b, DICORE_IMPLICIT_LE, 0x00080060, NULL, "CT");
        put_item_end(&b, DICORE_IMPLICIT_LE);
        put_sequence_end(&b, DICORE_IMPLICIT_LE);
        put_text(&b, (dicore_encoding)encoding, 0x00100010, "PN", "A^B ");
        w = expect(&b, (dicore_encoding)encoding, DICORE_DEV_NO_PRIVATE_CREATOR, "00091010* FFFEE000* 00080060 00100010");
        CHECK_EQ(w.deviations.count, 1);
        CHECK_EQ(w.entries[2].flags & DICORE_ENTRY_ENCODING, DICORE_IMPLICIT_LE);
        CHECK_EQ(w.entries[3].flags & DICORE_ENTRY_ENCODING, encoding);
    }
    b.size = 0; /* explicit in a UN */
    put_header(&b, LE, 0x00081115, "UN", 0xFFFFFFFF);
    put_item(&b, LE, 0xFFFFFFFF);
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_item_end(&b, LE);
    put_sequence_end(&b, LE);
    w = expect(&b, LE, DICORE_DEV_UN_ENCODING, "00081115* FFFEE000* 00080060");
    CHECK_EQ(w.entries[2].flags & DICORE_ENTRY_ENCODING, LE);
}

static void sequences_by_the_dictionaries(void)
{
    bytes b = {0};
    put_header(&b, LE, 0x00081115, "UN", 8 + 10); /* a known sequence stored as UN of defined length */
    put_item(&b, LE, 10);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080060, NULL, "CT");
    expect(&b, LE, 0, "00081115* FFFEE000* 00080060");

    b.size = 0; /* a private one, which GDCM's dictionary knows as SQ */
    put_text(&b, DICORE_IMPLICIT_LE, 0x00290010, NULL, "CEMAX-ICON");
    put_header(&b, DICORE_IMPLICIT_LE, 0x00291020, NULL, 8 + 10);
    put_item(&b, DICORE_IMPLICIT_LE, 10);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00080060, NULL, "CT");
    expect(&b, DICORE_IMPLICIT_LE, 0, "00290010 00291020* FFFEE000* 00080060");

    b.size = 0; /* bytes that look like an item, of an element that is none */
    put_header(&b, DICORE_IMPLICIT_LE, 0x00420011, NULL, 8);
    put_item(&b, DICORE_IMPLICIT_LE, 0);
    expect(&b, DICORE_IMPLICIT_LE, 0, "00420011");
}

static void delimiters_missing_and_stray(void)
{
    bytes b = {0};
    put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
    put_item(&b, LE, 0xFFFFFFFF);
    put_text(&b, LE, 0x00080060, "CS", "CT");
    expect(&b, LE, DICORE_DEV_MISSING_DELIMITER, "00081115* FFFEE000* 00080060");

    put_item(&b, LE, 0xFFFFFFFF); /* the next item begins: the one before is over */
    put_text(&b, LE, 0x00080060, "CS", "MR");
    put_sequence_end(&b, LE);     /* and here the sequence, with the item */
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    walked w = expect(&b, LE, DICORE_DEV_MISSING_DELIMITER, "00081115* FFFEE000* 00080060 FFFEE000* 00080060 00100010");
    CHECK_EQ(w.entries[5].depth, 0);

    b.size = 0;
    put_sequence_end(&b, LE);
    put_item_end(&b, LE);
    put_text(&b, LE, 0x00080060, "CS", "CT");
    expect(&b, LE, DICORE_DEV_STRAY_DELIMITER, "00080060");

    b.size = 0;
    put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
    put_item_end(&b, LE);
    put_sequence_end(&b, LE);
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    expect(&b, LE, DICORE_DEV_STRAY_DELIMITER, "00081115* 00100010");

    b.size = 0; /* a delimiter after an item of defined length, within its sequence of defined length */
    put_header(&b, LE, 0x00081115, "SQ", 8 + 10 + 8);
    put_item(&b, LE, 10);
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_item_end(&b, LE);
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    expect(&b, LE, DICORE_DEV_STRAY_DELIMITER, "00081115* FFFEE000* 00080060 00100010");

    b.size = 0; /* a delimiter with a length */
    put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
    put_header(&b, LE, DICORE_TAG_SEQUENCE_END, NULL, 4);
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    expect(&b, LE, DICORE_DEV_DELIMITER_LENGTH, "00081115* 00100010");

    b.size = 0; /* something else than an item */
    put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    expect(&b, LE, DICORE_DEV_BAD_ITEM, "00081115* 00100010");
    b.size = 0;
    put_header(&b, LE, 0x00081115, "SQ", 10);
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    expect(&b, LE, DICORE_DEV_BAD_ITEM, "00081115* 00100010");
}

static void items_too_short_for_their_elements(void)
{
    bytes b = {0};
    put_header(&b, LE, 0x00081115, "SQ", 0xFFFFFFFF);
    put_item(&b, LE, 8); /* it has 10: stretched, as pydicom does */
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_sequence_end(&b, LE);
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    expect(&b, LE, DICORE_DEV_ITEM_LENGTH, "00081115* FFFEE000* 00080060 00100010");

    b.size = 0; /* a sequence of defined length is not stretched: the value is cut */
    put_header(&b, LE, 0x00081115, "SQ", 16);
    put_item(&b, LE, 8);
    put_header(&b, LE, 0x00080060, "CS", 1000);
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    walked w = expect(&b, LE, DICORE_DEV_ITEM_LENGTH, "00081115* FFFEE000* 00080060 00100010");
    CHECK(w.entries[2].flags & DICORE_ENTRY_TRUNCATED);
    CHECK_EQ(w.entries[2].length, 0);
}

static void the_end_of_the_input(void)
{
    bytes b = {0};
    put_text(&b, LE, 0x00080060, "CS", "CT");
    put_header(&b, LE, 0x00100010, "PN", 64); /* beyond the end: kept as far as it goes */
    put(&b, "A^B", 3);
    walked w = expect(&b, LE, DICORE_DEV_VALUE_TRUNCATED, "00080060 00100010");
    CHECK(w.entries[1].flags & DICORE_ENTRY_TRUNCATED);
    CHECK_EQ(w.entries[1].length, 3);

    b.size = 10;
    put(&b, "\x10\0\x10", 3);
    expect(&b, LE, DICORE_DEV_HEADER_TRUNCATED, "00080060");
    b.size = 10;
    put(&b, "\xE0\x7F\x10\0OW\0\0\1", 9); /* 9 of 12 bytes */
    expect(&b, LE, DICORE_DEV_HEADER_TRUNCATED, "00080060");
    for (size_t zeros = 1; zeros < 40; zeros++) {
        b.size = 10;
        static const uint8_t NOTHING[40];
        put(&b, NOTHING, zeros);
        expect(&b, LE, DICORE_DEV_TRAILING_PADDING, "00080060");
    }
    b.size = 10; /* zeros with something behind them are no padding */
    put(&b, "\0\0\0\0\0\0\0\0", 8);
    put_text(&b, LE, 0x00100010, "PN", "A^B ");
    w = walk_all(b.data, b.size, LE, 0);
    CHECK_EQ(w.count, 3);
}

static void values_of_undefined_length(void)
{
    bytes b = {0};
    put_header(&b, LE, DICORE_TAG_PIXEL_DATA, "OB", 0xFFFFFFFF); /* PS3.5 A.4 */
    put_item(&b, LE, 0);
    put_item(&b, LE, 12);
    put(&b, "\xFE\xFF\xDD\xE0 inside!", 12); /* the delimiter's bytes in a fragment do not count */
    put_sequence_end(&b, LE);
    put_text(&b, LE, 0xFFFCFFFC, "OB", "");
    walked w = expect(&b, LE, 0, "7FE00010 FFFCFFFC");
    CHECK_EQ(w.entries[0].length, 8 + 8 + 12);
    CHECK_EQ(w.entries[0].flags, LE | DICORE_ENTRY_UNDEFINED | DICORE_ENTRY_DELIMITED | DICORE_ENTRY_FRAGMENTS);

    b.size = 0; /* outside Pixel Data */
    put_header(&b, LE, 0x00420011, "OB", 0xFFFFFFFF);
    put_item(&b, LE, 4);
    put(&b, "%PDF", 4);
    put_sequence_end(&b, LE);
    put_text(&b, LE, 0x00420012, "LO", "text");
    w = expect(&b, LE, DICORE_DEV_UNDEFINED_LENGTH, "00420011 00420012");
    CHECK_EQ(w.entries[0].length, 12);

    b.size = 0; /* not items at all: up to the delimiter */
    put_header(&b, LE, DICORE_TAG_PIXEL_DATA, "OW", 0xFFFFFFFF);
    put(&b, "0123456789", 10);
    put_sequence_end(&b, LE);
    put_text(&b, LE, 0xFFFCFFFC, "OB", "");
    w = expect(&b, LE, DICORE_DEV_FRAGMENTS, "7FE00010 FFFCFFFC");
    CHECK_EQ(w.entries[0].length, 10);

    b.size = 0; /* never delimited */
    put_header(&b, LE, DICORE_TAG_PIXEL_DATA, "OB", 0xFFFFFFFF);
    put_item(&b, LE, 0);
    put_item(&b, LE, 1000);
    put(&b, "0123456789", 10);
    w = expect(&b, LE, DICORE_DEV_MISSING_DELIMITER, "7FE00010");
    CHECK_EQ(w.entries[0].length, 26);
    CHECK(w.entries[0].flags & DICORE_ENTRY_TRUNCATED);
}

static void private_blocks(void)
{
    bytes b = {0};
    put_text(&b, LE, 0x00090010, "LO", "ONE ");
    put_text(&b, LE, 0x00090011, "LO", "TWO ");
    put_text(&b, LE, 0x00091001, "LO", "x ");
    put_text(&b, LE, 0x00091101, "LO", "x ");
    put_text(&b, LE, 0x000B0010, "LO", "ONE ");
    put_text(&b, LE, 0x000B1001, "LO", "x ");
    expect(&b, LE, 0, "00090010 00090011 00091001 00091101 000B0010 000B1001");
    put_text(&b, LE, 0x000B1201, "LO", "x "); /* block 12 is nobody's */
    put_text(&b, LE, 0x000B1202, "LO", "x ");
    put_text(&b, LE, 0x000D1001, "LO", "x ");
    walked w = expect(&b, LE, DICORE_DEV_NO_PRIVATE_CREATOR,
                      "00090010 00090011 00091001 00091101 000B0010 000B1001 000B1201 000B1202 000D1001");
    CHECK_EQ(noted(&w, DICORE_DEV_NO_PRIVATE_CREATOR), 2); /* once a block */
}

/* Inputs made to cost more than their size: each is linear, so this program ends. */
static void hostile_inputs_cost_no_more_than_their_size(void)
{
    size_t size = 4 << 20;
    uint8_t *data = calloc(1, size), unit[28] = {0xFE, 0xFF, 0, 0xE0, 20, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0,
                                                 0xE0, 0x7F, 0x10, 0, 'O', 'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF};
    if (!data)
        abort();
    dicore_walk walk;
    dicore_entry e;
    /* chains of fragments that all break at the end of the file, each with a delimiter inside its first fragment */
    memcpy(data, unit + 16, 12);
    for (size_t at = 12; at + 28 <= size; at += 28)
        memcpy(data + at, unit, 28);
    size_t count = 0;
    CHECK_EQ(dicore_walk_begin(&walk, data, size, 0, LE, NULL), DICORE_OK);
    while (dicore_walk_next(&walk, &e, NULL) == DICORE_OK)
        count++;
    CHECK(count > size / 40);
    /* zeros that are not padding */
    memset(data, 0, size);
    data[size - 1] = 1;
    count = 0;
    CHECK_EQ(dicore_walk_begin(&walk, data, size, 0, LE, NULL), DICORE_OK);
    while (dicore_walk_next(&walk, &e, NULL) == DICORE_OK)
        count++;
    CHECK(count > size / 20);
    /* creators and their blocks by turns */
    for (size_t at = 0, n = 0; at + 8 <= size; at += 8, n++) {
        uint8_t one[8] = {9, 0, (uint8_t)(n < size / 16 ? 0x10 : 1), (uint8_t)(n < size / 16 ? 0 : 0x10 + n % 2), 'L', 'O', 0, 0};
        memcpy(data + at, one, 8);
    }
    count = 0;
    CHECK_EQ(dicore_walk_begin(&walk, data, size, 0, LE, NULL), DICORE_OK);
    while (dicore_walk_next(&walk, &e, NULL) == DICORE_OK)
        count++;
    CHECK_EQ(count, size / 8);
    free(data);
}

int main(void)
{
    nested_sequences_of_both_lengths();
    depth_is_limited();
    elements_odd_out_of_order_and_twice();
    vrs_that_are_unknown_or_missing();
    items_in_another_encoding();
    sequences_by_the_dictionaries();
    delimiters_missing_and_stray();
    items_too_short_for_their_elements();
    the_end_of_the_input();
    values_of_undefined_length();
    private_blocks();
    hostile_inputs_cost_no_more_than_their_size();
    return check_result("test_walk");
}
