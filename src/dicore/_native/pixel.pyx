"""Encapsulated Pixel Data and our own codecs over libdicore (dicore/pixel.h)."""
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.errno cimport EINTR, errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strerror

from dicore.errors import PixelDataError
from dicore._native.libdicore cimport *
from dicore._native.status cimport check


cdef extern from "<unistd.h>" nogil:
    ssize_t os_pread "pread"(int fd, void *to, size_t size, long long offset)


cdef struct pixel_source:  # what a dicore_reader reads: memory, or a file from `offset` on
    const uint8_t *data
    int fd
    uint64_t offset
    int system             # errno of the read that failed


cdef dicore_status read_source(void *context, uint64_t offset, uint8_t *to, size_t size) noexcept nogil:
    cdef pixel_source *source = <pixel_source *>context
    cdef size_t done = 0
    cdef ssize_t got
    if source.data != NULL:
        memcpy(to, source.data + offset, size)
        return DICORE_OK
    while done < size:
        got = os_pread(source.fd, to + done, size - done, <long long>(source.offset + offset + done))
        if got < 0:
            if errno == EINTR:
                continue
            source.system = errno
            return DICORE_IO
        if got == 0:
            return DICORE_TRUNCATED
        done += <size_t>got
    return DICORE_OK


cdef enum:
    PARTS = 16  # fragments of a frame that are found without a second look


