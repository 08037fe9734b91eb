/* The threads of the engine: accepting, dealing out, epoll, timers, shutting down. */
#include "engine/bell.h"
#include "engine/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_KEPT = 8192, STORED_EVERY = 50, ACCEPT_PAUSE = 100 };

void dicore_engine_defaults(dicore_engine_options *options)
{
    memset(options, 0, sizeof *options);
    dicore_association_defaults(&options->association);
    options->threads = 1;
    options->window = 16;
    options->associations = 12000;
    options->associations_per_peer = 256;
    options->dataset = 16ull << 30;
    options->stream_from = 8u << 20;
    options->in_flight = 256u << 20;
    options->in_flight_per_peer = 64u << 20;
    options->turn = LANDING;
    options->interval = 1000;
}

/* ---- names and addresses ------------------------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b) { return memcmp(a, b, sizeof(name)); }

static bool name_of(dicore_span text, name *out)
{
    *out = (name){0};
    if (text.size > sizeof out->text)
        return false;
    if (text.size)
        memcpy(out->text, text.data, text.size);
    out->size = (uint16_t)text.size;
    return true;
}

bool name_in(const name_set *set, dicore_span text)
{
    name wanted;
    if (set->any)
        return true;
    return set->count && name_of(text, &wanted) && bsearch(&wanted, set->items, set->count, sizeof wanted, compare_names);
}

static dicore_status copy_names(dicore_engine *e, const dicore_names *from, bool any, name_set *to)
{
    to->any = !from->items && any;
    if (!from->items || !from->count)
        return DICORE_OK;
    to->items = engine_resize(e, NULL, 0, from->count * sizeof *to->items);
    if (!to->items)
        return DICORE_NO_MEMORY;
    for (size_t i = 0; i < from->count; i++) {
        to->count = i + 1;
        if (!name_of(from->items[i], &to->items[i]))
            return DICORE_BAD_ARGUMENT;
    }
    qsort(to->items, to->count, sizeof *to->items, compare_names);
    return DICORE_OK;
}

static void drop_names(dicore_engine *e, name_set *set)
{
    if (set->items)
        engine_resize(e, set->items, 0, 0);
    set->items = NULL;
}

static bool is_loopback(uint8_t family, const uint8_t *address)
{
    static const uint8_t one[16] = {[15] = 1};
    return family == 4 ? address[0] == 127 : memcmp(address, one, 16) == 0;
}

static size_t chain(uint8_t family, const uint8_t address[16])
{
    uint32_t h = 2166136261u ^ family;
    for (size_t i = 0; i < 16; i++)
        h = (h ^ address[i]) * 16777619u;
    return h % HOSTS;
}

host *host_take(dicore_engine *e, uint8_t family, const uint8_t address[16])
{
    host **at = &e->hosts[chain(family, address)];
    pthread_mutex_lock(&e->hosts_lock);
    host *h = *at;
    while (h && (h->family != family || memcmp(h->address, address, 16) != 0))
        h = h->next;
    if (!h && (h = engine_resize(e, NULL, 0, sizeof *h))) {
        memset(h, 0, sizeof *h);
        h->family = family;
        memcpy(h->address, address, 16);
        h->local = is_loopback(family, address);
        h->next = *at;
        *at = h;
    }
    if (h)
        atomic_fetch_add(&h->connections, 1);
    pthread_mutex_unlock(&e->hosts_lock);
    return h;
}

void host_leave(dicore_engine *e, host *h)
{
    pthread_mutex_lock(&e->hosts_lock);
    if (atomic_fetch_sub(&h->connections, 1) == 1) {
        host **at = &e->hosts[chain(h->family, h->address)];
        while (*at != h)
            at = &(*at)->next;
        *at = h->next;
        engine_resize(e, h, sizeof *h, 0);
    }
    pthread_mutex_unlock(&e->hosts_lock);
}

bool admitted_address(const dicore_engine *e, const host *h)
{
    if (!e->networks)
        return true;
    for (size_t i = 0; i < e->network_count; i++) {
        const dicore_network *n = &e->networks[i];
        if (n->family != h->family)
            continue;
        const size_t whole = n->bits / 8u, rest = n->bits % 8u;
        if (memcmp(n->address, h->address, whole) == 0 &&
            (!rest || ((n->address[whole] ^ h->address[whole]) & (0xFF00u >> rest) & 0xFFu) == 0))
            return true;
    }
    return false;
}

/* ---- timers --------------------------------------------------------------------------------------------------------- */

