# The one transcription of the headers in csrc/include/dicore. A column a section, in the order of the headers.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "dicore/base.h" nogil:
    ctypedef enum dicore_status:
        DICORE_OK
        DICORE_NO_MEMORY
        DICORE_BAD_ARGUMENT
        DICORE_LIMIT
        DICORE_IO
        DICORE_END
        DICORE_TRUNCATED
        DICORE_BAD_VR
        DICORE_BAD_LENGTH
        DICORE_BAD_TAG
        DICORE_TOO_DEEP
        DICORE_NOT_DICOM
        DICORE_BAD_META
        DICORE_BAD_SYNTAX
        DICORE_DEVIATION
        DICORE_BAD_DEFLATE
        DICORE_NO_ITEM
        DICORE_BAD_FRAGMENTS
        DICORE_NO_FRAME
        DICORE_BAD_FRAME
        DICORE_BAD_PDU
        DICORE_BAD_COMMAND
        DICORE_BAD_STATE
        DICORE_FAILED
        DICORE_BAD_RECORD
        DICORE_BAD_CRC
        DICORE_BAD_SEGMENT
        DICORE_SEGMENT_FULL
        DICORE_POISONED

    ctypedef struct dicore_error:
        dicore_status status
        int system
        uint64_t offset
        uint32_t tag
        uint32_t depth
        uint32_t detail

    ctypedef struct dicore_allocator:
        void *(*resize)(void *context, void *pointer, size_t old_size, size_t new_size) noexcept
        void *context

    ctypedef struct dicore_span:
        const uint8_t *data
        size_t size

    const char *dicore_status_text(dicore_status status)


# ---- dataset.h -------------------------------------------------------------------------------------------------------
cdef extern from "dicore/dataset.h" nogil:
    ctypedef enum dicore_encoding:
        DICORE_IMPLICIT_LE
        DICORE_EXPLICIT_LE
        DICORE_IMPLICIT_BE
        DICORE_EXPLICIT_BE

    const uint32_t DICORE_UNDEFINED_LENGTH
    const uint32_t DICORE_TAG_ITEM
    const uint32_t DICORE_TAG_PIXEL_DATA
    const uint16_t DICORE_VR_SQ
    const uint16_t DICORE_VR_UN

    ctypedef struct dicore_element_header:
        uint32_t tag
        uint32_t length
        uint16_t vr
        uint8_t size

    int dicore_vr_known(uint16_t vr)
    int dicore_vr_short(uint16_t vr)

    dicore_status dicore_read_element_header(const uint8_t *data, size_t size, dicore_encoding encoding, dicore_element_header *out)
    dicore_status dicore_write_element_header(uint8_t *out, size_t capacity, dicore_encoding encoding, uint32_t tag, uint16_t vr, uint32_t length, size_t *size)

    const uint32_t DICORE_DEV_NO_PREAMBLE
    const uint32_t DICORE_DEV_COUNT

    ctypedef struct dicore_deviation:
        uint32_t code
        uint32_t tag
        uint64_t offset

    ctypedef struct dicore_deviations:
        dicore_deviation *items
        uint32_t capacity
        uint32_t count

    const char *dicore_deviation_name(uint32_t code)
    const char *dicore_deviation_text(uint32_t code)

    ctypedef struct dicore_private_entry:
        const char *creator
        uint32_t tag
        uint16_t vr

    ctypedef struct dicore_private_dictionary:
        const dicore_private_entry *entries
        size_t count

    ctypedef struct dicore_read_options:  # zero it first: all zero is the default
        uint8_t strict
        uint8_t partial
        uint8_t depth_limit
        dicore_deviations *deviations
        uint64_t total
        uint64_t chain_value
        uint64_t chain_end
        const dicore_private_dictionary *private_dictionary

    const uint16_t DICORE_ENTRY_ENCODING
    const uint16_t DICORE_ENTRY_EXPLICIT
    const uint16_t DICORE_ENTRY_BIG_ENDIAN
    const uint16_t DICORE_ENTRY_ITEM
    const uint16_t DICORE_ENTRY_SEQUENCE
    const uint16_t DICORE_ENTRY_UNDEFINED
    const uint16_t DICORE_ENTRY_DELIMITED
    const uint16_t DICORE_ENTRY_FRAGMENTS
    const uint16_t DICORE_ENTRY_TRUNCATED
    const uint16_t DICORE_ENTRY_DEVIATES
    const uint16_t DICORE_SELECTED

    ctypedef struct dicore_entry:
        uint64_t offset
        uint64_t length
        uint32_t tag
        uint32_t next
        uint16_t vr
        uint16_t flags
        uint8_t header
        uint8_t depth

    ctypedef struct dicore_selected:
        uint64_t offset
        uint64_t length
        uint32_t tag
        uint16_t vr
        uint16_t flags

    dicore_status dicore_select(const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding, const dicore_read_options *options, const uint32_t *tags, size_t count, dicore_selected *out, uint64_t *position, dicore_error *error)

    ctypedef struct dicore_tape:
        dicore_entry *entries
        uint32_t count
        uint32_t capacity
        uint64_t end

    const uint32_t DICORE_NO_ENTRY
    dicore_status dicore_tape_read(dicore_tape *tape, const uint8_t *data, size_t size, uint64_t start, dicore_encoding encoding, const dicore_read_options *options, const dicore_allocator *allocator, dicore_error *error)
    void dicore_tape_free(dicore_tape *tape, const dicore_allocator *allocator)
    uint32_t dicore_tape_find(const dicore_tape *tape, uint32_t first, uint32_t end, uint32_t tag)
    dicore_span dicore_tape_creator(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first, uint32_t end, uint32_t tag)
    uint16_t dicore_tape_vr(const dicore_tape *tape, const uint8_t *data, size_t size, uint32_t first, uint32_t end, uint32_t index, int pixel_representation)

    ctypedef struct dicore_part10:
        uint64_t meta_offset
        uint64_t meta_size
        uint64_t dataset_offset
        uint8_t has_preamble
        uint8_t meta_encoding
        uint8_t encoding
        uint8_t deflated
        uint8_t guessed
        dicore_span sop_class
        dicore_span sop_instance
        dicore_span transfer_syntax
        dicore_span implementation
        dicore_span version_name
        dicore_span source_ae

    dicore_status dicore_part10_parse(const uint8_t *data, size_t size, const dicore_read_options *options, dicore_part10 *out, dicore_error *error)
    dicore_encoding dicore_syntax_encoding(const uint8_t *uid, size_t size, int *deflated)
    const size_t DICORE_META_MAX
    bint dicore_uid_usable(dicore_span uid)

    ctypedef struct dicore_identity:
        dicore_span sop_class
        dicore_span sop_instance
        dicore_span transfer_syntax
        uint64_t start
        bint deflated

    dicore_status dicore_part10_identify(const uint8_t *data, size_t size, bint partial, dicore_identity *out)
    dicore_status dicore_part10_write_meta(uint8_t *out, size_t capacity, size_t *size, dicore_span sop_class, dicore_span sop_instance, dicore_span transfer_syntax, dicore_span implementation, dicore_span version_name, dicore_span source_ae)

    ctypedef struct dicore_inflate_limits:
        uint64_t size
        uint64_t ratio
        uint64_t ratio_from

    dicore_status dicore_inflate(const uint8_t *data, size_t size, const dicore_inflate_limits *limits, const dicore_read_options *options, const dicore_allocator *allocator, uint8_t **out, size_t *out_size, size_t *out_capacity, dicore_error *error)

    ctypedef enum dicore_change_kind:
        DICORE_CHANGE_PUT
        DICORE_CHANGE_REPLACE
        DICORE_CHANGE_ADD
        DICORE_CHANGE_DELETE

    ctypedef struct dicore_step:
        uint32_t tag
        uint32_t item

    ctypedef struct dicore_change:
        const dicore_step *path
        uint32_t path_length
        uint32_t item
        uint32_t tag
        uint16_t vr
        uint8_t kind
        uint8_t encoded
        dicore_span value

    ctypedef struct dicore_edit_options:
        uint8_t reencode
        uint8_t encoding
        uint8_t lengths
        uint8_t canonical
        uint32_t item

    ctypedef struct dicore_piece:
        const uint8_t *data
        size_t size
        uint32_t swap

    ctypedef struct dicore_plan:
        dicore_piece *pieces
        size_t count
        uint64_t size
        size_t swapped

    dicore_status dicore_edit_plan(dicore_plan *plan, const dicore_tape *tape, const uint8_t *data, size_t size, dicore_encoding encoding, const dicore_change *changes, size_t count, const dicore_edit_options *options, const dicore_allocator *allocator, dicore_error *error)
    dicore_status dicore_plan_emit(const dicore_plan *plan, uint8_t *out, size_t capacity)
    dicore_status dicore_plan_spans(const dicore_plan *plan, dicore_span *out, size_t capacity)
    void dicore_plan_free(dicore_plan *plan, const dicore_allocator *allocator)
    dicore_status dicore_deflate(const uint8_t *data, size_t size, int level, const dicore_allocator *allocator, uint8_t **out, size_t *out_size, size_t *out_capacity, dicore_error *error)

    size_t dicore_vr_width(uint16_t vr)
    size_t dicore_value_trim(const uint8_t *data, size_t size)
    dicore_status dicore_value_decimal(const uint8_t *data, size_t size, double *out)
    dicore_status dicore_value_integer(const uint8_t *data, size_t size, int64_t *out)

    ctypedef struct dicore_dictionary_entry:
        uint32_t tag
        uint32_t mask
        uint16_t vr[3]
        uint8_t retired
        const char *keyword
        const char *name
        const char *vm

    int dicore_dictionary_find(uint32_t tag, dicore_dictionary_entry *out)
    uint16_t dicore_dictionary_vr(uint32_t tag)
    uint32_t dicore_dictionary_keyword(const char *keyword, size_t size, int *found)
    int dicore_dictionary_private(const uint8_t *creator, size_t size, uint32_t tag, dicore_dictionary_entry *out)
    uint16_t dicore_dictionary_private_vr(const uint8_t *creator, size_t size, uint32_t tag)
    uint16_t dicore_private_vr(const dicore_private_dictionary *dictionary, const uint8_t *creator, size_t size, uint32_t tag)
    size_t dicore_dictionary_count()
    int dicore_dictionary_at(size_t number, dicore_dictionary_entry *out)

