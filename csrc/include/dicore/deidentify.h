/* dicore/deidentify.h: a DICOM file without its identities (PS3.15 annex E), in one pass over the tape.
 *
 * A dicore_deidentifier says what to do: an action per tag (table E.1-1 with the options applied is data of the caller's), the
 * elements to set, a key. dicore_deidentify_plan goes once over every element, nested ones included, notes what changes, and
 * hands that to the splice of dataset.h; dicore_deidentify_emit writes the new file: zeroed preamble, group 0002 made anew,
 * the spliced data set.
 *
 * What replaces an identity is a keyed hash of it (BLAKE2s, RFC 7693, with the key; one domain each for UIDs, patients and
 * dates): whoever has the same key gives the same UID the same new UID, in every file, process and order, and there is no
 * table to keep. Without the key nothing can be tried out against it. The key must be secret and random. */
#ifndef DICORE_DEIDENTIFY_H
#define DICORE_DEIDENTIFY_H

#include "dicore/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What happens to an element. */
typedef enum dicore_deid_action {
    DICORE_DEID_KEEP = 0,   /* as it is; of a sequence, its elements are looked at one by one */
    DICORE_DEID_REMOVE = 1,
    DICORE_DEID_EMPTY = 2,  /* length 0 */
    DICORE_DEID_DUMMY = 3,  /* the constant of its VR (dicore_deid_dummy); of a sequence every element in it, however deep, so
                               that its structure stays and no value does; UIDs as DICORE_DEID_UID */
    DICORE_DEID_UID = 4,    /* each value by the hash: 2.25.<uint128>; those of DICOM (1.2.840.10008.) stay */
    DICORE_DEID_CLEAN = 5,  /* text: words of the vocabulary stay; in a sequence: of all text in it that has no rule */
    DICORE_DEID_SHIFT = 6,  /* DA, DT: by the days of the patient; TM: stays. What is no date: DICORE_DEID_DUMMY */
    DICORE_DEID_ID = 7,     /* the patient's pseudonym; another identifier than the data set's patient gets its own */
    DICORE_DEID_NAME = 8,   /* the name that goes with the pseudonym */
    DICORE_DEID_ADD = 9,    /* only in the log: a constant that was set */
    DICORE_DEID_ACTIONS
} dicore_deid_action;

typedef struct dicore_deid_rule {
    uint32_t tag;
    uint32_t action; /* dicore_deid_action */
} dicore_deid_rule;

typedef struct dicore_deid_private { /* a private element that may stay */
    uint32_t tag;                    /* with 00 for the block: 0x00190027 */
    dicore_span creator;
} dicore_deid_private;

/** What to do. Everything that it points to must outlive its use; it is only read, so threads may share it. */
typedef struct dicore_deidentifier {
    const dicore_deid_rule *rules; /* ascending by tag, public tags only */
    size_t rule_count;
    const dicore_deid_private *safe; /* private elements to keep; all others are removed */
    size_t safe_count;
    const uint64_t *words; /* DICORE_DEID_CLEAN: hashes of the vocabulary (dicore_deid_word_hash), open addressing with linear */
    size_t word_slots;     /* probing, 0 is a free slot; a power of 2 with at least one slot free, or 0 */
    const dicore_change *constants; /* elements to set at the top level, ascending by tag */
    size_t constant_count;
    dicore_span implementation; /* (0002,0012) and (0002,0013) of the new file */
    dicore_span version_name;
    uint8_t curves;           /* dicore_deid_action of (50xx,xxxx) */
    uint8_t overlay_data;     /* of (60xx,3000) */
    uint8_t overlay_comments; /* of (60xx,4000) */
    uint8_t dates;            /* of DA, DT, TM elements without a rule */
    uint8_t uids;             /* of UI elements without a rule */
    uint8_t names;            /* of PN elements without a rule */
    uint8_t links;            /* of UR elements without a rule */
    uint8_t key[32];
} dicore_deidentifier;

typedef struct dicore_deid_entry { /* of the log: an element that was changed */
    uint32_t tag;
    uint8_t action; /* dicore_deid_action as carried out */
    uint8_t depth;  /* number of sequences around */
    uint16_t reserved;
} dicore_deid_entry;

