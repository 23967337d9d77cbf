#include "proto/base/marks.h"

#include <stdlib.h>
#include <string.h>

void marks_deinit(struct marks *marks)
{
    free(marks->items);
    *marks = (struct marks){0};
}

/* Where it is, or would be. */
static size_t find(const struct marks *marks, uint64_t range)
{
    size_t low = 0, high = marks->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (marks->items[middle].range < range)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool later(const struct mark *a, const struct mark *b)
{
    return a->recovered != b->recovered ? a->recovered > b->recovered : a->seq > b->seq;
}

void marks_raise(struct marks *marks, struct mark mark, size_t max)
{
    size_t at = find(marks, mark.range);
    if (at < marks->count && marks->items[at].range == mark.range) {
        if (later(&mark, &marks->items[at]))
            marks->items[at] = mark;
        return;
    }
    if (marks->count >= max)
        return;
    if (marks->count == marks->room) {
        marks->room = marks->room == 0 ? 8 : 2 * marks->room;
        marks->items = realloc(marks->items, marks->room * sizeof *marks->items);
        if (marks->items == NULL)
            abort(); /* some kilobytes */
    }
    memmove(&marks->items[at + 1], &marks->items[at], (marks->count - at) * sizeof *marks->items);
    marks->items[at] = mark;
    marks->count++;
}

uint64_t marks_seq(const struct marks *marks, uint64_t range, uint32_t recovered)
{
    size_t at = find(marks, range);
    bool known = at < marks->count && marks->items[at].range == range &&
                 marks->items[at].recovered == recovered;
    return known ? marks->items[at].seq : 0;
}

void marks_filter(struct marks *marks, bool (*keep)(void *data, uint64_t range), void *data)
{
    size_t kept = 0;
    for (size_t i = 0; i < marks->count; i++)
        if (keep(data, marks->items[i].range))
            marks->items[kept++] = marks->items[i];
    marks->count = kept;
}
