#include <math.h>

#include "bytes.h"

static void numbers_in_both_byte_orders(void)
{
    static const uint8_t LITTLE[8] = {1, 2, 3, 4, 5, 6, 7, 0x80}, BIG[8] = {0x80, 7, 6, 5, 4, 3, 2, 1};
    static const struct {
        const char *vr;
        size_t width;
    } KINDS[] = {{"US", 2}, {"SS", 2}, {"OW", 2}, {"UL", 4}, {"SL", 4}, {"FL", 4}, {"OL", 4}, {"OF", 4}, {"AT", 4},
                 {"FD", 8}, {"UV", 8}, {"SV", 8}, {"OD", 8}, {"OV", 8}, {"OB", 1}, {"UN", 1}, {"CS", 0}, {"SQ", 0}};
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        uint16_t vr = DICORE_VR(KINDS[i].vr[0], KINDS[i].vr[1]);
        CHECK_EQ(dicore_vr_width(vr), KINDS[i].width);
        uint64_t out[8];
        size_t count = 99;
        if (KINDS[i].width == 0) {
            CHECK_EQ(dicore_value_numbers(vr, 0, LITTLE, 8, out, 8, &count), DICORE_BAD_VR);
            continue;
        }
        for (size_t size = 0; size <= 8; size++) { /* a rest that is no whole number is left out */
            uint8_t *data = guarded_copy(LITTLE, size);
            CHECK_EQ(dicore_value_numbers(vr, 0, data, size, out, 8, &count), DICORE_OK);
            CHECK_EQ(count, size / KINDS[i].width);
            guarded_free(data, size);
        }
        CHECK_EQ(dicore_value_numbers(vr, 0, LITTLE, 8, out, 8 / KINDS[i].width - 1, &count), DICORE_NO_MEMORY);
    }
    uint16_t us[4];
    int64_t sv;
    uint32_t at[2];
    double fd;
    size_t count;
    dicore_value_numbers(DICORE_VR('U', 'S'), 0, LITTLE, 8, us, 4, &count);
    CHECK(us[0] == 0x0201 && us[3] == 0x8007);
    dicore_value_numbers(DICORE_VR('U', 'S'), 1, BIG, 8, us, 4, &count);
    CHECK(us[0] == 0x8007 && us[3] == 0x0201);
    dicore_value_numbers(DICORE_VR('S', 'V'), 1, BIG, 8, &sv, 1, &count);
    CHECK(sv == (int64_t)0x8007060504030201);
    dicore_value_numbers(DICORE_VR('A', 'T'), 0, LITTLE, 8, at, 2, &count);
    CHECK_EQ(at[0], 0x02010403); /* group, element */
    dicore_value_numbers(DICORE_VR('A', 'T'), 1, BIG, 8, at, 2, &count);
    CHECK_EQ(at[0], 0x80070605);
    dicore_value_numbers(DICORE_VR('F', 'D'), 0, (const uint8_t *)"\0\0\0\0\0\0\xF8\x3F", 8, &fd, 1, &count);
    CHECK(fd == 1.5);
}

static void decimal_strings(void)
{
    static const struct {
        const char *text;
        double want;
    } GOOD[] = {
        {"0", 0}, {"1", 1}, {"-1", -1}, {"+1.5", 1.5}, {" 12.25 ", 12.25}, {"0.1", 0.1}, {".5", .5}, {"5.", 5.}, {"-.5e1", -5},
        {"1e22", 1e22}, {"1e23", 1e23}, {"1E-5", 1e-5}, {"123456789012345678", 123456789012345678.0}, {"0.000001", 1e-6},
        {"9007199254740993", 9007199254740992.0}, {"9007199254740992.9", 9007199254740992.9}, {"1.7976931348623157e308", 1.7976931348623157e308},
        {"5e-324", 5e-324}, {"1e999", INFINITY}, {"-1e-999", -0.0}, {"00000000000000000000001", 1}, {"0.3", 0.3}, {"3.14159265358979", 3.14159265358979},
        {"1.1754943508222875e-38", 1.1754943508222875e-38}, {"2.2250738585072011e-308", 2.2250738585072011e-308}, {"1e-22", 1e-22}, {"1e-23", 1e-23},
        {"0.00000000000000000000000000000000000001234567", 1.234567e-38}, {"100000000000000000000000000000", 1e29},
    };
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        size_t size = strlen(GOOD[i].text);
        uint8_t *data = guarded_copy(GOOD[i].text, size);
        double got = 42;
        CHECK_EQ(dicore_value_decimal(data, size, &got), DICORE_OK);
        if (memcmp(&got, &GOOD[i].want, sizeof got) != 0) {
            CHECK(!"a decimal is not the nearest double");
            fprintf(stderr, "  %s is %.17g, not %.17g\n", GOOD[i].text, got, GOOD[i].want);
        }
        guarded_free(data, size);
    }
    static const char *BAD[] = {"-", ".", "1e", "1e+", "e5", "abc", "1.2.3", "1 2", "0x10", "inf", "nan", "1,5", "--1", "1\\2"};
    double got = 42;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        CHECK_EQ(dicore_value_decimal((const uint8_t *)BAD[i], strlen(BAD[i]), &got), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_value_decimal((const uint8_t *)"  \0", 3, &got), DICORE_BAD_LENGTH);
    CHECK_EQ(dicore_value_decimal(NULL, 0, &got), DICORE_BAD_LENGTH);
    CHECK(got == 42);
    CHECK_EQ(dicore_value_decimal((const uint8_t *)"1.5\0", 4, &got), DICORE_OK);
    CHECK(got == 1.5);
    /* every double of 1 to 17 digits is what strtod makes of it */
    uint32_t random = 7;
    int differ = 0;
    for (int i = 0; i < 200000; i++) {
        char text[64];
        random = random * 1664525 + 1013904223;
        uint32_t high = random;
        random = random * 1664525 + 1013904223;
        double v = ((double)high * 4294967296.0 + random) / 1e9 * (i % 2 ? 1 : -1e-9);
        snprintf(text, sizeof text, i % 3 ? "%.*g" : "%.*f", 1 + i % 17, v);
        double mine = 0, theirs = strtod(text, NULL);
        differ += dicore_value_decimal((const uint8_t *)text, strlen(text), &mine) != DICORE_OK || mine != theirs;
    }
    CHECK_EQ(differ, 0);
}

