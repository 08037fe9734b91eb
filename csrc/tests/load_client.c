/* A sender of many associations in one thread, over dicore_association: what bench_concurrency.py measures servers with.
 *
 *     load_client many  PORT SOURCES COUNT STORING SIZE   open COUNT and echo on each; a line of JSON; wait for a line on stdin;
 *                                                         then STORING of them store SIZE bytes at once; another line
 *     load_client churn PORT SOURCES CYCLES IN_FLIGHT     associate, echo, release
 *     load_client paced PORT SOURCES PEERS RATE SECONDS SIZE
 *                                                         C-STOREs at RATE a second in all, whatever the answers; latency from
 *                                                         the intended start, and how late this client itself was ("lag")
 *     load_client flood PORT SOURCES PEERS SECONDS SIZE   as fast as the answers come
 *     load_client loris PORT SOURCES PEERS MS SECONDS     a byte from each peer every MS, in even turns: half of them of their
 *                                                         A-ASSOCIATE-RQ, half of a data set. "failed": that were thrown out
 * SOURCES: how many of 127.0.0.1, .2, ... to connect from. Times in milliseconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "dicore/dicore.h"
#include "plain_heap.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { PIECES = 32 };

typedef struct conn {
    dicore_association *core;
    int fd;
    bool open, writing, busy, sending;
    uint16_t message;
    double began;                /* of what it is busy with */
    dicore_sender sender;
    dicore_span data, pieces[PIECES];
    size_t piece, piece_count;
    uint8_t *command, *headers;  /* of a message under way */
} conn;

typedef enum mode { MANY, CHURN, PACED, FLOOD } mode;

static struct {
    mode mode;
    int epoll, sources, next_source;
    uint16_t port;
    size_t count, done, failed, wanted, size;
    double *times, *lags, began;
    uint8_t *data;
    uint64_t serial;
    conn **idle;
    size_t idle_count;
} g;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static dicore_span text(const char *s) { return (dicore_span){(const uint8_t *)s, strlen(s)}; }
static const char ct[] = "1.2.840.10008.5.1.4.1.1.2";

static void watch(conn *l, bool writing)
{
    if (l->writing == writing)
        return;
    l->writing = writing;
    struct epoll_event e = {.events = writing ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = l};
    epoll_ctl(g.epoll, EPOLL_CTL_MOD, l->fd, &e);
}

/** Send what there is. False: the connection is gone. */
static bool push(conn *l)
{
    const uint8_t *out;
    size_t size;
    for (;;) {
        ssize_t n;
        dicore_association_output(l->core, &out, &size);
        if (size) {
            n = send(l->fd, out, size, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0)
                dicore_association_sent(l->core, (size_t)n);
        } else if (l->piece < l->piece_count) {
            struct iovec v[PIECES];
            struct msghdr m = {.msg_iov = v, .msg_iovlen = l->piece_count - l->piece};
            for (size_t i = 0; i < m.msg_iovlen; i++)
                v[i] = (struct iovec){(void *)(uintptr_t)l->pieces[l->piece + i].data, l->pieces[l->piece + i].size};
            n = sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
            for (size_t left = n > 0 ? (size_t)n : 0; left;) {
                dicore_span *p = &l->pieces[l->piece];
                const size_t taken = left < p->size ? left : p->size;
                p->data += taken;
                p->size -= taken;
                left -= taken;
                if (!p->size)
                    l->piece++;
            }
        } else if (l->sending) {
            l->piece = 0;
            const dicore_status s = dicore_sender_next(&l->sender, l->headers, 12 * PIECES, l->pieces, PIECES, &l->piece_count);
            l->sending = s == DICORE_OK;
            continue;
        } else {
            watch(l, false);
            return true;
        }
        if (n < 0 && errno == EAGAIN) {
            watch(l, true);
            return true;
        }
        if (n < 0 && errno != EINTR)
            return false;
    }
}

static void drop(conn *l)
{
    close(l->fd);
    l->fd = -1;
    dicore_association_free(l->core);
    l->core = NULL;
    free(l->command);
    l->command = l->headers = NULL;
}

