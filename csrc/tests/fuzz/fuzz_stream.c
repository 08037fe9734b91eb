/* PDUs and PDVs of an open association, cut as the input says, against a reader that sees the whole stream at once and is too
 * simple to be wrong: the same events, the same failure with the same reason.
 *
 * Input: a byte of flags (1: requestor, 2: a maximum of 64 bytes, 4: command sets of 100 bytes at most), the number of cuts, a
 * byte for each (the size of a read; 255: 4096), which are used in turn, then the stream. */
#include "fuzz.h"
#include "wire.h"

#include "net/pdu.h"

static const uint8_t CONTEXTS[] = {1, 3, 5};

/* ---- what is expected ---------------------------------------------------------------------------------------------------- */

static void say(bytes *log, const char *what, unsigned a, unsigned b, unsigned long long c)
{
    char line[80];
    snprintf(line, sizeof line, "%s %u %u %llu\n", what, a, b, c);
    bytes_add(log, line, strlen(line));
}

static unsigned checksum(unsigned sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + data[i];
    return sum;
}

/** A data set that is not complete. */
static void say_rest(bytes *log, bool open, unsigned sum, unsigned long long size)
{
    if (open && size)
        say(log, "part", sum, 0, size);
}

typedef struct expectation {
    bytes log, command;
    uint32_t max_length, command_limit;
    bool open;                   /* in a data set */
    unsigned sum;
    unsigned long long size;
    int message;                 /* 0 none, 1 command, 2 data */
    uint8_t context;
    bool over;
} expectation;

static void fails(expectation *x, dicore_status status, unsigned reason)
{
    say_rest(&x->log, x->open, x->sum, x->size);
    x->open = false;
    say(&x->log, "failed", (unsigned)status, reason, 0);
    x->over = true;
}

/** The PDVs in `size` bytes, of a PDU that has `left` bytes. */
static void expect_pdvs(expectation *x, const uint8_t *p, size_t size, uint32_t left)
{
    while (left && !x->over) {
        if (left < 6) {
            fails(x, DICORE_BAD_PDU, 6);
            return;
        }
        if (size < 6)
            return;
        const uint32_t length = load_u32be(p);
        const uint8_t context = p[4], control = p[5];
        const bool command = control & 1, last = control & 2;
        if (length < 2 || length > left - 4 || (context != 1 && context != 3 && context != 5)) {
            fails(x, DICORE_BAD_PDU, 6);
            return;
        }
        if (x->message == 0 ? !command : command != (x->message == 1) || context != x->context) {
            fails(x, DICORE_BAD_PDU, 5);
            return;
        }
        const uint32_t fragment = length - 2;
        p += 6, size -= 6, left -= 6;
        x->context = context;
        const size_t here = fragment < size ? fragment : size;
        if (command) {
            x->message = 1;
            if (x->command.size + fragment > x->command_limit) {
                fails(x, DICORE_LIMIT, 0);
                return;
            }
            bytes_add(&x->command, p, here);
        } else {
            x->sum = checksum(x->sum, p, here);
            x->size += here;
        }
        if (here < fragment)
            return;
        p += here, size -= here, left -= fragment;
        if (!last)
            continue;
        if (command) {
            dicore_command c;
            if (dicore_command_parse(x->command.data, x->command.size, &c, NULL) != DICORE_OK) {
                fails(x, DICORE_BAD_COMMAND, 6);
                return;
            }
            x->message = c.data_set_type == DICORE_NO_DATA_SET ? 0 : 2;
            x->open = x->message == 2;
            say(&x->log, "command", checksum(context, x->command.data, x->command.size), x->message == 0, x->command.size);
            x->command.size = 0;
        } else {
            say(&x->log, "data", x->sum, context, x->size);
            x->message = 0;
            x->open = false;
            x->sum = 0;
            x->size = 0;
        }
    }
}

static void expect(expectation *x, const uint8_t *p, size_t size)
{
    bool releasing = false;
    while (!x->over && size >= 6) {
        const uint8_t type = p[0];
        const uint32_t length = load_u32be(p + 2);
        p += 6, size -= 6;
        if (type == 4 && !releasing && (length < 6 || (x->max_length && length > x->max_length))) {
            fails(x, DICORE_BAD_PDU, 6);
        } else if (type == 4 && !releasing) {
            expect_pdvs(x, p, size < length ? size : length, length);
        } else if (type == 1 || type == 2 || type == 4) {
            fails(x, DICORE_BAD_PDU, 2);
        } else if (type == 0 || type > 7) {
            fails(x, DICORE_BAD_PDU, 1);
        } else if (length != 4) {
            fails(x, DICORE_BAD_PDU, 6);
        } else if (size >= 4) {
            if (type == 5 && !releasing) {
                say_rest(&x->log, x->open, x->sum, x->size);
                x->open = false;
                say(&x->log, "release", 0, 0, 0);
                releasing = true;
            } else if (type == 7) {
                say_rest(&x->log, x->open, x->sum, x->size);
                x->open = false;
                say(&x->log, "abort", p[2], p[2] == 2 ? p[3] : 0, 0);
                x->over = true;
            } else {
                fails(x, DICORE_BAD_PDU, 2);
            }
        }
        if (size < length)
            break;
        p += length, size -= length;
    }
    say_rest(&x->log, x->open, x->sum, x->size);
}

/* ---- what happens -------------------------------------------------------------------------------------------------------- */