static void integer_strings(void)
{
    static const struct {
        const char *text;
        int64_t want;
        dicore_status status;
    } CASES[] = {
        {"0", 0, DICORE_OK}, {" 12 ", 12, DICORE_OK}, {"-2147483648", -2147483648, DICORE_OK}, {"+7", 7, DICORE_OK},
        {"12.0", 12, DICORE_OK}, {"12.", 12, DICORE_OK}, {"9223372036854775807", INT64_MAX, DICORE_OK},
        {"-9223372036854775808", INT64_MIN, DICORE_OK}, {"9223372036854775808", 0, DICORE_LIMIT},
        {"99999999999999999999999", 0, DICORE_LIMIT}, {"12.5", 0, DICORE_BAD_ARGUMENT}, {"", 0, DICORE_BAD_LENGTH},
        {"1e3", 0, DICORE_BAD_ARGUMENT}, {"-", 0, DICORE_BAD_ARGUMENT}, {"12a", 0, DICORE_BAD_ARGUMENT},
        {"18446744073709551615", 0, DICORE_LIMIT}, {"18446744073709551616", 0, DICORE_LIMIT},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        size_t size = strlen(CASES[i].text);
        uint8_t *data = guarded_copy(CASES[i].text, size);
        int64_t got = 0;
        CHECK_EQ(dicore_value_integer(data, size, &got), CASES[i].status);
        CHECK_EQ(got, CASES[i].want);
        guarded_free(data, size);
    }
}

static void several_values(void)
{
    const uint8_t *text = (const uint8_t *)"1.5\\ 2 \\-3e2\\4 ";
    double out[4];
    int64_t whole[3];
    size_t count = 0;
    CHECK_EQ(dicore_value_decimals(text, 16, out, 4, &count), DICORE_OK);
    CHECK_EQ(count, 4);
    CHECK(out[0] == 1.5 && out[1] == 2 && out[2] == -300 && out[3] == 4);
    CHECK_EQ(dicore_value_decimals(text, 16, out, 3, &count), DICORE_NO_MEMORY);
    CHECK_EQ(dicore_value_decimals((const uint8_t *)"1\\\\2", 4, out, 4, &count), DICORE_BAD_LENGTH);
    CHECK_EQ(count, 1); /* the first bad one is number 1 */
    CHECK_EQ(dicore_value_integers((const uint8_t *)"1\\-2\\3 ", 7, whole, 3, &count), DICORE_OK);
    CHECK(count == 3 && whole[1] == -2);
    CHECK_EQ(dicore_value_integers((const uint8_t *)"1\\x", 3, whole, 3, &count), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_value_integers(NULL, 0, whole, 3, &count), DICORE_OK);
    CHECK_EQ(count, 0);
    CHECK_EQ(dicore_value_count((const uint8_t *)"", 0), 0);
    CHECK_EQ(dicore_value_count((const uint8_t *)"A", 1), 1);
    CHECK_EQ(dicore_value_count((const uint8_t *)"A\\", 2), 2);
    CHECK_EQ(dicore_value_trim((const uint8_t *)"A \0 \0", 5), 1);
    CHECK_EQ(dicore_value_trim((const uint8_t *)" \0", 2), 0);
    size_t position = 0;
    dicore_span one;
    static const char *WANT[] = {"A", "", "B"};
    for (int i = 0; i < 3; i++) {
        CHECK(dicore_value_split((const uint8_t *)" A \\\\B\0", 7, &position, &one));
        CHECK(one.size == strlen(WANT[i]) && memcmp(one.data, WANT[i], one.size) == 0);
    }
    CHECK(!dicore_value_split((const uint8_t *)" A \\\\B\0", 7, &position, &one));
    position = 0;
    CHECK(!dicore_value_split(NULL, 0, &position, &one));
}

int main(void)
{
    numbers_in_both_byte_orders();
    decimal_strings();
    integer_strings();
    several_values();
    return check_result("test_value");
}
