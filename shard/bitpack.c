/* Bit packing.
 *
 * A group is 1 to 128 integers of 32 bits; their number is known from elsewhere.
 *
 *     u8    width (0..32), plus 0x40 when exceptions follow
 *     [     u8 number of exceptions n, 1..31
 *           n bytes: their places in the group, rising
 *           n varints: their bits from `width` up                         ]
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
 * vectorization", 2015). The code below is written with the compiler's vectors of four: SSE2, NEON
 * or plain integers, the bytes are the same. A loop for each width is compiled with the width
 * constant.
 *
 * The bits of a shorter group follow one another, from the low end of each byte: (count * width +
 * 7) / 8 bytes.
 */
#include "shard/bitpack.h"

#include <assert.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bitpack.c loads little-endian words as they are"
#endif

#define EXCEPTIONS_FLAG 0x40
#define EXCEPTIONS_MAX 31

typedef uint32_t lanes __attribute__((vector_size(16)));

static inline lanes load4(const void *from)
{
    lanes v;

    memcpy(&v, from, sizeof(v));
    return v;
}

static inline void store4(void *to, lanes v)
{
    memcpy(to, &v, sizeof(v));
}

static inline uint32_t mask_of(uint32_t width)
{
    return width == 32 ? UINT32_MAX : (UINT32_C(1) << width) - 1;
}

/* Inlined with a constant width: shifts become immediate and the tests on them go away. */
__attribute__((always_inline)) static inline void pack_width(const uint32_t *values,
                                                             const uint32_t width, uint8_t *out)
{
    lanes word = {0};
    uint32_t bit = 0;

#pragma GCC unroll 32
    for (uint32_t i = 0; i < 32; i++) {
        lanes v = load4(values + 4 * i) & mask_of(width);

        word |= v << bit;
        bit += width;
        if (bit >= 32) {
            store4(out, word);
            out += 16;
            bit -= 32;
            word = bit > 0 ? v >> (width - bit) : (lanes){0};
        }
    }
}

__attribute__((always_inline)) static inline void
unpack_width(const uint8_t *in, const uint32_t width, uint32_t *values)
{
    lanes word = load4(in);
    uint32_t bit = 0;

#pragma GCC unroll 32
    for (uint32_t i = 0; i < 32; i++) {
        lanes v = word >> bit;

        bit += width;
        if (bit >= 32) {
            bit -= 32;
            if (i < 31) {
                in += 16;
                word = load4(in);
            }
            if (bit > 0)
                v |= word << (width - bit);
        }
        store4(values + 4 * i, v & mask_of(width));
    }
}

/* clang-format off */
#define WIDTHS(X) \
    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) \
    X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32)
/* clang-format on */

void bitpack_pack(const uint32_t values[BITPACK_GROUP], uint32_t width, uint8_t *out)
{
    assert(width <= 32);
    switch (width) {
#define X(w)                                                                                       \
    case w:                                                                                        \
        pack_width(values, w, out);                                                                \
        break;
        WIDTHS(X)
#undef X
    default:
        break;
    }
}

void bitpack_unpack(const uint8_t *in, uint32_t width, uint32_t values[BITPACK_GROUP])
{
    assert(width <= 32);
    switch (width) {
#define X(w)                                                                                       \
    case w:                                                                                        \
        unpack_width(in, w, values);                                                               \
        break;
        WIDTHS(X)
#undef X
    default:
        memset(values, 0, BITPACK_GROUP * sizeof(*values));
        break;
    }
}

void bitpack_sum(uint32_t values[BITPACK_GROUP], uint32_t start)
{
    const lanes zero = {0}, ones = {1, 1, 1, 1};
    uint32_t before = start - 1;

    for (uint32_t i = 0; i < BITPACK_GROUP; i += 4) {
        lanes v = load4(values + i) + ones;

        /* Within the four: add the neighbour one to the left, then two to the left. */
        v += __builtin_shufflevector(v, zero, 4, 0, 1, 2);
        v += __builtin_shufflevector(v, zero, 4, 4, 0, 1);
        v += before;
        before = v[3];
        store4(values + i, v);
    }
}

/* ---- groups ---- */

static uint32_t bits_of(uint32_t value)
{
    return value == 0 ? 0 : 32 - (uint32_t)__builtin_clz(value);
}

static uint32_t packed_size(uint32_t count, uint32_t width)
{
    return (count * width + 7) / 8; /* a full group: 16 * width */
}

