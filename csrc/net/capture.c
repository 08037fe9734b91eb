/* pcapng (draft-ietf-opsawg-pcapng) of TCP (RFC 9293) that was never on a wire. */
#include "dicore/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SEGMENT = 65495,             /* of data in a packet: 65,535 less the headers of IPv4 and TCP */
    COMMENT = 1024,              /* a comment longer than this is cut */
    OVERHEAD = 256,              /* of a packet's block beside data and comment */
    FIRST = 64 * 1024,           /* of a buffer, which grows as it is needed */
    UNACKNOWLEDGED = 4 << 20,    /* so many bytes of one side get an ACK when the other one says nothing */
    SCALE = 14,                  /* of the windows: 65,535 << 14 bytes are never full */
    PATIENCE_MS = 50,
    MADE_PORTS = 49152           /* of the callers over Unix sockets, from here on */
};
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };
enum { SECTION = 0x0A0D0D0A, INTERFACE = 1, STATISTICS = 5, PACKET = 6, LINKTYPE_RAW = 101 };

typedef struct buffer {
    uint8_t *data;
    size_t size, capacity;
} buffer;

struct dicore_capture {
    dicore_allocator allocator;
    int fd;
    size_t limit;
    void (*failed)(void *context, int system);
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t there, room;
    pthread_t thread;
    buffer fill, drain;          /* `drain` is the thread's while it writes */
    size_t references;           /* of the owner, and of each stream */
    uint64_t packets, lost;
    uint64_t written;            /* bytes of the file, all of them whole blocks */
    uint16_t made;               /* ports */
    bool stop, behind, closed;   /* behind: nobody waits for the thread until it has caught up */
    atomic_int error;
};

struct dicore_capture_stream {
    dicore_capture *capture;
    dicore_capture_end_point ends[2];    /* of the peer, ours: the index is `ours` */
    uint32_t next[2];                    /* sequence numbers */
    uint32_t quiet[2];                   /* bytes since the last ACK of the other one */
    uint16_t number[2];                  /* of the IPv4 packet */
};

/* ---- bytes ---------------------------------------------------------------------------------------------------------- */

static uint8_t *put16(uint8_t *p, unsigned v) /* network order */
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v) { return put16(put16(p, v >> 16), v & 0xFFFF); }

static uint8_t *native16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *native32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *bytes(uint8_t *p, const void *data, size_t size) /* padded to 32 bits, as everything in a block is */
{
    if (size)
        memcpy(p, data, size);
    memset(p + size, 0, (4 - size % 4) % 4);
    return p + (size + 3) / 4 * 4;
}

static uint8_t *option(uint8_t *p, uint16_t code, const void *data, size_t size)
{
    return bytes(native16(native16(p, code), (uint16_t)size), data, size);
}

/** RFC 1071, of words in memory order: the sum is in memory order too. */
static uint64_t sum(uint64_t so_far, const uint8_t *data, size_t size)
{
    uint32_t word;
    for (; size >= 4; size -= 4, data += 4) {
        memcpy(&word, data, 4);
        so_far += word;
    }
    if (size) {
        word = 0;
        memcpy(&word, data, size);
        so_far += word;
    }
    return so_far;
}

static uint16_t folded(uint64_t total)
{
    total = (total >> 32) + (total & 0xFFFFFFFFu);
    total = (total >> 32) + (total & 0xFFFFFFFFu);
    uint32_t half = (uint32_t)(total >> 16) + (uint32_t)(total & 0xFFFFu);
    half = (half >> 16) + (half & 0xFFFFu);
    half = (half >> 16) + (half & 0xFFFFu);
    return (uint16_t)~half;
}

/* ---- the buffer, under the lock --------------------------------------------------------------------------------------- */

