/* dicore/dataset.h: bytes to elements, and back.
 *
 * One function reads an element header (dicore_read_element_header). Three loops stand on it:
 *   walk    a cursor over every element, nested ones included, in file order;
 *   select  a few wanted tags of the top level -> where their values are; stops beyond the last one;
 *   tape    a flat array of 32-byte entries for the whole data set, each with the index of its next sibling.
 * All are one pass, without recursion, without allocation per element, never past the span, never trusting a length.
 *
 * The contract is the standard; then the numbered deviations below, which real files need. Leniently each is handled as its
 * comment says and noted; strictly the first one met is DICORE_DEVIATION, with `offset`, `tag`, `depth` and the number in
 * `detail` of the dicore_error. */
#ifndef DICORE_DATASET_H
#define DICORE_DATASET_H

#include <stdbool.h>

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- encodings, VRs, tags ------------------------------------------------------------------------------------------- */

/** How elements are encoded (PS3.5 7.1, 7.3). Bit 0: explicit VR, bit 1: big endian. No transfer syntax is implicit big
 *  endian; it is met as a single element that lacks its VR in a big endian data set. */
typedef enum dicore_encoding {
    DICORE_IMPLICIT_LE = 0,
    DICORE_EXPLICIT_LE = 1,
    DICORE_IMPLICIT_BE = 2,
    DICORE_EXPLICIT_BE = 3
} dicore_encoding;

#define DICORE_UNDEFINED_LENGTH 0xFFFFFFFFu /* PS3.5 7.1.1: a delimitation item ends the value */

#define DICORE_TAG_ITEM 0xFFFEE000u          /* PS3.5 7.5 */
#define DICORE_TAG_ITEM_END 0xFFFEE00Du      /* Item Delimitation Item */
#define DICORE_TAG_SEQUENCE_END 0xFFFEE0DDu  /* Sequence Delimitation Item */
#define DICORE_TAG_PIXEL_DATA 0x7FE00010u

/** A VR as a number: its two letters, the first one high: DICORE_VR('P', 'N'). 0 is no VR. */
#define DICORE_VR(a, b) ((uint16_t)((unsigned)(a) << 8 | (unsigned)(b)))
#define DICORE_VR_SQ 0x5351u
#define DICORE_VR_UN 0x554Eu
#define DICORE_VR_OB 0x4F42u
#define DICORE_VR_OW 0x4F57u

/** 1 when `vr` is one of the 34 VRs of PS3.5 table 6.2-1, else 0. */
DICORE_API int dicore_vr_known(uint16_t vr);
/** 1 when `vr` has the short explicit header: 8 bytes with a 16-bit length (PS3.5 table 7.1-2), else 0. */
DICORE_API int dicore_vr_short(uint16_t vr);

/* ---- element headers ------------------------------------------------------------------------------------------------ */

typedef struct dicore_element_header { /* PS3.5 7.1; the value follows and is not copied */
    uint32_t tag;                      /* group << 16 | element */
    uint32_t length;                   /* of the value; DICORE_UNDEFINED_LENGTH: a delimitation item ends it */
    uint16_t vr;                       /* 'C' << 8 | 'S'; 0: item, delimiter, or implicit VR, which have none */
    uint8_t size;                      /* of this header: 8 or 12 */
} dicore_element_header;

/** Read the element header at `data`, which is in `encoding`. Reads at most `size` bytes. Items and delimiters have no VR
 *  in any encoding (PS3.5 7.5). A VR of two capitals that the standard does not know is read in the long form (6.2).
 *  @return DICORE_OK, DICORE_TRUNCATED (needs more bytes: 8, or 12 for the long form),
 *          DICORE_BAD_VR (explicit VR, and not two capitals), DICORE_BAD_ARGUMENT (no such encoding). */
DICORE_API dicore_status dicore_read_element_header(const uint8_t *data, size_t size, dicore_encoding encoding,
                                                    dicore_element_header *out);

/** Write the header of an element in `encoding` at `out` (12 bytes always suffice); `*size` becomes 8 or 12. `vr` is not
 *  looked at for items, delimiters and implicit VR. A length above 65,534 of a short-form VR is written as UN in the long
 *  form, as PS3.5 6.2.2 note 2 asks.
 *  @return DICORE_OK, DICORE_NO_MEMORY (`capacity` too small), DICORE_BAD_VR (explicit VR, not two capitals). */
DICORE_API dicore_status dicore_write_element_header(uint8_t *out, size_t capacity, dicore_encoding encoding, uint32_t tag,
                                                     uint16_t vr, uint32_t length, size_t *size);

/* ---- deviations ----------------------------------------------------------------------------------------------------- */

