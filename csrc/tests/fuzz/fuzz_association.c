/* Any bytes, cut anywhere, in either role: no crash, no leak, bounded memory, and the same events and the same output as
 * the same bytes in one piece.
 *
 * Input: a byte of flags (1: requestor, 2: a maximum of 64 bytes, 4: small limits, 8: begin in an accepted association,
 * 16: the user aborts after the third event), two bytes of seed for the cuts, the stream. */
#include "wire.h"

static dicore_status propose(dicore_association *a)
{
    static const dicore_span SYNTAXES[] = {{(const uint8_t *)"1.2.840.10008.1.2.1", 19}, {(const uint8_t *)"1.2.840.10008.1.2", 17}};
    dicore_context contexts[3];
    for (size_t i = 0; i < 3; i++)
        contexts[i] = (dicore_context){.id = (uint8_t)(2 * i + 1), .abstract_syntax = text("1.2.840.10008.5.1.4.1.1.2"),
                                       .syntaxes = SYNTAXES, .syntax_count = 2};
    dicore_associate rq = {.called_ae = text("CALLED"), .calling_ae = text("CALLING"), .contexts = contexts,
                           .context_count = 3, .implementation_uid = text("1.2.3")};
    return dicore_association_request(a, &rq);
}

/** The peer's side of a negotiation, so that the stream begins behind it. */
static void negotiate(user *u, heap *h, bool requestor)
{
    dicore_allocator allocator = heap_allocator(h);
    user peer = {.association = dicore_association_new(NULL, &allocator)};
    user *from = requestor ? u : &peer, *to = requestor ? &peer : u;
    if (!requestor)
        (void)propose(peer.association);
    if (dicore_association_state(peer.association) == 4 || requestor)
        dicore_association_connected(peer.association);
    user_take_output(from);
    user_feed(to, from->output.data, from->output.size);
    user_take_output(to);
    if (requestor)
        user_feed(u, peer.output.data, peer.output.size);
    user_free(&peer);
}

static void run(user *u, heap *h, uint8_t flags, uint64_t seed, const uint8_t *data, size_t size, bool cut)
{
    dicore_association_options options;
    dicore_allocator allocator = heap_allocator(h);
    dicore_association_defaults(&options);
    if (flags & 2)
        options.max_length = 64;
    if (flags & 4) {
        options.command_limit = 100;
        options.negotiation_limit = 300;
        options.output_limit = 600;
    }
    *u = (user){.association = dicore_association_new(&options, &allocator)};
    if (flags & 1)
        (void)propose(u->association);
    dicore_association_connected(u->association);
    if (flags & 8)
        negotiate(u, h, flags & 1);
    bool aborted = false;
    int events_before = u->events;
    for (size_t at = 0; at < size;) {
        size_t part = size - at;
        if (cut) {
            size_t most = next_random(&seed) % 8 == 0 ? 4000 : 16;
            part = next_random(&seed) % most;
            if (part > size - at)
                part = size - at;
        }
        /* event by event, so that the user acts at the same place of the stream in both runs */
        uint8_t *copy = malloc(part ? part : 1);
        memcpy(copy, data + at, part);
        size_t done = 0;
        dicore_event event;
        do {
            size_t consumed = 0;
            (void)dicore_association_receive(u->association, copy + done, part - done, &consumed, &event);
            done += consumed;
            if (event.kind == DICORE_EVENT_DATA)
                u->events--; /* how many there are depends on the cuts */
            user_event(u, &event);
            user_take_output(u);
            if (flags & 16 && !aborted && u->events >= events_before + 3) {
                aborted = true;
                (void)dicore_association_abort(u->association, 0, 0);
                user_take_output(u);
            }
        } while (event.kind != DICORE_EVENT_NONE);
        if (done != part)
            abort();
        free(copy);
        at += part;
    }
    if (u->in_run)
        user_end_run(u, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    heap h = {0};
    user whole, cut;
    uint64_t seed = (uint64_t)data[1] << 8 | data[2];
    run(&whole, &h, data[0], seed, data + 3, size - 3, false);
    if (h.peak > 64 * 1024 + 16 * size)
        abort();
    run(&cut, &h, data[0], seed, data + 3, size - 3, true);
    if (whole.log.size != cut.log.size || (whole.log.size && memcmp(whole.log.data, cut.log.data, cut.log.size) != 0)) {
        fprintf(stderr, "whole:\n%.*scut:\n%.*s", (int)whole.log.size, (const char *)whole.log.data, (int)cut.log.size,
                (const char *)cut.log.data);
        abort();
    }
    if (whole.output.size != cut.output.size || (whole.output.size && memcmp(whole.output.data, cut.output.data, cut.output.size) != 0))
        abort();
    if (dicore_association_state(whole.association) != dicore_association_state(cut.association) ||
        dicore_association_received(whole.association) != dicore_association_received(cut.association))
        abort();
    user_free(&whole);
    user_free(&cut);
    if (h.live)
        abort();
    return 0;
}
