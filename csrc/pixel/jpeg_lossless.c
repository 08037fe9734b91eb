/* JPEG Lossless (ITU T.81 annex H, Huffman): decoder.
 *
 * A sample costs one look into a table of 4096 entries that holds, for the next 12 bits, the length of code and extra
 * bits together and the difference itself. What takes longer than 12 bits (some 2 % of a CT) is resolved bit by bit.
 *
 * One stream of bits is a chain: the place of a code is known when the one before it is decoded, 8 to 9 cycles a sample
 * however wide the processor is. So a scan is cut into pieces, and LANES of them are decoded in one loop whose chains the
 * processor overlaps. A piece begins at a bit where most likely no code begins; a Huffman decoder falls into step after
 * some ten codes nevertheless, and that it did is not assumed but seen: every lane notes the bit positions it passes
 * through, and the true chain, coming from the piece before, is followed code by code until it meets one of them. From
 * there on both are the same. A chain that never meets decodes the whole piece, as if there were no lanes. */
#include "pixel/jpeg_lossless.h"

#include "base/cpu.h"
#include "base/load.h"
#include "pixel/jpeg.h"
#include "pixel/raster.h"

#include <string.h>
#if DICORE_X86
#include <immintrin.h>
#endif

enum {
    FAST_BITS = 12,
    LANES = 5,
    SLOTS = 10,          /* pieces in flight: the oldest of them may be slow */
    STEP = 16,           /* codes between two notes of the position */
    SLOT_CODES = 8192,   /* a lane stops there if its piece has more codes */
    PIECE_CODES = 2600,  /* aimed at: long against the 20 to 40 codes of falling into step, short against a frame */
    PENDING = 256,
    PAD = 256            /* zeros behind the bits: lanes look that far beyond the end, at most */
};

/* An entry of the fast table: length of code and extra bits << 16 | difference; or SLOW. */
#define SLOW 0x80000000u
#define INVALID 0x40000000u /* no such code; stands for one bit, so that a lane in the wrong place goes on */

typedef struct table {
    uint32_t fast[1 << FAST_BITS];
    uint32_t limit[17]; /* of codes of up to that many bits, left-aligned in 16 */
    int32_t offset[17]; /* code of that length + offset: index into values */
    uint8_t counts[16];
    uint8_t values[256];
    int defined, built;
} table;

typedef struct slot {
    uint64_t begin;              /* bit where the lane began */
    uint32_t interval;           /* restart interval that it lies in */
    uint32_t count;              /* codes decoded, a multiple of STEP */
    uint32_t first_bad, last_bad; /* codes that were INVALID; UINT32_MAX, 0: none */
    int done;
    uint32_t marks[SLOT_CODES / STEP + 1]; /* position before code STEP * i, from begin */
    uint16_t differences[SLOT_CODES];
} slot;

/* Where differences become samples: rows of the components of one scan. */
typedef struct rows {
    const dicore_raster *raster;
    unsigned first, count;       /* components of the raster */
    unsigned predictor, shift;
    uint16_t initial;            /* 2^(P - Pt - 1): predicts the first sample of an interval (H.1.2.1) */
    uint32_t y, until_restart, restart_rows;
    size_t width, filled;
    uint16_t *differences, *line, *above;
    int v3;
} rows;

typedef struct decoder {
    const uint8_t *bits;         /* without stuffing, PAD zeros behind */
    const uint64_t *ends;        /* byte behind each restart interval */
    uint32_t intervals;
    const table *tables[4];      /* of the components of the scan, in order */
    int one_table;
    rows rows;

    uint32_t interval;           /* the true chain: where it is, and what it still has to give */
    uint64_t position, end;
    uint64_t need;
    unsigned phase;              /* component that comes next */
    unsigned pending;
    uint16_t kept[PENDING];
} decoder;

typedef struct work {
    table tables[4];
    slot slots[SLOTS];
    slot parking;
} work;

/* ---- tables ---------------------------------------------------------------------------------------------------------- */

DICORE_INLINE uint16_t extend(uint64_t bits, unsigned category) /* F.2.2.1 EXTEND, modulo 2^16 */
{
    return (uint16_t)(bits >> (category - 1) ? bits : bits - ((uint64_t)1 << category) + 1);
}

