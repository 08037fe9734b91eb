/* A capture read back: its blocks, TCP as a receiver would check it, and files that cannot be written. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "dicore/capture.h"
#include "plain_heap.h"

static const dicore_span name = {(const uint8_t *)"test", 4}, none = {0};
static atomic_int failed_with, failures;

static void on_failure(void *context, int system)
{
    (void)context;
    atomic_store(&failed_with, system);
    atomic_fetch_add(&failures, 1);
}

static uint32_t word(const uint8_t *p) /* of this machine, as pcapng is */
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static uint32_t be(const uint8_t *p, size_t size)
{
    uint32_t v = 0;
    for (size_t i = 0; i < size; i++)
        v = v << 8 | p[i];
    return v;
}

/** RFC 1071, the slow way. */
static uint32_t ones(uint32_t so_far, const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        so_far += (uint32_t)p[i] << (i % 2 ? 0 : 8);
    while (so_far >> 16)
        so_far = (so_far & 0xFFFF) + (so_far >> 16);
    return so_far;
}

/** What a reader finds in a capture of one stream. */
typedef struct found {
    size_t blocks, packets, comments, resets, statistics, bytes[2];
    uint64_t lost;
    uint32_t next[2];            /* sequence numbers, by the port: 0 the peer's (1000), 1 ours (104) */
    bool begun[2], ended[2], sound;
    uint8_t data[2][1 << 20];
} found;

static void read_packet(found *f, const uint8_t *ip, size_t size)
{
    const size_t head = ip[0] >> 4 == 6 ? 40 : 20;
    const uint8_t *tcp = ip + head;
    const size_t length = size - head, header = (size_t)(tcp[12] >> 4) * 4, n = length - header;
    uint8_t pseudo[4] = {0, 6, (uint8_t)(length >> 8), (uint8_t)length};
    const uint32_t addresses = head == 40 ? ones(0, ip + 8, 32) : ones(0, ip + 12, 8);
    f->sound = f->sound && ones(ones(addresses, pseudo, 4), tcp, length) == 0xFFFF;
    if (head == 20)
        f->sound = f->sound && ones(0, ip, 20) == 0xFFFF && be(ip + 2, 2) == size;
    else
        f->sound = f->sound && be(ip + 4, 2) == length;
    const int ours = be(tcp, 2) == 104;
    const uint32_t sequence = be(tcp + 4, 4), flags = tcp[13];
    if (flags & 2) {
        f->next[ours] = sequence;
        f->begun[ours] = true;
    }
    f->sound = f->sound && f->begun[ours] && (!f->ended[ours] || n == 0);
    if (sequence != f->next[ours] && !f->lost)
        f->sound = false;
    if (flags & 16)
        f->sound = f->sound && be(tcp + 8, 4) == f->next[!ours];
    if (f->bytes[ours] + n <= sizeof f->data[ours])
        memcpy(f->data[ours] + f->bytes[ours], tcp + header, n);
    f->bytes[ours] += n;
    f->next[ours] = sequence + (uint32_t)n + (flags & 3 ? 1 : 0);
    f->ended[ours] = f->ended[ours] || flags & 1;
    f->resets += (flags & 4) != 0;
    f->packets++;
}

static found *read_back(const char *path)
{
    found *f = calloc(1, sizeof *f);
    const int fd = open(path, O_RDONLY);
    struct stat about;
    fstat(fd, &about);
    const size_t size = (size_t)about.st_size;
    uint8_t *file = malloc(size + 1);
    CHECK_EQ(read(fd, file, size), size);
    close(fd);
    CHECK_EQ(about.st_mode & 0777, 0600);
    f->sound = size >= 28 && word(file) == 0x0A0D0D0A && word(file + 8) == 0x1A2B3C4D;
    for (size_t at = 0; at < size;) {
        const uint8_t *p = file + at;
        const uint32_t length = at + 12 <= size ? word(p + 4) : 0;
        if (length < 12 || length % 4 || at + length > size || word(p + length - 4) != length) {
            f->sound = false;
            break;
        }
        if (word(p) == 6) {
            read_packet(f, p + 28, word(p + 20));
            const uint8_t *o = p + 28 + (word(p + 20) + 3) / 4 * 4;
            f->comments += (word(o) & 0xFFFF) == 1;
        } else if (word(p) == 5) {
            f->statistics++;
            memcpy(&f->lost, p + 20 + 12 + 4, 8);
        }
        f->blocks++;
        at += length;
    }
    free(file);
    return f;
}

