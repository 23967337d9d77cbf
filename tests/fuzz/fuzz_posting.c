/* Decoders of groups, postings, positions, terms, directories, pages and dead documents, on any
 * bytes. The first byte chooses the decoder. Checksums are set right first, since behind a wrong
 * one nothing is decoded. */
#include "fuzz.h"

#include "shard/bitpack.h"
#include "shard/disk_format.h"
#include "shard/live.h"
#include "shard/posting_codec.h"

#include <stdlib.h>
#include <string.h>

static uint32_t read_byte(const uint8_t **data, size_t *size)
{
    if (*size == 0)
        return 0;
    (*size)--;
    return *(*data)++;
}

static void must(bool held)
{
    if (!held)
        abort();
}

/* Version, checksum, body: a chunk, a page or an image of dead documents. */
static struct bytes framed(struct buf *out, uint8_t version, const uint8_t *data, size_t size)
{
    buf_append_u8(out, version);
    buf_append_le32(out, checksum32(data, size));
    buf_append(out, data, size);
    return buf_bytes(out);
}

static void check_rising(const struct posting_block *block)
{
    for (uint32_t i = 0; i < block->count; i++) {
        must(block->freqs[i] >= 1 && block->docs[i] < POSTING_END);
        must(i == 0 || block->docs[i] > block->docs[i - 1]);
    }
}

static void read_positions(struct bytes bytes, const struct posting_block *block)
{
    struct codec_positions positions;

    if (!codec_positions_open(bytes, block, &positions))
        return;
    for (uint32_t i = 0; i < block->count; i += 1 + i / 7) {
        uint32_t count = codec_positions_count(&positions, i);
        uint32_t *out = malloc(count * sizeof(*out) + 1);

        must(out != NULL && count >= 1);
        (void)codec_positions_get(&positions, i, out);
        free(out);
    }
}

/* Decodes a block as cursors do; false when it is damaged. */
static bool read_block(struct reader *reader, uint32_t count, uint32_t next_doc,
                       struct posting_block *block)
{
    if (!codec_get_docs(reader, count, next_doc, block))
        return false;
    must(block->count == count && block->docs[0] >= next_doc);
    if (!block->has_freqs && !codec_get_freqs(reader, block))
        return false;
    check_rising(block);
    return true;
}

static void fuzz_chunk(const uint8_t *data, size_t size)
{
    uint32_t first_doc = read_byte(&data, &size) << 24 | read_byte(&data, &size);
    struct posting_block block;
    struct codec_chunk chunk;
    struct buf out = {0};

    if (codec_chunk_open(framed(&out, 3, data, size), first_doc, &chunk)) {
        uint32_t next_doc = first_doc;

        for (uint32_t i = 0; i < chunk.block_count; i++) {
            struct reader reader;

            reader_init(&reader, bytes_of(chunk.blocks.data + chunk.offset[i],
                                          chunk.offset[i + 1] - chunk.offset[i]));
            (void)read_block(&reader, codec_block_count(chunk.count, i), next_doc, &block);
            must(chunk.last_doc[i] >= next_doc && chunk.last_doc[i] < POSTING_END);
            next_doc = chunk.last_doc[i] + 1;
        }
    }
    buf_deinit(&out);
}

static void fuzz_position_chunk(const uint8_t *data, size_t size)
{
    uint32_t blocks = read_byte(&data, &size) % 70;
    struct codec_position_chunk chunk;
    struct posting_block block = {.count = POSTING_BLOCK};
    struct buf out = {0};

    for (uint32_t i = 0; i < POSTING_BLOCK; i++)
        block.freqs[i] = 1 + i % 5 * 1000;
    if (codec_position_chunk_open(framed(&out, 3, data, size), blocks, &chunk))
        for (uint32_t i = 0; i < chunk.block_count; i++)
            read_positions(codec_position_chunk_block(&chunk, i), &block);
    buf_deinit(&out);
}

