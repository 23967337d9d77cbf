/* Messages: what every operation does with the bytes of a request before it looks at their meaning,
 * and with its reply. */
#ifndef QUIRE_COORDINATOR_MESSAGES_H
#define QUIRE_COORDINATOR_MESSAGES_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/quire.pb-c.h"
#include "proto/rpc/rpc.h"

/* Walks the packed message along its descriptor, before it is unpacked: the structure has to hold
 * (ERR_PROTOCOL), and every text has to be UTF-8 without NUL (ERR_INVALID, naming the field), which
 * protobuf-c does not check; after unpacking a NUL could not be told from the end. `skip` names a
 * field that is not looked into; NULL: none. Depth is bounded by the schema, which has no recursive
 * message. */
int message_check(const ProtobufCMessageDescriptor *descriptor, struct bytes packed,
                  const char *skip, struct err *err);

/* The packed elements of the repeated message field `name`, in order, in the arena; for a message
 * that message_check() took. */
size_t message_elements(const ProtobufCMessageDescriptor *descriptor, struct bytes packed,
                        const char *name, struct arena *arena, struct bytes **out);

/* Checks and unpacks the request's payload into its arena. On failure it has replied, and returns
 * NULL. */
void *request_unpack(struct rpc_request *request, const ProtobufCMessageDescriptor *descriptor);

/* The three ways to end a request; operations use no other, so that the coordinator knows what is
 * still open (request->data is the coordinator). The first packs, and replies with the kind of the
 * request plus one. */
void request_reply(struct rpc_request *request, const ProtobufCMessage *message);

void request_reply_ok(struct rpc_request *request);
void request_error(struct rpc_request *request, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void message_pack(const ProtobufCMessage *message, struct buf *out);

#endif
