#include "shard/manifest.h"

#include "proto/text/analysis.h"
#include "proto/text/key.h"

#include <stdlib.h>

#define FLAG_PLACES_PENDING 1

const struct bytes MANIFEST_KEY = {(const uint8_t *)"m", 1};

void manifest_deinit(struct manifest *manifest)
{
    letters_deinit(&manifest->letters);
    free(manifest->segments);
    *manifest = (struct manifest){0};
}

void manifest_encode(const struct manifest *manifest, struct buf *out)
{
    size_t start = out->size;
    buf_append_u8(out, MANIFEST_VERSION);
    buf_append_varint(out, TEXT_KEY_VERSION);
    buf_append_varint(out, TEXT_ANALYSIS_VERSION);
    buf_append_varint(out, manifest->durable_seq);
    buf_append_varint(out, manifest->next_segment);
    buf_append_varint(out, manifest->documents);
    buf_append_varint(out, manifest->total_length);
    buf_append_varint(out, manifest->segment_count);
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        buf_append_varint(out, manifest->segments[i].id);
        buf_append_u8(out, manifest->segments[i].places_pending ? FLAG_PLACES_PENDING : 0);
    }
    letters_encode(&manifest->letters, out);
    buf_append_le32(out, checksum32(out->data + start, out->size - start));
}

static bool decode_segments(struct reader *reader, struct manifest *out)
{
    uint64_t count;
    if (!reader_varint(reader, &count) || count > MANIFEST_SEGMENTS_MAX)
        return false;
    out->segments = calloc(count + 1, sizeof out->segments[0]);
    if (out->segments == NULL)
        abort();
    for (uint64_t i = 0; i < count; i++) {
        uint8_t flags;
        if (!reader_varint(reader, &out->segments[i].id) || !reader_u8(reader, &flags) ||
            out->segments[i].id >= out->next_segment)
            return false;
        out->segments[i].places_pending = (flags & FLAG_PLACES_PENDING) != 0;
    }
    out->segment_count = (uint32_t)count;
    return true;
}

static int decode_body(struct reader *reader, struct manifest *out, struct err *err)
{
    uint64_t key_version, analysis_version;
    if (!reader_varint(reader, &key_version) || !reader_varint(reader, &analysis_version))
        return err_set(err, ERR_CORRUPT, "manifest: cut off");
    if (key_version != TEXT_KEY_VERSION || analysis_version != TEXT_ANALYSIS_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "manifest: the index was made with key version %llu and analysis version "
                       "%llu, this program has %d and %d",
                       (unsigned long long)key_version, (unsigned long long)analysis_version,
                       TEXT_KEY_VERSION, TEXT_ANALYSIS_VERSION);
    if (!reader_varint(reader, &out->durable_seq) || !reader_varint(reader, &out->next_segment) ||
        !reader_varint(reader, &out->documents) || !reader_varint(reader, &out->total_length) ||
        !decode_segments(reader, out) || !letters_decode(reader, &out->letters) ||
        reader_left(reader) != 0)
        return err_set(err, ERR_CORRUPT, "manifest: malformed");
    return 0;
}

int manifest_decode(struct bytes image, struct manifest *out, struct err *err)
{
    *out = (struct manifest){0};
    struct reader reader;
    uint32_t checksum;
    uint8_t version;
    if (image.size < 5)
        return err_set(err, ERR_CORRUPT, "manifest: %zu bytes", image.size);
    reader_init(&reader, bytes_of(image.data + image.size - 4, 4));
    reader_le32(&reader, &checksum);
    if (checksum != checksum32(image.data, image.size - 4))
        return err_set(err, ERR_CORRUPT, "manifest: checksum mismatch");
    reader_init(&reader, bytes_of(image.data, image.size - 4));
    reader_u8(&reader, &version);
    if (version != MANIFEST_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "manifest: format version %u, this program knows %d",
                       version, MANIFEST_VERSION);
    int code = decode_body(&reader, out, err);
    if (code != 0)
        manifest_deinit(out);
    return code;
}

void manifest_dead_key(uint64_t segment, struct buf *out)
{
    buf_append_be64(out, segment);
    buf_append_u8(out, 'b');
}

void manifest_dead_term_key(uint64_t segment, uint8_t field, struct bytes token, struct buf *out)
{
    buf_append_be64(out, segment);
    buf_append_u8(out, 'd');
    buf_append_u8(out, field);
    buf_append_bytes(out, token);
}
