/* Split groups.
 *
 * Each value is cut into its low `width` bits, which are packed like any others, and its high part,
 * which is written in unary: as many bits 0, then a bit 1. So the i-th bit 1 stands at the sum of
 * the first i + 1 high parts, plus i. Values that spread as chance has it take hardly more than
 * they must, whatever their mean, and all decode in the same steps: there are no exceptions, and no
 * branch that depends on a value (Rice, "Some practical universal noiseless coding techniques",
 * 1979).
 *
 * Rising numbers are cut in the same way, but as they are instead of their gaps: number i less
 * `start` and less i, which does not fall, has its low bits packed, and its high part is the sum in
 * question. So no sum has to be made when it is read (Elias, "Efficient storage and retrieval by
 * content and address of static files", 1974; Fano, 1971). With no low bits, that is the bit set of
 * the numbers.
 *
 *     u8    0x80, plus width (0..24)
 *     u8    bytes of the high parts, 1..32
 *     bits  high parts, from the low end of each byte
 *     bits  low bits of all values (see bitpack.c)
 *
 * High parts sum up to 128 at most, so that the place of a bit fits a byte. (A bit less in each low
 * part and sums of up to 255 would save 2 % more, and take a little longer to read.)
 */
#include "shard/bitpack_split.h"

#include <assert.h>
#include <string.h>

#define LAST_MAX (UINT32_MAX >> 1) /* of rising numbers, so that a fall is told from a rise */

/* ---- writing ---- */

static uint64_t sum_of(const uint32_t *values, uint32_t count, uint32_t width)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += values[i] >> width;
    return sum;
}

/* The width that makes `width * count + sum of high parts` least. A high part takes half the bits
 * of the one at a width less, or fewer, so the least is where the sum is about the count. */
static bool best_width(const uint32_t *values, uint32_t count, uint32_t *best)
{
    uint32_t width = 0;
    uint64_t sum = sum_of(values, count, 0), next;

    for (; width < SPLIT_WIDTH_MAX; width++, sum = next) {
        next = sum_of(values, count, width + 1);
        if (sum <= SPLIT_TOTAL_MAX && next + count >= sum)
            break;
    }
    *best = width;
    return sum <= SPLIT_TOTAL_MAX;
}

bool bitpack_split_values(const uint32_t *values, uint32_t count, struct bitpack_split *split)
{
    uint32_t total = 0;

    split->count = count;
    if (!best_width(values, count, &split->width))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        total += values[i] >> split->width;
        split->total[i] = (uint8_t)total;
        split->low[i] = values[i];
    }
    return true;
}

bool bitpack_split_rising(const uint32_t *numbers, uint32_t count, uint32_t start,
                          struct bitpack_split *split)
{
    uint32_t last = numbers[count - 1] - start - (count - 1), width = 0;

    split->count = count;
    if (last > LAST_MAX)
        return false;
    while (last >> width > SPLIT_TOTAL_MAX || (last >> width) - (last >> (width + 1)) > count)
        width++;
    split->width = width;
    for (uint32_t i = 0; i < count; i++) {
        split->low[i] = numbers[i] - start - i;
        split->total[i] = (uint8_t)(split->low[i] >> width);
    }
    return true;
}

static uint32_t high_size(const struct bitpack_split *split)
{
    return (split->total[split->count - 1] + split->count + 7) / 8;
}

uint32_t bitpack_split_size(const struct bitpack_split *split)
{
    return 2 + high_size(split) + bitpack_packed_size(split->count, split->width);
}

void bitpack_split_put(struct buf *out, const struct bitpack_split *split)
{
    uint32_t size = high_size(split);
    uint8_t *bits;

    buf_append_u8(out, (uint8_t)(BITPACK_SPLIT | split->width));
    buf_append_u8(out, (uint8_t)size);
    bits = buf_extend(out, size);
    memset(bits, 0, size);
    for (uint32_t i = 0; i < split->count; i++)
        bits[(split->total[i] + i) / 8] |= (uint8_t)(1u << (split->total[i] + i) % 8);
    bitpack_put_packed(out, split->low, split->count, split->width);
}

