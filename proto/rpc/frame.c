/* The layout of a frame. All integers are little-endian, like the machines that we run on: frames
 * are never compared or sorted, so nothing is gained from big-endian here.
 *
 *   offset  size
 *        0     4  magic: the bytes 'Q' 'R' 'P' and the version of this layout, '1'
 *        4     4  checksum: the low half of XXH3-64 over bytes 8 to the end of the payload
 *        8     4  payload length
 *       12     2  kind
 *       14     2  flags
 *       16     8  request id
 *       24     8  trace id
 *       32     4  deadline: milliseconds left for the request when it was written
 *       36     4  zero, for a later use; covered by the checksum, otherwise ignored
 *       40        payload: a protobuf message, which message is told by the kind
 *
 * Why it is so. The header has a fixed size and keeps the payload aligned to eight bytes. The
 * checksum stands before everything that it covers, so that it is one pass over contiguous bytes.
 * TCP's own checksum is 16 bits and lets about one damaged segment in 65,536 through; a flipped bit
 * in a posting or in a statistic would otherwise become a wrong answer. A deadline travels as time
 * left, not as a time of day: clocks of machines differ, durations do not.
 *
 * A stream that has carried one bad frame is lost: lengths cannot be trusted, so there is no point
 * to resume at. The connection is closed and dialed again. A damaged length below the limit makes
 * the reader take later frames for payload; the checksum then fails, or the connection falls
 * silent.
 *
 * Versions: another layout gets another last byte of the magic, and is refused by frame_decode().
 * What the messages mean is versioned apart from it, in Hello.
 */
#include "proto/rpc/frame.h"

#include <assert.h>
#include <string.h>

static const uint8_t magic[4] = {'Q', 'R', 'P', '1'};

#define AT_CHECKSUM 4
#define AT_LENGTH 8

void frame_append(struct buf *out, const struct frame *frame)
{
    assert(frame->payload.size <= UINT32_MAX);
    size_t start = out->size;
    buf_reserve(out, FRAME_HEADER + frame->payload.size);
    buf_append(out, magic, sizeof magic);
    buf_append_le32(out, 0); /* the checksum, below */
    buf_append_le32(out, (uint32_t)frame->payload.size);
    buf_append(out, &frame->kind, sizeof frame->kind);
    buf_append(out, &frame->flags, sizeof frame->flags);
    buf_append_le64(out, frame->id);
    buf_append_le64(out, frame->trace);
    buf_append_le32(out, frame->deadline_ms);
    buf_append_le32(out, 0);
    buf_append_bytes(out, frame->payload);
    uint32_t sum = checksum32(out->data + start + AT_LENGTH, out->size - start - AT_LENGTH);
    memcpy(out->data + start + AT_CHECKSUM, &sum, sizeof sum);
}

static void read_header(const uint8_t *at, struct frame *frame, uint32_t *sum, uint32_t *length)
{
    memcpy(sum, at + AT_CHECKSUM, sizeof *sum);
    memcpy(length, at + AT_LENGTH, sizeof *length);
    memcpy(&frame->kind, at + 12, sizeof frame->kind);
    memcpy(&frame->flags, at + 14, sizeof frame->flags);
    memcpy(&frame->id, at + 16, sizeof frame->id);
    memcpy(&frame->trace, at + 24, sizeof frame->trace);
    memcpy(&frame->deadline_ms, at + 32, sizeof frame->deadline_ms);
}

enum frame_status frame_decode(struct bytes in, size_t payload_max, struct frame *frame,
                               size_t *size, struct err *err)
{
    *frame = (struct frame){0};
    *size = 0;
    size_t seen = in.size < sizeof magic ? in.size : sizeof magic;
    if (seen && memcmp(in.data, magic, seen) != 0) {
        err_set(err, ERR_PROTOCOL, "not a frame of this version (wrong magic bytes)");
        return FRAME_BAD;
    }
    if (in.size < FRAME_HEADER)
        return FRAME_PARTIAL;
    uint32_t sum, length;
    read_header(in.data, frame, &sum, &length);
    if (length > payload_max) {
        err_set(err, ERR_TOO_LARGE, "frame of %u bytes where %zu are the limit", length,
                payload_max);
        return FRAME_BAD;
    }
    *size = FRAME_HEADER + (size_t)length;
    if (in.size < *size)
        return FRAME_PARTIAL;
    if (checksum32(in.data + AT_LENGTH, *size - AT_LENGTH) != sum) {
        err_set(err, ERR_CORRUPT, "frame of kind %u, %u bytes: wrong checksum", frame->kind,
                length);
        return FRAME_BAD;
    }
    frame->payload = bytes_of(in.data + FRAME_HEADER, length);
    return FRAME_COMPLETE;
}

size_t frame_read(const uint8_t *at, struct frame *frame)
{
    uint32_t sum, length;
    read_header(at, frame, &sum, &length);
    frame->payload = bytes_of(at + FRAME_HEADER, length);
    return FRAME_HEADER + (size_t)length;
}
