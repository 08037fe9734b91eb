/* The pass over the tape that decides element by element, and the new file that comes of it. */
#include <string.h>

#include "base/load.h"
#include "deidentify/replace.h"

#define VR(a, b) DICORE_VR(a, b)
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        dicore_status try_status = (call);                                                                             \
        if (try_status != DICORE_OK)                                                                                   \
            return try_status;                                                                                         \
    } while (0)

enum { SCHEME_UNKNOWN, SCHEME_LOCAL, SCHEME_PUBLIC };
enum mode { NORMAL, DUMMIES, CLEANING }; /* what the sequence around asks of its elements */
enum { BLOCK = 4000, WORDS_MAX = 2048, WORD_MIN = 3, ECHO_MIN = 4 };
#define WHOLE_VALUE 0x9E3779B97F4A7C15u /* keeps the hash of a value apart from that of a word */

typedef struct place { /* an element that stays, and the item it is in */
    uint32_t index, item;
} place;

typedef struct block { /* memory for new values: never moves, since changes point into it */
    struct block *before;
    size_t size, used;
    uint8_t bytes[];
} block;

typedef struct level { /* the data set or item that is being gone through */
    uint32_t item;     /* tape index; 0 at the top */
    uint32_t first, stop;
    enum mode mode;
    uint8_t scheme; /* of a code: SCHEME_... */
} level;

typedef struct work {
    const dicore_deidentifier *how;
    const dicore_allocator *allocator;
    dicore_error *error;
    const uint8_t *data; /* the data set, inflated when it was deflated */
    size_t size;
    uint64_t start;
    dicore_encoding encoding;
    uint8_t *inflated;
    size_t inflated_capacity;
    dicore_tape tape;
    block *memory;
    dicore_change *changes;
    dicore_deid_entry *log;
    size_t count, room, log_room;
    dicore_span patient;                    /* as the file has it */
    dicore_span new_patient, new_name;
    uint8_t pseudonym[DICORE_DEID_PSEUDONYM];
    int days;
    uint64_t *forbidden; /* hashes of the words of names and identifiers: never cleaned text */
    size_t forbidden_count;
    int forbidden_known;
    uint64_t *gone; /* hashes of the text that goes: whole values, and the words of names and identifiers */
    size_t gone_count, gone_room;
    place *kept; /* text that stays because no rule names it */
    size_t kept_count, kept_room;
    dicore_span creators[256]; /* of the private group that is being gone through, by block */
    uint32_t creators_item, creators_group;
    dicore_plan plan;
    size_t meta_size;
    uint8_t meta[DICORE_META_MAX];
    level levels[DICORE_DEPTH_MAX + 2];
} work;

static void *get_memory(const dicore_allocator *a, size_t size) { return a->resize(a->context, NULL, 0, size); }

static void give_back(const dicore_allocator *a, void *memory, size_t size)
{
    if (memory)
        a->resize(a->context, memory, size, 0);
}

/* `size` bytes that stay until the end. NULL when there are none. */
static uint8_t *new_value(work *w, size_t size)
{
    if (!w->memory || w->memory->size - w->memory->used < size) {
        size_t room = size > BLOCK ? size : BLOCK;
        block *fresh = room > SIZE_MAX - sizeof(block) ? NULL : get_memory(w->allocator, sizeof(block) + room);
        if (!fresh)
            return NULL;
        *fresh = (block){.before = w->memory, .size = room};
        w->memory = fresh;
    }
    uint8_t *at = w->memory->bytes + w->memory->used;
    w->memory->used += size;
    return at;
}

static dicore_status no_memory(work *w) { return dicore_fail(w->error, DICORE_NO_MEMORY, 0, 0); }

/* Room for one more in an array of `each` bytes. 0 when there is none. */
static int make_room(work *w, void **items, size_t count, size_t *room, size_t each)
{
    if (count < *room)
        return 1;
    size_t larger = *room ? *room * 2 : 192;
    void *moved = larger > SIZE_MAX / each ? NULL :
        w->allocator->resize(w->allocator->context, *items, *room * each, larger * each);
    if (!moved)
        return 0;
    *items = moved;
    *room = larger;
    return 1;
}

static dicore_status add(work *w, dicore_change change, unsigned action, unsigned depth)
{
    void *changes = w->changes, *log = w->log;
    int room = make_room(w, &changes, w->count, &w->room, sizeof(dicore_change)) &&
               make_room(w, &log, w->count, &w->log_room, sizeof(dicore_deid_entry));
    w->changes = changes;
    w->log = log;
    if (!room)
        return no_memory(w);
    w->log[w->count] = (dicore_deid_entry){.tag = change.tag, .action = (uint8_t)action, .depth = (uint8_t)depth};
    w->changes[w->count++] = change;
    return DICORE_OK;
}

