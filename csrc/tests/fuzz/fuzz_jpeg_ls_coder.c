/* The JPEG-LS decoder against a slow coder written from T.87 annex A, sample by sample and without a thought for speed: an
 * image and the parameters of a scan are made of the input, coded, and decoded; what comes out must be what the coder says
 * a decoder makes of it. Every input gives a sound stream, so all of them reach deep.
 *
 * Input: precision, NEAR, flags, T1, T2, T3, RESET, MAXVAL (2), restart rows, columns, rows; then a byte a sample. */
#include "dicore/pixel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 40, COMPONENTS = 4, LARGEST = 1 << 20 };
static const int J[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15};

typedef struct coder {
    int maximum, near, t1, t2, t3, reset; /* of the scan */
    int step, range, quantum, limit;
    int a[367], b[365], c[365], n[367], negative[2];
    int index[COMPONENTS];
    uint8_t *out;
    size_t size;
    unsigned bit; /* how many are free in the last byte */
} coder;

static int image[COMPONENTS][MOST][MOST];            /* what is coded */
static int made[COMPONENTS][MOST + 1][MOST + 2];     /* the reconstruction, a row above and a column at either side */
static uint8_t stream[LARGEST];

static void put(coder *s, unsigned value, int count)
{
    while (count-- > 0) {
        if (s->bit == 0) {
            if (s->size + 1 >= LARGEST)
                abort();
            s->bit = s->size && s->out[s->size - 1] == 0xFF ? 7 : 8; /* C.3 */
            s->out[s->size++] = 0;
        }
        s->bit--;
        s->out[s->size - 1] |= (uint8_t)((count < 32 ? value >> count & 1 : 0) << s->bit);
    }
}

static void finish(coder *s)
{
    s->bit = 0;
    if (s->out[s->size - 1] == 0xFF)
        s->out[s->size++] = 0;
}

static void golomb(coder *s, int value, int k, int limit)
{
    int high = value >> k;
    if (high < limit - s->quantum - 1) {
        put(s, 1, high + 1);
        put(s, (unsigned)value, k);
    } else {
        put(s, 1, limit - s->quantum);
        put(s, (unsigned)value - 1, s->quantum);
    }
}

static int parameter(int a, int n)
{
    int k = 0;
    while (n << k < a)
        k++;
    return k;
}

static int level(const coder *s, int d)
{
    int q = abs(d) <= s->near ? 0 : abs(d) < s->t1 ? 1 : abs(d) < s->t2 ? 2 : abs(d) < s->t3 ? 3 : 4;
    return d < 0 ? -q : q;
}

static int held(int v, int least, int most) { return v < least ? least : v > most ? most : v; }

static int quantised(const coder *s, int error) /* A.4.4, A.4.5 */
{
    error = error > 0 ? (error + s->near) / s->step : -((s->near - error) / s->step);
    if (error < 0)
        error += s->range;
    return error >= (s->range + 1) / 2 ? error - s->range : error;
}

static int rebuilt(const coder *s, int value)
{
    if (value < -s->near)
        value += s->range * s->step;
    else if (value > s->maximum + s->near)
        value -= s->range * s->step;
    return held(value, 0, s->maximum);
}

static int context(const coder *s, int component, int y, int x)
{
    const int *up = made[component][y], *row = made[component][y + 1];
    return 81 * level(s, up[x + 1] - up[x]) + 9 * level(s, up[x] - up[x - 1]) + level(s, up[x - 1] - row[x - 1]);
}

