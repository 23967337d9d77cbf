/* Bit packing: streams of small integers in few bytes, decoded fast. Layout: the essay in
 * bitpack.c. Pure functions; any thread. Decoders never read beyond their bytes, whatever these
 * are.
 */
#ifndef QUIRE_SHARD_BITPACK_H
#define QUIRE_SHARD_BITPACK_H

#include "proto/base/bytes.h"

#define BITPACK_GROUP 128

/* 128 values of `width` bits (0..32) each: 16 * width bytes. Higher bits of a value are ignored. */
void bitpack_pack(const uint32_t values[BITPACK_GROUP], uint32_t width, uint8_t *out);
void bitpack_unpack(const uint8_t *in, uint32_t width, uint32_t values[BITPACK_GROUP]);
/* values[i] = start + i + (values[0] + ... + values[i]), modulo 2^32. */
void bitpack_sum(uint32_t values[BITPACK_GROUP], uint32_t start);

/* A group: 1 to 128 values, self-describing but for their number. */
void bitpack_put(struct buf *out, const uint32_t *values, uint32_t count);
/* `values` has room for BITPACK_GROUP; those from `count` on are undefined afterwards. *width (may
 * be NULL): every value is below 2^width. */
bool bitpack_get(struct reader *reader, uint32_t *values, uint32_t count, uint32_t *width);
bool bitpack_skip(struct reader *reader, uint32_t count);

#endif