/* Codes, lengths and the fast table of counts and values. 0: these lengths make no prefix code. */
static int build(table *t)
{
    unsigned code = 0, index = 0;
    for (unsigned i = 0; i < 1u << FAST_BITS; i++)
        t->fast[i] = SLOW;
    t->limit[0] = 0;
    for (unsigned length = 1; length <= 16; length++) {
        t->offset[length] = (int32_t)index - (int32_t)code;
        if (code + t->counts[length - 1] > 1u << length)
            return 0;
        for (unsigned i = 0; i < t->counts[length - 1]; i++, code++, index++) {
            unsigned category = t->values[index], extra = category < 16 ? category : 0;
            if (category > 16 || length + extra > FAST_BITS)
                continue;
            unsigned spare = FAST_BITS - length - extra;
            uint32_t *to = t->fast + ((size_t)code << (FAST_BITS - length));
            for (uint32_t bits = 0; bits < 1u << extra; bits++) {
                uint32_t difference = category == 0 ? 0 : category == 16 ? 0x8000u : extend(bits, category);
                uint32_t entry = (length + extra) << 16 | difference;
                for (uint32_t j = 0; j < 1u << spare; j++)
                    *to++ = entry;
            }
        }
        t->limit[length] = code << (16 - length);
        code <<= 1;
    }
    t->built = 1;
    return 1;
}

/* The entry for whatever code `window` begins with, of up to 32 bits with its extra bits. */
static __attribute__((noinline)) uint32_t resolve(const table *t, uint64_t window)
{
    uint32_t top = (uint32_t)(window >> 48);
    unsigned length = 1;
    while (length <= 16 && top >= t->limit[length])
        length++;
    if (length > 16)
        return INVALID | 1u << 16;
    unsigned category = t->values[(int32_t)(top >> (16 - length)) + t->offset[length]];
    if (category > 16)
        return INVALID | 1u << 16;
    if (category == 0)
        return length << 16;
    if (category == 16) /* table H.2: the difference 32768, and no extra bits */
        return length << 16 | 0x8000u;
    return (length + category) << 16 | extend(window << length >> (64 - category), category);
}

DICORE_INLINE uint64_t window_at(const uint8_t *bits, uint64_t position) /* 57 bits of it at least */
{
    return load_u64be(bits + (position >> 3)) << (position & 7);
}

/* ---- differences to samples -------------------------------------------------------------------------------------------- */

/* line[i] = start + d[0] + ... + d[i], modulo 2^16 */
DICORE_INLINE void sum_plain(const uint16_t *d, uint16_t *line, size_t count, uint16_t start)
{
    size_t i = 0;
#if DICORE_X86
    __m128i carry = _mm_set1_epi16((short)start);
    for (; i + 8 <= count; i += 8) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(d + i));
        v = _mm_add_epi16(v, _mm_slli_si128(v, 2));
        v = _mm_add_epi16(v, _mm_slli_si128(v, 4));
        v = _mm_add_epi16(v, _mm_slli_si128(v, 8));
        __m128i whole = _mm_shufflehi_epi16(v, 0xFF);
        whole = _mm_unpackhi_epi64(whole, whole); /* off the chain, which is one addition in 8 samples */
        _mm_storeu_si128((__m128i *)(void *)(line + i), _mm_add_epi16(v, carry));
        carry = _mm_add_epi16(carry, whole);
    }
    start = (uint16_t)_mm_cvtsi128_si32(carry);
#endif
    for (; i < count; i++)
        line[i] = start = (uint16_t)(start + d[i]);
}

#if DICORE_X86
DICORE_TARGET_V3 static void sum_v3(const uint16_t *d, uint16_t *line, size_t count, uint16_t start)
{
    const __m256i last = _mm256_set1_epi16(0x0F0E);
    __m256i carry = _mm256_set1_epi16((short)start);
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(d + i));
        v = _mm256_add_epi16(v, _mm256_slli_si256(v, 2));
        v = _mm256_add_epi16(v, _mm256_slli_si256(v, 4));
        v = _mm256_add_epi16(v, _mm256_slli_si256(v, 8));
        __m256i sums = _mm256_shuffle_epi8(v, last); /* of each half, all over the half */
        __m256i low = _mm256_permute2x128_si256(sums, sums, 0x08); /* 0, sum of the lower half */
        __m256i whole = _mm256_add_epi16(sums, _mm256_permute2x128_si256(sums, sums, 0x01));
        _mm256_storeu_si256((__m256i *)(void *)(line + i), _mm256_add_epi16(_mm256_add_epi16(v, low), carry));
        carry = _mm256_add_epi16(carry, whole);
    }
    start = (uint16_t)_mm256_extract_epi16(carry, 0);
    for (; i < count; i++)
        line[i] = start = (uint16_t)(start + d[i]);
}
#endif

