"""What is done to every sample, over libdicore's kernels (dicore/kernels.h). Buffers are contiguous; their sizes are checked."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from dicore._native.libdicore cimport *

cdef extern from "Python.h":
    ctypedef struct PyThreadState
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

cdef const dicore_kernels *K = dicore_kernels_best()
cdef int[7] WIDTH = [1, 1, 2, 2, 4, 4, 4]
cdef dict CODES = {"u1": DICORE_U8, "i1": DICORE_I8, "u2": DICORE_U16, "i2": DICORE_I16, "u4": DICORE_U32,
                   "i4": DICORE_I32, "f4": DICORE_F32}
cdef Py_ssize_t LONG = 1 << 17  # bytes from which a call gives the GIL away: some 10 us


cdef class Span:
    """A buffer's bytes, whatever their type."""
    cdef Py_buffer view
    cdef uint8_t *at
    cdef Py_ssize_t size

    def __cinit__(self, buffer, bint writable=False):
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.at = <uint8_t *>self.view.buf
        self.size = self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef PyThreadState *leave(Py_ssize_t size):
    return PyEval_SaveThread() if size >= LONG else NULL


cdef void come_back(PyThreadState *state):
    if state != NULL:
        PyEval_RestoreThread(state)


cdef int must(bint held, str what) except -1:
    if not held:
        raise ValueError(what)
    return 0


cdef int code_of(str kind) except -1:
    must(kind in CODES, f"samples of type {kind}")
    return CODES[kind]


def level():
    """The level in use: 'avx512', 'avx2', 'ssse3' or 'sse2'."""
    return K.name.decode()


def levels():
    """The levels that this processor has."""
    return tuple(n for n in ("sse2", "ssse3", "avx2", "avx512") if dicore_kernels_named(n.encode()) != NULL)


def unpack1(source not None, target not None, Py_ssize_t first=0):
    """Bits from `first` on, least significant first, to as many bytes of 0 and 1 as `target` has."""
    cdef Span a = Span(source), b = Span(target, True)
    must(0 <= first <= a.size * 8 - b.size, f"{b.size} bits from {first} on of {a.size} bytes")
    cdef PyThreadState *state = leave(b.size)
    K.unpack1(b.at, a.at, <size_t>first, <size_t>b.size)
    come_back(state)


