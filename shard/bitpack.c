/* Bit packing.
 *
 * A group is 1 to 128 integers of 32 bits; their number is known from elsewhere.
 *
 *     u8    width (0..32), plus 0x40 when exceptions follow
 *     [     u8 number of exceptions, 1..31, plus their bytes less 1 (0..3) times 32
 *           u8 for each: its place in the group, rising
 *           le   for each: its bits from `width` up                         ]
 *     bits  the low `width` bits of all values
 *
 * The width is the one that makes the group smallest: a few large values among small ones are
 * exceptions, so that they do not widen all (PFOR; Zukowski, Heman, Nes, Boncz, "Super-Scalar
 * RAM-CPU Cache Compression", 2006).
 *
 * The bits of a full group lie in four lanes: value i is in lane i mod 4, as number i / 4 of it. A
 * lane is `width` little-endian 32-bit words, filled from the low end, and word j of the four lanes
 * lie side by side. So one 128-bit register takes four values at every step, without a shuffle
 * (SIMD-BP128; Lemire and Boytsov, "Decoding billions of integers per second through
 * vectorization", 2015). Unpacking: bitpack_unpack.c.
 *
 * The bits of a shorter group follow one another, from the low end of each byte: (count * width +
 * 7) / 8 bytes.
 *
 * A group of rising numbers is the group of their gaps (each less the one before, less 1, the first
 * less `start`), so that numbers without gaps take one byte.
 *
 * A group of either kind may be split instead, which has no exceptions: bitpack_split.c. Its first
 * byte has the bit 0x80.
 */
#include "shard/bitpack.h"

#include "shard/bitpack_split.h"

#include <assert.h>
#include <string.h>

#define EXCEPTIONS_FLAG 0x40
#define EXCEPTIONS_MAX 31
#define EXCEPTIONS_SAVE 3 /* bytes */

static uint32_t mask_of(uint32_t width)
{
    return width == 0 ? 0 : UINT32_MAX >> (32 - width);
}

/* ---- packed bits ---- */

void bitpack_pack(const uint32_t values[BITPACK_GROUP], uint32_t width, uint8_t *out)
{
    uint32_t mask = mask_of(width);

    assert(width <= 32);
    for (uint32_t lane = 0; lane < 4; lane++) {
        uint8_t *at = out + 4 * lane;
        uint64_t word = 0;
        uint32_t bits = 0;

        for (uint32_t i = lane; i < BITPACK_GROUP; i += 4) {
            word |= (uint64_t)(values[i] & mask) << bits;
            bits += width;
            if (bits >= 32) {
                uint32_t full = (uint32_t)word;

                memcpy(at, &full, sizeof(full));
                at += 16;
                word >>= 32;
                bits -= 32;
            }
        }
    }
}

static void pack_short(uint8_t *out, const uint32_t *values, uint32_t count, uint32_t width)
{
    uint64_t word = 0;
    uint32_t bits = 0;

    for (uint32_t i = 0; i < count; i++) {
        word |= (uint64_t)(values[i] & mask_of(width)) << bits;
        for (bits += width; bits >= 8; bits -= 8) {
            *out++ = (uint8_t)word;
            word >>= 8;
        }
    }
    if (bits > 0)
        *out = (uint8_t)word;
}

void bitpack_put_packed(struct buf *out, const uint32_t *values, uint32_t count, uint32_t width)
{
    uint8_t *bits;

    if (width == 0)
        return;
    bits = buf_extend(out, bitpack_packed_size(count, width));
    if (count == BITPACK_GROUP)
        bitpack_pack(values, width, bits);
    else
        pack_short(bits, values, count, width);
}

/* How many values begin so that eight bytes can be read from the byte they begin in. */
static uint32_t readable(uint32_t count, uint32_t width, uint32_t size)
{
    uint32_t values = size < 8 ? 0 : width == 0 ? count : (8 * (size - 8) + 7) / width + 1;

    return values < count ? values : count;
}

/* Each value from the eight bytes that its first bit is in; a copy of the last bytes stands in for
 * what would lie beyond them. */
void bitpack_unpack_short(const uint8_t *in, uint32_t *values, uint32_t count, uint32_t width)
{
    uint32_t size = bitpack_packed_size(count, width), base = size > 8 ? size - 8 : 0;
    uint32_t mask = mask_of(width), i = 0, end = readable(count, width, size), bit = 0;
    uint8_t last[24] = {0};
    uint64_t word;

    for (; i < end; i++, bit += width) {
        memcpy(&word, in + bit / 8, sizeof(word));
        values[i] = (uint32_t)(word >> bit % 8) & mask;
    }
    memcpy(last, in + base, size - base);
    for (; i < count; i++, bit += width) {
        memcpy(&word, last + (bit / 8 - base), sizeof(word));
        values[i] = (uint32_t)(word >> bit % 8) & mask;
    }
}

/* ---- groups ---- */

static uint32_t bits_of(uint32_t value)
{
    return value == 0 ? 0 : 32 - (uint32_t)__builtin_clz(value);
}