static void regular(coder *s, int component, int y, int x)
{
    int *up = made[component][y], *row = made[component][y + 1];
    int ra = row[x - 1], rb = up[x], rc = up[x - 1], q = context(s, component, y, x), sign = q < 0 ? -1 : 1;
    int least = ra < rb ? ra : rb, most = ra < rb ? rb : ra;
    int guess = rc >= most ? least : rc <= least ? most : ra + rb - rc;
    q = abs(q);
    guess = held(guess + sign * s->c[q], 0, s->maximum);
    int error = quantised(s, sign * (image[component][y][x - 1] - guess)), k = parameter(s->a[q], s->n[q]);
    row[x] = rebuilt(s, guess + sign * error * s->step);
    int other = s->near == 0 && k == 0 && 2 * s->b[q] <= -s->n[q];
    golomb(s, other ? (error >= 0 ? 2 * error + 1 : -2 * (error + 1)) : error >= 0 ? 2 * error : -2 * error - 1, k, s->limit);
    s->b[q] += error * s->step;
    s->a[q] += abs(error);
    if (s->n[q] == s->reset) {
        s->a[q] >>= 1;
        s->b[q] = s->b[q] >= 0 ? s->b[q] >> 1 : -((1 - s->b[q]) >> 1); /* A.12: as code segment A.12 has it */
        s->n[q] >>= 1;
    }
    s->n[q]++;
    if (s->b[q] <= -s->n[q]) {
        s->b[q] = s->b[q] + s->n[q] <= -s->n[q] ? 1 - s->n[q] : s->b[q] + s->n[q];
        s->c[q] -= s->c[q] > -128;
    } else if (s->b[q] > 0) {
        s->b[q] = s->b[q] - s->n[q] > 0 ? 0 : s->b[q] - s->n[q];
        s->c[q] += s->c[q] < 127;
    }
}

static void interruption(coder *s, int component, int y, int x, int kind, int index)
{
    int *up = made[component][y], *row = made[component][y + 1];
    int ra = row[x - 1], rb = up[x], guess = kind ? ra : rb, sign = !kind && ra > rb ? -1 : 1, q = 365 + kind;
    int error = quantised(s, sign * (image[component][y][x - 1] - guess));
    row[x] = rebuilt(s, guess + sign * error * s->step);
    int k = parameter(s->a[q] + (kind ? s->n[q] >> 1 : 0), s->n[q]);
    int map = (k == 0 && error > 0 && 2 * s->negative[kind] < s->n[q]) ||
              (error < 0 && 2 * s->negative[kind] >= s->n[q]) || (error < 0 && k != 0);
    int mapped = 2 * abs(error) - kind - map;
    golomb(s, mapped, k, s->limit - J[index] - 1);
    s->negative[kind] += error < 0;
    s->a[q] += (mapped + 1 - kind) >> 1;
    if (s->n[q] == s->reset) {
        s->a[q] >>= 1;
        s->n[q] >>= 1;
        s->negative[kind] >>= 1;
    }
    s->n[q]++;
}

/* One row of the components from `first` on, sample by sample when there is more than one. */
static void code_row(coder *s, int first, int count, int y, int columns)
{
    int *index = &s->index[count > 1 ? 0 : first];
    for (int i = first; i < first + count; i++) {
        made[i][y][columns + 1] = made[i][y][columns];
        made[i][y + 1][0] = made[i][y][1];
    }
    for (int x = 1; x <= columns;) {
        int any = 0, run = 0;
        for (int i = first; i < first + count; i++)
            any |= context(s, i, y, x);
        if (any) {
            for (int i = first; i < first + count; i++)
                regular(s, i, y, x);
            x++;
            continue;
        }
        for (; x + run <= columns; run++) {
            int same = 1;
            for (int i = first; i < first + count; i++)
                same &= abs(image[i][y][x + run - 1] - made[i][y + 1][x - 1]) <= s->near;
            if (!same)
                break;
            for (int i = first; i < first + count; i++)
                made[i][y + 1][x + run] = made[i][y + 1][x - 1];
        }
        x += run;
        while (run >= 1 << J[*index]) {
            put(s, 1, 1);
            run -= 1 << J[*index];
            *index += *index < 31;
        }
        if (x > columns) {
            if (run)
                put(s, 1, 1);
            return;
        }
        put(s, 0, 1);
        put(s, (unsigned)run, J[*index]);
        for (int i = first; i < first + count; i++)
            interruption(s, i, y, x, count == 1 && abs(made[i][y + 1][x - 1] - made[i][y][x]) <= s->near, *index);
        *index -= *index > 0;
        x++;
    }
}

static void begin(coder *s, int y)
{
    int a = (s->range + 32) / 64 > 2 ? (s->range + 32) / 64 : 2;
    for (int i = 0; i < 367; i++) {
        s->a[i] = a;
        s->n[i] = 1;
    }
    memset(s->b, 0, sizeof s->b);
    memset(s->c, 0, sizeof s->c);
    memset(s->negative, 0, sizeof s->negative);
    memset(s->index, 0, sizeof s->index);
    if (y == 0)
        memset(made, 0, sizeof made);
}

