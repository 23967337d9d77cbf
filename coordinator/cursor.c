/* The bytes of a cursor, before base64 (the URL alphabet, without padding):
 *
 *   u8      version, 1
 *   be64    fingerprint
 *   be64    statistics
 *   varint  hits seen
 *   varint  score
 *   varint  length of the key, then the key
 *   varint  length of the sense, then the sense
 *   be64    SipHash-2-4 of all that comes before, keyed with the cluster's secret
 *
 * There is one text for each cursor: bits that base64 has left over at the end must be zero.
 */
#include "coordinator/cursor.h"

#include "proto/base/siphash.h"

#include <string.h>

#define CURSOR_VERSION 1
#define CURSOR_TAG 8

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(struct bytes bytes, struct buf *out)
{
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        bits = bits << 8 | bytes.data[i];
        have += 8;
        while (have >= 6) {
            have -= 6;
            buf_append_u8(out, (uint8_t)alphabet[bits >> have & 63]);
        }
    }
    if (have > 0)
        buf_append_u8(out, (uint8_t)alphabet[bits << (6 - have) & 63]);
}

static bool decode(const char *text, struct buf *out)
{
    uint32_t bits = 0;
    int have = 0;
    for (; *text != '\0'; text++) {
        const char *at = strchr(alphabet, *text);
        if (at == NULL)
            return false;
        bits = (bits << 6 | (uint32_t)(at - alphabet)) & 0xffffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_append_u8(out, (uint8_t)(bits >> have));
        }
    }
    return have < 6 && (bits & ((1u << have) - 1)) == 0;
}

uint64_t cursor_fingerprint(const struct bytes *parts, size_t count)
{
    struct buf all;
    buf_init(&all);
    for (size_t i = 0; i < count; i++) {
        buf_append_be64(&all, parts[i].size);
        buf_append_bytes(&all, parts[i]);
    }
    uint64_t hash = hash64(all.data, all.size);
    buf_deinit(&all);
    return hash;
}

void cursor_write(const struct cursor *cursor, const uint8_t secret[16], struct buf *out)
{
    struct buf raw;
    buf_init(&raw);
    buf_append_u8(&raw, CURSOR_VERSION);
    buf_append_be64(&raw, cursor->fingerprint);
    buf_append_be64(&raw, cursor->statistics);
    buf_append_varint(&raw, cursor->seen);
    buf_append_varint(&raw, cursor->score);
    buf_append_varint(&raw, cursor->key.size);
    buf_append_bytes(&raw, cursor->key);
    buf_append_varint(&raw, cursor->sense.size);
    buf_append_bytes(&raw, cursor->sense);
    buf_append_be64(&raw, siphash24(secret, raw.data, raw.size));
    encode(buf_bytes(&raw), out);
    buf_deinit(&raw);
}

static int damaged(struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "the cursor is damaged, or comes from another cluster: start the search again");
}

int cursor_read(const char *text, const uint8_t secret[16], uint64_t fingerprint,
                struct buf *memory, struct cursor *out, struct err *err)
{
    *out = (struct cursor){0};
    if (strnlen(text, CURSOR_TEXT_MAX + 1) > CURSOR_TEXT_MAX)
        return err_set(err, ERR_INVALID, "a cursor has at most %d bytes", CURSOR_TEXT_MAX);
    if (!decode(text, memory) || memory->size < CURSOR_TAG)
        return damaged(err);
    struct reader reader;
    uint64_t tag = 0;
    size_t signed_size = memory->size - CURSOR_TAG;
    reader_init(&reader, bytes_of(memory->data + signed_size, CURSOR_TAG));
    reader_be64(&reader, &tag);
    if (tag != siphash24(secret, memory->data, signed_size))
        return damaged(err);
    uint8_t version = 0;
    uint64_t size = 0;
    reader_init(&reader, bytes_of(memory->data, signed_size));
    reader_u8(&reader, &version);
    reader_be64(&reader, &out->fingerprint);
    reader_be64(&reader, &out->statistics);
    reader_varint(&reader, &out->seen);
    reader_varint(&reader, &out->score);
    if (reader_varint(&reader, &size))
        reader_bytes(&reader, size, &out->key);
    if (reader_varint(&reader, &size))
        reader_bytes(&reader, size, &out->sense);
    if (reader.bad || reader_left(&reader) != 0 || version != CURSOR_VERSION)
        return err_set(err, ERR_INVALID,
                       "the cursor is of another version of Quire: start the search again");
    if (out->fingerprint != fingerprint)
        return err_set(err, ERR_INVALID,
                       "the cursor belongs to another search: it goes with the collection, query "
                       "and options that it was made for");
    return 0;
}