static bool grow(dicore_capture *c, buffer *b, size_t wanted)
{
    if (wanted <= b->capacity)
        return true;
    size_t more = b->capacity ? b->capacity : FIRST;
    while (more < wanted)
        more *= 2;
    uint8_t *data = c->allocator.resize(c->allocator.context, b->data, b->capacity, more);
    if (!data)
        return false;
    b->data = data;
    b->capacity = more;
    return true;
}

/** Room for a block of up to `size` bytes; NULL: there is none, the packet is lost. */
static uint8_t *room_for(dicore_capture *c, size_t size)
{
    if (c->fill.size + size > c->limit && !c->behind) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += PATIENCE_MS * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        while (c->fill.size + size > c->limit && !c->closed && !c->behind)
            if (pthread_cond_timedwait(&c->room, &c->lock, &until) != 0)
                c->behind = true;
    }
    if (c->closed || c->fill.size + size > c->limit || !grow(c, &c->fill, c->fill.size + size))
        return NULL;
    return c->fill.data + c->fill.size;
}

/** A block was built from `begin` to `end`, but for its length, which stands twice. */
static void seal(dicore_capture *c, uint8_t *begin, uint8_t *end)
{
    const uint32_t size = (uint32_t)(end - begin) + 4;
    native32(begin + 4, size);
    native32(end, size);
    if (!c->fill.size)
        pthread_cond_signal(&c->there);
    c->fill.size += size;
}

/* ---- the thread ------------------------------------------------------------------------------------------------------- */

/** What the file can no longer take is gone: it ends after the last whole block. */
static void fail(dicore_capture *c, const uint8_t *data, size_t done, int system)
{
    size_t whole = 0;
    uint32_t size = 0;
    for (;;) {
        if (whole + 8 > done)
            break;
        memcpy(&size, data + whole + 4, sizeof size);
        if (whole + size > done)
            break;
        whole += size;
    }
    if (ftruncate(c->fd, (off_t)(c->written + whole)) != 0 && errno == EIO)
        system = EIO; /* a pipe cannot be cut either, and need not be */
    atomic_store(&c->error, system);
    if (c->failed)
        c->failed(c->context, system);
}