static void fuzz_block(const uint8_t *data, size_t size)
{
    uint32_t count = 1 + read_byte(&data, &size) % POSTING_BLOCK;
    struct posting_block block;
    struct reader reader;

    reader_init(&reader, bytes_of(data, size));
    if (read_block(&reader, count, 0, &block))
        read_positions(bytes_of(reader.at, reader_left(&reader)), &block);
}

/* Groups of every kind, of any number of values. */
static void fuzz_group(const uint8_t *data, size_t size)
{
    uint32_t count = 1 + read_byte(&data, &size) % BITPACK_GROUP, values[BITPACK_GROUP];
    uint32_t start = read_byte(&data, &size) << 24;
    struct reader plain, skipped, rising;

    reader_init(&plain, bytes_of(data, size));
    skipped = rising = plain;
    if (bitpack_get(&plain, values, count))
        must(bitpack_skip(&skipped, count) && skipped.at == plain.at);
    if (bitpack_get_rising(&rising, values, count, start)) {
        must(values[0] >= start && values[count - 1] < UINT32_MAX);
        for (uint32_t i = 1; i < count; i++)
            must(values[i] > values[i - 1]);
    }
}

static void fuzz_term(const uint8_t *data, size_t size)
{
    struct disk_term term;
    struct buf value = {0};
    uint16_t crc = checksum16(data, size);

    buf_append(&value, data, size);
    buf_append_u8(&value, (uint8_t)(crc >> 8));
    buf_append_u8(&value, (uint8_t)crc);
    if (disk_get_term(buf_bytes(&value), &term) && (term.flags & DISK_TERM_CHUNKED)) {
        struct disk_chunk_entry *chunks = malloc(term.chunk_count * sizeof(*chunks));

        must(chunks != NULL);
        if (disk_get_directory(&term, 1000000, chunks))
            for (uint32_t i = 0; i < term.chunk_count; i++)
                must(chunks[i].first_doc <= chunks[i].bounds.last_doc &&
                     chunks[i].bounds.last_doc < 1000000);
        free(chunks);
    }
    buf_deinit(&value);
}

static void fuzz_live(const uint8_t *data, size_t size)
{
    struct buf image = {0};
    struct live *live;

    if (live_decode(framed(&image, 1, data, size), &live, NULL) == 0) {
        must(live_is_dead(live, 0) <= live_dead_count(live));
        live_unref(live);
    }
    buf_deinit(&image);
}

static void fuzz_page(const uint8_t *data, size_t size)
{
    struct buf page = {0};
    struct disk_header header;
    struct reader reader;

    if (disk_get_page(framed(&page, 2, data, size), &reader))
        (void)disk_get_header(&reader, &header);
    buf_deinit(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const targets[])(const uint8_t *, size_t) = {
        fuzz_chunk, fuzz_position_chunk, fuzz_block, fuzz_term, fuzz_live, fuzz_page, fuzz_group,
    };
    uint32_t which = read_byte(&data, &size);

    targets[which % (sizeof(targets) / sizeof(targets[0]))](data, size);
    return 0;
}

/* ---- seeds: what the encoders write, without version and checksum ---- */

#define SEED_POSTINGS 300

enum {
    SEED_CHUNK,
    SEED_POSITIONS,
    SEED_BLOCK,
    SEED_INLINE,
    SEED_DIRECTORY,
    SEED_LIVE,
    SEED_HEADER,
    SEED_GROUP,
    SEED_BITS,
    SEEDS
};

