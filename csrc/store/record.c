/* The 64 bytes before an instance, and what makes them believable: docs/store-format.md, "Record". */
#include "base/load.h"
#include "dicore/store.h"

#include <string.h>

static const uint8_t MAGIC[4] = {'D', 'C', 'I', 'R'};
#define VERSION 1u

static uint64_t rotate(uint64_t x, unsigned n) { return x << n | x >> (64 - n); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotate(v[1], 13) ^ v[0]; v[0] = rotate(v[0], 32);
    v[2] += v[3]; v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3]; v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1]; v[1] = rotate(v[1], 17) ^ v[2]; v[2] = rotate(v[2], 32);
}

void dicore_uid_hash(const void *uid, size_t size, uint8_t out[16])
{
    static const uint8_t key[16] = {'d', 'i', 'c', 'o', 'r', 'e', ' ', 'u', 'i', 'd', ' ', 'h', 'a', 's', 'h', 1};
    const uint64_t k0 = load_u64le(key), k1 = load_u64le(key + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du ^ 0xee, k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u};
    const uint8_t *at = uid;
    uint8_t last[8] = {0};
    for (size_t rest = size;; at += 8, rest -= 8) {
        uint64_t word;
        if (rest >= 8) {
            word = load_u64le(at);
        } else {
            if (rest)
                memcpy(last, at, rest);
            last[7] = (uint8_t)size;
            word = load_u64le(last);
        }
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
        if (rest < 8)
            break;
    }
    v[2] ^= 0xee;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    store_u64le(out, v[0] ^ v[1] ^ v[2] ^ v[3]);
    v[1] ^= 0xdd;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    store_u64le(out + 8, v[0] ^ v[1] ^ v[2] ^ v[3]);
}

uint64_t dicore_record_size(uint64_t file_size)
{
    const uint64_t around = DICORE_RECORD_HEADER + 4 + DICORE_RECORD_UNIT - 1;
    return file_size > UINT64_MAX - around ? 0 : (file_size + around) / DICORE_RECORD_UNIT * DICORE_RECORD_UNIT;
}

/* The header's CRC begins with where the header stands: a copy of it elsewhere is not a header. */
static uint32_t header_crc(const uint8_t *header, uint64_t offset)
{
    uint8_t place[8];
    store_u64le(place, offset);
    return dicore_crc32c(dicore_crc32c(0, place, 8), header, 60);
}

void dicore_record_write_header(const dicore_record *record, uint64_t nonce, uint64_t offset, uint8_t out[DICORE_RECORD_HEADER])
{
    memcpy(out, MAGIC, 4);
    store_u16le(out + 4, VERSION);
    store_u16le(out + 6, record->flags);
    store_u64le(out + 8, nonce);
    memcpy(out + 16, record->uid_hash, 16);
    store_u64le(out + 32, record->file_size);
    store_u32le(out + 40, record->data_offset);
    store_u32le(out + 44, record->data_crc);
    store_u64le(out + 48, record->received);
    store_u32le(out + 56, record->synced);
    store_u32le(out + 60, header_crc(out, offset));
}

dicore_status dicore_record_read_header(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset, dicore_record *out)
{
    if (size < DICORE_RECORD_HEADER)
        return DICORE_TRUNCATED;
    if (memcmp(data, MAGIC, 4) != 0) {
        static const uint8_t nothing[DICORE_RECORD_HEADER];
        return memcmp(data, nothing, DICORE_RECORD_HEADER) == 0 ? DICORE_END : DICORE_BAD_RECORD;
    }
    if (load_u16le(data + 4) != VERSION || load_u64le(data + 8) != nonce || load_u32le(data + 60) != header_crc(data, offset))
        return DICORE_BAD_RECORD;
    dicore_record record = {
        .flags = load_u16le(data + 6),
        .file_size = load_u64le(data + 32),
        .data_offset = load_u32le(data + 40),
        .data_crc = load_u32le(data + 44),
        .received = load_u64le(data + 48),
        .synced = load_u32le(data + 56),
    };
    memcpy(record.uid_hash, data + 16, 16);
    if (record.data_offset > record.file_size || dicore_record_size(record.file_size) == 0)
        return DICORE_BAD_RECORD;
    *out = record;
    return DICORE_OK;
}

dicore_status dicore_record_check(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset, dicore_record *out)
{
    dicore_record record;
    const dicore_status status = dicore_record_read_header(data, size, nonce, offset, &record);
    if (status != DICORE_OK)
        return status;
    *out = record;
    if (dicore_record_size(record.file_size) > size)
        return DICORE_TRUNCATED;
    const uint8_t *file = data + DICORE_RECORD_HEADER;
    const uint64_t data_size = record.file_size - record.data_offset;
    const uint32_t meta = dicore_crc32c(0, file, record.data_offset);
    const uint32_t set = dicore_crc32c(0, file + record.data_offset, (size_t)data_size);
    const uint32_t whole = dicore_crc32c_combine(meta, set, data_size);
    return set == record.data_crc && whole == load_u32le(file + record.file_size) ? DICORE_OK : DICORE_BAD_CRC;
}

void dicore_store_entry_write(const dicore_store_entry *entry, uint8_t out[DICORE_STORE_ENTRY_SIZE])
{
    memcpy(out, entry->uid_hash, 16);
    store_u64le(out + 16, entry->received);
    store_u32le(out + 24, entry->unit);
    store_u32le(out + 28, entry->units);
    store_u32le(out + 32, entry->data_crc);
    store_u32le(out + 36, entry->flags);
}

dicore_status dicore_store_entry_read(const uint8_t *data, size_t size, dicore_store_entry *out)
{
    if (size < DICORE_STORE_ENTRY_SIZE)
        return DICORE_TRUNCATED;
    memcpy(out->uid_hash, data, 16);
    out->received = load_u64le(data + 16);
    out->unit = load_u32le(data + 24);
    out->units = load_u32le(data + 28);
    out->data_crc = load_u32le(data + 32);
    out->flags = load_u32le(data + 36);
    return DICORE_OK;
}
