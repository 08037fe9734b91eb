/* Decoding values: numbers, decimal and integer strings, splitting, names of private elements. What is checked is that no
 * byte outside is read (ASan), that the parts agree with each other, and that decimals are those of strtod. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dicore/dicore.h"
#include "fuzz/fuzz.h"

enum { MOST = 256 };

static const char VRS[][3] = {"US", "SS", "OW", "UL", "SL", "FL", "AT", "OL", "OF", "FD", "UV", "SV", "OD", "OV", "OB", "UN"};

static void numbers(const uint8_t *data, size_t size)
{
    uint64_t out[MOST];
    for (size_t i = 0; i < sizeof VRS / sizeof *VRS; i++) {
        uint16_t vr = DICORE_VR(VRS[i][0], VRS[i][1]);
        size_t width = dicore_vr_width(vr), count = 0, capacity = sizeof out / width;
        for (int big = 0; big < 2; big++) {
            dicore_status status = dicore_value_numbers(vr, big, data, size, out, capacity, &count);
            MUST(status == (size / width > capacity ? DICORE_NO_MEMORY : DICORE_OK));
            MUST(status != DICORE_OK || count == size / width);
            if (status == DICORE_OK && width == 2 && count)
                MUST(((const uint8_t *)out)[0] == data[big]); /* of a little endian machine */
        }
    }
    size_t count;
    MUST(dicore_value_numbers(DICORE_VR('L', 'O'), 0, data, size, out, MOST, &count) == DICORE_BAD_VR);
}

static void texts(const uint8_t *data, size_t size)
{
    double decimals[MOST], one;
    int64_t integers[MOST], whole;
    size_t position = 0, values = 0, count;
    dicore_span part;
    MUST(dicore_value_trim(data, size) <= size);
    int decimal = 1, integer = 1;
    while (dicore_value_split(data, size, &position, &part)) {
        MUST(part.size <= size && part.data >= data && part.data + part.size <= data + size);
        MUST(part.size == 0 || (part.data[0] != ' ' && part.data[part.size - 1] != ' ' && part.data[part.size - 1] != 0));
        dicore_status status = dicore_value_decimal(part.data, part.size, &one);
        if (status == DICORE_OK) {
            char text[1001], *end;
            memcpy(text, part.data, part.size);
            text[part.size] = '\0';
            double expected = strtod(text, &end);
            MUST(*end == '\0' && (one == expected || (isnan(one) && isnan(expected))));
        }
        decimal &= status == DICORE_OK;
        status = dicore_value_integer(part.data, part.size, &whole);
        MUST(status != DICORE_OK || dicore_value_decimal(part.data, part.size, &one) == DICORE_OK);
        integer &= status == DICORE_OK;
        values++;
    }
    MUST(values == dicore_value_count(data, size));
    if (values <= MOST) {
        MUST((dicore_value_decimals(data, size, decimals, MOST, &count) == DICORE_OK) == decimal && (!decimal || count == values));
        MUST((dicore_value_integers(data, size, integers, MOST, &count) == DICORE_OK) == integer && (!integer || count == values));
    } else {
        MUST(dicore_value_decimals(data, size, decimals, MOST, &count) != DICORE_OK);
    }
}

static void names(const uint8_t *data, size_t size)
{
    if (size < 4)
        return;
    uint32_t tag = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    dicore_dictionary_entry entry;
    int found = 0;
    if (dicore_dictionary_find(tag, &entry) && entry.keyword[0] && entry.mask == 0xFFFFFFFF) /* repeating groups have no one tag */
        MUST(dicore_dictionary_keyword(entry.keyword, strlen(entry.keyword), &found) == entry.tag && found);
    dicore_dictionary_keyword((const char *)data, size, &found);
    uint16_t known = dicore_dictionary_private_vr(data + 4, size - 4, tag);
    MUST(dicore_dictionary_private(data + 4, size - 4, tag, &entry) == (known != 0) || known == 0);
    char creator[64];
    size_t length = size - 4 < 63 ? size - 4 : 63;
    memcpy(creator, data + 4, length);
    creator[length] = '\0';
    dicore_private_entry mine[2] = {{creator, tag & 0xFFFF00FF, DICORE_VR('D', 'S')}, {"other", tag & 0xFFFF00FF, DICORE_VR_SQ}};
    dicore_private_dictionary dictionary = {mine, 2};
    if (strcmp(creator, "other") != 0)
        MUST(dicore_private_vr(&dictionary, (const uint8_t *)creator, strlen(creator), tag) == DICORE_VR('D', 'S'));
    MUST(dicore_private_vr(NULL, data + 4, size - 4, tag) == known);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 16)
        size = 1 << 16;
    numbers(data, size);
    texts(data, size);
    names(data, size);
    return 0;
}
