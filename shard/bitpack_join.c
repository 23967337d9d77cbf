/* Reading split groups: the inner loops, in four versions.
 *
 * In plain C, which tells best what is meant; in vectors of four, for any machine that has them; in
 * vectors of eight for AVX2; and of sixteen for AVX-512 with VBMI2. They give the same values.
 * Which one runs is decided once.
 *
 * First the places of the bits are found: eight bits at a time in a table, or sixty-four at a time
 * by AVX-512's compress. Then the high parts, which are differences of places, are put above the
 * low bits. A row is four values that lie side by side (bitpack.c); it takes the word it begins in
 * and the next one, wanted or not. The width is a variable, but for AVX-512, which has a function
 * for each: where every value costs a fraction of a nanosecond, looking up where rows begin costs
 * more than the jump that is not always foreseen.
 *
 * For the same reason the bits are loaded word by word, and not at once through a copy on the
 * stack: what has just been stored is slow to load again in other pieces.
 *
 * Layout of a group: bitpack_split.c.
 */
#include "shard/bitpack_split.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX 1
#endif

#define ROWS (BITPACK_GROUP / 4)

#define INLINE __attribute__((always_inline)) static inline

/* ---- the places of bits ---- */

/* The places of the bits of a byte, side by side from the low end. */
#define PLACE(byte, i)                                                                             \
    ((uint64_t)((byte) >> (i)&1) * (i) << 8 * __builtin_popcount((byte) & ((1u << (i)) - 1)))
#define PLACES(byte)                                                                               \
    (PLACE(byte, 1) | PLACE(byte, 2) | PLACE(byte, 3) | PLACE(byte, 4) | PLACE(byte, 5) |          \
     PLACE(byte, 6) | PLACE(byte, 7))
#define PLACES_4(byte) PLACES(byte), PLACES((byte) + 1), PLACES((byte) + 2), PLACES((byte) + 3)
#define PLACES_16(byte)                                                                            \
    PLACES_4(byte), PLACES_4((byte) + 4), PLACES_4((byte) + 8), PLACES_4((byte) + 12)
#define PLACES_64(byte)                                                                            \
    PLACES_16(byte), PLACES_16((byte) + 16), PLACES_16((byte) + 32), PLACES_16((byte) + 48)

static const uint64_t places_of[256] = {PLACES_64(0u), PLACES_64(64u), PLACES_64(128u),
                                        PLACES_64(192u)};

