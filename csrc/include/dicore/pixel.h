/* dicore/pixel.h: from the value of an encapsulated Pixel Data to frames.
 *
 * Compressed frames lie in items (PS3.5 A.4): a basic offset table, then fragments; a frame is one fragment or several in
 * a row. Which, is said by the basic or the extended offset table, and files lie about both. Two calls find it out:
 *
 *   dicore_fragments_read     one pass over the item headers, fills the caller's array of fragments
 *   dicore_frames_resolve     offset tables checked against the fragments, or rebuilt from them; fills an array of frames
 *
 * After them any frame is one look into the second array and its bytes a slice (or a few) of the first. Nothing is
 * allocated and no fragment's content is read, but for its first and last bytes where the tables are of no use. */
#ifndef DICORE_PIXEL_H
#define DICORE_PIXEL_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes that need not be in memory: a value in a file. `read` copies all of [offset, offset + size), which is always
 *  inside `size`, to `to`, or returns why it cannot (DICORE_IO_ERROR, say), which ends the call that asked. */
typedef struct dicore_reader {
    dicore_status (*read)(void *context, uint64_t offset, uint8_t *to, size_t size);
    void *context;
    uint64_t size;               /* of the value; where it ends in a delimiter, more may be counted in (to the file's end) */
} dicore_reader;

/** One item after the basic offset table. */
typedef struct dicore_fragment {
    uint64_t offset;             /* of its value, from the start of the span */
    uint64_t length;             /* of its value, padding included; never reaches beyond the span */
} dicore_fragment;

/** What one pass over the items found. */
typedef struct dicore_encapsulation {
    uint64_t count;              /* fragments in all; empty ones at the end are not counted */
    uint64_t origin;             /* what the offsets of both tables count from: the first item after the basic table */
    uint64_t table_offset;       /* of the basic offset table's value */
    uint64_t table_length;       /* 0: empty, the usual case */
    uint64_t end;                /* where reading stopped: behind the last item, a delimiter, or at the damage */
    int damaged;                 /* not 0: at `end` stands something other than an item, or an item longer than the span.
                                    Of the latter the bytes that are there count as the last fragment: */
    int truncated;               /* not 0: the last fragment is cut short by the end of the span */
} dicore_encapsulation;

/** Read the items of an encapsulated Pixel Data: `items` begins with the basic offset table's item and ends before the
 *  sequence delimitation item (one that is there ends the reading). The first `capacity` fragments go to `fragments`
 *  (NULL with 0), all are counted. Fragments before a damage stay usable, so damage is not an error.
 *
 *  A first item that begins as a JPEG or JPEG 2000 stream is no offset table but a fragment: files without one exist.
 *
 *  @return DICORE_OK; DICORE_NO_MEMORY when `capacity` is too small (`out` is filled, call again with out->count);
 *          DICORE_BAD_FRAGMENTS when not even the first item can be read, `error` says where. */
DICORE_API dicore_status dicore_fragments_read(const uint8_t *items, size_t size, dicore_fragment *fragments,
                                               size_t capacity, dicore_encapsulation *out, dicore_error *error);

/** The same through a reader: 8 bytes of every item are read, and 8 more of the first. */
DICORE_API dicore_status dicore_fragments_scan(const dicore_reader *reader, dicore_fragment *fragments, size_t capacity,
                                               dicore_encapsulation *out, dicore_error *error);

/** A frame: `count` fragments from number `first` on, of which the first `size` bytes in all are the stream. */
typedef struct dicore_frame {
    uint64_t first;
    uint64_t count;
    uint64_t size;               /* the fragments' lengths, or the length that the extended offset table gives */
} dicore_frame;

typedef enum dicore_frames_source {
    DICORE_FROM_EXTENDED = 0,    /* the extended offset table, which is right */
    DICORE_FROM_BASIC = 1,       /* the basic offset table, which is right */
    DICORE_FROM_FRAGMENTS = 2    /* there was no table, or it lied */
} dicore_frames_source;

