#include "shard/bitpack.h"
#include "shard/bitpack_split.h"
#include "shard/posting_codec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 88172645463325252u;

static uint32_t random_below(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) * below >> 32);
}

static uint32_t random_bits(uint32_t width)
{
    return width == 0
               ? 0
               : (uint32_t)(((uint64_t)random_below(UINT32_MAX) + random_below(2)) >> (32 - width));
}

/* What the unpackers of one kind should give. */
static void unpack_model(const uint32_t *values, uint32_t start, uint32_t *plain,
                         uint32_t *plus_one, uint32_t *sum)
{
    for (uint32_t i = 0; i < BITPACK_GROUP; i++) {
        plain[i] = values[i];
        plus_one[i] = values[i] + 1;
        sum[i] = start + values[i];
        start = sum[i] + 1;
    }
}

/* Every version of the inner loops, at one width, on bytes that end where the group ends. */
static void check_kernels(const uint32_t *values, uint32_t width, const uint8_t *packed)
{
    uint32_t expected[3][BITPACK_GROUP], start = random_below(1000000), versions = 0;
    const struct bitpack_kernels *kernels;
    uint8_t *exact = malloc(16 * width + 1);

    assert_non_null(exact);
    memcpy(exact, packed, 16 * width);
    unpack_model(values, start, expected[0], expected[1], expected[2]);
    for (; (kernels = bitpack_kernels_of(versions)) != NULL; versions++) {
        bitpack_unpacker *unpack[3] = {kernels->plain[width], kernels->plus_one[width],
                                       kernels->sum[width]};

        for (uint32_t i = 0; i < 3; i++) {
            uint32_t back[BITPACK_GROUP + 1];

            memset(back, 0xa5, sizeof(back));
            unpack[i](exact, start, back);
            if (memcmp(back, expected[i], sizeof(expected[i])) != 0)
                fail_msg("%s, width %u, mode %u", kernels->name, width, i);
            assert_int_equal(back[BITPACK_GROUP], 0xa5a5a5a5);
        }
        /* Onto itself. */
        memcpy(expected[1], values, sizeof(expected[1]));
        kernels->sum[32]((const uint8_t *)expected[1], start, expected[1]);
        assert_memory_equal(expected[1], expected[2], sizeof(expected[2]));
        unpack_model(values, start, expected[0], expected[1], expected[2]);
    }
    assert_in_range(versions, 2, 3);
    assert_ptr_equal(bitpack_kernels(), bitpack_kernels_of(versions - 1));
    free(exact);
}

/* The layout, value by value: lane i mod 4, bit (i / 4) * width of that lane. */
static void test_pack_layout(void **state)
{
    for (uint32_t turn = 0; turn < 33 * 20; turn++) {
        uint32_t values[BITPACK_GROUP], width = turn % 33;
        uint8_t packed[16 * 32 + 1], expected[16 * 32 + 1];

        memset(packed, 0xa5, sizeof(packed));
        memset(expected, 0, sizeof(expected));
        for (uint32_t i = 0; i < BITPACK_GROUP; i++) {
            values[i] =
                turn >= 33 * 19 && width > 0 ? UINT32_MAX >> (32 - width) : random_bits(width);
            for (uint32_t b = 0; b < width; b++) {
                uint32_t bit = i / 4 * width + b;
                uint32_t byte = bit / 32 * 16 + i % 4 * 4 + bit % 32 / 8;

                expected[byte] |= (uint8_t)((values[i] >> b & 1) << bit % 8);
            }
        }
        bitpack_pack(values, width, packed);
        assert_memory_equal(packed, expected, 16 * width);
        assert_int_equal(packed[16 * width], 0xa5);
        check_kernels(values, width, packed);
    }
}

/* A copy whose end is the end of its memory, so that reading on is noticed. */
static struct reader exact_reader(const struct buf *bytes, size_t size, uint8_t **copy)
{
    struct reader reader;

    *copy = malloc(size + (size == 0));
    assert_non_null(*copy);
    if (size > 0)
        memcpy(*copy, bytes->data, size);
    reader_init(&reader, bytes_of(*copy, size));
    return reader;
}

