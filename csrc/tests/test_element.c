#include "bytes.h"

typedef struct vector {
    dicore_encoding encoding;
    uint8_t wire[12];
    dicore_element_header want;
} vector;

static const vector VECTORS[] = {
    /* (0010,0010) PN 10 bytes: the short form, PS3.5 table 7.1-2 */
    {DICORE_EXPLICIT_LE, {0x10, 0, 0x10, 0, 'P', 'N', 10, 0}, {0x00100010, 10, DICORE_VR('P', 'N'), 8}},
    {DICORE_EXPLICIT_BE, {0, 0x10, 0, 0x10, 'P', 'N', 0, 10}, {0x00100010, 10, DICORE_VR('P', 'N'), 8}},
    /* implicit VR: 32-bit length, table 7.1-3; two letters there are a length */
    {DICORE_IMPLICIT_LE, {0x10, 0, 0x10, 0, 'P', 'N', 10, 0}, {0x00100010, 0x000A4E50, 0, 8}},
    {DICORE_IMPLICIT_BE, {0, 0x10, 0, 0x10, 0, 0, 0, 10}, {0x00100010, 10, 0, 8}},
    /* (7FE0,0010) OW 524288: the long form, table 7.1-1 */
    {DICORE_EXPLICIT_LE, {0xE0, 0x7F, 0x10, 0, 'O', 'W', 0, 0, 0, 0, 8, 0}, {0x7FE00010, 524288, DICORE_VR('O', 'W'), 12}},
    {DICORE_EXPLICIT_BE, {0x7F, 0xE0, 0, 0x10, 'O', 'W', 0, 0, 0, 8, 0, 0}, {0x7FE00010, 524288, DICORE_VR('O', 'W'), 12}},
    /* undefined length */
    {DICORE_EXPLICIT_LE, {8, 0, 0x15, 0x11, 'S', 'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, {0x00081115, 0xFFFFFFFF, DICORE_VR_SQ, 12}},
    /* a VR that the standard does not have yet: long form, PS3.5 6.2 */
    {DICORE_EXPLICIT_LE, {8, 0, 0x60, 0, 'Z', 'Z', 0, 0, 2, 0, 0, 0}, {0x00080060, 2, DICORE_VR('Z', 'Z'), 12}},
    /* items and delimiters have none in any encoding, PS3.5 7.5 */
    {DICORE_EXPLICIT_LE, {0xFE, 0xFF, 0x00, 0xE0, 'S', 'H', 0, 0}, {DICORE_TAG_ITEM, 0x4853, 0, 8}},
    {DICORE_EXPLICIT_LE, {0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0}, {DICORE_TAG_ITEM_END, 0, 0, 8}},
    {DICORE_EXPLICIT_BE, {0xFF, 0xFE, 0xE0, 0xDD, 0, 0, 0, 0}, {DICORE_TAG_SEQUENCE_END, 0, 0, 8}},
};

static void header_is_read_and_no_truncation_passes(void)
{
    for (size_t i = 0; i < sizeof VECTORS / sizeof *VECTORS; i++) {
        const vector *v = &VECTORS[i];
        for (size_t end = 0; end <= v->want.size; end++) {
            uint8_t *wire = guarded_copy(v->wire, end);
            dicore_element_header got = {.tag = 1, .length = 2, .vr = 3, .size = 4};
            dicore_status status = dicore_read_element_header(wire, end, v->encoding, &got);
            if (end < v->want.size) {
                CHECK_EQ(status, DICORE_TRUNCATED);
                CHECK_EQ(got.tag, 1); /* written on success only */
            } else {
                CHECK_EQ(status, DICORE_OK);
                CHECK_EQ(got.tag, v->want.tag);
                CHECK_EQ(got.length, v->want.length);
                CHECK_EQ(got.vr, v->want.vr);
                CHECK_EQ(got.size, v->want.size);
            }
            guarded_free(wire, end);
        }
        /* and it is written as it was read */
        uint8_t out[12];
        size_t size = 0;
        CHECK_EQ(dicore_write_element_header(out, v->want.size - 1u, v->encoding, v->want.tag, v->want.vr, v->want.length, &size),
                 DICORE_NO_MEMORY);
        CHECK_EQ(dicore_write_element_header(out, v->want.size, v->encoding, v->want.tag, v->want.vr, v->want.length, &size),
                 DICORE_OK);
        CHECK_EQ(size, v->want.size);
        CHECK(memcmp(out, v->wire, size) == 0);
    }
}

static void every_pair_of_bytes_is_short_long_or_no_vr(void)
{
    static const char SHORT[] = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US";
    static const char LONG[] = "OB OD OF OL OV OW SQ SV UC UN UR UT UV";
    int known = 0;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            uint8_t wire[12] = {8, 0, 0x60, 0, (uint8_t)a, (uint8_t)b, 4, 0, 5, 0, 0, 0};
            char two[3] = {(char)a, (char)b, 0};
            int letters = a >= 'A' && a <= 'Z' && b >= 'A' && b <= 'Z';
            int is_short = letters && strstr(SHORT, two) != NULL, is_long = letters && strstr(LONG, two) != NULL;
            known += is_short + is_long;
            dicore_element_header h = {0};
            dicore_status status = dicore_read_element_header(wire, 12, DICORE_EXPLICIT_LE, &h);
            if (status != (letters ? DICORE_OK : DICORE_BAD_VR) ||
                (letters && (h.size != (is_short ? 8 : 12) || h.length != (is_short ? 4u : 5u))) ||
                dicore_vr_short(DICORE_VR(a, b)) != is_short || dicore_vr_known(DICORE_VR(a, b)) != (is_short || is_long)) {
                CHECK(!"a pair of letters is read wrongly");
                fprintf(stderr, "  %02X %02X\n", a, b);
            }
        }
    CHECK_EQ(known, 34);
}

static void a_length_beyond_16_bits_is_written_as_un(void)
{
    uint8_t out[12];
    size_t size = 0;
    CHECK_EQ(dicore_write_element_header(out, 12, DICORE_EXPLICIT_LE, 0x00081160, DICORE_VR('I', 'S'), 65534, &size), DICORE_OK);
    CHECK_EQ(size, 8);
    CHECK_EQ(dicore_write_element_header(out, 12, DICORE_EXPLICIT_LE, 0x00081160, DICORE_VR('I', 'S'), 65536, &size), DICORE_OK);
    CHECK_EQ(size, 12);
    CHECK(memcmp(out + 4, "UN\0\0\0\0\1\0", 8) == 0);
    CHECK_EQ(dicore_write_element_header(out, 12, DICORE_EXPLICIT_LE, 0x00081160, 0, 4, &size), DICORE_BAD_VR);
    CHECK_EQ(dicore_write_element_header(out, 12, DICORE_EXPLICIT_LE, 0x00081160, DICORE_VR('i', 's'), 4, &size), DICORE_BAD_VR);
    CHECK_EQ(dicore_write_element_header(out, 12, (dicore_encoding)4, 0x00081160, 0, 4, &size), DICORE_BAD_ARGUMENT);
    dicore_element_header h;
    CHECK_EQ(dicore_read_element_header(out, 12, (dicore_encoding)7, &h), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_read_element_header(NULL, 0, DICORE_EXPLICIT_LE, &h), DICORE_TRUNCATED);
}

static void every_deviation_has_a_name_of_its_own(void)
{
    for (uint32_t a = 0; a < DICORE_DEV_COUNT; a++) {
        CHECK(dicore_deviation_name(a) && dicore_deviation_text(a));
        for (uint32_t b = 0; b < a; b++)
            CHECK(strcmp(dicore_deviation_name(a), dicore_deviation_name(b)) != 0);
    }
    CHECK(strcmp(dicore_deviation_name(DICORE_DEV_ODD_LENGTH), "odd-length") == 0);
    CHECK(strcmp(dicore_deviation_name(9999), "unknown") == 0);
    CHECK(strcmp(dicore_deviation_text(DICORE_DEV_COUNT), "an unknown deviation") == 0);
}

int main(void)
{
    header_is_read_and_no_truncation_passes();
    every_pair_of_bytes_is_short_long_or_no_vr();
    a_length_beyond_16_bits_is_written_as_un();
    every_deviation_has_a_name_of_its_own();
    return check_result("test_element");
}
