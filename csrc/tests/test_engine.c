/* The engine over real sockets: associations of every kind and end against a real store, from many threads; and its ring. */
#include "store_fixture.h"

#include "dicore/engine.h"
#include "engine/ring.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* ---- what the tests share ------------------------------------------------------------------------------------------- */

static atomic_long blocks;

static void *count_resize(void *context, void *pointer, size_t old_size, size_t new_size)
{
    (void)context;
    (void)old_size;
    if (new_size == 0) {
        if (pointer)
            atomic_fetch_sub(&blocks, 1);
        free(pointer);
        return NULL;
    }
    if (refuse_this())
        return NULL;
    void *block = realloc(pointer, new_size);
    if (!pointer && block)
        atomic_fetch_add(&blocks, 1);
    return block;
}

static const dicore_allocator counting = {count_resize, NULL};

static int listener(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 512) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        abort();
    *port = ntohs(address.sin_port);
    return fd;
}

static int dial(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        abort();
    return fd;
}

/** A requestor on a blocking socket. */
typedef struct client {
    dicore_association *core;
    int fd;
    dicore_event event;      /* the last that came */
    uint8_t memory[4096];
    size_t at, end;
} client;

static bool push(client *c)
{
    const uint8_t *data;
    size_t size;
    for (dicore_association_output(c->core, &data, &size); size; dicore_association_output(c->core, &data, &size)) {
        const ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        dicore_association_sent(c->core, (size_t)n);
    }
    return true;
}

/** The next event; CLOSED at the end. */
static dicore_event_kind pull(client *c)
{
    for (;;) {
        size_t consumed;
        (void)dicore_association_receive(c->core, c->memory + c->at, c->end - c->at, &consumed, &c->event);
        c->at += consumed;
        if (c->event.kind != DICORE_EVENT_NONE)
            return c->event.kind;
        const ssize_t n = recv(c->fd, c->memory, sizeof c->memory, 0);
        if (n <= 0)
            return DICORE_EVENT_CLOSED;
        c->at = 0;
        c->end = (size_t)n;
    }
}

static dicore_event_kind open_client(client *c, uint16_t port, const char *sop_class, uint16_t window)
{
    dicore_association_options options;
    dicore_association_defaults(&options);
    const dicore_span syntax = text("1.2.840.10008.1.2");
    const dicore_context contexts[2] = {
        {.id = 1, .abstract_syntax = text("1.2.840.10008.1.1"), .syntaxes = &syntax, .syntax_count = 1},
        {.id = 3, .abstract_syntax = text(sop_class), .syntaxes = &syntax, .syntax_count = 1}};
    const dicore_associate rq = {.called_ae = text("SCP"), .calling_ae = text("SCU"), .contexts = contexts, .context_count = 2,
                                 .implementation_uid = text("1.2.3"), .has_async = window > 1, .async_invoked = window,
                                 .async_performed = 1};
    memset(c, 0, sizeof *c);
    c->core = dicore_association_new(&options, &counting);
    if (!c->core || dicore_association_request(c->core, &rq) != DICORE_OK)
        abort();
    c->fd = dial(port);
    (void)dicore_association_connected(c->core);
    push(c);
    return pull(c);
}

static void close_client(client *c)
{
    close(c->fd);
    dicore_association_free(c->core);
}

static bool echo(client *c, uint16_t id)
{
    const dicore_command rq = {.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_DATA_SET_TYPE,
                               .command_field = DICORE_C_ECHO_RQ, .message_id = id, .data_set_type = DICORE_NO_DATA_SET,
                               .affected_class = text("1.2.840.10008.1.1")};
    return dicore_association_respond(c->core, 1, &rq) == DICORE_OK && push(c) && pull(c) == DICORE_EVENT_COMMAND &&
           c->event.command.command_field == DICORE_C_ECHO_RSP && c->event.command.responded_to == id &&
           c->event.command.status == 0;
}

