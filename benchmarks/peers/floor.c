/* The floor under every C-STORE figure: the same bytes the same way, with nothing done to them.
 *   floor sink PORT BYTES ANSWER              epoll server: counts BYTES per message, answers with ANSWER bytes
 *   floor send PORT BYTES ANSWER MESSAGES N   N connections, one message outstanding on each; prints the seconds taken
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
    size_t answered; /* bytes of its answer */
    const char *at;  /* sender: the message */
};
static struct peer peers[MOST];
static char buffer[1 << 20];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int sink(struct sockaddr_in address, size_t bytes, size_t answer)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1, epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512))
        die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, 64, -1);
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
            if (got <= 0) {
                close(fd);
                continue;
            }
            peers[fd].done += (size_t)got;
            for (; peers[fd].done >= bytes; peers[fd].done -= bytes)
                if (send(fd, buffer, answer, MSG_NOSIGNAL) != (ssize_t)answer)
                    die("answer");
        }
    }
}

static void push(int fd, size_t bytes)
{
    while (peers[fd].done < bytes) {
        ssize_t put = send(fd, peers[fd].at + peers[fd].done, bytes - peers[fd].done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EAGAIN)
            return;
        if (put < 0)
            die("send");
        peers[fd].done += (size_t)put;
    }
}

static int sender(struct sockaddr_in address, size_t bytes, size_t answer, size_t messages, int connections)
{
    char *data = malloc(bytes * messages);
    if (!data)
        die("memory");
    memset(data, 1, bytes * messages);
    int epoll = epoll_create1(0), yes = 1;
    size_t next = 0, finished = 0;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < connections && next < messages; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd >= MOST || connect(fd, (struct sockaddr *)&address, sizeof address))
            die("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
        peers[fd] = (struct peer){.at = data + bytes * next++};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        push(fd, bytes);
    }
    while (finished < messages) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            ssize_t got;
            if (peers[fd].done < bytes)
                push(fd, bytes);
            while ((got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
                peers[fd].answered += (size_t)got;
                if (peers[fd].answered < answer)
                    continue;
                finished++;
                if (next < messages) {
                    peers[fd] = (struct peer){.at = data + bytes * next++};
                    push(fd, bytes);
                }
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
    if (!strcmp(argv[1], "sink"))
        return sink(address, bytes, answer);
    return argc < 7 ? 2 : sender(address, bytes, answer, strtoul(argv[5], NULL, 10), atoi(argv[6]));
}
