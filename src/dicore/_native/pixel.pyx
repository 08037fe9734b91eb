"""Encapsulated Pixel Data and our own codecs over libdicore (dicore/pixel.h)."""
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc

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


# ---- scratch memory ----------------------------------------------------------------------------------------------------


cdef class Scratch:
    """A block of memory that a codec works in; `take` and `give` keep a few, so that frames do not allocate."""
    cdef void *data
    cdef size_t size

    def __dealloc__(self):
        free(self.data)


cdef list _idle = []  # guarded by the GIL
cdef size_t _KEPT = 32 << 20


cdef Scratch take(uint64_t size):
    cdef Scratch scratch
    cdef Py_ssize_t i
    for i in range(len(_idle)):
        scratch = _idle[i]
        if scratch.size >= size:
            del _idle[i]
            return scratch
    if _idle:
        _idle.pop()  # too small for what is decoded now
    scratch = Scratch.__new__(Scratch)
    scratch.data = malloc(size) if size <= <uint64_t>1 << 62 else NULL
    if scratch.data == NULL:
        raise MemoryError(f"{size} bytes to decode in")
    scratch.size = size
    return scratch


cdef void give(Scratch scratch):
    if scratch.size <= _KEPT and len(_idle) < 8:
        _idle.append(scratch)


# ---- rasters -----------------------------------------------------------------------------------------------------------


cdef int raster_of(Py_buffer *view, dicore_raster *raster, unsigned bits, bint is_signed) except -1:
    """(rows, columns[, samples]) of integers in the machine's byte order, any strides."""
    if view.ndim not in (2, 3):
        raise ValueError(f"an array of {view.ndim} dimensions, where (rows, columns[, samples]) is wanted")
    form = view.format.decode() if view.format != NULL else "B"
    if form.lstrip("=@<") not in ("B", "b", "H", "h", "I", "i", "L", "l"):
        raise ValueError(f"samples of format {form!r}")
    if max(view.shape[0], view.shape[1]) > 0xFFFF or (view.ndim == 3 and view.shape[2] > 4):
        raise ValueError("more than 65,535 rows or columns, or more than 4 samples")
    raster.data = <uint8_t *>view.buf
    raster.rows, raster.columns = <uint32_t>view.shape[0], <uint32_t>view.shape[1]
    raster.samples = <unsigned>view.shape[2] if view.ndim == 3 else 1
    raster.bytes_a_sample = <unsigned>view.itemsize
    raster.row_stride, raster.column_stride = view.strides[0], view.strides[1]
    raster.sample_stride = view.strides[2] if view.ndim == 3 else view.itemsize
    raster.bits, raster.is_signed = bits, is_signed
    return 0


def jpeg_lossless_decode(const uint8_t[::1] source not None, target, unsigned bits=0, bint is_signed=False):
    """Decode a JPEG Lossless stream into `target`, an integer array (rows, columns[, samples]) of any strides. The low
    `bits` bits of each sample are kept (0: all), the highest of them extended when `is_signed`.
    PixelDataError with the offset where the stream is wrong."""
    cdef dicore_error error
    cdef dicore_status status
    cdef dicore_raster raster
    cdef Py_buffer view
    cdef size_t size = <size_t>source.shape[0]
    cdef const uint8_t *data = &source[0] if size else NULL
    PyObject_GetBuffer(target, &view, PyBUF_STRIDES | PyBUF_FORMAT | PyBUF_WRITABLE)
    try:
        raster_of(&view, &raster, bits, is_signed)
        scratch = take(dicore_jpeg_lossless_scratch(size, raster.rows, raster.columns, raster.samples))
        with nogil:
            status = dicore_jpeg_lossless_decode(data, size, &raster, scratch.data, scratch.size, &error)
        give(scratch)
    finally:
        PyBuffer_Release(&view)
    check(status, &error)