static void sum(const rows *r, const uint16_t *d, size_t count, uint16_t start)
{
#if DICORE_X86
    if (r->v3) {
        sum_v3(d, r->line, count, start);
        return;
    }
#endif
    sum_plain(d, r->line, count, start);
}

/* Table H.1 over one row of `n` samples whose neighbours are `c` apart, in 32-bit arithmetic, kept modulo 2^16. `d` may be
 * changed: it is the row buffer. */
static void undo_row(rows *r, const uint16_t *d)
{
    const size_t n = r->width, c = r->count;
    const uint16_t *b = r->above;
    uint16_t *x = r->line;
    if (r->until_restart == r->restart_rows) { /* the first row of an interval: from the left, whatever the predictor */
        if (c == 1) {
            sum(r, d, n, r->initial);
            return;
        }
        for (size_t i = 0; i < c; i++)
            x[i] = (uint16_t)(r->initial + d[i]);
        for (size_t i = c; i < n; i++)
            x[i] = (uint16_t)(x[i - c] + d[i]);
        return;
    }
    for (size_t i = 0; i < c; i++) /* the first sample of a row: from above */
        x[i] = (uint16_t)(b[i] + d[i]);
    switch (r->predictor) {
    case 1:
        if (c == 1)
            sum(r, d, n, b[0]);
        else
            for (size_t i = c; i < n; i++)
                x[i] = (uint16_t)(x[i - c] + d[i]);
        break;
    case 2:
        for (size_t i = c; i < n; i++)
            x[i] = (uint16_t)(b[i] + d[i]);
        break;
    case 3:
        for (size_t i = c; i < n; i++)
            x[i] = (uint16_t)(b[i - c] + d[i]);
        break;
    case 4:
        if (c == 1) { /* x - b is the sum of the differences */
            sum(r, d, n, 0);
            for (size_t i = 0; i < n; i++)
                x[i] = (uint16_t)(x[i] + b[i]);
        } else {
            for (size_t i = c; i < n; i++)
                x[i] = (uint16_t)(x[i - c] + b[i] - b[i - c] + d[i]);
        }
        break;
    case 5:
        for (size_t i = c; i < n; i++)
            x[i] = (uint16_t)(x[i - c] + ((b[i] - b[i - c]) >> 1) + d[i]);
        break;
    case 6:
        for (size_t i = c; i < n; i++)
            x[i] = (uint16_t)(b[i] + ((x[i - c] - b[i - c]) >> 1) + d[i]);
        break;
    default:
        for (size_t i = c; i < n; i++)
            x[i] = (uint16_t)(((x[i - c] + b[i]) >> 1) + d[i]);
        break;
    }
}

static void finish_row(rows *r, const uint16_t *d)
{
    undo_row(r, d);
    dicore_raster_put(r->raster, r->y++, r->first, r->count, r->line, r->shift);
    uint16_t *line = r->line;
    r->line = r->above;
    r->above = line;
    if (--r->until_restart == 0)
        r->until_restart = r->restart_rows;
}

/* The next `count` differences of the scan; the caller never gives more than it has rows for. */
static void take(rows *r, const uint16_t *d, size_t count)
{
    while (count) {
        if (r->filled == 0 && count >= r->width) {
            finish_row(r, d);
            d += r->width;
            count -= r->width;
            continue;
        }
        size_t part = r->width - r->filled < count ? r->width - r->filled : count;
        memcpy(r->differences + r->filled, d, 2 * part);
        r->filled += part;
        d += part;
        count -= part;
        if (r->filled == r->width) {
            finish_row(r, r->differences);
            r->filled = 0;
        }
    }
}

/* ---- the true chain ------------------------------------------------------------------------------------------------------ */

static void flush(decoder *d)
{
    take(&d->rows, d->kept, d->pending);
    d->pending = 0;
}

