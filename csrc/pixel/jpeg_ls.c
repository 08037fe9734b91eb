/* JPEG-LS (ITU T.87): decoder, lossless and near-lossless.
 *
 * Each sample hangs on the one before it: its value chooses a context, the context says how many bits follow, they give
 * the next value: some 25 cycles. So everything else is taken off that chain. The bits are unstuffed beforehand and read at
 * a position; the two gradients that lie in the row above are quantised for the whole row at once; a context holds the
 * Golomb parameter and the correction of the error's sign that its next sample will need, computed when it was last
 * updated; its update has no branches but the one for RESET.
 *
 * Behind the bits are zeros. A code needs a 1, so none is read there: what looks like 40 zeros or more goes the slow way,
 * and that way looks for the end. */
#include "base/cpu.h"
#include "base/load.h"
#include "pixel/jpeg.h"
#include "pixel/raster.h"

#include <string.h>

enum {
    SOF55 = 0xF7,
    LSE = 0xF8,
    CONTEXTS = 365,
    SLOW_ZEROS = 40, /* 57 bits are in sight: 40, a 1, and 16 bits for the largest k that makes sense */
    PAD = 64,
    MIDDLE = 65536
};

typedef struct context { /* T.87 A.2.1, and what follows from it */
    uint32_t a;
    int32_t u;         /* B + N - 1, which A.6.2 keeps in 0..N - 1: both its tests become signs */
    uint32_t n;
    int8_t c;
    int8_t correction; /* -1 when the next error is mapped the other way round (A.5.2), else 0 */
    uint8_t k, rest;   /* for the next sample; 63 - k */
} context;

typedef struct run_context {
    uint32_t a, n, negative;
} run_context;

/* One block that begins with this one holds all that a scan needs, so that one register leads everywhere; bits are counted
 * from its beginning. */
typedef struct decoder {
    context contexts[CONTEXTS];
    int32_t near, step, range, maximum; /* NEAR, 2 NEAR + 1, RANGE, MAXVAL */
    int32_t t1, t2, t3;
    unsigned quantum, limit, reset;     /* qbpp, LIMIT, RESET */
    unsigned slow;                      /* zeros that only the slow way counts */
    int failed;                         /* a code was wanted where there is none */
    uint64_t position, end;
    run_context runs[2];
    uint32_t inverse[65];
    int8_t quantised[2 * MIDDLE];       /* of a gradient + MIDDLE, times the size of a context */
} decoder;

