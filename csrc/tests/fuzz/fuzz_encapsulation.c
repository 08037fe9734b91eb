/* Input: number of frames (1), entries of an extended table (1), that many offsets and lengths of 8 bytes each, then the
 * items. Checks that nothing found reaches beyond the span and that frames are in order. */
#include "dicore/pixel.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    if (dicore_frames_resolve(data, size, &e, fragments, wanted, offsets, lengths, frames, &found, &source, NULL) == DICORE_OK) {
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
    return 0;
}