static void begin_interval(decoder *d, uint32_t interval)
{
    d->interval = interval;
    if (interval >= d->intervals)
        return;
    uint32_t left = d->rows.raster->rows - interval * d->rows.restart_rows;
    d->position = interval ? 8 * d->ends[interval - 1] : 0;
    d->end = 8 * d->ends[interval];
    d->need = (uint64_t)(left < d->rows.restart_rows ? left : d->rows.restart_rows) * d->rows.width;
    d->phase = 0;
}

static void given(decoder *d, uint64_t count)
{
    d->need -= count;
    if (d->need == 0)
        begin_interval(d, d->interval + 1);
}

/* One code. 0: there is none, or it ends behind the interval. */
static int step(decoder *d)
{
    uint64_t window = window_at(d->bits, d->position);
    const table *t = d->tables[d->phase];
    uint32_t entry = t->fast[window >> (64 - FAST_BITS)];
    if (entry & SLOW)
        entry = resolve(t, window);
    d->position += entry >> 16 & 63;
    if (entry & INVALID || d->position > d->end)
        return 0;
    if (++d->phase == d->rows.count)
        d->phase = 0;
    d->kept[d->pending++] = (uint16_t)entry;
    if (d->pending == PENDING)
        flush(d);
    given(d, 1);
    return 1;
}

/* The rest of an interval. The loop in the middle is the serial decoder where one table serves all components. */
static int finish_interval(decoder *d)
{
    uint32_t interval = d->interval;
    while (d->one_table && d->interval == interval && d->need >= PENDING) {
        const uint32_t *fast = d->tables[0]->fast;
        uint64_t position = d->position;
        uint16_t codes[PENDING];
        flush(d);
        for (size_t i = 0; i < PENDING && position <= d->end; i += 4) {
            uint64_t window = window_at(d->bits, position);
            for (size_t j = 0; j < 4; j++) {
                uint32_t entry = fast[window >> (64 - FAST_BITS)];
                if (DICORE_UNLIKELY(entry & SLOW)) {
                    entry = resolve(d->tables[0], window_at(d->bits, position));
                    if (entry & INVALID)
                        return 0;
                    codes[i + j] = (uint16_t)entry;
                    position += entry >> 16;
                    window = window_at(d->bits, position);
                    continue;
                }
                codes[i + j] = (uint16_t)entry;
                position += entry >> 16;
                window <<= entry >> 16;
            }
        }
        if (position > d->end)
            return 0;
        d->position = position;
        take(&d->rows, codes, PENDING);
        given(d, PENDING); /* the phase does not matter where there is one table */
    }
    while (d->interval == interval)
        if (!step(d))
            return 0;
    return 1;
}

/* ---- lanes ---------------------------------------------------------------------------------------------------------------- */

typedef struct lane {
    uint64_t position, end;
    uint64_t begin;
    uint16_t *out;
    uint32_t *mark;
    slot *slot; /* NULL: parked */
} lane;

static __attribute__((noinline)) uint32_t resolve_in_lane(const table *t, const uint8_t *bits, uint64_t position, lane *l,
                                                          const uint16_t *out)
{
    uint32_t entry = resolve(t, window_at(bits, position));
    if (entry & INVALID) {
        slot *s = l->slot;
        if (s) {
            uint32_t index = (uint32_t)(out - s->differences);
            s->first_bad = index < s->first_bad ? index : s->first_bad;
            s->last_bad = index;
        }
        entry &= ~INVALID;
    }
    return entry;
}

/* STEP codes in every lane, `blocks` times or until one is at its end. Never reads behind the PAD: positions grow by at
 * most 32 * STEP bits between two looks at the ends. */
