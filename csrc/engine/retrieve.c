/* Threads that send stored instances over associations that they were lent: dicore/retrieve.h. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/load.h"
#include "dicore/dataset.h"
#include "dicore/retrieve.h"
#include "engine/bell.h"

enum {
    BUFFER = 1 << 20,     /* a record up to this size is read at once */
    SMALL = 64 << 10,     /* of a buffer when there are too many */
    SPARE = 32,           /* buffers of a thread that stay when nobody needs them */
    FIRST = 256 << 10,    /* what is read first of a record whose size nobody knows */
    TURN = 2 << 20,       /* bytes that one retrieval sends or checks before others have their turn */
    PIECES = 64,          /* of one gather write */
    WINDOW = 64,
    INPUT = 4096,
    EVENTS = 64,
    LOOK = 250            /* ms between two looks at the clocks */
};

typedef struct thread thread;

/** Memory for a record, or a stretch of one; the bytes follow. */
typedef struct buffer {
    struct buffer *next;
    size_t capacity;
    size_t index;             /* of the item that is in it */
    uint64_t file_size;       /* of its Part 10 file, which starts at data + DICORE_RECORD_HEADER */
    uint64_t position;        /* in the file: what comes after the bytes that are here */
    size_t loaded;            /* bytes of the file that are here */
    bool whole, checked;      /* the file is here; its checksum was right */
    uint32_t crc;             /* while it is checked in stretches */
    uint8_t context;
    dicore_identity id;
    uint8_t data[];
} buffer;

typedef struct unanswered {
    uint16_t message_id, status;
    bool answered;            /* before all of it was sent */
    size_t index;
    uint64_t size;
} unanswered;

struct dicore_retrieval {
    dicore_retriever *home;
    dicore_allocator allocator;
    thread *thread;
    dicore_retrieval *next, *previous;   /* of the thread's; `next` also of the inbox and of those that are done */
    dicore_retrieval *again;             /* next of those that go on without waiting for the socket */
    dicore_retrieval_options o;
    size_t size;                         /* of this block */
    atomic_bool cancelled, stopped;
    atomic_uint_least64_t completed, failed, warning, bytes;
    bool finished, is_again, blocked, leaving;
    bool handed;                         /* the last piece of what is going was handed out */
    uint32_t interest;
    size_t at;                           /* the next item */
    buffer *going, *ready;               /* what is being sent; what will be */
    unanswered waiting[WINDOW];
    size_t waiting_count;
    uint64_t moved, said;                /* when the socket last took bytes; when a pending response went out */
    dicore_sender sender;
    dicore_span supplied;
    size_t piece, piece_count;
    dicore_span pieces[PIECES];
    uint8_t headers[12 * PIECES], command[512], input[INPUT];
    uint8_t originator[16], request_class[64];
    dicore_retrieval_end end;
    dicore_offer offers[];
};

struct thread {
    dicore_retriever *home;
    pthread_t id;
    int epoll, wake;
    dicore_retrieval *inbox;             /* under home->lock */
    dicore_retrieval *all, *again, *dying;
    buffer *spare;
    size_t spare_count;
    uint64_t now;
    atomic_size_t load;                  /* retrievals */
    atomic_bool look;                    /* somebody was cancelled or stopped */
};

struct dicore_retriever {
    dicore_retriever_options o;
    pthread_mutex_t lock;
    dicore_retrieval *done, **done_end;  /* under lock */
    int signal;
    atomic_bool stopping;
    atomic_uint_least64_t memory;
    unsigned count;                      /* threads that run */
    thread threads[];
};

static void advance(dicore_retrieval *r);

/* ---- buffers -------------------------------------------------------------------------------------------------------- */

/** `ahead`: it can be done without. */
static buffer *buffer_new(thread *t, bool ahead)
{
    dicore_retriever *h = t->home;
    const bool scarce = atomic_load_explicit(&h->memory, memory_order_relaxed) + BUFFER > h->o.memory;
    if (scarce && ahead)
        return NULL;
    const size_t capacity = scarce ? SMALL : BUFFER;
    buffer *b = t->spare;
    if (b && !scarce) { /* the warmest; spare ones do not count as memory in use */
        t->spare = b->next;
        t->spare_count--;
    } else {
        b = h->o.allocator.resize(h->o.allocator.context, NULL, 0, sizeof *b + capacity);
    }
    if (b) {
        memset(b, 0, sizeof *b);
        b->capacity = capacity;
        atomic_fetch_add(&h->memory, capacity);
    }
    return b;
}