# ---- deidentify.h ----------------------------------------------------------------------------------------------------
cdef extern from "dicore/deidentify.h" nogil:
    ctypedef struct dicore_deid_rule:
        uint32_t tag
        uint32_t action

    ctypedef struct dicore_deid_private:
        uint32_t tag
        dicore_span creator

    ctypedef struct dicore_deidentifier:
        const dicore_deid_rule *rules
        size_t rule_count
        const dicore_deid_private *safe
        size_t safe_count
        const uint64_t *words
        size_t word_slots
        const dicore_change *constants
        size_t constant_count
        dicore_span implementation
        dicore_span version_name
        uint8_t curves
        uint8_t overlay_data
        uint8_t overlay_comments
        uint8_t dates
        uint8_t uids
        uint8_t names
        uint8_t links
        uint8_t key[32]

    ctypedef struct dicore_deid_entry:
        uint32_t tag
        uint8_t action
        uint8_t depth

    ctypedef struct dicore_deidentified:
        uint64_t size
        const dicore_deid_entry *log
        size_t log_count
        int burned_in
        int deflated

    dicore_status dicore_deidentify_plan(const dicore_deidentifier *how, const uint8_t *data, size_t size,
                                         dicore_span transfer_syntax, dicore_span patient, dicore_span name,
                                         const dicore_allocator *allocator, dicore_deidentified *out, dicore_error *error)
    dicore_status dicore_deidentify_emit(const dicore_deidentified *planned, uint8_t *out, size_t capacity)
    void dicore_deidentify_free(dicore_deidentified *planned, const dicore_allocator *allocator)
    size_t dicore_deid_uid(const uint8_t *key, dicore_span uid, uint8_t *out)
    void dicore_deid_pseudonym(const uint8_t *key, dicore_span identifier, uint8_t *out)
    int dicore_deid_days(const uint8_t *key, dicore_span identifier)
    dicore_status dicore_deid_shift(uint16_t vr, const uint8_t *data, size_t size, int days, uint8_t *out, size_t *out_size)
    uint64_t dicore_deid_word_hash(const uint8_t *word, size_t size)