/** What real files do against the standard, and what reading leniently makes of it. Numbers are stable. */
typedef enum dicore_deviation_code {
    DICORE_DEV_NONE = 0,
    DICORE_DEV_NO_PREAMBLE = 1,          /* no "DICM" at 128: the file begins with group 0002 or with the data set */
    DICORE_DEV_NO_FILE_META = 2,         /* no group 0002: the encoding is guessed from the first elements */
    DICORE_DEV_NO_TRANSFER_SYNTAX = 3,   /* group 0002 without (0002,0010): guessed likewise */
    DICORE_DEV_WRONG_TRANSFER_SYNTAX = 4,/* the data set is in another encoding than declared: read as it is */
    DICORE_DEV_IMPLICIT_META = 5,        /* group 0002 in implicit VR (must be explicit, PS3.10 7.1) */
    DICORE_DEV_META_LENGTH = 6,          /* (0002,0000) missing or wrong: group 0002 ends where the group changes */
    DICORE_DEV_UNKNOWN_VR = 7,           /* two capitals of no known VR: long form (PS3.5 6.2); when its reserved bytes are
                                            not zero, short form */
    DICORE_DEV_IMPLICIT_ELEMENT = 8,     /* an element or item without VRs in an explicit data set: read as implicit */
    DICORE_DEV_EXPLICIT_ELEMENT = 9,     /* an item in explicit VR in an implicit data set: read as explicit */
    DICORE_DEV_ODD_LENGTH = 10,          /* an odd value length: taken as it is */
    DICORE_DEV_ORDER = 11,               /* a tag smaller than the one before: kept where it is */
    DICORE_DEV_TWICE = 12,               /* a tag equal to the one before: both kept, the last one counts */
    DICORE_DEV_TRAILING_PADDING = 13,    /* zero bytes, or fewer bytes than a header, after the last element: ignored */
    DICORE_DEV_MISSING_DELIMITER = 14,   /* an undefined length that nothing ends: it ends with what surrounds it */
    DICORE_DEV_UNDEFINED_LENGTH = 15,    /* FFFFFFFF where the standard has no undefined length (OB/OW outside Pixel Data,
                                            other VRs): ends at the sequence delimiter; raw is what stands before it */
    DICORE_DEV_NO_PRIVATE_CREATOR = 16,  /* a private element whose block nobody reserved: its VR stays as stored */
    DICORE_DEV_VALUE_TRUNCATED = 17,     /* the input ends inside a value: kept as far as it goes (flag TRUNCATED) */
    DICORE_DEV_STRAY_DELIMITER = 18,     /* an item or delimiter where none belongs: skipped */
    DICORE_DEV_BAD_ITEM = 19,            /* something else than an item in a sequence: the sequence ends here */
    DICORE_DEV_ITEM_LENGTH = 20,         /* an element longer than the item or sequence around it: these are stretched when
                                            the next enclosing one allows it, else the element is cut */
    DICORE_DEV_HEADER_TRUNCATED = 21,    /* the input ends inside a header: that element is dropped */
    DICORE_DEV_DEFLATE_TRUNCATED = 22,   /* a deflate stream without its end: kept as far as it goes */
    DICORE_DEV_FRAGMENTS = 23,           /* encapsulated data whose items do not chain up: the delimiter is searched for */
    DICORE_DEV_DELIMITER_LENGTH = 24,    /* a delimiter with a length other than 0: the length is ignored */
    DICORE_DEV_UN_ENCODING = 25,         /* a UN of undefined length whose items are not implicit VR little endian
                                            (PS3.5 6.2.2): read as they are */
    DICORE_DEV_COUNT                     /* one more than the last number */
} dicore_deviation_code;

typedef struct dicore_deviation {
    uint32_t code;   /* dicore_deviation_code */
    uint32_t tag;    /* the element, 0 when there is none */
    uint64_t offset; /* where, in bytes from `data` */
} dicore_deviation;

/** The caller's list of deviations. Beyond `capacity` they are counted and not kept. */
typedef struct dicore_deviations {
    dicore_deviation *items;
    uint32_t capacity;
    uint32_t count; /* of all met so far: may exceed `capacity`; set to 0 to begin */
} dicore_deviations;

/** The deviation as a short name ("odd-length"): what a warning code is made of. Never NULL. */
DICORE_API const char *dicore_deviation_name(uint32_t code);
/** The deviation as an English phrase without a full stop. Never NULL. */
DICORE_API const char *dicore_deviation_text(uint32_t code);

/** A private element that the caller knows (PS3.5 7.8): how it is read where the file says UN or nothing. */
typedef struct dicore_private_entry {
    const char *creator; /* without padding, ends with NUL */
    uint32_t tag;        /* group << 16 | the last two digits of the element: the block is not part of it */
    uint16_t vr;
} dicore_private_entry;

/** Private elements in ascending order of their tags. The caller's memory; goes before the built-in private dictionary. */
typedef struct dicore_private_dictionary {
    const dicore_private_entry *entries;
    size_t count;
} dicore_private_dictionary;