cdef class Encapsulation:
    """The frames of an encapsulated value: `items` as stored, basic offset table first, without the delimiter.

    `items` is a buffer, or a window on a file (dicore._native.dataset.FileWindow), which may go beyond the delimiter; of
    a file nothing but the items asked for is read. One frame is found by the offset table alone where that holds for it;
    else, and for `len`, `source`, `damaged` and `fragment_count`, all items are looked at, once. Threads may share it."""
    cdef object view    # a memoryview and no typed one: garbage collection may clear what those still export
    cdef object window  # of a file
    cdef object offsets, lengths
    cdef pixel_source file
    cdef uint64_t size
    cdef dicore_frame_table table
    cdef dicore_encapsulation found
    cdef dicore_fragment *fragments
    cdef dicore_frame *frames
    cdef uint64_t frame_count
    cdef dicore_frames_source how
    cdef readonly Py_ssize_t wanted

    def __init__(self, items not None, Py_ssize_t frames, offsets=b"", lengths=b""):
        cdef dicore_error error
        cdef dicore_status status
        cdef dicore_reader reader
        cdef pixel_source source
        if self.view is not None or self.window is not None:
            raise ValueError("an Encapsulation is made once")
        if frames < 1:
            raise PixelDataError(f"{frames} is no number of frames")
        self.wanted = frames
        self.offsets, self.lengths = bytes(offsets), bytes(lengths)
        if hasattr(items, "fileno"):
            self.window = items
            self.file.fd = items.fileno()
            self.file.offset = items.offset
            self.size = items.size
        else:
            self.view = memoryview(items).cast("B")
            self.size = <uint64_t>len(self.view)
        cdef const uint8_t[::1] held = self.open(&source, &reader)
        cdef dicore_span extended = span_of(self.offsets), extended_lengths = span_of(self.lengths)
        with nogil:
            status = dicore_frame_table_open(&reader, <uint64_t>frames, extended, extended_lengths, &self.table, &error)
        self.checked(status, &error, &source)
        if self.table.source == DICORE_FROM_FRAGMENTS:
            self.resolve()

    def __dealloc__(self):
        free(self.fragments)
        free(self.frames)

    cdef const uint8_t[::1] open(self, pixel_source *source, dicore_reader *reader):
        """A reader of the items; what is returned keeps them in place for as long as it lives."""
        cdef const uint8_t[::1] held = None
        source[0] = self.file
        source.system = 0
        source.data = <const uint8_t *>b""
        if self.window is None:
            held = self.view
            if self.size:
                source.data = &held[0]
        else:
            source.data = NULL
        reader.read = read_source
        reader.context = source
        reader.size = self.size
        return held

    cdef int checked(self, dicore_status status, dicore_error *error, pixel_source *source) except -1:
        if self.window is not None:
            self.window.check()  # the same file still
        if status == DICORE_IO:
            raise OSError(source.system, strerror(source.system).decode(), self.window.path)
        check(status, error)
        return 0

    cdef int resolve(self) except -1:
        """Look at all items, once."""
        cdef dicore_error error
        cdef dicore_status status
        cdef dicore_reader reader
        cdef pixel_source source
        cdef dicore_encapsulation found
        cdef dicore_fragment *fragments = NULL
        cdef dicore_frame *frames = NULL
        cdef uint64_t count = 0, room
        cdef dicore_frames_source how = DICORE_FROM_FRAGMENTS
        cdef uint64_t wanted = <uint64_t>self.wanted
        cdef dicore_span offsets = span_of(self.offsets), lengths = span_of(self.lengths)
        if self.frames != NULL:
            return 0
        cdef const uint8_t[::1] held = self.open(&source, &reader)
        try:
            room = min(wanted + 2, self.size // 8 + 1)
            while True:
                free(fragments)
                fragments = <dicore_fragment *>calloc(room, sizeof(dicore_fragment))
                if fragments == NULL:
                    raise MemoryError(f"{room} fragments")
                with nogil:
                    status = dicore_fragments_scan(&reader, fragments, room, &found, &error)
                if status != DICORE_NO_MEMORY or found.count <= room:
                    break
                room = found.count
            self.checked(status, &error, &source)
            if found.count == 0:
                raise PixelDataError("the encapsulated Pixel Data has no fragment", offset=found.end)
            frames = <dicore_frame *>calloc(min(found.count, wanted), sizeof(dicore_frame))
            if frames == NULL:
                raise MemoryError(f"{found.count} frames")
            with nogil:
                status = dicore_frames_build(&reader, &found, fragments, wanted, offsets, lengths, frames, &count, &how,
                                             &error)
            self.checked(status, &error, &source)
            if self.frames == NULL:  # no other thread was faster
                self.found, self.frame_count, self.how = found, count, how
                self.fragments, self.frames = fragments, frames
                fragments, frames = NULL, NULL
        finally:
            free(fragments)
            free(frames)
        return 0

    def __len__(self):
        self.resolve()
        return <Py_ssize_t>self.frame_count

    @property
    def nbytes(self):
        """Bytes of the value; of a file at most."""
        return self.size

    @property
    def in_file(self):
        """True when frames are read from a file one by one."""
        return self.window is not None

    @property
    def source(self):
        """What the frames were taken from: 'extended', 'basic' or 'fragments'."""
        self.resolve()
        return ("extended", "basic", "fragments")[<int>self.how]

    @property
    def damaged(self):
        """True when the items end in something that is no item."""
        self.resolve()
        return bool(self.found.damaged)

    @property
    def fragment_count(self):
        self.resolve()
        return self.found.count

    @property
    def resolved(self):
        """Whether all items have been looked at."""
        return self.frames != NULL

    @property
    def table_length(self):
        """Bytes of the basic offset table."""
        self.resolve()
        return self.found.table_length

    def extent(self, Py_ssize_t index):
        """(offset, size) of the items' bytes that hold frame `index`, all its fragments; (0, 0) when there is no such frame."""
        self.resolve()
        if not 0 <= index < <Py_ssize_t>self.frame_count:
            return 0, 0
        cdef dicore_frame frame = self.frames[index]
        cdef dicore_fragment first = self.fragments[frame.first], last = self.fragments[frame.first + frame.count - 1]
        return first.offset, last.offset + last.length - first.offset

    def frame(self, Py_ssize_t index):
        """The stream of frame `index`: a view of the items, or bytes when it is spread over several fragments or comes
        from a file. PixelDataError when there is no such frame, or when the items end inside it."""
        cdef dicore_error error
        cdef dicore_status status
        cdef dicore_reader reader
        cdef pixel_source source
        cdef dicore_frame frame
        cdef dicore_fragment parts[PARTS]
        cdef dicore_span offsets, lengths
        cdef const uint8_t[::1] held
        if self.frames == NULL and self.table.source != DICORE_FROM_FRAGMENTS and 0 <= index < self.wanted:
            held = self.open(&source, &reader)
            offsets, lengths = span_of(self.offsets), span_of(self.lengths)
            with nogil:
                status = dicore_frame_find(&reader, &self.table, <uint64_t>index, offsets, lengths, parts, PARTS, &frame,
                                           &error)
            if status == DICORE_OK:
                return self.joined(parts, frame)
            if status not in (DICORE_BAD_FRAGMENTS, DICORE_NO_MEMORY):
                self.checked(status, &error, &source)
        self.resolve()
        if not 0 <= index < <Py_ssize_t>self.frame_count:
            raise PixelDataError(
                f"the Pixel Data holds {self.frame_count} of {self.wanted} frames", frame=index, offset=self.found.end)
        frame = self.frames[index]
        if self.found.truncated and frame.first + frame.count == self.found.count:
            raise PixelDataError("the Pixel Data ends inside this frame", frame=index, offset=self.found.end)
        return self.joined(self.fragments + frame.first, frame)

    cdef object joined(self, const dicore_fragment *parts, dicore_frame frame):
        """The bytes of a frame, of which `parts` are the fragments."""
        cdef dicore_status status = DICORE_OK
        cdef dicore_error error
        cdef dicore_reader reader
        cdef pixel_source source
        cdef uint64_t i, at = 0, size = 0
        cdef char *to
        if self.window is None:
            if frame.count == 1:
                return self.view[parts[0].offset:parts[0].offset + frame.size]
            return b"".join([self.view[parts[i].offset:parts[i].offset + parts[i].length] for i in range(frame.count)])
        for i in range(frame.count):
            size += parts[i].length
        joined = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>min(size, frame.size))
        to = joined
        size = <uint64_t>len(joined)
        self.open(&source, &reader)
        with nogil:
            for i in range(frame.count):
                if status == DICORE_OK and at < size:
                    status = read_source(&source, parts[i].offset, <uint8_t *>to + at, min(parts[i].length, size - at))
                    at += parts[i].length
        memset(&error, 0, sizeof(error))
        self.checked(status, &error, &source)
        return joined