static const uint8_t J[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* ---- bits ---------------------------------------------------------------------------------------------------------------- */

DICORE_INLINE uint64_t window_at(const decoder *d, uint64_t position)
{
    return load_u64be((const uint8_t *)d + (position >> 3)) << (position & 7);
}

DICORE_INLINE uint32_t take_bits(decoder *d, unsigned count) /* 0..16 */
{
    uint64_t window = window_at(d, d->position);
    d->position += count;
    return (uint32_t)(window >> 1 >> (63 - count));
}

/* A.5.3: the mapped error behind a code of parameter `k` with LIMIT `limit`. Where there is none, 0, and d->failed. */
static __attribute__((noinline)) uint32_t golomb(decoder *d, unsigned k, unsigned limit)
{
    unsigned zeros = 0, most = limit - d->quantum - 1;
    while (k <= 24) { /* more is beyond all sense, and would not fit */
        uint64_t window = window_at(d, d->position) >> 7;
        if (d->position >= d->end)
            break;
        if (window) {
            unsigned here = (unsigned)__builtin_clzll(window) - 7;
            zeros += here;
            d->position += here + 1;
            uint32_t value = zeros >= most ? take_bits(d, d->quantum) + 1 : zeros << k | take_bits(d, k);
            if (d->position <= d->end)
                return value;
            break;
        }
        zeros += 57;
        d->position += 57;
    }
    d->failed = 1;
    d->position = d->end;
    return 0;
}

/* Copy entropy-coded bytes, without the bit that follows a byte of FF (T.87 C.3: it is 0, or a marker begins), up to a
 * marker, and give where it is. `to` has 16 bytes to spare. */
static size_t unstuff(const uint8_t *source, size_t at, size_t size, uint8_t *to, uint64_t *bits_)
{
    uint64_t held = 0, bits = 0; /* the low `count` bits of held are not yet stored */
    unsigned count = 0;
    int behind = 0; /* the last byte was FF */
    while (at < size) {
        if (!behind && size - at >= 8) {
            uint64_t v = load_u64be(source + at), inverse = ~v;
            if (!((inverse - 0x0101010101010101u) & v & 0x8080808080808080u)) { /* no byte of FF */
                held = held << 56 | v >> 8;
                count += 56;
                uint8_t out[8];
                for (int i = 0; i < 8; i++)
                    out[i] = (uint8_t)(held << (64 - count) >> (56 - 8 * i));
                memcpy(to + (bits >> 3), out, 8);
                bits += count & ~7u;
                count &= 7;
                at += 7;
                continue;
            }
        }
        unsigned byte = source[at], size_of = behind ? 7 : 8;
        if (byte == 0xFF && (size - at < 2 || source[at + 1] >= 0x80))
            break;
        if (behind && byte >= 0x80)
            break;
        held = held << size_of | byte;
        count += size_of;
        behind = byte == 0xFF;
        if (count >= 8) {
            to[bits >> 3] = (uint8_t)(held >> (count - 8));
            bits += 8;
            count -= 8;
        }
        at++;
    }
    to[bits >> 3] = (uint8_t)(count ? held << (8 - count) : 0);
    memset(to + (bits >> 3) + 1, 0, PAD - 1);
    *bits_ = bits + count;
    return at;
}

/* ---- samples ---------------------------------------------------------------------------------------------------------------- */

/* How a scan is decoded. The functions that take one are inlined wherever it is known. */
typedef enum manner {
    EXACT,   /* NEAR 0, MAXVAL of ones only, RESET 64 */
    NEARLY,  /* NEAR not 0, RESET 64 */
    ANYHOW
} manner;

/* All of 64 bits: nothing overflows whatever the stream says, and nothing has to be widened to be an index. */
DICORE_INLINE int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
DICORE_INLINE int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }

DICORE_INLINE unsigned parameter(uint32_t a, uint32_t n) /* the least k for which n << k is a or more; 31 at most */
{
    int k = __builtin_clz(n) - __builtin_clz(a | 1);
    k = k < 0 ? 0 : k;
    return (unsigned)k + ((uint64_t)n << k < a);
}

/* 2^31 / n - 1. k is the number of bits of (a - 1) / n, and a times this has that quotient above its lower 31 bits, as
 * long as a stays below 2^30 / 64: with RESET 64 a sound stream leaves it below 2^22. */
static const uint32_t INVERSE[65] = {
#define I(n) (1u << 31) / (n) - 1u
#define I8(n) I(n), I(n + 1), I(n + 2), I(n + 3), I(n + 4), I(n + 5), I(n + 6), I(n + 7)
    0, I8(1), I8(9), I8(17), I8(25), I8(33), I8(41), I8(49), I8(57)
#undef I
#undef I8
};

/* A.4.5, A.4.4: the prediction corrected by the error, which wraps around. */
DICORE_INLINE int64_t reconstruct(const decoder *d, int64_t predicted, int64_t error, manner how)
{
    if (how == EXACT)
        return (predicted + error) & d->maximum;
    int64_t value = predicted + error * d->step;
    if (DICORE_UNLIKELY((uint64_t)(value + d->near) > (uint64_t)(d->maximum + 2 * d->near)))
        value += (int64_t)d->range * (value < 0 ? d->step : -d->step);
    return lesser(greater(value, 0), d->maximum);
}