/** Send a C-STORE, in writes of at most `step` bytes, and only `most` bytes of it; its answer is not waited for. */
static bool send_store(client *c, uint16_t id, const char *uid, const uint8_t *data, size_t size, size_t step, size_t most)
{
    dicore_sender sender;
    uint8_t memory[512], headers[12 * 16];
    dicore_span pieces[16], whole = {data, size};
    size_t count;
    const dicore_command rq = {
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_PRIORITY,
        .command_field = DICORE_C_STORE_RQ, .message_id = id, .data_set_type = DICORE_DATA_SET,
        .affected_class = text("1.2.840.10008.5.1.4.1.1.2"), .affected_instance = text(uid)};
    if (dicore_association_send(c->core, 3, &rq, size, 0, memory, sizeof memory, &sender) != DICORE_OK)
        return false;
    (void)dicore_sender_supply(&sender, &whole, 1);
    dicore_status status = DICORE_OK;
    while (status == DICORE_OK) {
        status = dicore_sender_next(&sender, headers, sizeof headers, pieces, 16, &count);
        for (size_t i = 0; i < count; i++)
            while (pieces[i].size) {
                size_t now = pieces[i].size < step ? pieces[i].size : step;
                now = now < most ? now : most;
                if (!now)
                    return true;
                const ssize_t n = send(c->fd, pieces[i].data, now, MSG_NOSIGNAL);
                if (n < 0)
                    return false;
                most -= (size_t)n;
                pieces[i].data += n;
                pieces[i].size -= (size_t)n;
            }
    }
    return status == DICORE_END;
}

static int answer_to(client *c, uint16_t id)
{
    return pull(c) == DICORE_EVENT_COMMAND && c->event.command.command_field == DICORE_C_STORE_RSP &&
                   c->event.command.responded_to == id
               ? c->event.command.status
               : -1;
}

static dicore_engine_options options_for(dicore_store *store, unsigned threads)
{
    dicore_engine_options o;
    dicore_engine_defaults(&o);
    o.allocator = counting;
    o.store = store;
    o.threads = threads;
    o.implementation_uid = text("1.2.3.4");
    o.report_ends = true;
    o.interval = 10;
    return o;
}

/** The next event of a kind, within ten seconds; others are passed over. */
static bool await_event(dicore_engine *e, dicore_engine_kind kind, dicore_engine_event *event)
{
    for (int tries = 0; tries < 1000; tries++) {
        while (dicore_engine_next(e, event)) {
            if (event->kind == kind)
                return true;
            CHECK(event->kind != DICORE_ENGINE_FAILED);
        }
        struct pollfd fd = {.fd = dicore_engine_descriptor(e), .events = POLLIN};
        poll(&fd, 1, 10);
    }
    return false;
}

/* ---- the ring ------------------------------------------------------------------------------------------------------- */

enum { PRODUCERS = 4, EACH = 20000 };
static ring shared;

static void *produce(void *argument)
{
    const uint16_t number = (uint16_t)(uintptr_t)argument;
    for (uint64_t i = 0; i < EACH; i++)
        while (!ring_put(&shared, &(dicore_engine_event){.kind = DICORE_ENGINE_ENDED, .port = number, .offset = i}))
            sched_yield();
    return NULL;
}