static void buffer_drop(thread *t, buffer *b)
{
    dicore_retriever *h = t->home;
    if (!b)
        return;
    atomic_fetch_sub(&h->memory, b->capacity);
    if (b->capacity == BUFFER && t->spare_count < SPARE) {
        b->next = t->spare;
        t->spare = b;
        t->spare_count++;
    } else {
        h->o.allocator.resize(h->o.allocator.context, b, sizeof *b + b->capacity, 0);
    }
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

static void finish(dicore_retrieval *r, dicore_retrieval_why why)
{
    thread *t = r->thread;
    if (r->finished)
        return;
    r->finished = true;
    r->end.why = why;
    r->end.message_id = r->o.message_id;
    r->end.amid = r->piece < r->piece_count || (why == DICORE_RETRIEVAL_EVENT && r->going); /* maybe between two stretches of a PDU */
    epoll_ctl(t->epoll, EPOLL_CTL_DEL, r->o.socket, NULL);
    close(r->o.socket);
    const bool alive = why == DICORE_RETRIEVAL_DONE ||
                       (why == DICORE_RETRIEVAL_EVENT && (r->end.event.kind == DICORE_EVENT_COMMAND || r->end.event.kind == DICORE_EVENT_DATA));
    for (size_t i = 0; i < r->waiting_count; i++) {
        unanswered *u = &r->waiting[i];
        r->o.results[u->index] = alive ? (dicore_sub_result){DICORE_SUB_UNANSWERED, u->message_id, 0}
                                       : (dicore_sub_result){DICORE_SUB_LOST, 0, 0};
    }
    buffer_drop(t, r->going);
    buffer_drop(t, r->ready);
    r->going = r->ready = NULL;
    if (r->previous)
        r->previous->next = r->next;
    else
        t->all = r->next;
    if (r->next)
        r->next->previous = r->previous;
    if (r->is_again) {
        dicore_retrieval **at = &t->again;
        while (*at != r)
            at = &(*at)->again;
        *at = r->again;
    }
    atomic_fetch_sub(&t->load, 1);
    r->next = t->dying; /* told at the end of the round: the owner may free it at once */
    t->dying = r;
}

static void bury(thread *t)
{
    dicore_retriever *h = t->home;
    if (!t->dying)
        return;
    pthread_mutex_lock(&h->lock);
    while (t->dying) {
        dicore_retrieval *r = t->dying;
        t->dying = r->next;
        r->next = NULL;
        *h->done_end = r;
        h->done_end = &r->next;
    }
    pthread_mutex_unlock(&h->lock);
    bell_ring(h->signal);
}

/** The peer is gone, or will be. */
static void finish_event(dicore_retrieval *r, const dicore_event *event, dicore_status status)
{
    r->end.event = *event;
    r->end.status = status;
    finish(r, DICORE_RETRIEVAL_EVENT);
}

static void yield(dicore_retrieval *r)
{
    if (r->is_again)
        return;
    r->is_again = true;
    r->again = r->thread->again;
    r->thread->again = r;
}

static void settle(dicore_retrieval *r, size_t index, dicore_sub_operation outcome, uint16_t status, int detail)
{
    r->o.results[index] = (dicore_sub_result){outcome, status, detail};
    if (outcome == DICORE_SUB_UNFIT)
        return;
    atomic_uint_least64_t *count = outcome != DICORE_SUB_ANSWERED  ? &r->failed
                                   : status == 0                  ? &r->completed
                                   : (status & 0xF000) == 0xB000 || status == 0x0001 || status == 0x0107 || status == 0x0116
                                                                  ? &r->warning
                                                                  : &r->failed;
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

/* ---- records -------------------------------------------------------------------------------------------------------- */

static int context_for(const dicore_retrieval *r, const dicore_identity *id)
{
    for (size_t i = 0; i < r->o.offer_count; i++) {
        const dicore_offer *f = &r->offers[i];
        if (f->transfer_syntax.size == id->transfer_syntax.size && f->sop_class.size == id->sop_class.size &&
            memcmp(f->sop_class.data, id->sop_class.data, id->sop_class.size) == 0 &&
            memcmp(f->transfer_syntax.data, id->transfer_syntax.data, id->transfer_syntax.size) == 0)
            return f->id;
    }
    return -1;
}

/** Read `size` bytes of the file in the record from `position` on, to the beginning of the buffer's file. */
static dicore_status read_file(const dicore_stored *item, uint64_t position, buffer *b, size_t size, dicore_error *error)
{
    return dicore_file_read_whole(item->file, item->offset + DICORE_RECORD_HEADER + position, b->data + DICORE_RECORD_HEADER, size, error);
}

static void unreadable(dicore_retrieval *r, size_t index, dicore_status status, const dicore_error *error)
{
    if (status == DICORE_IO)
        settle(r, index, DICORE_SUB_UNREADABLE, 0, error->system);
    else
        settle(r, index, DICORE_SUB_DAMAGED, 0, (int)status);
}

/** Read an item into the buffer, as much as there is room for. False: it has an outcome. */
static bool load(dicore_retrieval *r, size_t index, buffer *b)
{
    const dicore_stored *item = &r->o.items[index];
    dicore_error error = {0};
    dicore_record record;
    size_t got, wanted = item->size ? (size_t)(item->size < b->capacity ? item->size : b->capacity) : FIRST;
    if (wanted < DICORE_RECORD_HEADER)
        wanted = DICORE_RECORD_HEADER;
    if (wanted > b->capacity)
        wanted = b->capacity;
    dicore_status status = dicore_file_read(item->file, item->offset, b->data, wanted, &got, &error);
    if (status == DICORE_OK)
        status = dicore_record_read_header(b->data, got, item->nonce, item->offset, &record);
    if (status == DICORE_OK && memcmp(record.uid_hash, item->uid_hash, sizeof record.uid_hash) != 0)
        status = DICORE_BAD_RECORD;
    if (status != DICORE_OK) {
        unreadable(r, index, status == DICORE_END ? DICORE_BAD_RECORD : status, &error);
        return false;
    }
    const uint64_t whole = dicore_record_size(record.file_size);
    b->index = index;
    b->file_size = record.file_size;
    b->whole = whole <= b->capacity;
    b->checked = false;
    b->crc = 0;
    b->position = 0;
    if (!b->whole)
        return true; /* it is checked in stretches */
    if (got < whole) {
        size_t more;
        status = dicore_file_read(item->file, item->offset + got, b->data + got, (size_t)whole - got, &more, &error);
        got += status == DICORE_OK ? more : 0;
    }
    if (status == DICORE_OK)
        status = dicore_record_check(b->data, got, item->nonce, item->offset, &record);
    if (status != DICORE_OK) {
        unreadable(r, index, status, &error);
        return false;
    }
    b->loaded = (size_t)b->file_size;
    b->position = b->file_size;
    b->checked = true;
    return true;
}

typedef enum step { STEP_READY, STEP_MORE, STEP_FAILED } step;

/** Check some more of a record that is too long to be here whole. */
static step check(dicore_retrieval *r, buffer *b)
{
    const dicore_stored *item = &r->o.items[b->index];
    dicore_error error = {0};
    dicore_status status = DICORE_OK;
    for (uint64_t turn = 0; status == DICORE_OK && turn < TURN && !b->checked;) {
        const uint64_t left = b->file_size - b->position, room = b->capacity - DICORE_RECORD_HEADER;
        const size_t size = (size_t)(left < room ? left : room);
        if (size) {
            status = read_file(item, b->position, b, size, &error);
            if (status == DICORE_OK)
                b->crc = dicore_crc32c(b->crc, b->data + DICORE_RECORD_HEADER, size);
            b->position += size;
            turn += size;
        } else {
            status = read_file(item, b->file_size, b, 4, &error);
            if (status == DICORE_OK && b->crc != load_u32le(b->data + DICORE_RECORD_HEADER))
                status = DICORE_BAD_CRC;
            b->checked = true;
        }
    }
    if (status == DICORE_OK && !b->checked)
        return STEP_MORE;
    if (status == DICORE_OK) { /* from the beginning again, to be sent */
        b->loaded = b->capacity - DICORE_RECORD_HEADER;
        if (b->loaded > b->file_size)
            b->loaded = (size_t)b->file_size;
        status = read_file(item, 0, b, b->loaded, &error);
        b->position = b->loaded;
    }
    if (status == DICORE_OK)
        return STEP_READY;
    unreadable(r, b->index, status, &error);
    return STEP_FAILED;
}

/** Find out what goes out and how. False: it cannot go out as it is. */
static bool address(dicore_retrieval *r, buffer *b)
{
    const uint8_t *file = b->data + DICORE_RECORD_HEADER;
    int context = -1;
    if (dicore_part10_identify(file, b->loaded, b->loaded < b->file_size, &b->id) == DICORE_OK && b->id.start <= b->loaded &&
        (b->file_size - b->id.start) % 2 == 0)
        context = context_for(r, &b->id);
    if (context < 0) {
        settle(r, b->index, DICORE_SUB_UNFIT, 0, 0);
        return false;
    }
    b->context = (uint8_t)context;
    return true;
}

/** See to it that the next item is in `ready`, if there is one. False: go on with that later. */
static bool prepare(dicore_retrieval *r, bool ahead)
{
    thread *t = r->thread;
    unsigned turns = 0;
    if (r->leaving || atomic_load_explicit(&r->cancelled, memory_order_relaxed)) {
        buffer_drop(t, r->ready);
        r->ready = NULL;
        return true;
    }
    for (;;) {
        if (!r->ready) {
            if (r->at == r->o.count)
                return true;
            if (turns++ == 16) /* one bad record behind the other */
                return false;
            r->ready = buffer_new(t, ahead);
            if (!r->ready)
                return ahead;
            if (!load(r, r->at++, r->ready)) {
                buffer_drop(t, r->ready);
                r->ready = NULL;
                continue;
            }
        }
        if (r->ready->context)
            return true;
        if (!r->ready->checked || r->ready->position < r->ready->loaded) {
            const step s = check(r, r->ready);
            if (s == STEP_MORE)
                return false;
            if (s == STEP_FAILED) {
                buffer_drop(t, r->ready);
                r->ready = NULL;
                continue;
            }
        }
        if (address(r, r->ready))
            return true;
        buffer_drop(t, r->ready);
        r->ready = NULL;
    }
}

/* ---- the wire ------------------------------------------------------------------------------------------------------- */

static void watch(dicore_retrieval *r)
{
    const uint32_t wanted = (r->leaving ? 0 : (uint32_t)EPOLLIN) | (r->blocked ? (uint32_t)EPOLLOUT : 0);
    if (wanted == r->interest)
        return;
    struct epoll_event e = {.events = wanted, .data.ptr = r};
    epoll_ctl(r->thread->epoll, EPOLL_CTL_MOD, r->o.socket, &e);
    r->interest = wanted;
}

/** How far it is, when it is time to say so. */
static void tell(dicore_retrieval *r)
{
    const dicore_retrieval_options *o = &r->o;
    thread *t = r->thread;
    if (!o->answers || t->now - r->said < o->answer_every)
        return;
    r->said = t->now;
    const uint64_t completed = o->completed + atomic_load(&r->completed), failed = o->failed + atomic_load(&r->failed);
    const uint64_t warning = o->warning + atomic_load(&r->warning), done = completed + failed + warning;
    const uint64_t left = o->total > done ? o->total - done : 0;
    const dicore_command c = {
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_RESPONDED_TO | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_STATUS |
                   DICORE_HAS_REMAINING | DICORE_HAS_COMPLETED | DICORE_HAS_FAILED | DICORE_HAS_WARNING,
        .command_field = DICORE_C_GET_RSP, .responded_to = o->request_id, .data_set_type = DICORE_NO_DATA_SET, .status = 0xFF00,
        .remaining = (uint16_t)(left < 0xFFFF ? left : 0xFFFF), .completed = (uint16_t)(completed < 0xFFFF ? completed : 0xFFFF),
        .failed = (uint16_t)(failed < 0xFFFF ? failed : 0xFFFF), .warning = (uint16_t)(warning < 0xFFFF ? warning : 0xFFFF),
        .affected_class = o->request_class};
    (void)dicore_association_respond(o->association, o->context_id, &c); /* without room for it: it need not be said */
}

typedef enum pushed { PUSHED_ALL, PUSHED_TURN, PUSHED_BLOCKED, PUSHED_NEVER } pushed;

/** Send what there is of messages that have begun. PUSHED_NEVER: it is over. */
static pushed push(dicore_retrieval *r)
{
    dicore_association *core = r->o.association;
    uint64_t turn = 0;
    for (;;) {
        const uint8_t *out;
        size_t size;
        ssize_t n;
        if (r->piece < r->piece_count) {
            struct iovec vector[PIECES];
            struct msghdr message = {.msg_iov = vector, .msg_iovlen = r->piece_count - r->piece};
            for (size_t i = 0; i < message.msg_iovlen; i++)
                vector[i] = (struct iovec){(void *)(uintptr_t)r->pieces[r->piece + i].data, r->pieces[r->piece + i].size};
            n = sendmsg(r->o.socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            for (size_t left = n > 0 ? (size_t)n : 0; left;) {
                dicore_span *p = &r->pieces[r->piece];
                const size_t taken = left < p->size ? left : p->size;
                p->data += taken;
                p->size -= taken;
                left -= taken;
                r->piece += p->size == 0;
            }
        } else if (dicore_association_output(core, &out, &size), size) {
            n = send(r->o.socket, out, size, MSG_NOSIGNAL | MSG_DONTWAIT | (r->going ? MSG_MORE : 0));
            if (n > 0)
                dicore_association_sent(core, (size_t)n);
        } else if (r->going) {
            buffer *b = r->going;
            if (r->handed) {
                r->going = NULL;
                r->handed = false;
                buffer_drop(r->thread, b);
                return PUSHED_ALL;
            }
            r->piece = 0;
            const dicore_status s = dicore_sender_next(&r->sender, r->headers, sizeof r->headers, r->pieces, PIECES, &r->piece_count);
            if (s == DICORE_END) {
                r->handed = true;
            } else if (s != DICORE_OK) {
                r->piece_count = 0;
                finish(r, DICORE_RETRIEVAL_BROKEN);
                return PUSHED_NEVER;
            } else if (!r->piece_count) {
                const uint64_t left = b->file_size - b->position, room = b->capacity - DICORE_RECORD_HEADER;
                dicore_error error = {0};
                size_t wanted = (size_t)(left < room ? left : room);
                const dicore_status read = wanted ? read_file(&r->o.items[b->index], b->position, b, wanted, &error) : DICORE_TRUNCATED;
                if (read != DICORE_OK) { /* it could be read when it was checked, and half of it is on its way */
                    r->waiting_count--;
                    unreadable(r, b->index, read, &error);
                    finish(r, DICORE_RETRIEVAL_CUT);
                    return PUSHED_NEVER;
                }
                b->position += wanted;
                r->supplied = (dicore_span){b->data + DICORE_RECORD_HEADER, wanted};
                (void)dicore_sender_supply(&r->sender, &r->supplied, 1);
            }
            continue;
        } else {
            return PUSHED_ALL;
        }
        if (n > 0) {
            turn += (uint64_t)n;
            r->moved = r->thread->now;
            if (turn >= TURN)
                return PUSHED_TURN;
        } else if (n < 0 && errno == EAGAIN) {
            return PUSHED_BLOCKED;
        } else if (n < 0 && errno != EINTR) {
            r->end.system = errno;
            finish(r, DICORE_RETRIEVAL_BROKEN);
            return PUSHED_NEVER;
        }
    }
}

/** Answered, and all of it sent. */
static void conclude(dicore_retrieval *r, unanswered *u)
{
    const size_t i = (size_t)(u - r->waiting);
    atomic_fetch_add_explicit(&r->bytes, u->size, memory_order_relaxed);
    settle(r, u->index, DICORE_SUB_ANSWERED, u->status, 0);
    r->waiting_count--;
    memmove(u, u + 1, (r->waiting_count - i) * sizeof *u); /* the one being sent stays the last */
}

/** Begin to send what is ready. */
static bool begin(dicore_retrieval *r)
{
    buffer *b = r->ready;
    r->ready = NULL;
    if (++r->o.message_id == 0)
        r->o.message_id = 1;
    dicore_command c = {
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_PRIORITY | DICORE_HAS_DATA_SET_TYPE,
        .command_field = DICORE_C_STORE_RQ, .message_id = r->o.message_id, .data_set_type = DICORE_DATA_SET,
        .affected_class = b->id.sop_class, .affected_instance = b->id.sop_instance};
    if (r->o.originator.size) {
        c.present |= DICORE_HAS_ORIGINATOR_ID;
        c.originator = r->o.originator;
        c.originator_id = r->o.originator_id;
    }
    const uint64_t size = b->file_size - b->id.start;
    const dicore_status s = dicore_association_send(r->o.association, b->context, &c, size, 0, r->command, sizeof r->command, &r->sender);
    if (s != DICORE_OK) {
        r->at--; /* its turn has not come */
        buffer_drop(r->thread, b);
        finish(r, DICORE_RETRIEVAL_BROKEN);
        return false;
    }
    r->supplied = (dicore_span){b->data + DICORE_RECORD_HEADER + b->id.start, b->loaded - (size_t)b->id.start};
    if (r->supplied.size)
        (void)dicore_sender_supply(&r->sender, &r->supplied, 1);
    r->waiting[r->waiting_count++] = (unanswered){.message_id = r->o.message_id, .index = b->index, .size = size};
    r->going = b;
    r->moved = r->thread->now;
    return true;
}

static void advance(dicore_retrieval *r)
{
    for (;;) {
        if (r->finished)
            return;
        const bool was_going = r->going != NULL;
        const pushed p = push(r);
        if (p == PUSHED_NEVER)
            return;
        r->blocked = p == PUSHED_BLOCKED;
        if (p == PUSHED_TURN) {
            watch(r);
            yield(r);
            return;
        }
        if (p == PUSHED_BLOCKED)
            break;
        if (was_going && r->waiting_count && r->waiting[r->waiting_count - 1].answered)
            conclude(r, &r->waiting[r->waiting_count - 1]);
        if (r->leaving) {
            finish(r, DICORE_RETRIEVAL_EVENT);
            return;
        }
        if (r->waiting_count < r->o.window) {
            if (!prepare(r, false)) {
                watch(r);
                yield(r);
                return;
            }
            if (r->ready) {
                tell(r);
                if (!begin(r))
                    return;
                continue;
            }
            if (!r->waiting_count) {
                finish(r, DICORE_RETRIEVAL_DONE);
                return;
            }
        }
        break;
    }
    watch(r);
    if (!r->ready && !r->leaving)
        (void)prepare(r, true); /* while the peer is busy */
}

static void answered(dicore_retrieval *r, uint16_t message_id, uint16_t status)
{
    for (size_t i = 0; i < r->waiting_count; i++) {
        unanswered *u = &r->waiting[i];
        if (u->message_id == message_id && !u->answered) {
            u->answered = true;
            u->status = status;
            if (!r->going || i + 1 < r->waiting_count) /* else it is still being sent */
                conclude(r, u);
            return;
        }
    }
}

static bool is_ours(const dicore_retrieval *r, const dicore_event *e)
{
    if (e->kind != DICORE_EVENT_COMMAND || e->command.command_field != DICORE_C_STORE_RSP || !e->last ||
        dicore_status_pending(e->command.status))
        return false;
    for (size_t i = 0; i < r->waiting_count; i++)
        if (r->waiting[i].message_id == e->command.responded_to && !r->waiting[i].answered)
            return true;
    return false;
}

/** Read once. */
static void pull(dicore_retrieval *r)
{
    const ssize_t n = recv(r->o.socket, r->input, sizeof r->input, MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            r->end.system = errno;
            finish(r, DICORE_RETRIEVAL_BROKEN);
        }
        return;
    }
    if (n == 0) {
        finish(r, DICORE_RETRIEVAL_CLOSED);
        return;
    }
    for (size_t at = 0;;) {
        dicore_event event;
        size_t consumed;
        const dicore_status s = dicore_association_receive(r->o.association, r->input + at, (size_t)n - at, &consumed, &event);
        at += consumed;
        if (event.kind == DICORE_EVENT_NONE)
            return;
        if (is_ours(r, &event)) {
            answered(r, event.command.responded_to, event.command.status);
            continue;
        }
        r->end.rest = r->input + at;
        r->end.rest_size = (size_t)n - at;
        if (event.kind != DICORE_EVENT_COMMAND && event.kind != DICORE_EVENT_DATA) {
            finish_event(r, &event, s);
            return;
        }
        r->end.event = event; /* its spans live until the association is given bytes again */
        r->end.status = s;
        r->leaving = true;
        return;
    }
}

static void ready(dicore_retrieval *r, uint32_t events)
{
    if (r->finished)
        return;
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !r->leaving)
        pull(r);
    else if (events & (EPOLLERR | EPOLLHUP) && r->leaving) {
        r->leaving = false; /* nobody is there to be answered */
        finish(r, DICORE_RETRIEVAL_CLOSED);
    }
    advance(r);
}

static void look(dicore_retrieval *r, bool clocks)
{
    thread *t = r->thread;
    dicore_event event;
    if (atomic_load(&r->stopped)) {
        finish(r, DICORE_RETRIEVAL_STOPPED);
        return;
    }
    if (!clocks) {
        if (atomic_load(&r->cancelled))
            advance(r);
        return;
    }
    dicore_association *core = r->o.association;
    if (r->blocked || r->is_again) {
        dicore_association_touch(core); /* what lies here is out of its sight */
        if (r->blocked && r->o.network_timeout && t->now - r->moved >= r->o.network_timeout)
            finish(r, DICORE_RETRIEVAL_STALLED);
        return;
    }
    if (dicore_association_deadline(core, t->now) > t->now)
        return;
    const dicore_status s = dicore_association_tick(core, t->now, &event);
    if (event.kind == DICORE_EVENT_TIMEOUT)
        finish_event(r, &event, s);
}

/* ---- threads -------------------------------------------------------------------------------------------------------- */

static void welcome(thread *t)
{
    dicore_retriever *h = t->home;
    pthread_mutex_lock(&h->lock);
    dicore_retrieval *fresh = t->inbox;
    t->inbox = NULL;
    pthread_mutex_unlock(&h->lock);
    while (fresh) {
        dicore_retrieval *r = fresh;
        fresh = r->next;
        r->previous = NULL;
        r->next = t->all;
        if (r->next)
            r->next->previous = r;
        t->all = r;
        r->moved = r->said = t->now;
        r->interest = EPOLLIN;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = r};
        if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, r->o.socket, &e)) {
            r->end.system = errno;
            finish(r, DICORE_RETRIEVAL_BROKEN);
        } else {
            advance(r);
        }
    }
}

