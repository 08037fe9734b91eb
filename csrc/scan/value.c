/* Values as a table wants them. */
#include "scan/value.h"

#include <math.h>
#include <string.h>

#include "base/load.h"

#define VR DICORE_VR

int value_is_text(uint16_t vr)
{
    switch (vr) {
    case VR('A', 'E'): case VR('A', 'S'): case VR('C', 'S'): case VR('D', 'A'): case VR('D', 'S'): case VR('D', 'T'):
    case VR('I', 'S'): case VR('L', 'O'): case VR('L', 'T'): case VR('P', 'N'): case VR('S', 'H'): case VR('S', 'T'):
    case VR('T', 'M'): case VR('U', 'C'): case VR('U', 'I'): case VR('U', 'R'): case VR('U', 'T'): return 1;
    default: return 0;
    }
}

int value_governed(uint16_t vr)
{
    switch (vr) {
    case VR('L', 'O'): case VR('L', 'T'): case VR('P', 'N'): case VR('S', 'H'): case VR('S', 'T'): case VR('U', 'C'):
    case VR('U', 'T'): return 1;
    default: return 0;
    }
}

int value_single(uint16_t vr)
{
    return vr == VR('L', 'T') || vr == VR('S', 'T') || vr == VR('U', 'T') || vr == VR('U', 'R');
}

static int is_space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }

dicore_span value_trimmed(dicore_span t, uint16_t vr)
{
    t.size = dicore_value_trim(t.data, t.size);
    if (vr == VR('A', 'E')) /* leading spaces do not count, PS3.5 6.2 */
        while (t.size && is_space(*t.data)) {
            t.data++;
            t.size--;
        }
    if (vr == VR('A', 'E') || vr == VR('U', 'R'))
        while (t.size && (is_space(t.data[t.size - 1]) || t.data[t.size - 1] == 0))
            t.size--;
    if (vr == VR('P', 'N'))
        while (t.size && t.data[t.size - 1] == '=')
            t.size--;
    return t;
}

unsigned value_bits(dicore_span t)
{
    uint64_t high = 0, part, escape = 0;
    size_t i = 0;
    for (; i + 8 <= t.size; i += 8) {
        memcpy(&part, t.data + i, 8);
        high |= part;
        uint64_t x = part ^ 0x1B1B1B1B1B1B1B1Bu; /* a zero byte where ESC is; a false alarm costs only the slow way */
        escape |= (x - 0x0101010101010101u) & ~x;
    }
    uint8_t bits = 0, found = 0;
    for (; i < t.size; i++) {
        bits |= t.data[i];
        found |= t.data[i] == 0x1B;
    }
    unsigned out = (high & 0x8080808080808080u) || bits & 0x80 ? VALUE_HIGH : 0;
    if ((escape & 0x8080808080808080u || found) && memchr(t.data, 0x1B, t.size))
        out |= VALUE_ESCAPE;
    return out;
}

static int is_name(dicore_span t, const char *name)
{
    return t.size == strlen(name) && memcmp(t.data, name, t.size) == 0;
}

value_charset value_charset_of(dicore_span names, unsigned bits)
{
    names.size = dicore_value_trim(names.data, names.size);
    while (names.size && *names.data == ' ') {
        names.data++;
        names.size--;
    }
    if (is_name(names, "ISO_IR 192"))
        return VALUE_UTF8;
    if (bits & VALUE_ESCAPE)
        return VALUE_OTHER;
    if (names.size == 0 || is_name(names, "ISO_IR 6") || is_name(names, "ISO_IR 100") || is_name(names, "ISO 2022 IR 6") ||
        is_name(names, "ISO 2022 IR 100"))
        return VALUE_LATIN; /* undeclared bytes are read as Latin-1, as by dicore.dataset.charset */
    return VALUE_OTHER;
}