void wheel_remove(thread *t, peer *p)
{
    if (!p->earlier)
        return;
    *p->earlier = p->later;
    if (p->later)
        p->later->earlier = p->earlier;
    p->earlier = NULL;
    t->timed--;
}

void wheel_put(thread *t, peer *p, uint64_t due)
{
    const uint64_t interval = t->engine->options.interval;
    if (p->earlier && p->due <= due)
        return; /* it is looked at before, and put again then */
    wheel_remove(t, p);
    if (due == UINT64_MAX)
        return;
    uint64_t slot = due / interval + 1;
    if (slot < t->wheel_at)
        slot = t->wheel_at;
    if (slot >= t->wheel_at + SLOTS)
        slot = t->wheel_at + SLOTS - 1;
    peer **head = &t->wheel[slot % SLOTS];
    p->due = due;
    p->later = *head;
    p->earlier = head;
    if (p->later)
        p->later->earlier = &p->later;
    *head = p;
    t->timed++;
}

static void wheel_turn(thread *t)
{
    const uint64_t reached = t->now / t->engine->options.interval;
    if (t->timed == 0 && t->wheel_at <= reached)
        t->wheel_at = reached + 1;
    while (t->wheel_at <= reached) {
        peer *p = t->wheel[t->wheel_at % SLOTS];
        t->wheel[t->wheel_at % SLOTS] = NULL;
        t->wheel_at++;
        peer *mine = p;
        if (mine)
            mine->earlier = &mine; /* so that one may be removed while others are looked at */
        while (mine) {
            p = mine;
            wheel_remove(t, p);
            peer_tick(p);
        }
    }
}

/* In milliseconds, for epoll_wait. */
static int wheel_wait(const thread *t)
{
    if (!t->timed)
        return -1;
    uint64_t slot = t->wheel_at;
    while (!t->wheel[slot % SLOTS])
        slot++;
    const uint64_t at = slot * t->engine->options.interval;
    return at <= t->now ? 0 : at - t->now > 60000 ? 60000 : (int)(at - t->now);
}

/* ---- between threads ------------------------------------------------------------------------------------------------ */

void thread_post(thread *t, item *i)
{
    item *head = atomic_load_explicit(&t->inbox, memory_order_relaxed);
    do
        i->next = head;
    while (!atomic_compare_exchange_weak_explicit(&t->inbox, &head, i, memory_order_acq_rel, memory_order_relaxed));
    if (!head)
        bell_ring(t->wake);
}

void event_put(thread *t, const dicore_engine_event *event)
{
    if (!ring_put(&t->engine->events, event))
        count_more(t, DICORE_COUNT_EVENTS_LOST, 1);
}

static item *inbox_take(thread *t)
{
    item *newest = atomic_exchange_explicit(&t->inbox, NULL, memory_order_acq_rel), *oldest = NULL;
    while (newest) {
        item *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void connection_drop(dicore_engine *e, connection *c)
{
    close(c->fd);
    atomic_fetch_sub(&e->open, 1);
    engine_resize(e, c, sizeof *c, 0);
}

static void inbox_work(thread *t)
{
    for (item *i = inbox_take(t), *next; i; i = next) {
        next = i->next;
        switch (i->kind) {
        case ITEM_CONNECTION:
            if (atomic_load(&t->engine->stopping)) {
                connection_drop(t->engine, (connection *)i);
            } else {
                peer_connect(t, (connection *)i);
                engine_resize(t->engine, i, sizeof(connection), 0);
            }
            break;
        case ITEM_ANSWER: peer_answered((token *)i); break;
        case ITEM_LANE: peer_lane_done((stream *)i); break;
        }
    }
}

/* ---- accepting ------------------------------------------------------------------------------------------------------ */

void address_of(const struct sockaddr_storage *from, connection *c)
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    memset(c->address, 0, sizeof c->address);
    c->family = 4;
    c->port = 0;
    if (from->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        memcpy(c->address, &in.sin_addr, 4);
        c->port = ntohs(in.sin_port);
    } else if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, from, sizeof in);
        c->port = ntohs(in.sin6_port);
        if (memcmp(&in.sin6_addr, mapped, 12) == 0) {
            memcpy(c->address, (const uint8_t *)&in.sin6_addr + 12, 4);
        } else {
            c->family = 6;
            memcpy(c->address, &in.sin6_addr, 16);
        }
    }
}