/** Find the frames. `encapsulation` and `fragments` are what dicore_fragments_read made of the same `items`; `wanted` is
 *  Number of Frames (at least 1); `offsets` and `lengths` are the values of Extended Offset Table and Extended Offset
 *  Table Lengths (0x7FE00001, 0x7FE00002; size 0 when absent). A table is believed when it has an entry a frame, ascends
 *  from 0 and names fragments only. Otherwise: one frame takes all fragments; as many fragments as frames, or fewer, are
 *  a frame each; of more, each that begins as a stream (JPEG SOI, JPEG 2000 SOC, JP2 or JPEG XL signature) begins a
 *  frame, or each behind one that ends with EOI or EOC does: whichever gives `wanted` frames, else the first that gives
 *  more.
 *
 *  `frames` has room for min(wanted, encapsulation->count) entries; *found says how many were written: fewer than
 *  `wanted` when there are not enough fragments. Frames beyond `wanted` are ignored.
 *  @return DICORE_OK; DICORE_BAD_ARGUMENT when `wanted` is 0; DICORE_BAD_FRAGMENTS when there are more fragments than
 *          frames and nothing says which belong together, or no fragment at all. */
DICORE_API dicore_status dicore_frames_resolve(const uint8_t *items, size_t size,
                                               const dicore_encapsulation *encapsulation,
                                               const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                               dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                               dicore_frames_source *source, dicore_error *error);

/** The same through a reader: the basic table is read once, and of the fragments their first 8 and last 10 bytes, if no
 *  table holds. */
DICORE_API dicore_status dicore_frames_build(const dicore_reader *reader, const dicore_encapsulation *encapsulation,
                                             const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                             dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                             dicore_frames_source *source, dicore_error *error);

/* A frame of many without looking at the others: by the offset table, of which only the entries of that frame are checked
 * against the items. For files whose table is right, which is nearly all that have one. */

/** An offset table that may be right: it ascends from 0, stays inside and has enough entries. */
typedef struct dicore_frame_table {
    dicore_frames_source source; /* DICORE_FROM_FRAGMENTS: there is no such table, use the two calls above */
    uint64_t wanted, entries;
    uint64_t origin;             /* what offsets count from */
    uint64_t table_offset;       /* of the basic table's value */
} dicore_frame_table;

/** Look at the tables. Reads the basic one through the reader, nothing of the items behind it.
 *  @return as dicore_fragments_scan; DICORE_BAD_ARGUMENT when `wanted` is 0. */
DICORE_API dicore_status dicore_frame_table_open(const dicore_reader *reader, uint64_t wanted, dicore_span offsets,
                                                 dicore_span lengths, dicore_frame_table *out, dicore_error *error);

/** The fragments of frame `number`: the items that chain from its entry to the next one's, or to the end. out->first is
 *  `number`; out->count and out->size are as in dicore_frame. Reads 8 bytes a fragment. `offsets` and `lengths` are those
 *  of dicore_frame_table_open.
 *  @return DICORE_OK; DICORE_BAD_FRAGMENTS: the table lies here, believe none of it and use the two calls above;
 *          DICORE_NO_MEMORY: out->count fragments do not fit (`out` is filled); DICORE_BAD_ARGUMENT; the reader's. */
DICORE_API dicore_status dicore_frame_find(const dicore_reader *reader, const dicore_frame_table *table, uint64_t number,
                                           dicore_span offsets, dicore_span lengths, dicore_fragment *fragments,
                                           size_t capacity, dicore_frame *out, dicore_error *error);

/* ---- frames as rasters ------------------------------------------------------------------------------------------- */

/** Where the samples of a frame are: sample s of the pixel in row y and column x begins at data + y * row_stride +
 *  x * column_stride + s * sample_stride (in bytes; any sign, none need be aligned) and is `bytes` bytes in the machine's
 *  byte order. Decoders write it, encoders read it. The caller vouches for the memory. */
typedef struct dicore_raster {
    uint8_t *data;
    uint32_t rows, columns;
    unsigned samples;            /* a pixel: 1..4 */
    unsigned bytes;              /* a sample: 1, 2 or 4 */
    ptrdiff_t row_stride, column_stride, sample_stride;
    unsigned bits;               /* a decoder keeps the low `bits` of each sample (Bits Stored); 0: all */
    int is_signed;               /* and extends the highest of them (Pixel Representation); of no use with bits 0 */
} dicore_raster;

/* ---- JPEG Lossless, Huffman (ITU T.81 process 14; transfer syntaxes 1.2.840.10008.1.2.4.57 and .70) ----------------- */

/** Bytes of scratch memory that decoding a stream of `size` bytes into such a raster takes; UINT64_MAX: more than any
 *  memory. About size + 500 KiB. */
DICORE_API uint64_t dicore_jpeg_lossless_scratch(uint64_t size, uint32_t rows, uint32_t columns, unsigned samples);

