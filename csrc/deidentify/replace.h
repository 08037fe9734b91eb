/* Inside csrc/deidentify: what the public header does not need. */
#ifndef DICORE_DEIDENTIFY_REPLACE_H
#define DICORE_DEIDENTIFY_REPLACE_H

#include "dicore/deidentify.h"

/* The next run of ASCII letters and digits from `*position` on, which moves behind it: 1, or 0 when there is none. */
int deid_next_word(const uint8_t *data, size_t size, size_t *position, dicore_span *word);

/* The words of a text that are in the vocabulary and not `forbidden` (hashes), single spaces between, values kept apart: the
 * size of what was written at `out` (room for `size`). */
size_t deid_clean(const dicore_deidentifier *how, const uint64_t *forbidden, size_t forbidden_count, const uint8_t *data,
                  size_t size, uint8_t *out);

#endif
