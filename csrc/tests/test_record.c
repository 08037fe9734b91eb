#include "base/load.h"
#include "check.h"
#include "dicore/store.h"

static void siphash_is_that_of_its_authors(void)
{
    /* from tests/store/siphash.py, which gives the first vector of the reference implementation under that one's key */
    uint8_t hash[16], again[16], other[16];
    dicore_uid_hash("1.2.840.10008.1.1", 17, hash);
    dicore_uid_hash("1.2.840.10008.1.1", 17, again);
    dicore_uid_hash("1.2.840.10008.1.2", 17, other);
    CHECK(memcmp(hash, again, 16) == 0);
    CHECK(memcmp(hash, other, 16) != 0);
    static const uint8_t want[16] = {0xbe, 0xb0, 0xd8, 0x49, 0xe6, 0x82, 0x0b, 0xa6, 0x8d, 0xb6, 0xb7, 0x05, 0xef, 0x84, 0xb4, 0x75};
    CHECK(memcmp(hash, want, 16) == 0);
}

static void sizes_are_rounded_up_and_never_overflow(void)
{
    CHECK_EQ(dicore_record_size(0), 128);
    CHECK_EQ(dicore_record_size(60), 128);
    CHECK_EQ(dicore_record_size(61), 192);
    CHECK_EQ(dicore_record_size(124), 192);
    CHECK_EQ(dicore_record_size(UINT64_MAX), 0);
    CHECK_EQ(dicore_record_size(UINT64_MAX - 100), 0);
    CHECK(dicore_record_size(UINT64_MAX - 200) > 0);
}

static size_t make(uint8_t *out, uint64_t nonce, uint64_t offset, size_t meta, size_t set)
{
    dicore_record record = {.file_size = meta + set, .received = 1767225600000000u, .data_offset = (uint32_t)meta, .synced = 5, .flags = 2};
    const size_t size = (size_t)dicore_record_size(meta + set);
    memset(out, 0, size);
    for (size_t i = 0; i < meta + set; i++)
        out[64 + i] = (uint8_t)(i * 7 + 1);
    memcpy(record.uid_hash, "0123456789abcdef", 16);
    record.data_crc = dicore_crc32c(0, out + 64 + meta, set);
    dicore_record_write_header(&record, nonce, offset, out);
    store_u32le(out + 64 + meta + set, dicore_crc32c(0, out + 64, meta + set));
    return size;
}

static void a_record_is_read_as_written_and_only_at_its_place(void)
{
    uint8_t bytes[1024];
    dicore_record got = {0};
    const size_t size = make(bytes, 99, 8192, 300, 211);
    CHECK_EQ(dicore_record_check(bytes, size, 99, 8192, &got), DICORE_OK);
    CHECK_EQ(got.file_size, 511);
    CHECK_EQ(got.data_offset, 300);
    CHECK_EQ(got.received, 1767225600000000u);
    CHECK_EQ(got.synced, 5);
    CHECK_EQ(got.flags, 2);
    CHECK(memcmp(got.uid_hash, "0123456789abcdef", 16) == 0);
    CHECK_EQ(dicore_record_check(bytes, size, 98, 8192, &got), DICORE_BAD_RECORD);       /* another segment's */
    CHECK_EQ(dicore_record_check(bytes, size, 99, 8192 + 64, &got), DICORE_BAD_RECORD);  /* moved */
    uint8_t nothing[64] = {0};
    CHECK_EQ(dicore_record_read_header(nothing, 64, 99, 8192, &got), DICORE_END);
}

static void no_truncation_and_no_flipped_bit_passes(void)
{
    uint8_t bytes[512];
    dicore_record got;
    const size_t size = make(bytes, 1, 4096, 150, 77), used = 64 + 150 + 77 + 4;
    for (size_t end = 0; end < size; end++) {
        uint8_t *copy = guarded_copy(bytes, end);
        CHECK_EQ(dicore_record_check(copy, end, 1, 4096, &got), DICORE_TRUNCATED);
        guarded_free(copy, end);
    }
    for (size_t bit = 0; bit < used * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const dicore_status status = dicore_record_check(bytes, size, 1, 4096, &got);
        CHECK(status == (bit < 512 ? DICORE_BAD_RECORD : DICORE_BAD_CRC));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CHECK_EQ(dicore_record_check(bytes, size, 1, 4096, &got), DICORE_OK);
}

static void entries_survive_the_trip(void)
{
    uint8_t bytes[DICORE_STORE_ENTRY_SIZE];
    dicore_store_entry entry = {.received = 1, .unit = 2, .units = 3, .data_crc = 4, .flags = 5}, got;
    memcpy(entry.uid_hash, "fedcba9876543210", 16);
    dicore_store_entry_write(&entry, bytes);
    CHECK_EQ(dicore_store_entry_read(bytes, sizeof bytes - 1, &got), DICORE_TRUNCATED);
    CHECK_EQ(dicore_store_entry_read(bytes, sizeof bytes, &got), DICORE_OK);
    CHECK(memcmp(got.uid_hash, entry.uid_hash, 16) == 0);
    CHECK_EQ(got.received * 10000 + got.unit * 1000 + got.units * 100 + got.data_crc * 10 + got.flags, 12345);
}

int main(void)
{
    siphash_is_that_of_its_authors();
    sizes_are_rounded_up_and_never_overflow();
    a_record_is_read_as_written_and_only_at_its_place();
    no_truncation_and_no_flipped_bit_passes();
    entries_survive_the_trip();
    return check_result("test_record");
}