/** A planned new file. `size` bytes; `log` is valid until dicore_deidentify_free. */
typedef struct dicore_deidentified {
    uint64_t size;
    const dicore_deid_entry *log;
    size_t log_count;
    int burned_in; /* Burned In Annotation (0028,0301) of the original: 1 YES, 0 NO, -1 neither */
    int deflated;  /* 1: the original was deflated; the new file is explicit VR little endian */
    void *state;   /* internal */
} dicore_deidentified;

/** Plan the de-identified form of a Part 10 file (or, with `transfer_syntax` of size > 0, of a bare data set in that syntax;
 *  the result is a Part 10 file in any case). `data` must outlive the plan.
 *
 *  `patient` / `name`: what to put for the patient's identifier and name; size 0: a keyed pseudonym (16 letters and digits).
 *
 *  Text (LO SH ST LT UT UC) that no rule names stays, unless it repeats what goes elsewhere in the same data set: a whole value
 *  of at least 4 characters, or a word of at least 3 of a person's name or a patient's identifier, whatever the case of its
 *  letters. Then it becomes the constant of its VR. Manufacturer, model name and codes of public schemes are exempt.
 *
 *  Removed in any case: private elements that are not `safe`, public elements that the dictionary does not know, group lengths,
 *  groups 0000 and 0002 in the data set, what stands behind its end. Refused: a DICOMDIR, whose records point to byte offsets.
 *  @return DICORE_OK, what dicore_part10_parse, dicore_inflate, dicore_tape_read (leniently), dicore_edit_plan and
 *          dicore_part10_write_meta return, DICORE_BAD_SYNTAX (a DICOMDIR), DICORE_BAD_META (no SOP class or instance UID). */
DICORE_API dicore_status dicore_deidentify_plan(const dicore_deidentifier *how, const uint8_t *data, size_t size,
                                                dicore_span transfer_syntax, dicore_span patient, dicore_span name,
                                                const dicore_allocator *allocator, dicore_deidentified *out,
                                                dicore_error *error);

/** Write the new file: out->size bytes. @return DICORE_OK, DICORE_NO_MEMORY (`capacity` too small). */
DICORE_API dicore_status dicore_deidentify_emit(const dicore_deidentified *planned, uint8_t *out, size_t capacity);

DICORE_API void dicore_deidentify_free(dicore_deidentified *planned, const dicore_allocator *allocator);

#define DICORE_DEID_UID_MAX 44u /* "2.25." and 39 digits */
#define DICORE_DEID_PSEUDONYM 16u

/** The new UID of one UID (without padding), as text without a NUL; its size. Empty stays empty, DICOM's own stay (up to 64
 *  bytes are copied). `out` has room for 64 bytes. */
DICORE_API size_t dicore_deid_uid(const uint8_t key[32], dicore_span uid, uint8_t *out);

/** The pseudonym of an identifier: DICORE_DEID_PSEUDONYM letters and digits at `out`. */
DICORE_API void dicore_deid_pseudonym(const uint8_t key[32], dicore_span identifier, uint8_t *out);

/** By how many days the dates of a patient move: -366 to -4018 (one to eleven years back). */
DICORE_API int dicore_deid_days(const uint8_t key[32], dicore_span identifier);

/** Move a DA or DT value (several with backslashes) by `days`: `*out_size` bytes at `out` (room for `size`). Partial DT values
 *  move as if they were the middle of what they name. @return DICORE_OK, DICORE_BAD_ARGUMENT (not a date). */
DICORE_API dicore_status dicore_deid_shift(uint16_t vr, const uint8_t *data, size_t size, int days, uint8_t *out,
                                           size_t *out_size);

/** The hash of a word for dicore_deidentifier.words: of its ASCII letters in lower case; never 0. */
DICORE_API uint64_t dicore_deid_word_hash(const uint8_t *word, size_t size);

/** The constant that replaces a value of `vr`, as explicit VR little endian has it; size 0 for VRs without one (SQ). Of
 *  numbers it is one zero; the pass writes as many as there were, up to 32 (64 bytes). */
DICORE_API dicore_span dicore_deid_dummy(uint16_t vr);

#ifdef __cplusplus
}
#endif
#endif