/* ---- reading ---- */

static bool get_parts(struct reader *reader, uint32_t count, struct split_parts *parts)
{
    uint32_t low_size;

    if (reader->bad || reader_left(reader) < 2)
        return false;
    parts->width = reader->at[0] & (uint8_t)~BITPACK_SPLIT;
    parts->high_size = reader->at[1];
    low_size = bitpack_packed_size(count, parts->width);
    if (parts->width > SPLIT_WIDTH_MAX || 8 * parts->high_size < count ||
        parts->high_size > SPLIT_HIGH_MAX || reader_left(reader) < 2 + parts->high_size + low_size)
        return false;
    parts->high = reader->at + 2;
    parts->low = parts->high + parts->high_size;
    reader->at = parts->low + low_size;
    return true;
}

bool bitpack_split_skip(struct reader *reader, uint32_t count)
{
    struct split_parts parts;

    return get_parts(reader, count, &parts);
}

static bool join_short(const struct split_parts *parts, uint32_t count, uint32_t start,
                       uint32_t *values)
{
    uint8_t room[1 + SPLIT_PLACES_ROOM], *places = room + 1;

    room[0] = UINT8_MAX; /* before the first */
    if (split_places(parts->high, parts->high_size, places) != count)
        return false;
    bitpack_unpack_short(parts->low, values, count, parts->width);
    for (uint32_t i = 0; i < count; i++)
        values[i] += ((uint32_t)(uint8_t)(places[i] - room[i] - 1) << parts->width) + start;
    return true;
}

/* Whether a value of 2^32 - 1 became 0. */
static bool any_zero(const uint32_t *values, uint32_t count)
{
    bool zero = false;

    for (uint32_t i = 0; i < count; i++)
        zero |= values[i] == 0;
    return zero;
}

bool bitpack_split_get(struct reader *reader, uint32_t *values, uint32_t count, uint32_t plus)
{
    struct split_parts parts;

    if (!get_parts(reader, count, &parts))
        return false;
    if (!(count == BITPACK_GROUP ? split_kernels()->join(&parts, plus, values)
                                 : join_short(&parts, count, plus, values)))
        return false;
    return plus == 0 || parts.width < SPLIT_WIDTH_MAX || !any_zero(values, count);
}

static bool rise_short(const struct split_parts *parts, uint32_t count, uint32_t start,
                       uint32_t *numbers)
{
    uint8_t places[SPLIT_PLACES_ROOM];
    uint32_t falling = 0;

    if (split_places(parts->high, parts->high_size, places) != count)
        return false;
    bitpack_unpack_short(parts->low, numbers, count, parts->width);
    for (uint32_t i = 0; i < count; i++)
        numbers[i] += ((uint32_t)(uint8_t)(places[i] - i) << parts->width) + start + i;
    for (uint32_t i = 1; i < count; i++)
        falling |= ~(numbers[i - 1] - numbers[i]);
    return falling >> 31 == 0;
}

/* High parts never fall, so a number could fall by less than 2^24 only, which is not taken for a
 * rise. The last one less `start` is below 2^32, which tells whether one was above 2^32. */
static bool fits(const struct split_parts *parts, const uint32_t *numbers, uint32_t count,
                 uint32_t start)
{
    uint32_t above;

    if (start + ((uint64_t)(UINT8_MAX + 1 + BITPACK_GROUP) << parts->width) < UINT32_MAX)
        return true;
    above = numbers[count - 1] - start;
    return (uint64_t)start + above < UINT32_MAX;
}

bool bitpack_split_get_rising(struct reader *reader, uint32_t *numbers, uint32_t count,
                              uint32_t start)
{
    struct split_parts parts;

    if (!get_parts(reader, count, &parts))
        return false;
    if (!(count == BITPACK_GROUP ? split_kernels()->rise(&parts, start, numbers)
                                 : rise_short(&parts, count, start, numbers)))
        return false;
    return fits(&parts, numbers, count, start);
}
