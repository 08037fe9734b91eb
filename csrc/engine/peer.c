/* One connection of the engine: what it sends is taken apart, gathered, stored and answered. All of it runs in the
 * connection's own thread. */
#include "engine/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATUS_SUCCESS = 0x0000, STATUS_BAD_INSTANCE = 0x0117, STATUS_UNRECOGNIZED = 0x0211, STATUS_NO_RESOURCES = 0xA700,
       STATUS_CANNOT_UNDERSTAND = 0xC000, STATUS_CONFLICT = 0xC111 };

static void settle(peer *p, token *k, uint16_t status);
static void end(peer *p);
static void give_up(peer *p, dicore_engine_why why, uint8_t source, uint8_t reason);
static void lost(peer *p);

static const char verification[] = "1.2.840.10008.1.1", application[] = "1.2.840.10008.3.1.1.1";

static bool same(dicore_span a, const void *data, size_t size) { return a.size == size && memcmp(a.data, data, size) == 0; }

/** Grow an array for one more. */
static bool reserve(dicore_engine *e, void **array, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return true;
    const size_t more = *capacity ? *capacity * 2 : 8;
    void *grown = engine_resize(e, *array, *capacity * size, more * size);
    if (!grown)
        return false;
    *array = grown;
    *capacity = more;
    return true;
}

/* ---- buffers and tokens --------------------------------------------------------------------------------------------- */

static landing *landing_new(thread *t, size_t capacity)
{
    if (capacity == LANDING && t->spare) {
        landing *b = t->spare;
        t->spare = b->next;
        t->spare_count--;
        b->used = 0;
        return b;
    }
    landing *b = engine_resize(t->engine, NULL, 0, sizeof *b + capacity);
    if (b)
        *b = (landing){.capacity = capacity};
    return b;
}

static void landing_drop(thread *t, landing *b)
{
    if (b->capacity == LANDING && t->spare_count < KEPT) {
        b->next = t->spare; /* the warmest first */
        t->spare = b;
        t->spare_count++;
    } else {
        engine_resize(t->engine, b, sizeof *b + b->capacity, 0);
    }
}

/** The shared buffer for the next read: nobody holds it. */
static landing *landing_current(thread *t)
{
    if (!t->current || t->current->holders)
        t->current = landing_new(t, LANDING);
    if (t->current)
        t->current->used = 0;
    return t->current;
}

static void hold(peer *p, landing *b)
{
    b->holders++;
    if (!b->host) {
        b->host = p->host;
        atomic_fetch_add(&p->host->in_flight, b->capacity);
        atomic_fetch_add(&p->thread->engine->in_flight, b->capacity);
    }
}

static void release(thread *t, landing *b)
{
    if (--b->holders)
        return;
    if (b->host) {
        atomic_fetch_sub(&b->host->in_flight, b->capacity);
        atomic_fetch_sub(&t->engine->in_flight, b->capacity);
        b->host = NULL;
    }
    if (b != t->current)
        landing_drop(t, b);
}

static void release_all(thread *t, landing **buffers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        release(t, buffers[i]);
}

static bool full(const peer *p)
{
    const dicore_engine *e = p->thread->engine;
    return atomic_load_explicit(&e->in_flight, memory_order_relaxed) >= e->options.in_flight ||
           atomic_load_explicit(&p->host->in_flight, memory_order_relaxed) >= e->options.in_flight_per_peer;
}

static token *token_new(thread *t)
{
    token *k = t->tokens;
    if (k) {
        t->tokens = (token *)k->item.next;
        t->token_count--;
        return k;
    }
    return engine_resize(t->engine, NULL, 0, sizeof *k);
}

static void token_drop(thread *t, token *k)
{
    if (t->token_count >= KEPT_TOKENS) {
        engine_resize(t->engine, k, sizeof *k, 0);
        return;
    }
    k->item.next = (item *)t->tokens;
    t->tokens = k;
    t->token_count++;
}

void thread_free_memory(thread *t)
{
    for (landing *b = t->spare, *next; b; b = next) {
        next = b->next;
        engine_resize(t->engine, b, sizeof *b + b->capacity, 0);
    }
    if (t->current)
        engine_resize(t->engine, t->current, sizeof *t->current + t->current->capacity, 0);
    for (token *k = t->tokens, *next; k; k = next) {
        next = (token *)k->item.next;
        engine_resize(t->engine, k, sizeof *k, 0);
    }
    if (t->spans)
        engine_resize(t->engine, t->spans, t->span_capacity * sizeof *t->spans, 0);
}

/* ---- beginning and end ---------------------------------------------------------------------------------------------- */

static void mark(peer *p) /* there may be something to send */
{
    if (p->is_dirty)
        return;
    p->is_dirty = true;
    p->dirty = p->thread->dirty;
    p->thread->dirty = p;
}

static void says(peer *p, dicore_engine_why why)
{
    if (!p->why_set) {
        p->why = (uint8_t)why;
        p->why_set = true;
    }
}

/* ---- the capture, where there is one ---------------------------------------------------------------------------------- */

static void show_begin(peer *p, const connection *c)
{
    dicore_capture_end_point own = {0}, other = {.family = c->family, .port = c->port};
    memcpy(other.address, c->address, sizeof other.address);
    connection here;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    if (getsockname(p->fd, (struct sockaddr *)&bound, &size) == 0) {
        address_of(&bound, &here);
        own.family = here.family;
        own.port = here.port;
        memcpy(own.address, here.address, sizeof own.address);
    }
    p->shown = dicore_capture_begin(p->thread->engine->options.capture, &own, &other, true, (dicore_span){0});
    p->how = DICORE_CAPTURE_CLOSED;
}

static void show(peer *p, bool ours, const uint8_t *data, size_t size)
{
    const dicore_span piece = {data, size};
    dicore_capture_data(p->shown, ours, &piece, 1);
}

/** Before the socket is closed: with bytes unread in it the kernel resets the connection. */
static void show_end(peer *p)
{
    char text[48];
    int unread = 0;
    const int size = snprintf(text, sizeof text, "%s -> %s", p->calling_ae, p->called_ae);
    for (int i = 0; i < size; i++)
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    if (p->how == DICORE_CAPTURE_CLOSED && ioctl(p->fd, FIONREAD, &unread) == 0 && unread)
        p->how = DICORE_CAPTURE_RESET;
    dicore_capture_end(p->shown, p->how, (dicore_span){(const uint8_t *)text, p->calling_ae[0] ? (size_t)size : 0});
    p->shown = NULL;
}

/* ---- how long it takes ------------------------------------------------------------------------------------------------ */

