/* Noting deviations: shared by whoever reads. */
#ifndef DICORE_DATASET_DEVIATION_H
#define DICORE_DATASET_DEVIATION_H

#include "dicore/dataset.h"

/* Keep a deviation; 1 when reading is strict and must end here with fail_deviation(). */
static inline int note_deviation(const dicore_read_options *options, uint32_t code, uint64_t offset, uint32_t tag)
{
    dicore_deviations *list = options->deviations;
    if (list) {
        if (list->count < list->capacity && list->items)
            list->items[list->count] = (dicore_deviation){.code = code, .tag = tag, .offset = offset};
        if (list->count < UINT32_MAX)
            list->count++;
    }
    return options->strict;
}

static inline dicore_status fail_at_depth(dicore_error *error, dicore_status status, uint64_t offset, uint32_t tag,
                                          uint32_t depth, uint32_t detail)
{
    if (error)
        *error = (dicore_error){.status = status, .offset = offset, .tag = tag, .depth = depth, .detail = detail};
    return status;
}

#endif