/* A scan of the components from `first` on. Rows above an interval count as 0, so they are kept and put back. */
static void code_scan(coder *s, int first, int count, int woven, int rows, int columns, int restart)
{
    static int kept[COMPONENTS][MOST + 2];
    for (int y = 0; y < rows; y++) {
        if (y == 0 || (restart && y % restart == 0)) {
            if (y) {
                finish(s);
                s->out[s->size++] = 0xFF;
                s->out[s->size++] = (uint8_t)(0xD0 + (y / restart - 1) % 8);
                s->out[s->size] = 0;
            }
            begin(s, 1);
            for (int i = first; i < first + count; i++) {
                memcpy(kept[i], made[i][y], sizeof kept[i]);
                memset(made[i][y], 0, sizeof made[i][y]);
            }
        }
        if (woven)
            code_row(s, first, count, y, columns);
        else
            for (int i = first; i < first + count; i++)
                code_row(s, i, 1, y, columns);
        if (y == 0 || (restart && y % restart == 0))
            for (int i = first; i < first + count; i++)
                memcpy(made[i][y], kept[i], sizeof kept[i]);
    }
    finish(s);
}

static void segment(coder *s, unsigned marker, const uint8_t *body, size_t size)
{
    const uint8_t head[4] = {0xFF, (uint8_t)marker, (uint8_t)((size + 2) >> 8), (uint8_t)(size + 2)};
    memcpy(s->out + s->size, head, 4);
    memcpy(s->out + s->size + 4, body, size);
    s->size += 4 + size;
}

static int of_default(int value, int least, int most) { return value > most || value < least ? least : value; }

static void defaults(coder *s) /* C.2.4.1.1.1 */
{
    int m = s->maximum, e = s->near;
    if (m >= 128) {
        int factor = ((m < 4095 ? m : 4095) + 128) / 256;
        s->t1 = of_default(factor + 2 + 3 * e, e + 1, m);
        s->t2 = of_default(4 * factor + 3 + 5 * e, s->t1, m);
        s->t3 = of_default(17 * factor + 4 + 7 * e, s->t2, m);
    } else {
        int factor = 256 / (m + 1);
        int t1 = 3 / factor + 3 * e, t2 = 7 / factor + 5 * e, t3 = 21 / factor + 7 * e;
        s->t1 = of_default(t1 < 2 ? 2 : t1, e + 1, m);
        s->t2 = of_default(t2 < 3 ? 3 : t2, s->t1, m);
        s->t3 = of_default(t3 < 4 ? 4 : t3, s->t2, m);
    }
    s->reset = 64;
}