static void write_out(dicore_capture *c)
{
    size_t done = 0;
    while (done < c->drain.size && !atomic_load_explicit(&c->error, memory_order_relaxed)) {
        const ssize_t n = write(c->fd, c->drain.data + done, c->drain.size - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            fail(c, c->drain.data, done, errno);
    }
    c->written += done;
    c->drain.size = 0;
}

static void *run(void *argument)
{
    dicore_capture *c = argument;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->fill.size && !c->stop)
            pthread_cond_wait(&c->there, &c->lock);
        if (!c->fill.size)
            break;
        const buffer full = c->fill;
        c->fill = c->drain;
        c->drain = full;
        c->behind = false;
        pthread_cond_broadcast(&c->room);
        pthread_mutex_unlock(&c->lock);
        write_out(c);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- a capture -------------------------------------------------------------------------------------------------------- */

static void give_back(dicore_capture *c) /* a reference; unlocks */
{
    const bool last = --c->references == 0;
    pthread_mutex_unlock(&c->lock);
    if (!last)
        return;
    const dicore_allocator a = c->allocator;
    if (c->fill.data)
        a.resize(a.context, c->fill.data, c->fill.capacity, 0);
    if (c->drain.data)
        a.resize(a.context, c->drain.data, c->drain.capacity, 0);
    pthread_cond_destroy(&c->there);
    pthread_cond_destroy(&c->room);
    pthread_mutex_destroy(&c->lock);
    a.resize(a.context, c, sizeof *c, 0);
}

static bool head(dicore_capture *c, dicore_span application)
{
    static const uint8_t nanoseconds = 9;
    static const char name[] = "dicore", about[] = "TCP as it would have been: see dicore's docs/how-to/observability.md";
    uint8_t *p = room_for(c, 1024), *begin = p;
    if (!p)
        return false;
    p = native32(p, SECTION);
    p = native32(p + 4, 0x1A2B3C4D);
    p = native16(native16(p, 1), 0);
    memset(p, 0xFF, 8); /* how long the section is nobody knows */
    p = option(p + 8, 4, application.data, application.size < 64 ? application.size : 64);
    p = native32(p, 0);
    seal(c, begin, p);
    begin = c->fill.data + c->fill.size;
    p = native32(begin, INTERFACE);
    p = native16(native16(p + 4, LINKTYPE_RAW), 0);
    p = native32(p, 0); /* packets are whole */
    p = option(p, 2, name, sizeof name - 1);
    p = option(p, 3, about, sizeof about - 1);
    p = option(p, 9, &nanoseconds, 1);
    p = native32(p, 0);
    seal(c, begin, p);
    return true;
}

dicore_status dicore_capture_open(const char *path, size_t size, dicore_span application, const dicore_allocator *allocator,
                                  void (*failed)(void *context, int system), void *context, dicore_capture **out,
                                  dicore_error *error)
{
    if (size < 256 * 1024)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    dicore_capture *c = allocator->resize(allocator->context, NULL, 0, sizeof *c);
    if (!c)
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    memset(c, 0, sizeof *c);
    c->allocator = *allocator;
    c->limit = size;
    c->failed = failed;
    c->context = context;
    c->references = 1;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->there, NULL);
    pthread_cond_init(&c->room, &monotonic);
    pthread_condattr_destroy(&monotonic);
    dicore_status status = DICORE_OK;
    int system = 0;
    sigset_t all, before; /* signals are for the owner's threads, and a broken pipe is an error like another */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    c->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
    if (c->fd < 0) {
        system = errno;
        status = DICORE_IO;
    } else if (!head(c, application)) {
        status = DICORE_NO_MEMORY;
    } else if ((system = pthread_create(&c->thread, NULL, run, c)) != 0) {
        status = DICORE_IO;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == DICORE_OK) {
        *out = c;
        return DICORE_OK;
    }
    if (c->fd >= 0)
        close(c->fd);
    pthread_mutex_lock(&c->lock);
    give_back(c);
    dicore_fail(error, status, 0, 0);
    if (error)
        error->system = system;
    return status;
}

static void statistics(dicore_capture *c)
{
    uint8_t *begin = room_for(c, 128), *p = begin;
    struct timespec now;
    if (!p)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t at = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    p = native32(p, STATISTICS);
    p = native32(p + 4, 0);
    p = native32(native32(p, (uint32_t)(at >> 32)), (uint32_t)at);
    p = option(p, 4, &c->packets, 8);
    p = option(p, 5, &c->lost, 8);
    p = native32(p, 0);
    seal(c, begin, p);
}

void dicore_capture_close(dicore_capture *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    statistics(c);
    c->closed = c->stop = true;
    pthread_cond_signal(&c->there);
    pthread_cond_broadcast(&c->room);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    close(c->fd);
    pthread_mutex_lock(&c->lock);
    give_back(c);
}

int dicore_capture_error(const dicore_capture *c) { return atomic_load(&c->error); }

void dicore_capture_counts(dicore_capture *c, uint64_t *packets, uint64_t *lost)
{
    pthread_mutex_lock(&c->lock);
    *packets = c->packets;
    *lost = c->lost;
    pthread_mutex_unlock(&c->lock);
}

/* ---- packets ---------------------------------------------------------------------------------------------------------- */

/** Bytes still to be shown. */
typedef struct cursor {
    const dicore_span *pieces;
    size_t count, at;            /* at: in the first of them */
} cursor;

static void copy(uint8_t *to, size_t size, cursor *from)
{
    while (size) {
        const size_t left = from->pieces->size - from->at, n = size < left ? size : left;
        if (n) {
            memcpy(to, from->pieces->data + from->at, n);
            to += n;
            size -= n;
            from->at += n;
        }
        if (from->at == from->pieces->size) {
            from->pieces++;
            from->count--;
            from->at = 0;
        }
    }
}