static void test_the_ring_keeps_every_event_in_the_order_of_its_producer(void)
{
    pthread_t threads[PRODUCERS];
    uint64_t expected[PRODUCERS] = {0};
    int wrong = 0;
    CHECK_EQ(ring_open(&shared, 64, &counting), DICORE_OK);
    dicore_engine_event event;
    for (int i = 0; i < 64; i++)
        CHECK(ring_put(&shared, &(dicore_engine_event){.offset = (uint64_t)i}));
    CHECK(!ring_put(&shared, &(dicore_engine_event){0}));
    for (int i = 0; i < 64; i++)
        CHECK(ring_take(&shared, &event) && event.offset == (uint64_t)i);
    CHECK(!ring_take(&shared, &event));
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        pthread_create(&threads[i], NULL, produce, (void *)i);
    for (uint64_t left = (uint64_t)PRODUCERS * EACH; left;) {
        if (ring_take(&shared, &event)) {
            wrong += event.offset != expected[event.port]++;
            left--;
        } else { /* the descriptor must become readable when there is something: else this hangs */
            struct pollfd fd = {.fd = shared.descriptor, .events = POLLIN};
            poll(&fd, 1, 20000);
        }
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(wrong, 0);
    CHECK(!ring_take(&shared, &event));
    ring_close(&shared, &counting);
    CHECK_EQ(blocks, 0);
}

/* ---- many associations of every end ----------------------------------------------------------------------------------- */

static atomic_long strangers;

static void *commit_loop(void *argument)
{
    const dicore_waiter *waiters;
    size_t count;
    while (dicore_store_commit(argument, &waiters, &count) == DICORE_OK)
        atomic_fetch_add(&strangers, (long)count); /* all have been answered by their own `done` */
    return NULL;
}

typedef struct load {
    uint16_t port;
    unsigned number;
    int stored, failed;
} load;

static void *associations(void *argument)
{
    load *l = argument;
    uint32_t seed = l->number * 77u + 1;
    for (int round = 0; round < 5; round++) {
        client c;
        if (open_client(&c, l->port, "1.2.840.10008.5.1.4.1.1.2", 4) != DICORE_EVENT_ASSOCIATE_AC) {
            l->failed++;
            close_client(&c);
            continue;
        }
        l->failed += !echo(&c, 1);
        static const size_t sizes[6] = {100, 40000, 131072, 700000, 1300000, 2};
        for (uint16_t i = 0; i < 6; i++) {
            char uid[64];
            snprintf(uid, sizeof uid, "1.2.%u.%d.%u", l->number, round, i);
            uint8_t *data = fixture_bytes(++seed, sizes[i]);
            const size_t step = (seed % 3 == 0) ? 3000 : (seed % 3 == 1) ? 200000 : SIZE_MAX;
            l->failed += !send_store(&c, (uint16_t)(10 + i), uid, data, sizes[i], step, SIZE_MAX);
            const int status = answer_to(&c, (uint16_t)(10 + i));
            l->stored += status == 0;
            l->failed += status != 0;
            free(data);
        }
        /* four at a time, as was negotiated; the answers come in whatever order */
        unsigned answered = 0;
        uint8_t *data = fixture_bytes(++seed, 50000);
        for (uint16_t i = 0; i < 4; i++) {
            char uid[64];
            snprintf(uid, sizeof uid, "1.3.%u.%d.%u", l->number, round, i);
            l->failed += !send_store(&c, (uint16_t)(20 + i), uid, data, 50000, SIZE_MAX, SIZE_MAX);
        }
        for (int i = 0; i < 4; i++)
            if (pull(&c) == DICORE_EVENT_COMMAND && c.event.command.status == 0)
                answered |= 1u << (c.event.command.responded_to - 20);
        l->stored += answered == 15 ? 4 : 0;
        l->failed += answered != 15;
        free(data);
        switch ((l->number + (unsigned)round) % 4) {
        case 0:
            (void)dicore_association_release(c.core);
            push(&c);
            l->failed += pull(&c) != DICORE_EVENT_RELEASE_RP;
            break;
        case 1:
            (void)dicore_association_abort(c.core, 0, 0);
            push(&c);
            break;
        case 2: { /* gone inside a data set, sometimes one that streams */
            data = fixture_bytes(1, 1500000);
            (void)send_store(&c, 99, "1.9", data, 1500000, SIZE_MAX, round % 2 ? 1400000 : 1000);
            free(data);
            break;
        }
        default: break;
        }
        close_client(&c);
    }
    return NULL;
}

static void test_associations_of_every_end(dicore_durability durability, unsigned threads)
{
    enum { CLIENTS = 6 };
    const int folder = fixture_folder();
    dicore_store *store;
    dicore_store_options of_store = fixture_options(folder, durability);
    dicore_error error = {0};
    of_store.allocator = counting;
    of_store.segment_size = 64 << 20;
    CHECK_EQ(dicore_store_open(&of_store, &store, &error), DICORE_OK);
    pthread_t committer, workers[CLIENTS];
    pthread_create(&committer, NULL, commit_loop, store);
    load loads[CLIENTS];
    memset(loads, 0, sizeof loads);
    dicore_engine_options o = options_for(store, threads);
    o.stream_from = 1000000; /* the largest goes through a lane */
    const int fd = listener(&loads[0].port);
    dicore_engine *e = NULL;
    CHECK_EQ(dicore_engine_start(&o, &fd, 1, &e, &error), DICORE_OK);
    for (unsigned i = 0; i < CLIENTS; i++) {
        loads[i].port = loads[0].port;
        loads[i].number = i;
        pthread_create(&workers[i], NULL, associations, &loads[i]);
    }
    int stored = 0, failed = 0;
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(workers[i], NULL);
        stored += loads[i].stored;
        failed += loads[i].failed;
    }
    CHECK_EQ(failed, 0);
    CHECK_EQ(stored, CLIENTS * 5 * 10);
    CHECK_EQ(strangers, 0);
    dicore_engine_event event;
    dicore_engine_drain(e);
    CHECK(await_event(e, DICORE_ENGINE_EMPTY, &event));
    uint64_t counters[DICORE_COUNTERS];
    dicore_engine_count(e, counters);
    CHECK_EQ(counters[DICORE_COUNT_OPEN], 0);
    CHECK_EQ(counters[DICORE_COUNT_ASSOCIATIONS], CLIENTS * 5);
    CHECK_EQ(counters[DICORE_COUNT_STORES], stored);
    CHECK(counters[DICORE_COUNT_STREAMED] >= CLIENTS * 5);
    dicore_engine_stop(e);
    dicore_engine_count(e, counters);
    CHECK_EQ(counters[DICORE_COUNT_IN_FLIGHT], 0);
    dicore_engine_free(e);
    dicore_store_counters of;
    dicore_store_count(store, &of);
    CHECK_EQ(of.instances, stored);
    dicore_store_stop(store);
    pthread_join(committer, NULL);
    dicore_store_close(store);
    CHECK_EQ(blocks, 0);
    close(fd);
    fixture_remove(folder);
}

