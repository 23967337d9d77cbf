/* Cursors: where a search goes on. Stateless: all that is needed is in the text itself, so that any
 * coordinator can continue, after any restart, split or move.
 *
 * A cursor is bound to what was searched (collection, query, options) by a fingerprint, and signed
 * with the cluster's secret: one that was tampered with, comes from another cluster, or is used
 * with another query is refused with ERR_INVALID and a sentence. Pure code.
 */
#ifndef QUIRE_COORDINATOR_CURSOR_H
#define QUIRE_COORDINATOR_CURSOR_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdint.h>

/* Longer ones are refused before they are looked at: a key, a sense, and what stands around them,
 * in base64. */
#define CURSOR_TEXT_MAX 16384

struct cursor {
    uint64_t fingerprint; /* of collection, query and options: cursor_fingerprint() */
    uint64_t statistics;  /* stamp of the statistics that the scores were computed with */
    uint64_t seen;        /* hits handed out so far */
    uint64_t score;       /* of the last hit that was handed out, and its key and sense */
    struct bytes key;
    struct bytes sense;
};

/* Hash of the parts, which are told apart: ("ab","c") is not ("a","bc"). */
uint64_t cursor_fingerprint(const struct bytes *parts, size_t count);

/* Appends the text of the cursor: letters, digits, '-' and '_'. `secret` has 16 bytes. */
void cursor_write(const struct cursor *cursor, const uint8_t secret[16], struct buf *out);

/* Reads and checks; key and sense point into `memory`, which must be initialised and live as long
 * as they are used. ERR_INVALID. */
int cursor_read(const char *text, const uint8_t secret[16], uint64_t fingerprint,
                struct buf *memory, struct cursor *out, struct err *err);

#endif