/* A.6 */
DICORE_INLINE void update(const decoder *d, context *c, int64_t error, int64_t size, manner how)
{
    uint32_t a = c->a + (uint32_t)size;
    int64_t u = c->u + (how == EXACT ? error : error * d->step), n = c->n;
    if (DICORE_UNLIKELY(n == (how == ANYHOW ? (int64_t)d->reset : 64))) {
        int64_t b = u - n + 1;
        a >>= 1;
        n >>= 1;
        u = (b >> 1) + n - 1;
    }
    u++; /* with the N before it grows by one; `n` is then N - 1 */
    int64_t next = n + 1, by = (u >> 63) - ((n - u) >> 63); /* -1: B <= -N; 1: B > 0 */
    int8_t bias;
    if (DICORE_UNLIKELY(__builtin_add_overflow(c->c, (int8_t)by, &bias)))
        bias = c->c;
    u -= next * by;
    u = lesser(greater(u, 0), n);
    c->a = a;
    c->u = (int32_t)u;
    c->c = bias;
    c->n = (uint32_t)next;
    int64_t k;
    if (how == ANYHOW) {
        k = (int64_t)parameter(a, (uint32_t)next);
        c->rest = (uint8_t)(63 - k);
    } else {
        int64_t clear = __builtin_clzll((uint64_t)a * d->inverse[next] | 1u << 30);
        k = 33 - clear;
        c->rest = (uint8_t)(clear + 30);
    }
    c->k = (uint8_t)k;
    if (how == EXACT || (how == ANYHOW && d->near == 0)) /* A.5.2: k == 0 and 2 B <= -N */
        c->correction = (int8_t)(((2 * u + 1 - next) & (k - 1)) >> 63);
}

/* A.4 to A.6: a sample among its neighbours, in the context at `q`, which is that of the standard times its size. What the
 * value hangs on comes last in each sum. */
DICORE_INLINE int64_t regular(decoder *d, uint64_t *position, int64_t q, int64_t ra, int64_t rb, int64_t rc,
                              manner how)
{
    int64_t sign = q >> 63;
    context *c = (context *)(void *)((uint8_t *)d->contexts + (q < 0 ? -q : q));
    uint64_t k = c->k, window = window_at(d, *position) | 1, zeros = (uint64_t)__builtin_clzll(window);
    int64_t mapped = (int64_t)((zeros - 1) << k) + (int64_t)(window << zeros >> c->rest); /* the 1 stands for 1 << k */
    if (DICORE_UNLIKELY(zeros >= d->slow)) {
        d->position = *position;
        mapped = golomb(d, (unsigned)k, d->limit);
        *position = d->position;
    } else {
        *position += zeros + 1 + k;
    }
    int64_t least = lesser(ra, rb), most = greater(ra, rb);
    int64_t predicted = greater(least, lesser(most, ra + rb - rc)) + ((c->c ^ sign) - sign);
    predicted = lesser(greater(predicted, 0), d->maximum);
    int64_t correction = c->correction, half = mapped >> 1, odd = -(mapped & 1), turned = correction ^ sign, value;
    if (how == EXACT)
        value = ((half ^ turned ^ odd) + (predicted - sign)) & d->maximum;
    else
        value = reconstruct(d, predicted, (half ^ turned ^ odd) - sign, how);
    int64_t error = half ^ odd ^ correction;
    update(d, c, error, error < 0 ? -error : error, how);
    return value;
}

/* A.7.1: how many samples of the `left` ones in the row repeat the last. -1: the bits end. */
DICORE_INLINE int32_t run_length(decoder *d, uint32_t left, unsigned *index)
{
    uint32_t length = 0;
    for (;;) {
        if (d->position >= d->end)
            return -1;
        uint64_t window = window_at(d, d->position);
        unsigned ones = 0;
        for (; window >> 63 && ones < 32; window <<= 1, ones++) {
            uint32_t part = (uint32_t)1 << J[*index];
            if (length + part >= left) { /* the 1 that goes to the end of the row */
                if (length + part == left && *index < 31)
                    ++*index;
                d->position += ones + 1;
                return (int32_t)left;
            }
            length += part;
            if (*index < 31)
                ++*index;
        }
        d->position += ones;
        if (ones < 32)
            break;
    }
    d->position++;
    length += take_bits(d, J[*index]);
    return length < left ? (int32_t)length : -1;
}