static void *run(void *argument)
{
    thread *t = argument;
    uint64_t looked = now_ms();
    for (;;) {
        struct epoll_event events[EVENTS];
        const int n = epoll_wait(t->epoll, events, EVENTS, t->again ? 0 : t->all ? LOOK : -1);
        bool woken = false;
        t->now = now_ms();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                ready(events[i].data.ptr, events[i].events);
            else
                woken = true;
        }
        dicore_retrieval *again = t->again;
        t->again = NULL;
        while (again) {
            dicore_retrieval *r = again;
            again = r->again;
            r->is_again = false;
            advance(r);
        }
        if (woken) {
            bell_quiet(t->wake);
            welcome(t);
        }
        const bool clocks = t->now - looked >= LOOK;
        if (atomic_exchange(&t->look, false) || clocks)
            for (dicore_retrieval *r = t->all, *next; r; r = next) {
                next = r->next;
                look(r, clocks);
            }
        if (clocks)
            looked = t->now;
        if (atomic_load(&t->home->stopping)) {
            welcome(t);
            while (t->all)
                finish(t->all, DICORE_RETRIEVAL_STOPPED);
            bury(t);
            return NULL;
        }
        bury(t);
    }
}

void dicore_retriever_defaults(dicore_retriever_options *options)
{
    *options = (dicore_retriever_options){.threads = 2, .memory = 256u << 20};
}

