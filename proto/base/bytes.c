#include "proto/base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BUF_FIRST 64

struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){data, size};
}

struct bytes bytes_str(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

bool bytes_has_prefix(struct bytes text, struct bytes prefix)
{
    return text.size >= prefix.size &&
           (prefix.size == 0 || memcmp(text.data, prefix.data, prefix.size) == 0);
}

/* ---- buffer ---- */

void buf_init(struct buf *buf)
{
    *buf = (struct buf){0};
}

void buf_deinit(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->size = 0;
}

void buf_reserve(struct buf *buf, size_t extra)
{
    if (buf->capacity - buf->size >= extra)
        return;
    if (extra > SIZE_MAX / 2 - buf->size)
        abort();
    size_t need = buf->size + extra;
    size_t capacity = buf->capacity ? buf->capacity * 2 : BUF_FIRST;
    if (capacity < need)
        capacity = need;
    uint8_t *data = realloc(buf->data, capacity);
    if (!data) {
        static const char text[] = "quire: out of memory\n";
        fwrite(text, 1, sizeof text - 1, stderr);
        abort();
    }
    buf->data = data;
    buf->capacity = capacity;
}

void *buf_extend(struct buf *buf, size_t size)
{
    /* One byte at least, so that the result of an empty extension is a pointer too. */
    buf_reserve(buf, size ? size : 1);
    void *result = buf->data + buf->size;
    buf->size += size;
    return result;
}

void buf_append(struct buf *buf, const void *data, size_t size)
{
    if (size)
        memcpy(buf_extend(buf, size), data, size);
}

void buf_append_bytes(struct buf *buf, struct bytes bytes)
{
    buf_append(buf, bytes.data, bytes.size);
}

void buf_append_str(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_u8(struct buf *buf, uint8_t value)
{
    buf_append(buf, &value, 1);
}

void buf_append_be16(struct buf *buf, uint16_t value)
{
    value = __builtin_bswap16(value);
    buf_append(buf, &value, sizeof value);
}

void buf_append_be32(struct buf *buf, uint32_t value)
{
    value = __builtin_bswap32(value);
    buf_append(buf, &value, sizeof value);
}

void buf_append_be64(struct buf *buf, uint64_t value)
{
    value = __builtin_bswap64(value);
    buf_append(buf, &value, sizeof value);
}

void buf_append_le32(struct buf *buf, uint32_t value)
{
    buf_append(buf, &value, sizeof value);
}

void buf_append_le64(struct buf *buf, uint64_t value)
{
    buf_append(buf, &value, sizeof value);
}

void buf_append_varint(struct buf *buf, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    buf_append(buf, bytes, size);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    buf_reserve(buf, (size_t)length + 1);
    vsnprintf((char *)buf->data + buf->size, (size_t)length + 1, format, again);
    va_end(again);
    buf->size += (size_t)length;
}

char *buf_text(struct buf *buf)
{
    buf_reserve(buf, 1);
    buf->data[buf->size] = 0;
    return (char *)buf->data;
}

uint8_t *buf_steal(struct buf *buf, size_t *size)
{
    uint8_t *data = buf->data;
    if (size)
        *size = buf->size;
    *buf = (struct buf){0};
    return data;
}

struct bytes buf_bytes(const struct buf *buf)
{
    return (struct bytes){buf->data, buf->size};
}

/* ---- reader ---- */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the fixed-width encodings assume this");

void reader_init(struct reader *reader, struct bytes bytes)
{
    *reader =
        (struct reader){.at = bytes.data, .end = bytes.size ? bytes.data + bytes.size : bytes.data};
}

static bool take(struct reader *reader, void *out, size_t size)
{
    if (reader->bad || reader_left(reader) < size) {
        reader->bad = true;
        memset(out, 0, size);
        return false;
    }
    memcpy(out, reader->at, size);
    reader->at += size;
    return true;
}

bool reader_u8(struct reader *reader, uint8_t *value)
{
    return take(reader, value, sizeof *value);
}

bool reader_be16(struct reader *reader, uint16_t *value)
{
    bool ok = take(reader, value, sizeof *value);
    *value = __builtin_bswap16(*value);
    return ok;
}

bool reader_be32(struct reader *reader, uint32_t *value)
{
    bool ok = take(reader, value, sizeof *value);
    *value = __builtin_bswap32(*value);
    return ok;
}

bool reader_be64(struct reader *reader, uint64_t *value)
{
    bool ok = take(reader, value, sizeof *value);
    *value = __builtin_bswap64(*value);
    return ok;
}

bool reader_le32(struct reader *reader, uint32_t *value)
{
    return take(reader, value, sizeof *value);
}

bool reader_le64(struct reader *reader, uint64_t *value)
{
    return take(reader, value, sizeof *value);
}

bool reader_varint(struct reader *reader, uint64_t *value)
{
    uint64_t result = 0;
    const uint8_t *at = reader->at;
    *value = 0;
    for (int shift = 0; !reader->bad && shift < 70 && at < reader->end; shift += 7) {
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1)
            break; /* beyond 64 bits */
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            reader->at = at;
            *value = result;
            return true;
        }
    }
    reader->bad = true;
    return false;
}

bool reader_bytes(struct reader *reader, size_t size, struct bytes *out)
{
    *out = (struct bytes){0};
    if (reader->bad || reader_left(reader) < size) {
        reader->bad = true;
        return false;
    }
    *out = (struct bytes){reader->at, size};
    reader->at += size;
    return true;
}

uint64_t hash64(const void *data, size_t size)
{
    return XXH3_64bits(size ? data : "", size);
}

uint32_t checksum32(const void *data, size_t size)
{
    return (uint32_t)hash64(data, size);
}

uint16_t checksum16(const void *data, size_t size)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5,
                                       0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
                                       0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    const uint8_t *bytes = data;
    uint16_t crc = 0xffff;

    for (size_t i = 0; i < size; i++) { /* four bits at a time */
        crc = (uint16_t)(crc << 4) ^ table[crc >> 12 ^ bytes[i] >> 4];
        crc = (uint16_t)(crc << 4) ^ table[crc >> 12 ^ (bytes[i] & 0x0f)];
    }
    return crc;
}
