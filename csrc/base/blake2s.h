/* BLAKE2s (RFC 7693) with a key, for short inputs: 32 bytes of key, 8 bytes of personalisation, 1 to 32 bytes out. */
#ifndef DICORE_BLAKE2S_H
#define DICORE_BLAKE2S_H

#include <stddef.h>
#include <stdint.h>

/* `out` gets the digest of `out_size` bytes (1..32) of data[0 .. size) under `key`, in the domain `person`: the same as
 * Python's hashlib.blake2s(data, digest_size=out_size, key=key, person=person). */
void blake2s_keyed(const uint8_t key[32], const char person[8], const uint8_t *data, size_t size, uint8_t *out, size_t out_size);

#endif