static void feed_all(dicore_association *from, dicore_association *to)
{
    const uint8_t *data;
    size_t size, consumed;
    dicore_event event;
    dicore_association_output(from, &data, &size);
    MUST(dicore_association_receive(to, data, size, &consumed, &event) == DICORE_OK && consumed == size);
    if (event.kind == DICORE_EVENT_ASSOCIATE_RQ) {
        user u = {.association = to};
        MUST(user_accept(&u, event.associate) == DICORE_OK);
    } else {
        MUST(event.kind == DICORE_EVENT_ASSOCIATE_AC);
        MUST(dicore_association_receive(to, NULL, 0, &consumed, &event) == DICORE_OK); /* gives the proposal back */
    }
    dicore_association_sent(from, size);
}

/** Both sides of an association that stands, of which `wanted` is returned. */
static dicore_association *established(bool requestor, const dicore_association_options *options, const dicore_allocator *allocator)
{
    static const dicore_span SYNTAX = {(const uint8_t *)"1.2.840.10008.1.2", 17};
    dicore_context contexts[3];
    for (size_t i = 0; i < 3; i++)
        contexts[i] = (dicore_context){.id = CONTEXTS[i], .abstract_syntax = text("1.2.840.10008.1.1"), .syntaxes = &SYNTAX,
                                       .syntax_count = 1};
    const dicore_associate rq = {.called_ae = text("A"), .calling_ae = text("B"), .contexts = contexts, .context_count = 3,
                                 .implementation_uid = text("1.2.3")};
    dicore_association *scu = dicore_association_new(options, allocator), *scp = dicore_association_new(options, allocator);
    MUST(dicore_association_request(scu, &rq) == DICORE_OK);
    (void)dicore_association_connected(scu);
    (void)dicore_association_connected(scp);
    feed_all(scu, scp);
    feed_all(scp, scu);
    MUST(dicore_association_state(scu) == 6 && dicore_association_state(scp) == 6);
    dicore_association_free(requestor ? scp : scu);
    return requestor ? scu : scp;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size - 2 < data[1])
        return 0;
    const uint8_t flags = data[0], cuts = data[1], *cut = data + 2;
    data += 2 + cuts;
    size -= 2u + cuts;
    dicore_association_options options;
    dicore_association_defaults(&options);
    if (flags & 2)
        options.max_length = 64;
    if (flags & 4)
        options.command_limit = 100;
    heap h = {0};
    const dicore_allocator allocator = heap_allocator(&h);
    dicore_association *a = established(flags & 1, &options, &allocator);
    const uint64_t before = dicore_association_received(a);

    expectation x = {.max_length = options.max_length, .command_limit = options.command_limit};
    expect(&x, data, size);

    bytes log = {0};
    unsigned sum = 0;
    unsigned long long run = 0;
    for (size_t at = 0, turn = 0; at < size; turn++) {
        size_t part = cuts == 0 ? size : cut[turn % cuts] == 255 ? 4096 : cut[turn % cuts];
        if (part == 0 && turn >= cuts) /* empty reads, but not for ever */
            part = 1;
        if (part > size - at)
            part = size - at;
        uint8_t *copy = malloc(part ? part : 1);
        MUST(copy);
        if (part)
            memcpy(copy, data + at, part);
        size_t done = 0;
        dicore_event event;
        do {
            size_t consumed = 0;
            MUST(dicore_association_wanted(a) >= 1);
            const dicore_status status = dicore_association_receive(a, copy + done, part - done, &consumed, &event);
            MUST(consumed <= part - done);
            MUST((status != DICORE_OK) == dicore_association_failed(a));
            done += consumed;
            if (event.kind != DICORE_EVENT_DATA && event.kind != DICORE_EVENT_NONE) {
                say_rest(&log, run != 0, sum, run);
                run = 0;
                sum = 0;
            }
            switch (event.kind) {
            case DICORE_EVENT_NONE: MUST(done == part); break;
            case DICORE_EVENT_COMMAND:
                say(&log, "command", checksum(event.context_id, event.data, event.size), event.last, event.size);
                break;
            case DICORE_EVENT_DATA:
                MUST(event.size || event.last);
                MUST(event.size == 0 || (event.data >= copy && event.data + event.size <= copy + part));
                sum = checksum(sum, event.data, event.size);
                run += event.size;
                if (event.last) {
                    say(&log, "data", sum, event.context_id, run);
                    run = 0;
                    sum = 0;
                }
                break;
            case DICORE_EVENT_RELEASE_RQ: say(&log, "release", 0, 0, 0); break;
            case DICORE_EVENT_ABORT: say(&log, "abort", event.source, event.reason, 0); break;
            case DICORE_EVENT_FAILED:
                MUST(event.offset >= before && event.offset <= before + size);
                say(&log, "failed", (unsigned)event.status, event.reason, 0);
                break;
            case DICORE_EVENT_ASSOCIATE_RQ:
            case DICORE_EVENT_ASSOCIATE_AC:
            case DICORE_EVENT_ASSOCIATE_RJ:
            case DICORE_EVENT_RELEASE_RP:
            case DICORE_EVENT_CLOSED:
            case DICORE_EVENT_TIMEOUT: MUST(!"an event that bytes cannot bring here");
            }
        } while (event.kind != DICORE_EVENT_NONE);
        free(copy);
        at += part;
    }
    say_rest(&log, run != 0, sum, run);
    if (log.size != x.log.size || (log.size && memcmp(log.data, x.log.data, log.size) != 0)) {
        fprintf(stderr, "expected:\n%.*sbut:\n%.*s", (int)x.log.size, (const char *)x.log.data, (int)log.size, (const char *)log.data);
        abort();
    }
    MUST(dicore_association_received(a) == before + size);
    MUST(h.peak <= 16384 + 4 * size);
    dicore_association_free(a);
    MUST(h.live == 0);
    bytes_free(&log);
    bytes_free(&x.log);
    bytes_free(&x.command);
    return 0;
}