/** How to read. All zero (or a NULL pointer) is: lenient, depth 64, the input is whole, deviations are not kept. */
typedef struct dicore_read_options {
    uint8_t strict;                /* 1: the first deviation is DICORE_DEVIATION */
    uint8_t partial;               /* 1: the bytes are the beginning of a longer input. Meeting their end is DICORE_TRUNCATED, and
                                      error.offset (select: *position) is how many bytes are needed at least to go on.
                                      The last value given may then reach beyond the bytes: compare offset + length */
    uint8_t depth_limit;           /* sequences nested deeper are DICORE_TOO_DEEP; 0: DICORE_DEPTH_DEFAULT */
    dicore_deviations *deviations; /* filled when not NULL */
    uint64_t total;                /* with `partial`: size of the whole input, 0 when it is not known. dicore_part10_parse
                                      then says of a beginning what it says of the whole */
    uint64_t chain_value;          /* not 0: the fragments whose value stands at this offset were followed already, and their */
    uint64_t chain_end;            /* delimiter stands here. Their item headers are not read, so they need not be in memory */
    const dicore_private_dictionary *private_dictionary; /* NULL: only the built-in one */
} dicore_read_options;

#define DICORE_DEPTH_DEFAULT 64u
#define DICORE_DEPTH_MAX 128u /* a larger depth_limit means this one */

/* ---- walk ----------------------------------------------------------------------------------------------------------- */

/** Flags of a dicore_entry. The lowest two bits are the dicore_encoding it was read in, which may change from item to item. */
#define DICORE_ENTRY_ENCODING 0x0003u   /* mask */
#define DICORE_ENTRY_EXPLICIT 0x0001u
#define DICORE_ENTRY_BIG_ENDIAN 0x0002u
#define DICORE_ENTRY_ITEM 0x0004u       /* an item of a sequence: tag FFFE,E000; its children are elements */
#define DICORE_ENTRY_SEQUENCE 0x0008u   /* its children are items: SQ, UN of undefined length, or SQ by the dictionaries */
#define DICORE_ENTRY_UNDEFINED 0x0010u  /* the stored length is FFFFFFFF */
#define DICORE_ENTRY_DELIMITED 0x0020u  /* the 8 bytes after the value are its delimiter (known when the value ended) */
#define DICORE_ENTRY_FRAGMENTS 0x0040u  /* undefined length and not a sequence: the value is the items as stored (basic offset
                                           table first), without the delimiter */
#define DICORE_ENTRY_TRUNCATED 0x0080u  /* the value is shorter than its length says: the input ended */
#define DICORE_ENTRY_DEVIATES 0x0100u   /* a deviation was noted at this very element */

/** One element or item. The value stands at `offset + header`, and has `length` bytes that are really there. */
typedef struct dicore_entry {
    uint64_t offset;   /* of the header, from `data` */
    uint64_t length;   /* of the value without delimiter. walk: DICORE_UNDEFINED_LENGTH for a sequence or an item of undefined
                          length, since it is not known yet; the tape has the true number */
    uint32_t tag;
    uint32_t next;     /* tape: index of the next sibling (= one past the last descendant); walk: 0 */
    uint16_t vr;       /* as stored; 0 when there is none (implicit VR, items) */
    uint16_t flags;    /* DICORE_ENTRY_... */
    uint8_t header;    /* size of the header: 8 or 12 */
    uint8_t depth;     /* number of sequences around: 0 at the top; an item has that of the elements in it */
    uint16_t reserved; /* 0 */
} dicore_entry;

typedef struct dicore_walk_frame { /* one sequence that is being read, and its current item */
    uint64_t sequence_end;         /* no byte of the sequence is at or beyond this */
    uint64_t item_end;
    uint64_t hard_end;             /* how far a wrong item length may be stretched */
    uint64_t creators;             /* 1 + offset of the first private creator of the current private group, 0: none */
    uint32_t last_tag;             /* of the element before, for order */
    uint32_t block;                /* private block that was found reserved: group << 16 | block */
    uint32_t sequence_entry;       /* tape indexes */
    uint32_t item_entry;
    uint8_t encoding;              /* of the elements of the current item */
    uint8_t items_encoding;        /* of the item headers, and what items start from */
    uint8_t flags;                 /* internal */
    uint8_t reserved;
} dicore_walk_frame;

/** The cursor. Opaque in spirit: fields are for reading at most. It keeps `data`; nothing to free. */
typedef struct dicore_walk {
    const uint8_t *data;
    uint64_t size;
    uint64_t position; /* of the next header */
    dicore_read_options options;
    uint32_t depth;
    uint32_t noted;            /* the rest is internal */
    struct dicore_tape *tape;
    uint64_t closed_length;    /* of the last sequence of undefined length that ended at the top level */
    uint64_t nonzero;          /* a byte that is not zero, found while looking for padding: not searched twice */
    uint64_t broken_fragments; /* end of the last chain of fragments that broke: not followed twice */
    uint32_t closed_delimited;
    uint32_t stop;             /* select: no tag beyond this one is wanted */
    dicore_walk_frame frames[DICORE_DEPTH_MAX + 1];
} dicore_walk;

/** Begin to walk the data set in `encoding` that stands at data[start .. size). Offsets are counted from `data`.
 *  `data` must outlive the walk. @return DICORE_OK, DICORE_BAD_ARGUMENT (start > size, no such encoding). */