# ---- pixel.h ---------------------------------------------------------------------------------------------------------
cdef extern from "dicore/pixel.h" nogil:
    ctypedef struct dicore_fragment:
        uint64_t offset
        uint64_t length

    ctypedef struct dicore_encapsulation:
        uint64_t count
        uint64_t origin
        uint64_t table_offset
        uint64_t table_length
        uint64_t end
        int damaged
        int truncated

    dicore_status dicore_fragments_read(const uint8_t *items, size_t size, dicore_fragment *fragments, size_t capacity,
                                        dicore_encapsulation *out, dicore_error *error)

    ctypedef struct dicore_frame:
        uint64_t first
        uint64_t count
        uint64_t size

    ctypedef enum dicore_frames_source:
        DICORE_FROM_EXTENDED
        DICORE_FROM_BASIC
        DICORE_FROM_FRAGMENTS

    dicore_status dicore_frames_resolve(const uint8_t *items, size_t size, const dicore_encapsulation *encapsulation,
                                        const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                        dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                        dicore_frames_source *source, dicore_error *error)

    ctypedef struct dicore_reader:
        dicore_status (*read)(void *context, uint64_t offset, uint8_t *to, size_t size) noexcept nogil
        void *context
        uint64_t size

    dicore_status dicore_fragments_scan(const dicore_reader *reader, dicore_fragment *fragments, size_t capacity,
                                        dicore_encapsulation *out, dicore_error *error)
    dicore_status dicore_frames_build(const dicore_reader *reader, const dicore_encapsulation *encapsulation,
                                      const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                      dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                      dicore_frames_source *source, dicore_error *error)

    ctypedef struct dicore_frame_table:
        dicore_frames_source source
        uint64_t wanted
        uint64_t entries
        uint64_t origin
        uint64_t table_offset

    dicore_status dicore_frame_table_open(const dicore_reader *reader, uint64_t wanted, dicore_span offsets,
                                          dicore_span lengths, dicore_frame_table *out, dicore_error *error)
    dicore_status dicore_frame_find(const dicore_reader *reader, const dicore_frame_table *table, uint64_t number,
                                    dicore_span offsets, dicore_span lengths, dicore_fragment *fragments, size_t capacity,
                                    dicore_frame *out, dicore_error *error)

    ctypedef struct dicore_raster:
        uint8_t *data
        uint32_t rows
        uint32_t columns
        unsigned samples
        unsigned bytes_a_sample "bytes"
        Py_ssize_t row_stride
        Py_ssize_t column_stride
        Py_ssize_t sample_stride
        unsigned bits
        int is_signed
    uint64_t dicore_jpeg_lossless_scratch(uint64_t size, uint32_t rows, uint32_t columns, unsigned samples)
    dicore_status dicore_jpeg_lossless_decode(const uint8_t *source, size_t size, const dicore_raster *raster, void *scratch,
                                              size_t scratch_size, dicore_error *error)
    uint64_t dicore_jpeg_lossless_bound(uint32_t rows, uint32_t columns, unsigned samples)
    uint64_t dicore_jpeg_lossless_encode_scratch(uint32_t rows, uint32_t columns, unsigned samples)
    dicore_status dicore_jpeg_lossless_encode(const dicore_raster *raster, unsigned precision, unsigned predictor,
                                              uint8_t *target, size_t capacity, size_t *written, void *scratch,
                                              size_t scratch_size)
    uint64_t dicore_jpeg_ls_scratch(uint64_t size, uint32_t columns, unsigned samples)
    dicore_status dicore_jpeg_ls_decode(const uint8_t *source, size_t size, const dicore_raster *raster, void *scratch,
                                        size_t scratch_size, dicore_error *error)
    dicore_status dicore_rle_decode(const uint8_t *source, size_t size, const dicore_raster *raster, dicore_error *error)
    uint64_t dicore_rle_bound(uint32_t rows, uint32_t columns, unsigned samples, unsigned bytes_a_sample)
    dicore_status dicore_rle_encode(const dicore_raster *raster, uint8_t *target, size_t capacity, size_t *written)
    dicore_status dicore_rle_frame(const uint8_t *source, size_t size, uint8_t *target, size_t target_size, uint64_t pixels,
                                   unsigned samples, unsigned bytes, dicore_error *error)

    ctypedef struct dicore_codec:
        const char *name
        const char *version
        const char *licence
        void *context
        int (*sniff)(const dicore_codec *self, const char *syntax, const uint8_t *source, size_t size) noexcept nogil
        uint64_t (*scratch)(const dicore_codec *self, size_t size, const dicore_raster *raster) noexcept nogil
        dicore_status (*decode)(const dicore_codec *self, const uint8_t *source, size_t size, const dicore_raster *raster,
                                void *scratch, size_t scratch_size, dicore_error *error) noexcept nogil
        uint64_t (*bound)(const dicore_codec *self, const dicore_raster *raster) noexcept nogil
        uint64_t (*encode_scratch)(const dicore_codec *self, const dicore_raster *raster) noexcept nogil
        dicore_status (*encode)(const dicore_codec *self, const char *syntax, const dicore_raster *raster,
                                unsigned precision, uint8_t *target, size_t capacity, size_t *written, void *scratch,
                                size_t scratch_size) noexcept nogil

    ctypedef struct dicore_codec_table:
        dicore_codec *codecs
        size_t count
        size_t capacity

    ctypedef enum dicore_codec_use:
        DICORE_DECODES
        DICORE_ENCODES

    dicore_status dicore_codecs_own(dicore_codec_table *table)
    dicore_status dicore_codec_register(dicore_codec_table *table, const dicore_codec *codec)
    const dicore_codec *dicore_codec_find(const dicore_codec_table *table, const char *syntax, const uint8_t *source,
                                          size_t size, const char *name, dicore_codec_use use)


