/* JPEG Lossless (ITU T.81 annex H, Huffman): encoder. Two passes over the rows: the first counts the categories of the
 * differences, from which the best table is made (annex K.2); the second looks every difference up in a table of whole
 * codes, extra bits included, and appends it without a branch. */
#include "base/cpu.h"
#include "base/load.h"
#include "pixel/jpeg.h"
#include "pixel/raster.h"

#include <string.h>
#if DICORE_X86
#include <immintrin.h>
#endif

enum {
    CATEGORIES = 17,
    NEAR = 2048, /* differences less than that away from 0 have their whole code in the table: 11 + 16 bits and a length */
    HEADER = 256
};

typedef struct code_table {
    uint8_t counts[17]; /* codes of 1..16 bits */
    uint8_t order[CATEGORIES];
    uint32_t code[CATEGORIES];
    uint8_t length[CATEGORIES];
    uint32_t near[2 * NEAR]; /* code << 5 | length of the difference at index difference + NEAR */
} code_table;

typedef struct source {
    const dicore_raster *raster;
    unsigned precision, predictor;
    size_t width, step;
    uint16_t *line, *above, *differences;
} source;

/* ---- differences ------------------------------------------------------------------------------------------------------- */

/* Row `y` of the raster as differences from table H.1's predictions. Rows are asked for in order. */
static void difference_row(source *s, uint32_t y)
{
    const size_t n = s->width, c = s->step;
    uint16_t *swap = s->line, *d = s->differences;
    s->line = s->above;
    s->above = swap;
    dicore_raster_get(s->raster, y, s->line, s->precision);
    const uint16_t *x = s->line, *b = s->above;
    for (size_t i = 0; i < c; i++)
        d[i] = (uint16_t)(x[i] - (y ? b[i] : 1u << (s->precision - 1)));
    switch (y ? s->predictor : 1) {
    case 1:
        for (size_t i = c; i < n; i++)
            d[i] = (uint16_t)(x[i] - x[i - c]);
        break;
    case 2:
        for (size_t i = c; i < n; i++)
            d[i] = (uint16_t)(x[i] - b[i]);
        break;
    case 3:
        for (size_t i = c; i < n; i++)
            d[i] = (uint16_t)(x[i] - b[i - c]);
        break;
    case 4:
        for (size_t i = c; i < n; i++)
            d[i] = (uint16_t)(x[i] - (x[i - c] + b[i] - b[i - c]));
        break;
    case 5:
        for (size_t i = c; i < n; i++)
            d[i] = (uint16_t)(x[i] - (x[i - c] + ((b[i] - b[i - c]) >> 1)));
        break;
    case 6:
        for (size_t i = c; i < n; i++)
            d[i] = (uint16_t)(x[i] - (b[i] + ((x[i - c] - b[i - c]) >> 1)));
        break;
    default:
        for (size_t i = c; i < n; i++)
            d[i] = (uint16_t)(x[i] - ((x[i - c] + b[i]) >> 1));
        break;
    }
}

DICORE_INLINE unsigned category_of(uint16_t difference) /* table H.2: bits of the absolute value; 16 for 32768 alone */
{
    int value = (int16_t)difference;
    unsigned size = (unsigned)(value < 0 ? -value : value);
    return size ? 32u - (unsigned)__builtin_clz(size) : 0;
}

