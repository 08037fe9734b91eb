"""De-identification over libdicore (dicore/deidentify.h): bytes of a file in, bytes of the new file out."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.string cimport memcpy

from dicore import errors
from dicore._native.heap cimport heap
from dicore._native.libdicore cimport *
from dicore._native.status cimport check

cdef enum:
    GIL_LIMIT = 1 << 18  # from this many bytes on without the GIL


cdef dicore_allocator HEAP = heap()


cdef inline dicore_span span_of(bytes data):
    cdef dicore_span span
    span.data = <const uint8_t *>PyBytes_AS_STRING(data)
    span.size = <size_t>len(data)
    return span


cdef void *memory(size_t size) except NULL:
    cdef void *at = PyMem_RawRealloc(NULL, size if size else 1)
    if at == NULL:
        raise MemoryError()
    return at


cdef class Deidentifier:
    """What to do, ready for C. Immutable; any number of threads may use one.

    `rules`: {public tag: action}, `safe`: [(tag with block 00, creator)], `words`: the vocabulary, `constants`: [(tag, VR, value
    in explicit VR little endian)] ascending, `defaults`: actions of (50xx,xxxx), (60xx,3000), (60xx,4000), and of DA DT TM, UI, PN,
    UR elements without a rule; `key`: 32 bytes.
    """

    cdef dicore_deidentifier how
    cdef list kept  # bytes that spans point to

    def __cinit__(self, dict rules not None, list safe not None, list words not None, list constants not None,
                  tuple defaults not None, bytes key not None, bytes implementation not None, bytes version_name not None):
        cdef dicore_deid_rule *rule
        cdef dicore_deid_private *private
        cdef dicore_change *change
        cdef uint64_t *slots
        cdef uint64_t number
        cdef size_t i, slot, room = 0
        cdef bytes text
        if len(key) != 32:
            raise ValueError("the key of a Deidentifier has 32 bytes")
        self.kept = [implementation, version_name]
        self.how.implementation = span_of(implementation)
        self.how.version_name = span_of(version_name)
        self.how.rules = rule = <dicore_deid_rule *>memory(len(rules) * sizeof(dicore_deid_rule))
        for i, (tag, action) in enumerate(sorted(rules.items())):
            rule[i].tag = tag
            rule[i].action = action
        self.how.rule_count = len(rules)
        self.how.safe = private = <dicore_deid_private *>memory(len(safe) * sizeof(dicore_deid_private))
        for i, (tag, creator) in enumerate(safe):
            text = creator
            self.kept.append(text)
            private[i].tag = tag
            private[i].creator = span_of(text)
        self.how.safe_count = len(safe)
        if words:
            room = 16
            while room < 2 * <size_t>len(words):
                room *= 2
            slots = <uint64_t *>memory(room * sizeof(uint64_t))
            self.how.words = slots
            for i in range(room):
                slots[i] = 0
            for word in words:
                text = word
                number = dicore_deid_word_hash(<const uint8_t *>PyBytes_AS_STRING(text), <size_t>len(text))
                slot = number & (room - 1)
                while slots[slot] != 0 and slots[slot] != number:
                    slot = (slot + 1) & (room - 1)
                slots[slot] = number
            self.how.word_slots = room
        self.how.constants = change = <dicore_change *>memory(len(constants) * sizeof(dicore_change))
        for i, (tag, vr, value) in enumerate(constants):
            text = value
            self.kept.append(text)
            change[i].path = NULL
            change[i].path_length = change[i].item = 0
            change[i].tag = tag
            change[i].vr = ord(vr[0]) << 8 | ord(vr[1])
            change[i].kind = DICORE_CHANGE_PUT
            change[i].encoded = 0
            change[i].value = span_of(text)
        self.how.constant_count = len(constants)
        (self.how.curves, self.how.overlay_data, self.how.overlay_comments, self.how.dates, self.how.uids, self.how.names,
         self.how.links) = defaults
        memcpy(self.how.key, PyBytes_AS_STRING(key), 32)

    def __dealloc__(self):
        PyMem_RawFree(<void *>self.how.rules)
        PyMem_RawFree(<void *>self.how.safe)
        PyMem_RawFree(<void *>self.how.words)
        PyMem_RawFree(<void *>self.how.constants)

    def apply(self, data not None, bytes transfer_syntax=b"", bytes patient=b"", bytes name=b"", bint logged=False, path=None):
        """The new file of a file (or of a bare data set in `transfer_syntax`) as (bytes, log, burned in).

        `log` is None or a list of (tag, action, depth) in the order of the tape, the constants last. Raises DicomFormatError.
        """
        cdef const uint8_t[::1] view = data
        cdef dicore_span source, syntax = span_of(transfer_syntax), new_patient = span_of(patient), new_name = span_of(name)
        cdef dicore_deidentified planned
        cdef dicore_error error
        cdef dicore_status status
        cdef bytes out
        cdef uint8_t *target
        cdef size_t i
        source.size = <size_t>view.shape[0]
        source.data = &view[0] if source.size else NULL
        cdef bint release = source.size >= GIL_LIMIT
        if release:
            with nogil:
                status = dicore_deidentify_plan(&self.how, source.data, source.size, syntax, new_patient, new_name, &HEAP,
                                                &planned, &error)
        else:
            status = dicore_deidentify_plan(&self.how, source.data, source.size, syntax, new_patient, new_name, &HEAP, &planned,
                                            &error)
        if status == DICORE_BAD_SYNTAX and error.tag == 0x00041220:
            raise errors.DicomFormatError("a DICOMDIR is not de-identified: make a new one of the new files", path=path)
        if status == DICORE_BAD_META and error.tag in (0x00080016, 0x00080018):
            raise errors.DicomFormatError("no SOP Class UID or no SOP Instance UID", path=path, offset=error.offset,
                                          tag_path=f"{error.tag >> 16:04X},{error.tag & 0xFFFF:04X}")
        check(status, &error, path)
        try:
            out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>planned.size)
            target = <uint8_t *>PyBytes_AS_STRING(out)
            if release:
                with nogil:
                    dicore_deidentify_emit(&planned, target, planned.size)
            else:
                dicore_deidentify_emit(&planned, target, planned.size)
            log = None
            if logged:
                log = [(planned.log[i].tag, planned.log[i].action, planned.log[i].depth) for i in range(planned.log_count)]
            return out, log, {1: "YES", 0: "NO"}.get(planned.burned_in)
        finally:
            dicore_deidentify_free(&planned, &HEAP)


def new_uid(bytes key not None, bytes uid not None):
    """The new UID of `uid` under a key of 32 bytes."""
    cdef uint8_t out[64]
    if len(key) != 32:
        raise ValueError("32 bytes of key")
    cdef size_t n = dicore_deid_uid(<const uint8_t *>PyBytes_AS_STRING(key), span_of(uid), out)
    return (<const char *>out)[:n].decode("ascii")


def pseudonym(bytes key not None, bytes identifier not None):
    """The pseudonym of a patient's identifier under a key of 32 bytes."""
    cdef uint8_t out[16]
    if len(key) != 32:
        raise ValueError("32 bytes of key")
    dicore_deid_pseudonym(<const uint8_t *>PyBytes_AS_STRING(key), span_of(identifier), out)
    return (<const char *>out)[:16].decode("ascii")


def days(bytes key not None, bytes identifier not None):
    """By how many days a patient's dates move under a key of 32 bytes: negative."""
    if len(key) != 32:
        raise ValueError("32 bytes of key")
    return dicore_deid_days(<const uint8_t *>PyBytes_AS_STRING(key), span_of(identifier))


def shifted(str vr not None, bytes value not None, int by):
    """A DA or DT value moved by `by` days; None when it is no date."""
    cdef size_t n = 0
    cdef bytes out = PyBytes_FromStringAndSize(NULL, len(value) + 1)
    if dicore_deid_shift(ord(vr[0]) << 8 | ord(vr[1]), <const uint8_t *>PyBytes_AS_STRING(value), <size_t>len(value), by,
                         <uint8_t *>PyBytes_AS_STRING(out), &n) != DICORE_OK:
        return None
    return out[:n]


def dictionary_names():
    """The names of all elements in the public dictionary (PS3.6)."""
    cdef dicore_dictionary_entry entry
    cdef size_t i
    cdef list names = []
    for i in range(dicore_dictionary_count()):
        if dicore_dictionary_at(i, &entry):
            names.append((<bytes>entry.name).decode("ascii", "replace"))
    return names