static void end_threads(dicore_retriever *h)
{
    atomic_store(&h->stopping, true);
    for (unsigned i = 0; i < h->count; i++) {
        thread *t = &h->threads[i];
        bell_ring(t->wake);
        pthread_join(t->id, NULL);
        close(t->epoll);
        close(t->wake);
        for (buffer *b = t->spare, *next; b; b = next) {
            next = b->next;
            h->o.allocator.resize(h->o.allocator.context, b, sizeof *b + b->capacity, 0);
        }
    }
    h->count = 0;
}

static bool open_thread(dicore_retriever *h, thread *t)
{
    sigset_t all, before;
    t->home = h;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    bool good = t->epoll >= 0 && t->wake >= 0 && epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &e) == 0;
    if (good) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        const int failed = pthread_create(&t->id, NULL, run, t);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        good = failed == 0;
        errno = failed;
    }
    if (!good) {
        const int why = errno;
        if (t->epoll >= 0)
            close(t->epoll);
        if (t->wake >= 0)
            close(t->wake);
        errno = why;
    }
    return good;
}

static size_t size_of(const dicore_retriever_options *o) { return sizeof(dicore_retriever) + o->threads * sizeof(thread); }

dicore_status dicore_retriever_start(const dicore_retriever_options *options, dicore_retriever **out, dicore_error *error)
{
    if (!options->allocator.resize || options->threads < 1 || options->threads > 64)
        return DICORE_BAD_ARGUMENT;
    dicore_retriever *h = options->allocator.resize(options->allocator.context, NULL, 0, size_of(options));
    if (!h)
        return DICORE_NO_MEMORY;
    memset(h, 0, size_of(options));
    h->o = *options;
    h->done_end = &h->done;
    pthread_mutex_init(&h->lock, NULL);
    h->signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool good = h->signal >= 0;
    while (good && h->count < options->threads) {
        good = open_thread(h, &h->threads[h->count]);
        h->count += good;
    }
    if (!good) {
        if (error)
            *error = (dicore_error){.status = DICORE_IO, .system = errno};
        dicore_retriever_free(h);
        return DICORE_IO;
    }
    *out = h;
    return DICORE_OK;
}

