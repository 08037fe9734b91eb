/* dicore/store.h: checksums, records, segments, recovery and the writer of the instance store (docs/store-format.md). */
#ifndef DICORE_STORE_H
#define DICORE_STORE_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- checksums --------------------------------------------------------------------------------------------------- */

/** CRC-32C (RFC 3720 B.4) of what `crc` is the CRC of, followed by `data`; start with 0. 25-30 GB/s with SSE 4.2. */
DICORE_API uint32_t dicore_crc32c(uint32_t crc, const void *data, size_t size);

/** The CRC-32C of A followed by B, from theirs and the size of B. Constant time, no bytes read. */
DICORE_API uint32_t dicore_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size);

#ifdef __cplusplus
}
#endif
#endif
