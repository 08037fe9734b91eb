/* dicore/capture.h: what associations say, as a pcapng file that Wireshark opens.
 *
 * Nobody listens on a network device: who owns a connection tells what it has read and sent, and gets TCP that looks as if it
 * had been captured, one stream a connection, with SYN and FIN (or RST), sequence numbers, checksums and nanoseconds. So it
 * needs no rights, shows what went through a Unix socket, and under TLS what was said, not what was encrypted.
 *
 * Packets go into a buffer and from there by a thread of the capture's own to the file: a call copies, and does not wait for
 * the disk. Only when the buffer is full does it wait, for 50 ms at most and then not again before the thread has caught up;
 * what does not fit meanwhile is missing in the file, and counted there (isb_ifdrop). When the file cannot be written any more
 * it ends with the last whole packet, `failed` is called once, and everything else goes on as if nobody captured.
 *
 * A capture may be used by all threads at once, a stream by one at a time. */
#ifndef DICORE_CAPTURE_H
#define DICORE_CAPTURE_H

#include <stdbool.h>

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dicore_capture dicore_capture;
typedef struct dicore_capture_stream dicore_capture_stream;

/** One end of a connection. Family 0, a Unix socket, is shown as 127.0.0.1; an IPv4 address that is mapped into IPv6 as IPv4. */
typedef struct dicore_capture_end_point {
    uint8_t family;              /* 4, 6, 0 */
    uint8_t address[16];
    uint16_t port;
} dicore_capture_end_point;

/** Create the file (mode 0600: there are patients in it), or empty the one that is there, and start the thread. `buffer` is how
 *  many bytes may wait for the disk, twice: at least 256 KiB. `failed` (NULL allowed) is called by the capture's thread.
 *  @return DICORE_OK, DICORE_BAD_ARGUMENT, DICORE_NO_MEMORY, DICORE_IO (`error->system`). */
DICORE_API dicore_status dicore_capture_open(const char *path, size_t buffer, dicore_span application,
                                             const dicore_allocator *allocator, void (*failed)(void *context, int system),
                                             void *context, dicore_capture **out, dicore_error *error);

/** Write what waits and close the file. Streams that are still open say nothing from now on, and have to be ended all the same.
 *  Blocks. NULL is allowed. */
DICORE_API void dicore_capture_close(dicore_capture *capture);

/** errno of what has ended it, or 0. */
DICORE_API int dicore_capture_error(const dicore_capture *capture);

/** Packets that were taken, and how many of them the file does not have. */
DICORE_API void dicore_capture_counts(dicore_capture *capture, uint64_t *packets, uint64_t *lost);

/** A connection begins: `called`: the peer has opened it, else we did. `comment` is shown with its first packet.
 *  @return NULL: no memory. */
DICORE_API dicore_capture_stream *dicore_capture_begin(dicore_capture *capture, const dicore_capture_end_point *own,
                                                       const dicore_capture_end_point *peer, bool called, dicore_span comment);

/** Bytes that we have sent (`ours`), or that have come. */
DICORE_API void dicore_capture_data(dicore_capture_stream *stream, bool ours, const dicore_span *pieces, size_t count);

typedef enum dicore_capture_how {
    DICORE_CAPTURE_CLOSED_BY_PEER = 0,   /* its FIN came first */
    DICORE_CAPTURE_CLOSED = 1,           /* ours did */
    DICORE_CAPTURE_RESET_BY_PEER = 2,
    DICORE_CAPTURE_RESET = 3
} dicore_capture_how;

/** The connection is over, and the stream is freed. `comment` is shown with its FIN or RST. NULL is allowed. */
DICORE_API void dicore_capture_end(dicore_capture_stream *stream, dicore_capture_how how, dicore_span comment);

#ifdef __cplusplus
}
#endif
#endif
