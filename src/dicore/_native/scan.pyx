"""Scanning many files into columns: the fast half of `dicore.scan`.

A `Request` says which columns; it is shared by any number of threads. A `Worker` serves it on one thread at a time. What
comes out are `Batch`es: columns in the layout of Apache Arrow, which leave through the Arrow C data interface.
"""
import datetime
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int16_t, int32_t
from libc.string cimport memcpy, memset, strlen

from dicore._native.heap cimport heap
from dicore._native.libdicore cimport *
from dicore._native.status cimport check

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object text)

cdef dicore_allocator HEAP = heap()

IO = {"auto": DICORE_SCAN_AUTO, "pread": DICORE_SCAN_PREAD, "uring": DICORE_SCAN_URING}
TYPES = ("utf8", "binary", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "date32", "time64[us]")
LIST = DICORE_SCAN_LIST
DICTIONARY = DICORE_SCAN_DICTIONARY
STEPS_MAX = DICORE_SCAN_STEPS_MAX
COLUMNS_MAX = DICORE_SCAN_COLUMNS_MAX

cdef object EPOCH = 719163  # date.toordinal() of 1970-01-01


def column_type(str vr, bint several, bint ambiguous):
    """(type as an index into TYPES, flags) of a column of elements of `vr`."""
    cdef uint8_t kind = 0, flags = 0
    dicore_scan_column_type(vr_number(vr), several, ambiguous, &kind, &flags)
    return kind, flags


cdef uint16_t vr_number(str vr) except? 0xFFFF:
    if len(vr) != 2 or not vr.isascii():
        raise ValueError(f"no VR: {vr!r}")
    return <uint16_t>(ord(vr[0]) << 8 | ord(vr[1]))


def plain_files(list paths, Py_ssize_t start, Py_ssize_t stop):
    """Whether paths[start:stop] are all ASCII text with a suffix, and none that ends like the name of an archive: then nothing
    else has to be known about them."""
    cdef Py_ssize_t i, at, size
    cdef const char *text
    for i in range(start, stop):
        path = paths[i]
        if type(path) is not str or not PyUnicode_IS_COMPACT_ASCII(path):
            return False
        text = PyUnicode_AsUTF8AndSize(path, &size)
        if size == 0 or text[size - 1] in b"pPrRzZ2":  # zip, tar, gz, tgz, xz, bz2
            return False
        at = size - 1
        while at > 0 and text[at] != c"." and text[at] != c"/":
            at -= 1
        if at <= 0 or text[at] != c"." or text[at - 1] == c"/":
            return False
    return True


cdef class Request:
    """Columns, given as (name, steps, vr, type, flags): steps are (tag, item) pairs, none for the path of the file; type and
    flags as `column_type` gives them. Only the first `visible` ones are exported. `decode(raw, charset, vr)` gives the UTF-8
    of text in a character set that C does not know."""

    cdef dicore_scan_column *columns
    cdef dicore_scan_step *steps
    cdef const char **names
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t visible
    cdef list kept  # the names, encoded
    cdef object decode
    cdef dicore_scan_io io
    cdef uint64_t limit

    def __init__(self, columns, Py_ssize_t visible, decode, int io=0, limit=0):
        cdef Py_ssize_t total = 0, at = 0, i
        cdef bytes encoded
        if self.columns != NULL:
            raise TypeError("a Request is made once")
        if not 0 <= visible <= len(columns) or io not in IO.values():
            raise ValueError("a Request of other columns")
        for column in columns:
            total += len(column[1])
        self.columns = <dicore_scan_column *>PyMem_RawCalloc(len(columns) + 1, sizeof(dicore_scan_column))
        self.steps = <dicore_scan_step *>PyMem_RawCalloc(total + 1, sizeof(dicore_scan_step))
        self.names = <const char **>PyMem_RawCalloc(len(columns) + 1, sizeof(char *))
        if self.columns == NULL or self.steps == NULL or self.names == NULL:
            raise MemoryError()
        self.kept = []
        for i, (name, steps, vr, kind, flags) in enumerate(columns):
            encoded = name.encode("utf-8")
            self.kept.append(encoded)
            self.names[i] = PyBytes_AS_STRING(encoded)
            self.columns[i].steps = self.steps + at
            self.columns[i].count = len(steps)
            self.columns[i].vr = vr_number(vr)
            self.columns[i].type = kind
            self.columns[i].flags = flags
            for tag, item in steps:
                self.steps[at].tag = tag
                self.steps[at].item = item
                at += 1
        self.count = len(columns)
        self.visible = visible
        self.decode = decode
        self.io = <dicore_scan_io>io
        self.limit = limit

    def __dealloc__(self):
        PyMem_RawFree(self.columns)
        PyMem_RawFree(self.steps)
        PyMem_RawFree(self.names)

    def arrow_schema(self):
        """The visible columns as an 'arrow_schema' capsule."""
        cdef ArrowSchema *schema = <ArrowSchema *>PyMem_RawCalloc(1, sizeof(ArrowSchema))
        if schema == NULL:
            raise MemoryError()
        cdef dicore_status status = dicore_scan_export_schema(self.columns, self.names, self.visible, &HEAP, schema)
        if status != DICORE_OK:
            PyMem_RawFree(schema)
            check(status, NULL)
        return PyCapsule_New(schema, "arrow_schema", drop_schema)

    def arrow_stream(self, list batches):
        """Batches of this request as an 'arrow_array_stream' capsule; it holds them."""
        cdef Py_ssize_t i
        cdef Batch batch
        cdef dicore_status status
        cdef ArrowArrayStream *stream = <ArrowArrayStream *>PyMem_RawCalloc(1, sizeof(ArrowArrayStream))
        cdef dicore_scan_batch **held = <dicore_scan_batch **>PyMem_RawCalloc(len(batches) + 1, sizeof(void *))
        try:
            if stream == NULL or held == NULL:
                raise MemoryError()
            for i in range(len(batches)):
                batch = batches[i]
                if batch.request is not self:
                    raise ValueError("a batch of another request")
                held[i] = batch.batch
            status = dicore_scan_export_stream(self.columns, self.names, self.visible, held, len(batches), &HEAP, stream)
            check(status, NULL)
        except BaseException:
            PyMem_RawFree(stream)
            raise
        finally:
            PyMem_RawFree(held)
        return PyCapsule_New(stream, "arrow_array_stream", drop_stream)