static void listeners(thread *t, bool add)
{
    for (size_t i = 0; i < t->engine->socket_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &t->engine->sockets[i]};
        epoll_ctl(t->epoll, add ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, t->engine->sockets[i], &event);
    }
}

static void accept_from(thread *t, int listener)
{
    dicore_engine *e = t->engine;
    for (int n = 0; n < ACCEPTS; n++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        const int fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                listeners(t, false); /* it would be readable on and on: try again soon */
                t->accept_paused = true;
            }
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            return;
        }
        const int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        atomic_fetch_add(&e->open, 1);
        thread *to = &e->threads[e->deal++ % e->thread_count];
        connection here, *c = to == t ? &here : engine_resize(e, NULL, 0, sizeof *c);
        if (!c) {
            close(fd);
            atomic_fetch_sub(&e->open, 1);
            continue;
        }
        c->item.kind = ITEM_CONNECTION;
        c->fd = fd;
        address_of(&from, c);
        if (to == t)
            peer_connect(t, c);
        else
            thread_post(to, &c->item);
    }
}

void watch(peer *p)
{
    const uint32_t interest = (p->job || p->is_waiting || p->blocked ? 0u : (uint32_t)EPOLLIN) |
                              (p->blocked ? (uint32_t)EPOLLOUT : 0u);
    if (p->fd < 0 || interest == p->interest)
        return;
    if (interest & EPOLLIN && !(p->interest & EPOLLIN) && p->interest != UINT32_MAX)
        p->resumed = true; /* the peer was not silent, we were deaf: its clock starts anew */
    struct epoll_event event = {.events = interest, .data.ptr = p};
    epoll_ctl(p->thread->epoll, p->interest == UINT32_MAX ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, p->fd, &event);
    p->interest = interest;
}

/* ---- a thread ------------------------------------------------------------------------------------------------------- */

static void say_empty(thread *t)
{
    dicore_engine *e = t->engine;
    if (!atomic_load(&e->draining) || atomic_load(&e->accepting) || atomic_load(&e->open) || atomic_exchange(&e->empty_said, true))
        return;
    event_put(t, &(dicore_engine_event){.kind = DICORE_ENGINE_EMPTY, .socket = -1});
}

static void transitions(thread *t)
{
    dicore_engine *e = t->engine;
    if (!t->draining_seen && atomic_load(&e->draining)) {
        t->draining_seen = true;
        if (t->accepting) {
            t->accepting = false;
            if (!t->accept_paused)
                listeners(t, false);
            pthread_mutex_lock(&e->drain_lock);
            atomic_fetch_sub(&e->accepting, 1);
            pthread_cond_broadcast(&e->drained);
            pthread_mutex_unlock(&e->drain_lock);
        }
        for (peer *p = t->peers, *next; p; p = next) {
            next = p->next;
            peer_drain(p);
        }
    }
    if (!t->stopping_seen && atomic_load(&e->stopping)) {
        t->stopping_seen = true;
        for (peer *p = t->peers, *next; p; p = next) {
            next = p->next;
            peer_stop(p);
        }
    }
}

