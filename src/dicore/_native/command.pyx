"""Command sets (PS3.7 6.3) as Python objects, for the messages that Python decides about."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memset

from dicore._native.libdicore cimport *
from dicore._native.status cimport check

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef str text_of(dicore_span span):
    if span.data == NULL:
        return None
    return PyUnicode_DecodeASCII(<const char *>span.data, <Py_ssize_t>span.size, "backslashreplace")


cdef bytes bytes_of(dicore_span span):
    if span.data == NULL:
        return None
    return PyBytes_FromStringAndSize(<const char *>span.data, <Py_ssize_t>span.size)


cdef int put_text(dicore_span *out, str text) except -1:
    cdef Py_ssize_t size
    if text is not None:
        out.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)
        out.size = <size_t>size
    return 0


cdef int put_bytes(dicore_span *out, bytes data) except -1:
    if data is not None:
        out.data = <const uint8_t *>PyBytes_AS_STRING(data)
        out.size = <size_t>PyBytes_GET_SIZE(data)
    return 0


cdef uint16_t number(object value) except? 0xFFFF:
    cdef long wide = value
    if not 0 <= wide <= 0xFFFF:
        raise ValueError(f"{value!r} does not fit 16 bits")
    return <uint16_t>wide


cdef tuple tags_of(bytes stored):
    if stored is None:
        return None
    return tuple([int.from_bytes(stored[i:i + 2], "little") << 16 | int.from_bytes(stored[i + 2:i + 4], "little")
                  for i in range(0, len(stored) - 3, 4)])


cdef bytes tags_to(object tags):
    if tags is None:
        return None
    return b"".join([(tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") for tag in tags])


cdef class Command:
    """One command set. `field` is the Command Field (0000,0100); None is what is not there.

    Text of a peer is ASCII, other bytes escaped; UIDs have no padding."""

    def __init__(self, int field, *, message_id=None, responded_to=None, priority=None, int data_set_type=0x0101, status=None,
                 error_id=None, event_type=None, action_type=None, remaining=None, completed=None, failed=None, warning=None,
                 originator_id=None, str affected_class=None, str requested_class=None, str move_destination=None,
                 str error_comment=None, str affected_instance=None, str requested_instance=None, str originator=None,
                 offending=None, attributes=None):
        self.field = field
        self.data_set_type = data_set_type
        self.message_id = message_id
        self.responded_to = responded_to
        self.priority = priority
        self.status = status
        self.error_id = error_id
        self.event_type = event_type
        self.action_type = action_type
        self.remaining = remaining
        self.completed = completed
        self.failed = failed
        self.warning = warning
        self.originator_id = originator_id
        self.affected_class = affected_class
        self.requested_class = requested_class
        self.move_destination = move_destination
        self.error_comment = error_comment
        self.affected_instance = affected_instance
        self.requested_instance = requested_instance
        self.originator = originator
        self.offending = offending
        self.attributes = attributes

    @property
    def offending(self):
        """Offending Element (0000,0901): tags."""
        return tags_of(self._offending)

    @offending.setter
    def offending(self, tags):
        self._offending = tags_to(tags)

    @property
    def attributes(self):
        """Attribute Identifier List (0000,1005): tags."""
        return tags_of(self._attributes)

    @attributes.setter
    def attributes(self, tags):
        self._attributes = tags_to(tags)

    @property
    def is_response(self):
        return bool(self.field & 0x8000)

    @property
    def has_data(self):
        """A data set follows."""
        return self.data_set_type != 0x0101

    @property
    def sop_class(self):
        """The Affected or Requested SOP Class UID, '' when there is none."""
        return self.affected_class or self.requested_class or ""

    @property
    def sop_instance(self):
        """The Affected or Requested SOP Instance UID, '' when there is none."""
        return self.affected_instance or self.requested_instance or ""

    @staticmethod
    cdef Command of(const dicore_command *c):
        cdef Command out = Command.__new__(Command)
        cdef uint32_t has = c.present
        out.field = c.command_field
        out.data_set_type = c.data_set_type
        if has & DICORE_HAS_MESSAGE_ID:
            out.message_id = c.message_id
        if has & DICORE_HAS_RESPONDED_TO:
            out.responded_to = c.responded_to
        if has & DICORE_HAS_PRIORITY:
            out.priority = c.priority
        if has & DICORE_HAS_STATUS:
            out.status = c.status
        if has & DICORE_HAS_ERROR_ID:
            out.error_id = c.error_id
        if has & DICORE_HAS_EVENT_TYPE:
            out.event_type = c.event_type
        if has & DICORE_HAS_ACTION_TYPE:
            out.action_type = c.action_type
        if has & DICORE_HAS_REMAINING:
            out.remaining = c.remaining
        if has & DICORE_HAS_COMPLETED:
            out.completed = c.completed
        if has & DICORE_HAS_FAILED:
            out.failed = c.failed
        if has & DICORE_HAS_WARNING:
            out.warning = c.warning
        if has & DICORE_HAS_ORIGINATOR_ID:
            out.originator_id = c.originator_id
        out.affected_class = text_of(c.affected_class)
        out.requested_class = text_of(c.requested_class)
        out.move_destination = text_of(c.move_destination)
        out.error_comment = text_of(c.error_comment)
        out.affected_instance = text_of(c.affected_instance)
        out.requested_instance = text_of(c.requested_instance)
        out.originator = text_of(c.originator)
        out._offending = bytes_of(c.offending)
        out._attributes = bytes_of(c.attributes)
        return out

    cdef int fill(self, dicore_command *out) except -1:
        """The C struct; its spans live as long as this object is not changed."""
        memset(out, 0, sizeof(dicore_command))
        out.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_DATA_SET_TYPE
        out.command_field = number(self.field)
        out.data_set_type = number(self.data_set_type)
        if self.message_id is not None:
            out.present |= DICORE_HAS_MESSAGE_ID
            out.message_id = number(self.message_id)
        if self.responded_to is not None:
            out.present |= DICORE_HAS_RESPONDED_TO
            out.responded_to = number(self.responded_to)
        if self.priority is not None:
            out.present |= DICORE_HAS_PRIORITY
            out.priority = number(self.priority)
        if self.status is not None:
            out.present |= DICORE_HAS_STATUS
            out.status = number(self.status)
        if self.error_id is not None:
            out.present |= DICORE_HAS_ERROR_ID
            out.error_id = number(self.error_id)
        if self.event_type is not None:
            out.present |= DICORE_HAS_EVENT_TYPE
            out.event_type = number(self.event_type)
        if self.action_type is not None:
            out.present |= DICORE_HAS_ACTION_TYPE
            out.action_type = number(self.action_type)
        if self.remaining is not None:
            out.present |= DICORE_HAS_REMAINING
            out.remaining = number(self.remaining)
        if self.completed is not None:
            out.present |= DICORE_HAS_COMPLETED
            out.completed = number(self.completed)
        if self.failed is not None:
            out.present |= DICORE_HAS_FAILED
            out.failed = number(self.failed)
        if self.warning is not None:
            out.present |= DICORE_HAS_WARNING
            out.warning = number(self.warning)
        if self.originator_id is not None:
            out.present |= DICORE_HAS_ORIGINATOR_ID
            out.originator_id = number(self.originator_id)
        put_text(&out.affected_class, self.affected_class)
        put_text(&out.requested_class, self.requested_class)
        put_text(&out.move_destination, self.move_destination)
        put_text(&out.error_comment, self.error_comment)
        put_text(&out.affected_instance, self.affected_instance)
        put_text(&out.requested_instance, self.requested_instance)
        put_text(&out.originator, self.originator)
        put_bytes(&out.offending, self._offending)
        put_bytes(&out.attributes, self._attributes)
        return 0

    @staticmethod
    def parse(const uint8_t[::1] data not None):
        """Read a whole command set, group length included. Raises ProtocolViolation where it is none."""
        cdef dicore_command found
        cdef dicore_error error
        cdef const uint8_t *at = &data[0] if data.shape[0] else NULL
        check(dicore_command_parse(at, <size_t>data.shape[0], &found, &error), &error)
        return Command.of(&found)

    def build(self):
        """The bytes of it. Raises ValueError when a value cannot be (a UID over 64 bytes, an AE title over 16)."""
        cdef dicore_command c
        cdef size_t size = 0
        cdef dicore_status status
        cdef bytes out
        self.fill(&c)
        status = dicore_command_build(&c, NULL, 0, &size)
        if status == DICORE_NO_MEMORY:
            out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
            status = dicore_command_build(&c, <uint8_t *>PyBytes_AS_STRING(out), size, &size)
        if status != DICORE_OK:
            raise ValueError("a value does not fit its element of the command set")
        return out

    def __eq__(self, other):
        return isinstance(other, Command) and self.build() == (<Command>other).build()

    def __repr__(self):
        names = ("message_id", "responded_to", "priority", "status", "error_id", "event_type", "action_type", "remaining",
                 "completed", "failed", "warning", "originator_id", "affected_class", "requested_class", "move_destination",
                 "error_comment", "affected_instance", "requested_instance", "originator", "offending", "attributes")
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in names if getattr(self, name) is not None)
        return f"Command(0x{self.field:04X}, {said}{', data' if self.has_data else ''})"