static void seed_lists(struct buf *seeds)
{
    static uint32_t docs[SEED_POSTINGS], freqs[SEED_POSTINGS], counts[SEED_POSTINGS],
        positions[2 * SEED_POSTINGS];
    static uint8_t norms[SEED_POSTINGS];
    struct codec_postings postings = {docs, freqs, norms, SEED_POSTINGS, counts, positions};
    struct disk_chunk_entry entry = {.first_doc = 3, .count = SEED_POSTINGS};
    struct disk_term term = {
        .df = SEED_POSTINGS, .flags = DISK_TERM_CHUNKED | DISK_TERM_POSITIONS, .id = 9};
    struct buf post = {0}, pos = {0}, rest = {0};

    for (uint32_t i = 0; i < SEED_POSTINGS; i++) {
        docs[i] = 3 + i * 7;
        freqs[i] = 2 + i % 11;
        counts[i] = 2;
        norms[i] = (uint8_t)i;
        positions[2 * i] = i % 90;
        positions[2 * i + 1] = i % 90 + 5;
    }
    codec_put_chunk(&post, &pos, &postings, &entry.bounds);
    buf_append(&seeds[SEED_CHUNK], "\0\0\3", 3);
    buf_append(&seeds[SEED_CHUNK], post.data + 5, post.size - 5);
    buf_append(&seeds[SEED_POSITIONS], "\1\3", 2);
    buf_append(&seeds[SEED_POSITIONS], pos.data + 5, pos.size - 5);
    buf_append(&seeds[SEED_BLOCK], "\2\x7f", 2);
    codec_put_block(&seeds[SEED_BLOCK], docs, freqs, POSTING_BLOCK, 0);
    codec_put_positions(&seeds[SEED_BLOCK], freqs, counts, positions, POSTING_BLOCK);
    buf_append(&seeds[SEED_INLINE], "\2\4", 2);
    codec_put_block(&seeds[SEED_INLINE], docs, freqs, 5, 0);
    codec_put_positions(&seeds[SEED_INLINE], freqs, counts, positions, 5);
    disk_put_directory(&rest, &entry, 1);
    term.chunk_count = 1;
    term.rest = buf_bytes(&rest);
    buf_append_u8(&seeds[SEED_DIRECTORY], 3);
    disk_put_term(&seeds[SEED_DIRECTORY], &term);
    seeds[SEED_DIRECTORY].size -= 2;
    buf_deinit(&post);
    buf_deinit(&pos);
    buf_deinit(&rest);
}

static void seed_others(struct buf *seeds)
{
    struct disk_header header = {100, 3, 1000, 10000, 123456};
    uint32_t dead[] = {1, 5, 40000, 70000, 70001};
    struct live *live = live_with(NULL, dead, sizeof(dead) / sizeof(dead[0]));
    struct buf image = {0};

    live_encode(live, &image);
    buf_append_u8(&seeds[SEED_LIVE], 4);
    buf_append(&seeds[SEED_LIVE], image.data + 5, image.size - 5);
    live_unref(live);
    buf_deinit(&image);
    buf_append_u8(&seeds[SEED_HEADER], 5);
    disk_put_header(&seeds[SEED_HEADER], &header);
}

static void seed_groups(struct buf *seeds)
{
    uint32_t numbers[BITPACK_GROUP], next = 0;

    for (uint32_t i = 0; i < BITPACK_GROUP; i++)
        numbers[i] = next += i % 40 == 0 ? 900 : 1 + i % 3;
    buf_append(&seeds[SEED_GROUP], "\6\177\0", 3);
    bitpack_put_rising(&seeds[SEED_GROUP], numbers, BITPACK_GROUP, 0);
    for (uint32_t i = 0; i < BITPACK_GROUP; i++)
        numbers[i] = i * 2 - i % 2;
    buf_append(&seeds[SEED_BITS], "\6\177\0", 3);
    bitpack_put_rising(&seeds[SEED_BITS], numbers, BITPACK_GROUP, 0);
}

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static struct buf buffers[SEEDS];
    static struct fuzz_seed seeds[SEEDS];

    seed_lists(buffers);
    seed_others(buffers);
    seed_groups(buffers);
    for (size_t i = 0; i < SEEDS; i++)
        seeds[i] = (struct fuzz_seed){buffers[i].data, buffers[i].size};
    *count = SEEDS;
    return seeds;
}
