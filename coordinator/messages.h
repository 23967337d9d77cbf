/* Messages: what every operation does with the bytes of a request before it looks at their meaning,
 * and with its reply. */
#ifndef QUIRE_COORDINATOR_MESSAGES_H
#define QUIRE_COORDINATOR_MESSAGES_H

#include "coordinator/wire.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/quire.pb-c.h"
#include "proto/rpc/rpc.h"

/* Checks and unpacks the request's payload into its arena. On failure it has replied, and returns
 * NULL. */
void *request_unpack(struct rpc_request *request, const ProtobufCMessageDescriptor *descriptor);

/* The ways to end a request; operations use no other, so that the coordinator knows what is
 * still open (request->data is the coordinator). The first packs, and replies with the kind of the
 * request plus one. */
void request_reply(struct rpc_request *request, const ProtobufCMessage *message);

void request_reply_ok(struct rpc_request *request);
/* Another coordinator's reply as it came. */
void request_relay(struct rpc_request *request, uint16_t kind, struct bytes payload);
void request_error(struct rpc_request *request, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with all that `err` says, retry_after_ms too. */
void request_err(struct rpc_request *request, const struct err *err);

void message_pack(const ProtobufCMessage *message, struct buf *out);

#endif