static void check_rising(const uint32_t *numbers, uint32_t count, uint32_t start)
{
    uint32_t back[BITPACK_GROUP];
    struct buf out = {0};
    uint8_t *copy;

    bitpack_put_rising(&out, numbers, count, start);
    for (size_t size = 0; size <= out.size; size++) {
        struct reader reader = exact_reader(&out, size, &copy);
        bool good = bitpack_get_rising(&reader, back, count, start);

        assert_int_equal(good, size == out.size);
        free(copy);
    }
    assert_memory_equal(back, numbers, count * sizeof(*numbers));
    for (uint32_t i = 0; i < 20; i++) { /* damaged: refused, or rising all the same */
        struct reader reader = exact_reader(&out, out.size, &copy);

        copy[random_below((uint32_t)out.size)] ^= (uint8_t)(1u << random_below(8));
        if (bitpack_get_rising(&reader, back, count, start)) {
            assert_true(back[0] >= start && back[count - 1] < UINT32_MAX);
            for (uint32_t k = 1; k < count; k++)
                assert_true(back[k] > back[k - 1]);
        }
        free(copy);
    }
    buf_deinit(&out);
}

static void test_rising(void **state)
{
    for (uint32_t turn = 0; turn < 3000; turn++) {
        uint32_t numbers[BITPACK_GROUP], count = 1 + random_below(BITPACK_GROUP);
        uint32_t start = random_below(2) ? random_below(1000) : 0, next = start;
        uint32_t gap = 1u << random_below(22), rare = 1 + random_below(30);

        if (turn % 2 == 0)
            count = BITPACK_GROUP;
        for (uint32_t i = 0; i < count; i++) {
            numbers[i] = next + random_below(random_below(rare) == 0 ? gap : 2);
            next = numbers[i] + 1;
        }
        if (turn % 8 == 1)
            numbers[count - 1] = UINT32_MAX - 1;
        check_rising(numbers, count, start);
    }
}

/* How many bytes the numbers take in which one of `stride` is left out. */
static size_t size_without(uint32_t stride)
{
    uint32_t numbers[BITPACK_GROUP], next = 0;
    struct buf out = {0};
    size_t size;

    for (uint32_t i = 0; i < BITPACK_GROUP; i++, next++) {
        next += stride > 0 && next % stride == 0;
        numbers[i] = next;
    }
    bitpack_put_rising(&out, numbers, BITPACK_GROUP, 0);
    size = out.size;
    buf_deinit(&out);
    return size;
}

/* Neighbouring numbers take a byte, dense ones a bit for each that there could be. */
static void test_dense_is_small(void **state)
{
    assert_int_equal(size_without(0), 1);
    assert_true(size_without(3) <= 2 + 192 / 8 + 1);
}

static void test_groups(void **state)
{
    for (uint32_t turn = 0; turn < 3000; turn++) {
        uint32_t values[BITPACK_GROUP], back[BITPACK_GROUP],
            count = 1 + random_below(BITPACK_GROUP);
        uint32_t width = random_below(33), wider = random_below(33), often = 1 + random_below(40);
        struct buf out = {0};
        struct reader reader;

        if (turn % 3 == 0)
            count = BITPACK_GROUP;
        for (uint32_t i = 0; i < count; i++)
            values[i] = random_bits(random_below(often) == 0 ? wider : width);
        bitpack_put(&out, values, count);
        reader_init(&reader, buf_bytes(&out));
        assert_true(bitpack_get(&reader, back, count));
        assert_int_equal(reader_left(&reader), 0);
        assert_memory_equal(back, values, count * sizeof(*values));
        reader_init(&reader, buf_bytes(&out));
        {
            bool fits = true;

            for (uint32_t i = 0; i < count; i++)
                fits &= values[i] != UINT32_MAX;
            assert_int_equal(bitpack_get_plus_one(&reader, back, count), fits);
            for (uint32_t i = 0; i < count && fits; i++)
                assert_int_equal(back[i], values[i] + 1);
        }
        reader_init(&reader, buf_bytes(&out));
        assert_true(bitpack_skip(&reader, count));
        assert_int_equal(reader_left(&reader), 0);
        for (size_t size = 0; size <= out.size; size += size + 1 < out.size ? 1 + size / 8 : 1) {
            uint8_t *copy;

            reader = exact_reader(&out, size, &copy);
            assert_int_equal(bitpack_get(&reader, back, count), size >= out.size);
            free(copy);
        }
        buf_deinit(&out);
    }
}

/* A few large values among small ones cost their own bytes only. */
static void test_exceptions_are_cheap(void **state)
{
    uint32_t values[BITPACK_GROUP] = {0};
    struct buf out = {0};

    values[5] = UINT32_MAX;
    values[100] = 70000;
    bitpack_put(&out, values, BITPACK_GROUP);
    assert_true(out.size <= 12);
    buf_deinit(&out);
}