/* ---- policy ------------------------------------------------------------------------------------------------------------ */

static void test_limits_names_and_addresses(void)
{
    uint16_t port;
    const int fd = listener(&port);
    dicore_engine *e = NULL;
    dicore_error error = {0};
    dicore_engine_options o = options_for(NULL, 2);
    o.associations = 2;
    o.dataset = 5000;
    const dicore_span ct = text("1.2.840.10008.5.1.4.1.1.2");
    o.sop_classes = (dicore_names){&ct, 1};
    CHECK_EQ(dicore_engine_start(&o, &fd, 1, &e, &error), DICORE_OK);
    client one, two, three;
    CHECK_EQ(open_client(&one, port, "1.2.840.10008.5.1.4.1.1.2", 1), DICORE_EVENT_ASSOCIATE_AC);
    CHECK_EQ(open_client(&two, port, "1.2.840.10008.5.1.4.1.1.4", 1), DICORE_EVENT_ASSOCIATE_AC);
    CHECK(dicore_association_accepted(one.core, 3));
    CHECK(!dicore_association_accepted(two.core, 3));
    CHECK_EQ(open_client(&three, port, "1.2", 1), DICORE_EVENT_ASSOCIATE_RJ);
    CHECK_EQ(three.event.result * 100 + three.event.source * 10 + three.event.reason, 232);
    close_client(&three);
    CHECK(echo(&one, 7) && echo(&two, 8));
    uint8_t *data = fixture_bytes(1, 6000);
    CHECK(send_store(&one, 1, "1.2", data, 4000, SIZE_MAX, SIZE_MAX)); /* without a store it is dropped, and answered */
    CHECK_EQ(answer_to(&one, 1), 0);
    (void)send_store(&one, 2, "1.2", data, 6000, SIZE_MAX, SIZE_MAX);
    CHECK_EQ(pull(&one), DICORE_EVENT_ABORT);
    dicore_engine_event event;
    CHECK(await_event(e, DICORE_ENGINE_ENDED, &event)); /* the rejected one, then the aborted one */
    CHECK_EQ(event.why, DICORE_WHY_REJECTED_FULL);
    close_client(&one);
    CHECK(await_event(e, DICORE_ENGINE_ENDED, &event));
    CHECK_EQ(event.why, DICORE_WHY_DATASET_LIMIT);
    CHECK_EQ(event.stores, 1);
    CHECK(strcmp(event.calling_ae, "SCU") == 0 && event.family == 4 && event.address[0] == 127);
    dicore_engine_drain(e); /* the idle one is aborted */
    CHECK_EQ(pull(&two), DICORE_EVENT_ABORT);
    close_client(&two);
    CHECK(await_event(e, DICORE_ENGINE_EMPTY, &event));
    dicore_engine_free(e);

    const dicore_network elsewhere = {.family = 4, .bits = 20, .address = {192, 0, 32}}, here = {.family = 4, .bits = 10, .address = {127, 63}};
    for (int i = 0; i < 2; i++) {
        const dicore_network networks[2] = {elsewhere, i ? here : elsewhere};
        o.networks = networks;
        o.network_count = 2;
        CHECK_EQ(dicore_engine_start(&o, &fd, 1, &e, &error), DICORE_OK);
        CHECK_EQ(open_client(&one, port, "1.2", 1), i ? DICORE_EVENT_ASSOCIATE_AC : DICORE_EVENT_ASSOCIATE_RJ);
        close_client(&one);
        dicore_engine_free(e);
    }
    free(data);
    close(fd);
    CHECK_EQ(blocks, 0);
}