DICORE_INLINE void run_body(lane *lanes, const uint8_t *bits, const table *t, uint32_t blocks)
{
    const uint32_t *fast = t->fast;
#define EACH(X) X(0) X(1) X(2) X(3) X(4)
#define ENTER(k) uint64_t p##k = lanes[k].position, w##k; uint32_t e##k; uint16_t *o##k = lanes[k].out;
#define LOAD(k) w##k = window_at(bits, p##k);
#define LOOK(k) e##k = fast[w##k >> (64 - FAST_BITS)];
#define MEND(k)                                                                                                        \
    if (e##k & SLOW) {                                                                                                 \
        e##k = resolve_in_lane(t, bits, p##k, lanes + k, o##k + i);                                                    \
        p##k += e##k >> 16;                                                                                            \
        w##k = window_at(bits, p##k);                                                                                  \
        e##k &= 0xFFFF;                                                                                                \
    }
#define TAKE(k) o##k[i] = (uint16_t)e##k; w##k <<= e##k >> 16; p##k += e##k >> 16;
#define NOTE(k) o##k += STEP; *++lanes[k].mark = (uint32_t)(p##k - lanes[k].begin); over |= p##k >= lanes[k].end;
#define LEAVE(k) lanes[k].position = p##k; lanes[k].out = o##k;
#define CODE                                                                                                           \
    EACH(LOOK)                                                                                                         \
    if (DICORE_UNLIKELY((e0 | e1 | e2 | e3 | e4) & SLOW)) {                                                            \
        EACH(MEND)                                                                                                     \
    }                                                                                                                  \
    EACH(TAKE)                                                                                                         \
    i++;
    EACH(ENTER)
    int over = 0;
    do {
        for (unsigned i = 0; i < STEP;) {
            EACH(LOAD)
            CODE CODE CODE CODE
        }
        EACH(NOTE)
    } while (--blocks && !over);
    EACH(LEAVE)
#undef EACH
#undef ENTER
#undef LOAD
#undef LOOK
#undef MEND
#undef TAKE
#undef NOTE
#undef LEAVE
#undef CODE
}

static void run_plain(lane *lanes, const uint8_t *bits, const table *t, uint32_t blocks)
{
    run_body(lanes, bits, t, blocks);
}

#if DICORE_X86
DICORE_TARGET_V3 static void run_v3(lane *lanes, const uint8_t *bits, const table *t, uint32_t blocks)
{
    run_body(lanes, bits, t, blocks);
}
#endif

/* Take from a finished slot what the true chain runs through. 0: the stream is broken. */
static int stitch(decoder *d, const slot *s)
{
    while (d->interval < s->interval)
        if (!finish_interval(d))
            return 0;
    uint32_t last = s->count / STEP, at = 0;
    if (d->interval == s->interval)
        while (last && s->begin + s->marks[last] > d->end)
            last--;
    while (d->interval == s->interval) {
        while (at <= last && s->begin + s->marks[at] < d->position)
            at++;
        if (at > last)
            return 1; /* they did not meet, or the chain is beyond this piece */
        if (s->begin + s->marks[at] == d->position) {
            uint32_t first = at * STEP, stop = last * STEP;
            if (first <= s->first_bad)
                stop = s->first_bad < stop ? s->first_bad / STEP * STEP : stop;
            else if (first <= s->last_bad)
                stop = first;
            uint64_t count = stop - first;
            d->position = s->begin + s->marks[stop / STEP];
            if (count > d->need)
                count = d->need;
            if (count) {
                flush(d);
                take(&d->rows, s->differences + first, (size_t)count);
                given(d, count);
            }
            return 1;
        }
        if (!step(d))
            return 0;
    }
    return 1;
}

/* Where the next piece begins and ends: intervals in order, each cut into equal parts. */
typedef struct cutter {
    const uint64_t *ends;
    uint32_t interval, intervals;
    uint64_t part, parts;
    uint64_t piece; /* bits aimed at */
} cutter;

static int next_piece(cutter *c, uint64_t *begin, uint64_t *end, uint32_t *interval)
{
    if (c->interval >= c->intervals)
        return 0;
    uint64_t from = c->interval ? 8 * c->ends[c->interval - 1] : 0, bits = 8 * c->ends[c->interval] - from;
    if (c->part == 0)
        c->parts = bits / c->piece + 1;
    uint64_t share = bits / c->parts;
    *begin = from + c->part * share;
    *end = ++c->part == c->parts ? from + bits : *begin + share;
    *interval = c->interval;
    if (c->part == c->parts) {
        c->part = 0;
        c->interval++;
    }
    return 1;
}

