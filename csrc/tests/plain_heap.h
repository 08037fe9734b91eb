/* realloc and free as the library's allocator, for programs that count nothing. */
#ifndef PLAIN_HEAP_H
#define PLAIN_HEAP_H

#include "dicore/base.h"

#include <stdlib.h>

static inline void *plain_resize(void *context, void *pointer, size_t old_size, size_t new_size)
{
    (void)context;
    (void)old_size;
    if (new_size == 0) {
        free(pointer);
        return NULL;
    }
    return realloc(pointer, new_size);
}

static const dicore_allocator plain_heap = {plain_resize, NULL};

#endif
