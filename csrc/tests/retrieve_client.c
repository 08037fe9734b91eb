/* Asks for a study by C-GET or C-MOVE over one association, over dicore_association and a blocking socket: what bench_retrieve.py
 * measures servers with, so that the one who receives is not what is measured.
 *
 *     retrieve_client get PORT AE STUDY PDU [check]
 *     retrieve_client move PORT AE STUDY PDU DESTINATION
 *
 * One line: seconds from the request to the final response, its status, instances, bytes. With `check` a line for each instance
 * before it: SOP Instance UID, bytes and CRC-32C of its data set. CT in both uncompressed syntaxes, and in some compressed ones. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dicore/dicore.h"
#include "plain_heap.h"

static const char model_get[] = "1.2.840.10008.5.1.4.1.2.2.3", model_move[] = "1.2.840.10008.5.1.4.1.2.2.2";
static const char ct[] = "1.2.840.10008.5.1.4.1.1.2";
static uint8_t buffer[1 << 20];

static struct {
    dicore_association *core;
    int fd;
    bool get, check, over;
    uint16_t status, completed;
    uint32_t crc;
    uint64_t count, bytes, size;      /* size: of the data set that is coming */
    uint16_t message_id;
    uint8_t context;
    char uid[65];
    bool storing;
} g;

static dicore_span text(const char *s) { return (dicore_span){(const uint8_t *)s, strlen(s)}; }

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void flush_out(void)
{
    const uint8_t *out;
    size_t size;
    for (;;) {
        dicore_association_output(g.core, &out, &size);
        if (!size)
            return;
        const ssize_t n = send(g.fd, out, size, MSG_NOSIGNAL);
        if (n <= 0)
            fail("the connection broke");
        dicore_association_sent(g.core, (size_t)n);
    }
}

static void stored(void)
{
    g.storing = false;
    g.count++;
    g.bytes += g.size;
    if (g.check)
        printf("%s %llu %08x\n", g.uid, (unsigned long long)g.size, g.crc);
    const dicore_command answer = {
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_RESPONDED_TO | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_STATUS,
        .command_field = DICORE_C_STORE_RSP, .responded_to = g.message_id, .data_set_type = DICORE_NO_DATA_SET,
        .affected_class = text(ct), .affected_instance = text(g.uid)};
    if (dicore_association_respond(g.core, g.context, &answer) != DICORE_OK)
        fail("no room for the answer");
    flush_out();
}

static void take(const dicore_event *e)
{
    switch (e->kind) {
    case DICORE_EVENT_DATA:
        g.size += e->size;
        if (g.check)
            g.crc = dicore_crc32c(g.crc, e->data, e->size);
        if (e->last && g.storing)
            stored();
        return;
    case DICORE_EVENT_COMMAND:
        if (e->command.command_field == DICORE_C_STORE_RQ) {
            g.storing = true;
            g.size = g.crc = 0;
            g.context = e->context_id;
            g.message_id = e->command.message_id;
            const size_t n = e->command.affected_instance.size < 64 ? e->command.affected_instance.size : 64;
            memcpy(g.uid, e->command.affected_instance.data, n);
            g.uid[n] = 0;
        } else if (!dicore_status_pending(e->command.status)) {
            g.over = true;
            g.status = e->command.status;
            g.completed = e->command.completed;
        }
        return;
    case DICORE_EVENT_ASSOCIATE_AC:
    case DICORE_EVENT_RELEASE_RP:
        g.over = true;
        return;
    case DICORE_EVENT_NONE: return;
    case DICORE_EVENT_ASSOCIATE_RQ:
    case DICORE_EVENT_ASSOCIATE_RJ:
    case DICORE_EVENT_RELEASE_RQ:
    case DICORE_EVENT_ABORT:
    case DICORE_EVENT_FAILED:
    case DICORE_EVENT_CLOSED:
    case DICORE_EVENT_TIMEOUT: break;
    }
    fprintf(stderr, "event %d after %llu instances\n", (int)e->kind, (unsigned long long)g.count);
    exit(1);
}