int value_is_utf8(dicore_span t)
{
    for (size_t i = 0; i < t.size;) {
        uint8_t c = t.data[i];
        size_t more = c < 0x80 ? 0 : c >= 0xC2 && c <= 0xDF ? 1 : c >= 0xE0 && c <= 0xEF ? 2 : c >= 0xF0 && c <= 0xF4 ? 3 : 4;
        if (more == 4 || more >= t.size - i)
            return 0;
        if (more) {
            uint8_t d = t.data[i + 1], least = 0x80, most = 0xBF; /* Unicode table 3-7 */
            if (c == 0xE0)
                least = 0xA0;
            else if (c == 0xED)
                most = 0x9F;
            else if (c == 0xF0)
                least = 0x90;
            else if (c == 0xF4)
                most = 0x8F;
            if (d < least || d > most)
                return 0;
            for (size_t k = 2; k <= more; k++)
                if ((t.data[i + k] & 0xC0) != 0x80)
                    return 0;
        }
        i += more + 1;
    }
    return 1;
}

size_t value_latin(dicore_span t, uint8_t *out)
{
    uint8_t *p = out;
    for (size_t i = 0; i < t.size; i++) {
        if (t.data[i] < 0x80) {
            *p++ = t.data[i];
        } else {
            *p++ = (uint8_t)(0xC0 | t.data[i] >> 6);
            *p++ = (uint8_t)(0x80 | (t.data[i] & 0x3F));
        }
    }
    return (size_t)(p - out);
}

/* ---- numbers -------------------------------------------------------------------------------------------------------- */

static dicore_status put_signed(unsigned type, int64_t v, uint8_t *out);

static dicore_status put_unsigned(unsigned type, uint64_t v, uint8_t *out)
{
    if (type == DICORE_SCAN_UINT64) {
        memcpy(out, &v, 8);
        return DICORE_OK;
    }
    if (type == DICORE_SCAN_FLOAT64 || type == DICORE_SCAN_FLOAT32 || v <= INT64_MAX) {
        if (v <= INT64_MAX)
            return put_signed(type, (int64_t)v, out);
        double d = (double)v;
        float f = (float)d;
        memcpy(out, type == DICORE_SCAN_FLOAT64 ? (const void *)&d : (const void *)&f, type == DICORE_SCAN_FLOAT64 ? 8 : 4);
        return DICORE_OK;
    }
    return DICORE_LIMIT;
}

static dicore_status put_signed(unsigned type, int64_t v, uint8_t *out)
{
    int16_t i16 = (int16_t)v;
    uint16_t u16 = (uint16_t)v;
    int32_t i32 = (int32_t)v;
    uint32_t u32 = (uint32_t)v;
    uint64_t u64 = (uint64_t)v;
    double d = (double)v;
    float f = (float)d;
    switch (type) {
    case DICORE_SCAN_INT16: memcpy(out, &i16, 2); return i16 == v ? DICORE_OK : DICORE_LIMIT;
    case DICORE_SCAN_UINT16: memcpy(out, &u16, 2); return u16 == v ? DICORE_OK : DICORE_LIMIT;
    case DICORE_SCAN_INT32: memcpy(out, &i32, 4); return i32 == v ? DICORE_OK : DICORE_LIMIT;
    case DICORE_SCAN_UINT32: memcpy(out, &u32, 4); return u32 == v ? DICORE_OK : DICORE_LIMIT;
    case DICORE_SCAN_INT64: memcpy(out, &v, 8); return DICORE_OK;
    case DICORE_SCAN_UINT64: memcpy(out, &u64, 8); return v >= 0 ? DICORE_OK : DICORE_LIMIT;
    case DICORE_SCAN_FLOAT32: memcpy(out, &f, 4); return DICORE_OK;
    case DICORE_SCAN_FLOAT64: memcpy(out, &d, 8); return DICORE_OK;
    default: return DICORE_BAD_VR; /* a number is no date */
    }
}

static dicore_status put_real(unsigned type, double v, uint8_t *out)
{
    if (type == DICORE_SCAN_FLOAT64) {
        memcpy(out, &v, 8);
        return DICORE_OK;
    }
    if (type == DICORE_SCAN_FLOAT32) {
        if (isfinite(v) && fabs(v) > 3.4028234663852886e38)
            return DICORE_LIMIT;
        float f = (float)v;
        memcpy(out, &f, 4);
        return DICORE_OK;
    }
    if (!(v >= -9223372036854775808.0 && v < 9223372036854775808.0) || v != (double)(int64_t)v)
        return DICORE_LIMIT;
    return put_signed(type, (int64_t)v, out);
}

