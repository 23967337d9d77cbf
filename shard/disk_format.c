/* Rows of a disk segment.
 *
 * Integers in keys are big-endian. Every key starts with the segment's id, so that a segment that
 * was merged away goes by one range deletion in each family.
 *
 *   family  key                                       value
 *   term    be64 segment, u8 field, token             term
 *   post    be64 segment, be32 term id, be32 doc      chunk of postings   (posting_codec.c)
 *   pos     be64 segment, be32 term id, be32 doc      chunk of positions  (posting_codec.c)
 *   doc     be64 segment, u8 column, be32 page        page
 *
 * Term:
 *     u8       version 4 in the high half; flags: 1 chunked, 2 has positions, 4 positions inline
 *     varint   document frequency: postings in the list, dead ones included
 *     [varint  term id, when there are rows of postings or positions]
 *     inline (up to 128 postings): a block of postings; when flag 4, its positions
 *     chunked:
 *         varint  sum of all frequencies
 *         varint  number of chunks
 *         for each: varint first document, less the last one of the chunk before, less 1 (the
 * first: as it is); varint last document less the first; varint postings; bounds
 *     be16     CRC of what stands before (checksum16())
 *
 * Most tokens of a corpus occur in a few documents: their list lies in the term's value, with its
 * positions when these take no more than a line, so that one row holds all. A list longer than a
 * block is cut into chunks of 4,096 postings; the directory lets a reader skip whole chunks without
 * reading them. The term id is a number from 0 in the order of terms, so chunks lie on the disk in
 * the order of the terms. Two bytes of checksum are enough for values of which the most are ten
 * bytes long, inside blocks that RocksDB checks as well; as a CRC they miss no single flipped bit.
 *
 * Page:
 *     u8       version, 4
 *     le32     checksum of what follows
 *     payload, of documents (ordinals) 4,096 * page and following:
 *         n  norms, a byte each
 *         l  body lengths, bit-packed groups of 128 (bitpack.c)
 *         k  entry keys: varint bytes shared with the key before, varint bytes that follow, these
 * bytes c  numbers of categories, bit-packed groups; then all ordinals of the page, bit-packed
 * groups g  category names by ordinal: varint size, bytes h  (page 0 only) varints: documents,
 * categories, terms, postings, bytes of all rows but this one
 */
#include "shard/disk_format.h"

#include <assert.h>
#include <string.h>

#define DISK_VERSION 5

static void key_u32(struct disk_key *key, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        key->data[key->size++] = (uint8_t)(value >> shift);
}

void disk_key_segment(struct disk_key *key, uint64_t segment)
{
    key->size = 0;
    key_u32(key, (uint32_t)(segment >> 32));
    key_u32(key, (uint32_t)segment);
}

void disk_key_term(struct disk_key *key, uint64_t segment, struct segment_token token)
{
    assert(token.text.size <= UINT8_MAX);
    disk_key_segment(key, segment);
    key->data[key->size++] = token.field;
    if (token.text.size > 0)
        memcpy(key->data + key->size, token.text.data, token.text.size);
    key->size += token.text.size;
}

void disk_key_behind(const struct disk_key *prefix, struct disk_key *key)
{
    *key = *prefix;
    while (key->data[key->size - 1] == UINT8_MAX)
        key->size--;
    key->data[key->size - 1]++;
}

void disk_key_chunk(struct disk_key *key, uint64_t segment, uint32_t term_id, uint32_t first_doc)
{
    disk_key_segment(key, segment);
    key_u32(key, term_id);
    key_u32(key, first_doc);
}

void disk_key_column(struct disk_key *key, uint64_t segment, enum disk_column column, uint32_t page)
{
    disk_key_segment(key, segment);
    key->data[key->size++] = (uint8_t)column;
    key_u32(key, page);
}

bool disk_key_token(struct bytes key, struct segment_token *token)
{
    if (key.size < 9 || key.size > DISK_KEY_MAX)
        return false;
    token->field = key.data[8];
    token->text = bytes_of(key.data + 9, key.size - 9);
    return true;
}

/* ---- pages ---- */

void disk_put_page(struct buf *out, const struct buf *payload)
{
    buf_append_u8(out, DISK_VERSION);
    buf_append_le32(out, checksum32(payload->data, payload->size));
    buf_append_bytes(out, buf_bytes(payload));
}

bool disk_get_page(struct bytes page, struct reader *payload)
{
    uint32_t checksum;
    uint8_t version;

    reader_init(payload, page);
    return reader_u8(payload, &version) && version == DISK_VERSION &&
           reader_le32(payload, &checksum) &&
           checksum == checksum32(payload->at, reader_left(payload));
}