/* A.7.2: the error of the sample that ends a run. */
DICORE_INLINE int64_t interruption(decoder *d, unsigned type, unsigned index)
{
    run_context *c = d->runs + type;
    unsigned k = parameter(c->a + (type ? c->n >> 1 : 0), c->n);
    unsigned limit = d->limit - J[index] - 1, most = limit - d->quantum - 1;
    uint64_t window = window_at(d, d->position);
    unsigned zeros = (unsigned)__builtin_clzll(window | 1);
    uint32_t mapped;
    if (zeros < SLOW_ZEROS && zeros < most && k <= 16) {
        mapped = ((zeros - 1) << k) + (uint32_t)(window << zeros >> (63 - k));
        d->position += zeros + 1 + k;
    } else {
        mapped = golomb(d, k, limit);
    }
    int64_t doubled = (int64_t)mapped + type, odd = doubled & 1, error = (doubled + odd) / 2;
    if ((k != 0 || 2 * c->negative >= c->n) == (odd != 0))
        error = -error;
    c->negative += error < 0;
    c->a += (mapped + 1 - type) >> 1;
    if (c->n == d->reset) {
        c->a >>= 1;
        c->n >>= 1;
        c->negative >>= 1;
    }
    c->n++;
    return error;
}

/* The sample that ends a run in context 1 (`type`) or 0. */
DICORE_INLINE int64_t interrupting(decoder *d, unsigned type, unsigned index, int64_t ra, int64_t rb, manner how)
{
    int64_t error = interruption(d, type, index);
    return reconstruct(d, type ? ra : rb, type || rb >= ra ? error : -error, how);
}

/* One row of one component. `above` and `row` may be read from -1 to `columns`; `upper` has the context that the row above
 * gives. 0: the bits are no use. */
DICORE_INLINE int row_body(decoder *d, const uint16_t *above, uint16_t *row, const int16_t *upper, int32_t columns,
                           unsigned *index, manner how)
{
    uint64_t position = d->position;
    int64_t ra = above[0], rc = above[-1]; /* A.2.1: Ra beside the row is Rb, and so will be Rc for the next row */
    row[-1] = above[0];
    above += columns;
    row += columns;
    upper += columns;
    for (ptrdiff_t x = -(ptrdiff_t)columns; x;) {
        int64_t rb = above[x], q = upper[x] + (int64_t)d->quantised[MIDDLE + rc - ra];
        if (q != 0) {
            ra = regular(d, &position, q, ra, rb, rc, how);
            row[x++] = (uint16_t)ra;
            rc = rb;
            continue;
        }
        d->position = position;
        int32_t length = run_length(d, (uint32_t)-x, index);
        if (length < 0)
            return 0;
        for (ptrdiff_t end = x + length; x < end; x++)
            row[x] = (uint16_t)ra;
        if (x) {
            rb = above[x];
            int64_t gap = ra - rb;
            ra = interrupting(d, (gap < 0 ? -gap : gap) <= d->near, *index, ra, rb, how);
            row[x++] = (uint16_t)ra;
            rc = rb;
            if (*index)
                --*index;
        }
        position = d->position;
    }
    d->position = position;
    return !d->failed;
}

/* One row of `count` components, sample by sample (ILV 2), over the row above it in `line`: a run is one of all of them. A
 * component that is flat where another is not has context 0. */