DICORE_API dicore_status dicore_walk_begin(dicore_walk *walk, const uint8_t *data, size_t size, uint64_t start,
                                           dicore_encoding encoding, const dicore_read_options *options);

/** The next element or item in file order: a sequence, then its items, each followed by its elements. Delimiters are not
 *  given. After a status other than DICORE_OK the walk is over.
 *  @return DICORE_OK, DICORE_END (the regular end), DICORE_TRUNCATED (options.partial: needs more bytes), DICORE_TOO_DEEP, DICORE_DEVIATION (strict). */
DICORE_API dicore_status dicore_walk_next(dicore_walk *walk, dicore_entry *out, dicore_error *error);

/** As many as there is room for in out[0 .. capacity), the same ones; faster than one by one, some 32 at a time are enough.
 *  `*count` of them are there whatever the status: DICORE_OK (capacity reached), or why no further one came. */
DICORE_API dicore_status dicore_walk_some(dicore_walk *walk, dicore_entry *out, size_t capacity, size_t *count,
                                          dicore_error *error);

/* ---- select --------------------------------------------------------------------------------------------------------- */

/** Where a wanted element is. Not found: flags 0, offset 0, length 0. */
typedef struct dicore_selected {
    uint64_t offset; /* of the value, from `data` */
    uint64_t length; /* of the value, without delimiter; of a sequence its items as stored */
    uint32_t tag;
    uint16_t vr;     /* as stored, 0 when there is none */
    uint16_t flags;  /* DICORE_ENTRY_... and DICORE_SELECTED */
} dicore_selected;

#define DICORE_SELECTED 0x8000u /* this tag was found */

/** Find `count` tags (strictly ascending) among the top-level elements of the data set at data[start .. size); out[i]
 *  answers tags[i]. Stops when the last wanted tag is found or passed. A tag that comes twice: the last one counts (of the
 *  last wanted tag: if it follows at once, and is among the bytes). `out` is always written as far as the search came,
 *  `*position` is where it stopped.
 *
 *  With options.partial the bytes are a prefix: DICORE_TRUNCATED says that the search cannot go on without `*position` bytes
 *  (always more than `size`); then call again from the beginning, it is one pass of some hundred nanoseconds. The values that
 *  were found may lie beyond `size`, in any case: compare offset + length.
 *  @return DICORE_OK, DICORE_TRUNCATED (partial only), DICORE_TOO_DEEP, DICORE_DEVIATION (strict), DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_select(const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding,
                                       const dicore_read_options *options, const uint32_t *tags, size_t count,
                                       dicore_selected *out, uint64_t *position, dicore_error *error);

/* ---- tape ----------------------------------------------------------------------------------------------------------- */

/** A whole data set as an array. Children of entries[i] are entries[i + 1 .. entries[i].next); the next sibling of i is
 *  entries[i].next. Memory grows with the elements that arrived, never by the word of a length. */
typedef struct dicore_tape {
    dicore_entry *entries;
    uint32_t count;
    uint32_t capacity;
    uint64_t end; /* offset of the first byte that was not read: the size of the input, or where padding begins */
} dicore_tape;

/** Read the data set in `encoding` at data[start .. size) into `tape`. tape->entries/capacity are the caller's memory
 *  (NULL/0 to begin with nothing); when it does not suffice it is grown with `allocator`, which must then be the one it came
 *  from; with `allocator` NULL it is DICORE_NO_MEMORY, and tape->count says how many entries were written.
 *  On any status the tape holds what was read so far (`next` and `length` of unfinished sequences closed), so it can be freed.
 *  @return DICORE_OK, DICORE_TRUNCATED (partial only), DICORE_TOO_DEEP, DICORE_DEVIATION (strict), DICORE_NO_MEMORY,
 *          DICORE_LIMIT (more than 2^32 - 2 elements), DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_tape_read(dicore_tape *tape, const uint8_t *data, size_t size, uint64_t start,
                                          dicore_encoding encoding, const dicore_read_options *options,
                                          const dicore_allocator *allocator, dicore_error *error);

/** Give the memory of `tape` back to `allocator` and set it to zero. */
DICORE_API void dicore_tape_free(dicore_tape *tape, const dicore_allocator *allocator);

#define DICORE_NO_ENTRY 0xFFFFFFFFu

/** Index of the element `tag` among the siblings entries[first .. end) (the children of i: i + 1, entries[i].next; the top
 *  level: 0, count); the last one when it comes twice; DICORE_NO_ENTRY when there is none. */
DICORE_API uint32_t dicore_tape_find(const dicore_tape *tape, uint32_t first, uint32_t end, uint32_t tag);

/** The private creator that reserved the block of the private element `tag` among the siblings [first, end) (PS3.5 7.8.1),
 *  without padding; empty when `tag` is not private or nobody did. Points into `data`. */
DICORE_API dicore_span dicore_tape_creator(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first,
                                           uint32_t end, uint32_t tag);