/* Add the categories of `count` differences to `frequency`. */
static void count_categories(const uint16_t *d, size_t count, uint64_t *frequency)
{
    size_t i = 0;
#if DICORE_X86
    /* above[k]: how many have an absolute value of 2^k or more, which is a compare and a subtraction for 8 at a time */
    __m128i above[15], edge = _mm_set1_epi16(INT16_MIN), edges = _mm_setzero_si128();
    for (int k = 0; k < 15; k++)
        above[k] = _mm_setzero_si128();
    for (; i + 64 <= count; i += 64) { /* at most 65535 * 4 / 64 * 8 = 32760 in any of the 16-bit counters */
        __m128i v[8], any = _mm_setzero_si128();
        for (int j = 0; j < 8; j++) {
            v[j] = _mm_loadu_si128((const __m128i *)(const void *)(d + i + 8 * j));
            edges = _mm_sub_epi16(edges, _mm_cmpeq_epi16(v[j], edge));
            v[j] = _mm_max_epi16(v[j], _mm_sub_epi16(_mm_setzero_si128(), v[j]));
            any = _mm_or_si128(any, v[j]);
        }
        any = _mm_or_si128(any, _mm_srli_si128(any, 8));
        any = _mm_or_si128(any, _mm_srli_si128(any, 4));
        unsigned top = (unsigned)_mm_cvtsi128_si32(any);
        top = (top | top >> 16) & 0x7FFF;
        for (int k = 0; top >> k; k++) {
            __m128i least = _mm_set1_epi16((short)((1 << k) - 1)), sum = above[k];
            for (int j = 0; j < 8; j++)
                sum = _mm_sub_epi16(sum, _mm_cmpgt_epi16(v[j], least));
            above[k] = sum;
        }
    }
    uint64_t more = i;
    uint16_t lane[8];
    for (unsigned k = 0; k < 15; k++) {
        uint64_t here = 0;
        _mm_storeu_si128((__m128i *)(void *)lane, above[k]);
        for (int j = 0; j < 8; j++)
            here += lane[j];
        frequency[k] += more - here;
        more = here;
    }
    frequency[15] += more;
    _mm_storeu_si128((__m128i *)(void *)lane, edges);
    for (int j = 0; j < 8; j++) { /* -32768 is its own negative and was taken for 0 */
        frequency[16] += lane[j];
        frequency[0] -= lane[j];
    }
#endif
    for (; i < count; i++)
        frequency[category_of(d[i])]++;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

/* Annex K.2: the best code for these frequencies, none longer than 16 bits, none of ones only. */
static void make_codes(const uint64_t *frequency, code_table *t)
{
    enum { N = CATEGORIES + 1 }; /* the last is nobody, and gets the code of ones */
    uint64_t weight[N];
    int other[N];
    unsigned size[N] = {0}, bits[2 * N] = {0};
    for (int i = 0; i < N; i++) {
        weight[i] = i < CATEGORIES ? frequency[i] : 1;
        other[i] = -1;
    }
    for (;;) { /* figure K.1 */
        int a = -1, b = -1;
        for (int i = 0; i < N; i++)
            if (weight[i] && (a < 0 || weight[i] <= weight[a]))
                a = i;
        for (int i = 0; i < N; i++)
            if (weight[i] && i != a && (b < 0 || weight[i] <= weight[b]))
                b = i;
        if (b < 0)
            break;
        weight[a] += weight[b];
        weight[b] = 0;
        int end = a;
        for (size[a]++; other[end] >= 0; size[end]++)
            end = other[end];
        other[end] = b;
        for (end = b, size[b]++; other[end] >= 0; size[end]++)
            end = other[end];
    }
    for (int i = 0; i < N; i++)
        bits[size[i]]++;
    bits[0] = 0;
    for (unsigned i = 2 * N - 1; i > 16; i--) /* figure K.3 */
        while (bits[i]) {
            unsigned j = i - 2;
            while (!bits[j])
                j--;
            bits[i] -= 2;
            bits[i - 1]++;
            bits[j + 1] += 2;
            bits[j]--;
        }
    unsigned longest = 16;
    while (!bits[longest])
        longest--;
    bits[longest]--; /* nobody's */
    unsigned placed = 0;
    for (unsigned wanted = 1; wanted < 2 * N; wanted++)
        for (unsigned i = 0; i < CATEGORIES; i++)
            if (size[i] == wanted)
                t->order[placed++] = (uint8_t)i;
    uint32_t code = 0;
    unsigned next = 0;
    for (unsigned length = 1; length <= 16; length++, code <<= 1) {
        t->counts[length] = (uint8_t)bits[length];
        for (unsigned i = 0; i < bits[length]; i++, next++) {
            t->code[t->order[next]] = code++;
            t->length[t->order[next]] = (uint8_t)length;
        }
    }
    for (unsigned category = 0; category < 12; category++) { /* the differences next to 0 */
        if (!frequency[category])
            continue;
        uint32_t length = t->length[category] + category, base = t->code[category] << category;
        if (category == 0) {
            t->near[NEAR] = base << 5 | length;
            continue;
        }
        uint32_t half = 1u << (category - 1);
        for (uint32_t i = 0; i < half; i++) {
            t->near[NEAR - 2 * half + 1 + i] = (base | i) << 5 | length; /* negative: from -(2^n - 1) on */
            t->near[NEAR + half + i] = (base | half | i) << 5 | length;
        }
    }
}

/* ---- bits ------------------------------------------------------------------------------------------------------------------- */

typedef struct writer {
    uint8_t *at;
    uint64_t bits; /* the low `held` are not yet written */
    unsigned held; /* 0..7 between calls */
} writer;

static inline void store_u64be(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, 8);
}