static void test_silence_ends_by_the_timer_that_is_due(void)
{
    uint16_t port;
    const int fd = listener(&port);
    dicore_engine *e = NULL;
    dicore_error error = {0};
    dicore_engine_options o = options_for(NULL, 1);
    o.association.artim_timeout = 60;
    o.association.network_timeout = 60;
    o.association.idle_timeout = 120;
    CHECK_EQ(dicore_engine_start(&o, &fd, 1, &e, &error), DICORE_OK);
    dicore_engine_event event;
    const int silent = dial(port);
    CHECK(await_event(e, DICORE_ENGINE_ENDED, &event));
    CHECK(event.why == DICORE_WHY_TIMEOUT && event.reason == DICORE_TIMEOUT_ARTIM);
    close(silent);
    client c;
    CHECK_EQ(open_client(&c, port, "1.2.840.10008.5.1.4.1.1.2", 1), DICORE_EVENT_ASSOCIATE_AC);
    CHECK_EQ(pull(&c), DICORE_EVENT_ABORT);
    close_client(&c);
    CHECK(await_event(e, DICORE_ENGINE_ENDED, &event));
    CHECK(event.why == DICORE_WHY_TIMEOUT && event.reason == DICORE_TIMEOUT_IDLE);
    CHECK_EQ(open_client(&c, port, "1.2.840.10008.5.1.4.1.1.2", 1), DICORE_EVENT_ASSOCIATE_AC);
    uint8_t data[2000] = {0};
    CHECK(send_store(&c, 1, "1.2", data, sizeof data, SIZE_MAX, 1000));
    CHECK_EQ(pull(&c), DICORE_EVENT_ABORT);
    close_client(&c);
    CHECK(await_event(e, DICORE_ENGINE_ENDED, &event));
    CHECK(event.why == DICORE_WHY_TIMEOUT && event.reason == DICORE_TIMEOUT_NETWORK);
    dicore_engine_free(e);
    close(fd);
    CHECK_EQ(blocks, 0);
}

