/* Selecting from many data sets in turn that are alike, as the slices of a series are. */
#ifndef DICORE_DATASET_SELECT_H
#define DICORE_DATASET_SELECT_H

#include "dicore/dataset.h"

#define LAYOUT_MAX 512u

/* One plain element of the data set before: the first 8 bytes of its header, what it takes up, and whether it is wanted. */
typedef struct select_step {
    uint64_t word;
    uint32_t size; /* header and value */
    uint16_t header;
    uint16_t wanted; /* 1 + index of the tag, 0: none */
} select_step;

/* What is expected of the next data set. It is only a guess: each header is compared before it is believed, and comparing
 * does not wait for the length before it, as reading does. Zeroed to begin with; for one list of tags. */
typedef struct select_layout {
    uint32_t count, at;
    uint32_t missed; /* elements of the data set at hand that are not in `steps` */
    select_step steps[LAYOUT_MAX];
} select_layout;

/* As dicore_select(), with the same answer, whatever is in `layout` (which may be NULL). */
dicore_status select_like(const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding,
                          const dicore_read_options *options, const uint32_t *tags, size_t count, dicore_selected *out,
                          uint64_t *position, select_layout *layout, dicore_error *error);

#endif
