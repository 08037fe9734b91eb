from dicore._native.libdicore cimport dicore_command

cdef class Command:
    cdef public int field, data_set_type
    cdef public object message_id, responded_to, priority, status, error_id, event_type, action_type
    cdef public object remaining, completed, failed, warning, originator_id
    cdef public str affected_class, requested_class, move_destination, error_comment, affected_instance, requested_instance
    cdef public str originator
    cdef bytes _offending, _attributes   # as stored: 4 bytes a tag

    @staticmethod
    cdef Command of(const dicore_command *command)
    cdef int fill(self, dicore_command *out) except -1
