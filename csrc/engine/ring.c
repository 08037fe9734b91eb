#include "engine/ring.h"

#include "engine/bell.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

dicore_status ring_open(ring *r, size_t count, const dicore_allocator *allocator)
{
    memset(r, 0, sizeof *r);
    r->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->descriptor < 0)
        return DICORE_IO;
    r->slots = allocator->resize(allocator->context, NULL, 0, count * sizeof *r->slots);
    if (!r->slots) {
        close(r->descriptor);
        return DICORE_NO_MEMORY;
    }
    r->mask = count - 1;
    for (size_t i = 0; i < count; i++)
        atomic_init(&r->slots[i].turn, i);
    return DICORE_OK;
}

void ring_close(ring *r, const dicore_allocator *allocator)
{
    if (!r->slots)
        return;
    allocator->resize(allocator->context, r->slots, (r->mask + 1) * sizeof *r->slots, 0);
    r->slots = NULL;
    close(r->descriptor);
}

bool ring_put(ring *r, const dicore_engine_event *event)
{
    size_t at = atomic_load_explicit(&r->head, memory_order_relaxed);
    ring_slot *slot;
    for (;;) {
        slot = &r->slots[at & r->mask];
        const size_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        if (turn == at) {
            if (atomic_compare_exchange_weak_explicit(&r->head, &at, at + 1, memory_order_relaxed, memory_order_relaxed))
                break;
        } else if ((ptrdiff_t)(turn - at) < 0) {
            return false;
        } else {
            at = atomic_load_explicit(&r->head, memory_order_relaxed);
        }
    }
    slot->event = *event;
    atomic_store_explicit(&slot->turn, at + 1, memory_order_release);
    if (!atomic_exchange(&r->signalled, 1))
        bell_ring(r->descriptor);
    return true;
}

static bool take(ring *r, dicore_engine_event *event)
{
    ring_slot *slot = &r->slots[r->tail & r->mask];
    if (atomic_load_explicit(&slot->turn, memory_order_acquire) != r->tail + 1)
        return false;
    *event = slot->event;
    atomic_store_explicit(&slot->turn, r->tail + r->mask + 1, memory_order_release);
    r->tail++;
    return true;
}

bool ring_take(ring *r, dicore_engine_event *event)
{
    if (take(r, event))
        return true;
    bell_quiet(r->descriptor);
    (void)atomic_exchange(&r->signalled, 0); /* an exchange: what a producer that saw 1 has put is seen below */
    if (!take(r, event)) /* whoever puts one from here on writes to the descriptor */
        return false;
    if (!atomic_exchange(&r->signalled, 1)) /* there may be more: say so again */
        bell_ring(r->descriptor);
    return true;
}