static void dial(conn *l)
{
    static const char verification[] = "1.2.840.10008.1.1";
    dicore_association_options o;
    dicore_association_defaults(&o);
    o.idle_timeout = 0;
    const dicore_span syntax = text("1.2.840.10008.1.2.1");
    const dicore_context contexts[2] = {{.id = 1, .abstract_syntax = text(verification), .syntaxes = &syntax, .syntax_count = 1},
                                        {.id = 3, .abstract_syntax = text(ct), .syntaxes = &syntax, .syntax_count = 1}};
    const dicore_associate rq = {.called_ae = text("DICORE"), .calling_ae = text("LOAD"), .contexts = contexts, .context_count = 2,
                                 .implementation_uid = text("1.2.3")};
    memset(l, 0, sizeof *l);
    l->core = dicore_association_new(&o, &plain_heap);
    (void)dicore_association_request(l->core, &rq);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int one = 1;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(l->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(g.next_source++ % g.sources))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(g.port)};
    l->began = now();
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&from, sizeof from) ||
        (connect(l->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)) {
        perror("connect");
        exit(1);
    }
    (void)dicore_association_connected(l->core);
    l->writing = true;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = l};
    epoll_ctl(g.epoll, EPOLL_CTL_ADD, l->fd, &e);
}

static void echo(conn *l)
{
    const dicore_command rq = {.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_DATA_SET_TYPE,
                               .command_field = DICORE_C_ECHO_RQ, .message_id = ++l->message, .data_set_type = DICORE_NO_DATA_SET,
                               .affected_class = text("1.2.840.10008.1.1")};
    (void)dicore_association_respond(l->core, 1, &rq);
}

static void store(conn *l, double began)
{
    char uid[64];
    const int size = snprintf(uid, sizeof uid, "1.2.826.0.1.3680043.10.7.%d.%llu", (int)getpid(), (unsigned long long)++g.serial);
    const dicore_command rq = {
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_PRIORITY,
        .command_field = DICORE_C_STORE_RQ, .message_id = ++l->message, .data_set_type = DICORE_DATA_SET,
        .affected_class = text(ct), .affected_instance = {(uint8_t *)uid, (size_t)size}};
    if (!l->command) {
        l->command = malloc(512 + 12 * PIECES);
        l->headers = l->command + 512;
    }
    l->began = began;
    l->busy = l->sending = true;
    l->data = (dicore_span){g.data, g.size};
    if (dicore_association_send(l->core, 3, &rq, g.size, 0, l->command, 512, &l->sender) != DICORE_OK) {
        g.failed++;
        l->sending = false;
    }
    (void)dicore_sender_supply(&l->sender, &l->data, 1);
    if (!push(l))
        g.failed++;
}

static void finished(conn *l)
{
    if (g.done < g.wanted)
        g.times[g.done] = now() - (g.mode == MANY ? g.began : l->began);
    g.done++;
    l->busy = false;
}

static void handle(conn *l, const dicore_event *e)
{
    switch (e->kind) {
    case DICORE_EVENT_ASSOCIATE_AC:
        l->open = true;
        if (g.mode == MANY || g.mode == CHURN)
            echo(l);
        else
            g.done++;
        break;
    case DICORE_EVENT_COMMAND:
        if (e->command.status != 0)
            g.failed++;
        if (g.mode == CHURN) {
            (void)dicore_association_release(l->core);
        } else {
            finished(l);
            if (g.mode == PACED)
                g.idle[g.idle_count++] = l;
        }
        break;
    case DICORE_EVENT_RELEASE_RP:
        finished(l);
        l->open = false;
        break;
    case DICORE_EVENT_NONE:
    case DICORE_EVENT_DATA: break;
    case DICORE_EVENT_ASSOCIATE_RQ:
    case DICORE_EVENT_ASSOCIATE_RJ:
    case DICORE_EVENT_RELEASE_RQ:
    case DICORE_EVENT_ABORT:
    case DICORE_EVENT_FAILED:
    case DICORE_EVENT_CLOSED:
    case DICORE_EVENT_TIMEOUT:
        fprintf(stderr, "event %d result %d source %d reason %d\n", (int)e->kind, e->result, e->source, e->reason);
        g.failed++;
        g.done++;
        break;
    }
}