static char path[64];
static const dicore_capture_end_point own = {4, {127, 0, 0, 1}, 104}, other = {4, {10, 1, 2, 3}, 1000};

static dicore_capture *opened(size_t size)
{
    dicore_capture *c = NULL;
    dicore_error error;
    CHECK_EQ(dicore_capture_open(path, size, name, &plain_heap, on_failure, NULL, &c, &error), DICORE_OK);
    return c;
}

static void streams_are_tcp(void)
{
    static uint8_t said[300001];
    for (size_t i = 0; i < sizeof said; i++)
        said[i] = (uint8_t)(i * 7 + i / 251);
    for (int v6 = 0; v6 < 2; v6++)
        for (int how = 0; how < 4; how++)
            for (int called = 0; called < 2; called++) {
                dicore_capture_end_point us = own, them = other;
                if (v6)
                    us.family = them.family = 6;
                dicore_capture *c = opened(1 << 20);
                dicore_capture_stream *s = dicore_capture_begin(c, &us, &them, called, none);
                const dicore_span pieces[] = {{said, 5}, {said + 5, 0}, {said + 5, 200000}, {said + 200005, 99996}};
                dicore_capture_data(s, false, pieces, 4);
                dicore_capture_data(s, true, pieces, 1);
                dicore_capture_data(s, true, pieces, 0);
                dicore_capture_end(s, (dicore_capture_how)how, name);
                uint64_t packets, lost;
                dicore_capture_counts(c, &packets, &lost);
                dicore_capture_close(c);
                found *f = read_back(path);
                CHECK(f->sound);
                CHECK_EQ(f->packets, packets);
                CHECK_EQ(lost, 0);
                CHECK_EQ(f->packets, 3 + 5 + 1 + (how < 2 ? 3 : 1));
                CHECK_EQ(f->bytes[0], sizeof said);
                CHECK(memcmp(f->data[0], said, sizeof said) == 0 && f->bytes[1] == 5 && memcmp(f->data[1], said, 5) == 0);
                CHECK_EQ(f->comments, 1);
                CHECK_EQ(f->statistics, 1);
                CHECK_EQ(f->resets, how < 2 ? 0 : 1);
                CHECK(how >= 2 || (f->ended[0] && f->ended[1]));
                free(f);
            }
}

static void ends_without_an_address_are_the_loopback(void)
{
    const dicore_capture_end_point here = {0}, mapped = {6, {[10] = 0xFF, [11] = 0xFF, 10, 0, 0, 1}, 104};
    dicore_capture *c = opened(1 << 20);
    dicore_capture_end(dicore_capture_begin(c, &here, &here, true, none), DICORE_CAPTURE_CLOSED, none);
    dicore_capture_close(c);
    found *f = read_back(path);
    CHECK(f->sound && f->begun[1] && f->begun[0]);
    free(f);
    c = opened(1 << 20);
    dicore_capture_end(dicore_capture_begin(c, &mapped, &other, true, none), DICORE_CAPTURE_CLOSED, none);
    dicore_capture_close(c);
    f = read_back(path);
    CHECK(f->sound && f->begun[1]);
    free(f);
}