/* Append 1..56 bits; writes 8 bytes at w->at. */
DICORE_INLINE void append(writer *w, uint64_t code, unsigned length)
{
    w->bits = w->bits << length | code;
    w->held += length;
    store_u64be(w->at, w->bits << (64 - w->held));
    w->at += w->held >> 3;
    w->held &= 7;
}

DICORE_INLINE void append_far(writer *w, const code_table *t, uint16_t difference)
{
    unsigned category = category_of(difference), extra = category < 16 ? category : 0;
    int value = (int16_t)difference;
    uint32_t bits = (uint32_t)(value < 0 ? value - 1 : value) & ((1u << extra) - 1);
    append(w, (uint64_t)t->code[category] << extra | bits, t->length[category] + extra);
}

DICORE_INLINE void emit_body(writer *out, const code_table *t, const uint16_t *d, size_t count)
{
    writer w = *out;
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        unsigned a = (uint16_t)(d[i] + NEAR), b = (uint16_t)(d[i + 1] + NEAR), c = (uint16_t)(d[i + 2] + NEAR),
                 e = (uint16_t)(d[i + 3] + NEAR);
        unsigned far = (a - 1u >= 2 * NEAR - 1) | (b - 1u >= 2 * NEAR - 1) | (c - 1u >= 2 * NEAR - 1) | (e - 1u >= 2 * NEAR - 1);
        if (DICORE_UNLIKELY(far)) {
            for (size_t j = 0; j < 4; j++)
                append_far(&w, t, d[i + j]);
            continue;
        }
        uint32_t p = t->near[a], q = t->near[b], r = t->near[c], s = t->near[e];
        unsigned ql = q & 31, sl = s & 31, first = (p & 31) + ql, second = (r & 31) + sl;
        uint64_t left = (uint64_t)(p >> 5) << ql | q >> 5, right = (uint64_t)(r >> 5) << sl | s >> 5;
        if (first + second <= 56) {
            append(&w, left << second | right, first + second);
        } else {
            append(&w, left, first);
            append(&w, right, second);
        }
    }
    for (; i < count; i++)
        append_far(&w, t, d[i]);
    *out = w;
}

static void emit_plain(writer *w, const code_table *t, const uint16_t *d, size_t count)
{
    emit_body(w, t, d, count);
}

#if DICORE_X86
DICORE_TARGET_V3 static void emit_v3(writer *w, const code_table *t, const uint16_t *d, size_t count)
{
    emit_body(w, t, d, count);
}
#endif

/* Copy bytes and put a 0 behind every FF (F.1.2.3). `to` has room for 2 * size + 16. */
static size_t stuff(const uint8_t *from, size_t size, uint8_t *to)
{
    size_t at = 0, n = 0;
#if DICORE_X86
    const __m128i ff = _mm_set1_epi8(-1);
    while (size - at >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(from + at));
        unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, ff));
        _mm_storeu_si128((__m128i *)(void *)(to + n), v);
        if (!found) {
            at += 16;
            n += 16;
            continue;
        }
        unsigned part = (unsigned)__builtin_ctz(found) + 1;
        at += part;
        n += part;
        to[n++] = 0;
    }
#endif
    for (; at < size; at++) {
        to[n++] = from[at];
        if (from[at] == 0xFF)
            to[n++] = 0;
    }
    return n;
}

/* ---- the stream --------------------------------------------------------------------------------------------------------------- */

