/* The floor under a scan: open, pread 4 KiB, close of every path in a file (one a line), nothing done with the bytes.
 *   scan_floor LIST ROUNDS    prints the seconds of each round, and those of the CPU */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timespec a, struct timespec b)
{
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    FILE *list = fopen(argv[1], "r");
    char **paths = NULL, *line = NULL;
    size_t count = 0, capacity = 0;
    for (ssize_t n; list && (n = getline(&line, &capacity, list)) > 0;) {
        line[n - 1] = '\0';
        paths = realloc(paths, (count + 1) * sizeof *paths);
        paths[count++] = strdup(line);
    }
    for (int round = atoi(argv[2]); round > 0; round--) {
        static char buffer[4096];
        struct timespec a, b, c, d;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c);
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (size_t i = 0; i < count; i++) {
            int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
            if (fd < 0 || pread(fd, buffer, sizeof buffer, 0) < 0)
                return 1;
            close(fd);
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &d);
        printf("%.9f %.9f\n", seconds(a, b), seconds(c, d));
    }
    return 0;
}