/* ---- what is there -------------------------------------------------------------------------------------------------- */

static dicore_span value_at(const work *w, uint32_t index)
{
    const dicore_entry *e = &w->tape.entries[index];
    uint64_t at = e->offset + e->header;
    if (at > w->size || e->length > w->size - at)
        return (dicore_span){0};
    return (dicore_span){w->data + at, (size_t)e->length};
}

static dicore_span trimmed(dicore_span s)
{
    s.size = s.size ? dicore_value_trim(s.data, s.size) : 0;
    while (s.size && *s.data == ' ') {
        s.data++;
        s.size--;
    }
    return s;
}

static dicore_span top_value(const work *w, uint32_t tag)
{
    uint32_t index = dicore_tape_find(&w->tape, 0, w->tape.count, tag);
    return index == DICORE_NO_ENTRY ? (dicore_span){0} : trimmed(value_at(w, index));
}

static int same(dicore_span a, dicore_span b) { return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0); }

static unsigned rule_of(const dicore_deidentifier *how, uint32_t tag, int *found)
{
    size_t low = 0, high = how->rule_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (how->rules[middle].tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < how->rule_count && how->rules[low].tag == tag;
    if (*found)
        return how->rules[low].action;
    *found = 1; /* the repeating groups: the even ones of 5000-50FE and 6000-60FE */
    if ((tag & 0xFF010000u) == 0x50000000u)
        return how->curves;
    if ((tag & 0xFF01FFFFu) == 0x60003000u)
        return how->overlay_data;
    if ((tag & 0xFF01FFFFu) == 0x60004000u)
        return how->overlay_comments;
    *found = 0;
    return DICORE_DEID_KEEP;
}

static int is_text(uint16_t vr)
{
    return vr == VR('L', 'O') || vr == VR('S', 'H') || vr == VR('S', 'T') || vr == VR('L', 'T') || vr == VR('U', 'T') ||
           vr == VR('U', 'C');
}

/* The VR as stored, or as the dictionary has it. Which one of US, SS and OW does not matter here. */
static uint16_t vr_of(const dicore_entry *e)
{
    if (e->flags & DICORE_ENTRY_SEQUENCE)
        return DICORE_VR_SQ;
    return e->vr && e->vr != DICORE_VR_UN ? e->vr : dicore_dictionary_vr(e->tag);
}

static int is_listed(const work *w, uint32_t tag, dicore_span creator)
{
    for (size_t i = 0; i < w->how->safe_count; i++)
        if (w->how->safe[i].tag == (tag & 0xFFFF00FFu) && same(creator, w->how->safe[i].creator))
            return 1;
    return 0;
}

/* Does a listed private element hold what the list says: numbers, or a code string? */
static int is_harmless(const work *w, uint32_t index, dicore_span creator)
{
    const dicore_entry *e = &w->tape.entries[index];
    if (e->flags & (DICORE_ENTRY_SEQUENCE | DICORE_ENTRY_FRAGMENTS))
        return 0;
    uint16_t vr = e->vr && e->vr != DICORE_VR_UN ? e->vr : dicore_dictionary_private_vr(creator.data, creator.size, e->tag);
    if (vr == VR('U', 'S') || vr == VR('S', 'S') || vr == VR('U', 'L') || vr == VR('S', 'L') || vr == VR('F', 'L') ||
        vr == VR('F', 'D'))
        return 1;
    int number = vr == VR('D', 'S') || vr == VR('I', 'S');
    if (!number && vr != VR('C', 'S'))
        return 0;
    dicore_span value = trimmed(value_at(w, index));
    for (size_t i = 0, run = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        run = c == '\\' ? 0 : run + 1;
        int digit = c >= '0' && c <= '9';
        int fits = number ? digit || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E'
                          : digit || (c >= 'A' && c <= 'Z') || c == '_';
        if (run > 16 || !(fits || c == ' ' || c == '\\'))
            return 0;
    }
    return 1;
}

/* A private element: may it stay? A creator stays when something of its block does. */
static int private_stays(work *w, const level *l, uint32_t index)
{
    const dicore_entry *entries = w->tape.entries;
    uint32_t tag = entries[index].tag, element = tag & 0xFFFF;
    if (!w->how->safe_count || element < 0x10)
        return 0;
    if (w->creators_item != l->item || w->creators_group != tag >> 16) { /* PS3.5 7.8.1: they stand before what they reserve */
        memset(w->creators, 0, sizeof w->creators);
        w->creators_item = l->item;
        w->creators_group = tag >> 16;
    }
    dicore_span *creator = &w->creators[element >= 0x1000 ? element >> 8 : element & 0xFF];
    if (element >= 0x1000)
        return is_listed(w, tag, *creator) && is_harmless(w, index, *creator);
    if (element > 0xFF || creator->size) /* a creator that comes twice */
        return 0;
    *creator = value_at(w, index);
    creator->size = creator->size ? dicore_value_trim(creator->data, creator->size) : 0;
    for (uint32_t i = entries[index].next; i < l->stop && entries[i].tag >> 16 == tag >> 16; i = entries[i].next)
        if ((entries[i].tag & 0xFFFF) >> 8 == element && is_listed(w, entries[i].tag, *creator) &&
            is_harmless(w, i, *creator))
            return 1;
    return 0;
}

/* Of a code (PS3.3 8.8): is its scheme a local one, whose meanings are free text? */
static int local_code(const work *w, level *l)
{
    if (l->scheme == SCHEME_UNKNOWN) {
        uint32_t index = dicore_tape_find(&w->tape, l->first, l->stop, 0x00080102);
        dicore_span scheme = index == DICORE_NO_ENTRY ? (dicore_span){0} : trimmed(value_at(w, index));
        l->scheme = scheme.size < 2 || memcmp(scheme.data, "99", 2) == 0 ? SCHEME_LOCAL : SCHEME_PUBLIC;
    }
    return l->scheme == SCHEME_LOCAL;
}

/* What to do with a public element, before its VR is looked at closely. */
static unsigned decide(const work *w, level *l, const dicore_entry *e, uint16_t vr)
{
    const dicore_deidentifier *how = w->how;
    uint32_t tag = e->tag;
    uint16_t known = dicore_dictionary_vr(tag);
    int found;
    unsigned action = rule_of(how, tag, &found);
    if ((tag & 0xFFFF) == 0 || tag >> 16 == 0 || tag >> 16 == 2 || (!found && !known))
        return DICORE_DEID_REMOVE;
    if (l->mode == DUMMIES) {
        if (action == DICORE_DEID_REMOVE || e->flags & DICORE_ENTRY_SEQUENCE)
            return action == DICORE_DEID_REMOVE ? action : DICORE_DEID_DUMMY;
        if (vr == VR('U', 'I'))
            return DICORE_DEID_UID;
        /* terms of the standard that say how the rest is to be read: ValueType, RelationshipType, ContinuityOfContent, the
         * annotations' units and GraphicType */
        if (tag == 0x0040A040 || tag == 0x0040A010 || tag == 0x0040A050 || (tag >= 0x00700003 && tag <= 0x00700005) ||
            tag == 0x00700023) {
            dicore_span value = trimmed(value_at(w, (uint32_t)(e - w->tape.entries)));
            int term = value.size <= 10;
            for (size_t i = 0; i < value.size && term; i++)
                term = value.data[i] >= 'A' && value.data[i] <= 'Z';
            if (term)
                return DICORE_DEID_KEEP;
        }
        return DICORE_DEID_DUMMY;
    }
    if (found)
        return action;
    if (vr == VR('U', 'I') || known == VR('U', 'I'))
        return how->uids;
    if (vr == VR('P', 'N') || known == VR('P', 'N'))
        return how->names;
    if (vr == VR('D', 'A') || vr == VR('D', 'T') || vr == VR('T', 'M') || known == VR('D', 'A') || known == VR('D', 'T') ||
        known == VR('T', 'M'))
        return how->dates;
    if (vr == VR('U', 'R') || known == VR('U', 'R'))
        return how->links;
    if (l->mode == CLEANING && is_text(vr)) {
        if (tag == 0x00080100 || tag == 0x00080119) /* Code Value, Long Code Value */
            return local_code(w, l) ? DICORE_DEID_DUMMY : DICORE_DEID_KEEP;
        if (tag == 0x00080104) /* Code Meaning */
            return local_code(w, l) ? DICORE_DEID_CLEAN : DICORE_DEID_KEEP;
        if (tag == 0x00080102 || tag == 0x00080103) /* scheme and its version */
            return DICORE_DEID_KEEP;
        return DICORE_DEID_CLEAN;
    }
    return DICORE_DEID_KEEP;
}

/* ---- echoes ---------------------------------------------------------------------------------------------------------
 * Text without a rule stays; unless it says what has been taken out elsewhere: the same value, or a word of a person's name
 * or a patient's identifier. So the pass notes both kinds, and looks at the second again when it knows all of the first. */

/* Code Value, its scheme and version, Code Meaning: of a public scheme they say nothing of anybody. */
static int is_code(uint32_t tag) { return tag >= 0x00080100 && tag <= 0x00080104; }

static int names_a_patient(uint32_t tag)
{
    return tag == 0x00100020 || tag == 0x00101000 || tag == 0x00080050 || tag == 0x00380010;
}

static dicore_status note_gone(work *w, uint64_t hash)
{
    void *gone = w->gone;
    int room = make_room(w, &gone, w->gone_count, &w->gone_room, sizeof(uint64_t));
    w->gone = gone;
    if (!room)
        return no_memory(w);
    w->gone[w->gone_count++] = hash;
    return DICORE_OK;
}

static dicore_status note_removed(work *w, uint32_t index, uint16_t vr)
{
    uint32_t tag = w->tape.entries[index].tag;
    int person = vr == VR('P', 'N');
    if (tag & 0x10000 || !(person || is_text(vr)) || is_code(tag))
        return DICORE_OK;
    dicore_span value = value_at(w, index), part;
    for (size_t position = 0; dicore_value_split(value.data, value.size, &position, &part);)
        if (part.size >= ECHO_MIN)
            TRY(note_gone(w, dicore_deid_word_hash(part.data, part.size) ^ WHOLE_VALUE));
    if (person || names_a_patient(tag))
        for (size_t position = 0; deid_next_word(value.data, value.size, &position, &part);)
            if (part.size >= WORD_MIN)
                TRY(note_gone(w, dicore_deid_word_hash(part.data, part.size)));
    return DICORE_OK;
}

/* What goes with a removed sequence. */
static dicore_status note_removed_inside(work *w, uint32_t first, uint32_t stop)
{
    for (uint32_t i = first; i < stop; i++) {
        const dicore_entry *e = &w->tape.entries[i];
        if (!(e->flags & (DICORE_ENTRY_ITEM | DICORE_ENTRY_SEQUENCE)))
            TRY(note_removed(w, i, e->vr && e->vr != DICORE_VR_UN ? e->vr : dicore_dictionary_vr(e->tag)));
    }
    return DICORE_OK;
}

static dicore_status note_kept(work *w, level *l, uint32_t index, uint16_t vr)
{
    uint32_t tag = w->tape.entries[index].tag;
    int found;
    if (!is_text(vr) || tag & 0x10000 || tag == 0x00080070 || tag == 0x00081090) /* Manufacturer and its model name may coincide */
        return DICORE_OK;
    if (is_code(tag) && (tag == 0x00080102 || !local_code(w, l)))
        return DICORE_OK;
    (void)rule_of(w->how, tag, &found);
    if (found) /* an option asks for it */
        return DICORE_OK;
    void *kept = w->kept;
    int room = make_room(w, &kept, w->kept_count, &w->kept_room, sizeof(place));
    w->kept = kept;
    if (!room)
        return no_memory(w);
    w->kept[w->kept_count++] = (place){index, l->item};
    return DICORE_OK;
}

static int has(const uint64_t *slots, size_t mask, uint64_t hash)
{
    for (size_t slot = (size_t)hash & mask; slots[slot]; slot = (slot + 1) & mask)
        if (slots[slot] == hash)
            return 1;
    return 0;
}

static int is_echo(const uint64_t *slots, size_t mask, dicore_span value)
{
    dicore_span part;
    for (size_t position = 0; dicore_value_split(value.data, value.size, &position, &part);)
        if (has(slots, mask, dicore_deid_word_hash(part.data, part.size) ^ WHOLE_VALUE))
            return 1;
    for (size_t position = 0; deid_next_word(value.data, value.size, &position, &part);)
        if (has(slots, mask, dicore_deid_word_hash(part.data, part.size)))
            return 1;
    return 0;
}

static dicore_status put_dummy(work *w, uint32_t item, const dicore_entry *e, uint16_t vr);

static dicore_status silence_echoes(work *w)
{
    if (!w->gone_count || !w->kept_count)
        return DICORE_OK;
    size_t room = 64;
    while (room < 2 * w->gone_count)
        room *= 2;
    uint64_t *slots = room > SIZE_MAX / sizeof(uint64_t) ? NULL : get_memory(w->allocator, room * sizeof(uint64_t));
    if (!slots)
        return no_memory(w);
    memset(slots, 0, room * sizeof(uint64_t));
    for (size_t i = 0; i < w->gone_count; i++) {
        uint64_t hash = w->gone[i] ? w->gone[i] : 1;
        size_t slot = (size_t)hash & (room - 1);
        while (slots[slot] && slots[slot] != hash)
            slot = (slot + 1) & (room - 1);
        slots[slot] = hash;
    }
    dicore_status status = DICORE_OK;
    for (size_t i = 0; i < w->kept_count && status == DICORE_OK; i++) {
        const dicore_entry *e = &w->tape.entries[w->kept[i].index];
        if (is_echo(slots, room - 1, value_at(w, w->kept[i].index)))
            status = put_dummy(w, w->kept[i].item, e, vr_of(e));
    }
    give_back(w->allocator, slots, room * sizeof(uint64_t));
    return status;
}

/* ---- what replaces it ----------------------------------------------------------------------------------------------- */

static dicore_status put(work *w, uint32_t item, const dicore_entry *e, uint16_t vr, dicore_span value, unsigned action)
{
    dicore_change change = {.item = item, .tag = e->tag, .vr = vr, .kind = DICORE_CHANGE_REPLACE, .value = value};
    return add(w, change, action, e->depth);
}

static dicore_status put_dummy(work *w, uint32_t item, const dicore_entry *e, uint16_t vr)
{
    dicore_span value = dicore_deid_dummy(vr);
    if (!value.size) { /* a VR that nobody knows: the dictionary's */
        uint16_t known = dicore_dictionary_vr(e->tag);
        value = dicore_deid_dummy(known);
        vr = value.size ? known : VR('U', 'N');
    }
    /* as many numbers as there were, within reason: many have a fixed multiplicity */
    static const uint8_t ZEROS[64] = {0}, TEXT[63] = "0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\"
                                                      "0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0";
    size_t width = dicore_vr_width(vr), count = 0;
    if (vr == VR('D', 'S') || vr == VR('I', 'S')) {
        dicore_span old = value_at(w, (uint32_t)(e - w->tape.entries));
        count = dicore_value_count(old.data, old.size);
        if (count > 1 && count <= 32)
            value = (dicore_span){TEXT, 2 * count - 1};
    } else if (width > 1 && e->length <= sizeof ZEROS && e->length >= width) {
        value = (dicore_span){ZEROS, (size_t)e->length / width * width};
    }
    return put(w, item, e, vr, value, value.size ? DICORE_DEID_DUMMY : DICORE_DEID_EMPTY);
}

static dicore_status put_uids(work *w, const level *l, const dicore_entry *e, dicore_span value)
{
    size_t n = 0, position = 0, count = dicore_value_count(value.data, value.size);
    if (count > value.size + 1 || count > SIZE_MAX / 65)
        return no_memory(w);
    uint8_t *out = new_value(w, count * 65);
    if (!out)
        return no_memory(w);
    dicore_span one;
    for (size_t i = 0; dicore_value_split(value.data, value.size, &position, &one); i++) {
        if (i)
            out[n++] = '\\';
        n += dicore_deid_uid(w->how->key, one, out + n);
    }
    dicore_span fresh = {out, n};
    if (same(fresh, trimmed(value)))
        return DICORE_OK;
    return put(w, l->item, e, VR('U', 'I'), fresh, DICORE_DEID_UID);
}

static int is_identifying(uint32_t tag)
{
    return tag == 0x00100020 || tag == 0x00080080 || tag == 0x00080081 || tag == 0x00081040 || tag == 0x00101000 ||
           tag == 0x00080050 || tag == 0x00101001 || tag == 0x00101005 || tag == 0x00101060;
}

/* The words of the names and identifiers of this data set, which cleaning never lets through. */
static dicore_status collect_forbidden(work *w)
{
    if (w->forbidden_known)
        return DICORE_OK;
    w->forbidden_known = 1;
    w->forbidden = get_memory(w->allocator, WORDS_MAX * sizeof(uint64_t));
    if (!w->forbidden)
        return no_memory(w);
    for (uint32_t i = 0; i < w->tape.count; i++) {
        const dicore_entry *e = &w->tape.entries[i];
        if (e->flags & (DICORE_ENTRY_ITEM | DICORE_ENTRY_SEQUENCE) ||
            !(is_identifying(e->tag) || e->vr == VR('P', 'N') || dicore_dictionary_vr(e->tag) == VR('P', 'N')))
            continue;
        dicore_span value = value_at(w, i), word;
        for (size_t position = 0; deid_next_word(value.data, value.size, &position, &word);) {
            if (w->forbidden_count == WORDS_MAX)
                return dicore_fail(w->error, DICORE_LIMIT, e->offset, e->tag);
            w->forbidden[w->forbidden_count++] = dicore_deid_word_hash(word.data, word.size);
        }
    }
    return DICORE_OK;
}

static dicore_status put_clean(work *w, const level *l, const dicore_entry *e, uint16_t vr, dicore_span value)
{
    TRY(collect_forbidden(w));
    uint8_t *out = new_value(w, value.size + 1);
    if (!out)
        return no_memory(w);
    dicore_span fresh = {out, deid_clean(w->how, w->forbidden, w->forbidden_count, value.data, value.size, out)};
    if (!fresh.size && l->mode == CLEANING) /* a content item is nothing without its text */
        return put_dummy(w, l->item, e, vr);
    return put(w, l->item, e, vr, fresh, DICORE_DEID_CLEAN);
}

static dicore_status put_shifted(work *w, const level *l, const dicore_entry *e, uint16_t vr, dicore_span value)
{
    if (vr == VR('D', 'A') || vr == VR('D', 'T')) {
        size_t n;
        uint8_t *out = new_value(w, value.size);
        if (!out)
            return no_memory(w);
        if (dicore_deid_shift(vr, value.data, value.size, w->days, out, &n) != DICORE_OK)
            return put_dummy(w, l->item, e, vr);
        return put(w, l->item, e, vr, (dicore_span){out, n}, DICORE_DEID_SHIFT);
    }
    if (vr == VR('T', 'M') || vr == VR('S', 'H')) { /* whole days: the time of day and the zone (0008,0201) stay */
        size_t i = 0;
        for (dicore_span v = trimmed(value); i < value.size && (i >= v.size || (v.data[i] >= '0' && v.data[i] <= ':') ||
                                                                memchr("+-.\\ ", v.data[i], 5));)
            i++;
        if (i == value.size)
            return DICORE_OK;
    }
    return put_dummy(w, l->item, e, vr);
}

static dicore_status put_identifier(work *w, const level *l, const dicore_entry *e, uint16_t vr, dicore_span value, unsigned action)
{
    dicore_span fresh = action == DICORE_DEID_NAME ? w->new_name : w->new_patient;
    if (action == DICORE_DEID_ID && !same(trimmed(value), w->patient)) {
        uint8_t *out = new_value(w, DICORE_DEID_PSEUDONYM);
        if (!out)
            return no_memory(w);
        dicore_deid_pseudonym(w->how->key, trimmed(value), out);
        fresh = (dicore_span){out, DICORE_DEID_PSEUDONYM};
    }
    if (!is_text(vr) && vr != VR('P', 'N'))
        vr = action == DICORE_DEID_NAME ? VR('P', 'N') : VR('L', 'O');
    return put(w, l->item, e, vr, fresh, action);
}

/* Note what happens to entry `index`, which is no item; `*next` becomes the entry to go on with. */
static dicore_status change_entry(work *w, level *l, uint32_t index, uint32_t *next)
{
    const dicore_entry *e = &w->tape.entries[index];
    int sequence = e->flags & DICORE_ENTRY_SEQUENCE;
    uint16_t vr = vr_of(e);
    unsigned action;
    *next = e->next;
    if (!(e->tag & 0x10000))
        action = decide(w, l, e, vr);
    else if (l->mode != DUMMIES && private_stays(w, l, index))
        return DICORE_OK;
    else
        action = DICORE_DEID_REMOVE;
    if (action == DICORE_DEID_REMOVE) {
        dicore_change change = {.item = l->item, .tag = e->tag, .kind = DICORE_CHANGE_DELETE};
        TRY(sequence ? note_removed_inside(w, index + 1, e->next) : note_removed(w, index, vr));
        return add(w, change, action, e->depth);
    }
    if (sequence || vr == DICORE_VR_SQ) {
        if (action == DICORE_DEID_EMPTY && sequence)
            TRY(note_removed_inside(w, index + 1, e->next));
        if (action == DICORE_DEID_EMPTY)
            return e->length ? put(w, l->item, e, DICORE_VR_SQ, (dicore_span){0}, action) : DICORE_OK;
        if (sequence) { /* its elements, one by one */
            level *inner = &w->levels[e->depth + 1];
            inner->mode = action == DICORE_DEID_KEEP ? l->mode : action == DICORE_DEID_CLEAN ? CLEANING : DUMMIES;
            *next = index + 1;
        }
        return DICORE_OK;
    }
    if (e->length == 0)
        return DICORE_OK;
    if (action == DICORE_DEID_KEEP)
        return note_kept(w, l, index, vr);
    dicore_span value = value_at(w, index);
    if (action != DICORE_DEID_SHIFT && action != DICORE_DEID_UID)
        TRY(note_removed(w, index, vr));
    switch (action) {
    case DICORE_DEID_EMPTY: return put(w, l->item, e, dicore_vr_known(vr) ? vr : DICORE_VR_UN, (dicore_span){0}, action);
    case DICORE_DEID_UID: return put_uids(w, l, e, value);
    case DICORE_DEID_CLEAN: return is_text(vr) ? put_clean(w, l, e, vr, value) : put_dummy(w, l->item, e, vr);
    case DICORE_DEID_SHIFT: return put_shifted(w, l, e, vr, value);
    case DICORE_DEID_ID:
    case DICORE_DEID_NAME: return trimmed(value).size ? put_identifier(w, l, e, vr, value, action) : DICORE_OK;
    default: return vr == VR('U', 'I') ? put_uids(w, l, e, value) : put_dummy(w, l->item, e, vr);
    }
}

static dicore_status walk(work *w)
{
    const dicore_entry *entries = w->tape.entries;
    w->levels[0] = (level){.stop = w->tape.count};
    for (uint32_t i = 0; i < w->tape.count;) {
        const dicore_entry *e = &entries[i];
        level *l = &w->levels[e->depth];
        if (e->flags & DICORE_ENTRY_ITEM) {
            l->item = i;
            l->first = i + 1;
            l->stop = e->next;
            l->scheme = SCHEME_UNKNOWN;
            i++;
        } else {
            TRY(change_entry(w, l, i, &i));
        }
    }
    TRY(silence_echoes(w));
    for (size_t i = 0; i < w->how->constant_count; i++)
        TRY(add(w, w->how->constants[i], DICORE_DEID_ADD, 0));
    return DICORE_OK;
}

/* ---- the file ------------------------------------------------------------------------------------------------------- */

static const char *const NATIVE[4] = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"};

static dicore_span text(const char *s) { return (dicore_span){(const uint8_t *)s, strlen(s)}; }

static int burned_in(const work *w)
{
    dicore_span value = top_value(w, 0x00280301);
    return same(value, text("YES")) ? 1 : same(value, text("NO")) ? 0 : -1;
}

/* Does the data set deviate from the standard, or change its encoding on the way? Then it is written element by element, so that
 * the new file says what was understood. (UN of undefined length is implicit VR inside, PS3.5 6.2.2.) */
static int is_ugly(const work *w)
{
    uint32_t un_stop = 0;
    for (uint32_t i = 0; i < w->tape.count; i++) {
        const dicore_entry *e = &w->tape.entries[i];
        if (e->flags & DICORE_ENTRY_DEVIATES || (i >= un_stop && (e->flags & DICORE_ENTRY_ENCODING) != (unsigned)w->encoding))
            return 1;
        if (e->vr == DICORE_VR_UN && e->flags & DICORE_ENTRY_SEQUENCE && e->next > un_stop)
            un_stop = e->next;
    }
    return 0;
}

static dicore_status write_meta(work *w, const dicore_part10 *part, dicore_span syntax)
{
    dicore_span class = top_value(w, 0x00080016), instance = top_value(w, 0x00080018);
    uint8_t uid[64];
    int found;
    class = class.size ? class : part->sop_class;
    instance = instance.size ? instance : part->sop_instance;
    if (!class.size || !instance.size || class.size > 64)
        return dicore_fail(w->error, DICORE_BAD_META, part->meta_offset, class.size ? 0x00080018 : 0x00080016);
    if (rule_of(w->how, 0x00080018, &found) != DICORE_DEID_KEEP || !found)
        instance = (dicore_span){uid, dicore_deid_uid(w->how->key, instance, uid)};
    dicore_status status = dicore_part10_write_meta(w->meta, sizeof w->meta, &w->meta_size, class, instance, syntax,
                                                    w->how->implementation, w->how->version_name, (dicore_span){0});
    return status == DICORE_OK ? status : dicore_fail(w->error, status, 0, 0x00020003);
}

static dicore_status read_all(work *w, const uint8_t *data, size_t size, dicore_span syntax, dicore_part10 *part)
{
    static const dicore_read_options lenient = {0};
    w->data = data;
    w->size = size;
    if (syntax.size) {
        int deflated = 0;
        *part = (dicore_part10){.transfer_syntax = syntax, .meta_encoding = DICORE_EXPLICIT_LE};
        part->encoding = (uint8_t)dicore_syntax_encoding(syntax.data, syntax.size, &deflated);
        part->deflated = (uint8_t)deflated;
    } else {
        TRY(dicore_part10_parse(data, size, &lenient, part, w->error));
    }
    w->start = part->dataset_offset;
    w->encoding = (dicore_encoding)part->encoding;
    if (part->deflated) {
        size_t inflated_size;
        TRY(dicore_inflate(data + w->start, size - (size_t)w->start, NULL, &lenient, w->allocator, &w->inflated, &inflated_size,
                           &w->inflated_capacity, w->error));
        w->data = w->inflated;
        w->size = inflated_size;
        w->start = 0;
    }
    return dicore_tape_read(&w->tape, w->data, w->size, w->start, w->encoding, &lenient, w->allocator, w->error);
}

static dicore_status plan_file(work *w, const uint8_t *data, size_t size, dicore_span syntax, dicore_span patient,
                               dicore_span name)
{
    dicore_part10 part;
    TRY(read_all(w, data, size, syntax, &part));
    if (dicore_tape_find(&w->tape, 0, w->tape.count, 0x00041220) != DICORE_NO_ENTRY) /* Directory Record Sequence */
        return dicore_fail(w->error, DICORE_BAD_SYNTAX, w->start, 0x00041220);
    w->patient = top_value(w, 0x00100020);
    dicore_span person = w->patient;
    if (!person.size)
        person = top_value(w, 0x00100010);
    if (!person.size)
        person = top_value(w, 0x0020000D); /* Study Instance UID */
    dicore_deid_pseudonym(w->how->key, person, w->pseudonym);
    w->new_patient = patient.size ? patient : (dicore_span){w->pseudonym, sizeof w->pseudonym};
    w->new_name = name.size ? name : w->new_patient;
    w->days = dicore_deid_days(w->how->key, person);
    TRY(walk(w));

    /* what the file says it is in, unless it is not */
    dicore_edit_options options = {0};
    dicore_span to = part.transfer_syntax;
    int deflated = 0;
    if (part.deflated) {
        to = text(NATIVE[DICORE_EXPLICIT_LE]);
    } else if (!to.size || part.guessed) {
        to = text(NATIVE[w->encoding & 3]);
    } else if (dicore_syntax_encoding(to.data, to.size, &deflated) != w->encoding) {
        int native = 0;
        for (unsigned i = 0; i < 4; i++)
            native |= same(to, text(NATIVE[i]));
        if (native) {
            to = text(NATIVE[w->encoding & 3]);
        } else { /* compressed pixels in a data set that is not explicit VR little endian (PS3.5 A.4) */
            options.reencode = 1;
            options.encoding = DICORE_EXPLICIT_LE;
        }
    }
    if (!options.reencode && is_ugly(w)) {
        options.reencode = 1;
        options.encoding = (uint8_t)w->encoding;
    }
    TRY(write_meta(w, &part, to));
    return dicore_edit_plan(&w->plan, &w->tape, w->data, w->size, w->encoding, w->changes, w->count, &options, w->allocator,
                            w->error);
}

static void drop(work *w)
{
    const dicore_allocator *a = w->allocator;
    dicore_plan_free(&w->plan, a);
    for (block *b = w->memory, *before; b; b = before) {
        before = b->before;
        give_back(a, b, sizeof(block) + b->size);
    }
    give_back(a, w->changes, w->room * sizeof(dicore_change));
    give_back(a, w->log, w->log_room * sizeof(dicore_deid_entry));
    give_back(a, w->gone, w->gone_room * sizeof(uint64_t));
    give_back(a, w->kept, w->kept_room * sizeof(place));
    give_back(a, w->forbidden, WORDS_MAX * sizeof(uint64_t));
    give_back(a, w->inflated, w->inflated_capacity);
    dicore_tape_free(&w->tape, a);
    give_back(a, w, sizeof *w);
}

dicore_status dicore_deidentify_plan(const dicore_deidentifier *how, const uint8_t *data, size_t size, dicore_span transfer_syntax,
                                     dicore_span patient, dicore_span name, const dicore_allocator *allocator,
                                     dicore_deidentified *out, dicore_error *error)
{
    if (!how || !allocator || !out || (size && !data) || (how->word_slots & (how->word_slots - 1)))
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    work *w = get_memory(allocator, sizeof *w);
    if (!w)
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    memset(w, 0, offsetof(work, creators)); /* the rest is set before it is read */
    w->creators_item = w->creators_group = 0;
    w->plan = (dicore_plan){0};
    w->how = how;
    w->allocator = allocator;
    w->error = error;
    dicore_status status = plan_file(w, data, size, transfer_syntax, patient, name);
    if (status != DICORE_OK) {
        drop(w);
        return status;
    }
    *out = (dicore_deidentified){.size = w->meta_size + w->plan.size, .log = w->log, .log_count = w->count,
                                 .burned_in = burned_in(w), .deflated = w->inflated != NULL, .state = w};
    w->error = NULL;
    return DICORE_OK;
}

dicore_status dicore_deidentify_emit(const dicore_deidentified *planned, uint8_t *out, size_t capacity)
{
    const work *w = planned->state;
    if (planned->size > capacity)
        return DICORE_NO_MEMORY;
    memcpy(out, w->meta, w->meta_size);
    return dicore_plan_emit(&w->plan, out + w->meta_size, capacity - w->meta_size);
}

void dicore_deidentify_free(dicore_deidentified *planned, const dicore_allocator *allocator)
{
    work *w = planned->state;
    if (w) {
        w->allocator = allocator;
        drop(w);
    }
    *planned = (dicore_deidentified){0};
}