static size_t aligned(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

static size_t line_bytes(uint32_t columns, unsigned samples)
{
    return aligned((size_t)columns * samples * 2 + 64);
}

static size_t row_room(uint32_t columns, unsigned samples) /* 31 bits a sample, and what an 8-byte store touches */
{
    return aligned((size_t)columns * samples * 4 + 64);
}

uint64_t dicore_jpeg_lossless_bound(uint32_t rows, uint32_t columns, unsigned samples)
{
    /* with a code of 17 words no longer than 5 bits on average, 15 extra bits, and every byte stuffed */
    return (uint64_t)rows * columns * samples * 5 + HEADER + 2 * (uint64_t)row_room(columns, samples);
}

uint64_t dicore_jpeg_lossless_encode_scratch(uint32_t rows, uint32_t columns, unsigned samples)
{
    (void)rows;
    return aligned(sizeof(code_table)) + 3 * line_bytes(columns, samples) + row_room(columns, samples) + 64;
}

static uint8_t *put_header(uint8_t *at, const source *s, const code_table *t)
{
    const dicore_raster *r = s->raster;
    unsigned total = 0;
    *at++ = 0xFF, *at++ = JPEG_SOI;
    *at++ = 0xFF, *at++ = JPEG_SOF3;
    store_u16be(at, (uint16_t)(8 + 3 * r->samples));
    at[2] = (uint8_t)s->precision;
    store_u16be(at + 3, (uint16_t)r->rows);
    store_u16be(at + 5, (uint16_t)r->columns);
    at[7] = (uint8_t)r->samples;
    at += 8;
    for (unsigned i = 0; i < r->samples; i++)
        *at++ = (uint8_t)(i + 1), *at++ = 0x11, *at++ = 0;
    for (unsigned i = 1; i <= 16; i++)
        total += t->counts[i];
    *at++ = 0xFF, *at++ = JPEG_DHT;
    store_u16be(at, (uint16_t)(19 + total));
    at[2] = 0;
    memcpy(at + 3, t->counts + 1, 16);
    memcpy(at + 19, t->order, total);
    at += 19 + total;
    *at++ = 0xFF, *at++ = JPEG_SOS;
    store_u16be(at, (uint16_t)(6 + 2 * r->samples));
    at[2] = (uint8_t)r->samples;
    at += 3;
    for (unsigned i = 0; i < r->samples; i++)
        *at++ = (uint8_t)(i + 1), *at++ = 0;
    *at++ = (uint8_t)s->predictor, *at++ = 0, *at++ = 0;
    return at;
}

dicore_status dicore_jpeg_lossless_encode(const dicore_raster *raster, unsigned precision, unsigned predictor,
                                          uint8_t *target, size_t capacity, size_t *written, void *scratch,
                                          size_t scratch_size)
{
    if (!dicore_raster_valid(raster) || raster->rows > 0xFFFF || raster->columns > 0xFFFF || precision < 2 ||
        precision > 16 || predictor < 1 || predictor > 7 || !written)
        return DICORE_BAD_ARGUMENT;
    if (!scratch || scratch_size < dicore_jpeg_lossless_encode_scratch(raster->rows, raster->columns, raster->samples) ||
        capacity < HEADER)
        return DICORE_NO_MEMORY;
    uint8_t *memory = (uint8_t *)scratch + (64 - ((uintptr_t)scratch & 63)) % 64;
    code_table *t = (code_table *)(void *)memory;
    size_t stride = line_bytes(raster->columns, raster->samples);
    uint8_t *lines = memory + aligned(sizeof *t), *row = lines + 3 * stride;
    source s = {.raster = raster, .precision = precision, .predictor = predictor,
                .width = (size_t)raster->columns * raster->samples, .step = raster->samples,
                .line = (uint16_t *)(void *)lines, .above = (uint16_t *)(void *)(lines + stride),
                .differences = (uint16_t *)(void *)(lines + 2 * stride)};
    uint64_t frequency[CATEGORIES] = {0};
    for (uint32_t y = 0; y < raster->rows; y++) {
        difference_row(&s, y);
        count_categories(s.differences, s.width, frequency);
    }
    memset(t->length, 0, sizeof t->length);
    make_codes(frequency, t);

    uint8_t *at = put_header(target, &s, t), *end = target + capacity;
    writer w = {.at = row};
    for (uint32_t y = 0; y < raster->rows; y++) {
        difference_row(&s, y);
#if DICORE_X86
        if ((dicore_cpu_features() & (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)) == (DICORE_CPU_AVX2 | DICORE_CPU_BMI2))
            emit_v3(&w, t, s.differences, s.width);
        else
#endif
            emit_plain(&w, t, s.differences, s.width);
        if (y + 1 == raster->rows && w.held) /* ones to the end of the byte (F.1.2.3) */
            append(&w, (1u << (8 - w.held)) - 1u, 8 - w.held);
        size_t size = (size_t)(w.at - row);
        if ((size_t)(end - at) < 2 * size + 32)
            return DICORE_NO_MEMORY;
        at += stuff(row, size, at);
        w.at = row; /* the bits held are in w.bits */
    }
    *at++ = 0xFF;
    *at++ = JPEG_EOI;
    *written = (size_t)(at - target);
    return DICORE_OK;
}