/** The VR to read entry `index` by, one of the siblings [first, end): the stored one, except where that is UN or absent: then
 *  SQ if it was read as a sequence, else the public and private dictionaries decide as pydicom does (a public UN of 65,535
 *  bytes or more stays UN). Where the dictionary names several, as pydicom 3: US or SS by the Pixel Representation among the
 *  siblings, else by `pixel_representation` (what the data sets around say: 0, 1; -1: nothing, which gives US); Pixel Data of
 *  undefined length OB; OB or OW in implicit VR OW, in explicit VR by Bits Allocated; LUT Data by its descriptor. Unknown: UN.
 *  SQ without DICORE_ENTRY_SEQUENCE in the flags is a sequence without items. */
DICORE_API uint16_t dicore_tape_vr(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first, uint32_t end,
                                   uint32_t index, int pixel_representation);

/* ---- Part 10 -------------------------------------------------------------------------------------------------------- */

/** What stands before a data set. Spans point into the bytes that were parsed, padding trimmed; size 0 when absent. */
typedef struct dicore_part10 {
    uint64_t meta_offset;    /* of group 0002: 132, or 0 without preamble */
    uint64_t meta_size;      /* 0: there is none */
    uint64_t dataset_offset; /* of the data set, or of the deflate stream */
    uint8_t has_preamble;
    uint8_t meta_encoding;   /* dicore_encoding of group 0002: DICORE_EXPLICIT_LE, or DICORE_IMPLICIT_LE leniently */
    uint8_t encoding;        /* dicore_encoding of the data set as it really is (of the inflated bytes when deflated) */
    uint8_t deflated;        /* inflate data[dataset_offset..] first (dicore_inflate); the tape is then over the result */
    uint8_t guessed;         /* 1: no (0002,0010), `encoding` is a guess */
    dicore_span sop_class;        /* (0002,0002) */
    dicore_span sop_instance;     /* (0002,0003) */
    dicore_span transfer_syntax;  /* (0002,0010) */
    dicore_span implementation;   /* (0002,0012) */
    dicore_span version_name;     /* (0002,0013) */
    dicore_span source_ae;        /* (0002,0016) */
} dicore_part10;

/** Find the parts of a DICOM file (PS3.10 7.1). `data` may be a prefix of the file: with options.partial, running into its end
 *  is DICORE_TRUNCATED ("give me more"). The elements of group 0002 are read like any others: dicore_tape_read over
 *  [meta_offset, meta_offset + meta_size) in meta_encoding.
 *  @return DICORE_OK, DICORE_TRUNCATED (partial), DICORE_NOT_DICOM (neither preamble, group 0002 nor anything that reads
 *          as the beginning of a data set), DICORE_BAD_META (group 0002 is damaged), DICORE_DEVIATION (strict). */
DICORE_API dicore_status dicore_part10_parse(const uint8_t *data, size_t size, const dicore_read_options *options,
                                             dicore_part10 *out, dicore_error *error);

/** The encoding that a transfer syntax UID (without padding) stands for; `*deflated` 1 for the deflated ones. Unknown UIDs are
 *  DICORE_EXPLICIT_LE, as every syntax since 1993 (PS3.5 A.4). */
DICORE_API dicore_encoding dicore_syntax_encoding(const uint8_t *uid, size_t size, int *deflated);

/** Can this stand as a UID in what we say: 1 to 64 printable characters without space and backslash. PS3.5 9.1 has digits and dots
 *  alone, but files whose UIDs an anonymiser has replaced are worth keeping; a UID is a name here, never a path. */
DICORE_API bool dicore_uid_usable(dicore_span uid);

/** What a C-STORE says of a file. */
typedef struct dicore_identity {
    dicore_span sop_class, sop_instance, transfer_syntax; /* into the bytes that were read, or constants */
    uint64_t start;                                       /* of the data set */
    bool deflated;
} dicore_identity;

/** Read it off a Part 10 file, or (`partial`) off the beginning of one. The data set's own UIDs count before those of group 0002,
 *  and the encoding it really has before the one it declares.
 *  @return DICORE_OK, DICORE_TRUNCATED (partial: more bytes are needed), DICORE_BAD_META (a UID is missing or unusable), and as
 *          dicore_part10_parse and dicore_select. */
DICORE_API dicore_status dicore_part10_identify(const uint8_t *data, size_t size, bool partial, dicore_identity *out);

#define DICORE_META_MAX 512u /* dicore_part10_write_meta never writes more bytes than this */

/** Write preamble, "DICM" and group 0002 for a data set: what makes a received instance a file. Values are padded as their
 *  VR asks; `version_name` (16 bytes at most) and `source_ae` (16 at most) may be empty and are then left out.
 *  @return DICORE_OK (`*size` bytes were written), DICORE_NO_MEMORY (`capacity` too small: DICORE_META_MAX suffices),
 *          DICORE_BAD_LENGTH (a UID empty or longer than 64 bytes, a text longer than 16). */
