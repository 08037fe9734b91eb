#include "dicore/dicore.h"

const char *dicore_version(void) { return DICORE_VERSION; }

dicore_status dicore_fail(dicore_error *error, dicore_status status, uint64_t offset, uint32_t tag)
{
    if (error)
        *error = (dicore_error){.status = status, .offset = offset, .tag = tag};
    return status;
}

const char *dicore_status_text(dicore_status status)
{
    switch (status) {
    case DICORE_OK: return "success";
    case DICORE_NO_MEMORY: return "out of memory";
    case DICORE_BAD_ARGUMENT: return "an argument breaks the contract of the call";
    case DICORE_LIMIT: return "a limit was reached";
    case DICORE_IO: return "a system call failed";
    case DICORE_END: return "nothing more";
    case DICORE_TRUNCATED: return "the bytes end too early";
    case DICORE_BAD_VR: return "not a value representation";
    case DICORE_BAD_LENGTH: return "an impossible length";
    case DICORE_BAD_TAG: return "a tag that must not stand here";
    case DICORE_TOO_DEEP: return "sequences nested too deeply";
    case DICORE_NOT_DICOM: return "not a DICOM file";
    case DICORE_BAD_META: return "unusable file meta information";
    case DICORE_BAD_SYNTAX: return "a transfer syntax that cannot be read here";
    case DICORE_DEVIATION: return "a deviation from the standard";
    case DICORE_BAD_DEFLATE: return "a broken or oversized deflate stream";
    case DICORE_NO_ITEM: return "no such item in the sequence";
    case DICORE_BAD_FRAGMENTS: return "broken encapsulated pixel data";
    case DICORE_NO_FRAME: return "no such frame";
    case DICORE_BAD_FRAME: return "a broken frame";
    case DICORE_BAD_PDU: return "a malformed PDU";
    case DICORE_BAD_COMMAND: return "a malformed command set";
    case DICORE_BAD_STATE: return "not allowed in this state of the association";
    case DICORE_FAILED: return "the association has failed";
    case DICORE_BAD_RECORD: return "not a record";
    case DICORE_BAD_CRC: return "a record whose bytes are damaged";
    case DICORE_BAD_SEGMENT: return "not a segment that this version reads";
    case DICORE_SEGMENT_FULL: return "the segment is full";
    case DICORE_POISONED: return "a sync of the segment has failed";
    }
    return "an unknown status";
}