# ---- net.h -----------------------------------------------------------------------------------------------------------
cdef extern from "dicore/net.h" nogil:
    ctypedef struct dicore_context:
        uint8_t id
        uint8_t result
        dicore_span abstract_syntax
        const dicore_span *syntaxes
        size_t syntax_count

    ctypedef struct dicore_role:
        dicore_span sop_class
        uint8_t scu
        uint8_t scp

    ctypedef struct dicore_extended:
        uint8_t item
        dicore_span sop_class
        dicore_span information

    ctypedef struct dicore_associate:
        dicore_span called_ae
        dicore_span calling_ae
        dicore_span application_context
        const dicore_context *contexts
        size_t context_count
        uint32_t max_length
        dicore_span implementation_uid
        dicore_span implementation_version
        bint has_async
        uint16_t async_invoked
        uint16_t async_performed
        const dicore_role *roles
        size_t role_count
        const dicore_extended *extended
        size_t extended_count
        uint8_t identity_type
        bint identity_wants_response
        dicore_span identity_primary
        dicore_span identity_secondary
        bint has_identity_response
        dicore_span identity_response
        uint16_t protocol_version

    dicore_status dicore_associate_parse(uint8_t pdu_type, const uint8_t *body, size_t size, const dicore_allocator *allocator,
                                         dicore_associate *out, dicore_error *error)
    void dicore_associate_free(dicore_associate *associate, const dicore_allocator *allocator)
    dicore_status dicore_associate_build(uint8_t pdu_type, const dicore_associate *associate, uint32_t max_length,
                                         uint8_t *buffer, size_t capacity, size_t *size)

    enum:
        DICORE_C_STORE_RQ
        DICORE_C_STORE_RSP
        DICORE_C_GET_RQ
        DICORE_C_FIND_RQ
        DICORE_C_MOVE_RQ
        DICORE_C_ECHO_RQ
        DICORE_C_ECHO_RSP
        DICORE_C_CANCEL_RQ
        DICORE_NO_DATA_SET
        DICORE_DATA_SET
        DICORE_HAS_COMMAND_FIELD
        DICORE_HAS_MESSAGE_ID
        DICORE_HAS_RESPONDED_TO
        DICORE_HAS_PRIORITY
        DICORE_HAS_DATA_SET_TYPE
        DICORE_HAS_STATUS
        DICORE_HAS_ERROR_ID
        DICORE_HAS_EVENT_TYPE
        DICORE_HAS_ACTION_TYPE
        DICORE_HAS_REMAINING
        DICORE_HAS_COMPLETED
        DICORE_HAS_FAILED
        DICORE_HAS_WARNING
        DICORE_HAS_ORIGINATOR_ID

    ctypedef struct dicore_command:
        uint32_t present
        uint16_t command_field
        uint16_t message_id
        uint16_t responded_to
        uint16_t priority
        uint16_t data_set_type
        uint16_t status
        uint16_t error_id
        uint16_t event_type
        uint16_t action_type
        uint16_t remaining
        uint16_t completed
        uint16_t failed
        uint16_t warning
        uint16_t originator_id
        dicore_span affected_class
        dicore_span requested_class
        dicore_span move_destination
        dicore_span offending
        dicore_span error_comment
        dicore_span affected_instance
        dicore_span requested_instance
        dicore_span attributes
        dicore_span originator

    dicore_status dicore_command_parse(const uint8_t *data, size_t size, dicore_command *out, dicore_error *error)
    dicore_status dicore_command_build(const dicore_command *command, uint8_t *buffer, size_t capacity, size_t *size)
    void dicore_command_response(const dicore_command *request, uint16_t status, dicore_command *response)

    ctypedef struct dicore_association:
        pass

    ctypedef struct dicore_association_options:
        uint32_t max_length
        uint32_t max_send_length
        uint32_t negotiation_limit
        uint32_t command_limit
        uint32_t output_limit
        uint64_t artim_timeout
        uint64_t request_timeout
        uint64_t network_timeout
        uint64_t dimse_timeout
        uint64_t idle_timeout

    void dicore_association_defaults(dicore_association_options *options)
    dicore_association *dicore_association_new(const dicore_association_options *options, const dicore_allocator *allocator)
    void dicore_association_free(dicore_association *association)

    ctypedef enum dicore_event_kind:
        DICORE_EVENT_NONE
        DICORE_EVENT_ASSOCIATE_RQ
        DICORE_EVENT_ASSOCIATE_AC
        DICORE_EVENT_ASSOCIATE_RJ
        DICORE_EVENT_COMMAND
        DICORE_EVENT_DATA
        DICORE_EVENT_RELEASE_RQ
        DICORE_EVENT_RELEASE_RP
        DICORE_EVENT_ABORT
        DICORE_EVENT_FAILED
        DICORE_EVENT_CLOSED
        DICORE_EVENT_TIMEOUT

    ctypedef enum dicore_timeout:
        DICORE_TIMEOUT_NONE
        DICORE_TIMEOUT_ARTIM
        DICORE_TIMEOUT_REQUEST
        DICORE_TIMEOUT_NETWORK
        DICORE_TIMEOUT_DIMSE
        DICORE_TIMEOUT_IDLE

    ctypedef enum dicore_wire_limit:
        DICORE_WIRE_NO_LIMIT
        DICORE_WIRE_PDU_LIMIT
        DICORE_WIRE_NEGOTIATION_LIMIT
        DICORE_WIRE_COMMAND_LIMIT

    ctypedef struct dicore_event:
        dicore_event_kind kind
        dicore_wire_limit limit
        uint8_t context_id
        bint last
        bint collision
        uint8_t result
        uint8_t source
        uint8_t reason
        dicore_status status
        dicore_timeout timeout
        uint64_t offset
        const uint8_t *data
        size_t size
        const dicore_associate *associate
        dicore_command command

    dicore_status dicore_association_receive(dicore_association *association, const uint8_t *data, size_t size,
                                             size_t *consumed, dicore_event *event)
    dicore_status dicore_association_connected(dicore_association *association)
    dicore_status dicore_association_closed(dicore_association *association, dicore_event *event)
    dicore_status dicore_association_request(dicore_association *association, const dicore_associate *request)
    dicore_status dicore_association_accept(dicore_association *association, const dicore_associate *answer)
    dicore_status dicore_association_reject(dicore_association *association, uint8_t result, uint8_t source, uint8_t reason)
    dicore_status dicore_association_release(dicore_association *association)
    dicore_status dicore_association_release_reply(dicore_association *association)
    dicore_status dicore_association_abort(dicore_association *association, uint8_t source, uint8_t reason)
    void dicore_association_output(const dicore_association *association, const uint8_t **data, size_t *size)
    void dicore_association_sent(dicore_association *association, size_t size)
    bint dicore_association_closing(const dicore_association *association)
    void dicore_association_touch(dicore_association *association)
    uint64_t dicore_association_deadline(dicore_association *association, uint64_t now)
    dicore_status dicore_association_tick(dicore_association *association, uint64_t now, dicore_event *event)
    int dicore_association_state(const dicore_association *association)
    bint dicore_association_failed(const dicore_association *association)
    bint dicore_association_accepted(const dicore_association *association, uint8_t context_id)
    uint64_t dicore_association_received(const dicore_association *association)
    uint32_t dicore_association_send_length(const dicore_association *association)
    size_t dicore_association_pending(const dicore_association *association)
    dicore_status dicore_association_respond(dicore_association *association, uint8_t context_id, const dicore_command *command)

    ctypedef struct dicore_sender:
        pass

    dicore_status dicore_association_send(dicore_association *association, uint8_t context_id, const dicore_command *command,
                                          uint64_t data_size, uint32_t flags, uint8_t *memory, size_t memory_size,
                                          dicore_sender *sender)
    dicore_status dicore_sender_supply(dicore_sender *sender, const dicore_span *spans, size_t count)
    dicore_status dicore_sender_next(dicore_sender *sender, uint8_t *headers, size_t header_size, dicore_span *pieces,
                                     size_t capacity, size_t *count)


# ---- store.h ---------------------------------------------------------------------------------------------------------

