/* Bytes at the port of an engine that runs: whatever comes, the connection ends when the peer ends it, what is answered are
 * whole PDUs, and nothing stays behind. One engine with two threads serves all inputs of the process; it drops what is stored.
 *
 * Input: a byte of flags (1: begin in an accepted association, 2: end by a reset, 4: do not read before all is written), the
 * number of cuts, a byte for each (the size of a write, in units of 16; 0: 1 byte), used in turn, then the stream. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dicore/engine.h"

static dicore_engine *engine;
static uint16_t port;

static dicore_span text(const char *s) { return (dicore_span){(const uint8_t *)s, strlen(s)}; }

static void stop(void) { dicore_engine_free(engine); }

static void start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 64) == 0);
    MUST(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    port = ntohs(address.sin_port);
    static dicore_span find[1];
    find[0] = text("1.2.840.10008.5.1.4.1.2.2.1");
    dicore_engine_options o;
    dicore_error error = {0};
    dicore_engine_defaults(&o);
    o.allocator = plain_heap;
    o.threads = 2;
    o.window = 4;
    o.dataset = 8192;
    o.stream_from = 4096;
    o.association.command_limit = 2048;
    o.association.max_length = 4096;
    o.implementation_uid = text("1.2.3.4");
    o.report_ends = true;
    o.foreign = (dicore_names){find, 1};
    MUST(dicore_engine_start(&o, &fd, 1, &engine, &error) == DICORE_OK);
    signal(SIGPIPE, SIG_IGN);
    atexit(stop);
}

/** Wait until `fd` is ready. A machine may stand still for a while, with the engine on it: so a few times. */
static void await(int fd, short what)
{
    for (int tries = 0; tries < 4; tries++) {
        struct pollfd ready = {.fd = fd, .events = what};
        if (poll(&ready, 1, 15000) == 1)
            return;
        fprintf(stderr, "nothing for 15 s\n");
    }
    MUST(!"the engine hangs");
}

/** The end of the one connection that there is; true: it was handed over, and is ours to close. */
static bool ended(void)
{
    for (;;) {
        dicore_engine_event event;
        while (dicore_engine_next(engine, &event)) {
            if (event.kind == DICORE_ENGINE_HANDOVER) {
                MUST(event.socket >= 0 && event.size >= 6);
                close(event.socket);
                dicore_engine_gone(engine, event.host);
                dicore_engine_release(engine, &event);
                return true;
            }
            if (event.kind == DICORE_ENGINE_ENDED)
                return false;
            MUST(event.kind == DICORE_ENGINE_STORED);
        }
        await(dicore_engine_descriptor(engine), POLLIN);
    }
}

/** What came back: PDUs that are whole, of the kinds that an acceptor may send. */
typedef struct answers {
    uint8_t data[1 << 18];
    size_t size;
    bool over, broken;
} answers;

static answers back;

static void take(int fd, bool wait)
{
    while (!back.over && back.size < sizeof back.data) {
        const ssize_t n = recv(fd, back.data + back.size, sizeof back.data - back.size, wait ? 0 : MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n > 0) {
            back.size += (size_t)n;
            continue;
        }
        back.over = true;
        back.broken = n < 0; /* it closed with bytes of ours unread */
    }
}

static void check_answers(bool reset)
{
    size_t at = 0;
    while (back.size - at >= 6) {
        const uint8_t type = back.data[at];
        const size_t length = (size_t)back.data[at + 2] << 24 | (size_t)back.data[at + 3] << 16 | (size_t)back.data[at + 4] << 8 |
                              back.data[at + 5];
        MUST(type == 2 || type == 3 || type == 4 || type == 6 || type == 7);
        MUST(length >= 4 && length <= 70000);
        if (back.size - at - 6 < length)
            break;
        at += 6 + length;
    }
    MUST(reset || at == back.size || back.size == sizeof back.data);
}

static bool put(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        const ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            await(fd, POLLOUT | POLLIN);
            take(fd, false);
            continue;
        }
        if (n < 0)
            return false; /* it has had enough of us */
        data += n;
        size -= (size_t)n;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size - 2 < data[1])
        return 0;
    const uint8_t flags = data[0], cuts = data[1], *cut = data + 2;
    data += 2 + cuts;
    size -= 2u + cuts;
    if (!engine)
        start();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    back.size = 0;
    back.over = back.broken = false;
    bool open = true;
    if (flags & 1) {
        uint8_t rq[512];
        size_t needed;
        const dicore_span syntax = text("1.2.840.10008.1.2");
        const dicore_context contexts[3] = {
            {.id = 1, .abstract_syntax = text("1.2.840.10008.1.1"), .syntaxes = &syntax, .syntax_count = 1},
            {.id = 3, .abstract_syntax = text("1.2.840.10008.5.1.4.1.1.2"), .syntaxes = &syntax, .syntax_count = 1},
            {.id = 5, .abstract_syntax = text("1.2.840.10008.5.1.4.1.1.4"), .syntaxes = &syntax, .syntax_count = 1}};
        const dicore_associate proposal = {.called_ae = text("SCP"), .calling_ae = text("SCU"), .contexts = contexts,
                                           .context_count = 3, .implementation_uid = text("1.2"), .has_async = true,
                                           .async_invoked = 4, .async_performed = 1};
        MUST(dicore_associate_build(1, &proposal, 4096, rq, sizeof rq, &needed) == DICORE_OK);
        open = put(fd, rq, needed);
    }
    for (size_t at = 0, turn = 0; open && at < size; turn++) {
        size_t part = cuts == 0 ? size : cut[turn % cuts] ? (size_t)cut[turn % cuts] * 16 : 1;
        if (part > size - at)
            part = size - at;
        open = put(fd, data + at, part);
        at += part;
        if (!(flags & 4))
            take(fd, false);
    }
    const bool reset = flags & 2;
    if (!reset) {
        shutdown(fd, SHUT_WR);
        const struct timeval patience = {.tv_sec = 60};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    const struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* no TIME_WAIT, of which there would be too many */
    if (reset)
        close(fd);
    const bool mine = ended();
    if (!reset) { /* all that was answered fits the socket's buffers */
        take(fd, true);
        MUST(back.over || back.size == sizeof back.data);
        close(fd);
    }
    check_answers(reset || mine || !open || back.broken);
    uint64_t counters[DICORE_COUNTERS];
    dicore_engine_count(engine, counters);
    MUST(counters[DICORE_COUNT_EVENTS_LOST] == 0);
    return 0;
}
