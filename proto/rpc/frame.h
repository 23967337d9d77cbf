/* Frames: what an rpc connection carries. The layout is described at the head of frame.c.
 * Pure functions, any thread.
 */
#ifndef QUIRE_RPC_FRAME_H
#define QUIRE_RPC_FRAME_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdint.h>

#define FRAME_HEADER 40

enum frame_flag {
    FRAME_REPLY =
        1 << 0, /* answers the request `id`; without it the frame is a request or a signal */
    FRAME_HEAVY = 1 << 1, /* of a request: it takes long by nature */
};

struct frame {
    uint16_t kind;        /* enum Kind of quire.proto */
    uint16_t flags;       /* enum frame_flag; unknown bits are ignored */
    uint32_t deadline_ms; /* of a request: time left when it was written; 0 = not said */
    uint64_t id;          /* chosen by the side that dialed; 0 for signals */
    uint64_t trace;       /* follows a request through the cluster; 0 = none */
    struct bytes payload; /* borrowed */
};

/* Appends the encoded frame. The payload must not be larger than 4 GiB - 1; rpc's own limit is far
 * below. */
void frame_append(struct buf *out, const struct frame *frame);

enum frame_status {
    FRAME_COMPLETE, /* *frame is set (its payload points into `in`), *size is its encoded size */
    FRAME_PARTIAL,  /* more bytes are needed; *size is the encoded size if known, else 0 */
    FRAME_BAD, /* these bytes are no frame, *err says why; nothing behind them can be trusted */
};

/* Looks for one frame at the start of `in`. A payload above `payload_max` bytes is FRAME_BAD with
 * ERR_TOO_LARGE as soon as the header is there; a wrong magic ERR_PROTOCOL, from the first wrong
 * byte on; a wrong checksum ERR_CORRUPT. */
enum frame_status frame_decode(struct bytes in, size_t payload_max, struct frame *frame,
                               size_t *size, struct err *err);

/* The first of frames that frame_decode() has found complete before: returns its encoded size. */
size_t frame_read(const uint8_t *at, struct frame *frame);

#endif
