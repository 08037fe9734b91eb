/* Values that are hot: arrays of numbers, decimal and integer strings. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "dataset/element.h"

size_t dicore_vr_width(uint16_t vr)
{
    switch (vr) {
    case VR('U', 'S'): case VR('S', 'S'): case VR('O', 'W'): return 2;
    case VR('U', 'L'): case VR('S', 'L'): case VR('F', 'L'): case VR('A', 'T'): case VR('O', 'L'): case VR('O', 'F'): return 4;
    case VR('F', 'D'): case VR('U', 'V'): case VR('S', 'V'): case VR('O', 'D'): case VR('O', 'V'): return 8;
    case VR('O', 'B'): case VR('U', 'N'): return 1;
    default: return 0;
    }
}

dicore_status dicore_value_numbers(uint16_t vr, int big_endian, const uint8_t *data, size_t size, void *out, size_t capacity,
                                   size_t *count)
{
    size_t width = dicore_vr_width(vr);
    if (width == 0)
        return DICORE_BAD_VR;
    size_t n = size / width;
    if (n > capacity)
        return DICORE_NO_MEMORY;
    *count = n;
    uint8_t *to = out;
    if (width == 1) {
        if (n)
            memcpy(to, data, n);
    } else if (width == 2) {
        for (size_t i = 0; i < n; i++) {
            uint16_t v = big_endian ? load_u16be(data + 2 * i) : load_u16le(data + 2 * i);
            memcpy(to + 2 * i, &v, 2);
        }
    } else if (vr == VR('A', 'T')) { /* PS3.5 6.2: two 16-bit numbers, not one of 32 bits */
        for (size_t i = 0; i < n; i++) {
            uint32_t v = big_endian ? load_tag_be(data + 4 * i) : load_tag_le(data + 4 * i);
            memcpy(to + 4 * i, &v, 4);
        }
    } else if (width == 4) {
        for (size_t i = 0; i < n; i++) {
            uint32_t v = big_endian ? load_u32be(data + 4 * i) : load_u32le(data + 4 * i);
            memcpy(to + 4 * i, &v, 4);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            uint64_t v = big_endian ? load_u64be(data + 8 * i) : load_u64le(data + 8 * i);
            memcpy(to + 8 * i, &v, 8);
        }
    }
    return DICORE_OK;
}

size_t dicore_value_count(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t count = 1;
    for (size_t i = 0; i < size; i++)
        count += data[i] == '\\';
    return count;
}

size_t dicore_value_trim(const uint8_t *data, size_t size)
{
    while (size && (data[size - 1] == ' ' || data[size - 1] == '\0'))
        size--;
    return size;
}

int dicore_value_split(const uint8_t *data, size_t size, size_t *position, dicore_span *out)
{
    if (size == 0 || *position > size)
        return 0;
    const uint8_t *from = data + *position;
    size_t left = size - *position;
    const uint8_t *slash = left ? memchr(from, '\\', left) : NULL;
    size_t length = slash ? (size_t)(slash - from) : left;
    *position += length + 1; /* one beyond the end after the last value */
    while (length && *from == ' ') {
        from++;
        length--;
    }
    *out = (dicore_span){from, dicore_value_trim(from, length)};
    return 1;
}

/* Powers of ten that a double holds exactly: with a mantissa below 2^53, one division or multiplication is then rounded
 * once, so the result is the nearest double (Clinger 1990). */
static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The library's strtod for the rest; its decimal point is that of the program's locale. */
static dicore_status slow_decimal(const uint8_t *data, size_t size, double *out)
{
    char text[1040];
    const char *point = localeconv()->decimal_point;
    size_t width = strlen(point), n = 0;
    if (width > 16)
        return DICORE_BAD_ARGUMENT;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '.') {
            memcpy(text + n, point, width);
            n += width;
        } else {
            text[n++] = (char)data[i];
        }
    }
    text[n] = '\0';
    *out = strtod(text, NULL);
    return DICORE_OK;
}