static void draw(const uint8_t *data, size_t size, int components, int rows, int columns, int maximum)
{
    unsigned noise = 1;
    size_t at = 0;
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++)
            for (int i = 0; i < components; i++) {
                unsigned v = at < size ? data[at++] : 0;
                int left = x ? image[i][y][x - 1] : 0, up = y ? image[i][y - 1][x] : 0;
                noise = noise * 1664525 + 1013904223 + v;
                int kind = (int)(v & 3), by = (int)(v >> 2) - 32;
                image[i][y][x] = kind == 0 ? left : kind == 1 ? held(left + by, 0, maximum)
                                 : kind == 2 ? held(up + by / 8, 0, maximum) : (int)((noise >> 8) % (unsigned)(maximum + 1));
            }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 12)
        return 0;
    int precision = 2 + data[0] % 15, columns = 1 + data[10] % MOST, rows = 1 + data[11] % MOST;
    unsigned flags = data[2]; /* 1, 2: components; 4, 8: interleaving; 16: LSE; 32: 2 bytes a sample; 64: planes */
    int components = 1 + (int)(flags & 3), interleave = components == 1 ? 0 : (int)(flags >> 2 & 3) % 3;
    coder s = {.maximum = (1 << precision) - 1, .out = stream};
    if (flags & 16) {
        int given = data[7] << 8 | data[8];
        s.maximum = given ? 1 + given % s.maximum : s.maximum;
    }
    int most = s.maximum / 2 < 255 ? s.maximum / 2 : 255;
    s.near = data[1] % (most + 1);
    defaults(&s);
    if (flags & 16) {
        int room = s.maximum - s.near; /* 1 or more */
        if (data[3])
            s.t1 = s.near + 1 + data[3] % room;
        if (data[4] || s.t2 < s.t1)
            s.t2 = s.t1 + data[4] % (s.maximum - s.t1 + 1);
        if (data[5] || s.t3 < s.t2)
            s.t3 = s.t2 + data[5] % (s.maximum - s.t2 + 1);
        if (data[6])
            s.reset = 3 + data[6];
    }
    s.step = 2 * s.near + 1;
    s.range = (s.maximum + 2 * s.near) / s.step + 1;
    int depth = 2;
    while (1 << s.quantum < s.range)
        s.quantum++;
    while (1 << depth <= s.maximum)
        depth++;
    s.limit = 2 * (depth + (depth > 8 ? depth : 8));
    int restart = data[9] % 4 ? 0 : data[9] / 4;
    draw(data + 12, size - 12, components, rows, columns, s.maximum);

    memcpy(stream, "\xFF\xD8", 2);
    s.size = 2;
    uint8_t head[6 + 3 * COMPONENTS] = {(uint8_t)precision, 0, (uint8_t)rows, 0, (uint8_t)columns, (uint8_t)components};
    for (int i = 0; i < components; i++)
        memcpy(head + 6 + 3 * i, (const uint8_t[]){(uint8_t)(i + 1), 0x11, 0}, 3);
    segment(&s, 0xF7, head, 6 + 3 * (size_t)components);
    if (flags & 16) {
        const int values[] = {s.maximum, s.t1, s.t2, s.t3, s.reset};
        uint8_t body[11] = {1};
        for (int i = 0; i < 5; i++) {
            body[1 + 2 * i] = (uint8_t)(values[i] >> 8);
            body[2 + 2 * i] = (uint8_t)values[i];
        }
        segment(&s, 0xF8, body, sizeof body);
    }
    if (restart)
        segment(&s, 0xDD, (const uint8_t[]){0, (uint8_t)restart}, 2);
    begin(&s, 0);
    for (int first = 0; first < components; first += interleave ? components : 1) {
        int count = interleave ? components : 1;
        uint8_t scan[4 + 2 * COMPONENTS] = {(uint8_t)count};
        for (int i = 0; i < count; i++)
            scan[1 + 2 * i] = (uint8_t)(first + i + 1);
        scan[1 + 2 * count] = (uint8_t)s.near;
        scan[2 + 2 * count] = (uint8_t)interleave;
        segment(&s, 0xDA, scan, 4 + 2 * (size_t)count);
        s.out[s.size] = 0;
        code_scan(&s, first, count, interleave == 2, rows, columns, restart);
    }
    memcpy(stream + s.size, "\xFF\xD9", 2);
    s.size += 2;

    unsigned bytes = precision > 8 || flags & 32 ? 2 : 1;
    size_t samples = (size_t)rows * (size_t)columns * (size_t)components;
    dicore_raster raster = {.rows = (uint32_t)rows, .columns = (uint32_t)columns, .samples = (unsigned)components,
                            .bytes = bytes, .column_stride = components * (ptrdiff_t)bytes, .sample_stride = bytes,
                            .row_stride = columns * components * (ptrdiff_t)bytes};
    if (flags & 64) {
        raster.column_stride = bytes;
        raster.row_stride = columns * (ptrdiff_t)bytes;
        raster.sample_stride = rows * raster.row_stride;
    }
    size_t working = (size_t)dicore_jpeg_ls_scratch(s.size, (uint32_t)columns, (unsigned)components);
    uint8_t *scratch = malloc(working), *out = malloc(samples * bytes), *exact = malloc(s.size);
    if (!scratch || !out || !exact)
        abort();
    memcpy(exact, stream, s.size); /* reading beyond it is seen */
    raster.data = out;
    if (dicore_jpeg_ls_decode(exact, s.size, &raster, scratch, working, NULL) != DICORE_OK)
        abort();
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++)
            for (int i = 0; i < components; i++) {
                const uint8_t *at = out + y * raster.row_stride + x * raster.column_stride + i * raster.sample_stride;
                int got = bytes == 2 ? at[0] | at[1] << 8 : at[0], want = made[i][y + 1][x + 1];
                if (got != want || abs(want - image[i][y][x]) > s.near)
                    abort();
            }
    free(scratch);
    free(out);
    free(exact);
    return 0;
}