/* ---- split groups ---- */

/* A split group of full size, from its parts, with the model's answer to it. */
struct split_sample {
    uint8_t high[SPLIT_HIGH_MAX], *low;
    struct split_parts parts;
    uint32_t values[BITPACK_GROUP], numbers[BITPACK_GROUP];
    bool rises;
};

static void split_sample_init(struct split_sample *s, uint32_t width, uint32_t start)
{
    uint32_t packed[BITPACK_GROUP], place = 0, total = 0, spread = random_below(3);

    memset(s, 0, sizeof(*s));
    s->rises = true;
    s->low = malloc(16 * width + 1); /* reading on is noticed */
    assert_non_null(s->low);
    for (uint32_t i = 0; i < BITPACK_GROUP; i++) {
        uint32_t high = spread > 0 ? random_below(2 * spread) : 0;

        high = total + high > SPLIT_TOTAL_MAX ? SPLIT_TOTAL_MAX - total : high;
        total += high;
        place = total + i;
        s->high[place / 8] |= (uint8_t)(1u << place % 8);
        packed[i] = random_bits(width);
        s->values[i] = start + (high << width) + packed[i];
        s->numbers[i] = start + i + (total << width) + packed[i];
        s->rises &= i == 0 || (s->numbers[i] > s->numbers[i - 1]);
    }
    bitpack_pack(packed, width, s->low);
    s->parts = (struct split_parts){width, place / 8 + 1, s->high, s->low};
}

/* Every version of the inner loops gives what the definition says, and counts the bits. */
static void test_split_kernels(void **state)
{
    for (uint32_t turn = 0; turn < 25 * 80; turn++) {
        uint32_t start = random_below(1000000), back[BITPACK_GROUP + 1], versions = 0;
        const struct split_kernels *kernels;
        struct split_sample sample;

        split_sample_init(&sample, turn % 25, start);
        for (; (kernels = split_kernels_of(versions)) != NULL; versions++) {
            back[BITPACK_GROUP] = 0xa5a5a5a5;
            assert_true(kernels->join(&sample.parts, start, back));
            if (memcmp(back, sample.values, sizeof(sample.values)) != 0)
                fail_msg("%s: joins width %u to other values", kernels->name, turn % 25);
            assert_int_equal(kernels->rise(&sample.parts, start, back), sample.rises);
            if (memcmp(back, sample.numbers, sizeof(sample.numbers)) != 0)
                fail_msg("%s: joins width %u to other numbers", kernels->name, turn % 25);
            assert_int_equal(back[BITPACK_GROUP], 0xa5a5a5a5);
            sample.high[turn % 16] ^= (uint8_t)(1u << turn % 8); /* a bit more or less */
            assert_false(kernels->join(&sample.parts, start, back));
            assert_false(kernels->rise(&sample.parts, start, back));
            sample.high[turn % 16] ^= (uint8_t)(1u << turn % 8);
        }
        assert_in_range(versions, 2, 4);
        assert_ptr_equal(split_kernels(), split_kernels_of(versions - 1));
        free(sample.low);
    }
}

/* Values that spread as chance has it take hardly more than they must: a third of a bit more than
 * the entropy of a geometric distribution, for means from 1.5 to thousands. */
static void test_split_is_small(void **state)
{
    for (double stay = 0.6; stay < 0.9999; stay += (1 - stay) / 2) {
        double entropy = -(stay * log2(stay) + (1 - stay) * log2(1 - stay)) / (1 - stay);
        uint32_t values[BITPACK_GROUP], groups = 200;
        struct buf out = {0};

        for (uint32_t group = 0; group < groups; group++) {
            for (uint32_t i = 0; i < BITPACK_GROUP; i++)
                for (values[i] = 0; random_below(1u << 30) < stay * (1u << 30); values[i]++)
                    continue;
            bitpack_put(&out, values, BITPACK_GROUP);
        }
        assert_true(8.0 * (double)out.size < groups * BITPACK_GROUP * (entropy + 0.35));
        buf_deinit(&out);
    }
}

struct sample {
    struct codec_postings postings;
    uint32_t docs[CODEC_CHUNK_MAX], freqs[CODEC_CHUNK_MAX], counts[CODEC_CHUNK_MAX];
    uint8_t norms[CODEC_CHUNK_MAX];
    uint32_t *positions;
};