/* Wait for `timeout` milliseconds at most, to the microsecond. */
static void turn(double timeout)
{
    struct epoll_event events[256];
    const long wait = timeout > 0 ? (long)(timeout * 1e6) : 0;
    const struct timespec limit = {wait / 1000000000, wait % 1000000000};
    const int n = epoll_pwait2(g.epoll, events, 256, &limit, NULL);
    for (int i = 0; i < n; i++) {
        conn *l = events[i].data.ptr;
        uint8_t memory[4096];
        if (l->fd < 0)
            continue;
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
            const ssize_t got = recv(l->fd, memory, sizeof memory, MSG_DONTWAIT);
            if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
                fprintf(stderr, "lost: %s\n", got ? strerror(errno) : "closed");
                g.failed++;
                g.done++;
                drop(l);
                continue;
            }
            for (size_t at = 0; got > 0;) {
                dicore_event e;
                size_t consumed;
                const dicore_status s = dicore_association_receive(l->core, memory + at, (size_t)got - at, &consumed, &e);
                at += consumed;
                handle(l, &e);
                if (e.kind == DICORE_EVENT_NONE || s != DICORE_OK || dicore_association_closing(l->core))
                    break;
            }
        }
        if (dicore_association_closing(l->core)) {
            drop(l);
            continue;
        }
        if (!push(l)) {
            g.failed++;
            g.done++;
            drop(l);
        } else if (g.mode == FLOOD && l->open && !l->busy && !l->sending) {
            store(l, now());
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, double elapsed)
{
    const size_t n = g.done < g.wanted ? g.done : g.wanted;
    qsort(g.times, n, sizeof *g.times, by_size);
    printf("{\"what\": \"%s\", \"done\": %zu, \"failed\": %zu, \"ms\": %.1f, \"median\": %.3f, \"p99\": %.3f, \"max\": %.3f", what,
           g.done, g.failed, elapsed, n ? g.times[n / 2] : 0, n ? g.times[(size_t)((double)(n - 1) * 0.99)] : 0, n ? g.times[n - 1] : 0);
    if (g.lags) {
        qsort(g.lags, n, sizeof *g.lags, by_size);
        printf(", \"lag_median\": %.3f, \"lag_p99\": %.3f", n ? g.lags[n / 2] : 0, n ? g.lags[(size_t)((double)(n - 1) * 0.99)] : 0);
    }
    printf("}\n");
    fflush(stdout);
}

static void begin(size_t wanted)
{
    free(g.times);
    g.times = calloc(wanted + 1, sizeof *g.times);
    g.wanted = wanted;
    g.done = g.failed = 0;
    g.began = now();
}

