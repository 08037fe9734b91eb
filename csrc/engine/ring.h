/* A bounded queue of events from many threads to one, and a descriptor that wakes it. */
#ifndef DICORE_ENGINE_RING_H
#define DICORE_ENGINE_RING_H

#include <stdatomic.h>

#include "dicore/engine.h"

typedef struct ring_slot {
    atomic_size_t turn;          /* whose turn the slot is: position to be written, position + 1 to be read */
    dicore_engine_event event;
} ring_slot;

typedef struct ring {
    ring_slot *slots;
    size_t mask;                 /* a power of two, less one */
    int descriptor;              /* eventfd */
    atomic_int signalled;        /* the descriptor is readable, or is about to be */
    char apart[64];              /* cache lines */
    atomic_size_t head;          /* producers */
    char aside[64];
    size_t tail;                 /* the consumer alone */
} ring;

/** `count` is a power of two. @return DICORE_OK, DICORE_NO_MEMORY, DICORE_IO. */
dicore_status ring_open(ring *r, size_t count, const dicore_allocator *allocator);
void ring_close(ring *r, const dicore_allocator *allocator);

/** From any thread. False: full, nothing was put. */
bool ring_put(ring *r, const dicore_engine_event *event);

/** From one thread. False: empty; the descriptor is not readable any more, unless something came meanwhile. */
bool ring_take(ring *r, dicore_engine_event *event);

#endif