DICORE_INLINE int pixels_body(decoder *d, uint16_t *line, const int16_t *upper, unsigned count, int32_t columns,
                              unsigned *index, manner how)
{
    uint64_t position = d->position;
    int64_t ra[4], rc[4];
    for (unsigned i = 0; i < count; i++) {
        ra[i] = line[i];
        rc[i] = line[(ptrdiff_t)i - (ptrdiff_t)count];
        line[(ptrdiff_t)i - (ptrdiff_t)count] = (uint16_t)ra[i];
    }
    for (int32_t x = 0; x < columns;) {
        int64_t q[4], any = 0;
        for (unsigned i = 0; i < count; i++)
            any |= q[i] = upper[i] + (int64_t)d->quantised[MIDDLE + rc[i] - ra[i]];
        if (any) {
            for (unsigned i = 0; i < count; i++) {
                int64_t rb = line[i];
                ra[i] = regular(d, &position, q[i], ra[i], rb, rc[i], how);
                line[i] = (uint16_t)ra[i];
                rc[i] = rb;
            }
            x++;
            line += count;
            upper += count;
            continue;
        }
        d->position = position;
        int32_t length = run_length(d, (uint32_t)(columns - x), index);
        if (length < 0)
            return 0;
        x += length;
        upper += (size_t)length * count;
        for (; length > 0; length--, line += count)
            for (unsigned i = 0; i < count; i++) {
                rc[i] = line[i];
                line[i] = (uint16_t)ra[i];
            }
        if (x < columns) {
            for (unsigned i = 0; i < count; i++) {
                rc[i] = line[i];
                ra[i] = interrupting(d, 0, *index, ra[i], rc[i], how);
                line[i] = (uint16_t)ra[i];
            }
            x++;
            line += count;
            upper += count;
            if (*index)
                --*index;
        }
        position = d->position;
    }
    d->position = position;
    return !d->failed;
}

/* 81 Q1 + 9 Q2 for every sample of a row (A.3.3, A.3.4), times the size of a context: what the row above says of it.
 * Neighbours are `apart` samples from each other. */
DICORE_INLINE void quantise_body(const decoder *d, const uint16_t *above, int16_t *upper, size_t count, ptrdiff_t apart)
{
    const int32_t near = d->near, t1 = d->t1, t2 = d->t2, t3 = d->t3;
    for (size_t x = 0; x < count; x++) {
        int32_t q1 = above[(ptrdiff_t)x + apart] - above[x], q2 = above[x] - above[(ptrdiff_t)x - apart];
        int32_t first = (q1 > near) + (q1 >= t1) + (q1 >= t2) + (q1 >= t3) - (q1 < -near) - (q1 <= -t1) - (q1 <= -t2) -
                        (q1 <= -t3);
        int32_t second = (q2 > near) + (q2 >= t1) + (q2 >= t2) + (q2 >= t3) - (q2 < -near) - (q2 <= -t1) - (q2 <= -t2) -
                         (q2 <= -t3);
        upper[x] = (int16_t)((81 * first + 9 * second) * (int32_t)sizeof(context));
    }
}

/* A row of `count` components, sample by sample. */
typedef int row_decoder(decoder *d, uint16_t **lines, int16_t *upper, unsigned count, int32_t columns, unsigned *index);

#define ONE_ROW(name, attribute, how)                                                                                  \
    attribute static int name(decoder *d, uint16_t **lines, int16_t *upper, unsigned count, int32_t columns,           \
                              unsigned *index)                                                                         \
    {                                                                                                                  \
        uint16_t *above = lines[0], *row = lines[1];                                                                   \
        above[columns] = above[columns - 1];                                                                           \
        quantise_body(d, above, upper, (size_t)columns, (ptrdiff_t)count);                                             \
        lines[0] = row;                                                                                                \
        lines[1] = above;                                                                                              \
        return row_body(d, above, row, upper, columns, index, how);                                                    \
    }
#define PIXEL_ROW(name, attribute, number, how)                                                                        \
    attribute static int name(decoder *d, uint16_t **lines, int16_t *upper, unsigned count, int32_t columns,           \
                              unsigned *index)                                                                         \
    {                                                                                                                  \
        uint16_t *line = lines[0];                                                                                     \
        memcpy(line + (size_t)columns * count, line + ((size_t)columns - 1) * count, 2 * count);                       \
        quantise_body(d, line, upper, (size_t)columns * count, (ptrdiff_t)count);                                      \
        return pixels_body(d, line, upper, number, columns, index, how);                                               \
    }
