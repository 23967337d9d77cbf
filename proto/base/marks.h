/* Marks: how far each of many ranges is known to be: the highest seq, by id of the range. A seq
 * counts within one `recovered` of the range (Range.recovered in quire.proto): when writes were
 * given up, what is counted begins anew.
 *
 * Pure code. Not thread-safe. */
#ifndef QUIRE_BASE_MARKS_H
#define QUIRE_BASE_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mark {
    uint64_t range, seq;
    uint32_t recovered;
};

struct marks {
    struct mark *items; /* by range */
    size_t count, room;
};

void marks_deinit(struct marks *marks);
/* Keeps the later one of what it has of the range and this. One of a new range is not kept when
 * there are `max` already. */
void marks_raise(struct marks *marks, struct mark mark, size_t max);
/* The seq of the range; 0: nothing is known of it, or not since it was recovered so often. */
uint64_t marks_seq(const struct marks *marks, uint64_t range, uint32_t recovered);
/* Drops those for which it returns false. */
void marks_filter(struct marks *marks, bool (*keep)(void *data, uint64_t range), void *data);

#endif
