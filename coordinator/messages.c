#include "coordinator/messages.h"

#include "coordinator/coordinator.h"
#include "proto/text/key.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* One field on the wire (protobuf encoding): a varint tag (number << 3 | type), then by type
 *   0 varint | 1 eight bytes | 2 varint length and so many bytes | 5 four bytes */
struct wire_field {
    uint32_t number;
    uint8_t type;
    struct bytes content; /* type 2 only */
};

static bool wire_next(struct reader *reader, struct wire_field *field)
{
    uint64_t tag, value;
    struct bytes skipped;
    field->content = bytes_of(NULL, 0);
    if (!reader_varint(reader, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return false;
    field->number = (uint32_t)(tag >> 3);
    field->type = tag & 7;
    switch (field->type) {
    case 0:
        return reader_varint(reader, &value);
    case 1:
        return reader_bytes(reader, 8, &skipped);
    case 2:
        return reader_varint(reader, &value) && value <= reader_left(reader) &&
               reader_bytes(reader, value, &field->content);
    case 5:
        return reader_bytes(reader, 4, &skipped);
    default:
        return false;
    }
}

static int check_text(const ProtobufCFieldDescriptor *field, struct bytes text, struct err *err)
{
    size_t offset = 0;
    if (text_valid(text, &offset))
        return 0;
    if (offset < text.size && text.data[offset] == 0)
        return err_set(err, ERR_INVALID, "%s: a NUL at byte %zu", field->name, offset);
    return err_set(err, ERR_INVALID, "%s: not valid UTF-8 at byte %zu", field->name, offset);
}

int message_check(const ProtobufCMessageDescriptor *descriptor, struct bytes packed,
                  const char *skip, struct err *err)
{
    struct reader reader;
    struct wire_field wire;
    reader_init(&reader, packed);
    while (reader_left(&reader) > 0) {
        if (!wire_next(&reader, &wire))
            return err_set(err, ERR_PROTOCOL, "a malformed %s message", descriptor->short_name);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(descriptor, wire.number);
        if (field == NULL || wire.type != 2 || (skip != NULL && strcmp(field->name, skip) == 0))
            continue;
        int rc = 0;
        if (field->type == PROTOBUF_C_TYPE_STRING)
            rc = check_text(field, wire.content, err);
        else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            rc = message_check(field->descriptor, wire.content, NULL, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

size_t message_elements(const ProtobufCMessageDescriptor *descriptor, struct bytes packed,
                        const char *name, struct arena *arena, struct bytes **out)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(descriptor, name);
    assert(field != NULL);
    size_t count = 0;
    *out = NULL;
    for (int pass = 0; pass < 2; pass++) { /* count, then take */
        struct reader reader;
        struct wire_field wire;
        reader_init(&reader, packed);
        if (pass == 1)
            *out = arena_calloc(arena, count + 1, sizeof **out);
        count = 0;
        while (reader_left(&reader) > 0 && wire_next(&reader, &wire)) {
            if (wire.number != field->id || wire.type != 2)
                continue;
            if (pass == 1)
                (*out)[count] = wire.content;
            count++;
        }
    }
    return count;
}

void *request_unpack(struct rpc_request *request, const ProtobufCMessageDescriptor *descriptor)
{
    struct err err = {0};
    if (message_check(descriptor, request->payload, NULL, &err) != 0) {
        request_error(request, err.code, "%s", err.text);
        return NULL;
    }
    ProtobufCMessage *message = protobuf_c_message_unpack(
        descriptor, arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    if (message == NULL)
        request_error(request, ERR_PROTOCOL, "a malformed %s message", descriptor->short_name);
    return message;
}

void message_pack(const ProtobufCMessage *message, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_extend(out, size));
}

void request_reply(struct rpc_request *request, const ProtobufCMessage *message)
{
    struct buf packed;
    buf_init(&packed);
    message_pack(message, &packed);
    struct coordinator *coordinator = request->data;
    rpc_reply(request, (uint16_t)(request->kind + 1), buf_bytes(&packed));
    buf_deinit(&packed);
    coordinator_request_ended(coordinator);
}

void request_reply_ok(struct rpc_request *request)
{
    struct coordinator *coordinator = request->data;
    rpc_reply(request, QUIRE__KIND__KIND_OK, bytes_of(NULL, 0));
    coordinator_request_ended(coordinator);
}

void request_error(struct rpc_request *request, int code, const char *format, ...)
{
    struct coordinator *coordinator = request->data;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rpc_reply_error(request, code, "%s", text);
    coordinator_request_ended(coordinator);
}
