/* Wire: looking at packed messages before they are unpacked. Pure code. */
#ifndef QUIRE_COORDINATOR_WIRE_H
#define QUIRE_COORDINATOR_WIRE_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <protobuf-c/protobuf-c.h>

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

/* The value of an integer field of the packed message, as it comes last; false: there is none. The
 * message need not be checked. */
bool message_number(struct bytes packed, uint32_t field, uint64_t *out);
/* How many bytes of the packed message are not of that field. */
size_t message_size_without(struct bytes packed, uint32_t field);

#endif
