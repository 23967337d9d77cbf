#include "shard/distance.h"

#include <string.h>

static uint32_t sequence_length(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

/* Decodes one code point; a byte that begins none becomes a number that no code point has. */
static uint32_t decode(const uint8_t *at, size_t left, uint32_t *size)
{
    uint32_t length = sequence_length(*at);
    *size = 1;
    if (length == 1)
        return *at;
    if (length == 0 || length > left)
        return 0x110000u + *at;
    uint32_t point = *at & (0xffu >> (length + 1));
    for (uint32_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0x110000u + *at;
        point = point << 6 | (at[i] & 0x3fu);
    }
    *size = length;
    return point;
}

void distance_word_init(struct distance_word *word, struct bytes text)
{
    word->count = 0;
    for (size_t at = 0; at < text.size && word->count < DISTANCE_POINTS_MAX;) {
        uint32_t size;
        word->points[word->count++] = decode(text.data + at, text.size - at, &size);
        at += size;
    }
}

struct bytes distance_first_letter(struct bytes text)
{
    uint32_t size = 0;
    if (text.size)
        decode(text.data, text.size, &size);
    return bytes_of(text.data, size);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Cells further than `limit` from the diagonal cannot lead to a distance within it; `far` stands
 * for those. */
static uint32_t banded(const uint32_t *a, uint32_t n, const uint32_t *b, uint32_t m, uint32_t limit)
{
    uint32_t rows[3][DISTANCE_POINTS_MAX + 2];
    uint32_t far = limit + 1;
    uint32_t *older = rows[0], *before = rows[1], *row = rows[2];
    for (uint32_t j = 0; j <= m; j++)
        before[j] = j <= limit ? j : far;
    uint32_t best_before = 0;
    for (uint32_t i = 1; i <= n; i++) {
        uint32_t from = i > limit ? i - limit : 0;
        uint32_t to = least(m, i + limit);
        uint32_t best = far;
        for (uint32_t j = from; j <= to; j++) {
            uint32_t cost = far;
            if (j == 0) {
                cost = i;
            } else {
                if (j > from)
                    cost = least(cost, row[j - 1] + 1);
                if (j < i + limit)
                    cost = least(cost, before[j] + 1);
                cost = least(cost, before[j - 1] + (a[i - 1] != b[j - 1]));
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    cost = least(cost, older[j - 2] + 1);
            }
            row[j] = least(cost, far);
            best = least(best, row[j]);
        }
        if (best == far && best_before >= limit)
            return far;
        best_before = best;
        uint32_t *spare = older;
        older = before;
        before = row;
        row = spare;
    }
    return before[m];
}

uint32_t distance_between(const struct distance_word *a, const struct distance_word *b,
                          uint32_t limit)
{
    const uint32_t *x = a->points, *y = b->points;
    uint32_t n = a->count, m = b->count;
    if (limit > DISTANCE_POINTS_MAX)
        limit = DISTANCE_POINTS_MAX;
    if ((n > m ? n - m : m - n) > limit)
        return limit + 1;
    while (n && m && *x == *y)
        x++, y++, n--, m--;
    while (n && m && x[n - 1] == y[m - 1])
        n--, m--;
    if (n == 0 || m == 0)
        return n + m;
    return limit == 0 ? 1 : banded(x, n, y, m, limit);
}