static struct sample *sample_create(uint32_t count, uint32_t gap)
{
    struct sample *s = calloc(1, sizeof(*s));
    uint32_t doc = random_below(100000), total = 0, at = 0;

    assert_non_null(s);
    for (uint32_t i = 0; i < count; i++) {
        s->docs[i] = doc;
        doc += 1 + random_below(random_below(30) == 0 ? gap * 20 : gap);
        s->counts[i] = 1 + random_below(random_below(40) == 0 ? 300 : 3);
        s->freqs[i] = s->counts[i] + (random_below(5) == 0 ? random_below(20) : 0);
        s->norms[i] = (uint8_t)random_below(256);
        total += s->counts[i];
    }
    s->positions = malloc((total + 1) * sizeof(*s->positions));
    assert_non_null(s->positions);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0, last = 0; j < s->counts[i]; j++)
            s->positions[at++] = last += random_below(j == 0 ? 300 : 50);
    s->postings =
        (struct codec_postings){s->docs, s->freqs, s->norms, count, s->counts, s->positions};
    return s;
}

static void sample_destroy(struct sample *s)
{
    free(s->positions);
    free(s);
}

/* Decodes block `number` of the chunk, documents first. */
static bool decode_block(const struct codec_chunk *chunk, uint32_t number,
                         struct posting_block *block)
{
    uint32_t next_doc = number == 0 ? chunk->first_doc : chunk->last_doc[number - 1] + 1;
    struct reader reader;

    reader_init(&reader, bytes_of(chunk->blocks.data + chunk->offset[number],
                                  chunk->offset[number + 1] - chunk->offset[number]));
    return codec_get_docs(&reader, codec_block_count(chunk->count, number), next_doc, block) &&
           (block->has_freqs || codec_get_freqs(&reader, block)) && reader_left(&reader) == 0;
}

static void check_block(const struct sample *s, const struct codec_chunk *chunk, uint32_t number,
                        const struct posting_block *block, struct bytes bytes,
                        const uint32_t *expected)
{
    uint32_t from = number * POSTING_BLOCK;
    struct codec_positions positions;
    uint32_t got[400];

    assert_memory_equal(block->docs, s->docs + from, block->count * sizeof(uint32_t));
    assert_memory_equal(block->freqs, s->freqs + from, block->count * sizeof(uint32_t));
    for (uint32_t i = 0; i < block->count; i++) {
        bool held = false;

        for (uint32_t j = number == 0 ? 0 : chunk->pair_end[number - 1];
             j < chunk->pair_end[number]; j++)
            held |=
                chunk->pair_freq[j] >= block->freqs[i] && chunk->pair_norm[j] <= s->norms[from + i];
        assert_true(held);
    }
    assert_true(codec_positions_open(bytes, block, &positions));
    for (uint32_t turn = 0; turn < 2; turn++) { /* in order, then anywhere */
        const uint32_t *at = expected;

        for (uint32_t i = 0; i < block->count; at += s->counts[from + i], i++) {
            if (turn == 1 && random_below(3) != 0)
                continue;
            assert_int_equal(codec_positions_count(&positions, i), s->counts[from + i]);
            assert_true(codec_positions_get(&positions, i, got));
            assert_memory_equal(got, at, s->counts[from + i] * sizeof(uint32_t));
        }
    }
    assert_true(codec_positions_get(&positions, 0, got));
    assert_memory_equal(got, expected, s->counts[from] * sizeof(uint32_t));
}