static void *run(void *argument)
{
    thread *t = argument;
    dicore_engine *e = t->engine;
    struct epoll_event events[EVENTS];
    t->now = now_ms();
    t->wheel_at = t->now / e->options.interval + 1;
    for (;;) {
        int timeout = wheel_wait(t);
        const int soon = t->accept_paused ? ACCEPT_PAUSE : t->stored ? STORED_EVERY : t->waiting ? (int)e->options.interval : -1;
        if (soon >= 0 && (timeout < 0 || timeout > soon))
            timeout = soon;
        const int n = epoll_wait(t->epoll, events, EVENTS, timeout);
        t->now = now_ms();
        for (int i = 0; i < n; i++) {
            void *what = events[i].data.ptr;
            if (what == t) {
                bell_quiet(t->wake);
                inbox_work(t);
            } else if ((int *)what >= e->sockets && (int *)what < e->sockets + e->socket_count) {
                if (t->accepting && !t->accept_paused)
                    accept_from(t, *(int *)what);
            } else {
                peer_ready(what, events[i].events);
            }
        }
        if (n == 0 && t->accept_paused && t->accepting) {
            t->accept_paused = false;
            listeners(t, true);
        }
        wheel_turn(t);
        if (t->waiting)
            peers_waiting(t, n == 0);
        if (t->stored && t->now >= t->stored_said + STORED_EVERY) {
            t->stored = false;
            t->stored_said = t->now;
            event_put(t, &(dicore_engine_event){.kind = DICORE_ENGINE_STORED, .socket = -1});
        }
        transitions(t);
        for (peer *p; (p = t->dirty);) {
            t->dirty = p->dirty;
            p->is_dirty = false;
            peer_flush(p);
        }
        for (peer *p; (p = t->dead);) {
            t->dead = p->dead;
            peer_free(p);
        }
        if (t->draining_seen)
            say_empty(t);
        if (t->stopping_seen && t->living == 0)
            break;
    }
    if (t->stored)
        event_put(t, &(dicore_engine_event){.kind = DICORE_ENGINE_STORED, .socket = -1});
    return NULL;
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

static void free_all(dicore_engine *e)
{
    for (unsigned i = 0; i < e->thread_count; i++) {
        thread *t = &e->threads[i];
        for (item *one = inbox_take(t), *next; one; one = next) { /* dealt out when its thread had ended: only connections are */
            next = one->next;
            connection_drop(e, (connection *)one);
        }
        thread_free_memory(t);
        if (t->epoll >= 0)
            close(t->epoll);
        if (t->wake >= 0)
            close(t->wake);
    }
    dicore_engine_event event;
    while (e->events.slots && ring_take(&e->events, &event))
        if (event.kind == DICORE_ENGINE_HANDOVER) {
            dicore_capture_end(event.stream, DICORE_CAPTURE_CLOSED, (dicore_span){0});
            close(event.socket);
            dicore_engine_gone(e, event.host);
            dicore_engine_release(e, &event);
        }
    ring_close(&e->events, &e->options.allocator);
    drop_names(e, &e->called_ae);
    drop_names(e, &e->calling_ae);
    drop_names(e, &e->sop_classes);
    drop_names(e, &e->transfer_syntaxes);
    drop_names(e, &e->foreign);
    if (e->networks)
        engine_resize(e, e->networks, 0, 0);
    if (e->sockets)
        engine_resize(e, e->sockets, 0, 0);
    if (e->threads)
        engine_resize(e, e->threads, 0, 0);
    pthread_mutex_destroy(&e->hosts_lock);
    pthread_mutex_destroy(&e->policy);
    pthread_mutex_destroy(&e->drain_lock);
    pthread_cond_destroy(&e->drained);
    const dicore_allocator allocator = e->options.allocator;
    allocator.resize(allocator.context, e, sizeof *e, 0);
}

static dicore_status copy_networks(dicore_engine *e, const dicore_network *from, size_t count, dicore_network **to)
{
    if (!from)
        return DICORE_OK;
    for (size_t i = 0; i < count; i++)
        if (from[i].bits > (from[i].family == 4 ? 32 : 128))
            return DICORE_BAD_ARGUMENT;
    *to = engine_resize(e, NULL, 0, (count + 1) * sizeof **to);
    if (!*to)
        return DICORE_NO_MEMORY;
    if (count)
        memcpy(*to, from, count * sizeof **to);
    return DICORE_OK;
}

dicore_status dicore_engine_admit(dicore_engine *e, dicore_names calling_ae, const dicore_network *networks, size_t network_count)
{
    name_set callers = {0};
    dicore_network *copied = NULL;
    dicore_status status = copy_names(e, &calling_ae, true, &callers);
    if (status == DICORE_OK)
        status = copy_networks(e, networks, network_count, &copied);
    if (status == DICORE_OK) {
        pthread_mutex_lock(&e->policy);
        const name_set before = e->calling_ae;
        dicore_network *const open = e->networks;
        e->calling_ae = callers;
        e->networks = copied;
        e->network_count = network_count;
        pthread_mutex_unlock(&e->policy);
        callers = before;
        copied = open;
    }
    drop_names(e, &callers);
    if (copied)
        engine_resize(e, copied, 0, 0);
    return status;
}

static dicore_status copy_options(dicore_engine *e, const int *sockets, size_t count)
{
    const dicore_engine_options *o = &e->options;
    dicore_status status = copy_names(e, &o->called_ae, true, &e->called_ae);
    status = status ? status : copy_names(e, &o->calling_ae, true, &e->calling_ae);
    status = status ? status : copy_names(e, &o->sop_classes, true, &e->sop_classes);
    status = status ? status : copy_names(e, &o->transfer_syntaxes, true, &e->transfer_syntaxes);
    status = status ? status : copy_names(e, &o->foreign, false, &e->foreign);
    if (status != DICORE_OK)
        return status;
    if (o->implementation_uid.size > sizeof e->implementation_uid || o->implementation_version.size > sizeof e->implementation_version)
        return DICORE_BAD_ARGUMENT;
    memcpy(e->implementation_uid, o->implementation_uid.data, o->implementation_uid.size);
    if (o->implementation_version.size)
        memcpy(e->implementation_version, o->implementation_version.data, o->implementation_version.size);
    e->options.implementation_uid.data = e->implementation_uid;
    e->options.implementation_version.data = e->implementation_version;
    status = copy_networks(e, o->networks, o->network_count, &e->networks);
    if (status != DICORE_OK)
        return status;
    e->network_count = o->network_count;
    e->sockets = engine_resize(e, NULL, 0, (count + 1) * sizeof *e->sockets);
    if (!e->sockets)
        return DICORE_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        e->sockets[i] = sockets[i];
    e->socket_count = count;
    return ring_open(&e->events, EVENTS_KEPT, &e->options.allocator);
}

static dicore_status open_threads(dicore_engine *e)
{
    e->threads = engine_resize(e, NULL, 0, e->options.threads * sizeof *e->threads);
    if (!e->threads)
        return DICORE_NO_MEMORY;
    memset(e->threads, 0, e->options.threads * sizeof *e->threads);
    for (unsigned i = 0; i < e->options.threads; i++) {
        thread *t = &e->threads[i];
        t->engine = e;
        t->number = i;
        e->thread_count = i + 1;
        t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        t->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (t->epoll < 0 || t->wake < 0)
            return DICORE_IO;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = t};
        if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &event) != 0)
            return DICORE_IO;
    }
    e->threads[0].accepting = true;
    atomic_store(&e->accepting, 1);
    listeners(&e->threads[0], true);
    return DICORE_OK;
}