DICORE_API dicore_status dicore_part10_write_meta(uint8_t *out, size_t capacity, size_t *size, dicore_span sop_class,
                                                  dicore_span sop_instance, dicore_span transfer_syntax,
                                                  dicore_span implementation, dicore_span version_name,
                                                  dicore_span source_ae);

typedef struct dicore_inflate_limits {
    uint64_t size;       /* of the output; 0: 1 GiB */
    uint64_t ratio;      /* output bytes per input byte, beyond the first `ratio_from`; 0: 500 */
    uint64_t ratio_from; /* 0: 64 MiB */
} dicore_inflate_limits;

/** Inflate a raw deflate stream (RFC 1951, PS3.5 A.5), with libdeflate when the library was built with it, which takes 11 KiB
 *  from malloc meanwhile; whatever it does not take (cut off, damaged, too large) zlib decides, so that answers are the same.
 *  A trailing pad byte is not an error. `*out` comes from `allocator`
 *  (capacity `*out_capacity`, which its release needs) and is the caller's on DICORE_OK. A stream that ends early is
 *  DICORE_DEV_DEFLATE_TRUNCATED: leniently kept as far as it goes.
 *  @return DICORE_OK, DICORE_BAD_DEFLATE (not such a stream, or beyond the limits), DICORE_NO_MEMORY, DICORE_DEVIATION. */
DICORE_API dicore_status dicore_inflate(const uint8_t *data, size_t size, const dicore_inflate_limits *limits,
                                        const dicore_read_options *options, const dicore_allocator *allocator, uint8_t **out,
                                        size_t *out_size, size_t *out_capacity, dicore_error *error);

/* ---- edit: new bytes from old ones ----------------------------------------------------------------------------------
 *
 * A list of changes is applied to a data set by splicing: a plan says of which pieces the result consists (runs of the
 * original that nothing changes, new headers, new values), then the pieces are copied, or written as they are (gather
 * writes). What is not changed is never decoded. Lengths of the items and sequences around a change are mended; undefined
 * lengths stay undefined. In every data set and item that something changes in, group lengths (gggg,0000) (retired, PS3.5
 * 7.2) are dropped, and bytes that belong to no element (stray delimiters, trailing padding) too; what the input left open
 * or cut short there is closed. The same function changes the encoding: dicore_edit_options. */

typedef struct dicore_step { /* one sequence on the way to a nested data set */
    uint32_t tag;
    uint32_t item; /* number of the item, from 0; DICORE_EVERY_ITEM */
} dicore_step;

#define DICORE_EVERY_ITEM 0xFFFFFFFFu

typedef enum dicore_change_kind {
    DICORE_CHANGE_PUT = 0,     /* replace; insert in tag order when there is no such element */
    DICORE_CHANGE_REPLACE = 1, /* only where there is one */
    DICORE_CHANGE_ADD = 2,     /* only where there is none */
    DICORE_CHANGE_DELETE = 3   /* no matter whether there is one; tag DICORE_TAG_ITEM: the item itself, out of its sequence */
} dicore_change_kind;

/** One change. Where: the top level; or the data set that `path` leads to from there; or, faster, the item with the tape
 *  index `item`. An element that comes twice is replaced once and deleted wholly. Two changes of one element: the later one
 *  of the list counts; changes inside a sequence that is itself replaced or deleted are void.
 *
 *  What: `value` as explicit VR little endian has it, whatever the data set is in: numbers in little endian; of an SQ the
 *  encoded items. It is brought into the encoding of its surroundings, and padded to even length as the VR asks (PS3.5 6.2).
 *  A short-form VR with more than 65,534 bytes becomes UN in explicit VR (6.2.2 note 2). */
typedef struct dicore_change {
    const dicore_step *path; /* `path_length` steps; NULL when 0 */
    uint32_t path_length;
    uint32_t item;           /* with path_length 0: tape index of an entry with DICORE_ENTRY_ITEM; 0: the top level */
    uint32_t tag;
    uint16_t vr;             /* not for DICORE_CHANGE_DELETE */
    uint8_t kind;            /* dicore_change_kind */
    uint8_t encoded;         /* 1: `value` is one whole element in explicit VR little endian, header and all (`vr` is not looked
                                at): the way for encapsulated Pixel Data and undefined lengths; 2: in big endian */
    dicore_span value;
} dicore_change;

typedef enum dicore_lengths { DICORE_LENGTHS_KEEP = 0, DICORE_LENGTHS_DEFINED = 1, DICORE_LENGTHS_UNDEFINED = 2 } dicore_lengths;

/** All zero (or a NULL pointer): everything stays in the encoding it is in. */
typedef struct dicore_edit_options {
    uint8_t reencode;  /* 1: write every element in `encoding`. VRs that are absent are those of dicore_tape_vr; values are swapped
                          by the width of their VR (PS3.5 7.3); what is stored as UN stays UN, its bytes in little endian and
                          its items in implicit VR (6.2.2); odd lengths are padded; group lengths are dropped everywhere */
    uint8_t encoding;  /* dicore_encoding to write */
    uint8_t lengths;   /* dicore_lengths of sequences and items; with reencode only */
    uint8_t canonical; /* 1, with reencode only: elements in ascending order, of those that come twice the last one */
    uint32_t item;     /* tape index of an item: only its elements, without its header; 0: the whole data set */
} dicore_edit_options;