uint32_t split_places(const uint8_t *bits, uint32_t size, uint8_t *places)
{
    static const uint8_t counts[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
    uint8_t *at = places;

    for (uint32_t i = 0; i < size; i++) { /* eight are written, those that are none again */
        uint64_t eight = places_of[bits[i]] + (uint8_t)(8 * i) * UINT64_C(0x0101010101010101);

        memcpy(at, &eight, sizeof(eight));
        at += counts[bits[i] & 15] + counts[bits[i] >> 4];
    }
    return (uint32_t)(at - places);
}

/* ---- plain C ---- */

/* Where the word lies that bit `bit` of the lanes is in, and the next one; behind the last one
 * there is none, and none is needed: the last one stands in for it. */
INLINE uint32_t word_at(uint32_t bit)
{
    return bit / 32 * 16;
}

INLINE uint32_t next_at(uint32_t bit, uint32_t width)
{
    return 16 * (bit / 32 + 1 < width ? bit / 32 + 1 : width - (width > 0));
}

/* A word also where there are no low bits. */
static const uint8_t *words_of(const uint8_t *low, uint32_t width)
{
    static const uint8_t none[16];

    return width > 0 ? low : none;
}

static uint32_t low_part(const uint8_t *low, uint32_t width, uint32_t i)
{
    uint32_t bit = i / 4 * width, lane = i % 4 * 4, word, next;

    low = words_of(low, width) + lane;
    memcpy(&word, low + word_at(bit), sizeof(word));
    memcpy(&next, low + next_at(bit, width), sizeof(next));
    return (uint32_t)(((uint64_t)next << 32 | word) >> bit % 32) & ((1u << width) - 1);
}

static bool scalar_join(const struct split_parts *parts, uint32_t start, uint32_t *values)
{
    uint8_t places[SPLIT_PLACES_ROOM], before = UINT8_MAX;
    uint32_t found = split_places(parts->high, parts->high_size, places);

    for (uint32_t i = 0; i < BITPACK_GROUP; i++) {
        uint32_t high = (uint8_t)(places[i] - before - 1);

        values[i] = start + (high << parts->width | low_part(parts->low, parts->width, i));
        before = places[i];
    }
    return found == BITPACK_GROUP;
}

static bool scalar_rise(const struct split_parts *parts, uint32_t start, uint32_t *numbers)
{
    uint32_t last = start - 1, rising = UINT32_MAX;
    uint8_t places[SPLIT_PLACES_ROOM];
    uint32_t found = split_places(parts->high, parts->high_size, places);

    for (uint32_t i = 0; i < BITPACK_GROUP; i++) {
        uint32_t high = (uint8_t)(places[i] - i);

        numbers[i] = start + i + (high << parts->width | low_part(parts->low, parts->width, i));
        rising &= last - numbers[i];
        last = numbers[i];
    }
    return found == BITPACK_GROUP && rising >> 31 != 0;
}

/* ---- vectors of four ---- */

typedef uint32_t four __attribute__((vector_size(16)));
typedef uint8_t four_bytes __attribute__((vector_size(4)));

INLINE four load_four(const uint8_t *from)
{
    four v;

    memcpy(&v, from, sizeof(v));
    return v;
}

INLINE four_bytes load_bytes(const uint8_t *from)
{
    four_bytes v;

    memcpy(&v, from, sizeof(v));
    return v;
}

INLINE four join_four(const uint8_t *low, uint32_t width, four_bytes high, uint32_t row)
{
    uint32_t bit = row * width;
    four word = load_four(low + word_at(bit)), next = load_four(low + next_at(bit, width));
    four v = word >> bit % 32 | next << 1 << (31 - bit % 32);

    return (v & ((1u << width) - 1)) | __builtin_convertvector(high, four) << width;
}

/* Finds the places, the one before the first included. */
INLINE uint32_t find_places(const struct split_parts *parts, uint8_t *room)
{
    room[0] = UINT8_MAX;
    return split_places(parts->high, parts->high_size, room + 1);
}

static bool four_join(const struct split_parts *parts, uint32_t start, uint32_t *values)
{
    uint8_t room[1 + SPLIT_PLACES_ROOM], *places = room + 1;
    uint32_t width = parts->width, found = find_places(parts, room);
    const uint8_t *low = words_of(parts->low, width);

    for (uint32_t row = 0; row < ROWS; row++) {
        const uint8_t *at = places + 4 * row;
        four_bytes high = load_bytes(at) - load_bytes(at - 1) - 1;
        four v = join_four(low, width, high, row) + start;

        memcpy(values + 4 * row, &v, sizeof(v));
    }
    return found == BITPACK_GROUP;
}

static bool four_rise(const struct split_parts *parts, uint32_t start, uint32_t *numbers)
{
    uint8_t places[SPLIT_PLACES_ROOM];
    uint32_t width = parts->width, found = split_places(parts->high, parts->high_size, places);
    const uint8_t *low = words_of(parts->low, width);
    four base = (four){0, 1, 2, 3} + start, last = (four){0} + (start - 1), rising = ~(four){0};
    four_bytes count = {0, 1, 2, 3};

    for (uint32_t row = 0; row < ROWS; row++, base += 4, count += 4) {
        four v = join_four(low, width, load_bytes(places + 4 * row) - count, row) + base;

        rising &= __builtin_shufflevector(last, v, 3, 4, 5, 6) - v;
        last = v;
        memcpy(numbers + 4 * row, &v, sizeof(v));
    }
    return found == BITPACK_GROUP && (rising[0] & rising[1] & rising[2] & rising[3]) >> 31 != 0;
}

#if HAVE_AVX

static const _Alignas(64) uint8_t counting[128] = {
    0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,  16,  17,  18,
    19,  20,  21,  22,  23,  24,  25,  26,  27,  28,  29,  30,  31,  32,  33,  34,  35,  36,  37,
    38,  39,  40,  41,  42,  43,  44,  45,  46,  47,  48,  49,  50,  51,  52,  53,  54,  55,  56,
    57,  58,  59,  60,  61,  62,  63,  64,  65,  66,  67,  68,  69,  70,  71,  72,  73,  74,  75,
    76,  77,  78,  79,  80,  81,  82,  83,  84,  85,  86,  87,  88,  89,  90,  91,  92,  93,  94,
    95,  96,  97,  98,  99,  100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113,
    114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127};

/* ---- vectors of eight ---- */

#define AVX2 __attribute__((target("avx2")))

AVX2 INLINE __m256i two_loads(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

AVX2 INLINE __m256i two_shifts(uint32_t low, uint32_t high)
{
    return _mm256_inserti128_si256(_mm256_set1_epi32((int)low), _mm_set1_epi32((int)high), 1);
}

/* Two rows, under the high parts of their values. */
AVX2 INLINE __m256i join_eight(const uint8_t *low, uint32_t width, __m128i high, uint32_t row)
{
    uint32_t bit = row * width, second = bit + width;
    __m256i bits = two_shifts(bit % 32, second % 32);
    __m256i v = two_loads(low + word_at(bit), low + word_at(second));
    __m256i next = two_loads(low + next_at(bit, width), low + next_at(second, width));
    __m256i above = _mm256_sll_epi32(_mm256_cvtepu8_epi32(high), _mm_cvtsi32_si128((int)width));

    v = _mm256_srlv_epi32(v, bits);
    next = _mm256_sllv_epi32(next, _mm256_sub_epi32(_mm256_set1_epi32(32), bits));
    v = _mm256_and_si256(_mm256_or_si256(v, next), _mm256_set1_epi32((int)((1u << width) - 1)));
    return _mm256_or_si256(v, above);
}

AVX2 INLINE __m128i load_eight(const uint8_t *from)
{
    return _mm_loadl_epi64((const __m128i *)from);
}

AVX2 static bool eight_join(const struct split_parts *parts, uint32_t start, uint32_t *values)
{
    uint8_t room[1 + SPLIT_PLACES_ROOM], *places = room + 1;
    uint32_t width = parts->width, found = find_places(parts, room);
    const uint8_t *low = words_of(parts->low, width);

    for (uint32_t i = 0; i < BITPACK_GROUP; i += 8) {
        __m128i before = _mm_add_epi8(load_eight(places + i - 1), _mm_set1_epi8(1));
        __m256i v = join_eight(low, width, _mm_sub_epi8(load_eight(places + i), before), i / 4);

        v = _mm256_add_epi32(v, _mm256_set1_epi32((int)start));
        _mm256_storeu_si256((__m256i *)(values + i), v);
    }
    return found == BITPACK_GROUP;
}

AVX2 static bool eight_rise(const struct split_parts *parts, uint32_t start, uint32_t *numbers)
{
    uint8_t places[SPLIT_PLACES_ROOM];
    uint32_t width = parts->width, found = split_places(parts->high, parts->high_size, places);
    const uint8_t *low = words_of(parts->low, width);
    __m256i last = _mm256_set1_epi32((int)(start - 1)), rising = _mm256_set1_epi32(-1);
    __m128i count = load_eight(counting);
    __m256i base = _mm256_add_epi32(_mm256_set1_epi32((int)start), _mm256_cvtepu8_epi32(count));

    for (uint32_t i = 0; i < BITPACK_GROUP; i += 8) {
        __m128i high = _mm_sub_epi8(load_eight(places + i), count);
        __m256i v = _mm256_add_epi32(join_eight(low, width, high, i / 4), base);
        __m256i before = _mm256_permute2x128_si256(last, v, 0x21);

        before = _mm256_alignr_epi8(v, before, 12);
        rising = _mm256_and_si256(rising, _mm256_sub_epi32(before, v));
        last = v;
        count = _mm_add_epi8(count, _mm_set1_epi8(8));
        base = _mm256_add_epi32(base, _mm256_set1_epi32(8));
        _mm256_storeu_si256((__m256i *)(numbers + i), v);
    }
    return found == BITPACK_GROUP && _mm256_movemask_ps(_mm256_castsi256_ps(rising)) == 0xff;
}

/* ---- vectors of sixteen ---- */

#define AVX512                                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi2,"        \
                          "popcnt")))

