/* io_uring by its system calls: three of them and two rings in shared memory. */
#include "scan/uring.h"

#include <errno.h>

#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif
#endif

#if defined(IORING_FEAT_LINKED_FILE) && defined(IORING_FEAT_CQE_SKIP)
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPENED (1u << 31) /* of user_data: the open of the chain, which tells of its failure only */

static int enter(const uring *r, unsigned submit, unsigned wait)
{
    return (int)syscall(__NR_io_uring_enter, r->fd, submit, wait, wait ? IORING_ENTER_GETEVENTS : 0u, NULL, (size_t)0);
}

int uring_open(uring *r)
{
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    memset(r, 0, sizeof *r);
    r->fd = (int)syscall(__NR_io_uring_setup, 2 * URING_DEPTH, &p);
    if (r->fd < 0)
        return errno;
    const unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_CQE_SKIP | IORING_FEAT_LINKED_FILE;
    size_t sq = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
    size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    int why = (p.features & needed) == needed ? 0 : EOPNOTSUPP;
    r->map_size = sq > cq ? sq : cq;
    r->sqes_size = p.sq_entries * sizeof(struct io_uring_sqe);
    if (!why) {
        r->map = mmap(NULL, r->map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
        r->sqes = mmap(NULL, r->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
        if (r->map == MAP_FAILED || r->sqes == MAP_FAILED)
            why = errno;
    }
    if (!why) {
        int32_t none[URING_DEPTH];
        for (unsigned i = 0; i < URING_DEPTH; i++)
            none[i] = -1;
        if (syscall(__NR_io_uring_register, r->fd, IORING_REGISTER_FILES, none, URING_DEPTH) < 0)
            why = errno;
    }
    if (why) {
        uring_close(r);
        return why;
    }
    uint8_t *map = r->map;
    r->sq_head = (uint32_t *)(void *)(map + p.sq_off.head);
    r->sq_tail = (uint32_t *)(void *)(map + p.sq_off.tail);
    r->sq_array = (uint32_t *)(void *)(map + p.sq_off.array);
    r->cq_head = (uint32_t *)(void *)(map + p.cq_off.head);
    r->cq_tail = (uint32_t *)(void *)(map + p.cq_off.tail);
    r->cqes = map + p.cq_off.cqes;
    r->sq_mask = p.sq_entries - 1;
    r->cq_mask = p.cq_entries - 1;
    r->entries = p.sq_entries;
    r->keep_atime = 1;
    for (uint32_t i = 0; i < p.sq_entries; i++)
        r->sq_array[i] = i;
    return 0;
}

void uring_close(uring *r)
{
    if (r->fd < 0)
        return;
    if (r->map && r->map != MAP_FAILED)
        munmap(r->map, r->map_size);
    if (r->sqes && r->sqes != MAP_FAILED)
        munmap(r->sqes, r->sqes_size);
    close(r->fd);
    memset(r, 0, sizeof *r);
    r->fd = -1;
}

static struct io_uring_sqe *next_sqe(uring *r, uint32_t tail)
{
    struct io_uring_sqe *sqe = (struct io_uring_sqe *)r->sqes + (tail & r->sq_mask);
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

static void put_read(uring *r, uint32_t tail, uint32_t slot, uint64_t offset, uint8_t *data, uint32_t size)
{
    struct io_uring_sqe *sqe = next_sqe(r, tail);
    sqe->opcode = IORING_OP_READ;
    sqe->flags = IOSQE_FIXED_FILE;
    sqe->fd = (int32_t)slot;
    sqe->addr = (uint64_t)(uintptr_t)data;
    sqe->len = size;
    sqe->off = offset;
    sqe->user_data = slot;
}

/* Submit `submit` entries and wait for `expected` results, one of each chain. 0 or errno. Whatever happens, on return no
 * chain is under way any more, since its buffer may go. */
static int run(uring *r, uint32_t submit, uint32_t expected, uring_read *reads)
{
    uint32_t seen = 0, given = 0;
    int why = 0;
    while (seen < expected) {
        int n = enter(r, why ? 0 : submit - given, expected - seen);
        if (n > 0)
            given += (uint32_t)n;
        if (n < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY && !why) {
            why = errno;
            expected = given / (submit / expected ? submit / expected : 1); /* chains that are under way */
        }
        if (n < 0)
            sched_yield();
        uint32_t head = *r->cq_head, tail = __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) {
            const struct io_uring_cqe *cqe = (const struct io_uring_cqe *)r->cqes + (head & r->cq_mask);
            uint32_t slot = (uint32_t)cqe->user_data & ~OPENED;
            reads[slot].got = cqe->res;
            seen++;
        }
        __atomic_store_n(r->cq_head, head, __ATOMIC_RELEASE);
    }
    return why;
}

int uring_read_heads(uring *r, uring_read *reads, uint32_t count)
{
    uint32_t tail = *r->sq_tail;
    for (uint32_t i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = next_sqe(r, tail++);
        sqe->opcode = IORING_OP_OPENAT;
        sqe->flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
        sqe->fd = reads[i].folder;
        sqe->addr = (uint64_t)(uintptr_t)reads[i].name;
        sqe->open_flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | (r->keep_atime ? O_NOATIME : 0u);
        sqe->file_index = i + 1; /* replaces, and so closes, what the group before left there */
        sqe->user_data = i | OPENED;
        put_read(r, tail++, i, 0, reads[i].data, reads[i].size);
        reads[i].got = -ECANCELED;
    }
    __atomic_store_n(r->sq_tail, tail, __ATOMIC_RELEASE);
    if (count > r->used)
        r->used = count;
    return run(r, 2 * count, count, reads);
}

int32_t uring_read_more(uring *r, uint32_t slot, uint64_t offset, uint8_t *data, uint32_t size)
{
    uring_read reads[URING_DEPTH];
    reads[slot].got = -ECANCELED;
    uint32_t tail = *r->sq_tail;
    put_read(r, tail++, slot, offset, data, size);
    __atomic_store_n(r->sq_tail, tail, __ATOMIC_RELEASE);
    int why = run(r, 1, 1, reads);
    return why ? -why : reads[slot].got;
}

void uring_drop(uring *r)
{
    int32_t none[URING_DEPTH];
    for (unsigned i = 0; i < URING_DEPTH; i++)
        none[i] = -1;
    struct io_uring_files_update update = {.offset = 0, .fds = (uint64_t)(uintptr_t)none};
    if (r->used)
        syscall(__NR_io_uring_register, r->fd, IORING_REGISTER_FILES_UPDATE, &update, r->used);
    r->used = 0;
}

#else /* no io_uring in this kernel's headers */

int uring_open(uring *r)
{
    r->fd = -1;
    return ENOSYS;
}
void uring_close(uring *r) { r->fd = -1; }
int uring_read_heads(uring *r, uring_read *reads, uint32_t count)
{
    (void)r, (void)reads, (void)count;
    return ENOSYS;
}
int32_t uring_read_more(uring *r, uint32_t slot, uint64_t offset, uint8_t *data, uint32_t size)
{
    (void)r, (void)slot, (void)offset, (void)data, (void)size;
    return -ENOSYS;
}
void uring_drop(uring *r) { (void)r; }

#endif