void dicore_retriever_free(dicore_retriever *h)
{
    if (!h)
        return;
    end_threads(h);
    if (h->signal >= 0)
        close(h->signal);
    pthread_mutex_destroy(&h->lock);
    h->o.allocator.resize(h->o.allocator.context, h, size_of(&h->o), 0);
}

dicore_status dicore_retrieval_start(dicore_retriever *h, const dicore_retrieval_options *o, dicore_retrieval **out)
{
    if (!o->association || o->socket < 0 || o->window < 1 || o->window > WINDOW || o->originator.size > 16 || o->request_class.size > 64)
        return DICORE_BAD_ARGUMENT;
    size_t text = 0;
    for (size_t i = 0; i < o->offer_count; i++)
        text += o->offers[i].sop_class.size + o->offers[i].transfer_syntax.size;
    const size_t size = sizeof(dicore_retrieval) + o->offer_count * sizeof *o->offers + text;
    dicore_retrieval *r = h->o.allocator.resize(h->o.allocator.context, NULL, 0, size);
    if (!r)
        return DICORE_NO_MEMORY;
    memset(r, 0, size);
    r->home = h;
    r->allocator = h->o.allocator;
    r->o = *o;
    r->size = size;
    uint8_t *at = (uint8_t *)(r->offers + o->offer_count);
    for (size_t i = 0; i < o->offer_count; i++) {
        r->offers[i] = o->offers[i];
        dicore_span *spans[2] = {&r->offers[i].sop_class, &r->offers[i].transfer_syntax};
        for (int k = 0; k < 2; k++) {
            memcpy(at, spans[k]->data, spans[k]->size);
            spans[k]->data = at;
            at += spans[k]->size;
        }
    }
    if (o->originator.size)
        memcpy(r->originator, o->originator.data, o->originator.size);
    r->o.originator.data = r->originator;
    if (o->request_class.size)
        memcpy(r->request_class, o->request_class.data, o->request_class.size);
    r->o.request_class.data = r->request_class;
    r->o.offers = r->offers;
    thread *best = &h->threads[0];
    for (unsigned i = 1; i < h->count; i++)
        if (atomic_load(&h->threads[i].load) < atomic_load(&best->load))
            best = &h->threads[i];
    r->thread = best;
    atomic_fetch_add(&best->load, 1);
    *out = r; /* before it can be done */
    pthread_mutex_lock(&h->lock);
    r->next = best->inbox;
    best->inbox = r;
    pthread_mutex_unlock(&h->lock);
    bell_ring(best->wake);
    return DICORE_OK;
}