INLINE uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Four words of the lanes from word `first` on, or all when there are fewer. */
AVX512 INLINE __m512i load_words(const uint8_t *low, const uint32_t width, uint32_t first)
{
    if (width < 4)
        return _mm512_maskz_loadu_epi32((__mmask16)((1u << 4 * width) - 1), low);
    return _mm512_loadu_si512(low + 16 * first);
}

/* For each of the four rows from `row` on, its word (plus `next`), counted from `first`. */
AVX512 INLINE __m512i row_words(const uint32_t width, uint32_t row, uint32_t next, uint32_t first)
{
#define WORD(i)                                                                                    \
    (2 * (long long)(smaller((row + (i)) * width / 32 + next, width - (width > 0)) - first))
    return _mm512_set_epi64(WORD(3) + 1, WORD(3), WORD(2) + 1, WORD(2), WORD(1) + 1, WORD(1),
                            WORD(0) + 1, WORD(0));
#undef WORD
}

AVX512 INLINE __m512i row_bits(const uint32_t width, uint32_t row)
{
#define BIT(i) ((int)((row + (i)) * width % 32))
    return _mm512_set_epi32(BIT(3), BIT(3), BIT(3), BIT(3), BIT(2), BIT(2), BIT(2), BIT(2), BIT(1),
                            BIT(1), BIT(1), BIT(1), BIT(0), BIT(0), BIT(0), BIT(0));
#undef BIT
}

