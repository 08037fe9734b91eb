/* libdicore in a program of one's own: a storage SCP over plain epoll, in one thread.
 *
 *     embed PORT FOLDER       answers C-ECHO, keeps each C-STORE as FOLDER/<SOP Instance UID>.dcm
 *
 *     cc -O2 embed.c $(pkg-config --cflags --libs dicore) -o embed
 *
 * A dicore_association has no socket and no clock. All that a driver does is in serve(): give it bytes, look at the events,
 * send what it says, close when it says so, and wake it when its deadline has come. Limits, threads: see csrc/engine. */
#include <dicore/dicore.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct peer {
    dicore_association *core;
    struct peer *next;              /* of all connections, for the deadlines */
    int socket;
    bool blocked;                   /* the socket takes no more: epoll says when */
    int file;                       /* of the data set that is coming; -1: none, or it failed */
    dicore_command request;         /* what it answers; its texts are in the three that follow */
    uint8_t context_id;
    char sop_class[65], instance[65];
    char syntax[128][65];           /* transfer syntax of each accepted context, by id / 2 */
} peer;

static int epoll, folder;
static peer *peers;

static void *memory(void *context, void *pointer, size_t old_size, size_t new_size)
{
    (void)context;
    (void)old_size;
    if (new_size == 0) {
        free(pointer);
        return NULL;
    }
    return realloc(pointer, new_size);
}

static const dicore_allocator allocator = {memory, NULL};

static dicore_span text(const char *s) { return (dicore_span){(const uint8_t *)s, strlen(s)}; }

static void copy(char out[65], dicore_span s) { snprintf(out, 65, "%.*s", (int)s.size, (const char *)s.data); }

static uint64_t milliseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the association's events ------------------------------------------------------------------------------------------ */

/** Accept every context in the first transfer syntax that is proposed. */
static void negotiate(peer *p, const dicore_associate *proposal)
{
    dicore_context contexts[128];
    for (size_t i = 0; i < proposal->context_count; i++) {
        const dicore_context *c = &proposal->contexts[i];
        contexts[i] = (dicore_context){.id = c->id, .result = 0, .syntaxes = c->syntaxes, .syntax_count = 1};
        copy(p->syntax[c->id / 2], c->syntaxes[0]);
    }
    const dicore_associate answer = {.contexts = contexts, .context_count = proposal->context_count,
                                     .implementation_uid = text("2.25.1"), .implementation_version = text("EMBED")};
    if (dicore_association_accept(p->core, &answer) != DICORE_OK)
        (void)dicore_association_reject(p->core, 1, 1, 1);
}

static void answer(peer *p, uint16_t status)
{
    dicore_command response;
    dicore_command_response(&p->request, status, &response);
    (void)dicore_association_respond(p->core, p->context_id, &response);
}

