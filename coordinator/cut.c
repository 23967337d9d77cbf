#include "coordinator/cut.h"

#include "proto/text/key.h"

#include <assert.h>
#include <stdlib.h>

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool boundary(const struct bytes *keys, size_t at)
{
    return !bytes_equal(keys[at - 1], keys[at]);
}

/* The place in [from, count) nearest to `target` where the key changes; 0 when there is none. */
static size_t nearest_boundary(const struct bytes *keys, size_t count, size_t from, size_t target)
{
    if (target < from)
        target = from;
    for (size_t step = 0; step < count; step++) {
        if (target >= from + step && target - step < count && boundary(keys, target - step))
            return target - step;
        if (target + step < count && boundary(keys, target + step))
            return target + step;
    }
    return 0;
}

size_t cut_bounds(struct bytes *keys, size_t count, size_t ranges, struct arena *arena,
                  struct bytes *bounds)
{
    assert(ranges >= 1);
    if (count < 2 || ranges < 2)
        return 0;
    qsort(keys, count, sizeof *keys, compare_keys);
    struct buf separator;
    buf_init(&separator);
    size_t found = 0;
    size_t from = 1; /* a boundary at i lies between keys i - 1 and i */
    for (size_t i = 1; i < ranges && from < count; i++) {
        size_t at = nearest_boundary(keys, count, from, i * count / ranges);
        if (at == 0)
            break;
        buf_clear(&separator);
        text_separator(keys[at - 1], keys[at], &separator);
        assert(separator.size > 0);
        bounds[found].data = arena_copy(arena, separator.data, separator.size);
        bounds[found].size = separator.size;
        found++;
        from = at + 1;
    }
    buf_deinit(&separator);
    return found;
}
