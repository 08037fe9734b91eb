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
    PAD = 64
};

typedef struct context { /* T.87 A.2.1, and what follows from it */
    uint32_t a;
    int32_t u;          /* B + N - 1, which A.6.2 keeps in 0..N - 1: both its tests become signs */
    int16_t c;
    uint16_t n;
    uint8_t k, rest;    /* for the next sample; 63 - k */
    int16_t correction; /* -1 when the next error is mapped the other way round (A.5.2), else 0 */
} context;

typedef struct run_context {
    uint32_t a, n, negative;
} run_context;

typedef struct parameters { /* of a scan; loops have a copy, which their stores cannot change */
    const uint8_t *bits;
    const int8_t *quantised;            /* of a gradient -MAXVAL..MAXVAL, times the size of a context */
    int32_t near, step, range, maximum; /* NEAR, 2 NEAR + 1, RANGE, MAXVAL */
    unsigned quantum, limit, reset;     /* qbpp, LIMIT, RESET */
    unsigned slow;                      /* zeros that only the slow way counts */
    int32_t t1, t2, t3;
} parameters;

typedef struct decoder {
    parameters p;
    uint64_t position, end;
    context contexts[CONTEXTS];
    run_context runs[2];
} decoder;

static const uint8_t J[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* ---- bits ---------------------------------------------------------------------------------------------------------------- */

DICORE_INLINE uint64_t window_at(const uint8_t *bits, uint64_t position)
{
    return load_u64be(bits + (position >> 3)) << (position & 7);
}

DICORE_INLINE uint32_t take_bits(decoder *d, unsigned count) /* 0..16 */
{
    uint64_t window = window_at(d->p.bits, d->position);
    d->position += count;
    return (uint32_t)(window >> 1 >> (63 - count));
}

/* A.5.3: the mapped error behind a code of parameter `k` with LIMIT `limit`; -1 when there is none. */
static __attribute__((noinline)) int32_t golomb(decoder *d, unsigned k, unsigned limit)
{
    unsigned zeros = 0, most = limit - d->p.quantum - 1;
    for (;;) {
        uint64_t window = window_at(d->p.bits, d->position) >> 7;
        if (d->position >= d->end)
            return -1;
        if (window) {
            unsigned here = (unsigned)__builtin_clzll(window) - 7;
            zeros += here;
            d->position += here + 1;
            break;
        }
        zeros += 57;
        d->position += 57;
    }
    uint32_t value = zeros >= most ? take_bits(d, d->p.quantum) + 1 : zeros << k | take_bits(d, k);
    return d->position <= d->end ? (int32_t)value : -1;
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

/* All of 64 bits: nothing overflows whatever the stream says, and nothing has to be widened to be an index. */
DICORE_INLINE int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
DICORE_INLINE int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }

DICORE_INLINE unsigned parameter(uint32_t a, uint32_t n) /* the least k for which n << k is a or more; 31 at most */
{
    int k = __builtin_clz(n) - __builtin_clz(a | 1);
    k = k < 0 ? 0 : k;
    return (unsigned)k + ((uint64_t)n << k < a);
}

/* A.4.5, A.4.4: the prediction corrected by the error, which wraps around. */
DICORE_INLINE int64_t reconstruct(parameters p, int64_t predicted, int64_t error, int exact)
{
    if (exact) /* NEAR 0 and MAXVAL of ones only */
        return (predicted + error) & p.maximum;
    int64_t value = predicted + error * p.step, turn = (int64_t)p.range * p.step;
    value += value < -p.near ? turn : 0;
    value -= value > p.maximum + p.near ? turn : 0;
    return lesser(greater(value, 0), p.maximum);
}

/* A.6 */
DICORE_INLINE void update(parameters p, context *c, int64_t error, int exact)
{
    uint32_t a = c->a + (uint32_t)(error < 0 ? -error : error), n = c->n;
    int64_t u = c->u + (exact ? error : error * p.step);
    if (DICORE_UNLIKELY(n == p.reset)) {
        int64_t b = u - n + 1;
        a >>= 1;
        n >>= 1;
        u = (b >> 1) + n - 1;
    }
    u++; /* with the N before it grows by one; `n` is then N - 1 */
    int64_t low = u >> 63, high = (int64_t)(n - (uint64_t)u) >> 63; /* -1: B <= -N, B > 0 */
    u += ((int64_t)n + 1) & low;
    u -= ((int64_t)n + 1) & high;
    u = lesser(greater(u, 0), n);
    int32_t bias = c->c + (int32_t)low - (int32_t)high;
    if (DICORE_UNLIKELY((uint32_t)(bias + 128) > 255))
        bias = bias < 0 ? -128 : 127;
    n++;
    unsigned k = parameter(a, n);
    c->a = a;
    c->u = (int32_t)u;
    c->c = (int16_t)bias;
    c->n = (uint16_t)n;
    c->k = (uint8_t)k;
    c->rest = (uint8_t)(63 - k);
    if (exact || p.near == 0)
        c->correction = (int16_t)-((k == 0) & (2 * u + 2 <= n)); /* 2 B <= -N */
}

/* A.4 to A.6: a sample among its neighbours, in the context at `q`, which is that of the standard times its size. -1: there
 * is no code. What the value hangs on comes last in each sum. */
DICORE_INLINE int64_t regular(decoder *d, parameters p, uint64_t *position, int64_t q, int64_t ra, int64_t rb, int64_t rc,
                              int exact)
{
    int64_t sign = q >> 63, offset = q < 0 ? -q : q;
    context *c = (context *)(void *)((uint8_t *)d->contexts + offset);
    unsigned k = c->k, rest = c->rest;
    uint64_t window = window_at(p.bits, *position);
    unsigned zeros = (unsigned)__builtin_clzll(window | 1);
    int64_t mapped = (int64_t)((((uint64_t)zeros - 1) << k) + (window << (zeros & 63) >> rest)); /* the 1 stands for 1 << k */
    if (DICORE_UNLIKELY(zeros >= p.slow)) {
        d->position = *position;
        mapped = golomb(d, k, p.limit);
        *position = d->position;
        if (mapped < 0)
            return -1;
    } else {
        *position += zeros + 1 + k;
    }
    int64_t least = lesser(ra, rb), most = greater(ra, rb);
    int64_t predicted = greater(least, lesser(most, ra + rb - rc)) + ((c->c ^ sign) - sign);
    predicted = lesser(greater(predicted, 0), p.maximum);
    int64_t correction = c->correction, turned = correction ^ sign, value;
    if (exact) {
        predicted -= sign;
        value = (((mapped >> 1 ^ turned) ^ -(mapped & 1)) + predicted) & p.maximum;
    } else {
        value = reconstruct(p, predicted, ((mapped >> 1 ^ turned) ^ -(mapped & 1)) - sign, 0);
    }
    update(p, c, (mapped >> 1) ^ -(mapped & 1) ^ correction, exact);
    return value;
}

/* A.7.1: how many samples of the `left` ones in the row repeat the last. -1: the bits end. */
DICORE_INLINE int32_t run_length(decoder *d, uint32_t left, unsigned *index)
{
    uint32_t length = 0;
    for (;;) {
        if (d->position >= d->end)
            return -1;
        uint64_t window = window_at(d->p.bits, d->position);
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

/* A.7.2: the error of the sample that ends a run. INT32_MIN: no code. */
DICORE_INLINE int32_t interruption(decoder *d, unsigned type, unsigned index)
{
    run_context *c = d->runs + type;
    unsigned k = parameter(c->a + (type ? c->n >> 1 : 0), c->n);
    unsigned limit = d->p.limit - J[index] - 1, most = limit - d->p.quantum - 1;
    uint64_t window = window_at(d->p.bits, d->position);
    unsigned zeros = (unsigned)__builtin_clzll(window | 1);
    int32_t mapped;
    if (zeros < SLOW_ZEROS && zeros < most && k <= 16) {
        mapped = (int32_t)(((zeros - 1) << k) + (uint32_t)(window << zeros >> (63 - k)));
        d->position += zeros + 1 + k;
    } else {
        mapped = golomb(d, k, limit);
        if (mapped < 0)
            return INT32_MIN;
    }
    int64_t doubled = (int64_t)mapped + type, odd = doubled & 1, error = (doubled + odd) / 2;
    if ((k != 0 || 2 * c->negative >= c->n) == (odd != 0))
        error = -error;
    c->negative += error < 0;
    c->a += ((uint32_t)mapped + 1 - type) >> 1;
    if (c->n == d->p.reset) {
        c->a >>= 1;
        c->n >>= 1;
        c->negative >>= 1;
    }
    c->n++;
    return (int32_t)error;
}

DICORE_INLINE int64_t away(int64_t from, int64_t to)
{
    return to < from ? -1 : 1;
}

/* The sample that ends a run in context 1 (`type`) or 0. -1: no code. */
DICORE_INLINE int64_t interrupting(decoder *d, parameters p, unsigned type, unsigned index, int64_t ra, int64_t rb, int exact)
{
    int64_t error = interruption(d, type, index);
    if (error == INT32_MIN)
        return -1;
    return type ? reconstruct(p, ra, error, exact) : reconstruct(p, rb, error * away(ra, rb), exact);
}

/* One row of one component. `above` and `row` may be read from -1 to `columns`; `upper` has the context that the row above
 * gives. 0: the bits are no use. */
DICORE_INLINE int row_body(decoder *d, const uint16_t *above, uint16_t *row, const int16_t *upper, int32_t columns,
                           unsigned *index, int exact)
{
    const parameters p = d->p;
    uint64_t position = d->position;
    int64_t ra = row[-1], rc = above[-1];
    for (ptrdiff_t x = 0; x < columns;) {
        int64_t rb = above[x], q = upper[x] + p.quantised[rc - ra];
        if (q != 0) {
            ra = regular(d, p, &position, q, ra, rb, rc, exact);
            if (DICORE_UNLIKELY(ra < 0))
                return 0;
            row[x++] = (uint16_t)ra;
            rc = rb;
            continue;
        }
        d->position = position;
        int32_t length = run_length(d, (uint32_t)(columns - x), index);
        if (length < 0)
            return 0;
        for (ptrdiff_t end = x + length; x < end; x++)
            row[x] = (uint16_t)ra;
        if (x < columns) {
            rb = above[x];
            int64_t gap = ra - rb;
            ra = interrupting(d, p, (gap < 0 ? -gap : gap) <= p.near, *index, ra, rb, exact);
            if (ra < 0)
                return 0;
            row[x++] = (uint16_t)ra;
            rc = rb;
            if (*index)
                --*index;
        }
        position = d->position;
    }
    d->position = position;
    return 1;
}

/* One row of `count` components, sample by sample (ILV 2): a run is one of all of them. A component that is flat where
 * another is not has context 0. */
DICORE_INLINE int pixels_body(decoder *d, uint16_t *const *above, uint16_t *const *row, int16_t *const *upper, unsigned count,
                              int32_t columns, unsigned *index, int exact)
{
    const parameters p = d->p;
    uint64_t position = d->position;
    for (ptrdiff_t x = 0; x < columns;) {
        int64_t q[4], any = 0;
        for (unsigned i = 0; i < count; i++)
            any |= q[i] = upper[i][x] + p.quantised[above[i][x - 1] - row[i][x - 1]];
        if (any) {
            for (unsigned i = 0; i < count; i++) {
                int64_t value = regular(d, p, &position, q[i], row[i][x - 1], above[i][x], above[i][x - 1], exact);
                if (DICORE_UNLIKELY(value < 0))
                    return 0;
                row[i][x] = (uint16_t)value;
            }
            x++;
            continue;
        }
        d->position = position;
        int32_t length = run_length(d, (uint32_t)(columns - x), index);
        if (length < 0)
            return 0;
        for (unsigned i = 0; i < count; i++)
            for (ptrdiff_t j = x; j < x + length; j++)
                row[i][j] = row[i][x - 1];
        x += length;
        if (x < columns) {
            for (unsigned i = 0; i < count; i++) {
                int64_t value = interrupting(d, p, 0, *index, row[i][x - 1], above[i][x], exact);
                if (value < 0)
                    return 0;
                row[i][x] = (uint16_t)value;
            }
            x++;
            if (*index)
                --*index;
        }
        position = d->position;
    }
    d->position = position;
    return 1;
}

/* 81 Q1 + 9 Q2 for every sample of a row (A.3.3, A.3.4), times the size of a context: what the row above says of it. */
DICORE_INLINE void quantise_body(const uint16_t *above, int16_t *upper, size_t columns, parameters p)
{
    for (size_t x = 0; x < columns; x++) {
        int32_t q1 = above[x + 1] - above[x], q2 = above[x] - above[(ptrdiff_t)x - 1];
        int32_t first = (q1 > p.near) + (q1 >= p.t1) + (q1 >= p.t2) + (q1 >= p.t3) - (q1 < -p.near) - (q1 <= -p.t1) -
                        (q1 <= -p.t2) - (q1 <= -p.t3);
        int32_t second = (q2 > p.near) + (q2 >= p.t1) + (q2 >= p.t2) + (q2 >= p.t3) - (q2 < -p.near) - (q2 <= -p.t1) -
                         (q2 <= -p.t2) - (q2 <= -p.t3);
        upper[x] = (int16_t)((81 * first + 9 * second) * (int32_t)sizeof(context));
    }
}

/* A row of `count` components: sample by sample, or of one. */
DICORE_INLINE int decode_row_body(decoder *d, uint16_t *const *above, uint16_t *const *row, int16_t *const *upper,
                                  unsigned count, int32_t columns, unsigned *index)
{
    int exact = d->p.near == 0 && (d->p.maximum & (d->p.maximum + 1)) == 0;
    for (unsigned i = 0; i < count; i++)
        quantise_body(above[i], upper[i], (size_t)columns, d->p);
    if (count == 1)
        return exact ? row_body(d, *above, *row, *upper, columns, index, 1) : row_body(d, *above, *row, *upper, columns, index, 0);
    if (count == 3)
        return exact ? pixels_body(d, above, row, upper, 3, columns, index, 1)
                     : pixels_body(d, above, row, upper, 3, columns, index, 0);
    return pixels_body(d, above, row, upper, count, columns, index, exact);
}

static int decode_row_plain(decoder *d, uint16_t *const *above, uint16_t *const *row, int16_t *const *upper, unsigned count,
                            int32_t columns, unsigned *index)
{
    return decode_row_body(d, above, row, upper, count, columns, index);
}

#if DICORE_X86
DICORE_TARGET_V3 static int decode_row_v3(decoder *d, uint16_t *const *above, uint16_t *const *row, int16_t *const *upper,
                                          unsigned count, int32_t columns, unsigned *index)
{
    return decode_row_body(d, above, row, upper, count, columns, index);
}
#endif

static void begin_interval(decoder *d)
{
    uint32_t a = (uint32_t)greater(2, (d->p.range + 32) >> 6), k = parameter(a, 1); /* A.2.1 */
    context c = {.a = a, .n = 1, .k = (uint8_t)k, .rest = (uint8_t)(63 - k)};
    for (int i = 0; i < CONTEXTS; i++)
        d->contexts[i] = c;
    d->runs[0] = d->runs[1] = (run_context){.a = a, .n = 1};
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

static size_t line_bytes(uint32_t columns)
{
    return aligned(2 * ((size_t)columns + 64));
}

enum { GRADIENTS = 2 * 65536 };

uint64_t dicore_jpeg_ls_scratch(uint64_t size, uint32_t columns, unsigned samples)
{
    if (size > UINT64_MAX / 2)
        return UINT64_MAX;
    return 64 + aligned(sizeof(decoder)) + GRADIENTS + (uint64_t)samples * 4 * line_bytes(columns) + size + 2 * PAD;
}

static int32_t clamped(int32_t value, int32_t least, int32_t most) /* figure C.3 */
{
    return value > most || value < least ? least : value;
}

/* C.2.4.1.1. 0: the parameters contradict each other. */
static int set_parameters(parameters *p, const frame *f, int32_t near, int8_t *gradients)
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
    p->t1 = f->presets[1] ? f->presets[1] : t1;
    p->t2 = f->presets[2] ? f->presets[2] : t2;
    p->t3 = f->presets[3] ? f->presets[3] : t3;
    p->reset = f->presets[4] ? (unsigned)f->presets[4] : 64;
    if (p->t1 < near + 1 || p->t1 > maximum || p->t2 < p->t1 || p->t2 > maximum || p->t3 < p->t2 || p->t3 > maximum ||
        p->reset < 3)
        return 0;
    p->near = near;
    p->step = 2 * near + 1;
    p->maximum = maximum;
    p->range = (maximum + 2 * near) / p->step + 1;
    unsigned bits = 2;
    while ((int32_t)(1u << bits) <= maximum)
        bits++;
    for (p->quantum = 1; (int32_t)(1u << p->quantum) < p->range;)
        p->quantum++;
    p->limit = 2 * (bits + (bits > 8 ? bits : 8));
    unsigned most = p->limit - p->quantum - 1;
    p->slow = most < SLOW_ZEROS ? most : SLOW_ZEROS;
    const int32_t edges[] = {-maximum - 1, -p->t3, -p->t2, -p->t1, -near - 1, near, p->t1 - 1, p->t2 - 1, p->t3 - 1, maximum};
    for (int q = -4; q <= 4; q++) /* Q is q for edges[q + 4] < gradient <= edges[q + 5] */
        if (edges[q + 5] > edges[q + 4])
            memset(gradients + maximum + 1 + edges[q + 4], q * (int)sizeof(context), (size_t)(edges[q + 5] - edges[q + 4]));
    p->quantised = gradients + maximum;
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
    int8_t *gradients = (int8_t *)memory + aligned(sizeof *d);
    if (!set_parameters(&d->p, f, head[1 + 2 * count], gradients))
        return 0;
    int (*decode_row)(decoder *, uint16_t *const *, uint16_t *const *, int16_t *const *, unsigned, int32_t, unsigned *) =
        decode_row_plain;
#if DICORE_X86
    if ((dicore_cpu_features() & (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)) == (DICORE_CPU_AVX2 | DICORE_CPU_BMI2))
        decode_row = decode_row_v3;
#endif

    const int32_t columns = (int32_t)raster->columns;
    const size_t stride = line_bytes(raster->columns) / 2;
    uint16_t *lines = (uint16_t *)(void *)(gradients + GRADIENTS), *above[4], *row[4];
    int16_t *upper[4];
    uint16_t *woven = lines + 3 * stride * count;
    uint8_t *bits = (uint8_t *)(lines + 4 * stride * count);
    for (unsigned i = 0; i < count; i++) {
        above[i] = lines + (3 * i) * stride + 16;
        row[i] = lines + (3 * i + 1) * stride + 16;
        upper[i] = (int16_t *)(void *)(lines + (3 * i + 2) * stride);
    }
    d->p.bits = bits;
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
        d->position = 0;
        begin_interval(d);
        unsigned index[4] = {0};
        for (unsigned i = 0; i < count; i++)
            memset(lines + 3 * i * stride, 0, 4 * stride); /* both lines, all around */
        uint32_t stop = raster->rows - y < interval ? raster->rows : y + interval;
        for (; y < stop; y++) {
            for (unsigned i = 0; i < count; i++) { /* A.2.1: what lies beside the row */
                above[i][columns] = above[i][columns - 1];
                row[i][-1] = above[i][0];
            }
            if (interleave == 2) {
                if (!decode_row(d, above, row, upper, count, columns, index))
                    return 0;
            } else {
                for (unsigned i = 0; i < count; i++)
                    if (!decode_row(d, above + i, row + i, upper + i, 1, columns, index + i))
                        return 0;
            }
            if (d->position > d->end)
                return 0;
            if (count == 1) {
                dicore_raster_put(raster, y, first, 1, row[0], 0);
            } else {
                for (unsigned i = 0; i < count; i++)
                    for (size_t x = 0; x < raster->columns; x++)
                        woven[x * count + i] = row[i][x];
                dicore_raster_put(raster, y, first, count, woven, 0);
            }
            for (unsigned i = 0; i < count; i++) {
                uint16_t *swap = above[i];
                above[i] = row[i];
                row[i] = swap;
            }
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
        size_t begin = at;
        while (at < size && source[at] == 0xFF)
            at++;
        if (at == begin || at >= size)
            return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
        unsigned marker = source[at++];
        if (marker == JPEG_SOI || marker == JPEG_EOI || marker < 2 || (marker & 0xF8) == JPEG_RST0 || size - at < 2)
            return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
        size_t length = load_u16be(source + at);
        if (length < 2 || length > size - at)
            return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
        const uint8_t *body = source + at + 2;
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