/* Whether one of the four rows from `row` on goes on in the next word. */
INLINE bool rows_split(const uint32_t width, uint32_t row)
{
    return row * width % 32 + width > 32 || (row + 1) * width % 32 + width > 32 ||
           (row + 2) * width % 32 + width > 32 || (row + 3) * width % 32 + width > 32;
}

AVX512 INLINE __m512i four_rows(const uint8_t *low, const uint32_t width, uint32_t row)
{
    uint32_t last = width > 4 ? width - 4 : 0, word = row * width / 32;
    uint32_t first = smaller(word, last), second = smaller(word + 1, last);
    __m512i words = load_words(low, width, first), bits = row_bits(width, row);
    __m512i v =
        _mm512_srlv_epi32(_mm512_permutexvar_epi64(row_words(width, row, 0, first), words), bits);

    if (!rows_split(width, row))
        return v;
    if ((row + 3) * width / 32 + 1 - first > 3 && second != first) {
        words = load_words(low, width, second);
        first = second;
    }
    words = _mm512_permutexvar_epi64(row_words(width, row, 1, first), words);
    /* Not shrdv: clang 14 takes the wrong operand where the shift is 0. */
    words = _mm512_sllv_epi32(words, _mm512_sub_epi32(_mm512_set1_epi32(32), bits));
    return _mm512_or_si512(v, words);
}

/* Sixteen values from row `row` on: `high` times 2^width, plus the low bits, plus `base`. */
AVX512 INLINE __m512i join_sixteen(const uint8_t *low, const uint32_t width, __m128i high,
                                   uint32_t row, __m512i base)
{
    __m512i v = _mm512_add_epi32(_mm512_slli_epi32(_mm512_cvtepu8_epi32(high), width), base);
    __m512i mask = _mm512_set1_epi32((int)((1u << width) - 1));

    if (width == 0)
        return v;
    return _mm512_add_epi32(v, _mm512_and_si512(four_rows(low, width, row), mask));
}