struct plan { /* how a group is written */
    uint32_t width;
    uint32_t exceptions, high_bytes;
    uint32_t size;
};

/* The width that makes the group smallest. */
static struct plan plan_of(const uint32_t *values, uint32_t count)
{
    uint32_t having[33] = {0}, all = 0, widest, wider;
    struct plan best;

    for (uint32_t i = 0; i < count; i++) {
        having[bits_of(values[i])]++;
        all |= values[i];
    }
    widest = bits_of(all);
    best = (struct plan){.width = widest, .size = 1 + bitpack_packed_size(count, widest)};
    if (count == 1) /* most tokens of a corpus occur once: an exception never saves anything */
        return best;
    wider = having[widest];
    for (uint32_t width = widest; width-- > 0 && wider <= EXCEPTIONS_MAX; wider += having[width]) {
        uint32_t high_bytes = (widest - width + 7) / 8;
        uint32_t size = 2 + wider * (1 + high_bytes) + bitpack_packed_size(count, width);

        if (size < best.size)
            best = (struct plan){width, wider, high_bytes, size};
    }
    return best;
}

static void put_exceptions(struct buf *out, const uint32_t *values, uint32_t count,
                           const struct plan *plan)
{
    buf_append_u8(out, (uint8_t)(plan->exceptions | (plan->high_bytes - 1) << 5));
    for (uint32_t i = 0; i < count; i++)
        if (bits_of(values[i]) > plan->width)
            buf_append_u8(out, (uint8_t)i);
    for (uint32_t i = 0; i < count; i++)
        if (bits_of(values[i]) > plan->width) {
            uint32_t high = values[i] >> plan->width; /* below 32: a value is wider */

            for (uint32_t byte = 0; byte < plan->high_bytes; byte++)
                buf_append_u8(out, (uint8_t)(high >> 8 * byte));
        }
}

static void put_planned(struct buf *out, const uint32_t *values, uint32_t count,
                        const struct plan *plan)
{
    buf_append_u8(out, (uint8_t)(plan->width | (plan->exceptions > 0 ? EXCEPTIONS_FLAG : 0)));
    if (plan->exceptions > 0)
        put_exceptions(out, values, count, plan);
    bitpack_put_packed(out, values, count, plan->width);
}

/* Exceptions are slow to read: they have to save something. */
static bool split_is_better(const struct bitpack_split *split, const struct plan *plan)
{
    return bitpack_split_size(split) < plan->size + (plan->exceptions > 0 ? EXCEPTIONS_SAVE : 0);
}

void bitpack_put(struct buf *out, const uint32_t *values, uint32_t count)
{
    struct bitpack_split split;
    struct plan plan;

    assert(count >= 1 && count <= BITPACK_GROUP);
    plan = plan_of(values, count);
    if (bitpack_split_values(values, count, &split) && split_is_better(&split, &plan))
        bitpack_split_put(out, &split);
    else
        put_planned(out, values, count, &plan);
}

/* A group's parts, within its bytes. */
struct group {
    uint32_t width, exceptions, high_bytes;
    const uint8_t *places, *highs, *bits;
};

static bool get_group(struct reader *reader, uint32_t count, struct group *group)
{
    struct bytes bytes;
    uint8_t header, exceptions;

    if (!reader_u8(reader, &header))
        return false;
    group->width = header & (uint8_t)~EXCEPTIONS_FLAG;
    group->exceptions = group->high_bytes = 0;
    if (group->width > 32)
        return false;
    if (header & EXCEPTIONS_FLAG) {
        if (!reader_u8(reader, &exceptions) || exceptions >> 7 ||
            (exceptions & EXCEPTIONS_MAX) == 0 || group->width == 32)
            return false;
        group->exceptions = exceptions & EXCEPTIONS_MAX;
        group->high_bytes = (exceptions >> 5) + 1u;
        if (!reader_bytes(reader, group->exceptions * (size_t)(1 + group->high_bytes), &bytes))
            return false;
        group->places = bytes.data;
        group->highs = bytes.data + group->exceptions;
    }
    if (!reader_bytes(reader, bitpack_packed_size(count, group->width), &bytes))
        return false;
    group->bits = bytes.data;
    return true;
}

/* Every value is below 2 to the power of this. */
static uint32_t bits_at_most(const struct group *group)
{
    return group->width + 8 * group->high_bytes;
}

/* Puts the exceptions in; the values may be one more than what was packed. */
static bool patch(const struct group *group, uint32_t *values, uint32_t count)
{
    const uint8_t *places = group->places, *highs = group->highs;
    uint64_t most = 0;
    uint32_t last = 0;

    for (uint32_t i = 0; i < group->exceptions; i++) {
        uint64_t high = highs[i];

        if (group->high_bytes > 1) {
            high = 0;
            for (uint32_t byte = 0; byte < group->high_bytes; byte++)
                high |= (uint64_t)highs[i * group->high_bytes + byte] << 8 * byte;
        }
        high <<= group->width;
        most |= high;
        last = places[i] > last ? places[i] : last;
        values[places[i] & (BITPACK_GROUP - 1)] += (uint32_t)high;
    }
    return last < count && most <= UINT32_MAX;
}