static uint8_t *internet(uint8_t *p, dicore_capture_stream *s, int ours, size_t tcp, uint64_t *pseudo)
{
    const dicore_capture_end_point *from = &s->ends[ours], *to = &s->ends[1 - ours];
    const size_t length = from->family == 6 ? 16 : 4;
    uint8_t protocol[4];
    if (from->family == 6) {
        p = put32(p, 0x60000000u);
        p = put16(p, (unsigned)tcp);
        *p++ = 6;
        *p++ = 64;
        memcpy(p, from->address, 16);
        memcpy(p + 16, to->address, 16);
        p += 32;
    } else {
        uint8_t *const begin = p;
        p = put16(p, 0x4500);
        p = put16(p, (unsigned)(20 + tcp));
        p = put16(p, s->number[ours]++);
        p = put16(p, 0x4000); /* not to be fragmented */
        *p++ = 64;
        *p++ = 6;
        p = put16(p, 0);
        memcpy(p, from->address, 4);
        memcpy(p + 4, to->address, 4);
        p += 8;
        native16(begin + 10, folded(sum(0, begin, 20)));
    }
    put32(protocol, 6u << 16 | (uint32_t)tcp);
    *pseudo = sum(sum(sum(0, from->address, length), to->address, length), protocol, 4);
    return p;
}

/** One packet, with `size` bytes of `data`. */
static void packet(dicore_capture_stream *s, int ours, unsigned flags, cursor *data, size_t size, dicore_span comment)
{
    dicore_capture *c = s->capture;
    struct timespec now;
    const size_t said = comment.size < COMMENT ? comment.size : COMMENT;
    const size_t header = flags & SYN ? 28 : 20;
    uint8_t *const begin = room_for(c, OVERHEAD + size + said), *p = begin;
    c->packets++;
    if (!p) {
        c->lost++;
        cursor skipped = data ? *data : (cursor){0};
        for (size_t left = size; left;) {
            const size_t here = skipped.pieces->size - skipped.at, n = left < here ? left : here;
            left -= n;
            skipped.at += n;
            if (skipped.at == skipped.pieces->size)
                skipped = (cursor){skipped.pieces + 1, skipped.count - 1, 0};
        }
        if (data)
            *data = skipped;
    } else {
        clock_gettime(CLOCK_REALTIME, &now);
        const uint64_t at = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        const size_t whole = (s->ends[0].family == 6 ? 40 : 20) + header + size;
        uint64_t check;
        p = native32(p, PACKET);
        p = native32(p + 4, 0); /* of the one interface */
        p = native32(native32(p, (uint32_t)(at >> 32)), (uint32_t)at);
        p = native32(native32(p, (uint32_t)whole), (uint32_t)whole);
        uint8_t *const ip = p;
        p = internet(p, s, ours, header + size, &check);
        uint8_t *const tcp = p;
        p = put16(put16(p, s->ends[ours].port), s->ends[1 - ours].port);
        p = put32(put32(p, s->next[ours]), flags & ACK ? s->next[1 - ours] : 0);
        *p++ = (uint8_t)(header / 4 << 4);
        *p++ = (uint8_t)flags;
        p = put16(p, 65535);
        p = put32(p, 0); /* checksum, urgent pointer */
        if (flags & SYN) { /* segment size, no operation, window scale */
            p = put16(put16(p, 0x0204), SEGMENT);
            p = put32(p, 0x01030300u | SCALE);
        }
        if (size)
            copy(p, size, data);
        p += size;
        native16(tcp + 16, folded(sum(check, tcp, header + size)));
        memset(p, 0, (4 - whole % 4) % 4);
        p = ip + (whole + 3) / 4 * 4;
        if (said)
            p = option(p, 1, comment.data, said);
        const uint32_t direction = ours ? 2 : 1;
        p = option(p, 2, &direction, 4);
        p = native32(p, 0);
        seal(c, begin, p);
    }
    s->next[ours] += (uint32_t)size + (flags & (SYN | FIN) ? 1 : 0);
    s->quiet[ours] += (uint32_t)size;
    if (flags & ACK)
        s->quiet[1 - ours] = 0;
}

