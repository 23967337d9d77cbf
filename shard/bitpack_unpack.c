/* Unpacking full groups: the inner loop of reading postings, in three versions.
 *
 * One version in plain C, which tells best what is meant; one in vectors of four, for any machine
 * that has them (SSE2 and NEON always do), and one in vectors of eight for AVX2. They give the same
 * values. Which one runs is decided once, when the first group is unpacked.
 *
 * Each is a function of its own for each width, with the width a constant, and does in the same
 * pass what is wanted of the values: as they are; one added, for frequencies; or summed up, for
 * documents. For a sum, four (eight) values are summed within their register in two (three) steps;
 * what is carried from one register to the next is only the total, so that these steps of different
 * registers overlap.
 *
 * Layout of a group: bitpack.c.
 */
#include "shard/bitpack.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2 1
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "groups are loaded as little-endian words as they are"
#endif

#define ROWS (BITPACK_GROUP / 4)

/* What becomes of the values. */
enum mode { PLAIN, PLUS_ONE, SUM };

#define INLINE __attribute__((always_inline)) static inline

/* ---- plain C ---- */

static void scalar_unpack(const uint8_t *in, uint32_t width, enum mode mode, uint32_t start,
                          uint32_t *values)
{
    for (uint32_t i = 0; i < BITPACK_GROUP; i++) {
        uint64_t value = 0;

        for (uint32_t taken = 0; taken < width;) {
            uint32_t bit = i / 4 * width + taken, word, left = 32 - bit % 32;

            memcpy(&word, in + bit / 32 * 16 + i % 4 * 4, sizeof(word));
            value |= (uint64_t)(word >> bit % 32) << taken;
            taken += left;
        }
        value &= width == 0 ? 0 : UINT32_MAX >> (32 - width);
        values[i] = (uint32_t)value + (mode == PLUS_ONE);
        if (mode == SUM) {
            values[i] += start;
            start = values[i] + 1;
        }
    }
}

/* ---- vectors of four ---- */

typedef uint32_t four __attribute__((vector_size(16)));

INLINE four load_four(const void *from)
{
    four v;

    memcpy(&v, from, sizeof(v));
    return v;
}

INLINE four sum_four(four v, four *before)
{
    const four zero = {0};

    v += __builtin_shufflevector(v, zero, 4, 0, 1, 2);
    v += __builtin_shufflevector(v, zero, 4, 4, 0, 1);
    v += *before;
    *before = __builtin_shufflevector(v, v, 3, 3, 3, 3);
    return v;
}

INLINE void four_unpack(const uint8_t *in, const uint32_t width, const enum mode mode,
                        uint32_t start, uint32_t *values)
{
    const uint32_t mask = width == 0 ? 0 : UINT32_MAX >> (32 - width);
    four word = {0}, before = (four){0} + (start - 1);
    uint32_t bit = 0;

    if (width > 0)
        word = load_four(in);
#pragma GCC unroll 32
    for (uint32_t i = 0; i < ROWS; i++) {
        four v = word >> bit;

        bit += width;
        if (bit >= 32) {
            bit -= 32;
            if (i + 1 < ROWS) {
                in += 16;
                word = load_four(in);
            }
            if (bit > 0)
                v |= word << (width - bit);
        }
        v &= mask;
        if (mode != PLAIN)
            v += 1;
        if (mode == SUM)
            v = sum_four(v, &before);
        memcpy(values + 4 * i, &v, sizeof(v));
    }
}

/* ---- vectors of eight ---- */

#if HAVE_AVX2

#define AVX2 __attribute__((target("avx2")))

/* The words that two neighbouring rows, whose bits start at `bit` and at `bit + width`, begin in:
 * the same word or two that follow each other. `shift` goes on with the bits of the next words. */
AVX2 INLINE __m256i load_rows(const uint8_t *in, uint32_t low, uint32_t high)
{
    if (low == high)
        return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(in + 16 * low)));
    return _mm256_loadu_si256((const __m256i *)(in + 16 * low));
}

AVX2 INLINE __m256i halves(uint32_t low, uint32_t high)
{
    return _mm256_set_epi32((int)high, (int)high, (int)high, (int)high, (int)low, (int)low,
                            (int)low, (int)low);
}

/* Two rows of width 1 to 32. A row whose bits end in the word it begins in takes nothing from the
 * next one: there the bits that are shifted in lie above the mask. */