cdef extern from "dicore/store.h" nogil:
    uint32_t dicore_crc32c(uint32_t crc, const void *data, size_t size)
    uint32_t dicore_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size)
    void dicore_uid_hash(const void *uid, size_t size, uint8_t *out)

    enum:
        DICORE_RECORD_REPLACES
        DICORE_RECORD_ANOTHER
        DICORE_RECORD_DELETED
        DICORE_RECORD_HEADER
        DICORE_RECORD_UNIT
        DICORE_SEGMENT_HEADER
        DICORE_SEGMENT_SINGLE
        DICORE_STORE_ENTRY_SIZE

    ctypedef struct dicore_record:
        uint64_t file_size
        uint64_t received
        uint8_t uid_hash[16]
        uint32_t data_offset
        uint32_t data_crc
        uint32_t synced
        uint16_t flags

    uint64_t dicore_record_size(uint64_t file_size)
    dicore_status dicore_record_read_header(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset, dicore_record *out)
    dicore_status dicore_record_check(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset, dicore_record *out)

    ctypedef struct dicore_segment_info:
        uint64_t id
        uint64_t nonce
        uint64_t size
        uint64_t created
        uint32_t flags

    void dicore_segment_write_header(const dicore_segment_info *info, uint8_t *out)
    dicore_status dicore_segment_open(int folder, uint64_t id, int writable, int *file, dicore_segment_info *info, dicore_error *error)

    ctypedef enum dicore_found_kind:
        DICORE_FOUND_RECORD
        DICORE_FOUND_DAMAGED
        DICORE_FOUND_UNREADABLE

    ctypedef struct dicore_found:
        dicore_found_kind kind
        uint64_t offset
        uint64_t size
        dicore_record record

    ctypedef struct dicore_scan:
        int file
        dicore_segment_info info
        uint64_t limit
        uint64_t expected
        uint64_t check_from
        uint8_t *buffer
        size_t capacity
        uint64_t offset
        uint64_t end
        uint64_t synced
        int dirty
        uint64_t unread

    dicore_status dicore_scan_next(dicore_scan *scan, dicore_found *out)
    dicore_status dicore_segment_repair(const dicore_scan *scan, dicore_error *error)

    ctypedef struct dicore_place:
        uint8_t uid_hash[16]
        uint32_t segment
        uint32_t unit
        uint32_t flags
        uint32_t state

    ctypedef struct dicore_store:
        pass
    ctypedef enum dicore_durability:
        DICORE_RELAXED
        DICORE_SYNC_DATA
        DICORE_SYNC_DIRECT
    ctypedef enum dicore_duplicates:
        DICORE_KEEP_FIRST
        DICORE_REPLACE
        DICORE_KEEP_BOTH
        DICORE_REJECT
    ctypedef enum dicore_failpoint:
        DICORE_FAIL_NEVER
        DICORE_FAIL_BEFORE_WRITE
        DICORE_FAIL_AFTER_WRITE
        DICORE_FAIL_BEFORE_SYNC
        DICORE_FAIL_AFTER_SYNC
        DICORE_FAIL_SEGMENT_MADE
        DICORE_FAIL_WRITE_ERROR
        DICORE_FAIL_WRITE_FULL
        DICORE_FAIL_SYNC_ERROR
        DICORE_FAIL_LANE_WRITTEN
        DICORE_FAIL_LANE_NAMED

    ctypedef struct dicore_store_options:
        int folder
        int read_only
        uint64_t segment_size
        uint64_t fill_ahead
        dicore_durability durability
        dicore_duplicates duplicates
        dicore_failpoint failpoint
        uint32_t failpoint_countdown
        dicore_allocator allocator
        dicore_span implementation
        dicore_span version_name

    dicore_status dicore_store_open(const dicore_store_options *options, dicore_store **out, dicore_error *error)
    void dicore_store_close(dicore_store *store)

    ctypedef struct dicore_store_entry:
        uint8_t uid_hash[16]
        uint64_t received
        uint32_t unit
        uint32_t units
        uint32_t data_crc
        uint32_t flags

    void dicore_store_entry_write(const dicore_store_entry *entry, uint8_t *out)
    dicore_status dicore_store_entry_read(const uint8_t *data, size_t size, dicore_store_entry *out)
    dicore_status dicore_store_load(dicore_store *store, uint64_t segment, const dicore_store_entry *entries, size_t count)
    ctypedef struct dicore_store_move:
        uint8_t uid_hash[16]
        uint32_t from_segment
        uint32_t from_unit
        uint32_t to_segment
        uint32_t to_unit

    ctypedef enum dicore_standing:
        DICORE_STANDING_DEAD
        DICORE_STANDING_LIVE
        DICORE_STANDING_TOMBSTONE

    size_t dicore_store_moved(dicore_store *store, const dicore_store_move *moves, size_t count)
    size_t dicore_store_forget(dicore_store *store, uint64_t segment)
    dicore_standing dicore_store_standing(dicore_store *store, const uint8_t *uid_hash, uint64_t segment, uint32_t unit)
    uint64_t dicore_store_roll(dicore_store *store)
    dicore_status dicore_record_copy(int source, uint64_t from_nonce, uint64_t from_offset, int to, uint64_t to_nonce,
                                     uint64_t to_offset, uint8_t *buffer, size_t capacity, dicore_record *record, dicore_error *error)
    dicore_status dicore_store_continue(dicore_store *store, const dicore_segment_info *info, int file, uint64_t end, dicore_error *error)

    ctypedef struct dicore_instance:
        dicore_span sop_class
        dicore_span sop_instance
        dicore_span transfer_syntax
        dicore_span source_ae
        const dicore_span *pieces
        size_t count
        void *token
        void (*done)(void *token, dicore_status status, int system) noexcept nogil

    ctypedef enum dicore_outcome:
        DICORE_WAITS
        DICORE_STORED
        DICORE_DUPLICATE
        DICORE_CONFLICT

    dicore_status dicore_store_put(dicore_store *store, const dicore_instance *instance, uint16_t flags, dicore_outcome *outcome,
                                   dicore_error *error)
    dicore_status dicore_store_append(dicore_store *store, const dicore_instance *instance, dicore_outcome *outcome, dicore_error *error)

    ctypedef struct dicore_waiter:
        void *token
        dicore_status status
        int system

    dicore_status dicore_store_commit(dicore_store *store, const dicore_waiter **waiters, size_t *count)

    ctypedef enum dicore_task_kind:
        DICORE_TASK_SEAL
        DICORE_TASK_MARK

    ctypedef struct dicore_task:
        dicore_task_kind kind
        int file
        uint64_t end
        dicore_segment_info info

    dicore_status dicore_store_work(dicore_store *store, dicore_task *task)
    void dicore_store_prepare(dicore_store *store)
    void dicore_store_sealed(dicore_store *store, uint64_t segment)
    void dicore_store_stop(dicore_store *store)
    size_t dicore_store_find(dicore_store *store, const uint8_t *uid_hash, dicore_place *places, size_t capacity)
    size_t dicore_store_places(dicore_store *store, uint64_t *cursor, dicore_place *places, size_t capacity)

    ctypedef struct dicore_extent:
        uint64_t segment
        uint64_t end

    size_t dicore_store_extents(dicore_store *store, dicore_extent *extents, size_t capacity)

    ctypedef struct dicore_store_counters:
        uint64_t instances
        uint64_t appended
        uint64_t appended_bytes
        uint64_t duplicates
        uint64_t conflicts
        uint64_t commits
        uint64_t syncs_failed
        uint64_t waiting
        uint64_t segment
        uint64_t end
        int failed

    void dicore_store_count(dicore_store *store, dicore_store_counters *out)

    ctypedef struct dicore_lane:
        dicore_segment_info info

    dicore_status dicore_lane_begin(dicore_store *store, const dicore_instance *instance, dicore_lane *lane, dicore_error *error)
    dicore_status dicore_lane_write(dicore_lane *lane, const dicore_span *pieces, size_t count, dicore_error *error)
    dicore_status dicore_lane_commit(dicore_lane *lane, dicore_outcome *outcome, dicore_error *error)
    void dicore_lane_abort(dicore_lane *lane)