static void wake(dicore_retrieval *r)
{
    atomic_store(&r->thread->look, true);
    bell_ring(r->thread->wake);
}

void dicore_retrieval_cancel(dicore_retrieval *r)
{
    atomic_store(&r->cancelled, true);
    wake(r);
}

void dicore_retrieval_stop(dicore_retrieval *r)
{
    atomic_store(&r->stopped, true);
    wake(r);
}

void dicore_retrieval_progress(const dicore_retrieval *r, uint64_t out[4])
{
    out[0] = atomic_load_explicit(&r->completed, memory_order_relaxed);
    out[1] = atomic_load_explicit(&r->failed, memory_order_relaxed);
    out[2] = atomic_load_explicit(&r->warning, memory_order_relaxed);
    out[3] = atomic_load_explicit(&r->bytes, memory_order_relaxed);
}

int dicore_retriever_descriptor(const dicore_retriever *h) { return h->signal; }

bool dicore_retriever_next(dicore_retriever *h, void **token)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        pthread_mutex_lock(&h->lock);
        dicore_retrieval *r = h->done;
        if (r) {
            h->done = r->next;
            if (!h->done)
                h->done_end = &h->done;
        }
        pthread_mutex_unlock(&h->lock);
        if (r) {
            *token = r->o.token;
            return true;
        }
        if (attempt == 0)
            bell_quiet(h->signal); /* what is done from here on rings again */
    }
    return false;
}

const dicore_retrieval_end *dicore_retrieval_ended(const dicore_retrieval *r) { return &r->end; }

void dicore_retrieval_free(dicore_retrieval *r)
{
    if (r)
        r->allocator.resize(r->allocator.context, r, r->size, 0);
}
