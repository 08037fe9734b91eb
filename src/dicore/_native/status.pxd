from dicore._native.libdicore cimport dicore_error, dicore_status

cdef int check(dicore_status status, const dicore_error *error, object path=*, object expected=*) except -1
cdef int check_os(dicore_status status, const dicore_error *error, object path=*) except -1