static inline bool starts_split(const struct reader *reader)
{
    return reader_left(reader) > 0 && (*reader->at & BITPACK_SPLIT) != 0;
}

bool bitpack_get(struct reader *reader, uint32_t *values, uint32_t count)
{
    struct group group;

    if (starts_split(reader))
        return bitpack_split_get(reader, values, count, 0);
    if (!get_group(reader, count, &group))
        return false;
    if (count == BITPACK_GROUP)
        bitpack_kernels()->plain[group.width](group.bits, 0, values);
    else
        bitpack_unpack_short(group.bits, values, count, group.width);
    return patch(&group, values, count);
}

/* Whether none of them is 0. */
static bool none_zero(const uint32_t *values, uint32_t count)
{
    uint32_t zero = 0;

    for (uint32_t i = 0; i < count; i++)
        zero |= values[i] == 0;
    return zero == 0;
}

bool bitpack_get_plus_one(struct reader *reader, uint32_t *values, uint32_t count)
{
    struct group group;

    if (starts_split(reader))
        return bitpack_split_get(reader, values, count, 1);
    if (!get_group(reader, count, &group))
        return false;
    if (count == BITPACK_GROUP) {
        bitpack_kernels()->plus_one[group.width](group.bits, 0, values);
    } else {
        bitpack_unpack_short(group.bits, values, count, group.width);
        for (uint32_t i = 0; i < count; i++)
            values[i]++;
    }
    if (!patch(&group, values, count))
        return false;
    return bits_at_most(&group) < 32 || none_zero(values, count);
}

bool bitpack_skip(struct reader *reader, uint32_t count)
{
    struct group group;

    if (starts_split(reader))
        return bitpack_split_skip(reader, count);
    return get_group(reader, count, &group);
}

/* ---- rising numbers ---- */

void bitpack_put_rising(struct buf *out, const uint32_t *numbers, uint32_t count, uint32_t start)
{
    uint32_t gaps[BITPACK_GROUP], next = start;
    struct bitpack_split split;
    struct plan plan;

    assert(count >= 1 && count <= BITPACK_GROUP);
    for (uint32_t i = 0; i < count; i++) {
        assert(numbers[i] >= next && numbers[i] < UINT32_MAX);
        gaps[i] = numbers[i] - next;
        next = numbers[i] + 1;
    }
    plan = plan_of(gaps, count);
    if (bitpack_split_rising(numbers, count, start, &split) && split_is_better(&split, &plan))
        bitpack_split_put(out, &split);
    else
        put_planned(out, gaps, count, &plan);
}

/* From gaps to numbers. */
static void sum(uint32_t *values, uint32_t count, uint32_t start)
{
    for (uint32_t i = 0; i < count; i++) {
        values[i] += start;
        start = values[i] + 1;
    }
}

static bool sum_fits(const uint32_t *gaps, uint32_t count, uint32_t start)
{
    uint64_t last = (uint64_t)start + count - 1;

    for (uint32_t i = 0; i < count; i++)
        last += gaps[i];
    return last < UINT32_MAX;
}

/* Up to this width, 128 gaps cannot sum up to 2^32: a sum that wraps around ends below its start.
 */
#define WIDTH_SAFE 24

/* A full group of gaps. */
static bool get_gaps(const struct group *group, uint32_t *numbers, uint32_t start)
{
    const struct bitpack_kernels *kernels = bitpack_kernels();

    if (group->exceptions > 0 || group->width > WIDTH_SAFE) {
        kernels->plain[group->width](group->bits, 0, numbers);
        if (!patch(group, numbers, BITPACK_GROUP) ||
            (bits_at_most(group) > WIDTH_SAFE && !sum_fits(numbers, BITPACK_GROUP, start)))
            return false;
        /* Unpacked values are a group of width 32, which may be unpacked onto itself. */
        kernels->sum[32]((const uint8_t *)numbers, start, numbers);
    } else {
        kernels->sum[group->width](group->bits, start, numbers);
    }
    return numbers[BITPACK_GROUP - 1] >= start && numbers[BITPACK_GROUP - 1] < UINT32_MAX;
}

bool bitpack_get_rising(struct reader *reader, uint32_t *numbers, uint32_t count, uint32_t start)
{
    struct group group;

    if (starts_split(reader))
        return bitpack_split_get_rising(reader, numbers, count, start);
    if (!get_group(reader, count, &group))
        return false;
    if (count == BITPACK_GROUP)
        return get_gaps(&group, numbers, start);
    bitpack_unpack_short(group.bits, numbers, count, group.width);
    if (!patch(&group, numbers, count) || !sum_fits(numbers, count, start))
        return false;
    sum(numbers, count, start);
    return true;
}
