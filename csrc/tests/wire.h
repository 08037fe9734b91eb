/* What the tests of the wire share: an allocator that counts, a log of events that does not depend on how the stream was
 * cut, and a local user who accepts everything and answers every request. */
#ifndef WIRE_H
#define WIRE_H

#include "refuse.h"

#include "dicore/dicore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct heap {
    size_t live, peak, calls;
    size_t fail_at; /* the call that fails, from 1; 0: none */
} heap;

static inline void *heap_resize(void *context, void *pointer, size_t old_size, size_t new_size)
{
    heap *h = context;
    if (new_size == 0) {
        h->live -= old_size;
        free(pointer);
        return NULL;
    }
    if (++h->calls == h->fail_at || refuse_this())
        return NULL;
    void *block = malloc(new_size); /* always a new block of the exact size, so that ASan sees every stale pointer */
    if (!block)
        return NULL;
    if (pointer)
        memcpy(block, pointer, old_size < new_size ? old_size : new_size);
    free(pointer);
    h->live = h->live - old_size + new_size;
    if (h->live > h->peak)
        h->peak = h->live;
    return block;
}

static inline dicore_allocator heap_allocator(heap *h) { return (dicore_allocator){.resize = heap_resize, .context = h}; }

static inline dicore_span text(const char *s) { return (dicore_span){.data = (const uint8_t *)s, .size = strlen(s)}; }

/* ---- bytes ---------------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *data;
    size_t size, capacity;
} bytes;

static inline void bytes_add(bytes *b, const void *data, size_t size)
{
    if (b->capacity - b->size < size) {
        b->capacity = (b->size + size) * 2 + 64;
        b->data = realloc(b->data, b->capacity);
        if (!b->data)
            abort();
    }
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void bytes_free(bytes *b)
{
    free(b->data);
    *b = (bytes){0};
}

static inline void bytes_u32(bytes *b, uint32_t v)
{
    uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    bytes_add(b, p, 4);
}

/** A PDU header. */
static inline void bytes_pdu(bytes *b, uint8_t type, uint32_t length)
{
    uint8_t p[2] = {type, 0};
    bytes_add(b, p, 2);
    bytes_u32(b, length);
}

/** A whole PDV (without PDU header). */
static inline void bytes_pdv(bytes *b, uint8_t context_id, uint8_t control, const void *data, size_t size)
{
    uint8_t p[2] = {context_id, control};
    bytes_u32(b, (uint32_t)size + 2);
    bytes_add(b, p, 2);
    bytes_add(b, data, size);
}

/** A P-DATA PDU with one PDV. */
static inline void bytes_pdata(bytes *b, uint8_t context_id, uint8_t control, const void *data, size_t size)
{
    bytes_pdu(b, 4, (uint32_t)size + 6);
    bytes_pdv(b, context_id, control, data, size);
}

/** RELEASE-RQ, RELEASE-RP, RJ, ABORT. */
static inline void bytes_control(bytes *b, uint8_t type, uint8_t result, uint8_t source, uint8_t reason)
{
    uint8_t p[4] = {0, result, source, reason};
    bytes_pdu(b, type, 4);
    bytes_add(b, p, 4);
}

/* ---- a random number that a seed repeats ------------------------------------------------------------------------------ */

static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* ---- a local user ----------------------------------------------------------------------------------------------------- */

typedef struct user {
    dicore_association *association;
    bytes log;        /* the events as text; runs of DATA merged */
    bytes output;     /* everything sent */
    bytes data;       /* every data set byte */
    uint64_t run;     /* bytes of the DATA run under way, not yet logged */
    uint32_t sum;     /* a checksum over them */
    bool in_run;
    bool passive;     /* do not answer */
    int failures, events;
    dicore_event last; /* the last event that was not NONE */
} user;

static inline void user_take_output(user *u)
{
    const uint8_t *data;
    size_t size;
    dicore_association_output(u->association, &data, &size);
    bytes_add(&u->output, data, size);
    dicore_association_sent(u->association, size);
}

static inline void user_log(user *u, const char *line) { bytes_add(&u->log, line, strlen(line)); }

static inline void user_end_run(user *u, bool last)
{
    char line[96];
    snprintf(line, sizeof line, "data %llu sum %08x%s\n", (unsigned long long)u->run, (unsigned)u->sum, last ? " last" : "");
    user_log(u, line);
    u->run = 0;
    u->sum = 0;
    u->in_run = false;
}

/** Accept every context with its first syntax, grant what was asked for. */
static inline dicore_status user_accept(user *u, const dicore_associate *rq)
{
    static dicore_context contexts[128];
    for (size_t i = 0; i < rq->context_count; i++) {
        contexts[i] = rq->contexts[i];
        contexts[i].result = rq->contexts[i].syntax_count ? 0 : 4;
        contexts[i].syntax_count = rq->contexts[i].syntax_count ? 1 : 0;
    }
    dicore_associate answer = {.contexts = contexts, .context_count = rq->context_count,
                               .implementation_uid = text("1.2.3"), .implementation_version = text("TEST"),
                               .has_async = rq->has_async, .async_invoked = rq->async_invoked,
                               .async_performed = rq->async_performed};
    return dicore_association_accept(u->association, &answer);
}

