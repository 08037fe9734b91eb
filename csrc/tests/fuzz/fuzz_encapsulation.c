/* Input: number of frames (1), entries of an extended table (1), that many offsets and lengths of 8 bytes each, then the
 * items. Checks that nothing found reaches beyond the span, that frames are in order, that a reader finds the same as the
 * span, and that one frame found by its table entry alone is the frame that the whole pass finds. */
#include "dicore/pixel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static dicore_status read_span(void *context, uint64_t offset, uint8_t *to, size_t size)
{
    const dicore_span *span = context;
    if (offset > span->size || size > span->size - offset)
        abort(); /* a reader is never asked beyond its size */
    memcpy(to, span->data + offset, size);
    return DICORE_OK;
}

/* `frames` are those of the whole pass, by `source`; 0 of them: it found none. */
static void by_table(dicore_span items, uint64_t wanted, dicore_span offsets, dicore_span lengths, const dicore_fragment *fragments,
                     const dicore_frame *frames, uint64_t found, dicore_frames_source source)
{
    dicore_reader reader = {read_span, &items, items.size};
    dicore_frame_table table;
    if (dicore_frame_table_open(&reader, wanted, offsets, lengths, &table, NULL) != DICORE_OK)
        return;
    if (table.source == DICORE_FROM_FRAGMENTS)
        return;
    for (uint64_t i = 0; i < wanted && i < 64; i++) {
        dicore_fragment some[16];
        dicore_frame frame;
        dicore_status status = dicore_frame_find(&reader, &table, i, offsets, lengths, some, 16, &frame, NULL);
        if (status != DICORE_OK)
            continue;
        if (frame.count == 0 || frame.count > 16)
            abort();
        uint64_t bytes = 0;
        for (uint64_t f = 0; f < frame.count; f++) {
            if (some[f].offset > items.size || some[f].length > items.size - some[f].offset)
                abort();
            bytes += some[f].length;
        }
        if (frame.size > bytes)
            abort();
        if (found == wanted && source == table.source &&
            (frame.size != frames[i].size || frame.count != frames[i].count ||
             some[0].offset != fragments[frames[i].first].offset))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint64_t wanted = data[0] ? data[0] : UINT32_MAX;
    size_t table = (size_t)(data[1] % 32) * 8;
    data += 2, size -= 2;
    if (2 * table > size)
        return 0;
    dicore_span offsets = {data, table}, lengths = {data + table, table};
    data += 2 * table, size -= 2 * table;
    dicore_encapsulation e;
    dicore_status status = dicore_fragments_read(data, size, NULL, 0, &e, NULL);
    if (status != DICORE_OK && status != DICORE_NO_MEMORY)
        return 0;
    dicore_fragment *fragments = calloc(e.count + 1, sizeof *fragments);
    uint64_t room = wanted < e.count ? wanted : e.count, found = 0;
    dicore_frame *frames = calloc(room + 1, sizeof *frames);
    dicore_frames_source source;
    if (!fragments || !frames || dicore_fragments_read(data, size, fragments, e.count, &e, NULL) != DICORE_OK)
        abort();
    for (uint64_t i = 0; i < e.count; i++)
        if (fragments[i].offset > size || fragments[i].length > size - fragments[i].offset)
            abort();
    dicore_span items = {data, size};
    dicore_reader reader = {read_span, &items, size};
    dicore_encapsulation again;
    dicore_fragment *same = calloc(e.count + 1, sizeof *same);
    dicore_frame *others = calloc(room + 1, sizeof *others);
    if (!same || !others || dicore_fragments_scan(&reader, same, e.count, &again, NULL) != DICORE_OK || again.count != e.count ||
        again.end != e.end || again.damaged != e.damaged || memcmp(same, fragments, e.count * sizeof *same) != 0)
        abort();
    dicore_frames_source by;
    uint64_t built = 0;
    dicore_status resolved =
        dicore_frames_resolve(data, size, &e, fragments, wanted, offsets, lengths, frames, &found, &source, NULL);
    if (dicore_frames_build(&reader, &e, fragments, wanted, offsets, lengths, others, &built, &by, NULL) != resolved)
        abort();
    if (resolved == DICORE_OK && (built != found || by != source || memcmp(others, frames, found * sizeof *frames) != 0))
        abort();
    by_table(items, wanted, offsets, lengths, fragments, frames, resolved == DICORE_OK ? found : 0, source);
    if (resolved == DICORE_OK) {
        uint64_t next = 0;
        if (found == 0 || found > room)
            abort();
        for (uint64_t i = 0; i < found; i++) {
            uint64_t bytes = 0;
            if (frames[i].count == 0 || frames[i].first < next || frames[i].first + frames[i].count > e.count)
                abort();
            next = frames[i].first + frames[i].count;
            for (uint64_t f = frames[i].first; f < next; f++)
                bytes += fragments[f].length;
            if (frames[i].size > bytes)
                abort();
        }
    }
    free(fragments);
    free(frames);
    free(same);
    free(others);
    return 0;
}