cdef dicore_span span_of(bytes value) noexcept:
    cdef dicore_span span
    span.size = <size_t>len(value)
    span.data = <const uint8_t *>(<const char *>value)
    return span


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
    cdef uint64_t step = 1 << 16
    if size < <uint64_t>1 << 62:  # rounded up, so that frames of nearly one size share a block
        while step < size // 8:
            step *= 2
        size = (size + step - 1) // step * step
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


cdef dicore_codec _room[3]  # ours, in the order of dicore_codecs_own
cdef dicore_codec_table _own
_own.codecs, _own.count, _own.capacity = _room, 0, 3
check(dicore_codecs_own(&_own), NULL)
cdef enum:
    OWN_RLE = 0
    OWN_LOSSLESS = 1
    OWN_LS = 2


cdef int decode_by(const dicore_codec *codec, const uint8_t[::1] source, target, unsigned bits, bint is_signed) except -1:
    """Decode a stream into an array of any strides, by a codec of a table."""
    cdef dicore_error error
    cdef dicore_status status
    cdef dicore_raster raster
    cdef Py_buffer view
    cdef size_t size = <size_t>source.shape[0]
    cdef const uint8_t *data = &source[0] if size else NULL
    cdef Scratch scratch = None
    memset(&error, 0, sizeof(error))
    PyObject_GetBuffer(target, &view, PyBUF_STRIDES | PyBUF_FORMAT | PyBUF_WRITABLE)
    try:
        raster_of(&view, &raster, bits, is_signed)
        scratch = take(codec.scratch(codec, size, &raster) if codec.scratch != NULL else 0)
        with nogil:
            status = codec.decode(codec, data, size, &raster, scratch.data, scratch.size, &error)
        give(scratch)
    finally:
        PyBuffer_Release(&view)
    check(status, &error)
    return 0


