#include "coordinator/messages.h"

#include "coordinator/coordinator.h"
#include "coordinator/observe.h"
#include "coordinator/server.h"
#include "proto/base/clock.h"

#include <stdarg.h>
#include <stdio.h>

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

static void ended(struct rpc_request *request, int code)
{
    struct coordinator *coordinator = request->data;
    coordinator_observe_ended(coordinator->observe, request, code);
    if (request->class == ADMISSION_CHEAP || request->class == ADMISSION_SEARCH ||
        request->spans != NULL)
        slow_ended(&coordinator->slow, request, server_name(request->kind), request->spans, code,
                   clock_us());
    admit_ended(coordinator, request, code);
}

void request_reply(struct rpc_request *request, const ProtobufCMessage *message)
{
    struct buf packed;
    ended(request, 0);
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
    ended(request, 0);
    rpc_reply(request, QUIRE__KIND__KIND_OK, bytes_of(NULL, 0));
    coordinator_request_ended(coordinator);
}

/* Of another coordinator's error. */
static int code_of(struct rpc_request *request, struct bytes payload)
{
    Quire__Error *error =
        quire__error__unpack(arena_protobuf(&request->arena), payload.size, payload.data);
    return error != NULL ? (int)error->code : ERR_PROTOCOL;
}

void request_relay(struct rpc_request *request, uint16_t kind, struct bytes payload)
{
    struct coordinator *coordinator = request->data;
    ended(request, kind == QUIRE__KIND__KIND_ERROR ? code_of(request, payload) : 0);
    rpc_reply(request, kind, payload);
    coordinator_request_ended(coordinator);
}

void request_err(struct rpc_request *request, const struct err *err)
{
    struct coordinator *coordinator = request->data;
    ended(request, err->code);
    rpc_reply_err(request, err);
    coordinator_request_ended(coordinator);
}

void request_error(struct rpc_request *request, int code, const char *format, ...)
{
    struct err err = {.code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(err.text, sizeof err.text, format, args);
    va_end(args);
    request_err(request, &err);
}