/** Log the event and do what a user would. */
static inline void user_event(user *u, const dicore_event *event)
{
    char line[512];
    if (event->kind == DICORE_EVENT_NONE)
        return;
    u->events++;
    u->last = *event;
    if (event->kind == DICORE_EVENT_DATA) {
        bytes_add(&u->data, event->data, event->size);
        for (size_t i = 0; i < event->size; i++)
            u->sum = u->sum * 31 + event->data[i];
        u->run += event->size;
        u->in_run = true;
        if (event->last)
            user_end_run(u, true);
        return;
    }
    if (u->in_run)
        user_end_run(u, false);
    switch (event->kind) {
    case DICORE_EVENT_ASSOCIATE_RQ:
    case DICORE_EVENT_ASSOCIATE_AC: {
        const dicore_associate *a = event->associate;
        snprintf(line, sizeof line, "associate %d called '%.*s' calling '%.*s' contexts %zu max %u roles %zu extended %zu\n",
                 (int)event->kind, (int)a->called_ae.size, (const char *)a->called_ae.data, (int)a->calling_ae.size,
                 (const char *)a->calling_ae.data, a->context_count, (unsigned)a->max_length, a->role_count, a->extended_count);
        user_log(u, line);
        if (event->kind == DICORE_EVENT_ASSOCIATE_RQ && !u->passive)
            if (user_accept(u, a) != DICORE_OK)
                (void)dicore_association_reject(u->association, 1, 1, 1);
        break;
    }
    case DICORE_EVENT_COMMAND:
        snprintf(line, sizeof line, "command %u context %u id %u to %u status %04x size %zu class '%.*s'%s\n",
                 event->command.command_field, event->context_id, event->command.message_id, event->command.responded_to,
                 event->command.status, event->size, (int)(event->command.affected_class.size % 80),
                 event->command.affected_class.data ? (const char *)event->command.affected_class.data : "",
                 event->last ? " alone" : "");
        user_log(u, line);
        if (!(event->command.command_field & 0x8000) && !u->passive) {
            dicore_command response;
            dicore_command_response(&event->command, 0, &response);
            (void)dicore_association_respond(u->association, event->context_id, &response);
        }
        break;
    case DICORE_EVENT_RELEASE_RQ:
        user_log(u, event->collision ? "release collides\n" : "release\n");
        if (!u->passive)
            (void)dicore_association_release_reply(u->association);
        break;
    case DICORE_EVENT_RELEASE_RP:
        user_log(u, event->collision ? "released, collision\n" : "released\n");
        if (event->collision && !u->passive)
            (void)dicore_association_release_reply(u->association);
        break;
    case DICORE_EVENT_ASSOCIATE_RJ:
    case DICORE_EVENT_ABORT:
        snprintf(line, sizeof line, "kind %d result %d source %d reason %d\n", (int)event->kind,
                 event->kind == DICORE_EVENT_ABORT ? 0 : event->result, event->source, event->reason);
        user_log(u, line);
        break;
    case DICORE_EVENT_FAILED:
        u->failures++;
        snprintf(line, sizeof line, "failed %d reason %d offset %llu\n", (int)event->status, event->reason,
                 (unsigned long long)event->offset);
        user_log(u, line);
        break;
    case DICORE_EVENT_CLOSED: user_log(u, "closed\n"); break;
    case DICORE_EVENT_TIMEOUT: user_log(u, "timeout\n"); break;
    case DICORE_EVENT_NONE:
    case DICORE_EVENT_DATA: break;
    }
}

/** Feed one chunk to the end. */
static inline dicore_status user_feed(user *u, const uint8_t *data, size_t size)
{
    dicore_event event;
    dicore_status status, first = DICORE_OK;
    do {
        size_t consumed = 0;
        status = dicore_association_receive(u->association, data, size, &consumed, &event);
        if (first == DICORE_OK)
            first = status;
        if (consumed > size)
            abort();
        user_event(u, &event);
        user_take_output(u);
        if (size)
            data += consumed;
        size -= consumed;
        if (event.kind == DICORE_EVENT_NONE && size && status != DICORE_BAD_STATE)
            abort(); /* NONE means that all is consumed */
    } while (event.kind != DICORE_EVENT_NONE);
    return first;
}

/** Feed a copy of exactly this size, which is gone afterwards. */
static inline dicore_status user_feed_copy(user *u, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    dicore_status status = user_feed(u, copy, size);
    memset(copy, 0xEE, size);
    free(copy);
    return status;
}

static inline void user_free(user *u)
{
    if (u->in_run)
        user_end_run(u, false);
    dicore_association_free(u->association);
    bytes_free(&u->log);
    bytes_free(&u->output);
    bytes_free(&u->data);
    u->association = NULL;
}

#endif
