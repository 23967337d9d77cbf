/* Cutting a key space into ranges by a sample of its keys. Pure code.
 *
 * The bounds are the shortest strings that separate neighbours of the sample ("mod", not "model
 * quantization i"), at the quantiles of the sample: each range gets about the same share of what
 * the sample stands for.
 */
#ifndef QUIRE_COORDINATOR_CUT_H
#define QUIRE_COORDINATOR_CUT_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

#include <stddef.h>

/* Writes at most `ranges` - 1 bounds, strictly rising and none empty, to `bounds` (room for ranges
 * - 1), in `arena`; returns how many. With b bounds the key space has b + 1 ranges. `keys` are term
 * keys in any order and are sorted in place; equal ones count as often as they stand there, but no
 * bound falls between equals, so a sample with few distinct keys gives fewer bounds. ranges >= 1.
 */
size_t cut_bounds(struct bytes *keys, size_t count, size_t ranges, struct arena *arena,
                  struct bytes *bounds);

#endif