static void end_threads(dicore_engine *e)
{
    atomic_store(&e->draining, true);
    atomic_store(&e->stopping, true);
    for (unsigned i = 0; i < e->thread_count; i++)
        if (e->threads[i].started)
            bell_ring(e->threads[i].wake);
    for (unsigned i = 0; i < e->thread_count; i++)
        if (e->threads[i].started) {
            pthread_join(e->threads[i].id, NULL);
            e->threads[i].started = false;
        }
}

dicore_status dicore_engine_start(const dicore_engine_options *options, const int *sockets, size_t count, dicore_engine **out,
                                  dicore_error *error)
{
    if (options->threads < 1 || options->threads > 64 || !options->interval || !options->implementation_uid.size ||
        !options->turn || options->stream_from > UINT32_MAX)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    dicore_engine *e = options->allocator.resize(options->allocator.context, NULL, 0, sizeof *e);
    if (!e)
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    memset(e, 0, sizeof *e);
    e->options = *options;
    pthread_mutex_init(&e->hosts_lock, NULL);
    pthread_mutex_init(&e->policy, NULL);
    pthread_mutex_init(&e->drain_lock, NULL);
    pthread_cond_init(&e->drained, NULL);
    errno = 0;
    dicore_status status = copy_options(e, sockets, count);
    if (status == DICORE_OK)
        status = open_threads(e);
    if (status != DICORE_OK) {
        const int system = errno;
        free_all(e);
        dicore_fail(error, status, 0, 0);
        if (error && status == DICORE_IO)
            error->system = system;
        return status;
    }
    sigset_t all, before; /* signals are for the owner's threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status = helpers_start(e);
    for (unsigned i = 0; i < e->thread_count && status == DICORE_OK; i++) {
        if (pthread_create(&e->threads[i].id, NULL, run, &e->threads[i]) != 0)
            status = DICORE_IO;
        else
            e->threads[i].started = true;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != DICORE_OK) {
        end_threads(e);
        helpers_stop(e);
        free_all(e);
        dicore_fail(error, status, 0, 0);
        if (error)
            error->system = EAGAIN;
        return status;
    }
    *out = e;
    return DICORE_OK;
}

void dicore_engine_drain(dicore_engine *e)
{
    atomic_store(&e->draining, true);
    for (unsigned i = 0; i < e->thread_count; i++)
        bell_ring(e->threads[i].wake);
    pthread_mutex_lock(&e->drain_lock);
    while (atomic_load(&e->accepting))
        pthread_cond_wait(&e->drained, &e->drain_lock);
    pthread_mutex_unlock(&e->drain_lock);
}

void dicore_engine_stop(dicore_engine *e)
{
    if (e->stopped)
        return;
    end_threads(e);
    helpers_stop(e);
    e->stopped = true;
}

void dicore_engine_free(dicore_engine *e)
{
    if (!e)
        return;
    dicore_engine_stop(e);
    free_all(e);
}

int dicore_engine_descriptor(const dicore_engine *e) { return e->events.descriptor; }

bool dicore_engine_next(dicore_engine *e, dicore_engine_event *event) { return ring_take(&e->events, event); }

void dicore_engine_gone(dicore_engine *e, void *of)
{
    host *h = of;
    atomic_fetch_sub(&e->admitted, 1);
    atomic_fetch_sub(&h->admitted, 1);
    host_leave(e, h);
}

uint64_t dicore_engine_hold(dicore_engine *e, int64_t bytes)
{
    return atomic_fetch_add_explicit(&e->in_flight, (uint64_t)bytes, memory_order_relaxed) + (uint64_t)bytes;
}

void dicore_engine_release(dicore_engine *e, dicore_engine_event *event)
{
    if (event->data)
        engine_resize(e, event->data, event->size, 0);
    event->data = NULL;
    event->size = 0;
}

void dicore_engine_times(dicore_engine *e, dicore_times out[DICORE_PHASES])
{
    memset(out, 0, DICORE_PHASES * sizeof *out);
    for (unsigned i = 0; i < e->thread_count; i++)
        for (size_t phase = 0; phase < DICORE_PHASES; phase++)
            dicore_times_merge(&out[phase], &e->threads[i].times[phase]);
}

void dicore_engine_count(dicore_engine *e, uint64_t out[DICORE_COUNTERS])
{
    for (size_t c = 0; c < DICORE_COUNTERS; c++) {
        out[c] = 0;
        for (unsigned i = 0; i < e->thread_count; i++)
            out[c] += atomic_load_explicit(&e->threads[i].counters[c], memory_order_relaxed);
    }
    out[DICORE_COUNT_OPEN] = atomic_load(&e->open);
    out[DICORE_COUNT_IN_FLIGHT] = atomic_load(&e->in_flight);
}