def jpeg_lossless_decode(const uint8_t[::1] source not None, target, unsigned bits=0, bint is_signed=False):
    """Decode a JPEG Lossless stream into `target`, an integer array (rows, columns[, samples]) of any strides. The low
    `bits` bits of each sample are kept (0: all), the highest of them extended when `is_signed`.
    PixelDataError with the offset where the stream is wrong."""
    decode_by(&_room[OWN_LOSSLESS], source, target, bits, is_signed)


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
    decode_by(&_room[OWN_LS], source, target, bits, is_signed)


def rle_decode(const uint8_t[::1] source not None, target, unsigned bits=0, bint is_signed=False):
    """Decode an RLE frame into `target`, an integer array (rows, columns[, samples]) of any strides; `bits` and
    `is_signed` as with `jpeg_lossless_decode`. PixelDataError with the offset where the frame is wrong."""
    decode_by(&_room[OWN_RLE], source, target, bits, is_signed)


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


cdef class NativeCodec:
    """A `dicore_codec` of somebody else's library, in a PyCapsule named "dicore_codec"; both must live as long as this."""
    cdef object capsule
    cdef dicore_codec codec

    def __init__(self, capsule not None):
        cdef dicore_codec room[1]
        cdef dicore_codec_table table
        table.codecs, table.count, table.capacity = room, 0, 1
        if not PyCapsule_IsValid(capsule, "dicore_codec"):
            raise ValueError('a PyCapsule named "dicore_codec" is needed')
        if dicore_codec_register(&table, <const dicore_codec *>PyCapsule_GetPointer(capsule, "dicore_codec")) != DICORE_OK:
            raise ValueError("a dicore_codec with a name, sniff, and decode or encode with bound is needed")
        self.capsule, self.codec = capsule, room[0]

    @property
    def decodes(self):
        return self.codec.decode != NULL

    @property
    def encodes(self):
        return self.codec.encode != NULL

    def sniffs(self, str syntax not None, const uint8_t[::1] source not None):
        """Whether the codec takes a stream."""
        return bool(self.codec.sniff(&self.codec, syntax.encode(), &source[0] if source.shape[0] else NULL,
                                     <size_t>source.shape[0]))

    def decode(self, const uint8_t[::1] source not None, target, unsigned bits=0, bint is_signed=False):
        """Decode into an array, as `jpeg_lossless_decode`."""
        if self.codec.decode == NULL:
            raise ValueError("this codec does not decode")
        decode_by(&self.codec, source, target, bits, is_signed)

    def encode(self, source not None, str syntax not None, unsigned precision):
        """A stream of an array (rows, columns[, samples])."""
        cdef dicore_status status
        cdef dicore_raster raster
        cdef Py_buffer view
        cdef size_t written = 0
        cdef uint64_t bound, working = 0
        cdef bytes name = syntax.encode()
        cdef const char *syntax_name = name
        if self.codec.encode == NULL:
            raise ValueError("this codec does not encode")
        PyObject_GetBuffer(source, &view, PyBUF_STRIDES | PyBUF_FORMAT)
        try:
            raster_of(&view, &raster, 0, False)
            bound = self.codec.bound(&self.codec, &raster)
            if self.codec.encode_scratch != NULL:
                working = self.codec.encode_scratch(&self.codec, &raster)
            if bound > <uint64_t>1 << 62 or working > <uint64_t>1 << 61:
                raise MemoryError(f"{bound} bytes to encode in")
            scratch = take(bound + working)
            with nogil:
                status = self.codec.encode(&self.codec, syntax_name, &raster, precision, <uint8_t *>scratch.data, bound,
                                           &written, <uint8_t *>scratch.data + bound, working)
            check(status, NULL)
            if written > bound:
                raise PixelDataError(f"a codec wrote {written} bytes into {bound}")
            stream = PyBytes_FromStringAndSize(<char *>scratch.data, <Py_ssize_t>written)
            give(scratch)
            return stream
        finally:
            PyBuffer_Release(&view)
