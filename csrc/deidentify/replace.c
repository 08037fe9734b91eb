/* What stands in for an identity: new UIDs, pseudonyms, moved dates, constants (PS3.15 annex E, actions U, Z, D, C). */
#include <string.h>

#include "base/blake2s.h"
#include "deidentify/replace.h"

#define VR(a, b) DICORE_VR(a, b)

/* ---- keyed --------------------------------------------------------------------------------------------------------- */

size_t dicore_deid_uid(const uint8_t key[32], dicore_span uid, uint8_t *out)
{
    static const char DICOM[] = "1.2.840.10008.";
    if (!uid.size)
        return 0;
    if (uid.size <= 64 && uid.size >= sizeof DICOM && memcmp(uid.data, DICOM, sizeof DICOM - 1) == 0) {
        size_t i = sizeof DICOM - 1;
        while (i < uid.size && (uid.data[i] == '.' || (uid.data[i] >= '0' && uid.data[i] <= '9')))
            i++;
        if (i == uid.size) { /* assigned by the standard: names no instance */
            memcpy(out, uid.data, uid.size);
            return uid.size;
        }
    }
    uint8_t digest[16];
    blake2s_keyed(key, "dicoreU1", uid.data, uid.size, digest, sizeof digest);
    digest[6] = (uint8_t)((digest[6] & 0x0F) | 0x80); /* a UUID of version 8 (RFC 9562 5.8): what 2.25 asks for (PS3.5 B.2) */
    digest[8] = (uint8_t)((digest[8] & 0x3F) | 0x80);
    uint32_t limbs[4];
    for (unsigned i = 0; i < 4; i++)
        limbs[i] = (uint32_t)digest[4 * i] << 24 | (uint32_t)digest[4 * i + 1] << 16 | (uint32_t)digest[4 * i + 2] << 8 |
                   digest[4 * i + 3];
    char digits[45];
    size_t at = sizeof digits;
    while (limbs[0] | limbs[1] | limbs[2] | limbs[3]) { /* nine digits at a time */
        uint64_t rest = 0;
        for (unsigned i = 0; i < 4; i++) {
            rest = rest << 32 | limbs[i];
            limbs[i] = (uint32_t)(rest / 1000000000u);
            rest %= 1000000000u;
        }
        for (unsigned i = 0; i < 9; i++, rest /= 10)
            digits[--at] = (char)('0' + rest % 10);
    }
    while (at < sizeof digits - 1 && digits[at] == '0')
        at++;
    memcpy(out, "2.25.", 5);
    memcpy(out + 5, digits + at, sizeof digits - at);
    return 5 + sizeof digits - at;
}

void dicore_deid_pseudonym(const uint8_t key[32], dicore_span identifier, uint8_t *out)
{
    static const char LETTERS[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; /* Crockford's: none is mistaken for another */
    uint8_t digest[DICORE_DEID_PSEUDONYM];
    blake2s_keyed(key, "dicoreP1", identifier.data, identifier.size, digest, sizeof digest);
    for (unsigned i = 0; i < DICORE_DEID_PSEUDONYM; i++)
        out[i] = (uint8_t)LETTERS[digest[i] & 31];
}

int dicore_deid_days(const uint8_t key[32], dicore_span identifier)
{
    uint8_t d[4];
    blake2s_keyed(key, "dicoreD1", identifier.data, identifier.size, d, sizeof d);
    uint32_t number = (uint32_t)d[0] | (uint32_t)d[1] << 8 | (uint32_t)d[2] << 16 | (uint32_t)d[3] << 24;
    return -366 - (int)(number % 3653);
}

/* ---- dates --------------------------------------------------------------------------------------------------------- */

static int is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static int number_of(const uint8_t *p, unsigned n)
{
    int value = 0;
    for (unsigned i = 0; i < n; i++)
        value = value * 10 + (p[i] - '0');
    return value;
}

/* Days since 0000-03-01 of the proleptic Gregorian calendar, and back. */
static int days_of(int year, int month, int day)
{
    if (month < 3)
        year--;
    int era = year / 400, of_era = year - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
}

static void date_of(int days, int *year, int *month, int *day)
{
    int era = days / 146097, of_era = days - era * 146097;
    int y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = y + era * 400 + (*month < 3);
}

static void put_number(uint8_t *out, int value, unsigned width)
{
    while (width--) {
        out[width] = (uint8_t)('0' + value % 10);
        value /= 10;
    }
}

/* One value without padding: its size, 0 when it is no date. */
static size_t shift_one(uint16_t vr, const uint8_t *p, size_t n, int by, uint8_t *out)
{
    uint8_t plain[8];
    if (vr == VR('D', 'A') && n == 10 && p[4] == '.' && p[7] == '.') { /* ACR-NEMA 300, PS3.5 table 6.2-1 note */
        memcpy(plain, p, 4);
        memcpy(plain + 4, p + 5, 2);
        memcpy(plain + 6, p + 8, 2);
        p = plain;
        n = 8;
    }
    size_t digits = 0;
    while (digits < n && is_digit(p[digits]))
        digits++;
    if (vr == VR('D', 'A') ? n != 8 || digits != 8 : digits < 4 || digits > 14 || digits & 1)
        return 0;
    for (size_t i = digits; i < n; i++) /* DT: fraction and zone */
        if (!is_digit(p[i]) && p[i] != '.' && p[i] != '+' && p[i] != '-')
            return 0;
    int year = number_of(p, 4), month = digits >= 6 ? number_of(p + 4, 2) : 7, day = digits >= 8 ? number_of(p + 6, 2) : 15;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > 31)
        return 0;
    int days = days_of(year, month, day) + by;
    if (days < 400)
        return 0;
    date_of(days, &year, &month, &day);
    if (year > 9999)
        return 0;
    put_number(out, year, 4);
    if (digits >= 6)
        put_number(out + 4, month, 2);
    if (digits >= 8)
        put_number(out + 6, day, 2);
    size_t kept = digits < 8 ? digits : 8;
    memcpy(out + kept, p + kept, n - kept);
    return n;
}

