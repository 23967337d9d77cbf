#include "coordinator/wire.h"

#include "proto/text/key.h"

#include <assert.h>
#include <string.h>

/* One field on the wire (protobuf encoding): a varint tag (number << 3 | type), then by type
 *   0 varint | 1 eight bytes | 2 varint length and so many bytes | 5 four bytes */
#define FIELD_NUMBER_MAX 0x1fffffff

struct wire_field {
    uint32_t number;
    uint8_t type;
    struct bytes content; /* type 2 only */
    uint64_t value;       /* type 0 only */
};

static bool wire_next(struct reader *reader, struct wire_field *field)
{
    uint64_t tag, value;
    struct bytes skipped;
    field->content = bytes_of(NULL, 0);
    if (!reader_varint(reader, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        return false;
    field->number = (uint32_t)(tag >> 3);
    field->type = tag & 7;
    switch (field->type) {
    case 0:
        return reader_varint(reader, &field->value);
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

bool message_number(struct bytes packed, uint32_t field, uint64_t *out)
{
    struct reader reader;
    struct wire_field wire;
    bool found = false;
    reader_init(&reader, packed);
    while (reader_left(&reader) > 0 && wire_next(&reader, &wire)) {
        if (wire.number == field && wire.type == 0) {
            *out = wire.value;
            found = true;
        }
    }
    return found;
}

size_t message_size_without(struct bytes packed, uint32_t field)
{
    struct reader reader;
    struct wire_field wire;
    size_t size = packed.size;
    reader_init(&reader, packed);
    while (reader_left(&reader) > 0 && wire_next(&reader, &wire))
        if (wire.number == field)
            size -= wire.content.size;
    return size;
}