void disk_put_header(struct buf *payload, const struct disk_header *header)
{
    buf_append_varint(payload, header->documents);
    buf_append_varint(payload, header->categories);
    buf_append_varint(payload, header->terms);
    buf_append_varint(payload, header->postings);
    buf_append_varint(payload, header->bytes);
}

bool disk_get_header(struct reader *payload, struct disk_header *header)
{
    return reader_varint(payload, &header->documents) && header->documents < POSTING_END &&
           reader_varint(payload, &header->categories) && header->categories < UINT32_MAX &&
           reader_varint(payload, &header->terms) && reader_varint(payload, &header->postings) &&
           reader_varint(payload, &header->bytes) && reader_left(payload) == 0;
}

/* ---- terms ---- */

void disk_put_term(struct buf *out, const struct disk_term *term)
{
    size_t start = out->size;
    uint16_t crc;

    buf_append_u8(out, (uint8_t)(DISK_VERSION << 4 | term->flags));
    buf_append_varint(out, term->df);
    if (disk_term_has_rows(term->flags))
        buf_append_varint(out, term->id);
    if (term->flags & DISK_TERM_CHUNKED) {
        buf_append_varint(out, term->total_frequency);
        buf_append_varint(out, term->chunk_count);
    }
    buf_append_bytes(out, term->rest);
    crc = checksum16(out->data + start, out->size - start);
    buf_append_u8(out, (uint8_t)(crc >> 8));
    buf_append_u8(out, (uint8_t)crc);
}

bool disk_get_term(struct bytes value, struct disk_term *term)
{
    uint64_t df, id = 0, chunks = 0;
    uint16_t crc;
    struct reader reader;
    uint8_t first;

    *term = (struct disk_term){0};
    if (value.size < 4)
        return false;
    value.size -= 2;
    crc = checksum16(value.data, value.size);
    if (value.data[value.size] != crc >> 8 || value.data[value.size + 1] != (uint8_t)crc)
        return false;
    reader_init(&reader, value);
    if (!reader_u8(&reader, &first) || first >> 4 != DISK_VERSION || (first & 0x0f) > 7 ||
        !reader_varint(&reader, &df) || df == 0 || df >= POSTING_END)
        return false;
    term->flags = first & 0x0f;
    if (disk_term_has_rows(term->flags) && (!reader_varint(&reader, &id) || id > UINT32_MAX))
        return false;
    if (term->flags & DISK_TERM_CHUNKED) {
        /* An entry of the directory takes five bytes at least. */
        if (!reader_varint(&reader, &term->total_frequency) || !reader_varint(&reader, &chunks) ||
            chunks == 0 || chunks > reader_left(&reader) / 5)
            return false;
    } else if (df > POSTING_BLOCK) {
        return false;
    }
    term->df = (uint32_t)df;
    term->id = (uint32_t)id;
    term->chunk_count = (uint32_t)chunks;
    term->rest = bytes_of(reader.at, reader_left(&reader));
    return true;
}

void disk_put_directory(struct buf *out, const struct disk_chunk_entry *chunks, uint32_t count)
{
    uint32_t next_doc = 0;

    for (uint32_t i = 0; i < count; i++) {
        buf_append_varint(out, chunks[i].first_doc - next_doc);
        buf_append_varint(out, chunks[i].bounds.last_doc - chunks[i].first_doc);
        buf_append_varint(out, chunks[i].count);
        codec_put_bounds(out, &chunks[i].bounds);
        next_doc = chunks[i].bounds.last_doc + 1;
    }
}

bool disk_get_directory(const struct disk_term *term, uint32_t documents,
                        struct disk_chunk_entry *chunks)
{
    uint64_t next_doc = 0, gap, span, count, total = 0;
    struct reader reader;

    reader_init(&reader, term->rest);
    for (uint32_t i = 0; i < term->chunk_count; i++) {
        if (!reader_varint(&reader, &gap) || !reader_varint(&reader, &span) ||
            !reader_varint(&reader, &count) || !codec_get_bounds(&reader, &chunks[i].bounds) ||
            gap >= documents || span >= documents || next_doc + gap + span >= documents ||
            count == 0 || count > CODEC_CHUNK_MAX || count > span + 1)
            return false;
        chunks[i].first_doc = (uint32_t)(next_doc + gap);
        chunks[i].bounds.last_doc = (uint32_t)(next_doc + gap + span);
        chunks[i].count = (uint32_t)count;
        next_doc += gap + span + 1;
        total += count;
    }
    return total == term->df && reader_left(&reader) == 0;
}