cdef void drop_schema(object capsule) noexcept:
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(capsule, "arrow_schema")
    if schema.release != NULL:
        schema.release(schema)
    PyMem_RawFree(schema)


cdef void drop_array(object capsule) noexcept:
    cdef ArrowArray *array = <ArrowArray *>PyCapsule_GetPointer(capsule, "arrow_array")
    if array.release != NULL:
        array.release(array)
    PyMem_RawFree(array)


cdef void drop_stream(object capsule) noexcept:
    cdef ArrowArrayStream *stream = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
    if stream.release != NULL:
        stream.release(stream)
    PyMem_RawFree(stream)


cdef class Batch:
    """Rows of one scan, in columns. `problems` is a list of (path, status, errno, offset, tag, column or -1)."""

    cdef dicore_scan_batch *batch
    cdef readonly Request request
    cdef readonly list problems
    cdef readonly Py_ssize_t scanned  # files, good and bad, that this batch is about

    def __cinit__(self):
        self.batch = NULL

    def __init__(self):
        raise TypeError("a Batch comes from a Worker")

    def __dealloc__(self):
        dicore_scan_batch_release(self.batch)

    def __len__(self):
        return <Py_ssize_t>dicore_scan_batch_rows(self.batch)

    @property
    def invalid(self):
        """How many values could not be read as their column's type and are null."""
        return dicore_scan_batch_invalid(self.batch)

    @property
    def nbytes(self):
        return dicore_scan_batch_memory(self.batch)

    def column(self, Py_ssize_t number):
        """The values of a column as a list of Python objects, None where there is none."""
        cdef const dicore_scan_array *a
        cdef uint64_t i, count = dicore_scan_batch_rows(self.batch)
        cdef list words, values = []
        cdef int32_t start, end
        if not 0 <= number < self.request.count:
            raise IndexError(number)
        a = dicore_scan_batch_array(self.batch, <size_t>number)
        if a.flags & DICORE_SCAN_LIST:
            words = values_list(&a.child, a.type)
            for i in range(count):
                if valid(&a.values, i):
                    memcpy(&start, a.values.offsets.data + 4 * i, 4)
                    memcpy(&end, a.values.offsets.data + 4 * i + 4, 4)
                    values.append(words[start:end])
                else:
                    values.append(None)
            return values
        if a.flags & DICORE_SCAN_DICTIONARY:
            words = values_list(&a.child, a.type)
            for i in range(count):
                if valid(&a.values, i):
                    memcpy(&start, a.values.data.data + 4 * i, 4)
                    values.append(words[start])
                else:
                    values.append(None)
            return values
        return values_list(&a.values, a.type)

    def filter(self, const uint8_t[::1] keep not None):
        """A batch of the rows whose byte in `keep` is not 0."""
        cdef Batch out = Batch.__new__(Batch)
        cdef const uint8_t *bits = NULL
        if <uint64_t>keep.shape[0] != dicore_scan_batch_rows(self.batch):
            raise ValueError("a byte for each row is needed")
        if keep.shape[0]:
            bits = &keep[0]
        out.request = self.request
        out.problems = self.problems
        out.scanned = self.scanned
        check(dicore_scan_batch_filter(self.batch, bits, &out.batch), NULL)
        check(dicore_scan_batch_finish(out.batch), NULL)
        return out

    def arrow_array(self):
        """The visible columns as an 'arrow_array' capsule, without a copy."""
        cdef ArrowArray *array = <ArrowArray *>PyMem_RawCalloc(1, sizeof(ArrowArray))
        if array == NULL:
            raise MemoryError()
        cdef dicore_status status = dicore_scan_export_batch(self.batch, <size_t>self.request.visible, array)
        if status != DICORE_OK:
            PyMem_RawFree(array)
            check(status, NULL)
        return PyCapsule_New(array, "arrow_array", drop_array)


