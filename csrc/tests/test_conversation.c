/* A conversation that was recorded between dicore and DCMTK's dcmqrscp (tests/vectors/record_conversation.py), fed to the core in
 * both roles: cut at every byte, merged at random, cut short. The same events, the same output; or an end that is an error or
 * "more". DICORE_SPLITS=10000 is the whole number of random merges; a tenth of it is done without. */
#include "check.h"
#include "wire.h"

static heap memory;

static bytes recorded(const char *name)
{
    char path[1024];
    bytes b = {0};
    snprintf(path, sizeof path, "%s/%s", DICORE_RECORDED, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "no %s\n", path);
        abort();
    }
    uint8_t piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file));)
        bytes_add(&b, piece, n);
    fclose(file);
    return b;
}

static bytes sides[2]; /* what the requestor said, and the acceptor */

static user begin(bool requestor)
{
    const dicore_allocator allocator = heap_allocator(&memory);
    user u = {.association = dicore_association_new(NULL, &allocator)};
    CHECK(u.association);
    if (requestor) { /* propose what was proposed */
        dicore_associate rq;
        const size_t size = (size_t)sides[0].data[4] << 8 | sides[0].data[5];
        CHECK_EQ(dicore_associate_parse(1, sides[0].data + 6, size, &allocator, &rq, NULL), DICORE_OK);
        CHECK_EQ(dicore_association_request(u.association, &rq), DICORE_OK);
        dicore_associate_free(&rq, &allocator);
    }
    CHECK_EQ(dicore_association_connected(u.association), DICORE_OK);
    user_take_output(&u);
    return u;
}

/** Events by kind; the requestor asks to release after `commands` of them. */
typedef struct listener {
    user u;
    int commands, seen;
} listener;

static void hear(listener *l, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    size_t done = 0;
    dicore_event event;
    do {
        size_t consumed;
        (void)dicore_association_receive(l->u.association, copy + done, size - done, &consumed, &event);
        done += consumed;
        l->seen += event.kind == DICORE_EVENT_COMMAND;
        const bool last = l->commands && l->seen == l->commands && event.kind == DICORE_EVENT_COMMAND;
        user_event(&l->u, &event);
        if (last)
            CHECK_EQ(dicore_association_release(l->u.association), DICORE_OK);
        user_take_output(&l->u);
    } while (event.kind != DICORE_EVENT_NONE);
    CHECK_EQ(done, size);
    free(copy);
}

static bool same(const bytes *a, const bytes *b) { return a->size == b->size && memcmp(a->data, b->data, a->size) == 0; }

static void a_conversation(bool requestor, const char *const *mentions, size_t count)
{
    const bytes *said = &sides[requestor]; /* by the other side */
    listener whole = {.u = begin(requestor)};
    if (requestor) { /* how many commands there are before the release is answered */
        listener first = {.u = begin(true)};
        hear(&first, said->data, said->size);
        whole.commands = first.seen;
        user_free(&first.u);
    }
    const int commands = whole.commands;
    hear(&whole, said->data, said->size);
    CHECK_EQ(whole.u.failures, 0);
    CHECK_EQ(dicore_association_state(whole.u.association), requestor ? 1 : 13);
    bytes_add(&whole.u.log, "", 1);
    for (size_t i = 0; i < count; i++) {
        if (!strstr((const char *)whole.u.log.data, mentions[i]))
            fprintf(stderr, "%s\nhas no '%s'\n", (const char *)whole.u.log.data, mentions[i]);
        CHECK(strstr((const char *)whole.u.log.data, mentions[i]) != NULL);
    }
    whole.u.log.size--;

    int wrong = 0;
    for (size_t cut = 0; cut <= said->size; cut++) { /* at every byte; and what lies before it is an error or more to come */
        listener l = {.u = begin(requestor), .commands = commands};
        hear(&l, said->data, cut);
        wrong += l.u.failures != 0 || (cut < said->size && (l.u.log.size >= whole.u.log.size ||
                 dicore_association_state(l.u.association) == (requestor ? 1 : 13)));
        hear(&l, said->data + cut, said->size - cut);
        wrong += !same(&l.u.log, &whole.u.log) || !same(&l.u.output, &whole.u.output);
        user_free(&l.u);
    }
    CHECK_EQ(wrong, 0);
    for (size_t cut = 0; cut < said->size; cut += cut < 2000 ? 1 : 7) { /* the transport goes there */
        listener l = {.u = begin(requestor), .commands = commands};
        hear(&l, said->data, cut);
        const int state = dicore_association_state(l.u.association);
        dicore_event event;
        CHECK_EQ(dicore_association_closed(l.u.association, &event), DICORE_OK);
        wrong += event.kind != (state == 2 || state == 13 ? DICORE_EVENT_NONE : DICORE_EVENT_CLOSED);
        user_free(&l.u);
    }
    CHECK_EQ(wrong, 0);
    const char *wanted = getenv("DICORE_SPLITS");
    const long rounds = wanted ? strtol(wanted, NULL, 10) : 1000;
    uint64_t seed = 7;
    for (long round = 0; round < rounds; round++) {
        static const size_t MOST[] = {2, 12, 40, 700, 5000};
        const size_t most = MOST[(size_t)round % 5];
        listener l = {.u = begin(requestor), .commands = commands};
        for (size_t at = 0; at < said->size;) {
            size_t part = next_random(&seed) % most + (most == 2);
            if (part > said->size - at)
                part = said->size - at;
            hear(&l, said->data + at, part);
            at += part;
        }
        wrong += !same(&l.u.log, &whole.u.log) || !same(&l.u.output, &whole.u.output);
        user_free(&l.u);
    }
    CHECK_EQ(wrong, 0);
    user_free(&whole.u);
    CHECK_EQ(memory.live, 0);
}

int main(void)
{
    static const char *const REQUESTOR_SAID[] = {"associate 1 called 'QR' calling 'DICORE'", "extended 1", "command 48 ",
                                                 "command 1 ", "command 32 ", "command 4095 ", "command 16 ", "command 32769 ",
                                                 "release\n"};
    static const char *const ACCEPTOR_SAID[] = {"associate 2 ", "command 32816 ", "command 32769 ", "command 32800 ", "status ff00",
                                                "command 1 ", "command 32784 ", "released\n"};
    sides[0] = recorded("requestor");
    sides[1] = recorded("acceptor");
    a_conversation(false, REQUESTOR_SAID, sizeof REQUESTOR_SAID / sizeof *REQUESTOR_SAID);
    a_conversation(true, ACCEPTOR_SAID, sizeof ACCEPTOR_SAID / sizeof *ACCEPTOR_SAID);
    bytes_free(&sides[0]);
    bytes_free(&sides[1]);
    return check_result("test_conversation");
}