dicore_status dicore_deid_shift(uint16_t vr, const uint8_t *data, size_t size, int days, uint8_t *out, size_t *out_size)
{
    size_t position = 0, n = 0;
    dicore_span value;
    int first = 1;
    while (dicore_value_split(data, size, &position, &value)) {
        if (!first)
            out[n++] = '\\';
        first = 0;
        if (!value.size)
            continue;
        size_t written = shift_one(vr, value.data, value.size, days, out + n);
        if (!written)
            return DICORE_BAD_ARGUMENT;
        n += written;
    }
    *out_size = n;
    return DICORE_OK;
}

/* ---- words --------------------------------------------------------------------------------------------------------- */

uint64_t dicore_deid_word_hash(const uint8_t *word, size_t size)
{
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        uint8_t c = word[i];
        hash = (hash ^ (c >= 'A' && c <= 'Z' ? c + 32u : c)) * 0x100000001B3u;
    }
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

static int is_word(uint8_t c) { return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

int deid_next_word(const uint8_t *data, size_t size, size_t *position, dicore_span *word)
{
    size_t at = *position;
    while (at < size && !is_word(data[at]))
        at++;
    size_t begin = at;
    while (at < size && is_word(data[at]))
        at++;
    *position = at;
    *word = (dicore_span){data + begin, at - begin};
    return at > begin;
}

static int known_word(const dicore_deidentifier *how, uint64_t hash)
{
    if (!how->word_slots)
        return 0;
    for (size_t slot = (size_t)hash & (how->word_slots - 1); how->words[slot]; slot = (slot + 1) & (how->word_slots - 1))
        if (how->words[slot] == hash)
            return 1;
    return 0;
}

size_t deid_clean(const dicore_deidentifier *how, const uint64_t *forbidden, size_t forbidden_count, const uint8_t *data,
                  size_t size, uint8_t *out)
{
    size_t position = 0, seen = 0, n = 0;
    dicore_span word;
    int between = 0;
    while (deid_next_word(data, size, &position, &word)) {
        for (; seen < (size_t)(word.data - data); seen++) /* values stay values */
            if (data[seen] == '\\') {
                out[n++] = '\\';
                between = 0;
            }
        seen += word.size;
        uint64_t hash = dicore_deid_word_hash(word.data, word.size);
        int allowed = known_word(how, hash);
        for (size_t i = 0; i < forbidden_count && allowed; i++)
            allowed = forbidden[i] != hash;
        if (!allowed)
            continue;
        if (between)
            out[n++] = ' ';
        memcpy(out + n, word.data, word.size);
        n += word.size;
        between = 1;
    }
    while (n && out[n - 1] == '\\')
        n--;
    return n;
}

/* ---- constants ----------------------------------------------------------------------------------------------------- */

dicore_span dicore_deid_dummy(uint16_t vr)
{
    static const uint8_t TEXT[] = "DEIDENTIFIED", AGE[] = "000Y", DATE[] = "19000101", TIME[] = "000000",
                         DATE_TIME[] = "19000101000000", NUMBER[] = "0", LINK[] = "http://deidentified.invalid/",
                         ZEROS[8] = {0};
#define CONSTANT(name) ((dicore_span){name, sizeof(name) - 1})
    switch (vr) {
    case VR('A', 'E'): case VR('C', 'S'): case VR('L', 'O'): case VR('L', 'T'): case VR('P', 'N'): case VR('S', 'H'):
    case VR('S', 'T'): case VR('U', 'C'): case VR('U', 'T'): return CONSTANT(TEXT);
    case VR('A', 'S'): return CONSTANT(AGE);
    case VR('D', 'A'): return CONSTANT(DATE);
    case VR('T', 'M'): return CONSTANT(TIME);
    case VR('D', 'T'): return CONSTANT(DATE_TIME);
    case VR('D', 'S'): case VR('I', 'S'): return CONSTANT(NUMBER);
    case VR('U', 'R'): return CONSTANT(LINK);
    case VR('S', 'S'): case VR('U', 'S'): case VR('O', 'B'): case VR('O', 'W'): case VR('U', 'N'):
        return (dicore_span){ZEROS, 2};
    case VR('A', 'T'): case VR('F', 'L'): case VR('S', 'L'): case VR('U', 'L'): case VR('O', 'F'): case VR('O', 'L'):
        return (dicore_span){ZEROS, 4};
    case VR('F', 'D'): case VR('S', 'V'): case VR('U', 'V'): case VR('O', 'D'): case VR('O', 'V'):
        return (dicore_span){ZEROS, 8};
    default: return (dicore_span){0};
    }
}