static bool thrown_out(const conn *l)
{
    char byte;
    const ssize_t n = recv(l->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* A C-STORE of g.size bytes as it goes over the wire. */
static uint8_t *message_of(conn *l, size_t *size)
{
    const dicore_command rq = {
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_PRIORITY,
        .command_field = DICORE_C_STORE_RQ, .message_id = 1, .data_set_type = DICORE_DATA_SET,
        .affected_class = text(ct), .affected_instance = text("1.2.3")};
    uint8_t command[512], *wire = malloc(g.size + 4096);
    dicore_span data = {g.data, g.size};
    *size = 0;
    if (dicore_association_send(l->core, 3, &rq, g.size, 0, command, sizeof command, &l->sender) != DICORE_OK)
        exit(1);
    (void)dicore_sender_supply(&l->sender, &data, 1);
    for (dicore_status s = DICORE_OK; s == DICORE_OK && *size < g.size;) {
        uint8_t headers[12 * PIECES];
        s = dicore_sender_next(&l->sender, headers, sizeof headers, l->pieces, PIECES, &l->piece_count);
        for (size_t i = 0; i < l->piece_count; i++) {
            memcpy(wire + *size, l->pieces[i].data, l->pieces[i].size);
            *size += l->pieces[i].size;
        }
    }
    l->piece_count = 0;
    return wire;
}

/* What the peers send byte by byte is what they would have sent at once. */
static void loris(size_t peers, double every, double seconds)
{
    conn *links = calloc(peers, sizeof *links);
    const uint8_t **wire = calloc(peers, sizeof *wire);
    size_t *sizes = calloc(peers, sizeof *sizes);
    g.mode = PACED; /* nothing is sent but requests */
    begin(peers);
    for (size_t i = 0; i < peers; i++) {
        dial(&links[i]);
        if (i % 2) {
            epoll_ctl(g.epoll, EPOLL_CTL_DEL, links[i].fd, NULL);
            dicore_association_output(links[i].core, &wire[i], &sizes[i]);
        }
    }
    for (size_t i = 0; i < peers; i += 2) {
        while (!links[i].open && !g.failed)
            turn(1000);
        wire[i] = message_of(&links[i], &sizes[i]);
    }
    puts("{\"failed\": 0}");
    fflush(stdout);
    const double start = now();
    double due = start;
    for (size_t turns = 0; due < start + seconds * 1e3; turns++, due = start + (double)turns * every / (double)peers) {
        const double wait = due - now();
        const size_t i = turns % peers, round = turns / peers;
        if (wait > 0)
            nanosleep(&(struct timespec){(time_t)(wait / 1e3), (long)(wait * 1e6) % 1000000000}, NULL);
        if (round < sizes[i])
            (void)!send(links[i].fd, wire[i] + round, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    for (size_t i = 0; i < peers; i++)
        g.failed += (size_t)thrown_out(&links[i]);
    g.done = peers;
    report("loris", now() - start);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc < 6) {
        fputs("see the comment in csrc/tests/load_client.c\n", stderr);
        return 2;
    }
    const size_t a[3] = {strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), argc > 6 ? strtoull(argv[6], NULL, 10) : 0};
    const bool drip = !strcmp(argv[1], "loris");
    g.mode = !strcmp(argv[1], "many") ? MANY : !strcmp(argv[1], "churn") ? CHURN : !strcmp(argv[1], "paced") ? PACED : FLOOD;
    g.port = (uint16_t)atoi(argv[2]);
    g.sources = atoi(argv[3]) > 0 ? atoi(argv[3]) : 1;
    g.epoll = epoll_create1(EPOLL_CLOEXEC);
    g.size = g.mode == MANY || g.mode == FLOOD ? a[2] : argc > 7 ? strtoull(argv[7], NULL, 10) : 0;
    if (drip)
        g.size = 60000;
    g.size += g.size & 1;
    g.data = calloc(1, g.size + 16);
    if (g.size >= 12) { /* one element of OW: a data set */
        const uint32_t length = (uint32_t)(g.size - 12);
        memcpy(g.data, "\xE0\x7F\x10\x00OW\0\0", 8);
        memcpy(g.data + 8, &length, 4);
        for (size_t i = 12; i < g.size; i++)
            g.data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    if (drip) {
        loris(a[0], (double)a[1], (double)a[2]);
    } else if (g.mode == MANY) {
        conn *links = calloc(a[0], sizeof *links);
        begin(a[0]);
        for (size_t i = 0; i < a[0]; i++) {
            dial(&links[i]);
            if (i % 64 == 63)
                turn(0);
        }
        while (g.done < a[0])
            turn(1000);
        report("open and echo", now() - g.began);
        if (getchar() == EOF)
            return 1;
        begin(a[0]);
        for (size_t i = 0; i < a[0]; i++) {
            echo(&links[i]);
            if (!push(&links[i]))
                g.failed++;
        }
        while (g.done < a[0])
            turn(1000);
        report("echo all", now() - g.began);
        begin(a[1]);
        for (size_t i = 0; i < a[1]; i++)
            store(&links[i], now());
        while (g.done < a[1])
            turn(1000);
        report("store", now() - g.began);
    } else if (g.mode == CHURN) {
        conn *links = calloc(a[1], sizeof *links);
        begin(a[0]);
        for (size_t i = 0; i < a[1]; i++)
            links[i].fd = -1;
        for (size_t begun = 0; g.done < a[0];) {
            for (size_t i = 0; i < a[1] && begun < a[0]; i++)
                if (links[i].fd < 0) {
                    dial(&links[i]);
                    begun++;
                }
            turn(1000);
        }
        report("associate, echo, release", now() - g.began);
    } else {
        const size_t peers = a[0];
        const double rate = g.mode == PACED ? (double)a[1] : 0, seconds = g.mode == PACED ? (double)a[2] : (double)a[1];
        const size_t total = g.mode == PACED ? (size_t)(rate * seconds) : 10000000;
        conn *links = calloc(peers, sizeof *links);
        g.idle = calloc(peers + 1, sizeof *g.idle);
        begin(peers);
        const mode wanted = g.mode;
        g.mode = PACED; /* nothing is sent until all are open */
        for (size_t i = 0; i < peers; i++)
            dial(&links[i]);
        while (g.done < peers)
            turn(1000);
        g.mode = wanted;
        for (size_t i = 0; i < peers; i++)
            g.idle[g.idle_count++] = &links[i];
        begin(total);
        const double end = g.began + seconds * 1e3;
        if (g.mode == PACED) {
            g.lags = calloc(total + 1, sizeof *g.lags);
            for (size_t sent = 0; g.done < total && now() < end + 20000;) {
                double due = g.began + (double)sent * 1e3 / rate, late;
                while (sent < total && g.idle_count && (late = now() - due) >= 0) {
                    g.lags[sent++] = late;
                    store(g.idle[--g.idle_count], due); /* from the intended start on */
                    due = g.began + (double)sent * 1e3 / rate;
                }
                turn(sent < total && g.idle_count ? due - now() : 1);
            }
        } else {
            while (g.idle_count)
                store(g.idle[--g.idle_count], now());
            while (now() < end)
                turn(50);
        }
        report(argv[1], now() - g.began);
    }
    return g.failed != 0;
}