static int decode_in_lanes(decoder *d, work *w, uint64_t piece)
{
    cutter cut = {.ends = d->ends, .intervals = d->intervals, .piece = piece};
    lane lanes[LANES];
    uint64_t started = 0, stitched = 0; /* pieces; piece n is in slot n % SLOTS */
    int more = 1;
    for (int k = 0; k < LANES; k++)
        lanes[k].slot = NULL;
    for (;;) {
        uint32_t blocks = SLOT_CODES / STEP;
        int busy = 0;
        for (int k = 0; k < LANES; k++) {
            lane *l = lanes + k;
            if (!l->slot && more && started - stitched < SLOTS) {
                slot *s = w->slots + started % SLOTS;
                more = next_piece(&cut, &s->begin, &l->end, &s->interval);
                if (more) {
                    started++;
                    s->done = 0;
                    s->first_bad = UINT32_MAX;
                    s->last_bad = 0;
                    s->marks[0] = 0;
                    *l = (lane){s->begin, l->end, s->begin, s->differences, s->marks, s};
                }
            }
            if (!l->slot) /* decodes something for nobody */
                *l = (lane){0, UINT64_MAX, 0, w->parking.differences, w->parking.marks, NULL};
            else
                busy = 1;
        }
        if (!busy)
            break;
        for (int k = 0; k < LANES; k++) {
            const slot *s = lanes[k].slot ? lanes[k].slot : &w->parking;
            uint32_t room = (SLOT_CODES - (uint32_t)(lanes[k].out - s->differences)) / STEP;
            blocks = room < blocks ? room : blocks;
            if (!lanes[k].slot) { /* not beyond the end either, which may be near */
                uint64_t safe = 8 * d->ends[d->intervals - 1] / (32 * STEP) + 1;
                blocks = safe < blocks ? (uint32_t)safe : blocks;
            }
        }
#if DICORE_X86
        if (d->rows.v3)
            run_v3(lanes, d->bits, d->tables[0], blocks);
        else
#endif
            run_plain(lanes, d->bits, d->tables[0], blocks);
        for (int k = 0; k < LANES; k++) {
            slot *s = lanes[k].slot;
            if (!s)
                continue;
            s->count = (uint32_t)(lanes[k].out - s->differences);
            if (lanes[k].position >= lanes[k].end || s->count == SLOT_CODES) {
                s->done = 1;
                lanes[k].slot = NULL;
            }
        }
        while (stitched < started && w->slots[stitched % SLOTS].done) {
            if (!stitch(d, w->slots + stitched % SLOTS))
                return 0;
            stitched++;
        }
        if (d->interval >= d->intervals)
            break; /* what lies behind the last sample is of no interest */
    }
    while (d->interval < d->intervals)
        if (!finish_interval(d))
            return 0;
    return 1;
}

/* ---- markers ----------------------------------------------------------------------------------------------------------------- */

/* Copy entropy-coded bytes without their stuffing (F.1.2.3) up to a marker, and give where it is. `to` has 16 bytes to spare. */
static size_t unstuff(const uint8_t *source, size_t at, size_t size, uint8_t *to, uint64_t *written)
{
    uint64_t n = *written;
    while (at < size) {
#if DICORE_X86
        const __m128i ff = _mm_set1_epi8(-1);
        while (size - at >= 16) {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(source + at));
            unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, ff));
            _mm_storeu_si128((__m128i *)(void *)(to + n), v);
            unsigned part = found ? (unsigned)__builtin_ctz(found) : 16;
            at += part;
            n += part;
            if (found)
                break;
        }
#endif
        while (at < size && source[at] != 0xFF)
            to[n++] = source[at++];
        if (size - at < 2 || source[at + 1] != 0)
            break;
        to[n++] = 0xFF;
        at += 2;
    }
    *written = n;
    return at;
}