cdef inline bint valid(const dicore_scan_values *v, uint64_t i) noexcept:
    return v.nulls == 0 or (v.validity.data[i // 8] >> (i % 8)) & 1


cdef list values_list(const dicore_scan_values *v, int kind):
    cdef list out = []
    cdef uint64_t i
    for i in range(v.count):
        out.append(one_value(v, kind, i) if valid(v, i) else None)
    return out


cdef object one_value(const dicore_scan_values *v, int kind, uint64_t i):
    cdef int32_t start, end
    cdef int16_t i16
    cdef uint16_t u16
    cdef uint32_t u32
    cdef int64_t i64
    cdef uint64_t u64
    cdef float f32
    cdef double f64
    if kind == DICORE_SCAN_TEXT or kind == DICORE_SCAN_BINARY:
        memcpy(&start, v.offsets.data + 4 * i, 4)
        memcpy(&end, v.offsets.data + 4 * i + 4, 4)
        if kind == DICORE_SCAN_TEXT:
            return PyUnicode_DecodeUTF8(<const char *>v.data.data + start, end - start, NULL)
        return PyBytes_FromStringAndSize(<const char *>v.data.data + start, end - start)
    if kind == DICORE_SCAN_INT16:
        memcpy(&i16, v.data.data + 2 * i, 2)
        return i16
    if kind == DICORE_SCAN_UINT16:
        memcpy(&u16, v.data.data + 2 * i, 2)
        return u16
    if kind == DICORE_SCAN_INT32:
        memcpy(&start, v.data.data + 4 * i, 4)
        return start
    if kind == DICORE_SCAN_UINT32:
        memcpy(&u32, v.data.data + 4 * i, 4)
        return u32
    if kind == DICORE_SCAN_INT64:
        memcpy(&i64, v.data.data + 8 * i, 8)
        return i64
    if kind == DICORE_SCAN_UINT64:
        memcpy(&u64, v.data.data + 8 * i, 8)
        return u64
    if kind == DICORE_SCAN_FLOAT32:
        memcpy(&f32, v.data.data + 4 * i, 4)
        return <double>f32
    if kind == DICORE_SCAN_FLOAT64:
        memcpy(&f64, v.data.data + 8 * i, 8)
        return f64
    if kind == DICORE_SCAN_DATE:
        memcpy(&start, v.data.data + 4 * i, 4)
        return datetime.date.fromordinal(start + EPOCH)
    memcpy(&i64, v.data.data + 8 * i, 8)
    seconds, micros = divmod(i64, 1000000)
    return datetime.time(seconds // 3600, seconds // 60 % 60, seconds % 60, micros)


cdef class Worker:
    """One scan at a time for a request: its buffers and its io_uring. Raises OSError when io is "uring" and the kernel says no."""

    cdef dicore_scan *scan
    cdef dicore_scan_batch *open
    cdef readonly Request request
    cdef bytes text      # what `decode` gave last
    cdef list names      # of the open batch

    def __cinit__(self):
        self.scan = NULL
        self.open = NULL

    def __init__(self, Request request not None):
        cdef dicore_scan_options options
        cdef dicore_error error
        if self.scan != NULL:
            raise TypeError("a Worker is made once")
        memset(&options, 0, sizeof(options))
        memset(&error, 0, sizeof(error))
        self.request = request
        options.columns = request.columns
        options.count = <size_t>request.count
        options.io = request.io
        options.decode = <dicore_scan_decode>decode
        options.context = <void *>self
        options.limit = request.limit
        cdef dicore_status status = dicore_scan_open(&options, &HEAP, &self.scan, &error)
        if status == DICORE_IO:
            raise OSError(error.system, f"io_uring: {os.strerror(error.system)}")
        check(status, &error)

    def __dealloc__(self):
        dicore_scan_batch_release(self.open)
        dicore_scan_close(self.scan)

    @property
    def uses_uring(self):
        return bool(dicore_scan_uses_uring(self.scan))

    def run(self, list paths):
        """Scan files, without the GIL; a list of batches, mostly one."""
        cdef Py_ssize_t count = len(paths), i, size
        cdef size_t at = 0, done = 0
        cdef dicore_status status = DICORE_OK
        cdef dicore_scan_batch *batch = NULL
        cdef list kept = [], out = []
        cdef bytes encoded
        cdef const char **names = <const char **>PyMem_RawMalloc((<size_t>count + 1) * sizeof(char *))
        if names == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                path = paths[i]
                if type(path) is str and PyUnicode_IS_COMPACT_ASCII(path):
                    names[i] = PyUnicode_AsUTF8AndSize(path, &size)
                else:
                    encoded = os.fsencode(path)
                    kept.append(encoded)
                    names[i] = PyBytes_AS_STRING(encoded)
                    size = PyBytes_GET_SIZE(encoded)
                if strlen(names[i]) != <size_t>size:
                    raise ValueError("embedded null byte in a path")
            while True:
                batch = NULL
                check(dicore_scan_batch_new(self.scan, &batch), NULL)
                with nogil:
                    status = dicore_scan_run(self.scan, names + at, <size_t>count - at, at, batch, &done)
                    if status == DICORE_OK:
                        status = dicore_scan_batch_finish(batch)
                if status != DICORE_OK:
                    dicore_scan_batch_release(batch)
                    check(status, NULL)
                out.append(wrap(batch, self.request, paths, <Py_ssize_t>done))
                at += done
                if at == <size_t>count:
                    return out
        finally:
            PyMem_RawFree(names)

    def add(self, str name, data, bint whole):
        """Scan a file in memory, or with `whole` false the beginning of one, into the open batch. 0, or how many bytes of it
        are needed."""
        cdef Py_buffer view
        cdef dicore_span span
        cdef dicore_status status
        cdef uint64_t need = 0
        cdef bytes encoded = name.encode("utf-8", "surrogateescape")
        if self.open == NULL:
            check(dicore_scan_batch_new(self.scan, &self.open), NULL)
            self.names = []
        span.data = <const uint8_t *>PyBytes_AS_STRING(encoded)
        span.size = <size_t>len(encoded)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            status = dicore_scan_memory(self.scan, span, <const uint8_t *>view.buf, <size_t>view.len, whole, <uint64_t>len(self.names),
                                        self.open, &need)
        finally:
            PyBuffer_Release(&view)
        if status == DICORE_TRUNCATED and not whole:
            return need
        check(status, NULL)
        self.names.append(name)
        return 0

    @property
    def pending(self):
        """Files in the open batch, and its bytes."""
        if self.open == NULL:
            return 0, 0
        return len(self.names), dicore_scan_batch_memory(self.open)

    def take(self):
        """The open batch, or None when nothing was added."""
        cdef dicore_scan_batch *batch = self.open
        if batch == NULL:
            return None
        names, self.open, self.names = self.names, NULL, None
        cdef dicore_status status = dicore_scan_batch_finish(batch)
        if status != DICORE_OK:
            dicore_scan_batch_release(batch)
            check(status, NULL)
        return wrap(batch, self.request, names, len(names))


cdef Batch wrap(dicore_scan_batch *batch, Request request, list names, Py_ssize_t scanned):
    cdef Batch out = Batch.__new__(Batch)
    cdef size_t count = 0, i
    out.batch = batch
    out.request = request
    out.scanned = scanned
    out.problems = []
    cdef const dicore_scan_problem *problems = dicore_scan_batch_problems(batch, &count)
    for i in range(count):
        out.problems.append((names[problems[i].source], <int>problems[i].status, problems[i].system, problems[i].offset,
                             problems[i].tag, problems[i].column))
    return out


cdef int decode(void *context, dicore_span raw, dicore_span charset, uint16_t vr, dicore_span *text) noexcept with gil:
    cdef Worker worker = <Worker>context
    cdef bytes given
    try:
        given = worker.request.decode(
            PyBytes_FromStringAndSize(<const char *>raw.data, <Py_ssize_t>raw.size),
            PyBytes_FromStringAndSize(<const char *>charset.data, <Py_ssize_t>charset.size) if charset.size else b"",
            chr(vr >> 8) + chr(vr & 0xFF))
    except Exception:  # a value that cannot be decoded is a problem of that value
        return -1
    worker.text = given
    text.data = <const uint8_t *>PyBytes_AS_STRING(given)
    text.size = <size_t>len(given)
    return 0