dicore_status value_number(unsigned type, uint16_t vr, int big, const uint8_t *p, uint8_t out[8])
{
    float f;
    double d;
    uint32_t u32;
    uint64_t u64;
    switch (vr) {
    case VR('U', 'S'): return put_unsigned(type, big ? load_u16be(p) : load_u16le(p), out);
    case VR('S', 'S'): return put_signed(type, (int16_t)(big ? load_u16be(p) : load_u16le(p)), out);
    case VR('O', 'W'): return put_unsigned(type, big ? load_u16be(p) : load_u16le(p), out);
    case VR('U', 'L'): case VR('O', 'L'): return put_unsigned(type, big ? load_u32be(p) : load_u32le(p), out);
    case VR('S', 'L'): return put_signed(type, (int32_t)(big ? load_u32be(p) : load_u32le(p)), out);
    case VR('A', 'T'): return put_unsigned(type, big ? load_tag_be(p) : load_tag_le(p), out);
    case VR('U', 'V'): case VR('O', 'V'): return put_unsigned(type, big ? load_u64be(p) : load_u64le(p), out);
    case VR('S', 'V'): return put_signed(type, (int64_t)(big ? load_u64be(p) : load_u64le(p)), out);
    case VR('F', 'L'): case VR('O', 'F'):
        u32 = big ? load_u32be(p) : load_u32le(p);
        memcpy(&f, &u32, 4);
        return put_real(type, (double)f, out);
    case VR('F', 'D'): case VR('O', 'D'):
        u64 = big ? load_u64be(p) : load_u64le(p);
        memcpy(&d, &u64, 8);
        return put_real(type, d, out);
    case VR('O', 'B'): return put_unsigned(type, *p, out);
    default: return DICORE_BAD_VR;
    }
}

/* ---- dates and times ------------------------------------------------------------------------------------------------ */

static int digits(const uint8_t *p, size_t count, int32_t *out)
{
    int32_t v = 0;
    for (size_t i = 0; i < count; i++) {
        if (p[i] < '0' || p[i] > '9')
            return 0;
        v = v * 10 + (p[i] - '0');
    }
    *out = v;
    return 1;
}

/* PS3.5 6.2 DA: YYYYMMDD; ACR-NEMA's YYYY.MM.DD is read too. */
static dicore_status date(dicore_span t, uint8_t *out)
{
    static const uint8_t DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int32_t year, month, day;
    size_t gap = t.size == 10 && (t.data[4] == '.' || t.data[4] == '-') && t.data[7] == t.data[4];
    if (t.size != 8 + 2 * gap || !digits(t.data, 4, &year) || !digits(t.data + 4 + gap, 2, &month) ||
        !digits(t.data + 6 + 2 * gap, 2, &day) || year < 1 || month < 1 || month > 12 || day < 1)
        return DICORE_BAD_ARGUMENT;
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > DAYS[month - 1] + (month == 2 && leap))
        return DICORE_BAD_ARGUMENT;
    /* days since 1970-01-01, with years that begin in March */
    int32_t y = month <= 2 ? year - 1 : year, m = month <= 2 ? month + 9 : month - 3;
    int32_t days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
    memcpy(out, &days, 4);
    return DICORE_OK;
}