static size_t aligned(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

static uint64_t line_bytes(uint32_t columns, unsigned samples)
{
    return aligned((size_t)columns * samples * 2 + 64);
}

uint64_t dicore_jpeg_lossless_scratch(uint64_t size, uint32_t rows_, uint32_t columns, unsigned samples)
{
    if (size > UINT64_MAX / 2)
        return UINT64_MAX;
    return aligned(sizeof(work)) + 3 * line_bytes(columns, samples) + aligned(8 * (size_t)rows_) + size + PAD + 128;
}

typedef struct frame {
    unsigned precision, components;
    uint8_t id[4];
    int decoded[4];
    uint32_t restart; /* MCUs */
    int no_height;    /* the frame header has 0 lines: DNL behind the first scan tells (B.2.5) */
} frame;

static int read_tables(const uint8_t *body, size_t size, table *tables)
{
    while (size) {
        if (size < 17)
            return 0;
        unsigned total = 0, target = body[0];
        for (unsigned i = 1; i <= 16; i++)
            total += body[i];
        if (total > 256 || size - 17 < total || (target & 15) > 3 || target >> 4 > 1)
            return 0;
        if (target < 4) { /* class 1 is for AC coefficients, which do not exist here */
            table *t = tables + target;
            memcpy(t->counts, body + 1, 16);
            memset(t->values, 0xFF, sizeof t->values);
            memcpy(t->values, body + 17, total);
            t->defined = 1;
            t->built = 0;
        }
        body += 17 + total;
        size -= 17 + total;
    }
    return 1;
}

/* SOS: its header at `at`, then the data. Gives where the marker behind the scan is, or 0 when something is wrong. */
static size_t read_scan(const uint8_t *source, size_t size, size_t at, size_t length, frame *f, const dicore_raster *raster,
                        work *w, uint16_t *lines, uint64_t *ends, uint8_t *bits, dicore_lanes lanes)
{
    const uint8_t *head = source + at;
    unsigned count = length ? head[0] : 0;
    if (count < 1 || count > f->components || length != 4 + 2 * (size_t)count)
        return 0;
    decoder d = {.bits = bits, .ends = ends, .one_table = 1};
    unsigned first = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned component = i ? first + i : 0;
        if (i == 0) {
            while (component < f->components && f->id[component] != head[1])
                component++;
            first = component;
        }
        /* components of a scan stand in the order of the frame header (B.2.3), each is coded once */
        if (component >= f->components || f->id[component] != head[1 + 2 * i] || f->decoded[component])
            return 0;
        unsigned selected = head[2 + 2 * i] >> 4;
        if (selected > 3 || !w->tables[selected].defined)
            return 0;
        table *t = w->tables + selected;
        if (!t->built && !build(t))
            return 0;
        d.tables[i] = t;
        if (t != d.tables[0] && (memcmp(t->counts, d.tables[0]->counts, sizeof t->counts) != 0 ||
                                 memcmp(t->values, d.tables[0]->values, sizeof t->values) != 0))
            d.one_table = 0;
        f->decoded[component] = 1;
    }
    unsigned predictor = head[1 + 2 * count], shift = head[3 + 2 * count] & 15;
    if (predictor < 1 || predictor > 7 || shift >= f->precision)
        return 0;
    uint32_t restart_rows = raster->rows;
    if (f->restart) {
        if (f->restart % raster->columns) /* H.1.1: whole rows */
            return 0;
        restart_rows = f->restart / raster->columns;
        restart_rows = restart_rows < raster->rows ? restart_rows : raster->rows;
    }
    size_t stride = (size_t)line_bytes(raster->columns, raster->samples) / 2;
    d.rows = (rows){.raster = raster, .first = first, .count = count, .predictor = predictor, .shift = shift,
                    .initial = (uint16_t)(1u << (f->precision - shift - 1)), .until_restart = restart_rows,
                    .restart_rows = restart_rows, .width = (size_t)raster->columns * count, .differences = lines,
                    .line = lines + stride, .above = lines + 2 * stride,
                    .v3 = (dicore_cpu_features() & (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)) ==
                          (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)};

    uint64_t written = 0;
    uint32_t wanted = (raster->rows - 1) / restart_rows + 1;
    at += length;
    for (;;) {
        at = unstuff(source, at, size, bits, &written);
        ends[d.intervals++] = written;
        if (d.intervals == wanted)
            break;
        size_t mark = at;
        while (mark < size && source[mark] == 0xFF)
            mark++;
        if (mark >= size || mark == at || source[mark] != JPEG_RST0 + ((d.intervals - 1) & 7))
            return 0;
        at = mark + 1;
    }
    memset(bits + written, 0, PAD);

    begin_interval(&d, 0);
    uint64_t codes = (uint64_t)raster->rows * d.rows.width, piece = 8 * written / codes * PIECE_CODES;
    piece = 8 * written < codes * 64 ? 8 * written * PIECE_CODES / codes : piece;
    int sound = 1;
    if (d.one_table && lanes != DICORE_LANES_ONE && written && (lanes == DICORE_LANES_MANY || codes >= 6 * PIECE_CODES))
        sound = decode_in_lanes(&d, w, lanes == DICORE_LANES_MANY ? 512 : piece < 1024 ? 1024 : piece);
    else
        while (sound && d.interval < d.intervals)
            sound = finish_interval(&d);
    if (sound)
        flush(&d);
    return sound ? at : 0;
}

