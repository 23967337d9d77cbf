/* Session: what this client has written, so that what it reads is not older, whichever replica
 * answers: the highest seq of each range that it wrote to (SessionMark). Thread-safe.
 *
 * Of a client that writes to more than SESSION_MARKS_MAX ranges, the marks of the ranges beyond are
 * not kept: reads of those may be answered by a replica that is a moment behind.
 */
#ifndef QUIRE_CLIENT_SESSION_H
#define QUIRE_CLIENT_SESSION_H

#include "proto/base/bytes.h"
#include "proto/base/marks.h"
#include "proto/limits.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SESSION_MARKS_MAX LIMIT_SESSION_MARKS

struct session {
    pthread_mutex_t lock;
    struct marks marks;
    bool from_primary;
    bool one_replica; /* set with `replica` after session_init(), before others use it */
    uint32_t replica;
};

void session_init(struct session *session, bool from_primary);
void session_deinit(struct session *session);
/* Takes what a packed WriteReply says; one that is malformed says nothing. */
void session_wrote(struct session *session, struct bytes reply);
/* Appends what every packed request that reads ends with. */
void session_append(struct session *session, struct buf *request);
/* The marks as a token, and such a token taken in: false when it is none, and nothing is taken. */
void session_export(struct session *session, struct buf *token);
bool session_import(struct session *session, struct bytes token);

#endif