static void test_what_is_foreign_is_handed_over_with_every_byte(void)
{
    uint16_t port;
    const int fd = listener(&port);
    dicore_engine *e = NULL;
    dicore_error error = {0};
    dicore_engine_options o = options_for(NULL, 1);
    const dicore_span find = text("1.2.840.10008.5.1.4.1.2.2.1");
    o.foreign = (dicore_names){&find, 1};
    o.associations = 1;
    CHECK_EQ(dicore_engine_start(&o, &fd, 1, &e, &error), DICORE_OK);
    client c;
    CHECK_EQ(open_client(&c, port, "1.2", 1), DICORE_EVENT_ASSOCIATE_AC); /* not foreign: it is served here */
    CHECK(echo(&c, 1));
    close_client(&c);
    uint64_t counts[DICORE_COUNTERS];
    do
        dicore_engine_count(e, counts);
    while (counts[DICORE_COUNT_OPEN]);
    uint8_t rq[1024];
    size_t size;
    const dicore_span syntax = text("1.2.840.10008.1.2");
    const dicore_context context = {.id = 1, .abstract_syntax = find, .syntaxes = &syntax, .syntax_count = 1};
    const dicore_associate proposal = {.called_ae = text("A"), .calling_ae = text("B"), .contexts = &context, .context_count = 1,
                                       .implementation_uid = text("1.2")};
    CHECK_EQ(dicore_associate_build(1, &proposal, 16384, rq, sizeof rq, &size), DICORE_OK);
    for (int cut = 0; cut < 2; cut++) {
        const int raw = dial(port);
        dicore_engine_event event;
        CHECK(send(raw, rq, cut ? 10 : size, 0) > 0);
        if (cut) {
            usleep(20000); /* so that it arrives in two; when it does not, the test is only weaker */
            CHECK(send(raw, rq + 10, size - 10, 0) > 0);
        }
        CHECK(await_event(e, DICORE_ENGINE_HANDOVER, &event));
        CHECK(event.size == size && memcmp(event.data, rq, size) == 0);
        char back[4] = "";
        CHECK_EQ(send(event.socket, "abc", 3, 0), 3);
        CHECK_EQ(recv(raw, back, 3, MSG_WAITALL), 3);
        dicore_engine_release(e, &event);
        client other;
        if (cut) { /* it is the one association that may be: for a native one and for another foreign one */
            CHECK_EQ(open_client(&other, port, "1.2", 1), DICORE_EVENT_ASSOCIATE_RJ);
            close_client(&other);
            CHECK_EQ(open_client(&other, port, "1.2.840.10008.5.1.4.1.2.2.1", 1), DICORE_EVENT_ASSOCIATE_RJ);
            close_client(&other);
        }
        close(event.socket);
        CHECK_EQ(dicore_engine_hold(e, 1000), 1000);
        CHECK_EQ(dicore_engine_hold(e, -1000), 0);
        dicore_engine_gone(e, event.host);
        CHECK_EQ(open_client(&other, port, "1.2", 1), DICORE_EVENT_ASSOCIATE_AC);
        CHECK(echo(&other, 1));
        close_client(&other);
        do
            dicore_engine_count(e, counts);
        while (counts[DICORE_COUNT_OPEN]);
        close(raw);
    }
    dicore_engine_drain(e);
    dicore_engine_event event;
    CHECK(await_event(e, DICORE_ENGINE_EMPTY, &event));
    dicore_engine_free(e);
    close(fd);
    CHECK_EQ(blocks, 0);
}

int main(void)
{
    test_the_ring_keeps_every_event_in_the_order_of_its_producer();
    test_associations_of_every_end(DICORE_RELAXED, 1);
    test_associations_of_every_end(DICORE_SYNC_DATA, 3);
    test_associations_of_every_end(DICORE_SYNC_DIRECT, 2);
    test_limits_names_and_addresses();
    test_silence_ends_by_the_timer_that_is_due();
    test_what_is_foreign_is_handed_over_with_every_byte();
    return check_result("test_engine");
}