static void store_bytes(peer *p, const uint8_t *data, size_t size)
{
    while (p->file >= 0 && size) {
        const ssize_t n = write(p->file, data, size);
        if (n < 0 && errno != EINTR) {
            close(p->file);
            p->file = -1;
        }
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
}

/** A name for a file: digits and dots, and not hidden. */
static bool is_uid(const char *s) { return *s && strspn(s, "0123456789.") == strlen(s) && *s != '.'; }

/** A C-STORE begins: a file with the header that Part 10 wants, under a name that says it is not whole. */
static void begin_store(peer *p)
{
    uint8_t meta[DICORE_META_MAX];
    size_t size;
    char name[80];
    p->file = -1;
    if (!is_uid(p->instance) ||
        dicore_part10_write_meta(meta, sizeof meta, &size, text(p->sop_class), text(p->instance), text(p->syntax[p->context_id / 2]),
                                 text("2.25.1"), text("EMBED"), (dicore_span){0}) != DICORE_OK)
        return;
    snprintf(name, sizeof name, ".%s.%d", p->instance, p->socket);
    p->file = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    store_bytes(p, meta, size);
}

static void end_store(peer *p)
{
    char name[80], final[80];
    bool kept = p->file >= 0;
    if (kept) {
        snprintf(name, sizeof name, ".%s.%d", p->instance, p->socket);
        snprintf(final, sizeof final, "%s.dcm", p->instance);
        kept = fsync(p->file) == 0 && renameat(folder, name, folder, final) == 0 && fsync(folder) == 0;
        close(p->file);
        p->file = -1;
    }
    answer(p, kept ? 0x0000 : 0xA700); /* success only when it is on the disk */
}

static void command(peer *p, const dicore_event *event)
{
    p->request = event->command;    /* the event's texts live until the next receive(): keep what is needed later */
    p->context_id = event->context_id;
    copy(p->sop_class, event->command.affected_class);
    copy(p->instance, event->command.affected_instance);
    p->request.affected_class = text(p->sop_class);
    if (event->command.affected_instance.data)
        p->request.affected_instance = text(p->instance);
    if (event->command.command_field == DICORE_C_STORE_RQ && !event->last)
        begin_store(p);
    else if (event->last)
        answer(p, event->command.command_field == DICORE_C_ECHO_RQ ? 0x0000 : 0x0211); /* unrecognized operation */
}

static void handle(peer *p, const dicore_event *event)
{
    switch (event->kind) {
    case DICORE_EVENT_ASSOCIATE_RQ: negotiate(p, event->associate); break;
    case DICORE_EVENT_COMMAND: command(p, event); break;
    case DICORE_EVENT_DATA:
        if (p->request.command_field == DICORE_C_STORE_RQ)
            store_bytes(p, event->data, event->size);
        if (event->last && p->request.command_field == DICORE_C_STORE_RQ)
            end_store(p);
        else if (event->last)
            answer(p, 0x0211);
        break;
    case DICORE_EVENT_RELEASE_RQ: (void)dicore_association_release_reply(p->core); break;
    case DICORE_EVENT_FAILED:
        fprintf(stderr, "byte %llu: %s\n", (unsigned long long)event->offset, dicore_status_text(event->status));
        break;
    default: break;                 /* the rest is for requestors, or needs no answer */
    }
}

/* ---- the driver -------------------------------------------------------------------------------------------------------- */

static void drop(peer *p)
{
    peer **at = &peers;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    if (p->file >= 0) {             /* half a data set */
        char name[80];
        snprintf(name, sizeof name, ".%s.%d", p->instance, p->socket);
        unlinkat(folder, name, 0);
        close(p->file);
    }
    close(p->socket);
    dicore_association_free(p->core);
    free(p);
}

/** Send what the association has to say. False: it is over, and the peer was dropped. */
static bool flush(peer *p)
{
    const uint8_t *data;
    size_t size;
    bool blocked = false;
    for (dicore_association_output(p->core, &data, &size); size && !blocked; dicore_association_output(p->core, &data, &size)) {
        const ssize_t n = send(p->socket, data, size, MSG_NOSIGNAL);
        if (n >= 0)
            dicore_association_sent(p->core, (size_t)n);
        else if (errno == EAGAIN)
            blocked = true;
        else if (errno != EINTR)
            break;
    }
    if (dicore_association_closing(p->core) || (size && !blocked)) {
        drop(p);
        return false;
    }
    if (blocked != p->blocked) {    /* who does not read our answers is not read */
        struct epoll_event e = {.events = blocked ? EPOLLOUT : EPOLLIN, .data.ptr = p};
        epoll_ctl(epoll, EPOLL_CTL_MOD, p->socket, &e);
        p->blocked = blocked;
    }
    (void)dicore_association_deadline(p->core, milliseconds()); /* starts what timers there are to start */
    return true;
}

static void serve(peer *p)
{
    static uint8_t buffer[256 * 1024];
    dicore_event event;
    size_t consumed;
    const ssize_t n = p->blocked ? 0 : recv(p->socket, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 && !p->blocked) {
        drop(p);
        return;
    }
    for (size_t at = 0;; at += consumed) {
        const dicore_status status = dicore_association_receive(p->core, buffer + at, (size_t)n - at, &consumed, &event);
        if (event.kind == DICORE_EVENT_NONE)
            break;
        handle(p, &event);
        if (status != DICORE_OK && event.kind != DICORE_EVENT_FAILED)
            break;
    }
    (void)flush(p);
}

static void welcome(int listener)
{
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    peer *p = fd < 0 ? NULL : calloc(1, sizeof *p);
    if (!p || !(p->core = dicore_association_new(NULL, &allocator))) {
        free(p);
        if (fd >= 0)
            close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* else each answer waits for the peer's ACK */
    p->socket = fd;
    p->file = -1;
    p->next = peers;
    peers = p;
    (void)dicore_association_connected(p->core);
    (void)dicore_association_deadline(p->core, milliseconds());
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static void look_at_the_clock(void)
{
    dicore_event event;
    for (peer *p = peers, *next; p; p = next) {
        next = p->next;
        (void)dicore_association_tick(p->core, milliseconds(), &event);
        if (event.kind == DICORE_EVENT_TIMEOUT)
            (void)flush(p);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (argc != 3 || (folder = open(argv[2], O_RDONLY | O_DIRECTORY)) < 0) {
        fputs("usage: embed PORT FOLDER\n", stderr);
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("embed");
        return 1;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[64];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    for (uint64_t checked = 0;;) {
        const int n = epoll_wait(epoll, events, 64, 1000);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                welcome(listener);
        if (milliseconds() - checked >= 1000) {
            checked = milliseconds();
            look_at_the_clock();
        }
    }
}
