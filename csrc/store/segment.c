/* A segment's header, and how a segment comes into the world: complete, locked and synced before it has its name. */
#include "base/file.h"
#include "base/load.h"
#include "dicore/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const uint8_t MAGIC[8] = {'D', 'I', 'C', 'O', 'R', 'S', 'E', 'G'};
#define VERSION 1u

/* What a reader must agree on to read the records. Another layout has another text, so another fingerprint. */
static const char LAYOUT[] = "record 64 DCIR 1; unit 64; gap 4096; crc32c; siphash-2-4-128";

void dicore_segment_name(uint64_t id, char out[DICORE_SEGMENT_NAME])
{
    snprintf(out, DICORE_SEGMENT_NAME, "%010llu.seg", (unsigned long long)id);
}

void dicore_segment_write_header(const dicore_segment_info *info, uint8_t out[DICORE_SEGMENT_HEADER])
{
    memset(out, 0, DICORE_SEGMENT_HEADER);
    memcpy(out, MAGIC, 8);
    store_u32le(out + 8, VERSION);
    store_u32le(out + 12, dicore_crc32c(0, LAYOUT, sizeof LAYOUT - 1));
    store_u64le(out + 16, info->id);
    store_u64le(out + 24, info->nonce);
    store_u64le(out + 32, info->created);
    store_u64le(out + 40, info->size);
    store_u32le(out + 48, info->flags);
    store_u32le(out + 4092, dicore_crc32c(0, out, 4092));
}

dicore_status dicore_segment_read_header(const uint8_t *data, size_t size, dicore_segment_info *out, dicore_error *error)
{
    if (size < DICORE_SEGMENT_HEADER)
        return dicore_fail(error, DICORE_TRUNCATED, size, 0);
    if (memcmp(data, MAGIC, 8) != 0)
        return dicore_fail(error, DICORE_BAD_SEGMENT, 0, 0);
    if (load_u32le(data + 8) != VERSION)
        return dicore_fail(error, DICORE_BAD_SEGMENT, 8, 0);
    if (load_u32le(data + 12) != dicore_crc32c(0, LAYOUT, sizeof LAYOUT - 1))
        return dicore_fail(error, DICORE_BAD_SEGMENT, 12, 0);
    if (load_u32le(data + 4092) != dicore_crc32c(0, data, 4092))
        return dicore_fail(error, DICORE_BAD_SEGMENT, 4092, 0);
    *out = (dicore_segment_info){
        .id = load_u64le(data + 16),
        .nonce = load_u64le(data + 24),
        .created = load_u64le(data + 32),
        .size = load_u64le(data + 40),
        .flags = load_u32le(data + 48),
    };
    return DICORE_OK;
}

static dicore_status fill_in(int folder, int file, const char *name, dicore_segment_info *info, dicore_error *error)
{
    uint8_t header[DICORE_SEGMENT_HEADER];
    dicore_status status = dicore_file_allocate(file, info->size, error);
    while (status == DICORE_OK) {
        char final[DICORE_SEGMENT_NAME];
        dicore_error local = {0};
        dicore_segment_write_header(info, header);
        const dicore_span piece = {header, sizeof header};
        status = dicore_file_write(file, 0, &piece, 1, error);
        if (status == DICORE_OK)
            status = dicore_file_sync(file, error);
        if (status != DICORE_OK)
            break;
        dicore_segment_name(info->id, final);
        status = dicore_file_rename_new(folder, name, final, &local);
        if (status == DICORE_OK)
            return dicore_file_sync(folder, error); /* the name, too, has to survive */
        if (local.system != EEXIST) {
            if (error)
                *error = local;
            break;
        }
        info->id++; /* another process was faster */
        status = DICORE_OK;
    }
    return status;
}

dicore_status dicore_segment_create(int folder, dicore_segment_info *info, int *file, dicore_error *error)
{
    char name[48];
    int made;
    snprintf(name, sizeof name, ".%016llx.new", (unsigned long long)info->nonce);
    dicore_status status = dicore_file_create_locked(folder, name, &made, error);
    if (status != DICORE_OK)
        return status;
    status = fill_in(folder, made, name, info, error);
    if (status != DICORE_OK) {
        (void)dicore_file_unlink(folder, name, NULL);
        dicore_file_close(made);
        return status;
    }
    *file = made;
    return DICORE_OK;
}

dicore_status dicore_segment_open(int folder, uint64_t id, int writable, int *file, dicore_segment_info *info,
                                  dicore_error *error)
{
    uint8_t header[DICORE_SEGMENT_HEADER];
    char name[DICORE_SEGMENT_NAME];
    int opened;
    dicore_segment_info read;
    dicore_segment_name(id, name);
    dicore_status status = dicore_file_open(folder, name, writable ? O_RDWR : O_RDONLY, 0, &opened, error);
    if (status != DICORE_OK)
        return status;
    if (writable)
        status = dicore_file_lock(opened, error);
    if (status == DICORE_OK)
        status = dicore_file_read_whole(opened, 0, header, sizeof header, error);
    if (status == DICORE_OK)
        status = dicore_segment_read_header(header, sizeof header, &read, error);
    if (status == DICORE_OK && read.id != id)
        status = dicore_fail(error, DICORE_BAD_SEGMENT, 16, 0); /* a segment under another one's name */
    if (status != DICORE_OK) {
        dicore_file_close(opened);
        return status;
    }
    *info = read;
    *file = opened;
    return DICORE_OK;
}