/* The width that makes the group smallest, and how many values are then wider. */
static uint32_t best_width(const uint32_t *values, uint32_t count, uint32_t *exceptions)
{
    uint32_t having[33] = {0}, best = 32, best_size = UINT32_MAX, wider = 0;

    for (uint32_t i = 0; i < count; i++)
        having[bits_of(values[i])]++;
    for (uint32_t width = 33; width-- > 0;) {
        uint32_t size = packed_size(count, width);

        if (wider > EXCEPTIONS_MAX)
            break;
        if (wider > 0) {
            size += 1 + wider;
            for (uint32_t bits = width + 1; bits <= 32; bits++)
                size += having[bits] * ((bits - width + 6) / 7);
        }
        if (size < best_size) {
            best_size = size;
            best = width;
            *exceptions = wider;
        }
        wider += having[width];
    }
    return best;
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

static void unpack_short(const uint8_t *in, uint32_t *values, uint32_t count, uint32_t width)
{
    uint64_t word = 0;
    uint32_t bits = 0;

    for (uint32_t i = 0; i < count; i++) {
        for (; bits < width; bits += 8)
            word |= (uint64_t)*in++ << bits;
        values[i] = (uint32_t)word & mask_of(width);
        word >>= width;
        bits -= width;
    }
}

void bitpack_put(struct buf *out, const uint32_t *values, uint32_t count)
{
    uint32_t exceptions = 0, width = best_width(values, count, &exceptions);

    assert(count >= 1 && count <= BITPACK_GROUP);
    buf_append_u8(out, (uint8_t)(width | (exceptions > 0 ? EXCEPTIONS_FLAG : 0)));
    if (exceptions > 0) {
        buf_append_u8(out, (uint8_t)exceptions);
        for (uint32_t i = 0; i < count; i++)
            if (bits_of(values[i]) > width)
                buf_append_u8(out, (uint8_t)i);
        for (uint32_t i = 0; i < count; i++)
            if (bits_of(values[i]) > width)
                buf_append_varint(out, values[i] >> width); /* width < 32: a value is wider */
    }
    if (width == 0)
        return;
    if (count == BITPACK_GROUP)
        bitpack_pack(values, width, buf_extend(out, packed_size(count, width)));
    else
        pack_short(buf_extend(out, packed_size(count, width)), values, count, width);
}

struct exceptions {
    uint32_t count;
    const uint8_t *places;
    uint32_t high[EXCEPTIONS_MAX];
};

static bool get_header(struct reader *reader, uint32_t count, uint32_t *width,
                       struct exceptions *exceptions)
{
    struct bytes places;
    uint8_t header, n;

    exceptions->count = 0;
    if (!reader_u8(reader, &header))
        return false;
    *width = header & (uint8_t)~EXCEPTIONS_FLAG;
    if (*width > 32)
        return false;
    if (!(header & EXCEPTIONS_FLAG))
        return true;
    if (!reader_u8(reader, &n) || n == 0 || n > EXCEPTIONS_MAX || *width == 32 ||
        !reader_bytes(reader, n, &places))
        return false;
    exceptions->places = places.data;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t high;

        if (!reader_varint(reader, &high) || high > UINT32_MAX >> *width || places.data[i] >= count)
            return false;
        exceptions->high[i] = (uint32_t)high;
    }
    exceptions->count = n;
    return true;
}

bool bitpack_get(struct reader *reader, uint32_t *values, uint32_t count, uint32_t *width)
{
    struct exceptions exceptions;
    struct bytes packed;
    uint32_t bits;

    assert(count >= 1 && count <= BITPACK_GROUP);
    if (!get_header(reader, count, &bits, &exceptions) ||
        !reader_bytes(reader, packed_size(count, bits), &packed))
        return false;
    if (count == BITPACK_GROUP)
        bitpack_unpack(packed.data, bits, values);
    else
        unpack_short(packed.data, values, count, bits);
    for (uint32_t i = 0; i < exceptions.count; i++)
        values[exceptions.places[i]] |= exceptions.high[i] << bits;
    if (width != NULL)
        *width = exceptions.count > 0 ? 32 : bits;
    return true;
}

bool bitpack_skip(struct reader *reader, uint32_t count)
{
    struct exceptions exceptions;
    struct bytes packed;
    uint32_t bits;

    return get_header(reader, count, &bits, &exceptions) &&
           reader_bytes(reader, packed_size(count, bits), &packed);
}