static const dicore_span nothing;

static void canonical(dicore_capture_end_point *e)
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    if (e->family != 6 || memcmp(e->address, mapped, 12) != 0)
        return;
    e->family = 4;
    memcpy(e->address, e->address + 12, 4);
}

dicore_capture_stream *dicore_capture_begin(dicore_capture *c, const dicore_capture_end_point *own,
                                            const dicore_capture_end_point *peer, bool called, dicore_span comment)
{
    dicore_capture_stream *s = c->allocator.resize(c->allocator.context, NULL, 0, sizeof *s);
    struct timespec now;
    if (!s)
        return NULL;
    memset(s, 0, sizeof *s);
    s->capture = c;
    s->ends[0] = *peer;
    s->ends[1] = *own;
    canonical(&s->ends[0]);
    canonical(&s->ends[1]);
    pthread_mutex_lock(&c->lock);
    c->references++;
    if (s->ends[0].family != s->ends[1].family || (s->ends[0].family != 4 && s->ends[0].family != 6)) {
        static const dicore_capture_end_point loopback = {.family = 4, .address = {127, 0, 0, 1}};
        s->ends[0] = s->ends[1] = loopback;
        s->ends[called ? 1 : 0].port = 104; /* DICOM's own, which Wireshark knows */
        s->ends[called ? 0 : 1].port = (uint16_t)(MADE_PORTS + c->made++ % (65536 - MADE_PORTS));
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    s->next[0] = (uint32_t)now.tv_nsec * 4u + (uint32_t)now.tv_sec; /* so that a port that comes again is another stream */
    s->next[1] = s->next[0] ^ 0x5DC0FFEEu;
    if (!c->closed) {
        const int caller = called ? 0 : 1;
        packet(s, caller, SYN, NULL, 0, comment);
        packet(s, 1 - caller, SYN | ACK, NULL, 0, nothing);
        packet(s, caller, ACK, NULL, 0, nothing);
    }
    pthread_mutex_unlock(&c->lock);
    return s;
}

void dicore_capture_data(dicore_capture_stream *s, bool ours, const dicore_span *pieces, size_t count)
{
    dicore_capture *c = s->capture;
    size_t left = 0;
    for (size_t i = 0; i < count; i++)
        left += pieces[i].size;
    if (!left || atomic_load_explicit(&c->error, memory_order_relaxed))
        return;
    cursor from = {pieces, count, 0};
    pthread_mutex_lock(&c->lock);
    while (left && !c->closed) {
        const size_t n = left < SEGMENT ? left : SEGMENT;
        left -= n;
        packet(s, ours, left ? ACK : ACK | PSH, &from, n, nothing);
        if (s->quiet[ours] >= UNACKNOWLEDGED)
            packet(s, !ours, ACK, NULL, 0, nothing);
    }
    pthread_mutex_unlock(&c->lock);
}

void dicore_capture_end(dicore_capture_stream *s, dicore_capture_how how, dicore_span comment)
{
    if (!s)
        return;
    dicore_capture *c = s->capture;
    const int first = how == DICORE_CAPTURE_CLOSED || how == DICORE_CAPTURE_RESET;
    pthread_mutex_lock(&c->lock);
    if (!c->closed && (how == DICORE_CAPTURE_RESET || how == DICORE_CAPTURE_RESET_BY_PEER)) {
        packet(s, first, RST | ACK, NULL, 0, comment);
    } else if (!c->closed) {
        packet(s, first, FIN | ACK, NULL, 0, comment);
        packet(s, 1 - first, FIN | ACK, NULL, 0, nothing);
        packet(s, first, ACK, NULL, 0, nothing);
    }
    const dicore_allocator a = c->allocator;
    a.resize(a.context, s, sizeof *s, 0);
    give_back(c);
}
