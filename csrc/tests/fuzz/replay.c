/* Stands in for libFuzzer's main: runs the target over every file of the folders and files named on the command line,
 * each in a heap block of its exact size, so that ASan sees a read past the end. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replayed;

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    uint8_t *data = size > 0 ? malloc((size_t)size) : NULL;
    if (size == 0 || (data && fread(data, 1, (size_t)size, file) == (size_t)size)) {
        LLVMFuzzerTestOneInput(data, (size_t)size);
        replayed++;
    }
    free(data);
    fclose(file);
}

static void replay(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return;
    if (!S_ISDIR(status.st_mode)) {
        replay_file(path);
        return;
    }
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char child[4096];
        if (entry->d_name[0] != '.' && snprintf(child, sizeof child, "%s/%s", path, entry->d_name) < (int)sizeof child)
            replay(child);
    }
    if (folder)
        closedir(folder);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("replayed %d inputs\n", replayed);
    return 0;
}