/** Read until what is waited for has come. */
static void wait_for(void)
{
    g.over = false;
    while (!g.over) {
        const ssize_t n = recv(g.fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            fail("the connection was closed");
        for (size_t at = 0;;) {
            dicore_event e;
            size_t consumed;
            const dicore_status s = dicore_association_receive(g.core, buffer + at, (size_t)n - at, &consumed, &e);
            at += consumed;
            take(&e);
            if (e.kind == DICORE_EVENT_NONE || s != DICORE_OK)
                break;
        }
    }
}

static size_t put(uint8_t *at, uint16_t group, uint16_t number, const char *value)
{
    const size_t size = strlen(value), even = size + size % 2;
    const uint8_t head[8] = {(uint8_t)group, (uint8_t)(group >> 8), (uint8_t)number, (uint8_t)(number >> 8), (uint8_t)even};
    memcpy(at, head, 8);
    memcpy(at + 8, value, size);
    if (even > size)
        at[8 + size] = group == 8 ? ' ' : 0;
    return 8 + even;
}

int main(int argc, char **argv)
{
    static const char *const syntaxes[] = {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2"};
    if (argc < 6 || (strcmp(argv[1], "get") != 0 && argc < 7))
        fail("usage: retrieve_client get|move PORT AE STUDY PDU [check|DESTINATION]");
    g.get = strcmp(argv[1], "get") == 0;
    g.check = g.get && argc > 6;
    dicore_association_options options;
    dicore_association_defaults(&options);
    options.max_length = (uint32_t)strtoul(argv[5], NULL, 10);
    const dicore_span spans[2] = {text(syntaxes[0]), text(syntaxes[1])};
    const dicore_context contexts[3] = {
        {.id = 1, .abstract_syntax = text(g.get ? model_get : model_move), .syntaxes = &spans[1], .syntax_count = 1},
        {.id = 3, .abstract_syntax = text(ct), .syntaxes = &spans[0], .syntax_count = 1},
        {.id = 5, .abstract_syntax = text(ct), .syntaxes = &spans[1], .syntax_count = 1}};
    const dicore_role role = {.sop_class = text(ct), .scu = 1, .scp = 1};
    const dicore_associate rq = {.called_ae = text(argv[3]), .calling_ae = text("BENCH"), .contexts = contexts,
                                 .context_count = g.get ? 3 : 1, .implementation_uid = text("1.2.3"), .roles = &role,
                                 .role_count = g.get ? 1 : 0};
    g.core = dicore_association_new(&options, &plain_heap);
    if (!g.core || dicore_association_request(g.core, &rq) != DICORE_OK)
        fail("no association");
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
    const int one = 1;
    g.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (g.fd < 0 || connect(g.fd, (const struct sockaddr *)&to, sizeof to))
        fail("no connection");
    setsockopt(g.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)dicore_association_connected(g.core);
    flush_out();
    wait_for();
    if (!dicore_association_accepted(g.core, 1))
        fail("the model is not served");
    uint8_t identifier[256], memory[512], headers[96];
    size_t size = put(identifier, 8, 0x52, "STUDY");
    size += put(identifier + size, 0x20, 0x0d, argv[4]);
    dicore_command ask = {
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_PRIORITY,
        .command_field = g.get ? DICORE_C_GET_RQ : DICORE_C_MOVE_RQ, .message_id = 1, .data_set_type = DICORE_DATA_SET,
        .affected_class = text(g.get ? model_get : model_move)};
    if (!g.get)
        ask.move_destination = text(argv[6]);
    dicore_sender sender;
    dicore_span data = {identifier, size}, pieces[8];
    size_t count = 0;
    if (dicore_association_send(g.core, 1, &ask, size, 0, memory, sizeof memory, &sender) != DICORE_OK)
        fail("the request cannot be sent");
    (void)dicore_sender_supply(&sender, &data, 1);
    const double begun = now();
    for (dicore_status s = DICORE_OK; s == DICORE_OK;) {
        s = dicore_sender_next(&sender, headers, sizeof headers, pieces, 8, &count);
        for (size_t i = 0; i < count; i++)
            if (send(g.fd, pieces[i].data, pieces[i].size, MSG_NOSIGNAL | (i + 1 < count ? MSG_MORE : 0)) != (ssize_t)pieces[i].size)
                fail("the request cannot be sent");
    }
    wait_for();
    const double seconds = now() - begun;
    printf("%.6f %04x %llu %llu\n", seconds, g.status, (unsigned long long)(g.get ? g.count : g.completed),
           (unsigned long long)g.bytes);
    (void)dicore_association_release(g.core);
    flush_out();
    wait_for();
    close(g.fd);
    dicore_association_free(g.core);
    return 0;
}