static void a_stream_may_outlive_its_capture(void)
{
    dicore_capture *c = opened(1 << 20);
    dicore_capture_stream *s = dicore_capture_begin(c, &own, &other, true, none);
    dicore_capture_close(c);
    dicore_capture_data(s, true, &name, 1);
    dicore_capture_end(s, DICORE_CAPTURE_CLOSED, none);
    found *f = read_back(path);
    CHECK(f->sound);
    CHECK_EQ(f->packets, 3);
    free(f);
}

static void a_full_disk_is_told_once(void)
{
    dicore_capture *c = NULL;
    dicore_error error;
    static uint8_t much[100000];
    const dicore_span piece = {much, sizeof much};
    CHECK_EQ(dicore_capture_open("/dev/full", 1 << 18, name, &plain_heap, on_failure, NULL, &c, &error), DICORE_OK);
    dicore_capture_stream *s = dicore_capture_begin(c, &own, &other, true, none);
    for (int i = 0; i < 100; i++)
        dicore_capture_data(s, true, &piece, 1);
    dicore_capture_end(s, DICORE_CAPTURE_CLOSED, none);
    dicore_capture_close(c);
    CHECK_EQ(atomic_load(&failed_with), ENOSPC);
    CHECK_EQ(atomic_load(&failures), 1);
    CHECK_EQ(dicore_capture_open("/nowhere/at/all", 1 << 18, name, &plain_heap, NULL, NULL, &c, &error), DICORE_IO);
    CHECK_EQ(error.system, ENOENT);
    CHECK_EQ(dicore_capture_open(path, 1, name, &plain_heap, NULL, NULL, &c, &error), DICORE_BAD_ARGUMENT);
}

/** A pipe that nobody reads is a disk that hangs: nobody waits long, and what is missing is counted. */
static void a_stalled_disk_loses_packets_but_stops_nobody(void)
{
    static uint8_t much[60000];
    const dicore_span piece = {much, sizeof much};
    char pipe_path[64];
    int ends[2];
    if (pipe(ends) != 0)
        abort();
    snprintf(pipe_path, sizeof pipe_path, "/proc/self/fd/%d", ends[1]);
    dicore_capture *c = NULL;
    dicore_error error;
    CHECK_EQ(dicore_capture_open(pipe_path, 1 << 18, name, &plain_heap, NULL, NULL, &c, &error), DICORE_OK);
    dicore_capture_stream *s = dicore_capture_begin(c, &own, &other, true, none);
    for (int i = 0; i < 1000; i++)
        dicore_capture_data(s, true, &piece, 1);
    uint64_t packets, lost;
    dicore_capture_counts(c, &packets, &lost);
    CHECK_EQ(packets >= 1003, 1);
    CHECK(lost > 900 && lost < 1003);
    close(ends[0]); /* and now it is broken: close() does not hang either */
    close(ends[1]);
    dicore_capture_end(s, DICORE_CAPTURE_RESET, none);
    dicore_capture_close(c);
}

static void *one_stream(void *argument)
{
    dicore_capture *c = argument;
    for (int i = 0; i < 200; i++) {
        dicore_capture_stream *s = dicore_capture_begin(c, &own, &other, true, none);
        for (int j = 0; j < 20; j++)
            dicore_capture_data(s, j % 2, &name, 1);
        dicore_capture_end(s, DICORE_CAPTURE_CLOSED, none);
    }
    return NULL;
}

static void many_threads_write_whole_blocks(void)
{
    dicore_capture *c = opened(1 << 20);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, one_stream, c);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    dicore_capture_close(c);
    found *f = read_back(path);
    CHECK_EQ(f->packets, 4 * 200 * 26);
    CHECK_EQ(f->blocks, f->packets + 3);
    free(f);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/dicore-capture-%d.pcapng", (int)getpid());
    streams_are_tcp();
    ends_without_an_address_are_the_loopback();
    a_stream_may_outlive_its_capture();
    a_full_disk_is_told_once();
    a_stalled_disk_loses_packets_but_stops_nobody();
    many_threads_write_whole_blocks();
    unlink(path);
    return check_result("capture");
}
