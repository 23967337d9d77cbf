/* Bytes: a borrowed slice, a growing buffer, and bounded readers of the encodings that our formats
 * use.
 *
 * All fixed-width integers in keys are big-endian (they sort); varints are LEB128.
 */
#ifndef QUIRE_BASE_BYTES_H
#define QUIRE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes { /* borrowed, not terminated */
    const uint8_t *data;
    size_t size;
};

struct bytes bytes_of(const void *data, size_t size);
struct bytes bytes_str(const char *text);
bool bytes_equal(struct bytes a, struct bytes b);
/* memcmp order, a prefix first: <0, 0, >0. */
int bytes_compare(struct bytes a, struct bytes b);
bool bytes_has_prefix(struct bytes text, struct bytes prefix);

/* A buffer that grows geometrically. Appending aborts the process when memory is out: callers bound
 * what they append (every message and value has a stated limit). */
struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buf_init(struct buf *buf); /* = {0} */
void buf_deinit(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory */
void buf_reserve(struct buf *buf, size_t extra);
void *buf_extend(struct buf *buf, size_t size); /* room for size bytes, uninitialised */
void buf_append(struct buf *buf, const void *data, size_t size);
void buf_append_bytes(struct buf *buf, struct bytes bytes);
void buf_append_str(struct buf *buf, const char *text); /* without the NUL */
void buf_append_u8(struct buf *buf, uint8_t value);
void buf_append_be16(struct buf *buf, uint16_t value);
void buf_append_be32(struct buf *buf, uint32_t value);
void buf_append_be64(struct buf *buf, uint64_t value);
void buf_append_le32(struct buf *buf, uint32_t value);
void buf_append_le64(struct buf *buf, uint64_t value);
void buf_append_varint(struct buf *buf, uint64_t value);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Terminates with an uncounted NUL and returns the text. */
char *buf_text(struct buf *buf);
/* Hands the memory over to the caller (free()); the buffer is empty afterwards. */
uint8_t *buf_steal(struct buf *buf, size_t *size);
struct bytes buf_bytes(const struct buf *buf);

/* A reader over a slice. Each call returns false at the first thing that does not fit, and `bad`
 * stays set from then on, so a decoder may check once at the end. */
struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

void reader_init(struct reader *reader, struct bytes bytes);
static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}
bool reader_u8(struct reader *reader, uint8_t *value);
bool reader_be16(struct reader *reader, uint16_t *value);
bool reader_be32(struct reader *reader, uint32_t *value);
bool reader_be64(struct reader *reader, uint64_t *value);
bool reader_le32(struct reader *reader, uint32_t *value);
bool reader_le64(struct reader *reader, uint64_t *value);
bool reader_varint(struct reader *reader, uint64_t *value); /* at most 10 bytes */
bool reader_bytes(struct reader *reader, size_t size, struct bytes *out);

/* XXH3: the checksum of frames, pages and chunks, and the hash of tables. */
uint64_t hash64(const void *data, size_t size);
uint32_t checksum32(const void *data, size_t size); /* the low half of hash64 */
/* CRC-16 (polynomial 0x1021, start 0xffff: "CCITT-FALSE"), for rows of a few bytes. Stored behind
 * them high byte first, it notices one flipped bit always, and any damage within 16 neighbouring
 * bits, its own included. */
uint16_t checksum16(const void *data, size_t size);

#endif