# ---- scan.h ----------------------------------------------------------------------------------------------------------
cdef extern from "dicore/scan.h" nogil:
    enum:
        DICORE_SCAN_TEXT
        DICORE_SCAN_BINARY
        DICORE_SCAN_INT16
        DICORE_SCAN_UINT16
        DICORE_SCAN_INT32
        DICORE_SCAN_UINT32
        DICORE_SCAN_INT64
        DICORE_SCAN_UINT64
        DICORE_SCAN_FLOAT32
        DICORE_SCAN_FLOAT64
        DICORE_SCAN_DATE
        DICORE_SCAN_TIME
        DICORE_SCAN_LIST
        DICORE_SCAN_DICTIONARY
        DICORE_SCAN_SIGNED
        DICORE_SCAN_STEPS_MAX
        DICORE_SCAN_COLUMNS_MAX

    ctypedef struct dicore_scan_step:
        uint32_t tag
        uint32_t item

    ctypedef struct dicore_scan_column:
        const dicore_scan_step *steps
        uint32_t count
        uint16_t vr
        uint8_t type
        uint8_t flags

    void dicore_scan_column_type(uint16_t vr, int several, int ambiguous, uint8_t *type, uint8_t *flags)

    ctypedef enum dicore_scan_io:
        DICORE_SCAN_AUTO
        DICORE_SCAN_PREAD
        DICORE_SCAN_URING

    ctypedef int (*dicore_scan_decode)(void *context, dicore_span raw, dicore_span charset, uint16_t vr, dicore_span *text) noexcept

    ctypedef struct dicore_scan_options:
        const dicore_scan_column *columns
        size_t count
        dicore_scan_io io
        dicore_scan_decode decode
        void *context
        uint64_t limit
        uint64_t value_limit

    ctypedef struct dicore_scan:
        pass
    ctypedef struct dicore_scan_batch:
        pass

    dicore_status dicore_scan_open(const dicore_scan_options *options, const dicore_allocator *allocator, dicore_scan **out, dicore_error *error)
    void dicore_scan_close(dicore_scan *scan)
    int dicore_scan_uses_uring(const dicore_scan *scan)
    dicore_status dicore_scan_batch_new(dicore_scan *scan, dicore_scan_batch **out)
    dicore_status dicore_scan_run(dicore_scan *scan, const char *const *paths, size_t count, uint64_t first, dicore_scan_batch *batch, size_t *done)
    dicore_status dicore_scan_memory(dicore_scan *scan, dicore_span name, const uint8_t *data, size_t size, int whole, uint64_t source, dicore_scan_batch *batch, uint64_t *need)

    ctypedef struct dicore_scan_buffer:
        uint8_t *data
        size_t size

    ctypedef struct dicore_scan_values:
        uint64_t count
        uint64_t nulls
        dicore_scan_buffer validity
        dicore_scan_buffer offsets
        dicore_scan_buffer data

    ctypedef struct dicore_scan_array:
        uint8_t type
        uint8_t flags
        dicore_scan_values values
        dicore_scan_values child

    ctypedef struct dicore_scan_problem:
        uint64_t source
        uint64_t offset
        uint32_t tag
        uint32_t detail
        int column
        int system
        dicore_status status

    uint64_t dicore_scan_batch_rows(const dicore_scan_batch *batch)
    size_t dicore_scan_batch_columns(const dicore_scan_batch *batch)
    const dicore_scan_array *dicore_scan_batch_array(const dicore_scan_batch *batch, size_t column)
    const dicore_scan_problem *dicore_scan_batch_problems(const dicore_scan_batch *batch, size_t *count)
    uint64_t dicore_scan_batch_invalid(const dicore_scan_batch *batch)
    size_t dicore_scan_batch_memory(const dicore_scan_batch *batch)
    dicore_status dicore_scan_batch_finish(dicore_scan_batch *batch)
    dicore_status dicore_scan_batch_filter(const dicore_scan_batch *batch, const uint8_t *keep, dicore_scan_batch **out)
    void dicore_scan_batch_retain(dicore_scan_batch *batch)
    void dicore_scan_batch_release(dicore_scan_batch *batch)

    struct ArrowSchema:
        void (*release)(ArrowSchema *) noexcept
    struct ArrowArray:
        void (*release)(ArrowArray *) noexcept
    struct ArrowArrayStream:
        void (*release)(ArrowArrayStream *) noexcept

    dicore_status dicore_scan_export_schema(const dicore_scan_column *columns, const char *const *names, size_t count, const dicore_allocator *allocator, ArrowSchema *out)
    dicore_status dicore_scan_export_batch(dicore_scan_batch *batch, size_t count, ArrowArray *out)
    dicore_status dicore_scan_export_stream(const dicore_scan_column *columns, const char *const *names, size_t count, dicore_scan_batch *const *batches, size_t batch_count, const dicore_allocator *allocator, ArrowArrayStream *out)


# ---- capture.h -----------------------------------------------------------------------------------------------------

cdef extern from "dicore/capture.h" nogil:
    ctypedef struct dicore_capture:
        pass

    ctypedef struct dicore_capture_stream:
        pass

    ctypedef struct dicore_capture_end_point:
        uint8_t family
        uint8_t address[16]
        uint16_t port

    ctypedef enum dicore_capture_how:
        DICORE_CAPTURE_CLOSED_BY_PEER
        DICORE_CAPTURE_CLOSED
        DICORE_CAPTURE_RESET_BY_PEER
        DICORE_CAPTURE_RESET

    dicore_status dicore_capture_open(const char *path, size_t buffer, dicore_span application, const dicore_allocator *allocator, void (*failed)(void *context, int system) noexcept nogil, void *context, dicore_capture **out, dicore_error *error)
    void dicore_capture_close(dicore_capture *capture)
    int dicore_capture_error(const dicore_capture *capture)
    void dicore_capture_counts(dicore_capture *capture, uint64_t *packets, uint64_t *lost)
    dicore_capture_stream *dicore_capture_begin(dicore_capture *capture, const dicore_capture_end_point *own, const dicore_capture_end_point *peer, bint called, dicore_span comment)
    void dicore_capture_data(dicore_capture_stream *stream, bint ours, const dicore_span *pieces, size_t count)
    void dicore_capture_end(dicore_capture_stream *stream, dicore_capture_how how, dicore_span comment)