/** The response to a C-STORE is with the kernel. */
static void timed(peer *p, const token *k, uint64_t now)
{
    thread *t = p->thread;
    const uint64_t took[4] = {k->first - k->commanded, k->last - k->first, k->settled - k->last, now - k->settled};
    for (unsigned i = 0; i < 4; i++)
        dicore_times_add(&t->times[DICORE_PHASE_FIRST_BYTE + i], took[i]);
    if (!t->engine->options.report_ends)
        return;
    if (p->timed++ == 0) {
        memcpy(p->single, took, sizeof took);
        return;
    }
    if (!p->times) {
        p->times = engine_resize(t->engine, NULL, 0, 4 * sizeof *p->times);
        if (!p->times)
            return; /* the first one stands for all */
        memset(p->times, 0, 4 * sizeof *p->times);
        for (unsigned i = 0; i < 4; i++)
            dicore_times_add(&p->times[i], p->single[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        dicore_times_add(&p->times[i], took[i]);
}

/** All that was to be sent is with the kernel. */
static void sent_all(peer *p)
{
    thread *t = p->thread;
    if (!p->settled && !p->echoed && !p->asked)
        return;
    const uint64_t now = dicore_now_ns();
    if (p->asked) {
        p->negotiate_time = now - p->asked;
        dicore_times_add(&t->times[DICORE_PHASE_NEGOTIATE], p->negotiate_time);
        p->asked = 0;
    }
    if (p->echoed)
        dicore_times_add(&t->times[DICORE_PHASE_ANSWER], now - p->echoed);
    p->echoed = 0;
    for (token *k; (k = p->settled);) {
        p->settled = (token *)k->item.next;
        timed(p, k, now);
        token_drop(t, k);
    }
}

static void summarise(const peer *p, dicore_time_summary out[DICORE_PHASES])
{
    const uint64_t once[2] = {p->accept_time, p->negotiate_time};
    for (unsigned i = 0; i < 2; i++)
        if (once[i])
            out[i] = (dicore_time_summary){1, once[i], once[i], once[i]};
    for (unsigned i = 0; i < 4; i++)
        if (p->times)
            dicore_times_summary(&p->times[i], &out[DICORE_PHASE_FIRST_BYTE + i]);
        else if (p->timed)
            out[DICORE_PHASE_FIRST_BYTE + i] = (dicore_time_summary){1, p->single[i], p->single[i], p->single[i]};
}

static void bury(peer *p) /* nothing of it is anywhere else: freed at the end of the round */
{
    if (p->fd >= 0 || p->unanswered || p->job)
        return;
    p->dead = p->thread->dead;
    p->thread->dead = p;
}

void peer_connect(thread *t, const connection *c)
{
    dicore_engine *e = t->engine;
    peer *p = engine_resize(e, NULL, 0, sizeof *p);
    if (p) {
        memset(p, 0, sizeof *p);
        p->host = host_take(e, c->family, c->address);
        p->core = p->host ? dicore_association_new(&e->options.association, &e->options.allocator) : NULL;
    }
    if (!p || !p->core) {
        if (p && p->host)
            host_leave(e, p->host);
        if (p)
            engine_resize(e, p, sizeof *p, 0);
        close(c->fd);
        atomic_fetch_sub(&e->open, 1);
        return;
    }
    p->thread = t;
    p->fd = c->fd;
    p->port = c->port;
    p->interest = UINT32_MAX;
    p->started = t->now;
    p->accepted = dicore_now_ns();
    p->next = t->peers;
    if (p->next)
        p->next->previous = p;
    t->peers = p;
    t->living++;
    count_more(t, DICORE_COUNT_CONNECTIONS, 1);
    if (e->options.capture)
        show_begin(p, c);
    (void)dicore_association_connected(p->core);
    const bool crowded = atomic_load_explicit(&e->open, memory_order_relaxed) > e->options.associations + OVERFLOW;
    const bool greedy = !p->host->local && atomic_load_explicit(&p->host->connections, memory_order_relaxed) >
                                               e->options.associations_per_peer + OVERFLOW_PEER;
    if (crowded || greedy) {
        count_more(t, crowded ? DICORE_COUNT_LIMIT_ASSOCIATIONS : DICORE_COUNT_LIMIT_PER_PEER, 1);
        says(p, DICORE_WHY_OVERLOAD);
        end(p);
        lost(p);
        return;
    }
    wheel_put(t, p, dicore_association_deadline(p->core, t->now));
    watch(p);
}

/** Off the lists of the living; the socket is somebody else's business. */
static void leave(peer *p)
{
    thread *t = p->thread;
    p->fd = -1;
    wheel_remove(t, p);
    if (p->is_waiting) {
        peer **at = &t->waiting;
        while (*at != p)
            at = &(*at)->waiting;
        *at = p->waiting;
        p->is_waiting = false;
    }
    if (p->previous)
        p->previous->next = p->next;
    else
        t->peers = p->next;
    if (p->next)
        p->next->previous = p->previous;
    if (p->admitted) {
        atomic_fetch_sub(&t->engine->admitted, 1);
        atomic_fetch_sub(&p->host->admitted, 1);
        p->admitted = false;
    }
}

/** The connection is over. */
static void lost(peer *p)
{
    thread *t = p->thread;
    dicore_event event;
    if (p->fd < 0)
        return;
    dicore_association_closed(p->core, &event);
    if (!p->why_set) {
        count_more(t, DICORE_COUNT_CLOSED, 1);
        says(p, p->why_system ? DICORE_WHY_LOST : p->calling_ae[0] || p->negotiated ? DICORE_WHY_CLOSED : DICORE_WHY_CLOSED_EARLY);
    }
    end(p);
    if (p->shown)
        show_end(p);
    close(p->fd);
    leave(p);
    atomic_fetch_sub(&t->engine->open, 1);
    if (t->engine->options.report_ends) {
        dicore_engine_event said = {.kind = DICORE_ENGINE_ENDED, .why = (dicore_engine_why)p->why, .socket = -1,
                                    .family = p->host->family, .source = p->why_source, .reason = p->why_reason, .port = p->port,
                                    .status = p->why_status, .system = p->why_system, .offset = p->why_offset,
                                    .started = p->started, .accepted = p->accepted, .stores = p->stores,
                                    .stored_bytes = p->stored_bytes, .echoes = p->echoes,
                                    .contexts = (uint32_t)p->context_count};
        summarise(p, said.phases);
        memcpy(said.address, p->host->address, sizeof said.address);
        memcpy(said.calling_ae, p->calling_ae, sizeof said.calling_ae);
        memcpy(said.called_ae, p->called_ae, sizeof said.called_ae);
        event_put(t, &said);
    }
    bury(p);
}

static void drop_fragments(peer *p)
{
    release_all(p->thread, p->buffers, p->buffer_count);
    p->buffer_count = p->fragment_count = 0;
    p->gathered = 0;
    p->own = p->tail = NULL;
    if (p->rest) {
        release(p->thread, p->rest);
        p->rest = NULL;
    }
}

static void stream_free(dicore_engine *e, stream *s)
{
    if (s->buffers)
        engine_resize(e, s->buffers, s->buffer_capacity * sizeof *s->buffers, 0);
    if (s->pieces)
        engine_resize(e, s->pieces, s->piece_capacity * sizeof *s->pieces, 0);
    engine_resize(e, s, sizeof *s, 0);
}

/** Forget a stream that no helper has. */
static void stream_abort(peer *p, stream *s)
{
    if (s->begun)
        dicore_lane_abort(&s->lane);
    if (s->token)
        token_drop(p->thread, s->token);
    stream_free(p->thread->engine, s);
}

/** Nothing more is taken or answered; memory goes back, a stream is aborted. */
static void end(peer *p)
{
    if (p->ended)
        return;
    p->ended = true;
    drop_fragments(p);
    if (p->stream && p->job)
        p->stream->dead = true;
    else if (p->stream)
        stream_abort(p, p->stream);
    p->stream = NULL;
    if (p->token)
        token_drop(p->thread, p->token);
    p->token = NULL;
    for (token *k; (k = p->settled);) {
        p->settled = (token *)k->item.next;
        token_drop(p->thread, k);
    }
    p->kind = GATHER_NONE;
}

static void give_up(peer *p, dicore_engine_why why, uint8_t source, uint8_t reason)
{
    if (p->ended)
        return;
    says(p, why);
    count_more(p->thread, DICORE_COUNT_ABORTED, 1);
    if (why == DICORE_WHY_UNREAD)
        count_more(p->thread, DICORE_COUNT_LIMIT_UNREAD, 1);
    (void)dicore_association_abort(p->core, source, reason);
    end(p);
    mark(p);
}

void peer_free(peer *p)
{
    dicore_engine *e = p->thread->engine;
    dicore_association_free(p->core);
    if (p->buffers)
        engine_resize(e, p->buffers, p->buffer_capacity * sizeof *p->buffers, 0);
    if (p->fragments)
        engine_resize(e, p->fragments, p->fragment_capacity * sizeof *p->fragments, 0);
    if (p->contexts)
        engine_resize(e, p->contexts, p->context_bytes, 0);
    if (p->raw)
        engine_resize(e, p->raw, p->raw_capacity, 0);
    if (p->times)
        engine_resize(e, p->times, 4 * sizeof *p->times, 0);
    if (p->host)
        host_leave(e, p->host);
    p->thread->living--;
    engine_resize(e, p, sizeof *p, 0);
}

void peer_drain(peer *p)
{
    if (p->kind == GATHER_NONE && !p->unanswered)
        peer_flush(p);
}

void peer_stop(peer *p)
{
    give_up(p, DICORE_WHY_DRAINED, 0, 0);
    peer_flush(p);
    lost(p);
}

void peer_tick(peer *p)
{
    thread *t = p->thread;
    dicore_event event;
    if (p->fd < 0)
        return;
    if (p->closing_since) {
        if (t->now > p->closing_since + t->engine->options.association.artim_timeout)
            lost(p); /* it does not read our last words */
        else
            wheel_put(t, p, p->closing_since + t->engine->options.association.artim_timeout);
        return;
    }
    if (p->job || p->is_waiting || p->resumed) {
        p->resumed = false;
        dicore_association_touch(p->core);
    }
    const uint64_t due = dicore_association_deadline(p->core, t->now);
    if (due > t->now) {
        wheel_put(t, p, due);
        return;
    }
    (void)dicore_association_tick(p->core, t->now, &event);
    if (event.kind == DICORE_EVENT_TIMEOUT) {
        says(p, DICORE_WHY_TIMEOUT);
        if (p->why == DICORE_WHY_TIMEOUT)
            p->why_reason = (uint8_t)event.timeout;
        const dicore_engine_counter which = event.timeout == DICORE_TIMEOUT_NETWORK ? DICORE_COUNT_TIMEOUT_NETWORK
                                            : event.timeout == DICORE_TIMEOUT_DIMSE ? DICORE_COUNT_TIMEOUT_DIMSE
                                            : event.timeout == DICORE_TIMEOUT_IDLE  ? DICORE_COUNT_TIMEOUT_IDLE
                                                                                    : DICORE_COUNT_TIMEOUT_ARTIM;
        count_more(t, which, 1);
        end(p);
    }
    peer_flush(p);
}

/* ---- bytes out ------------------------------------------------------------------------------------------------------ */

void peer_flush(peer *p)
{
    thread *t = p->thread;
    const uint8_t *data;
    size_t size;
    if (p->fd < 0)
        return;
    if (t->draining_seen && !p->ended && p->kind == GATHER_NONE && !p->unanswered)
        give_up(p, DICORE_WHY_DRAINED, 0, 0);
    bool blocked = false;
    for (;;) {
        dicore_association_output(p->core, &data, &size);
        if (!size)
            break;
        const ssize_t n = send(p->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            if (p->shown)
                show(p, true, data, (size_t)n);
            dicore_association_sent(p->core, (size_t)n);
        } else if (errno == EAGAIN) {
            blocked = true;
            break;
        } else if (errno != EINTR) {
            if (!p->why_set)
                p->why_system = errno;
            p->how = DICORE_CAPTURE_RESET_BY_PEER;
            lost(p);
            return;
        }
    }
    if (!blocked)
        sent_all(p);
    const bool over = dicore_association_closing(p->core) || (p->ended && t->draining_seen);
    if (over && !blocked) {
        lost(p);
        return;
    }
    if (over && !p->closing_since)
        p->closing_since = t->now ? t->now : 1;
    p->blocked = blocked; /* a peer that does not read its answers is not read */
    watch(p);
    if (p->closing_since)
        wheel_put(t, p, p->closing_since + t->engine->options.association.artim_timeout);
    else
        wheel_put(t, p, dicore_association_deadline(p->core, t->now));
}

static void respond(peer *p, uint8_t context_id, const dicore_command *answer)
{
    if (!p->ended && dicore_association_respond(p->core, context_id, answer) != DICORE_OK)
        give_up(p, DICORE_WHY_UNREAD, 0, 0);
}

/** Answer without looking at the data set, if there is one: it is dropped as it comes. */
static void refuse_message(peer *p, const dicore_event *event, uint16_t status)
{
    dicore_command answer;
    if (!event->last) {
        p->kind = GATHER_REFUSED;
        p->message_size = 0;
    }
    dicore_command_response(&event->command, status, &answer);
    if (!dicore_uid_usable(answer.affected_class)) /* what is none cannot be repeated */
        answer.affected_class.data = NULL;
    if (!dicore_uid_usable(answer.affected_instance))
        answer.affected_instance.data = NULL;
    respond(p, event->context_id, &answer);
}

/** The answer to a C-STORE. */
static void settle(peer *p, token *k, uint16_t status)
{
    thread *t = p->thread;
    if (status == STATUS_SUCCESS) {
        p->stores++;
        p->stored_bytes += k->size;
        count_more(t, DICORE_COUNT_STORES, 1);
    } else {
        count_more(t, DICORE_COUNT_STORES_FAILED, 1);
    }
    if (!p->ended) {
        const dicore_command answer = {
            .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_RESPONDED_TO | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_STATUS,
            .command_field = DICORE_C_STORE_RSP,
            .responded_to = k->message_id,
            .data_set_type = DICORE_NO_DATA_SET,
            .status = status,
            .affected_class = {k->sop_class, k->class_size},
            .affected_instance = {k->sop_instance, k->instance_size},
        };
        respond(p, k->context_id, &answer);
        mark(p);
    }
    if (p->ended) {
        token_drop(t, k);
        return;
    }
    if (!k->settled)
        k->settled = dicore_now_ns();
    k->item.next = (item *)p->settled;
    p->settled = k;
}

static uint16_t failure(peer *p, const token *k, dicore_status status, int system)
{
    dicore_engine_event said = {.kind = DICORE_ENGINE_FAILED, .socket = -1, .family = p->host->family, .port = p->port,
                                .status = status, .system = system};
    memcpy(said.address, p->host->address, sizeof said.address);
    memcpy(said.text, k->sop_instance, k->instance_size);
    event_put(p->thread, &said);
    return STATUS_NO_RESOURCES;
}

/* ---- negotiation ---------------------------------------------------------------------------------------------------- */

static void copy_title(char out[17], dicore_span title)
{
    memset(out, 0, 17);
    if (title.size)
        memcpy(out, title.data, title.size < 16 ? title.size : 16);
}

static void reject(peer *p, dicore_engine_why why, uint8_t result, uint8_t source, uint8_t reason)
{
    says(p, why);
    count_more(p->thread, DICORE_COUNT_REJECTED, 1);
    (void)dicore_association_reject(p->core, result, source, reason);
    end(p);
}

static bool is_foreign(const dicore_engine *e, const dicore_associate *proposal)
{
    for (size_t i = 0; i < proposal->context_count && e->foreign.count; i++)
        if (name_in(&e->foreign, proposal->contexts[i].abstract_syntax))
            return true;
    return false;
}

static bool serves(const dicore_engine *e, dicore_span sop_class)
{
    return same(sop_class, verification, sizeof verification - 1) || name_in(&e->sop_classes, sop_class);
}

/** Remember what was accepted: SOP class and transfer syntax of each context. */
static bool remember(peer *p, const dicore_associate *proposal, const dicore_context *contexts)
{
    dicore_engine *e = p->thread->engine;
    size_t count = 0, bytes = 0;
    for (size_t i = 0; i < proposal->context_count; i++)
        if (contexts[i].result == 0) {
            count++;
            bytes += proposal->contexts[i].abstract_syntax.size + contexts[i].syntaxes->size;
        }
    if (!count)
        return true;
    const size_t head = count * sizeof *p->contexts;
    if (head + bytes > UINT16_MAX || !(p->contexts = engine_resize(e, NULL, 0, head + bytes)))
        return false;
    p->context_bytes = head + bytes;
    p->context_count = count;
    uint8_t *base = (uint8_t *)p->contexts;
    size_t at = head, n = 0;
    for (size_t i = 0; i < proposal->context_count; i++) {
        if (contexts[i].result != 0)
            continue;
        const dicore_span sop_class = proposal->contexts[i].abstract_syntax, syntax = *contexts[i].syntaxes;
        p->contexts[n++] = (agreed){.id = contexts[i].id, .class_size = (uint8_t)sop_class.size, .syntax_size = (uint8_t)syntax.size,
                                    .class_at = (uint16_t)at, .syntax_at = (uint16_t)(at + sop_class.size)};
        if (sop_class.size)
            memcpy(base + at, sop_class.data, sop_class.size);
        if (syntax.size)
            memcpy(base + at + sop_class.size, syntax.data, syntax.size);
        at += sop_class.size + syntax.size;
    }
    return true;
}

static bool accept_contexts(peer *p, const dicore_associate *proposal)
{
    dicore_engine *e = p->thread->engine;
    const size_t size = (proposal->context_count + 1) * sizeof(dicore_context);
    dicore_context *contexts = engine_resize(e, NULL, 0, size);
    if (!contexts)
        return false;
    for (size_t i = 0; i < proposal->context_count; i++) {
        const dicore_context *c = &proposal->contexts[i];
        contexts[i] = (dicore_context){.id = c->id, .result = 3}; /* abstract syntax not supported */
        if (c->abstract_syntax.size > 64 || !serves(e, c->abstract_syntax))
            continue;
        contexts[i].result = 4; /* transfer syntaxes not supported */
        for (size_t j = 0; j < c->syntax_count; j++)
            if (c->syntaxes[j].size <= 64 && name_in(&e->transfer_syntaxes, c->syntaxes[j])) {
                contexts[i].result = 0;
                contexts[i].syntaxes = &c->syntaxes[j];
                contexts[i].syntax_count = 1;
                break;
            }
    }
    dicore_associate answer = {.contexts = contexts, .context_count = proposal->context_count,
                               .implementation_uid = e->options.implementation_uid,
                               .implementation_version = e->options.implementation_version};
    if (proposal->has_async) { /* a number of 0 is unlimited */
        const uint32_t most = e->options.window ? e->options.window : 1;
        answer.has_async = true;
        answer.async_invoked = (uint16_t)(proposal->async_invoked && proposal->async_invoked < most ? proposal->async_invoked : most);
        answer.async_performed = 1;
    }
    const bool done = remember(p, proposal, contexts) && dicore_association_accept(p->core, &answer) == DICORE_OK;
    engine_resize(e, contexts, size, 0); /* the proposal is gone now */
    return done;
}

/** Why it may not come in: 0, DICORE_WHY_REJECTED_CALLING, DICORE_WHY_REJECTED_ADDRESS. */
static int is_stranger(dicore_engine *e, const peer *p, const dicore_associate *proposal)
{
    pthread_mutex_lock(&e->policy);
    const int why = !name_in(&e->calling_ae, proposal->calling_ae) ? DICORE_WHY_REJECTED_CALLING
                    : !admitted_address(e, p->host)                ? DICORE_WHY_REJECTED_ADDRESS
                                                                   : 0;
    pthread_mutex_unlock(&e->policy);
    return why;
}

/** Accept or reject, by the options (PS3.8 table 9-21 for the reasons). */
static void negotiate(peer *p, const dicore_associate *proposal)
{
    thread *t = p->thread;
    dicore_engine *e = t->engine;
    int stranger;
    const bool more = atomic_fetch_add(&e->admitted, 1) < e->options.associations;
    const bool more_of_it = atomic_fetch_add(&p->host->admitted, 1) < e->options.associations_per_peer || p->host->local;
    p->admitted = true; /* counted; leave() takes it back */
    p->accept_time = t->read_at - p->accepted;
    p->asked = t->read_at;
    dicore_times_add(&t->times[DICORE_PHASE_ACCEPT], p->accept_time);
    copy_title(p->calling_ae, proposal->calling_ae);
    copy_title(p->called_ae, proposal->called_ae);
    if (t->draining_seen) {
        reject(p, DICORE_WHY_REJECTED_DRAINING, 2, 3, 1);
    } else if (!more) {
        count_more(t, DICORE_COUNT_LIMIT_ASSOCIATIONS, 1);
        reject(p, DICORE_WHY_REJECTED_FULL, 2, 3, 2);
    } else if (!more_of_it) {
        count_more(t, DICORE_COUNT_LIMIT_PER_PEER, 1);
        reject(p, DICORE_WHY_REJECTED_PEER_FULL, 2, 3, 2);
    } else if (!same(proposal->application_context, application, sizeof application - 1)) {
        reject(p, DICORE_WHY_REJECTED_CONTEXT, 1, 1, 2);
    } else if (!name_in(&e->called_ae, proposal->called_ae)) {
        reject(p, DICORE_WHY_REJECTED_CALLED, 1, 1, 7);
    } else if ((stranger = is_stranger(e, p, proposal))) {
        reject(p, (dicore_engine_why)stranger, 1, 1, stranger == DICORE_WHY_REJECTED_CALLING ? 3 : 1);
    } else if (!accept_contexts(p, proposal)) {
        give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
    } else {
        p->negotiated = true;
        count_more(t, DICORE_COUNT_ASSOCIATIONS, 1);
    }
    if (p->raw) {
        engine_resize(e, p->raw, p->raw_capacity, 0);
        p->raw = NULL;
    }
    if (!p->negotiated) { /* does not count any longer */
        p->admitted = false;
        atomic_fetch_sub(&e->admitted, 1);
        atomic_fetch_sub(&p->host->admitted, 1);
    }
}

/** Another association is within the limits. Else negotiate() says so. */
static bool room_for_one(const peer *p)
{
    const dicore_engine_options *o = &p->thread->engine->options;
    return atomic_load(&p->thread->engine->admitted) < o->associations &&
           (p->host->local || atomic_load(&p->host->admitted) < o->associations_per_peer);
}

/** Give the connection to the owner, with the bytes that were read. False: it stays here. */
static bool hand_over(peer *p, const uint8_t *data, size_t size)
{
    thread *t = p->thread;
    dicore_engine *e = t->engine;
    const size_t total = p->raw_size + size;
    uint8_t *bytes = engine_resize(e, NULL, 0, total);
    if (!bytes)
        return false;
    if (p->raw_size)
        memcpy(bytes, p->raw, p->raw_size);
    memcpy(bytes + p->raw_size, data, size);
    dicore_engine_event said = {.kind = DICORE_ENGINE_HANDOVER, .socket = p->fd, .family = p->host->family, .port = p->port,
                                .data = bytes, .size = total, .started = p->started, .accepted = p->accepted, .stream = p->shown,
                                .host = p->host};
    memcpy(said.address, p->host->address, sizeof said.address);
    atomic_fetch_add(&e->admitted, 1);       /* until dicore_engine_gone, which also leaves the host */
    atomic_fetch_add(&p->host->admitted, 1);
    struct epoll_event none = {0};
    epoll_ctl(t->epoll, EPOLL_CTL_DEL, p->fd, &none);
    count_more(t, DICORE_COUNT_HANDED_OVER, 1); /* first: the owner may have it answered before this thread goes on */
    atomic_fetch_sub(&e->open, 1);
    if (!ring_put(&e->events, &said)) {
        atomic_fetch_add(&e->open, 1);
        count_more(t, DICORE_COUNT_HANDED_OVER, UINT64_MAX);
        atomic_fetch_sub(&e->admitted, 1);
        atomic_fetch_sub(&p->host->admitted, 1);
        p->interest = UINT32_MAX;
        engine_resize(e, bytes, total, 0);
        return false;
    }
    p->shown = NULL;
    p->ended = true;
    leave(p);
    p->host = NULL; /* the owner has it */
    bury(p);
    return true;
}

/* ---- gathering a data set ------------------------------------------------------------------------------------------- */

static bool add_fragment(peer *p, landing *b, uint32_t offset, uint32_t length)
{
    const size_t count = p->buffer_count;
    const uint32_t index = (uint32_t)(count && p->buffers[count - 1] == b ? count - 1 : count);
    if (p->fragment_count) {
        fragment *last = &p->fragments[p->fragment_count - 1];
        if (last->buffer == index) {
            if (last->offset + last->length == offset) {
                last->length += length;
                return true;
            }
            if (length <= JOIN) { /* many small PDVs: over the headers, to the bytes before them */
                memmove(b->data + last->offset + last->length, b->data + offset, length);
                last->length += length;
                return true;
            }
        }
    }
    void *array = p->fragments;
    const bool room = reserve(p->thread->engine, &array, &p->fragment_capacity, p->fragment_count, sizeof *p->fragments);
    p->fragments = array;
    if (room)
        p->fragments[p->fragment_count++] = (fragment){index, offset, length};
    return room;
}

static bool add_buffer(peer *p, landing *b)
{
    void *array = p->buffers;
    const bool room = reserve(p->thread->engine, &array, &p->buffer_capacity, p->buffer_count, sizeof(landing *));
    p->buffers = array;
    if (!room)
        return false;
    hold(p, b);
    p->buffers[p->buffer_count++] = b;
    return true;
}

/** Copy the fragments from `first` on, which lie in `b`, to a small buffer that grows with arrival. */
static bool copy_out(peer *p, landing *b, size_t first, size_t size)
{
    landing *tail = p->tail;
    if (!tail || tail->capacity - tail->used < size || p->buffers[p->buffer_count - 1] != tail) {
        size_t capacity = !tail ? 4096 : tail->capacity * 4 < LANDING ? tail->capacity * 4 : LANDING;
        while (capacity < size)
            capacity *= 4;
        tail = landing_new(p->thread, capacity);
        if (!tail)
            return false;
        if (!add_buffer(p, tail)) {
            landing_drop(p->thread, tail);
            return false;
        }
        p->tail = tail;
    }
    const size_t count = p->fragment_count;
    p->fragment_count = first;
    for (size_t i = first; i < count; i++) {
        const fragment moved = p->fragments[i];
        memcpy(tail->data + tail->used, b->data + moved.offset, moved.length);
        if (!add_fragment(p, tail, (uint32_t)tail->used, moved.length))
            return false;
        tail->used += moved.length;
    }
    return true;
}

/** The gathered bytes as spans, at `*out` (an array that grows). Afterwards `buffers` holds every buffer under them, once.
 *  `b` is the buffer being read, or NULL. */
static bool collect(peer *p, landing *b, dicore_span **out, size_t *capacity, size_t *count)
{
    dicore_engine *e = p->thread->engine;
    if (p->fragment_count && p->fragments[p->fragment_count - 1].buffer == p->buffer_count && !add_buffer(p, b))
        return false;
    if (*capacity < p->fragment_count) {
        dicore_span *grown = engine_resize(e, *out, *capacity * sizeof **out, p->fragment_count * sizeof **out);
        if (!grown)
            return false;
        *out = grown;
        *capacity = p->fragment_count;
    }
    for (size_t i = 0; i < p->fragment_count; i++)
        (*out)[i] = (dicore_span){p->buffers[p->fragments[i].buffer]->data + p->fragments[i].offset, p->fragments[i].length};
    *count = p->fragment_count;
    p->fragment_count = 0;
    p->gathered = 0;
    if (p->fragment_capacity > 64) {
        engine_resize(e, p->fragments, p->fragment_capacity * sizeof *p->fragments, 0);
        p->fragments = NULL;
        p->fragment_capacity = 0;
    }
    p->own = p->tail = NULL;
    return true;
}

static dicore_span syntax_of(const peer *p, uint8_t context_id)
{
    for (size_t i = 0; i < p->context_count; i++)
        if (p->contexts[i].id == context_id)
            return (dicore_span){(const uint8_t *)p->contexts + p->contexts[i].syntax_at, p->contexts[i].syntax_size};
    return (dicore_span){0}; /* the core lets only accepted contexts through */
}

/* ---- storing -------------------------------------------------------------------------------------------------------- */

static void on_committed(void *argument, dicore_status status, int system) /* by the store's commit thread */
{
    token *k = argument;
    k->status = status;
    k->system = system;
    k->settled = dicore_now_ns();
    thread_post(k->peer->thread, &k->item);
}

static void wait_for(peer *p)
{
    p->unanswered++;
    atomic_fetch_add(&p->host->in_flight, MESSAGE_COST);
    atomic_fetch_add(&p->thread->engine->in_flight, MESSAGE_COST);
}

static void waited(peer *p)
{
    p->unanswered--;
    atomic_fetch_sub(&p->host->in_flight, MESSAGE_COST);
    atomic_fetch_sub(&p->thread->engine->in_flight, MESSAGE_COST);
}

void peer_answered(token *k)
{
    peer *p = k->peer;
    waited(p);
    settle(p, k, k->status == DICORE_OK ? STATUS_SUCCESS : failure(p, k, k->status, k->system));
    if (p->fd < 0)
        bury(p);
    else
        mark(p);
}

static bool to_helper(peer *p, landing *b, bool commit);

/** A whole data set. */
static void deliver(peer *p, landing *b)
{
    thread *t = p->thread;
    dicore_engine *e = t->engine;
    token *k = p->token;
    size_t count = 0;
    if (!collect(p, b, &t->spans, &t->span_capacity, &count)) {
        give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
        return;
    }
    const dicore_span syntax = syntax_of(p, k->context_id);
    dicore_status status = DICORE_OK;
    dicore_outcome outcome = DICORE_STORED;
    dicore_error error = {0};
    k->size = p->message_size;
    if (e->options.store) {
        const dicore_instance instance = {
            .sop_class = {k->sop_class, k->class_size},
            .sop_instance = {k->sop_instance, k->instance_size},
            .transfer_syntax = syntax,
            .source_ae = {(const uint8_t *)p->calling_ae, strlen(p->calling_ae)},
            .pieces = t->spans,
            .count = count,
            .token = k,
            .done = on_committed,
        };
        k->peer = p;
        k->item.kind = ITEM_ANSWER;
        status = dicore_store_append(e->options.store, &instance, &outcome, &error);
        t->stored = true;
    } else {
        uint32_t crc = 0;
        for (size_t i = 0; i < count; i++)
            crc = dicore_crc32c(crc, t->spans[i].data, t->spans[i].size);
        k->size += crc & 0; /* computed for its cost alone */
    }
    p->kind = GATHER_NONE;
    if (status == DICORE_LIMIT) { /* longer than a segment: it gets one of its own */
        for (size_t i = 0; i < count; i++) { /* the fragments again; the buffers are still held */
            size_t n = 0;
            while (t->spans[i].data < p->buffers[n]->data || t->spans[i].data >= p->buffers[n]->data + p->buffers[n]->capacity)
                n++;
            void *array = p->fragments;
            if (!reserve(e, &array, &p->fragment_capacity, p->fragment_count, sizeof *p->fragments)) {
                give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
                return;
            }
            p->fragments = array;
            p->fragments[p->fragment_count++] =
                (fragment){(uint32_t)n, (uint32_t)(t->spans[i].data - p->buffers[n]->data), (uint32_t)t->spans[i].size};
        }
        if (!to_helper(p, NULL, true))
            give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
        return;
    }
    release_all(t, p->buffers, p->buffer_count);
    p->buffer_count = 0;
    p->token = NULL;
    if (status == DICORE_OK && outcome == DICORE_WAITS)
        wait_for(p);
    else if (status != DICORE_OK)
        settle(p, k, failure(p, k, status, error.system));
    else
        settle(p, k, outcome == DICORE_CONFLICT ? STATUS_CONFLICT : STATUS_SUCCESS);
}

/* ---- data sets that go to a lane ------------------------------------------------------------------------------------ */

/** Give what is gathered to a helper. With `commit` the stream leaves the peer, who goes on with the next message. */
static bool to_helper(peer *p, landing *b, bool commit)
{
    dicore_engine *e = p->thread->engine;
    stream *s = p->stream;
    if (!s) {
        s = engine_resize(e, NULL, 0, sizeof *s);
        if (!s)
            return false;
        memset(s, 0, sizeof *s);
        s->peer = p;
        s->token = p->token;
        p->token = NULL;
        const dicore_span syntax = syntax_of(p, s->token->context_id);
        s->syntax_size = (uint8_t)syntax.size;
        memcpy(s->transfer_syntax, syntax.data, syntax.size);
        s->source_size = (uint8_t)strlen(p->calling_ae);
        memcpy(s->source_ae, p->calling_ae, s->source_size);
        p->stream = s;
    }
    if (!collect(p, b, &s->pieces, &s->piece_capacity, &s->piece_count))
        return false;
    landing **buffers = s->buffers;
    const size_t capacity = s->buffer_capacity;
    s->buffers = p->buffers;
    s->buffer_count = p->buffer_count;
    s->buffer_capacity = p->buffer_capacity;
    p->buffers = buffers;
    p->buffer_count = 0;
    p->buffer_capacity = capacity;
    s->commit = commit;
    if (commit) {
        s->token->size = p->message_size;
        p->stream = NULL;
        wait_for(p);
    } else {
        p->job = true;
        watch(p);
    }
    helpers_submit(e, s);
    return true;
}

static bool feed(peer *p, landing *b, size_t at, size_t end_);

/** A stream has failed: the rest of it is dropped, then it is answered. */
static void stream_failed(peer *p, stream *s)
{
    p->refusal = failure(p, s->token, s->status, s->error.system);
    p->token = s->token;
    s->token = NULL;
    p->stream = NULL;
    p->kind = GATHER_REFUSED;
    stream_abort(p, s);
}

void peer_lane_done(stream *s)
{
    peer *p = s->peer;
    thread *t = p->thread;
    dicore_engine *e = t->engine;
    release_all(t, s->buffers, s->buffer_count);
    s->buffer_count = s->piece_count = 0;
    if (s->commit) {
        token *k = s->token;
        s->token = NULL;
        waited(p);
        t->stored = true;
        settle(p, k, s->status != DICORE_OK                ? failure(p, k, s->status, s->error.system)
                     : s->outcome == DICORE_CONFLICT       ? STATUS_CONFLICT
                                                           : STATUS_SUCCESS);
        stream_free(e, s);
    } else {
        p->job = false;
        if (s->dead)
            stream_abort(p, s);
        else if (s->status != DICORE_OK)
            stream_failed(p, s);
        landing *rest = p->rest;
        if (rest) {
            const size_t at = p->rest_at, to = p->rest_end;
            p->rest = NULL;
            feed(p, rest, at, to);
            release(t, rest);
        }
    }
    if (p->fd < 0)
        bury(p);
    else
        mark(p);
}

/* ---- bytes in ------------------------------------------------------------------------------------------------------- */

static void begin_store(peer *p, const dicore_event *event)
{
    const dicore_command *c = &event->command;
    if (event->last || !dicore_uid_usable(c->affected_class) || !dicore_uid_usable(c->affected_instance)) {
        count_more(p->thread, DICORE_COUNT_STORES_FAILED, 1);
        refuse_message(p, event, event->last ? STATUS_CANNOT_UNDERSTAND : STATUS_BAD_INSTANCE);
        return;
    }
    token *k = token_new(p->thread);
    if (!k) {
        give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
        return;
    }
    p->commanded = p->thread->read_at;
    p->first_byte = 0;
    k->settled = 0;
    k->message_id = c->message_id;
    k->context_id = event->context_id;
    k->class_size = (uint8_t)c->affected_class.size;
    k->instance_size = (uint8_t)c->affected_instance.size;
    memcpy(k->sop_class, c->affected_class.data, k->class_size);
    memcpy(k->sop_instance, c->affected_instance.data, k->instance_size);
    p->token = k;
    p->message_size = 0;
    p->kind = GATHER_STORE;
}

static void command(peer *p, const dicore_event *event)
{
    const dicore_command *c = &event->command;
    if (p->ended)
        return;
    if (c->command_field == DICORE_C_STORE_RQ) {
        begin_store(p, event);
    } else if (c->command_field == DICORE_C_ECHO_RQ) {
        p->echoes++;
        if (!p->echoed)
            p->echoed = p->thread->read_at;
        count_more(p->thread, DICORE_COUNT_ECHOES, 1);
        refuse_message(p, event, STATUS_SUCCESS);
    } else if (c->command_field == DICORE_C_CANCEL_RQ) {
        return; /* nothing that we do can be cancelled; there is no answer (PS3.7 9.3.2.3) */
    } else if (c->command_field & 0x8000) {
        give_up(p, DICORE_WHY_RESPONSE, 2, 6);
    } else {
        count_more(p->thread, DICORE_COUNT_UNSUPPORTED, 1);
        refuse_message(p, event, STATUS_UNRECOGNIZED);
    }
}

static void data(peer *p, landing *b, const dicore_event *event)
{
    const dicore_engine_options *o = &p->thread->engine->options;
    if (p->ended)
        return;
    p->message_size += event->size;
    count_more(p->thread, DICORE_COUNT_BYTES, event->size);
    if (!p->first_byte)
        p->first_byte = p->thread->read_at;
    token *const whole = !event->last ? NULL : p->kind == GATHER_STREAM ? p->stream->token : p->token;
    if (whole) {
        whole->commanded = p->commanded;
        whole->first = p->first_byte;
        whole->last = p->thread->read_at;
    }
    if (p->message_size > o->dataset) {
        count_more(p->thread, DICORE_COUNT_LIMIT_DATASET, 1);
        give_up(p, DICORE_WHY_DATASET_LIMIT, 0, 0);
        return;
    }
    if (p->kind == GATHER_STORE || p->kind == GATHER_STREAM) {
        if (event->size) {
            p->gathered += event->size;
            if (!add_fragment(p, b, (uint32_t)(event->data - b->data), (uint32_t)event->size)) {
                give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
                return;
            }
        }
        bool fine = true;
        if (event->last && p->kind == GATHER_STREAM) {
            p->kind = GATHER_NONE;
            fine = to_helper(p, b, true);
        } else if (event->last) {
            deliver(p, b);
        } else if (p->kind == GATHER_STORE && p->message_size > o->stream_from && !o->store) {
            p->kind = GATHER_REFUSED; /* a sink without a store: the rest is not gathered */
            p->refusal = STATUS_SUCCESS;
            drop_fragments(p);
        } else if (p->kind == GATHER_STORE && p->message_size > o->stream_from) {
            count_more(p->thread, DICORE_COUNT_STREAMED, 1);
            p->kind = GATHER_STREAM;
            fine = to_helper(p, b, false);
        } else if (p->kind == GATHER_STREAM && p->gathered >= LANDING - ROOM) {
            fine = to_helper(p, b, false);
        }
        if (!fine)
            give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
    } else if (event->last) {
        token *k = p->token;
        p->token = NULL;
        if (p->kind == GATHER_REFUSED && k) {
            k->size = p->message_size;
            settle(p, k, p->refusal);
        }
        p->kind = GATHER_NONE;
    }
}

static void control(peer *p, const dicore_event *event)
{
    thread *t = p->thread;
    switch (event->kind) {
    case DICORE_EVENT_ASSOCIATE_RQ: negotiate(p, event->associate); break;
    case DICORE_EVENT_RELEASE_RQ:
        says(p, DICORE_WHY_RELEASED);
        count_more(t, DICORE_COUNT_RELEASED, 1);
        (void)dicore_association_release_reply(p->core);
        end(p);
        break;
    case DICORE_EVENT_ABORT:
        says(p, DICORE_WHY_ABORTED_BY_PEER);
        p->why_source = event->source;
        p->why_reason = event->reason;
        count_more(t, DICORE_COUNT_ABORTED_BY_PEER, 1);
        end(p);
        break;
    case DICORE_EVENT_FAILED:
        says(p, DICORE_WHY_VIOLATION);
        p->why_status = event->status;
        p->why_reason = event->reason;
        p->why_offset = event->offset;
        count_more(t, DICORE_COUNT_VIOLATIONS, 1);
        switch (event->limit) {
        case DICORE_WIRE_NO_LIMIT: break;
        case DICORE_WIRE_PDU_LIMIT: count_more(t, DICORE_COUNT_LIMIT_PDU, 1); break;
        case DICORE_WIRE_NEGOTIATION_LIMIT: count_more(t, DICORE_COUNT_LIMIT_NEGOTIATION, 1); break;
        case DICORE_WIRE_COMMAND_LIMIT: count_more(t, DICORE_COUNT_LIMIT_COMMAND, 1); break;
        }
        end(p);
        break;
    case DICORE_EVENT_NONE:
    case DICORE_EVENT_ASSOCIATE_AC:
    case DICORE_EVENT_ASSOCIATE_RJ:
    case DICORE_EVENT_COMMAND:
    case DICORE_EVENT_DATA:
    case DICORE_EVENT_RELEASE_RP:
    case DICORE_EVENT_CLOSED:
    case DICORE_EVENT_TIMEOUT: break;
    }
}

/** The read is taken; see to it that an unfinished data set keeps its bytes, and nobody else's. */
static bool keep(peer *p, landing *b, size_t to)
{
    if (!p->fragment_count) {
        p->own = NULL;
        return true;
    }
    if (b == p->own) {
        b->used = to;
    } else {
        size_t first = p->fragment_count, inside = 0;
        while (first > 0 && p->fragments[first - 1].buffer == p->buffer_count)
            inside += p->fragments[--first].length;
        if (!inside)
            return true;
        if (inside < TAKE || (full(p) && to <= TAKE))
            return copy_out(p, b, first, inside);
        if (!add_buffer(p, b))
            return false;
        p->own = b;
        b->used = to;
    }
    if (b->capacity - b->used < ROOM)
        p->own = NULL;
    return true;
}

/** Take what lies in b->data[at, to). False: the connection was handed over. */
static bool feed(peer *p, landing *b, size_t at, size_t to)
{
    dicore_engine *e = p->thread->engine;
    const size_t begin = at;
    for (;;) {
        dicore_event event;
        size_t consumed;
        if (p->job && !p->ended) { /* a helper has the stream: the rest waits */
            b->holders++;
            p->rest = b;
            p->rest_at = at;
            p->rest_end = to;
            return true;
        }
        const dicore_status status = dicore_association_receive(p->core, b->data + at, to - at, &consumed, &event);
        at += consumed;
        if (event.kind == DICORE_EVENT_NONE)
            break;
        if (event.kind == DICORE_EVENT_DATA) {
            data(p, b, &event);
        } else if (event.kind == DICORE_EVENT_COMMAND) {
            command(p, &event);
        } else if (event.kind == DICORE_EVENT_ASSOCIATE_RQ && !p->thread->draining_seen && is_foreign(e, event.associate) &&
                   room_for_one(p)) {
            if (hand_over(p, b->data + begin, to - begin))
                return false;
            reject(p, DICORE_WHY_REJECTED_FULL, 2, 3, 1); /* the owner does not keep up: temporary congestion */
        } else {
            control(p, &event);
        }
        if (status != DICORE_OK && event.kind != DICORE_EVENT_FAILED)
            break;
    }
    if (!keep(p, b, to))
        give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
    return true;
}

/** Before negotiation, when the connection may be handed over: remember what was read. */
static bool remember_raw(peer *p, const uint8_t *bytes, size_t size)
{
    if (p->raw_capacity - p->raw_size < size) {
        const size_t capacity = (p->raw_size + size) * 2;
        uint8_t *grown = engine_resize(p->thread->engine, p->raw, p->raw_capacity, capacity);
        if (!grown)
            return false;
        p->raw = grown;
        p->raw_capacity = capacity;
    }
    memcpy(p->raw + p->raw_size, bytes, size);
    p->raw_size += size;
    return true;
}

/** Too much is in flight. Who has room in a buffer of its own goes on; who would need another one streams what it has; who has
 *  next to nothing is not read until there is room. */
static void relieve(peer *p)
{
    if (p->own || p->job || p->is_waiting)
        return;
    const dicore_engine *e = p->thread->engine;
    const bool all = atomic_load_explicit(&e->in_flight, memory_order_relaxed) >= e->options.in_flight;
    count_more(p->thread, all ? DICORE_COUNT_LIMIT_IN_FLIGHT : DICORE_COUNT_LIMIT_IN_FLIGHT_PER_PEER, 1);
    if (p->message_size >= LANDING / 2 && p->fragment_count && p->thread->engine->options.store &&
        (p->kind == GATHER_STORE || p->kind == GATHER_STREAM)) {
        p->kind = GATHER_STREAM;
        if (!to_helper(p, NULL, false))
            give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
        return;
    }
    p->is_waiting = true;
    p->waiting = p->thread->waiting;
    p->thread->waiting = p;
    watch(p);
}

void peers_waiting(thread *t, bool spill)
{
    if (spill) /* all memory may be with data sets that wait for each other */
        for (peer *p = t->waiting; p; p = p->waiting)
            if (p->fragment_count && !p->job && !p->ended && t->engine->options.store) {
                p->kind = GATHER_STREAM;
                if (!to_helper(p, NULL, false))
                    give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
            }
    for (peer **at = &t->waiting, *p; (p = *at);) {
        if (!p->ended && full(p)) {
            at = &p->waiting;
        } else {
            *at = p->waiting;
            p->is_waiting = false;
            watch(p);
        }
    }
}

void peer_ready(peer *p, uint32_t events)
{
    thread *t = p->thread;
    if (p->fd < 0)
        return;
    if (events & EPOLLOUT) {
        p->blocked = false;
        peer_flush(p);
        if (p->fd < 0)
            return;
    }
    if (p->job || p->is_waiting || p->blocked) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            p->how = DICORE_CAPTURE_RESET_BY_PEER;
            if (!p->why_set)
                p->why_system = ECONNRESET;
            lost(p);
        }
        return;
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        return;
    landing *b = p->own ? p->own : landing_current(t);
    if (!b)
        return; /* no memory now; epoll will say it again */
    const size_t at = p->own ? b->used : 0;
    size_t room = p->own ? b->capacity - b->used : full(p) ? (size_t)TAKE : (size_t)LANDING;
    if (room > t->engine->options.turn)
        room = t->engine->options.turn;
    const ssize_t n = recv(p->fd, b->data + at, room, MSG_DONTWAIT);
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        p->how = n < 0 ? DICORE_CAPTURE_RESET_BY_PEER : DICORE_CAPTURE_CLOSED_BY_PEER;
        if (n < 0 && !p->why_set)
            p->why_system = errno;
        lost(p);
        return;
    }
    b->holders++; /* for the length of this call */
    t->read_at = dicore_now_ns();
    if (p->shown)
        show(p, false, b->data + at, (size_t)n);
    const bool raw = !p->negotiated && !p->ended && t->engine->foreign.count;
    const bool mine = feed(p, b, at, at + (size_t)n);
    if (mine && raw && !p->negotiated && !p->ended && !remember_raw(p, b->data + at, (size_t)n))
        give_up(p, DICORE_WHY_NO_MEMORY, 0, 0);
    release(t, b);
    if (!mine)
        return;
    const uint8_t *out;
    size_t size;
    dicore_association_output(p->core, &out, &size);
    if (!size) { /* a sender with Nagle's algorithm holds its next bytes back until it has an ACK: nothing of ours brings one */
        const int one = 1;
        setsockopt(p->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
    }
    peer_flush(p);
    if (p->fd >= 0 && !p->ended && full(p))
        relieve(p);
}
