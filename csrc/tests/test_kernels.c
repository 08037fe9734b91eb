/* Every kernel of every level against the plain one: all lengths 0..200 and a few long ones, input and output against
 * guard pages on both sides and at odd addresses, and nothing written beyond the output. The plain ones against values
 * worked out by hand. */
#include "check.h"
#include "dicore/kernels.h"

typedef const dicore_kernels *K;
typedef struct kernel_case {
    const char *name;
    void (*run)(K k, uint8_t *to, const uint8_t *from, size_t count, unsigned variant);
    unsigned in_bits, out_bits; /* per count; rounded up to whole bytes */
    unsigned in_align, out_align;
    unsigned variants;
    int in_place; /* `to` also holds the input */
} kernel_case;

#define U16(p) ((uint16_t *)(void *)(p))
#define C16(p) ((const uint16_t *)(const void *)(p))
#define RUN(name) static void name(K k, uint8_t *to, const uint8_t *from, size_t count, unsigned v)
#define NO_V (void)v

RUN(c_swap16) { NO_V; k->swap16(to, from, count); }
RUN(c_swap32) { NO_V; k->swap32(to, from, count); }
RUN(c_swap64) { NO_V; k->swap64(to, from, count); }
/* `first` so that the bits still are in the input: the case's input has 8 bits more than count */
RUN(c_unpack1) { k->unpack1(to, from, v, count); }
RUN(c_pack1) { NO_V; k->pack1(to, from, count); }
RUN(c_unpack12) { NO_V; k->unpack12(U16(to), from, count); }
RUN(c_pack12) { NO_V; k->pack12(to, C16(from), count); }
RUN(c_inter8) { NO_V; k->interleave8(to, from, from + count, from + 2 * count, count); }
RUN(c_inter16) { NO_V; k->interleave16(U16(to), C16(from), C16(from) + count, C16(from) + 2 * count, count); }
RUN(c_sep8) { NO_V; k->separate8(to, to + count, to + 2 * count, from, count); }
RUN(c_sep16) { NO_V; k->separate16(U16(to), U16(to) + count, U16(to) + 2 * count, C16(from), count); }
RUN(c_422) { NO_V; k->expand422(to, from, count); }
RUN(c_keep8) { k->keep8(to, from, count, v % 4, 1 + v % 5 + v / 10, v & 1); }
RUN(c_keep16) { k->keep16(U16(to), C16(from), count, v % 5, 1 + v, v & 1); }
RUN(c_keep16_all) { k->keep16(U16(to), C16(from), count, 0, 16, (int)v); }
RUN(c_keep32) { k->keep32((uint32_t *)(void *)to, (const uint32_t *)(const void *)from, count, v, 32 - v, v & 1); }
RUN(c_bit16) { k->bit16(to, C16(from), count, v); }
RUN(c_burn8) { k->burn8(to, from, count, (uint8_t)(v * 127)); }
RUN(c_rgb8) { NO_V; k->rgb8(to, from, count); }
RUN(c_rgb422) { NO_V; k->rgb422(to, from, count); }
RUN(c_rgb16) { k->rgb16(U16(to), C16(from), count, 8 + v / 2 * 4, v & 1); }
RUN(c_partial) { NO_V; k->rgb8_partial(to, from, count); }
RUN(c_rct) { NO_V; int32_t *p = (int32_t *)(void *)to; (void)from; k->rct(p, p + count, p + 2 * count, count); }
static uint8_t table8[65536];
static uint16_t table16[65536];
static uint32_t table32[65536];
static uint64_t table64[65536];
static float tablef[65536];
RUN(c_table8) { NO_V; k->table8(to, from, count, table8); }
RUN(c_table16) { NO_V; k->table16(to, C16(from), count, table8); }
RUN(c_table16_16) { NO_V; k->table16_16(U16(to), C16(from), count, table16); }
RUN(c_table16_float) { NO_V; k->table16_float((float *)(void *)to, C16(from), count, tablef); }
RUN(c_palette8) { NO_V; k->palette8(to, from, count, table32); }
RUN(c_palette16) { NO_V; k->palette16(to, C16(from), count, table32); }
RUN(c_palette8w) { NO_V; k->palette8_wide(U16(to), from, count, table64); }
RUN(c_palette16w) { NO_V; k->palette16_wide(U16(to), C16(from), count, table64); }
static const float SCALES[] = {0.0623f, -1.37f, 0.00389f, 3e9f, 255.0f, 0.0f, 1.0f / 0.0f};
static const float OFFSETS[] = {12.7f, 300.0f, 0.5f, -3e20f, 127.5f, 0.0f / 0.0f, 1.0f};
#define GREY(name, type)                                                                                               \
    RUN(c_rescale_##name) { k->rescale[type]((float *)(void *)to, from, count, SCALES[v], OFFSETS[6 - v]); }           \
    RUN(c_exact_##name) { k->rescale_exact[type]((float *)(void *)to, from, count, SCALES[v], OFFSETS[6 - v]); }       \
    RUN(c_window_##name) { k->window[type](to, from, count, SCALES[v / 2], OFFSETS[v / 2], v & 1 ? 255 : 0); }
GREY(u8, DICORE_U8)
GREY(i8, DICORE_I8)
GREY(u16, DICORE_U16)
GREY(i16, DICORE_I16)
GREY(u32, DICORE_U32)
GREY(i32, DICORE_I32)
GREY(f32, DICORE_F32)
RUN(c_sigmoid) { k->sigmoid(to, (const float *)(const void *)from, count, SCALES[v / 2], OFFSETS[v / 2], v & 1 ? 255 : 0); }
RUN(c_flip8) { k->flip8(to, from, count, v ? 255 : 0); }

#define OF(name, bits)                                                                                                 \
    {"rescale_" #name, c_rescale_##name, bits, 32, bits / 8, 4, 5, 0}, {"exact_" #name, c_exact_##name, bits, 32, bits / 8, 4, 5, 0}, \
    {"window_" #name, c_window_##name, bits, 8, bits / 8, 1, 14, 0}
static const kernel_case CASES[] = {
    {"swap16", c_swap16, 16, 16, 1, 1, 1, 0}, {"swap32", c_swap32, 32, 32, 1, 1, 1, 0}, {"swap64", c_swap64, 64, 64, 1, 1, 1, 0},
    {"unpack1", c_unpack1, 1, 8, 1, 1, 20, 0}, {"pack1", c_pack1, 8, 1, 1, 1, 1, 0},
    {"unpack12", c_unpack12, 12, 16, 1, 2, 1, 0}, {"pack12", c_pack12, 16, 12, 2, 1, 1, 0},
    {"interleave8", c_inter8, 24, 24, 1, 1, 1, 0}, {"interleave16", c_inter16, 48, 48, 2, 2, 1, 0},
    {"separate8", c_sep8, 24, 24, 1, 1, 1, 0}, {"separate16", c_sep16, 48, 48, 2, 2, 1, 0},
    {"expand422", c_422, 32, 48, 1, 1, 1, 0}, {"keep8", c_keep8, 8, 8, 1, 1, 30, 0}, {"keep16", c_keep16, 16, 16, 2, 2, 12, 0},
    {"keep16 all", c_keep16_all, 16, 16, 2, 2, 2, 0}, {"keep32", c_keep32, 32, 32, 4, 4, 31, 0},
    {"bit16", c_bit16, 16, 8, 2, 1, 16, 0}, {"burn8", c_burn8, 8, 8, 1, 1, 3, 1}, {"rgb8", c_rgb8, 24, 24, 1, 1, 1, 0},
    {"rgb422", c_rgb422, 32, 48, 1, 1, 1, 0}, {"rgb16", c_rgb16, 48, 48, 2, 2, 6, 0}, {"partial", c_partial, 24, 24, 1, 1, 1, 0},
    {"rct", c_rct, 96, 96, 4, 4, 1, 1},
    {"table8", c_table8, 8, 8, 1, 1, 1, 0}, {"table16", c_table16, 16, 8, 2, 1, 1, 0}, {"table16_16", c_table16_16, 16, 16, 2, 2, 1, 0},
    {"table16_float", c_table16_float, 16, 32, 2, 4, 1, 0}, {"palette8", c_palette8, 8, 24, 1, 1, 1, 0},
    {"palette16", c_palette16, 16, 24, 2, 1, 1, 0}, {"palette8_wide", c_palette8w, 8, 48, 1, 2, 1, 0},
    {"palette16_wide", c_palette16w, 16, 48, 2, 2, 1, 0},
    OF(u8, 8), OF(i8, 8), OF(u16, 16), OF(i16, 16), OF(u32, 32), OF(i32, 32), OF(f32, 32),
    {"sigmoid", c_sigmoid, 32, 8, 4, 1, 14, 0}, {"flip8", c_flip8, 8, 8, 1, 1, 2, 0},
};

static uint32_t seed = 12345;
static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* A block between two pages that nobody may touch; `at_end` puts `size` bytes before the second, else after the first. */
enum { BODY = 1 << 18 };
static uint8_t *guarded(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *map = mmap(NULL, BODY + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map, page, PROT_NONE) || mprotect(map + page + BODY, page, PROT_NONE))
        abort();
    return map + page;
}
static uint8_t *placed(uint8_t *body, size_t size, unsigned align, unsigned where)
{
    if (where == 0)
        return body + (BODY - size) / align * align; /* sizes are multiples of the alignment: ends at the page */
    return body + (where - 1) * align;
}
static size_t bytes_of(size_t count, unsigned bits)
{
    return (count * bits + 7) / 8;
}

static void compare(K k, const kernel_case *c, size_t count, unsigned variant, unsigned where)
{
    static uint8_t *in_body, *out_body;
    static uint8_t want[BODY];
    if (!in_body) {
        in_body = guarded();
        out_body = guarded();
    }
    size_t in_size = c->in_bits == 1 ? (variant + count + 7) / 8 : bytes_of(count, c->in_bits);
    size_t out_size = bytes_of(count, c->out_bits);
    uint8_t *in = placed(in_body, in_size, c->in_align, where), *out = placed(out_body, out_size, c->out_align, where);
    for (size_t i = 0; i < in_size; i++) {
        uint32_t r = draw();
        in[i] = (uint8_t)(r & 0x700 ? r : r & 0x800 ? 0 : 255); /* extremes more often */
    }
    if (strcmp(c->name, "burn8") == 0)
        for (size_t i = 0; i < in_size; i += 2)
            in[i] = 0;
    for (size_t i = 0; i < out_size; i++)
        want[i] = out[i] = c->in_place ? (uint8_t)draw() : 0xA5;
    uint8_t *before = out > out_body ? out - 1 : NULL, *after = out + out_size < out_body + BODY ? out + out_size : NULL;
    if (before)
        *before = 0x5A;
    if (after)
        memset(after, 0x5A, (size_t)(out_body + BODY - after) < 64 ? (size_t)(out_body + BODY - after) : 64);
    c->run(dicore_kernels_named("sse2"), want, in, count, variant);
    c->run(k, out, in, count, variant);
    int same = memcmp(want, out, out_size) == 0 && (!before || *before == 0x5A);
    for (size_t i = 0; after && i < 64 && after + i < out_body + BODY; i++)
        same &= after[i] == 0x5A;
    if (!same) {
        size_t at = 0;
        while (at < out_size && want[at] == out[at])
            at++;
        fprintf(stderr, "%s %s: %zu values, variant %u, place %u: differs at byte %zu\n", k->name, c->name, count, variant, where, at);
    }
    CHECK(same);
}

static void test_levels_agree(void)
{
    for (unsigned i = 0; i < 65536; i++) {
        table64[i] = (uint64_t)draw() << 24 ^ draw();
        table32[i] = draw();
        table16[i] = (uint16_t)draw();
        table8[i] = (uint8_t)draw();
        tablef[i] = (float)draw();
    }
    const char *names[] = {"sse2", "ssse3", "avx2", "avx512"};
    for (unsigned n = 0; n < sizeof names / sizeof *names; n++) {
        K k = dicore_kernels_named(names[n]);
        if (!k)
            continue; /* this processor, or DICORE_CPU, has it not; best() then has it neither */
        CHECK(strcmp(k->name, names[n]) == 0);
        for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
            for (size_t count = 0; count <= 200; count++) {
                unsigned variant = draw() % CASES[i].variants;
                compare(k, &CASES[i], count, variant, 0);
                compare(k, &CASES[i], count, draw() % CASES[i].variants, 1);
                compare(k, &CASES[i], count, draw() % CASES[i].variants, 2 + draw() % 62);
                if (count % 64 == 5)
                    for (unsigned v = 0; v < CASES[i].variants; v++)
                        compare(k, &CASES[i], 37 * count, v, v & 1);
            }
    }
    CHECK(dicore_kernels_named("sse9") == NULL);
    CHECK(dicore_kernels_named(NULL) == NULL);
    CHECK(dicore_kernels_named(dicore_kernels_best()->name) == dicore_kernels_best());
}

/* Every grey value of 16 bits through every window, and every colour on a grid: where rounding could differ. */
static void test_every_value(void)
{
    static uint16_t all[65536];
    static uint8_t want[65536 * 3], got[65536 * 3], colour[65536 * 3];
    K plain = dicore_kernels_named("sse2"), best = dicore_kernels_best();
    for (unsigned i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (unsigned width = 1; width < 5000; width += 7)
        for (int type = DICORE_U16; type <= DICORE_I16; type++) {
            float scale = 255.0f / (float)width, offset = 127.5f - scale * (float)(width * 3 % 2048);
            plain->window[type](want, all, 65536, scale, offset, width & 1 ? 255 : 0);
            best->window[type](got, all, 65536, scale, offset, width & 1 ? 255 : 0);
            CHECK(memcmp(want, got, 65536) == 0);
        }
    for (unsigned y = 0; y < 256; y += 15) {
        for (unsigned i = 0; i < 65536; i++) {
            colour[3 * i] = (uint8_t)y;
            colour[3 * i + 1] = (uint8_t)i;
            colour[3 * i + 2] = (uint8_t)(i >> 8);
        }
        plain->rgb8(want, colour, 65536);
        best->rgb8(got, colour, 65536);
        CHECK(memcmp(want, got, sizeof want) == 0);
        memcpy(got, colour, sizeof got);
        best->rgb8(got, got, 65536); /* in place */
        CHECK(memcmp(want, got, sizeof want) == 0);
        for (unsigned i = 0; i < 65536; i++) { /* and the plain one against the formula */
            double cb = (double)(i & 255) - 128, cr = (double)(i >> 8) - 128;
            double rgb[3] = {y + 1.402 * cr, y - 0.114 * 1.772 / 0.587 * cb - 0.299 * 1.402 / 0.587 * cr, y + 1.772 * cb};
            for (unsigned s = 0; s < 3; s++) {
                double held = rgb[s] < 0 ? 0 : rgb[s] > 255 ? 255 : rgb[s];
                double off = want[3 * i + s] - held;
                if (off > 0.501 || off < -0.501)
                    CHECK(!"YBR to RGB is off by more than rounding");
            }
        }
    }
}

static void test_known_values(void)
{
    K k = dicore_kernels_named("sse2");
    uint8_t out[64];
    uint16_t words[8];
    k->unpack12(words, (const uint8_t[]){0x23, 0x61, 0x45, 0xBC, 0x0A}, 3);
    CHECK(words[0] == 0x123 && words[1] == 0x456 && words[2] == 0xABC);
    k->pack12(out, (const uint16_t[]){0x123, 0xF456, 0xABC}, 3);
    CHECK(memcmp(out, "\x23\x61\x45\xBC\x0A", 5) == 0);
    k->unpack1(out, (const uint8_t[]){0x81, 0x02}, 7, 4);
    CHECK(memcmp(out, "\1\0\1\0", 4) == 0);
    k->pack1(out, (const uint8_t[]){1, 0, 0, 0, 0, 0, 0, 9, 0, 200}, 10);
    CHECK(out[0] == 0x81 && out[1] == 0x02);
    k->interleave8(out, (const uint8_t *)"ad", (const uint8_t *)"be", (const uint8_t *)"cf", 2);
    CHECK(memcmp(out, "abcdef", 6) == 0);
    k->keep16(words, (const uint16_t[]){0x0800, 0xF7FF, 0x8000}, 3, 0, 12, 1);
    CHECK(words[0] == 0xF800 && words[1] == 0x07FF && words[2] == 0);
    k->keep16(words, (const uint16_t[]){0xABC0}, 1, 4, 12, 0);
    CHECK(words[0] == 0xABC);
    for (int signs = 0; signs < 2; signs++) {
        const uint16_t clean[40] = {0x07FF}, dirty[40] = {[39] = 0x1000};
        CHECK(!k->stray16(clean, 40, 12, signs) && k->stray16(dirty, 40, 12, signs));
        CHECK(!dicore_kernels_best()->stray16(clean, 40, 12, signs) && dicore_kernels_best()->stray16(dirty, 40, 12, signs));
        CHECK(!dicore_kernels_best()->stray16(dirty, 40, 16, signs));
    }
    CHECK(k->stray16((const uint16_t[]){0x0800}, 1, 12, 1) && !k->stray16((const uint16_t[]){0x0800}, 1, 12, 0));
    CHECK(k->stray8((const uint8_t[]){0x10}, 1, 4, 0) && !k->stray8((const uint8_t[]){0xF8}, 1, 4, 1));
    int32_t y = 100, cb = -7, cr = 3; /* T.800 G.2.2: G = 100 - floor(-4 / 4) */
    k->rct(&y, &cb, &cr, 1);
    CHECK(y == 104 && cb == 101 && cr == 94);
    float fy = 10, fcb = 1, fcr = 2;
    k->ict(&fy, &fcb, &fcr, 1);
    CHECK(fy > 12.803f && fy < 12.805f && fcr > 11.771f && fcr < 11.773f && fcb > 8.22f && fcb < 8.23f);
    /* PS3.3 C.11.2.1.2: centre 2048, width 4096 takes 0..4095 to 0..255 */
    const uint16_t grey[] = {0, 2048, 4095};
    float scale = 255.0f / 4095.0f, offset = 127.5f - 2047.5f * scale;
    k->window[DICORE_U16](out, grey, 3, scale, offset, 0);
    CHECK(out[0] == 0 && out[1] == 128 && out[2] == 255);
    const float sig[] = {-1e9f, 0.0f, 1e9f, 1.0f};
    k->sigmoid(out, sig, 4, 1.0f, 0.0f, 0);
    CHECK(out[0] == 0 && out[1] == 128 && out[2] == 255 && out[3] == 186); /* 255 / (1 + 1/e) = 186.4 */
    k->palette8(out, (const uint8_t[]){1, 0}, 2, (const uint32_t[256]){0x030201, 0x060504});
    CHECK(memcmp(out, "\4\5\6\1\2\3", 6) == 0);
}

int main(void)
{
    test_known_values();
    test_levels_agree();
    test_every_value();
    return check_result("kernels");
}