AVX512 INLINE __m128i load_sixteen(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

/* Word `i` of the bits; those behind the last byte are 0. */
AVX512 INLINE uint64_t bits_word(const uint8_t *bits, uint32_t size, uint32_t i)
{
    uint32_t at = smaller(8 * i, size - 8), behind = 8 * (8 * i - at);
    uint64_t word;

    memcpy(&word, bits + at, sizeof(word));
    return behind < 64 ? word >> behind : 0;
}

AVX512 INLINE uint32_t compress_places(const uint8_t *bits, uint32_t size, uint8_t *places)
{
    __m512i number = _mm512_load_si512(counting);
    uint8_t *at = places;

#pragma GCC unroll 4
    for (uint32_t i = 0; i < SPLIT_HIGH_MAX / 8; i++) {
        uint64_t word = bits_word(bits, size, i);

        _mm512_storeu_si512(at, _mm512_maskz_compress_epi8(word, number));
        at += _mm_popcnt_u64(word);
        number = _mm512_add_epi8(number, _mm512_set1_epi8(64));
    }
    return (uint32_t)(at - places);
}

AVX512 INLINE bool join_width(const struct split_parts *parts, const uint32_t width, uint32_t start,
                              uint32_t *values)
{
    const __m512i base = _mm512_set1_epi32((int)(start - (1u << width)));
    uint8_t room[64 + SPLIT_PLACES_ROOM], *places = room + 64;
    uint32_t found = compress_places(parts->high, parts->high_size, places);

    places[-1] = UINT8_MAX; /* before the first */
#pragma GCC unroll 8
    for (uint32_t i = 0; i < BITPACK_GROUP; i += 16) { /* differences are one more */
        __m128i high = _mm_sub_epi8(load_sixteen(places + i), load_sixteen(places + i - 1));
        __m512i v = join_sixteen(parts->low, width, high, i / 4, base);

        _mm512_storeu_si512(values + i, v);
    }
    return found == BITPACK_GROUP;
}

AVX512 INLINE bool rise_width(const struct split_parts *parts, const uint32_t width, uint32_t start,
                              uint32_t *numbers)
{
    const __m512i count = _mm512_cvtepu8_epi32(load_sixteen(counting));
    __m512i last = _mm512_set1_epi32((int)(start - 1)), rising = _mm512_set1_epi32(-1);
    __m512i base = _mm512_add_epi32(_mm512_set1_epi32((int)start), count);
    uint8_t places[SPLIT_PLACES_ROOM];
    uint32_t found = compress_places(parts->high, parts->high_size, places);

    base = _mm512_sub_epi32(base, _mm512_slli_epi32(count, width)); /* places count the rows, too */
#pragma GCC unroll 8
    for (uint32_t i = 0; i < BITPACK_GROUP; i += 16) {
        __m512i v = join_sixteen(parts->low, width, load_sixteen(places + i), i / 4, base);

        base = _mm512_add_epi32(base, _mm512_set1_epi32((int)(16 - (16u << width))));
        rising = _mm512_and_si512(rising, _mm512_sub_epi32(_mm512_alignr_epi32(v, last, 15), v));
        last = v;
        _mm512_storeu_si512(numbers + i, v);
    }
    return found == BITPACK_GROUP && _mm512_movepi32_mask(rising) == 0xffff;
}

/* clang-format off */
#define WIDTHS(X) \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24)
#define DEFINE(width) \
    AVX512 static bool join_##width(const struct split_parts *parts, uint32_t start, \
                                    uint32_t *values) \
    { \
        return join_width(parts, width, start, values); \
    } \
    AVX512 static bool rise_##width(const struct split_parts *parts, uint32_t start, \
                                    uint32_t *numbers) \
    { \
        return rise_width(parts, width, start, numbers); \
    }
#define JOIN(width) join_##width,
#define RISE(width) rise_##width,
WIDTHS(DEFINE)
/* clang-format on */

static bool sixteen_join(const struct split_parts *parts, uint32_t start, uint32_t *values)
{
    static bool (*const join[])(const struct split_parts *, uint32_t, uint32_t *) = {WIDTHS(JOIN)};

    return join[parts->width](parts, start, values);
}

static bool sixteen_rise(const struct split_parts *parts, uint32_t start, uint32_t *numbers)
{
    static bool (*const rise[])(const struct split_parts *, uint32_t, uint32_t *) = {WIDTHS(RISE)};

    return rise[parts->width](parts, start, numbers);
}

#endif

/* ---- the choice ---- */

#if HAVE_AVX
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
#endif

const struct split_kernels *split_kernels_of(uint32_t number)
{
    static const struct split_kernels kernels[] = {
        {"scalar", scalar_join, scalar_rise},
        {"four", four_join, four_rise},
#if HAVE_AVX
        {"eight", eight_join, eight_rise},
        {"sixteen", sixteen_join, sixteen_rise},
#endif
    };

#if HAVE_AVX
    if ((number == 2 && !__builtin_cpu_supports("avx2")) || (number == 3 && !has_avx512()))
        return NULL;
#endif
    return number < sizeof(kernels) / sizeof(kernels[0]) ? &kernels[number] : NULL;
}

const struct split_kernels *_Atomic split_chosen; /* the same, whoever sets it */

const struct split_kernels *split_choose(void)
{
    const struct split_kernels *best = NULL, *next;

    for (uint32_t i = 0; (next = split_kernels_of(i)) != NULL; i++)
        best = next;
    atomic_store_explicit(&split_chosen, best, memory_order_relaxed);
    return best;
}
