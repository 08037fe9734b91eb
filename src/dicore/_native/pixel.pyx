"""Encapsulated Pixel Data and RLE over libdicore (dicore/pixel.h)."""
from libc.stdlib cimport calloc, free

from dicore.errors import PixelDataError
from dicore._native.libdicore cimport *
from dicore._native.status cimport check


cdef class Encapsulation:
    """The frames of an encapsulated value: `items` as stored, basic offset table first, without the delimiter."""
    cdef object view  # a memoryview and no typed one: garbage collection may clear what those still export
    cdef dicore_encapsulation found
    cdef dicore_fragment *fragments
    cdef dicore_frame *frames
    cdef uint64_t frame_count
    cdef dicore_frames_source how
    cdef readonly Py_ssize_t wanted

    def __init__(self, items not None, Py_ssize_t frames, offsets=b"", lengths=b""):
        cdef dicore_error error
        cdef dicore_status status
        cdef const uint8_t[::1] offset_bytes = offsets
        cdef const uint8_t[::1] length_bytes = lengths
        if self.frames != NULL or self.fragments != NULL:
            raise ValueError("an Encapsulation is made once")
        if frames < 1:
            raise PixelDataError(f"{frames} is no number of frames")
        self.wanted = frames
        self.view = memoryview(items).cast("B")
        cdef const uint8_t[::1] bytes_of = self.view
        cdef size_t size = <size_t>bytes_of.shape[0]
        cdef const uint8_t *data = &bytes_of[0] if size else NULL
        cdef dicore_span extended, extended_lengths
        extended.size = <size_t>offset_bytes.shape[0]
        extended.data = &offset_bytes[0] if extended.size else NULL
        extended_lengths.size = <size_t>length_bytes.shape[0]
        extended_lengths.data = &length_bytes[0] if extended_lengths.size else NULL
        with nogil:
            status = dicore_fragments_read(data, size, NULL, 0, &self.found, &error)
        if status != DICORE_NO_MEMORY:
            check(status, &error)
        if self.found.count == 0:
            raise PixelDataError("the encapsulated Pixel Data has no fragment", offset=self.found.end)
        cdef uint64_t room = min(self.found.count, <uint64_t>frames)
        self.fragments = <dicore_fragment *>calloc(self.found.count, sizeof(dicore_fragment))
        self.frames = <dicore_frame *>calloc(room, sizeof(dicore_frame))
        if self.fragments == NULL or self.frames == NULL:
            raise MemoryError(f"{self.found.count} fragments")
        with nogil:
            status = dicore_fragments_read(data, size, self.fragments, self.found.count, &self.found, &error)
            if status == DICORE_OK:
                status = dicore_frames_resolve(data, size, &self.found, self.fragments, <uint64_t>frames, extended,
                                               extended_lengths, self.frames, &self.frame_count, &self.how, &error)
        check(status, &error)

    def __dealloc__(self):
        free(self.fragments)
        free(self.frames)

    def __len__(self):
        return <Py_ssize_t>self.frame_count

    @property
    def source(self):
        """What the frames were taken from: 'extended', 'basic' or 'fragments'."""
        return ("extended", "basic", "fragments")[<int>self.how]

    @property
    def damaged(self):
        """True when the items end in something that is no item."""
        return bool(self.found.damaged)

    @property
    def fragment_count(self):
        return self.found.count

    @property
    def table_length(self):
        """Bytes of the basic offset table."""
        return self.found.table_length

    def extent(self, Py_ssize_t index):
        """(offset, size) of the items' bytes that hold frame `index`, all its fragments; (0, 0) when there is no such frame."""
        if not 0 <= index < <Py_ssize_t>self.frame_count:
            return 0, 0
        cdef dicore_frame frame = self.frames[index]
        cdef dicore_fragment first = self.fragments[frame.first], last = self.fragments[frame.first + frame.count - 1]
        return first.offset, last.offset + last.length - first.offset

    def frame(self, Py_ssize_t index):
        """The stream of frame `index`: a view of the items, or bytes when it is spread over several fragments.
        PixelDataError when there is no such frame, or when the items end inside it."""
        if not 0 <= index < <Py_ssize_t>self.frame_count:
            raise PixelDataError(
                f"the Pixel Data holds {self.frame_count} of {self.wanted} frames", frame=index, offset=self.found.end)
        cdef dicore_frame frame = self.frames[index]
        if self.found.truncated and frame.first + frame.count == self.found.count:
            raise PixelDataError("the Pixel Data ends inside this frame", frame=index, offset=self.found.end)
        cdef dicore_fragment part = self.fragments[frame.first]
        if frame.count == 1:
            return self.view[part.offset:part.offset + frame.size]
        parts = []
        cdef uint64_t i
        for i in range(frame.first, frame.first + frame.count):
            part = self.fragments[i]
            parts.append(self.view[part.offset:part.offset + part.length])
        return b"".join(parts)


def rle_frame(const uint8_t[::1] source not None, uint8_t[::1] target not None, uint64_t pixels, unsigned samples,
              unsigned bytes_per_sample):
    """Undo RLE Lossless for one frame into `target` (pixels x samples x bytes, little endian, samples together)."""
    cdef dicore_error error
    cdef dicore_status status
    cdef const uint8_t *data = &source[0] if source.shape[0] else NULL
    cdef uint8_t *to = &target[0] if target.shape[0] else NULL
    with nogil:
        status = dicore_rle_frame(data, <size_t>source.shape[0], to, <size_t>target.shape[0], pixels, samples,
                                  bytes_per_sample, &error)
    check(status, &error)