/** Decode a whole stream (SOI to EOI; a missing EOI is no error, anything behind it is ignored) into `raster`, whose
 *  rows, columns and samples must be the stream's. 2 to 16 bits; predictors 1 to 7; components in one scan or in several,
 *  tables between them; restart intervals of whole rows; point transform; a height that only DNL behind the first scan
 *  tells. Components must not be subsampled. Samples are the bit patterns of the stream: JPEG knows no sign.
 *
 *  `scratch` is dicore_jpeg_lossless_scratch() bytes for the caller to reuse, aligned for anything; its content does not
 *  matter. Streams that are no use cost time in proportion to `size` + samples, at most.
 *  @return DICORE_OK; DICORE_BAD_FRAME with the offset of the marker or scan that is wrong, or whose data ends too soon
 *          (rows before the damage may have been written); DICORE_BAD_ARGUMENT for a raster that cannot be or whose
 *          samples are too narrow for the stream's precision; DICORE_NO_MEMORY when `scratch_size` is too small. */
DICORE_API dicore_status dicore_jpeg_lossless_decode(const uint8_t *source, size_t size, const dicore_raster *raster,
                                                     void *scratch, size_t scratch_size, dicore_error *error);

/** Bytes that the longest possible encoding of such a raster takes, and of the scratch memory for making it. */
DICORE_API uint64_t dicore_jpeg_lossless_bound(uint32_t rows, uint32_t columns, unsigned samples);
DICORE_API uint64_t dicore_jpeg_lossless_encode_scratch(uint32_t rows, uint32_t columns, unsigned samples);

/** Encode `raster` with `precision` bits a sample (2..16; what lies above is dropped) and `predictor` (1..7; 1 is the
 *  selection value that syntax .70 asks for) into `target`: one scan, one optimal Huffman table, no restart intervals.
 *  *written becomes the size of the stream, which may be odd.
 *  @return DICORE_OK; DICORE_BAD_ARGUMENT; DICORE_NO_MEMORY when `capacity` is less than dicore_jpeg_lossless_bound() and
 *          the stream does not fit, or `scratch_size` is less than dicore_jpeg_lossless_encode_scratch(). */
DICORE_API dicore_status dicore_jpeg_lossless_encode(const dicore_raster *raster, unsigned precision, unsigned predictor,
                                                     uint8_t *target, size_t capacity, size_t *written, void *scratch,
                                                     size_t scratch_size);

/* ---- JPEG-LS (ITU T.87; transfer syntaxes 1.2.840.10008.1.2.4.80 and .81) ------------------------------------------------ */

/** Bytes of scratch memory that decoding a stream of `size` bytes into such a raster takes; UINT64_MAX: more than any
 *  memory. About size + 150 KiB. */
DICORE_API uint64_t dicore_jpeg_ls_scratch(uint64_t size, uint32_t columns, unsigned samples);

/** Decode a whole stream into `raster`, as dicore_jpeg_lossless_decode does, with the same results: lossless and
 *  near-lossless, 2 to 16 bits, the three interleavings, preset parameters (LSE 1), restart intervals (in rows). Mapping
 *  tables and a point transform are refused. The colour transforms that some encoders announce in an APP8 marker ("mrfx")
 *  are not undone. */
DICORE_API dicore_status dicore_jpeg_ls_decode(const uint8_t *source, size_t size, const dicore_raster *raster,
                                               void *scratch, size_t scratch_size, dicore_error *error);

/* ---- RLE Lossless (PS3.5 annex G) ------------------------------------------------------------------------------------- */

/** Undo RLE Lossless for one frame of `samples` samples a pixel with `bytes` bytes each into `target`, `pixels` * samples
 *  * bytes long, which becomes little endian samples, all of a pixel together (planar configuration 0). The header must
 *  announce samples * bytes segments, most significant byte first (G.5), in ascending order, inside the frame.
 *  @return DICORE_OK; DICORE_BAD_FRAME with the offset of what is wrong; DICORE_BAD_ARGUMENT when samples * bytes is not
 *          1..15 or target_size does not fit. */
DICORE_API dicore_status dicore_rle_frame(const uint8_t *source, size_t size, uint8_t *target, size_t target_size,
                                          uint64_t pixels, unsigned samples, unsigned bytes, dicore_error *error);

/** The same into a raster, whose samples * bytes must not exceed 15. A run may cross rows; what the last packet holds
 *  beyond the frame is padding and dropped.
 *  @return DICORE_OK; DICORE_BAD_FRAME with the offset of the header's entry, or of the segment that ends too soon (rows
 *          before may have been written); DICORE_BAD_ARGUMENT for a raster that cannot be. */
