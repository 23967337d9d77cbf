#include "client/session.h"

#include "proto/quire.pb-c.h"

/* Fields 30 to 32 of every request that reads. */
#define TAG_SESSION (30 << 3 | 2)
#define TAG_FROM_PRIMARY (31 << 3)
#define TAG_REPLICA (32 << 3)
/* Field 2 of WriteReply. */
#define TAG_MARK (2 << 3 | 2)

void session_init(struct session *session, bool from_primary)
{
    *session = (struct session){.from_primary = from_primary};
    pthread_mutex_init(&session->lock, NULL);
}

void session_deinit(struct session *session)
{
    pthread_mutex_destroy(&session->lock);
    marks_deinit(&session->marks);
}

/* A packed SessionMark. */
static bool read_mark(struct bytes packed, struct mark *mark)
{
    Quire__SessionMark *message = quire__session_mark__unpack(NULL, packed.size, packed.data);
    if (message == NULL)
        return false;
    *mark = (struct mark){message->range, message->seq, message->recovered};
    quire__session_mark__free_unpacked(message, NULL);
    return true;
}

/* Looks only at the marks: the results, of which there may be thousands, were unpacked already. */
void session_wrote(struct session *session, struct bytes reply)
{
    struct reader reader;
    struct bytes field;
    struct mark mark;
    uint64_t tag, size;
    reader_init(&reader, reply);
    pthread_mutex_lock(&session->lock);
    while (reader_left(&reader) > 0 && reader_varint(&reader, &tag) && (tag & 7) == 2 &&
           reader_varint(&reader, &size) && size <= reader_left(&reader) &&
           reader_bytes(&reader, (size_t)size, &field))
        if (tag == TAG_MARK && read_mark(field, &mark))
            marks_raise(&session->marks, mark, SESSION_MARKS_MAX);
    pthread_mutex_unlock(&session->lock);
}

static void append_mark(const struct mark *mark, struct buf *out)
{
    Quire__SessionMark message = QUIRE__SESSION_MARK__INIT;
    message.range = mark->range;
    message.seq = mark->seq;
    message.has_recovered = mark->recovered > 0;
    message.recovered = mark->recovered;
    size_t size = quire__session_mark__get_packed_size(&message);
    buf_append_varint(out, size);
    quire__session_mark__pack(&message, buf_extend(out, size));
}

void session_append(struct session *session, struct buf *request)
{
    pthread_mutex_lock(&session->lock);
    for (size_t i = 0; i < session->marks.count; i++) {
        buf_append_varint(request, TAG_SESSION);
        append_mark(&session->marks.items[i], request);
    }
    pthread_mutex_unlock(&session->lock);
    if (session->from_primary) {
        buf_append_varint(request, TAG_FROM_PRIMARY);
        buf_append_varint(request, 1);
    }
    if (session->one_replica) {
        buf_append_varint(request, TAG_REPLICA);
        buf_append_varint(request, session->replica);
    }
}

void session_export(struct session *session, struct buf *token)
{
    pthread_mutex_lock(&session->lock);
    for (size_t i = 0; i < session->marks.count; i++)
        append_mark(&session->marks.items[i], token);
    pthread_mutex_unlock(&session->lock);
}

/* Into NULL: only looks whether it is one. */
static bool read_token(struct bytes token, struct session *into)
{
    struct reader reader;
    struct bytes packed;
    struct mark mark;
    uint64_t size;
    reader_init(&reader, token);
    while (reader_left(&reader) > 0) {
        if (!reader_varint(&reader, &size) || size > reader_left(&reader) ||
            !reader_bytes(&reader, (size_t)size, &packed) || !read_mark(packed, &mark))
            return false;
        if (into != NULL)
            marks_raise(&into->marks, mark, SESSION_MARKS_MAX);
    }
    return true;
}

bool session_import(struct session *session, struct bytes token)
{
    if (!read_token(token, NULL))
        return false;
    pthread_mutex_lock(&session->lock);
    (void)read_token(token, session);
    pthread_mutex_unlock(&session->lock);
    return true;
}