/* PS3.5 6.2 TM: HH[MM[SS[.F{1,6}]]]; ACR-NEMA's HH:MM:SS too. Second 60, a leap second, is 59. */
static dicore_status time_of_day(dicore_span t, uint8_t *out)
{
    int32_t part[3] = {0, 0, 0};
    size_t at = 0, count = 0;
    int colons = t.size > 2 && t.data[2] == ':';
    while (count < 3 && at + 2 <= t.size && digits(t.data + at, 2, &part[count])) {
        count++;
        at += 2;
        if (colons && count < 3 && at < t.size && t.data[at] == ':')
            at++;
        else if (at == t.size || t.data[at] == '.')
            break;
    }
    int64_t micros = 0;
    if (count == 3 && at < t.size && t.data[at] == '.') {
        int64_t scale = 100000;
        size_t from = ++at;
        for (; at < t.size && t.data[at] >= '0' && t.data[at] <= '9'; at++, scale /= 10)
            micros += scale * (t.data[at] - '0');
        if (at == from)
            return DICORE_BAD_ARGUMENT;
    }
    if (count == 0 || at != t.size || part[0] > 23 || part[1] > 59 || part[2] > 60)
        return DICORE_BAD_ARGUMENT;
    if (part[2] == 60)
        part[2] = 59;
    micros += ((int64_t)part[0] * 3600 + part[1] * 60 + part[2]) * 1000000;
    memcpy(out, &micros, 8);
    return DICORE_OK;
}

dicore_status value_from_text(unsigned type, uint16_t vr, dicore_span t, uint8_t out[8])
{
    int64_t whole;
    double real;
    dicore_status status;
    if (type == DICORE_SCAN_DATE || type == DICORE_SCAN_TIME) {
        if (vr == VR('D', 'T')) { /* YYYYMMDDHHMMSS.FFFFFF&ZZXX: the local date or time of it */
            size_t end = 0;
            while (end < t.size && t.data[end] != '+' && t.data[end] != '-')
                end++;
            if (end < 8)
                return DICORE_BAD_ARGUMENT;
            t = type == DICORE_SCAN_DATE ? (dicore_span){t.data, 8} : (dicore_span){t.data + 8, end - 8};
        }
        return type == DICORE_SCAN_DATE ? date(t, out) : time_of_day(t, out);
    }
    if (type == DICORE_SCAN_FLOAT64 || type == DICORE_SCAN_FLOAT32) {
        status = dicore_value_decimal(t.data, t.size, &real);
        return status == DICORE_OK ? put_real(type, real, out) : status;
    }
    status = dicore_value_integer(t.data, t.size, &whole);
    if (status == DICORE_OK)
        return put_signed(type, whole, out);
    if (status == DICORE_LIMIT || dicore_value_decimal(t.data, t.size, &real) != DICORE_OK)
        return status;
    return put_real(type, real, out);
}

void dicore_scan_column_type(uint16_t vr, int several, int ambiguous, uint8_t *type, uint8_t *flags)
{
    unsigned t = DICORE_SCAN_TEXT, f = several ? DICORE_SCAN_LIST : 0;
    switch (vr) {
    case VR('I', 'S'): case VR('S', 'V'): t = DICORE_SCAN_INT64; break;
    case VR('D', 'S'): case VR('F', 'D'): t = DICORE_SCAN_FLOAT64; break;
    case VR('F', 'L'): t = DICORE_SCAN_FLOAT32; break;
    case VR('D', 'A'): t = DICORE_SCAN_DATE; break;
    case VR('T', 'M'): t = DICORE_SCAN_TIME; break;
    case VR('U', 'S'): t = DICORE_SCAN_UINT16; break;
    case VR('S', 'S'): t = DICORE_SCAN_INT16; break;
    case VR('U', 'L'): case VR('A', 'T'): t = DICORE_SCAN_UINT32; break;
    case VR('S', 'L'): t = DICORE_SCAN_INT32; break;
    case VR('U', 'V'): t = DICORE_SCAN_UINT64; break;
    case VR('O', 'B'): case VR('O', 'D'): case VR('O', 'F'): case VR('O', 'L'): case VR('O', 'V'): case VR('O', 'W'):
    case VR('U', 'N'):
        t = DICORE_SCAN_BINARY;
        f = 0;
        break;
    case VR('C', 'S'): case VR('L', 'O'): case VR('U', 'I'): f = f ? f : DICORE_SCAN_DICTIONARY; break;
    default: break;
    }
    if (value_single(vr))
        f = 0;
    if (ambiguous) {
        t = DICORE_SCAN_INT32;
        f = (f & DICORE_SCAN_LIST) | DICORE_SCAN_SIGNED;
    }
    *type = (uint8_t)t;
    *flags = (uint8_t)f;
}