static void check_chunk(uint32_t count, uint32_t gap)
{
    struct sample *s = sample_create(count, gap);
    struct buf post = {0}, pos = {0};
    struct posting_bounds bounds;
    struct codec_chunk chunk;
    struct codec_position_chunk positions;
    const uint32_t *expected = s->positions;

    codec_put_chunk(&post, &pos, &s->postings, &bounds);
    assert_int_equal(bounds.last_doc, s->docs[count - 1]);
    assert_true(codec_chunk_open(buf_bytes(&post), s->docs[0], &chunk));
    assert_int_equal(chunk.count, count);
    assert_true(codec_position_chunk_open(buf_bytes(&pos), chunk.block_count, &positions));
    for (uint32_t i = 0; i < chunk.block_count; i++) {
        struct posting_block block;

        assert_true(decode_block(&chunk, i, &block));
        assert_int_equal(block.count, codec_block_count(count, i));
        assert_int_equal(block.docs[block.count - 1], chunk.last_doc[i]);
        check_block(s, &chunk, i, &block, codec_position_chunk_block(&positions, i), expected);
        for (uint32_t j = 0; j < block.count; j++)
            expected += s->counts[i * POSTING_BLOCK + j];
    }
    for (size_t size = 0; size < post.size; size += 1 + size / 3)
        assert_false(codec_chunk_open(bytes_of(post.data, size), s->docs[0], &chunk));
    for (uint32_t i = 0; i < 50; i++) { /* one bit anywhere is noticed */
        size_t at = random_below((uint32_t)post.size);

        post.data[at] ^= (uint8_t)(1u << random_below(8));
        assert_false(codec_chunk_open(buf_bytes(&post), s->docs[0], &chunk));
        post.data[at] ^= 0xff;
        buf_clear(&post);
        buf_clear(&pos);
        codec_put_chunk(&post, &pos, &s->postings, &bounds);
    }
    buf_deinit(&post);
    buf_deinit(&pos);
    sample_destroy(s);
}

static void test_chunks(void **state)
{
    static const uint32_t counts[] = {
        1, 2, 7, 8, 9, 127, 128, 129, 255, 256, 1000, CODEC_CHUNK, CODEC_CHUNK_MAX};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        check_chunk(counts[i], 1);
        check_chunk(counts[i], 100);
        check_chunk(counts[i], 20000);
    }
}

static void test_block_extremes(void **state)
{
    uint32_t docs[POSTING_BLOCK], freqs[POSTING_BLOCK];

    for (uint32_t count = 1; count <= POSTING_BLOCK; count++) {
        struct posting_block block;
        struct buf out = {0};
        struct reader reader;

        for (uint32_t i = 0; i < count; i++) {
            docs[i] = i + 1 == count ? POSTING_END - 1 : i * 3;
            freqs[i] = i % 9 == 0 ? UINT32_MAX : 1;
        }
        codec_put_block(&out, docs, freqs, count, 0);
        reader_init(&reader, buf_bytes(&out));
        assert_true(codec_get_docs(&reader, count, 0, &block));
        assert_true(block.has_freqs || codec_get_freqs(&reader, &block));
        assert_memory_equal(block.docs, docs, count * sizeof(*docs));
        assert_memory_equal(block.freqs, freqs, count * sizeof(*freqs));
        /* The same bytes counted from 1 would end at POSTING_END: refused. */
        reader_init(&reader, buf_bytes(&out));
        assert_false(codec_get_docs(&reader, count, 1, &block));
        buf_deinit(&out);
    }
}

static void test_bounds(void **state)
{
    for (uint32_t turn = 0; turn < 500; turn++) {
        uint32_t freqs[POSTING_BLOCK], count = 1 + random_below(POSTING_BLOCK);
        uint8_t norms[POSTING_BLOCK];
        struct posting_bounds half[2] = {{0}, {0}}, back = {0};
        struct buf out = {0};
        struct reader reader;

        for (uint32_t i = 0; i < count; i++) {
            freqs[i] = 1 + random_below(1 + random_below(100));
            norms[i] = (uint8_t)random_below(256);
        }
        posting_bounds_build(freqs, norms, (count + 1) / 2, &half[0]);
        if (count > 1)
            posting_bounds_build(freqs + (count + 1) / 2, norms + (count + 1) / 2, count / 2,
                                 &half[1]);
        posting_bounds_merge(&half[0], &half[1]);
        codec_put_bounds(&out, &half[0]);
        reader_init(&reader, buf_bytes(&out));
        assert_true(codec_get_bounds(&reader, &back));
        assert_int_equal(reader_left(&reader), 0);
        assert_int_equal(back.count, half[0].count);
        for (uint32_t i = 0; i < count; i++) {
            bool held = false;

            for (uint32_t j = 0; j < back.count; j++)
                held |= back.pair[j].freq >= freqs[i] && back.pair[j].norm <= norms[i];
            assert_true(held);
        }
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack_layout),          cmocka_unit_test(test_rising),
        cmocka_unit_test(test_dense_is_small),       cmocka_unit_test(test_groups),
        cmocka_unit_test(test_exceptions_are_cheap), cmocka_unit_test(test_split_kernels),
        cmocka_unit_test(test_split_is_small),       cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_block_extremes),       cmocka_unit_test(test_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