AVX2 INLINE __m256i two_rows(const uint8_t *in, const uint32_t width, uint32_t row)
{
    uint32_t low = row * width, high = low + width;
    uint32_t low_word = low / 32, high_word = high / 32;
    bool low_splits = low % 32 + width > 32, high_splits = high % 32 + width > 32;
    __m256i v = _mm256_srlv_epi32(load_rows(in, low_word, high_word), halves(low % 32, high % 32));

    if (low_splits || high_splits) {
        uint32_t low_next = low_splits ? low_word + 1 : high_word + 1;
        uint32_t high_next = high_splits ? high_word + 1 : low_word + 1;
        __m256i next = load_rows(in, low_next, high_next);

        v = _mm256_or_si256(v, _mm256_sllv_epi32(next, halves(32 - low % 32, 32 - high % 32)));
    }
    return _mm256_and_si256(v, _mm256_set1_epi32((int)(UINT32_MAX >> (32 - width))));
}

AVX2 INLINE __m256i sum_eight(__m256i v, __m256i *before)
{
    __m256i half, total;

    v = _mm256_add_epi32(v, _mm256_slli_si256(v, 4));
    v = _mm256_add_epi32(v, _mm256_slli_si256(v, 8));
    half = _mm256_shuffle_epi32(v, 0xff);
    v = _mm256_add_epi32(v, _mm256_permute2x128_si256(half, half, 0x08));
    total = _mm256_permutevar8x32_epi32(v, _mm256_set1_epi32(7));
    v = _mm256_add_epi32(v, *before);
    *before = _mm256_add_epi32(*before, total);
    return v;
}

AVX2 INLINE void eight_unpack(const uint8_t *in, const uint32_t width, const enum mode mode,
                              uint32_t start, uint32_t *values)
{
    __m256i before = _mm256_set1_epi32((int)(start - 1));

#pragma GCC unroll 16
    for (uint32_t row = 0; row < ROWS; row += 2) {
        __m256i v = width == 0 ? _mm256_setzero_si256() : two_rows(in, width, row);

        if (mode != PLAIN)
            v = _mm256_add_epi32(v, _mm256_set1_epi32(1));
        if (mode == SUM)
            v = sum_eight(v, &before);
        _mm256_storeu_si256((__m256i *)(values + 4 * row), v);
    }
}

#endif

/* ---- a function for each width ---- */

/* clang-format off */
#define WIDTHS(X, a, b) \
    X(a, b, 0) X(a, b, 1) X(a, b, 2) X(a, b, 3) X(a, b, 4) X(a, b, 5) X(a, b, 6) X(a, b, 7) \
    X(a, b, 8) X(a, b, 9) X(a, b, 10) X(a, b, 11) X(a, b, 12) X(a, b, 13) X(a, b, 14) X(a, b, 15) \
    X(a, b, 16) X(a, b, 17) X(a, b, 18) X(a, b, 19) X(a, b, 20) X(a, b, 21) X(a, b, 22) \
    X(a, b, 23) X(a, b, 24) X(a, b, 25) X(a, b, 26) X(a, b, 27) X(a, b, 28) X(a, b, 29) \
    X(a, b, 30) X(a, b, 31) X(a, b, 32)

#define DEFINE(version, mode, width) \
    version##_TARGET static void version##_##mode##_##width(const uint8_t *in, uint32_t start, \
                                                            uint32_t *values) \
    { \
        version##_unpack(in, width, mode, start, values); \
    }
#define NAME(version, mode, width) version##_##mode##_##width,
#define VERSION(version) \
    WIDTHS(DEFINE, version, PLAIN) \
    WIDTHS(DEFINE, version, PLUS_ONE) \
    WIDTHS(DEFINE, version, SUM) \
    static const struct bitpack_kernels version##_kernels = { \
        .name = #version, \
        .plain = {WIDTHS(NAME, version, PLAIN)}, \
        .plus_one = {WIDTHS(NAME, version, PLUS_ONE)}, \
        .sum = {WIDTHS(NAME, version, SUM)}, \
    };
/* clang-format on */

#define scalar_TARGET
#define four_TARGET
VERSION(scalar)
VERSION(four)
#if HAVE_AVX2
#define eight_TARGET AVX2
VERSION(eight)
#endif

const struct bitpack_kernels *bitpack_kernels_of(uint32_t number)
{
    switch (number) {
    case 0:
        return &scalar_kernels;
    case 1:
        return &four_kernels;
#if HAVE_AVX2
    case 2:
        return __builtin_cpu_supports("avx2") ? &eight_kernels : NULL;
#endif
    default:
        return NULL;
    }
}

const struct bitpack_kernels *_Atomic bitpack_chosen; /* the same, whoever sets it */

const struct bitpack_kernels *bitpack_choose(void)
{
    const struct bitpack_kernels *best = NULL, *next;

    for (uint32_t i = 0; (next = bitpack_kernels_of(i)) != NULL; i++)
        best = next;
    atomic_store_explicit(&bitpack_chosen, best, memory_order_relaxed);
    return best;
}