# ---- phases.h ------------------------------------------------------------------------------------------------------

cdef extern from "dicore/phases.h" nogil:
    enum:
        DICORE_PHASE_ACCEPT
        DICORE_PHASE_NEGOTIATE
        DICORE_PHASE_FIRST_BYTE
        DICORE_PHASE_LAST_BYTE
        DICORE_PHASE_COMMIT
        DICORE_PHASE_ANSWER
        DICORE_PHASES
        DICORE_PHASE_FIRST
        DICORE_PHASE_LAST
        DICORE_PHASE_BUCKETS

    ctypedef struct dicore_times:
        uint64_t count
        uint64_t sum
        uint64_t longest
        uint64_t buckets[122]

    ctypedef struct dicore_time_summary:
        uint64_t count
        uint64_t p50
        uint64_t p99
        uint64_t longest

    uint64_t dicore_now_ns()
    void dicore_times_add(dicore_times *times, uint64_t ns)
    void dicore_times_merge(dicore_times *to, const dicore_times *source)
    void dicore_times_summary(const dicore_times *times, dicore_time_summary *out)


# ---- engine.h ------------------------------------------------------------------------------------------------------

cdef extern from "dicore/engine.h" nogil:
    ctypedef struct dicore_network:
        uint8_t family
        uint8_t bits
        uint8_t address[16]

    ctypedef struct dicore_names:
        const dicore_span *items
        size_t count

    ctypedef struct dicore_engine_options:
        dicore_allocator allocator
        dicore_association_options association
        dicore_store *store
        unsigned int threads
        uint32_t window
        uint64_t associations
        uint64_t associations_per_peer
        uint64_t dataset
        uint64_t stream_from
        uint64_t in_flight
        uint64_t in_flight_per_peer
        uint32_t turn
        uint64_t interval
        bint report_ends
        dicore_names called_ae
        dicore_names calling_ae
        dicore_names sop_classes
        dicore_names transfer_syntaxes
        dicore_names foreign
        const dicore_network *networks
        size_t network_count
        dicore_span implementation_uid
        dicore_span implementation_version
        void (*lane_stored)(void *context, uint64_t segment) noexcept nogil
        void *context
        dicore_capture *capture

    ctypedef struct dicore_engine:
        pass

    ctypedef enum dicore_engine_kind:
        DICORE_ENGINE_NOTHING
        DICORE_ENGINE_HANDOVER
        DICORE_ENGINE_ENDED
        DICORE_ENGINE_FAILED
        DICORE_ENGINE_STORED
        DICORE_ENGINE_EMPTY

    ctypedef enum dicore_engine_why:
        DICORE_WHY_RELEASED
        DICORE_WHY_ABORTED_BY_PEER
        DICORE_WHY_VIOLATION
        DICORE_WHY_CLOSED
        DICORE_WHY_CLOSED_EARLY
        DICORE_WHY_LOST
        DICORE_WHY_TIMEOUT
        DICORE_WHY_DRAINED
        DICORE_WHY_OVERLOAD
        DICORE_WHY_UNREAD
        DICORE_WHY_DATASET_LIMIT
        DICORE_WHY_RESPONSE
        DICORE_WHY_NO_MEMORY
        DICORE_WHY_REJECTED_DRAINING
        DICORE_WHY_REJECTED_FULL
        DICORE_WHY_REJECTED_PEER_FULL
        DICORE_WHY_REJECTED_CONTEXT
        DICORE_WHY_REJECTED_CALLED
        DICORE_WHY_REJECTED_CALLING
        DICORE_WHY_REJECTED_ADDRESS

    ctypedef struct dicore_engine_event:
        dicore_engine_kind kind
        dicore_engine_why why
        int socket
        uint8_t family
        uint8_t source
        uint8_t reason
        uint8_t address[16]
        uint16_t port
        dicore_status status
        int system
        uint64_t offset
        uint64_t started
        uint64_t accepted
        uint64_t stores
        uint64_t stored_bytes
        uint64_t echoes
        uint32_t contexts
        dicore_time_summary phases[6]
        char calling_ae[17]
        char called_ae[17]
        char text[65]
        uint8_t *data
        size_t size
        dicore_capture_stream *stream
        void *host

    enum:
        DICORE_COUNTERS

    void dicore_engine_defaults(dicore_engine_options *options)
    dicore_status dicore_engine_start(const dicore_engine_options *options, const int *sockets, size_t count, dicore_engine **out, dicore_error *error)
    void dicore_engine_drain(dicore_engine *engine)
    void dicore_engine_stop(dicore_engine *engine)
    void dicore_engine_free(dicore_engine *engine)
    int dicore_engine_descriptor(const dicore_engine *engine)
    bint dicore_engine_next(dicore_engine *engine, dicore_engine_event *event)
    void dicore_engine_gone(dicore_engine *engine, void *host)
    uint64_t dicore_engine_hold(dicore_engine *engine, int64_t bytes)
    void dicore_engine_release(dicore_engine *engine, dicore_engine_event *event)
    dicore_status dicore_engine_admit(dicore_engine *engine, dicore_names calling_ae, const dicore_network *networks, size_t network_count)
    void dicore_engine_times(dicore_engine *engine, dicore_times *out)
    void dicore_engine_count(dicore_engine *engine, uint64_t *out)