DICORE_API dicore_status dicore_rle_decode(const uint8_t *source, size_t size, const dicore_raster *raster,
                                           dicore_error *error);

/** Bytes that encoding such a raster may touch: its longest possible frame and some more. */
DICORE_API uint64_t dicore_rle_bound(uint32_t rows, uint32_t columns, unsigned samples, unsigned bytes);

/** Encode `raster` into `target`: all bits of each sample, rows apart, segments of even length. *written becomes the size.
 *  @return DICORE_OK; DICORE_NO_MEMORY when `capacity` is less than dicore_rle_bound(); DICORE_BAD_ARGUMENT for a raster
 *          that cannot be, or one of more than 4 GiB. */
DICORE_API dicore_status dicore_rle_encode(const dicore_raster *raster, uint8_t *target, size_t capacity, size_t *written);

/* ---- a table of codecs ------------------------------------------------------------------------------------------------
 * What decodes and encodes which stream, in the caller's memory, so that a vendor's codec stands beside ours:
 *
 *   dicore_codec room[8];
 *   dicore_codec_table table = {.codecs = room, .capacity = 8};
 *   dicore_codecs_own(&table);
 *   dicore_codec_register(&table, &vendors);
 *   const dicore_codec *codec = dicore_codec_find(&table, "1.2.840.10008.1.2.4.80", data, size, NULL, DICORE_DECODES);
 *   codec->decode(codec, data, size, &raster, scratch, codec->scratch(codec, size, &raster), &error); */

/** A codec. Functions that a codec lacks are NULL; all may be called from several threads at once. */
typedef struct dicore_codec {
    const char *name;            /* as in "dicore"; what a caller forces it by. Kept, not copied, as are the others */
    const char *version, *licence;
    void *context;               /* the codec's own */

    /** Whether this is for the codec: `syntax` is a transfer syntax UID, `source` the stream, or NULL with size 0 when it
     *  is to be encoded or not known yet. */
    int (*sniff)(const struct dicore_codec *self, const char *syntax, const uint8_t *source, size_t size);

    /** Bytes of scratch memory that decoding takes, UINT64_MAX for more than any memory; NULL: none. */
    uint64_t (*scratch)(const struct dicore_codec *self, size_t size, const dicore_raster *raster);
    /** As dicore_jpeg_lossless_decode. */
    dicore_status (*decode)(const struct dicore_codec *self, const uint8_t *source, size_t size, const dicore_raster *raster,
                            void *scratch, size_t scratch_size, dicore_error *error);

    /** Bytes of the longest stream, and of scratch memory for making one; NULL: none of the latter. */
    uint64_t (*bound)(const struct dicore_codec *self, const dicore_raster *raster);
    uint64_t (*encode_scratch)(const struct dicore_codec *self, const dicore_raster *raster);
    /** As dicore_jpeg_lossless_encode; `precision` is Bits Stored. */
    dicore_status (*encode)(const struct dicore_codec *self, const char *syntax, const dicore_raster *raster,
                            unsigned precision, uint8_t *target, size_t capacity, size_t *written, void *scratch,
                            size_t scratch_size);
} dicore_codec;

/** Codecs in the order in which they are asked. `codecs` is the caller's memory for `capacity` of them. */
typedef struct dicore_codec_table {
    dicore_codec *codecs;
    size_t count, capacity;
} dicore_codec_table;

typedef enum dicore_codec_use { DICORE_DECODES = 0, DICORE_ENCODES = 1 } dicore_codec_use;

/** Append ours: RLE Lossless (both ways), JPEG Lossless (both), JPEG-LS (decodes).
 *  @return DICORE_OK; DICORE_NO_MEMORY when three do not fit (the table is unchanged). */
DICORE_API dicore_status dicore_codecs_own(dicore_codec_table *table);

/** Put a copy of `codec` before all others.
 *  @return DICORE_OK; DICORE_NO_MEMORY when the table is full; DICORE_BAD_ARGUMENT without a name, without `sniff`, with
 *          neither `decode` nor `encode`, or with `encode` but no `bound`. */
DICORE_API dicore_status dicore_codec_register(dicore_codec_table *table, const dicore_codec *codec);

/** The first codec that can be used so and whose `sniff` says yes; of the name `name`, unless that is NULL. NULL: none.
 *  The pointer is into the table. */
DICORE_API const dicore_codec *dicore_codec_find(const dicore_codec_table *table, const char *syntax, const uint8_t *source,
                                                 size_t size, const char *name, dicore_codec_use use);

#ifdef __cplusplus
}
#endif
#endif