/** A run of bytes of the result. */
typedef struct dicore_piece {
    const uint8_t *data;
    size_t size;
    uint32_t swap; /* 0: as they are; 2, 4, 8: the bytes of each such word in reverse (a remainder as it is) */
    uint32_t kind; /* internal */
} dicore_piece;

/** Of what the result consists. The pieces point into `data`, into the changes' values and into the plan's own memory: the
 *  first two must outlive it. */
typedef struct dicore_plan {
    dicore_piece *pieces;
    size_t count;
    uint64_t size;  /* of the result */
    size_t swapped; /* how many pieces have swap != 0 */
    size_t capacity; /* internal */
    void *memory;    /* internal */
} dicore_plan;

/** Plan the result of `count` changes to the data set of `tape` over data[0 .. size), whose top level is in `encoding`.
 *  The tape must be that of dicore_tape_read over the same bytes, whole. `plan` is written on DICORE_OK, and then the
 *  caller's to give back with dicore_plan_free. Time is linear in the siblings of what changes (in all elements with
 *  reencode) and n log n in the changes; no value is touched.
 *  @return DICORE_OK; DICORE_NO_ITEM: the path of a DICORE_CHANGE_PUT or DICORE_CHANGE_ADD leads to no item (error.detail: number of the
 *          change, error.tag: the sequence; other kinds and DICORE_EVERY_ITEM are satisfied by nothing);
 *          DICORE_BAD_TAG: a tag of group FFFE, or an encoded element that has another tag; DICORE_BAD_VR: not two capitals,
 *          or an encoded element or SQ value that cannot be read (error.detail: number of the change);
 *          DICORE_BAD_LENGTH: a value beyond 2^32 - 2 bytes; DICORE_BAD_SYNTAX: encapsulated data would have to change its
 *          byte order; DICORE_NO_MEMORY, DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_edit_plan(dicore_plan *plan, const dicore_tape *tape, const uint8_t *data, size_t size,
                                          dicore_encoding encoding, const dicore_change *changes, size_t count,
                                          const dicore_edit_options *options, const dicore_allocator *allocator,
                                          dicore_error *error);

/** Write the result: plan->size bytes. @return DICORE_OK, DICORE_NO_MEMORY (`capacity` too small). */
DICORE_API dicore_status dicore_plan_emit(const dicore_plan *plan, uint8_t *out, size_t capacity);

/** The result as spans, for gather writes: plan->count of them. @return DICORE_OK, DICORE_NO_MEMORY (`capacity` too small),
 *          DICORE_BAD_ARGUMENT (plan->swapped is not 0: use dicore_plan_emit). */
DICORE_API dicore_status dicore_plan_spans(const dicore_plan *plan, dicore_span *out, size_t capacity);

/** Give the memory of `plan` back and set it to zero. */
DICORE_API void dicore_plan_free(dicore_plan *plan, const dicore_allocator *allocator);

/** Plan, allocate, emit: `*out` (`*out_size` bytes, never 0 allocated) comes from `allocator` and is the caller's.
 *  @return as dicore_edit_plan. */
DICORE_API dicore_status dicore_edit(const dicore_tape *tape, const uint8_t *data, size_t size, dicore_encoding encoding,
                                     const dicore_change *changes, size_t count, const dicore_edit_options *options,
                                     const dicore_allocator *allocator, uint8_t **out, size_t *out_size, dicore_error *error);

/** The data set in another encoding, canonical (sorted, even, defined lengths, no group lengths) when asked for:
 *  dicore_edit without changes. @return as dicore_edit_plan. */
DICORE_API dicore_status dicore_convert(const dicore_tape *tape, const uint8_t *data, size_t size, dicore_encoding from,
                                        dicore_encoding to, int canonical, const dicore_allocator *allocator, uint8_t **out,
                                        size_t *out_size, dicore_error *error);

/** Deflate a data set (raw RFC 1951, PS3.5 A.5), padded with a NUL to even length. `level` 1 to 9, 0: zlib's default. `*out`
 *  has `*out_capacity` bytes, of which `*out_size` count; it comes from `allocator` and is the caller's.
 *  @return DICORE_OK, DICORE_NO_MEMORY, DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_deflate(const uint8_t *data, size_t size, int level, const dicore_allocator *allocator,
                                        uint8_t **out, size_t *out_size, size_t *out_capacity, dicore_error *error);

/* ---- values --------------------------------------------------------------------------------------------------------- */

/** Size in bytes of one number of `vr`: US SS OW 2, UL SL FL AT OL OF 4, FD UV SV OD OV 8, OB UN 1; 0 for text. */
DICORE_API size_t dicore_vr_width(uint16_t vr);