def jpeg_lossless_encode(source not None, unsigned precision, unsigned predictor=1):
    """Encode an integer array (rows, columns[, samples]) of any strides as JPEG Lossless with `precision` bits a sample,
    2 to 16 (what lies above is dropped), and `predictor` 1 to 7. Gives bytes, of odd or even length."""
    cdef dicore_status status
    cdef dicore_raster raster
    cdef Py_buffer view
    cdef size_t written = 0
    cdef uint64_t bound, working
    PyObject_GetBuffer(source, &view, PyBUF_STRIDES | PyBUF_FORMAT)
    try:
        raster_of(&view, &raster, 0, False)
        bound = dicore_jpeg_lossless_bound(raster.rows, raster.columns, raster.samples)
        working = dicore_jpeg_lossless_encode_scratch(raster.rows, raster.columns, raster.samples)
        scratch = take(bound + working)
        with nogil:
            status = dicore_jpeg_lossless_encode(&raster, precision, predictor, <uint8_t *>scratch.data, bound, &written,
                                                 <uint8_t *>scratch.data + bound, working)
        if status == DICORE_BAD_ARGUMENT:
            raise ValueError(f"JPEG Lossless with precision {precision} and predictor {predictor}")
        check(status, NULL)
        stream = PyBytes_FromStringAndSize(<char *>scratch.data, <Py_ssize_t>written)
        give(scratch)
        return stream
    finally:
        PyBuffer_Release(&view)


def jpeg_ls_decode(const uint8_t[::1] source not None, target, unsigned bits=0, bint is_signed=False):
    """Decode a JPEG-LS stream into `target`, an integer array (rows, columns[, samples]) of any strides; `bits` and
    `is_signed` as with `jpeg_lossless_decode`. PixelDataError with the offset where the stream is wrong."""
    cdef dicore_error error
    cdef dicore_status status
    cdef dicore_raster raster
    cdef Py_buffer view
    cdef size_t size = <size_t>source.shape[0]
    cdef const uint8_t *data = &source[0] if size else NULL
    PyObject_GetBuffer(target, &view, PyBUF_STRIDES | PyBUF_FORMAT | PyBUF_WRITABLE)
    try:
        raster_of(&view, &raster, bits, is_signed)
        scratch = take(dicore_jpeg_ls_scratch(size, raster.columns, raster.samples))
        with nogil:
            status = dicore_jpeg_ls_decode(data, size, &raster, scratch.data, scratch.size, &error)
        give(scratch)
    finally:
        PyBuffer_Release(&view)
    check(status, &error)


def rle_decode(const uint8_t[::1] source not None, target, unsigned bits=0, bint is_signed=False):
    """Decode an RLE frame into `target`, an integer array (rows, columns[, samples]) of any strides; `bits` and
    `is_signed` as with `jpeg_lossless_decode`. PixelDataError with the offset where the frame is wrong."""
    cdef dicore_error error
    cdef dicore_status status
    cdef dicore_raster raster
    cdef Py_buffer view
    cdef size_t size = <size_t>source.shape[0]
    cdef const uint8_t *data = &source[0] if size else NULL
    PyObject_GetBuffer(target, &view, PyBUF_STRIDES | PyBUF_FORMAT | PyBUF_WRITABLE)
    try:
        raster_of(&view, &raster, bits, is_signed)
        with nogil:
            status = dicore_rle_decode(data, size, &raster, &error)
    finally:
        PyBuffer_Release(&view)
    check(status, &error)


def rle_encode(source not None):
    """Encode an integer array (rows, columns[, samples]) of any strides as one RLE frame: bytes of even length."""
    cdef dicore_status status
    cdef dicore_raster raster
    cdef Py_buffer view
    cdef size_t written = 0
    cdef uint64_t bound
    PyObject_GetBuffer(source, &view, PyBUF_STRIDES | PyBUF_FORMAT)
    try:
        raster_of(&view, &raster, 0, False)
        bound = dicore_rle_bound(raster.rows, raster.columns, raster.samples, raster.bytes_a_sample)
        scratch = take(bound)
        with nogil:
            status = dicore_rle_encode(&raster, <uint8_t *>scratch.data, bound, &written)
        if status == DICORE_BAD_ARGUMENT:
            raise ValueError("RLE has room for 15 bytes a pixel and 4 GiB a frame")
        check(status, NULL)
        frame = PyBytes_FromStringAndSize(<char *>scratch.data, <Py_ssize_t>written)
        give(scratch)
        return frame
    finally:
        PyBuffer_Release(&view)