dicore_status dicore_value_decimal(const uint8_t *data, size_t size, double *out)
{
    while (size && *data == ' ') {
        data++;
        size--;
    }
    size = size ? dicore_value_trim(data, size) : 0;
    if (size == 0 || size > 1000)
        return DICORE_BAD_LENGTH;
    const uint8_t *p = data, *end = data + size;
    int negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    uint64_t mantissa = 0;
    int digits = 0, significant = 0, exponent = 0, exact = 1;
    for (int fraction = 0; p < end; p++) {
        unsigned digit = (unsigned)*p - '0';
        if (digit < 10) {
            digits++;
            if (significant || digit)
                significant++;
            if (significant <= 18) {
                mantissa = mantissa * 10 + digit;
                exponent -= fraction;
            } else {
                exact = 0;
            }
        } else if (*p == '.' && !fraction) {
            fraction = 1;
        } else {
            break;
        }
    }
    if (digits == 0)
        return DICORE_BAD_ARGUMENT;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int minus = 0, written = 0, any = 0;
        p++;
        if (p < end && (*p == '-' || *p == '+'))
            minus = *p++ == '-';
        for (; p < end && (unsigned)*p - '0' < 10u; p++, any = 1)
            if (written < 100000)
                written = written * 10 + (*p - '0');
        if (!any)
            return DICORE_BAD_ARGUMENT;
        exponent += minus ? -written : written;
    }
    if (p != end)
        return DICORE_BAD_ARGUMENT;
    if (!exact || mantissa > (uint64_t)1 << 53 || exponent < -22 || exponent > 22)
        return slow_decimal(data, size, out);
    double value = (double)mantissa;
    value = exponent < 0 ? value / TENS[-exponent] : value * TENS[exponent];
    *out = negative ? -value : value;
    return DICORE_OK;
}

dicore_status dicore_value_integer(const uint8_t *data, size_t size, int64_t *out)
{
    while (size && *data == ' ') {
        data++;
        size--;
    }
    size = size ? dicore_value_trim(data, size) : 0;
    if (size == 0 || size > 1000)
        return DICORE_BAD_LENGTH;
    const uint8_t *p = data, *end = data + size;
    int negative = *p == '-', digits = 0, big = 0;
    if (*p == '-' || *p == '+')
        p++;
    uint64_t magnitude = 0;
    for (; p < end && (unsigned)*p - '0' < 10u; p++, digits++) {
        unsigned digit = (unsigned)*p - '0';
        if (magnitude > (UINT64_MAX - digit) / 10)
            big = 1;
        else
            magnitude = magnitude * 10 + digit;
    }
    if (digits == 0)
        return DICORE_BAD_ARGUMENT;
    if (p < end && *p == '.') /* "12.0": some write a DS, and mean an integer */
        for (p++; p < end && *p == '0';)
            p++;
    if (p != end)
        return DICORE_BAD_ARGUMENT;
    if (big || magnitude > (uint64_t)INT64_MAX + (uint64_t)negative)
        return DICORE_LIMIT;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return DICORE_OK;
}

dicore_status dicore_value_decimals(const uint8_t *data, size_t size, double *out, size_t capacity, size_t *count)
{
    size_t position = 0;
    dicore_span one;
    *count = 0;
    while (dicore_value_split(data, size, &position, &one)) {
        if (*count == capacity)
            return DICORE_NO_MEMORY;
        dicore_status status = dicore_value_decimal(one.data, one.size, out + *count);
        if (status != DICORE_OK)
            return status;
        ++*count;
    }
    return DICORE_OK;
}

dicore_status dicore_value_integers(const uint8_t *data, size_t size, int64_t *out, size_t capacity, size_t *count)
{
    size_t position = 0;
    dicore_span one;
    *count = 0;
    while (dicore_value_split(data, size, &position, &one)) {
        if (*count == capacity)
            return DICORE_NO_MEMORY;
        dicore_status status = dicore_value_integer(one.data, one.size, out + *count);
        if (status != DICORE_OK)
            return status;
        ++*count;
    }
    return DICORE_OK;
}