def swap(source not None, target not None, int width):
    """Reverse the bytes of each value of `width` 2, 4 or 8 bytes; `target` may be `source`."""
    cdef Span a = Span(source), b = Span(target, True)
    must(width in (2, 4, 8) and a.size == b.size and a.size % width == 0, f"{a.size} and {b.size} bytes by {width}")
    cdef PyThreadState *state = leave(b.size)
    if width == 2:
        K.swap16(b.at, a.at, <size_t>a.size // 2)
    elif width == 4:
        K.swap32(b.at, a.at, <size_t>a.size // 4)
    else:
        K.swap64(b.at, a.at, <size_t>a.size // 8)
    come_back(state)


def interleave(source not None, target not None, int width):
    """Three planes, one after another in `source`, to pixels of three samples of `width` 1 or 2 bytes."""
    cdef Span a = Span(source), b = Span(target, True)
    must(width in (1, 2) and a.size == b.size and a.size % (3 * width) == 0, f"{a.size} and {b.size} bytes by {width}")
    cdef size_t n = <size_t>(a.size // 3 // width)
    cdef PyThreadState *state = leave(b.size)
    if width == 1:
        K.interleave8(b.at, a.at, a.at + n, a.at + 2 * n, n)
    else:
        K.interleave16(<uint16_t *>b.at, <uint16_t *>a.at, <uint16_t *>a.at + n, <uint16_t *>a.at + 2 * n, n)
    come_back(state)


def stray(source not None, str kind, int bits):
    """Whether any sample of type `kind` (u1 i1 u2 i2) has more than its lowest `bits` bits, sign extension aside."""
    cdef Span a = Span(source)
    cdef int code = code_of(kind), found
    must(code <= DICORE_I16 and 1 <= bits <= 8 * WIDTH[code] and a.size % WIDTH[code] == 0, f"{bits} bits of {kind}")
    cdef PyThreadState *state = leave(a.size)
    if WIDTH[code] == 1:
        found = K.stray8(a.at, <size_t>a.size, <unsigned>bits, code & 1)
    else:
        found = K.stray16(<uint16_t *>a.at, <size_t>a.size // 2, <unsigned>bits, code & 1)
    come_back(state)
    return bool(found)


def keep(source not None, target not None, str kind, int bits, int low=0):
    """Only `bits` bits of each integer sample from bit `low` on, the sign extended; `target` may be `source`."""
    cdef Span a = Span(source), b = Span(target, True)
    cdef int code = code_of(kind)
    must(code <= DICORE_I32 and bits >= 1 and low >= 0 and low + bits <= 8 * WIDTH[code], f"{bits} bits from {low} of {kind}")
    must(a.size == b.size and a.size % WIDTH[code] == 0, f"{a.size} and {b.size} bytes of {kind}")
    cdef PyThreadState *state = leave(a.size)
    if WIDTH[code] == 1:
        K.keep8(b.at, a.at, <size_t>a.size, <unsigned>low, <unsigned>bits, code & 1)
    elif WIDTH[code] == 2:
        K.keep16(<uint16_t *>b.at, <uint16_t *>a.at, <size_t>a.size // 2, <unsigned>low, <unsigned>bits, code & 1)
    else:
        K.keep32(<uint32_t *>b.at, <uint32_t *>a.at, <size_t>a.size // 4, <unsigned>low, <unsigned>bits, code & 1)
    come_back(state)


def overlay_bit(source not None, target not None, int bit):
    """Bit `bit` of 16-bit samples as bytes of 0 and 1."""
    cdef Span a = Span(source), b = Span(target, True)
    must(a.size == 2 * b.size and 0 <= bit < 16, f"bit {bit} of {a.size} bytes to {b.size}")
    cdef PyThreadState *state = leave(a.size)
    K.bit16(b.at, <uint16_t *>a.at, <size_t>b.size, <unsigned>bit)
    come_back(state)


def burn(image not None, mask not None, int value):
    """Set the bytes of `image` to `value` where those of `mask` are not 0."""
    cdef Span a = Span(mask), b = Span(image, True)
    must(a.size == b.size and 0 <= value <= 255, f"{a.size} bytes over {b.size}")
    K.burn8(b.at, a.at, <size_t>b.size, <uint8_t>value)


def expand_422(source not None, target not None):
    """Y1 Y2 Cb Cr to Y Cb Cr, 8 bits."""
    cdef Span a = Span(source), b = Span(target, True)
    must(a.size % 4 == 0 and b.size == a.size // 4 * 6, f"{a.size} bytes to {b.size}")
    cdef PyThreadState *state = leave(b.size)
    K.expand422(b.at, a.at, <size_t>a.size // 4)
    come_back(state)


def rgb_422(source not None, target not None):
    """Y1 Y2 Cb Cr (YBR_FULL_422) to RGB, 8 bits."""
    cdef Span a = Span(source), b = Span(target, True)
    must(a.size % 4 == 0 and b.size == a.size // 4 * 6, f"{a.size} bytes to {b.size}")
    cdef PyThreadState *state = leave(b.size)
    K.rgb422(b.at, a.at, <size_t>a.size // 4)
    come_back(state)


def rgb(source not None, target not None, int width, int bits, bint partial=False):
    """YBR_FULL, or YBR_PARTIAL, of `bits` bits in samples of `width` 1 or 2 bytes to RGB; `target` may be `source`."""
    cdef Span a = Span(source), b = Span(target, True)
    must(width in (1, 2) and a.size == b.size and a.size % (3 * width) == 0, f"{a.size} and {b.size} bytes by {width}")
    must(1 <= bits <= 8 * width and (width == 2 or bits == 8), f"{bits} bits in {width} bytes")
    cdef size_t n = <size_t>(a.size // 3 // width)
    cdef PyThreadState *state = leave(b.size)
    if width == 2:
        K.rgb16(<uint16_t *>b.at, <uint16_t *>a.at, n, <unsigned>bits, partial)
    elif partial:
        K.rgb8_partial(b.at, a.at, n)
    else:
        K.rgb8(b.at, a.at, n)
    come_back(state)


def rescale(source not None, target not None, str kind, double slope, double intercept):
    """value * slope + intercept of samples of type `kind` (u1 i1 u2 i2 u4 i4 f4) to float32: computed exactly, rounded once."""
    cdef Span a = Span(source), b = Span(target, True)
    cdef int code = code_of(kind)
    must(a.size % WIDTH[code] == 0 and b.size == a.size // WIDTH[code] * 4, f"{a.size} bytes of {kind} to {b.size}")
    cdef size_t n = <size_t>(a.size // WIDTH[code])
    # whole numbers within 2**24 are exact in float, products and sums included
    cdef bint whole = code <= DICORE_I16 and slope == <double><long long>slope if abs(slope) < 256 else False
    whole = whole and abs(intercept) < 1 << 23 and intercept == <double><long long>intercept
    whole = whole and (WIDTH[code] == 1 or abs(slope) * 65536 + abs(intercept) < 1 << 24)
    cdef PyThreadState *state = leave(b.size)
    if whole:
        K.rescale[code](<float *>b.at, a.at, n, <float>slope, <float>intercept)
    else:
        K.rescale_exact[code](<float *>b.at, a.at, n, slope, intercept)
    come_back(state)


def window(source not None, target not None, str kind, double scale, double offset, bint invert=False):
    """value * scale + offset, held within 0..255 and rounded, to uint8; `invert`: 255 minus that."""
    cdef Span a = Span(source), b = Span(target, True)
    cdef int code = code_of(kind)
    must(a.size == b.size * WIDTH[code], f"{a.size} bytes of {kind} to {b.size}")
    cdef PyThreadState *state = leave(a.size)
    K.window[code](b.at, a.at, <size_t>b.size, <float>scale, <float>offset, 255 if invert else 0)
    come_back(state)


def sigmoid(source not None, target not None, double scale, double offset, bint invert=False):
    """255 / (1 + exp(-(value * scale + offset))) of float32, rounded, to uint8; `invert`: 255 minus that."""
    cdef Span a = Span(source), b = Span(target, True)
    must(a.size == 4 * b.size, f"{a.size} bytes to {b.size}")
    cdef PyThreadState *state = leave(a.size)
    K.sigmoid(b.at, <float *>a.at, <size_t>b.size, <float>scale, <float>offset, 255 if invert else 0)
    come_back(state)


def look_up(source not None, table not None, target not None, int width, int entry):
    """Samples of `width` 1 or 2 bytes through a table of all their 256 or 65,536 bit patterns, to entries of `entry` bytes:
    1; 2 or 4 from 2; 3 for colours whose table has 4 bytes each (R G B and one that is not used)."""
    cdef Span a = Span(source), t = Span(table), b = Span(target, True)
    must(width in (1, 2) and a.size % width == 0, f"{a.size} bytes by {width}")
    must(entry in (1, 3) or (width == 2 and entry in (2, 4)), f"entries of {entry} bytes for samples of {width}")
    must(t.size == (256 if width == 1 else 65536) * (4 if entry == 3 else entry), f"a table of {t.size} bytes")
    cdef size_t n = <size_t>(a.size // width)
    must(b.size == <Py_ssize_t>n * entry, f"{a.size} bytes to {b.size}")
    cdef PyThreadState *state = leave(b.size)
    if width == 1 and entry == 1:
        K.table8(b.at, a.at, n, t.at)
    elif width == 1:
        K.palette8(b.at, a.at, n, <uint32_t *>t.at)
    elif entry == 1:
        K.table16(b.at, <uint16_t *>a.at, n, t.at)
    elif entry == 2:
        K.table16_16(<uint16_t *>b.at, <uint16_t *>a.at, n, <uint16_t *>t.at)
    elif entry == 3:
        K.palette16(b.at, <uint16_t *>a.at, n, <uint32_t *>t.at)
    else:
        K.table16_float(<float *>b.at, <uint16_t *>a.at, n, <float *>t.at)
    come_back(state)


# ---- for the benchmark -------------------------------------------------------------------------------------------------

#: name: (bits read, bits written) per count
WORK = {"memcpy": (64, 64), "swap16": (16, 16), "swap32": (32, 32), "swap64": (64, 64), "unpack1": (1, 8), "pack1": (8, 1),
        "unpack12": (12, 16), "pack12": (16, 12), "interleave8": (24, 24), "interleave16": (48, 48),
        "separate8": (24, 24), "separate16": (48, 48), "expand422": (32, 48), "keep16": (16, 16), "bit16": (16, 8),
        "rgb8": (24, 24), "rgb422": (32, 48), "rgb16": (48, 48), "table16": (16, 8), "palette8": (8, 24),
        "rescale_u2": (16, 32), "rescale_exact_u2": (16, 32), "window_u1": (8, 8), "window_u2": (16, 8), "window_i2": (16, 8),
        "window_f4": (32, 8), "sigmoid": (32, 8)}


cdef int call(const dicore_kernels *k, bytes name, uint8_t *to, uint8_t *a, size_t n) except -1:
    cdef uint16_t *to16 = <uint16_t *>to
    cdef uint16_t *a16 = <uint16_t *>a
    if name == b"memcpy": memcpy(to, a, 8 * n)
    elif name == b"swap16": k.swap16(to, a, n)
    elif name == b"swap32": k.swap32(to, a, n)
    elif name == b"swap64": k.swap64(to, a, n)
    elif name == b"unpack1": k.unpack1(to, a, 0, n)
    elif name == b"pack1": k.pack1(to, a, n)
    elif name == b"unpack12": k.unpack12(to16, a, n)
    elif name == b"pack12": k.pack12(to, a16, n)
    elif name == b"interleave8": k.interleave8(to, a, a + n, a + 2 * n, n)
    elif name == b"interleave16": k.interleave16(to16, a16, a16 + n, a16 + 2 * n, n)
    elif name == b"separate8": k.separate8(to, to + n, to + 2 * n, a, n)
    elif name == b"separate16": k.separate16(to16, to16 + n, to16 + 2 * n, a16, n)
    elif name == b"expand422": k.expand422(to, a, n)
    elif name == b"keep16": k.keep16(to16, a16, n, 0, 12, 1)
    elif name == b"bit16": k.bit16(to, a16, n, 13)
    elif name == b"rgb8": k.rgb8(to, a, n)
    elif name == b"rgb422": k.rgb422(to, a, n)
    elif name == b"rgb16": k.rgb16(to16, a16, n, 16, 0)
    elif name == b"table16": k.table16(to, a16, n, a)
    elif name == b"palette8": k.palette8(to, a, n, <uint32_t *>a)
    elif name == b"rescale_u2": k.rescale[<int>DICORE_U16](<float *>to, a, n, 1.0, -1024.0)
    elif name == b"rescale_exact_u2": k.rescale_exact[<int>DICORE_U16](<float *>to, a, n, 1.3, -1024.0)
    elif name == b"window_u1": k.window[<int>DICORE_U8](to, a, n, 1.7, -30.0, 0)
    elif name == b"window_u2": k.window[<int>DICORE_U16](to, a, n, 0.007, -30.0, 0)
    elif name == b"window_i2": k.window[<int>DICORE_I16](to, a, n, 0.007, 30.0, 255)
    elif name == b"window_f4": k.window[<int>DICORE_F32](to, a, n, 0.007, 30.0, 0)
    elif name == b"sigmoid": k.sigmoid(to, <float *>a, n, 0.007, 30.0, 0)
    else: raise ValueError(name)
    return 0


def measure(str name, str level, Py_ssize_t size, int repeats):
    """Run a kernel of a level `repeats` times on samples of about `size` bytes read and written in all. Gives (seconds a
    run, bytes moved a run, whether the result is that of the plain kernel)."""
    cdef bytes key = name.encode()
    cdef const dicore_kernels *k = dicore_kernels_named(level.encode())
    must(name in WORK and k != NULL and size > 0 and repeats > 0, f"{name} {level}")
    read, write = WORK[name]
    cdef size_t n = <size_t>(size * 8 // (read + write)) // 64 * 64
    cdef size_t in_size = n * read // 8, out_size = n * write // 8, room = max(in_size, out_size) + (1 << 18), i
    cdef uint8_t *a = <uint8_t *>malloc(room)
    cdef uint8_t *b = <uint8_t *>malloc(room)
    cdef uint8_t *c = <uint8_t *>malloc(room)
    cdef timespec begin, end
    cdef uint32_t seed = 1
    cdef int r
    try:
        if a == NULL or b == NULL or c == NULL:
            raise MemoryError(name)
        for i in range(room):
            seed = seed * 1664525 + 1013904223
            a[i] = <uint8_t>(seed >> 24)
            b[i] = c[i] = 0
        call(dicore_kernels_named(b"sse2"), key, c, a, n)
        call(k, key, b, a, n)
        clock_gettime(CLOCK_MONOTONIC, &begin)
        for r in range(repeats):
            call(k, key, b, a, n)
        clock_gettime(CLOCK_MONOTONIC, &end)
        seconds = (end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) * 1e-9) / repeats
        return seconds, in_size + out_size, memcmp(b, c, out_size) == 0
    finally:
        free(a)
        free(b)
        free(c)