/** Copy the numbers of a binary value into `out` in the byte order of this machine: uint16_t for US OW, int16_t SS, uint32_t
 *  UL OL, int32_t SL, float FL OF, double FD OD, uint64_t UV OV, int64_t SV, and for AT uint32_t group << 16 | element.
 *  `*count` numbers were written; bytes behind the last whole number are left out.
 *  @return DICORE_OK, DICORE_BAD_VR (`vr` is not binary), DICORE_NO_MEMORY (`capacity`, in numbers, too small). */
DICORE_API dicore_status dicore_value_numbers(uint16_t vr, int big_endian, const uint8_t *data, size_t size, void *out,
                                              size_t capacity, size_t *count);

/** Number of values of a text value: backslashes + 1, 0 when empty. Not for LT ST UT UR (one value, PS3.5 6.2), nor before
 *  decoding for text in GB18030, GBK or Shift-JIS, where 0x5C may be a second byte. */
DICORE_API size_t dicore_value_count(const uint8_t *data, size_t size);

/** Trailing spaces and NULs cut off (padding, PS3.5 6.2): the new size. */
DICORE_API size_t dicore_value_trim(const uint8_t *data, size_t size);

/** The next of the values that backslashes separate, from `*position` on; `*position` moves behind it. Leading and trailing
 *  spaces and trailing NULs are trimmed. 0 when there is none any more. Begin with position 0. */
DICORE_API int dicore_value_split(const uint8_t *data, size_t size, size_t *position, dicore_span *out);

/** One decimal string (PS3.5 6.2 DS): the double nearest to it, as strtod and Python's float() give it. Spaces around and
 *  NULs behind are allowed, more than 16 characters too. @return DICORE_OK, DICORE_BAD_LENGTH (empty, or over 1,000
 *  characters), DICORE_BAD_ARGUMENT (not a decimal number; inf and nan are not). */
DICORE_API dicore_status dicore_value_decimal(const uint8_t *data, size_t size, double *out);

/** One integer string (IS): also "12.0" as some write it. @return as dicore_value_decimal; DICORE_LIMIT: not in 64 bits. */
DICORE_API dicore_status dicore_value_integer(const uint8_t *data, size_t size, int64_t *out);

/** All numbers of a DS value. `*count` is how many were written. @return as dicore_value_decimal, for the first bad one;
 *  DICORE_NO_MEMORY: more than `capacity`. */
DICORE_API dicore_status dicore_value_decimals(const uint8_t *data, size_t size, double *out, size_t capacity, size_t *count);
/** All numbers of an IS value, likewise. */
DICORE_API dicore_status dicore_value_integers(const uint8_t *data, size_t size, int64_t *out, size_t capacity, size_t *count);

/* ---- dictionary ----------------------------------------------------------------------------------------------------- */

/** An entry of PS3.6 chapters 6-9, PS3.7 annex E, or of the private dictionary. Strings are static. */
typedef struct dicore_dictionary_entry {
    uint32_t tag;        /* with the repeating digits as 0: 0x60003000 */
    uint32_t mask;       /* bits of the tag that count: 0xFFFFFFFF, 0xFF00FFFF for 60xx */
    uint16_t vr[3];      /* the VRs it may have, first one first, 0 behind the last; vr[0] 0: none (items) */
    uint8_t retired;
    const char *keyword; /* "" for private elements */
    const char *name;
    const char *vm;      /* "1", "1-n", "2-2n" */
} dicore_dictionary_entry;

/** Look a public tag up, repeating groups (60xx, 50xx) included. 1 when found, else 0. */
DICORE_API int dicore_dictionary_find(uint32_t tag, dicore_dictionary_entry *out);
/** The first VR of a public tag, 0 when the tag is not in the dictionary. The fast way. */
DICORE_API uint16_t dicore_dictionary_vr(uint32_t tag);
/** The tag of a keyword ("PatientName"); 0 when there is none (no keyword has tag 0 but CommandGroupLength, which gives
 *  `*found` 1). `found` may be NULL. */
DICORE_API uint32_t dicore_dictionary_keyword(const char *keyword, size_t size, int *found);
/** Look a private element up by its creator (without padding): 1 when found. The block number does not matter. */
DICORE_API int dicore_dictionary_private(const uint8_t *creator, size_t size, uint32_t tag, dicore_dictionary_entry *out);
/** The first VR of a private element, 0 when it is not known. */
DICORE_API uint16_t dicore_dictionary_private_vr(const uint8_t *creator, size_t size, uint32_t tag);
/** The VR of a private element in the caller's dictionary (may be NULL), else in the built-in one; 0 when neither has it. */
DICORE_API uint16_t dicore_private_vr(const dicore_private_dictionary *dictionary, const uint8_t *creator, size_t size,
                                      uint32_t tag);
/** Number of public entries, and the entry of a number (in tag order, repeating groups last): for tools that list them. */
DICORE_API size_t dicore_dictionary_count(void);
DICORE_API int dicore_dictionary_at(size_t number, dicore_dictionary_entry *out);

#ifdef __cplusplus
}
#endif
#endif
