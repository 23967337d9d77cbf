/* What the decoders of replies share.
 *
 * A reply is unpacked into the arena of its result, and the result's texts point to the unpacked
 * ones. What came over the wire is not trusted: a text that is not UTF-8 or an answer without what
 * it must have is ERR_PROTOCOL, so that a program never prints what it must not, and never finds a
 * NULL where quire.h promises a text. Embedded NUL bytes end a text, which is how protobuf-c gives
 * it to us.
 */
#ifndef QUIRE_CLIENT_DECODER_H
#define QUIRE_CLIENT_DECODER_H

#include "client/result.h"
#include "proto/quire.pb-c.h"
#include "proto/text/key.h"
#include "quire.h"

#include <stdlib.h>
#include <string.h>

struct decoder {
    struct arena *arena;
    bool bad;
};

static inline void *take(struct decoder *d, size_t count, size_t size)
{
    void *memory;
    if (count == 0)
        return NULL;
    memory = arena_calloc(d->arena, count, size);
    if (memory == NULL)
        abort(); /* as buf does: a reply is bounded by the frame that carried it */
    return memory;
}

static inline const char *text(struct decoder *d, const char *value)
{
    if (value == NULL)
        return "";
    if (!text_valid(bytes_str(value), NULL)) {
        d->bad = true;
        return "";
    }
    return value;
}

static inline const char *text_of(struct decoder *d, protobuf_c_boolean has,
                                  ProtobufCBinaryData value)
{
    char *copy;
    if (!has || value.len == 0)
        return "";
    copy = arena_copy(d->arena, value.data, value.len);
    if (copy == NULL)
        abort();
    return text(d, copy);
}

static inline const char *const *texts(struct decoder *d, char *const *values, size_t count)
{
    const char **list = take(d, count, sizeof(*list));
    for (size_t i = 0; i < count; i++)
        list[i] = text(d, values[i]);
    return list;
}

/* An array of pointers to `count` zeroed structs. */
#define LIST(d, type, count) ((type **)list_of(d, count, sizeof(type)))
static inline void *list_of(struct decoder *d, size_t count, size_t size)
{
    void **list = take(d, count, sizeof(*list));
    char *items = take(d, count, size);
    for (size_t i = 0; i < count; i++)
        list[i] = items + i * size;
    return list;
}

/* Unpacks into the box's arena; the arrays that protobuf-c makes are freed with it. */
#define UNPACK(name, box, payload)                                                                 \
    quire__##name##__unpack(arena_protobuf(&(box)->arena), (payload).size, (payload).data)

static inline int finish(const struct decoder *d, struct err *err)
{
    return d->bad ? err_set(err, ERR_PROTOCOL, "the answer has a text that is not UTF-8") : 0;
}

static inline int unreadable(struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "the answer cannot be read");
}

#endif