dicore_status dicore_jpeg_lossless_decode_lanes(const uint8_t *source, size_t size, const dicore_raster *raster,
                                                void *scratch, size_t scratch_size, dicore_lanes lanes, dicore_error *error)
{
    const uint32_t pixel_data = 0x7FE00010;
    if (!dicore_raster_valid(raster) || raster->rows > 0xFFFF || raster->columns > 0xFFFF)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, pixel_data);
    if (!scratch || scratch_size < dicore_jpeg_lossless_scratch(size, raster->rows, raster->columns, raster->samples))
        return dicore_fail(error, DICORE_NO_MEMORY, 0, pixel_data);
    uint8_t *memory = (uint8_t *)scratch + (64 - ((uintptr_t)scratch & 63)) % 64;
    work *w = (work *)(void *)memory;
    uint16_t *lines = (uint16_t *)(void *)(memory + aligned(sizeof *w));
    uint64_t *ends = (uint64_t *)(void *)(memory + aligned(sizeof *w) + 3 * line_bytes(raster->columns, raster->samples));
    uint8_t *bits = (uint8_t *)ends + aligned(8 * (size_t)raster->rows);
    for (int i = 0; i < 4; i++)
        w->tables[i].defined = 0;

    frame f = {0};
    unsigned done = 0;
    size_t at = 2;
    if (size < 4 || source[0] != 0xFF || source[1] != JPEG_SOI)
        return dicore_fail(error, DICORE_BAD_FRAME, 0, pixel_data);
    while (!f.components || done < f.components || f.no_height) {
        jpeg_segment segment;
        if (!jpeg_next_segment(source, size, &at, &segment))
            return dicore_fail(error, DICORE_BAD_FRAME, segment.begin, pixel_data);
        const unsigned marker = segment.marker;
        const size_t begin = segment.begin, length = segment.length;
        const uint8_t *body = segment.body;
        int sound = 1;
        switch (marker) {
        case JPEG_DHT: sound = read_tables(body, length - 2, w->tables); break;
        case JPEG_DRI:
            sound = length == 4;
            if (sound)
                f.restart = load_u16be(body);
            break;
        case JPEG_DNL:
            sound = done && f.no_height && length == 4 && load_u16be(body) == raster->rows;
            f.no_height = 0;
            break;
        case JPEG_SOF3:
            sound = !f.components && length >= 8 && body[5] == raster->samples && length == 8 + 3u * body[5] &&
                    load_u16be(body + 3) == raster->columns && body[0] >= 2 && body[0] <= 16;
            if (!sound)
                break;
            f.no_height = load_u16be(body + 1) == 0;
            if (!f.no_height && load_u16be(body + 1) != raster->rows)
                return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
            if (body[0] > 8 * raster->bytes)
                return dicore_fail(error, DICORE_BAD_ARGUMENT, begin, pixel_data);
            f.precision = body[0];
            f.components = body[5];
            for (unsigned i = 0; i < f.components; i++) {
                f.id[i] = body[6 + 3 * i];
                unsigned sampling = body[7 + 3 * i]; /* of a single component it means nothing */
                sound = sound && (f.components == 1 || sampling == 0x11);
                for (unsigned j = 0; j < i; j++)
                    sound = sound && f.id[i] != f.id[j];
            }
            break;
        case JPEG_SOS: {
            size_t next = f.components && !(done && f.no_height) ? read_scan(source, size, at + 2, length - 2, &f, raster, w, lines, ends, bits, lanes) : 0;
            if (!next)
                return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
            done = 0;
            for (unsigned i = 0; i < f.components; i++)
                done += f.decoded[i] != 0;
            at = next;
            continue;
        }
        default: /* APPn, COM, DQT: nothing to us. Another SOFn: another process, and never SOF3 after it */
            sound = !(marker >= 0xC0 && marker <= 0xCF);
            break;
        }
        if (!sound)
            return dicore_fail(error, DICORE_BAD_FRAME, begin, pixel_data);
        at += length;
    }
    return DICORE_OK;
}

dicore_status dicore_jpeg_lossless_decode(const uint8_t *source, size_t size, const dicore_raster *raster, void *scratch,
                                          size_t scratch_size, dicore_error *error)
{
    return dicore_jpeg_lossless_decode_lanes(source, size, raster, scratch, scratch_size, DICORE_LANES_AUTO, error);
}
