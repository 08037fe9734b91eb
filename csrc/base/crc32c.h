/* The three ways to compute CRC-32C (dicore/base.h has the public call, which picks one): seen by the test, which compares them. */
#ifndef DICORE_CRC32C_H
#define DICORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t dicore_crc32c_portable(uint32_t crc, const uint8_t *data, size_t size);
uint32_t dicore_crc32c_fast(uint32_t crc, const uint8_t *data, size_t size); /* the portable one where there is no other */
uint32_t dicore_crc32c_wide(uint32_t crc, const uint8_t *data, size_t size); /* AVX-512; the fast one where there is none */

#endif