#define ROWS(level, attribute)                                                                                         \
    ONE_ROW(one_exact_##level, attribute, EXACT)                                                                       \
    ONE_ROW(one_nearly_##level, attribute, NEARLY)                                                                     \
    ONE_ROW(one_anyhow_##level, attribute, ANYHOW)                                                                     \
    PIXEL_ROW(three_exact_##level, attribute, 3, EXACT)                                                                \
    PIXEL_ROW(three_nearly_##level, attribute, 3, NEARLY)                                                              \
    PIXEL_ROW(many_anyhow_##level, attribute, count, ANYHOW)                                                           \
    static row_decoder *const rows_##level[2][3] = {                                                                   \
        {one_exact_##level, one_nearly_##level, one_anyhow_##level},                                                   \
        {three_exact_##level, three_nearly_##level, many_anyhow_##level}};

ROWS(plain, )
#if DICORE_X86
ROWS(v3, DICORE_TARGET_V3)
#endif

static row_decoder *row_decoder_for(const decoder *d, unsigned count)
{
    int ones = (d->maximum & (d->maximum + 1)) == 0;
    manner how = d->near ? NEARLY : EXACT;
    if (d->reset != 64 || count == 2 || count == 4 || (d->near == 0 && !ones))
        how = ANYHOW;
#if DICORE_X86
    if ((dicore_cpu_features() & (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)) == (DICORE_CPU_AVX2 | DICORE_CPU_BMI2))
        return rows_v3[count > 1][how];
#endif
    return rows_plain[count > 1][how];
}

static void begin_interval(decoder *d)
{
    uint32_t a = (uint32_t)greater(2, (d->range + 32) >> 6), k = parameter(a, 1); /* A.2.1 */
    context c = {.a = a, .n = 1, .k = (uint8_t)k, .rest = (uint8_t)(63 - k)};
    for (int i = 0; i < CONTEXTS; i++)
        d->contexts[i] = c;
    d->runs[0] = d->runs[1] = (run_context){.a = a, .n = 1};
    d->failed = 0;
    memcpy(d->inverse, INVERSE, sizeof INVERSE);
}

/* ---- the stream --------------------------------------------------------------------------------------------------------------- */

typedef struct frame {
    unsigned precision, components;
    uint8_t id[4];
    int decoded[4];
    uint32_t restart; /* rows */
    int32_t presets[5]; /* MAXVAL, T1, T2, T3, RESET of LSE; 0: default */
} frame;

static size_t aligned(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

/* A line of `count` components with what lies beside it. */
static size_t line_bytes(uint32_t columns, unsigned count)
{
    return aligned(2 * count * ((size_t)columns + 64));
}

uint64_t dicore_jpeg_ls_scratch(uint64_t size, uint32_t columns, unsigned samples)
{
    if (size > UINT64_MAX / 2)
        return UINT64_MAX;
    return 64 + aligned(sizeof(decoder)) + 3 * (uint64_t)samples * line_bytes(columns, 1) + size + 2 * PAD;
}

static int32_t clamped(int32_t value, int32_t least, int32_t most) /* figure C.3 */
{
    return value > most || value < least ? least : value;
}

/* C.2.4.1.1. 0: the parameters contradict each other. */
static int set_parameters(decoder *d, const frame *f, int32_t near)
{
    int32_t top = (int32_t)(1u << f->precision) - 1, maximum = f->presets[0] ? f->presets[0] : top, t1, t2, t3;
    if (maximum > top || near > (maximum / 2 < 255 ? maximum / 2 : 255))
        return 0;
    if (maximum >= 128) {
        int32_t factor = ((maximum < 4095 ? maximum : 4095) + 128) / 256;
        t1 = clamped(factor * (3 - 2) + 2 + 3 * near, near + 1, maximum);
        t2 = clamped(factor * (7 - 3) + 3 + 5 * near, t1, maximum);
        t3 = clamped(factor * (21 - 4) + 4 + 7 * near, t2, maximum);
    } else {
        int32_t factor = 256 / (maximum + 1);
        t1 = clamped((int32_t)greater(2, 3 / factor + 3 * near), near + 1, maximum);
        t2 = clamped((int32_t)greater(3, 7 / factor + 5 * near), t1, maximum);
        t3 = clamped((int32_t)greater(4, 21 / factor + 7 * near), t2, maximum);
    }
    d->t1 = f->presets[1] ? f->presets[1] : t1;
    d->t2 = f->presets[2] ? f->presets[2] : t2;
    d->t3 = f->presets[3] ? f->presets[3] : t3;
    d->reset = f->presets[4] ? (unsigned)f->presets[4] : 64;
    if (d->t1 < near + 1 || d->t1 > maximum || d->t2 < d->t1 || d->t2 > maximum || d->t3 < d->t2 || d->t3 > maximum ||
        d->reset < 3)
        return 0;
    d->near = near;
    d->step = 2 * near + 1;
    d->maximum = maximum;
    d->range = (maximum + 2 * near) / d->step + 1;
    unsigned bits = 2;
    while ((int32_t)(1u << bits) <= maximum)
        bits++;
    for (d->quantum = 1; (int32_t)(1u << d->quantum) < d->range;)
        d->quantum++;
    d->limit = 2 * (bits + (bits > 8 ? bits : 8));
    unsigned most = d->limit - d->quantum - 1;
    d->slow = most < SLOW_ZEROS ? most : SLOW_ZEROS;
    const int32_t edges[] = {-maximum - 1, -d->t3, -d->t2, -d->t1, -near - 1, near, d->t1 - 1, d->t2 - 1, d->t3 - 1, maximum};
    for (int q = -4; q <= 4; q++) /* Q is q for edges[q + 4] < gradient <= edges[q + 5] */
        if (edges[q + 5] > edges[q + 4])
            memset(d->quantised + MIDDLE + 1 + edges[q + 4], q * (int)sizeof(context), (size_t)(edges[q + 5] - edges[q + 4]));
    return 1;
}

/* SOS: its header at `at`, then the data. Gives where the marker behind the scan is, or 0 when something is wrong. */
static size_t read_scan(const uint8_t *source, size_t size, size_t at, size_t length, frame *f, const dicore_raster *raster,
                        uint8_t *memory)
{
    const uint8_t *head = source + at;
    unsigned count = length ? head[0] : 0, first = 0;
    if (count < 1 || count > f->components || length != 4 + 2 * (size_t)count)
        return 0;
    while (first < f->components && f->id[first] != head[1])
        first++;
    for (unsigned i = 0; i < count; i++) {
        if (first + i >= f->components || f->id[first + i] != head[1 + 2 * i] || f->decoded[first + i])
            return 0;
        if (head[2 + 2 * i]) /* a mapping table: palettes, which DICOM has elsewhere */
            return 0;
        f->decoded[first + i] = 1;
    }
    unsigned interleave = head[2 + 2 * count];
    if (head[3 + 2 * count] != 0 || (count == 1 ? interleave > 2 : interleave != 1 && interleave != 2))
        return 0;
    decoder *d = (decoder *)(void *)memory;
    if (!set_parameters(d, f, head[1 + 2 * count]))
        return 0;
    const int32_t columns = (int32_t)raster->columns;
    const unsigned woven = interleave == 2 ? count : 1, lines = count / woven;
    row_decoder *decode_row = row_decoder_for(d, woven);
    const size_t stride = line_bytes(raster->columns, woven);
    uint8_t *all = memory + aligned(sizeof *d), *bits = all + 3 * lines * stride;
    uint16_t *line[4][2];
    int16_t *upper[4];
    for (unsigned i = 0; i < lines; i++) {
        line[i][0] = (uint16_t *)(void *)(all + 3 * i * stride) + 32;
        line[i][1] = (uint16_t *)(void *)(all + (3 * i + 1) * stride) + 32;
        upper[i] = (int16_t *)(void *)(all + (3 * i + 2) * stride);
    }
    at += length;
    uint32_t interval = f->restart ? f->restart : raster->rows;
    unsigned marker = 0;
    for (uint32_t y = 0; y < raster->rows;) {
        if (y) {
            size_t mark = at;
            while (mark < size && source[mark] == 0xFF)
                mark++;
            if (mark >= size || mark == at || source[mark] != JPEG_RST0 + (marker++ & 7))
                return 0;
            at = mark + 1;
        }
        at = unstuff(source, at, size, bits, &d->end);
        d->position = 8 * (uint64_t)(bits - memory);
        d->end += d->position;
        begin_interval(d);
        unsigned index[4] = {0};
        for (unsigned i = 0; i < lines; i++)
            memset(all + 3 * i * stride, 0, 2 * stride);
        uint32_t stop = raster->rows - y < interval ? raster->rows : y + interval;
        for (; y < stop; y++)
            for (unsigned i = 0; i < lines; i++) {
                if (!decode_row(d, line[i], upper[i], woven, columns, index + i) || d->position > d->end)
                    return 0;
                dicore_raster_put(raster, y, first + i, woven, line[i][0], 0);
            }
    }
    return at;
}

dicore_status dicore_jpeg_ls_decode(const uint8_t *source, size_t size, const dicore_raster *raster, void *scratch,
                                    size_t scratch_size, dicore_error *error)
{
    const uint32_t pixel_data = 0x7FE00010;
    if (!dicore_raster_valid(raster) || raster->rows > 0xFFFF || raster->columns > 0xFFFF)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, pixel_data);
    if (!scratch || scratch_size < dicore_jpeg_ls_scratch(size, raster->columns, raster->samples))
        return dicore_fail(error, DICORE_NO_MEMORY, 0, pixel_data);
    uint8_t *memory = (uint8_t *)scratch + (64 - ((uintptr_t)scratch & 63)) % 64;
    frame f = {0};
    unsigned done = 0;
    size_t at = 2;
    if (size < 4 || source[0] != 0xFF || source[1] != JPEG_SOI)
        return dicore_fail(error, DICORE_BAD_FRAME, 0, pixel_data);
    while (!f.components || done < f.components) {
        jpeg_segment segment;
        if (!jpeg_next_segment(source, size, &at, &segment))
            return dicore_fail(error, DICORE_BAD_FRAME, segment.begin, pixel_data);
        const unsigned marker = segment.marker;
        const size_t begin = segment.begin, length = segment.length;
        const uint8_t *body = segment.body;
        int sound = 1;
        switch (marker) {
        case LSE:
            if (length < 3 || body[0] != 1) /* mapping tables are refused where they are used, sizes of 32 bits by SOF */
                break;
            sound = length == 13;
            for (int i = 0; sound && i < 5; i++)
                f.presets[i] = load_u16be(body + 1 + 2 * i);
            break;
        case JPEG_DRI: /* C.2.5: 2 to 4 bytes */
            sound = length >= 4 && length <= 6;
            f.restart = 0;
            for (size_t i = 2; sound && i < length; i++)
                f.restart = f.restart << 8 | body[i - 2];
            break;
        case SOF55:
            sound = !f.components && length >= 8 && body[5] == raster->samples && length == 8 + 3u * body[5] &&
                    load_u16be(body + 1) == raster->rows && load_u16be(body + 3) == raster->columns && body[0] >= 2 &&
                    body[0] <= 16;
            if (!sound)
                break;
            if (body[0] > 8 * raster->bytes)
                return dicore_fail(error, DICORE_BAD_ARGUMENT, begin, pixel_data);
            f.precision = body[0];
            f.components = body[5];
            for (unsigned i = 0; i < f.components; i++) {
                f.id[i] = body[6 + 3 * i];
                sound = sound && (f.components == 1 || body[7 + 3 * i] == 0x11);
                for (unsigned j = 0; j < i; j++)
                    sound = sound && f.id[i] != f.id[j];
            }
            break;
        case JPEG_SOS: {
            size_t next = f.components ? read_scan(source, size, at + 2, length - 2, &f, raster, memory) : 0;
            if (!next)
                return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
            done = 0;
            for (unsigned i = 0; i < f.components; i++)
                done += f.decoded[i] != 0;
            at = next;
            continue;
        }
        default: /* APPn, COM: nothing to us. Another SOFn: another process */
            sound = !(marker >= 0xC0 && marker <= 0xCF && marker != JPEG_DHT);
            break;
        }
        if (!sound)
            return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
        at += length;
    }
    return DICORE_OK;
}