# ---- kernels.h -------------------------------------------------------------------------------------------------------
cdef extern from "dicore/kernels.h" nogil:
    ctypedef enum dicore_sample:
        DICORE_U8
        DICORE_I8
        DICORE_U16
        DICORE_I16
        DICORE_U32
        DICORE_I32
        DICORE_F32

    ctypedef struct dicore_kernels:
        const char *name
        void (*swap16)(uint8_t *to, const uint8_t *source, size_t count) noexcept nogil
        void (*swap32)(uint8_t *to, const uint8_t *source, size_t count) noexcept nogil
        void (*swap64)(uint8_t *to, const uint8_t *source, size_t count) noexcept nogil
        void (*unpack1)(uint8_t *to, const uint8_t *source, size_t first, size_t count) noexcept nogil
        void (*pack1)(uint8_t *to, const uint8_t *source, size_t count) noexcept nogil
        void (*unpack12)(uint16_t *to, const uint8_t *source, size_t count) noexcept nogil
        void (*pack12)(uint8_t *to, const uint16_t *source, size_t count) noexcept nogil
        void (*interleave8)(uint8_t *to, const uint8_t *a, const uint8_t *b, const uint8_t *c, size_t pixels) noexcept nogil
        void (*interleave16)(uint16_t *to, const uint16_t *a, const uint16_t *b, const uint16_t *c, size_t pixels) noexcept nogil
        void (*separate8)(uint8_t *a, uint8_t *b, uint8_t *c, const uint8_t *source, size_t pixels) noexcept nogil
        void (*separate16)(uint16_t *a, uint16_t *b, uint16_t *c, const uint16_t *source, size_t pixels) noexcept nogil
        void (*expand422)(uint8_t *to, const uint8_t *source, size_t pairs) noexcept nogil
        void (*keep8)(uint8_t *to, const uint8_t *source, size_t count, unsigned low, unsigned bits, int is_signed) noexcept nogil
        void (*keep16)(uint16_t *to, const uint16_t *source, size_t count, unsigned low, unsigned bits, int is_signed) noexcept nogil
        void (*keep32)(uint32_t *to, const uint32_t *source, size_t count, unsigned low, unsigned bits, int is_signed) noexcept nogil
        void (*bit16)(uint8_t *to, const uint16_t *source, size_t count, unsigned bit) noexcept nogil
        void (*burn8)(uint8_t *to, const uint8_t *mask, size_t count, uint8_t value) noexcept nogil
        void (*rgb8)(uint8_t *to, const uint8_t *source, size_t pixels) noexcept nogil
        void (*rgb422)(uint8_t *to, const uint8_t *source, size_t pairs) noexcept nogil
        void (*rgb16)(uint16_t *to, const uint16_t *source, size_t pixels, unsigned bits, int partial) noexcept nogil
        void (*rgb8_partial)(uint8_t *to, const uint8_t *source, size_t pixels) noexcept nogil
        void (*table8)(uint8_t *to, const uint8_t *source, size_t count, const uint8_t *table) noexcept nogil
        void (*table16)(uint8_t *to, const uint16_t *source, size_t count, const uint8_t *table) noexcept nogil
        void (*table16_16)(uint16_t *to, const uint16_t *source, size_t count, const uint16_t *table) noexcept nogil
        void (*table16_float)(float *to, const uint16_t *source, size_t count, const float *table) noexcept nogil
        void (*palette8)(uint8_t *to, const uint8_t *source, size_t count, const uint32_t *table) noexcept nogil
        void (*palette16)(uint8_t *to, const uint16_t *source, size_t count, const uint32_t *table) noexcept nogil
        void (*sigmoid)(uint8_t *to, const float *source, size_t count, float scale, float offset, uint8_t flip) noexcept nogil
        void (*flip8)(uint8_t *to, const uint8_t *source, size_t count, uint8_t flip) noexcept nogil
        int (*stray8)(const uint8_t *source, size_t count, unsigned bits, int is_signed) noexcept nogil
        int (*stray16)(const uint16_t *source, size_t count, unsigned bits, int is_signed) noexcept nogil
        void (*rescale[7])(float *to, const void *source, size_t count, float slope, float intercept) noexcept nogil
        void (*rescale_exact[7])(float *to, const void *source, size_t count, double slope, double intercept) noexcept nogil
        void (*window[7])(uint8_t *to, const void *source, size_t count, float scale, float offset, uint8_t flip) noexcept nogil

    const dicore_kernels *dicore_kernels_best()
    const dicore_kernels *dicore_kernels_named(const char *name)


# ---- retrieve.h ----------------------------------------------------------------------------------------------------

cdef extern from "dicore/retrieve.h" nogil:
    ctypedef struct dicore_retriever:
        pass

    ctypedef struct dicore_retrieval:
        pass

    ctypedef struct dicore_retriever_options:
        dicore_allocator allocator
        unsigned int threads
        uint64_t memory

    void dicore_retriever_defaults(dicore_retriever_options *options)
    dicore_status dicore_retriever_start(const dicore_retriever_options *options, dicore_retriever **out, dicore_error *error)
    void dicore_retriever_free(dicore_retriever *retriever)

    ctypedef struct dicore_stored:
        int file
        uint64_t nonce
        uint64_t offset
        uint64_t size
        uint8_t uid_hash[16]

    ctypedef struct dicore_offer:
        dicore_span sop_class
        dicore_span transfer_syntax
        uint8_t id

    ctypedef enum dicore_sub_operation:
        DICORE_SUB_LEFT
        DICORE_SUB_ANSWERED
        DICORE_SUB_UNREADABLE
        DICORE_SUB_DAMAGED
        DICORE_SUB_UNFIT
        DICORE_SUB_LOST
        DICORE_SUB_UNANSWERED

    ctypedef struct dicore_sub_result:
        dicore_sub_operation outcome
        uint16_t status
        int detail

    ctypedef struct dicore_retrieval_options:
        dicore_association *association
        int socket
        const dicore_offer *offers
        size_t offer_count
        dicore_stored *items
        dicore_sub_result *results
        size_t count
        uint16_t message_id
        unsigned int window
        uint64_t network_timeout
        dicore_span originator
        uint16_t originator_id
        bint answers
        uint8_t context_id
        uint16_t request_id
        dicore_span request_class
        uint64_t answer_every
        uint64_t total
        uint64_t completed
        uint64_t failed
        uint64_t warning
        void *token

    dicore_status dicore_retrieval_start(dicore_retriever *retriever, const dicore_retrieval_options *options, dicore_retrieval **out)
    void dicore_retrieval_cancel(dicore_retrieval *retrieval)
    void dicore_retrieval_stop(dicore_retrieval *retrieval)
    void dicore_retrieval_progress(const dicore_retrieval *retrieval, uint64_t *out)

    ctypedef enum dicore_retrieval_why:
        DICORE_RETRIEVAL_DONE
        DICORE_RETRIEVAL_EVENT
        DICORE_RETRIEVAL_CLOSED
        DICORE_RETRIEVAL_BROKEN
        DICORE_RETRIEVAL_STALLED
        DICORE_RETRIEVAL_STOPPED
        DICORE_RETRIEVAL_CUT

    ctypedef struct dicore_retrieval_end:
        dicore_retrieval_why why
        bint amid
        int system
        uint16_t message_id
        dicore_status status
        dicore_event event
        const uint8_t *rest
        size_t rest_size

    int dicore_retriever_descriptor(const dicore_retriever *retriever)
    bint dicore_retriever_next(dicore_retriever *retriever, void **token)
    const dicore_retrieval_end *dicore_retrieval_ended(const dicore_retrieval *retrieval)
    void dicore_retrieval_free(dicore_retrieval *retrieval)
