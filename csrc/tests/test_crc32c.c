#include "base/cpu.h"
#include "base/crc32c.h"
#include "check.h"
#include "dicore/store.h"

static uint32_t bit_by_bit(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffffu;
    while (size--) {
        crc ^= *data++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void rfc_3720_vectors(void)
{
    uint8_t bytes[32];
    memset(bytes, 0, 32);
    CHECK_EQ(dicore_crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    CHECK_EQ(dicore_crc32c(0, bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    CHECK_EQ(dicore_crc32c(0, bytes, 32), 0x46dd794eu);
    CHECK_EQ(dicore_crc32c(0, "123456789", 9), 0xe3069283u);
    CHECK_EQ(dicore_crc32c(0, NULL, 0), 0);
    CHECK_EQ(dicore_crc32c(77, NULL, 0), 77);
}

static void every_way_agrees_at_every_size_and_reads_no_byte_too_many(void)
{
    static uint8_t noise[60000];
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
    for (size_t size = 0; size < sizeof noise; size += size < 1700 ? 1 : 977) {
        uint8_t *copy = guarded_copy(noise + size % 7, size - (size > 7 ? 7 : size));
        const size_t n = size - (size > 7 ? 7 : size);
        const uint32_t want = bit_by_bit(copy, n);
        CHECK_EQ(dicore_crc32c_portable(0, copy, n), want);
        CHECK_EQ(dicore_crc32c_fast(0, copy, n), want);
        if (dicore_cpu_features() & DICORE_CPU_VPCLMUL) {
            CHECK_EQ(dicore_crc32c_wide(0, copy, n), want);
            CHECK_EQ(dicore_crc32c_wide(dicore_crc32c_portable(0, copy, n / 5), copy + n / 5, n - n / 5), want);
        }
        const size_t cut = n / 3;
        CHECK_EQ(dicore_crc32c(dicore_crc32c(0, copy, cut), copy + cut, n - cut), want);
        CHECK_EQ(dicore_crc32c_combine(dicore_crc32c(0, copy, cut), dicore_crc32c(0, copy + cut, n - cut), n - cut), want);
        guarded_free(copy, n);
    }
}

int main(void)
{
    rfc_3720_vectors();
    every_way_agrees_at_every_size_and_reads_no_byte_too_many();
    return check_result("test_crc32c");
}
