/* The floor under every C-STORE figure: the same bytes the same way, with nothing done to them.
 *   floor sink PORT BYTES ANSWER              epoll server: counts BYTES per message, answers with ANSWER bytes
 *   floor sink PORT BYTES ANSWER RQ SCRIPT    the same for a DICOM sender: after RQ bytes it answers with the first lines of
 *                                             SCRIPT in hexadecimal (A-ASSOCIATE-AC), after every BYTES with the second (a
 *                                             C-STORE response), numbered at the offset that the third tells
 *   floor send PORT BYTES ANSWER MESSAGES N [WINDOW]
 *                                             N connections, WINDOW messages outstanding on each; prints the seconds taken
 * The sender walks through MESSAGES * BYTES of its own memory, as a sender of files does. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024 };
struct peer {
    size_t done;     /* bytes of the message under way */
    size_t answered; /* bytes of its answer; sink: messages */
    size_t waiting;  /* sender: messages without an answer, the one under way among them */
    const char *at;  /* sender: the message under way */
    int open;        /* sink: the A-ASSOCIATE-RQ is here */
};
static struct peer peers[MOST];
static char buffer[1 << 20];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct {
    size_t request, accept_size, answer_size, number_at;
    unsigned char accept[4096], answer[4096];
} script;

static size_t hexadecimal(FILE *file, unsigned char *to)
{
    static char line[8300];
    size_t size = 0;
    unsigned value;
    if (!fgets(line, sizeof line, file))
        die("script");
    for (const char *at = line; size < 4096 && sscanf(at, "%2x", &value) == 1; at += 2)
        to[size++] = (unsigned char)value;
    return size;
}

static void read_script(const char *path, size_t request)
{
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    script.request = request;
    script.accept_size = hexadecimal(file, script.accept);
    script.answer_size = hexadecimal(file, script.answer);
    if (fscanf(file, "%zu", &script.number_at) != 1)
        die("script");
    fclose(file);
}

/* What came is counted; what it was is looked at only where a message could end. */
static int counted(int fd, size_t bytes, size_t answer)
{
    struct peer *p = &peers[fd];
    if (!script.request) {
        for (; p->done >= bytes; p->done -= bytes)
            if (send(fd, buffer, answer, MSG_NOSIGNAL) != (ssize_t)answer)
                die("answer");
        return 1;
    }
    if (!p->open && p->done >= script.request) {
        p->open = 1;
        p->done -= script.request;
        if (send(fd, script.accept, script.accept_size, MSG_NOSIGNAL) != (ssize_t)script.accept_size)
            die("accept");
    }
    for (; p->open && p->done >= bytes; p->done -= bytes) {
        const size_t number = ++p->answered;
        script.answer[script.number_at] = (unsigned char)number;
        script.answer[script.number_at + 1] = (unsigned char)(number >> 8);
        if (send(fd, script.answer, script.answer_size, MSG_NOSIGNAL) != (ssize_t)script.answer_size)
            die("answer");
    }
    if (p->open && p->done == 10 && buffer[0] == 5) { /* A-RELEASE-RQ */
        send(fd, "\6\0\0\0\0\4\0\0\0", 10, MSG_NOSIGNAL);
        return 0;
    }
    return 1;
}

static int sink(struct sockaddr_in address, size_t bytes, size_t answer)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1, epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512))
        die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (int ready; (ready = epoll_wait(epoll, events, 64, -1)) >= 0 || errno == EINTR;) {
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0 || fd >= MOST)
                    die("accept");
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                peers[fd] = (struct peer){0};
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            ssize_t got = recv(fd, buffer, sizeof buffer, 0);
            if (got > 0)
                peers[fd].done += (size_t)got;
            if (got <= 0 || !counted(fd, bytes, answer))
                close(fd);
        }
    }
    return 1;
}

static size_t next_message, message_count, window;
static char *messages_at;

/* Send what the window and the socket take. */
static void push(int fd, size_t bytes)
{
    struct peer *p = &peers[fd];
    for (;;) {
        if (!p->at) {
            if (p->waiting == window || next_message == message_count)
                return;
            p->at = messages_at + bytes * next_message++;
            p->waiting++;
            p->done = 0;
        }
        ssize_t put = send(fd, p->at + p->done, bytes - p->done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EAGAIN)
            return;
        if (put < 0)
            die("send");
        p->done += (size_t)put;
        if (p->done == bytes)
            p->at = NULL;
    }
}

static int sender(struct sockaddr_in address, size_t bytes, size_t answer, size_t messages, int connections)
{
    messages_at = malloc(bytes * messages);
    if (!messages_at)
        die("memory");
    memset(messages_at, 1, bytes * messages);
    message_count = messages;
    int epoll = epoll_create1(0), yes = 1;
    size_t finished = 0;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd >= MOST || connect(fd, (struct sockaddr *)&address, sizeof address))
            die("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        push(fd, bytes);
    }
    while (finished < messages) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            ssize_t got;
            push(fd, bytes);
            while ((got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
                for (peers[fd].answered += (size_t)got; peers[fd].answered >= answer; peers[fd].answered -= answer) {
                    finished++;
                    peers[fd].waiting--;
                }
                push(fd, bytes);
            }
            if (got == 0 || (got < 0 && errno != EAGAIN))
                die("recv");
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f\n", (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    size_t bytes = strtoul(argv[3], NULL, 10), answer = strtoul(argv[4], NULL, 10);
    if (!strcmp(argv[1], "sink") && argc > 6)
        read_script(argv[6], strtoul(argv[5], NULL, 10));
    if (!strcmp(argv[1], "sink"))
        return sink(address, bytes, answer);
    window = argc > 7 ? strtoul(argv[7], NULL, 10) : 1;
    return argc < 7 ? 2 : sender(address, bytes, answer, strtoul(argv[5], NULL, 10), atoi(argv[6]));
}
