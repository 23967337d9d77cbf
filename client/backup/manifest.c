#include "client/backup/manifest.h"

#include "client/backup/reading.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAGIC "quire-backup"
#define FIRST_LINE_MAX 128

void backup_checksum(struct bytes bytes, char out[BACKUP_NAME_SIZE])
{
    XXH128_hash_t hash = XXH3_128bits(bytes.size > 0 ? (const void *)bytes.data : "", bytes.size);
    snprintf(out, BACKUP_NAME_SIZE, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64,
             (uint64_t)hash.low64);
}

bool backup_name_valid(const char *name)
{
    return strlen(name) == BACKUP_NAME_SIZE - 1 &&
           strspn(name, "0123456789abcdef") == BACKUP_NAME_SIZE - 1;
}

/* ---- writing ---- */

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *part_json(const struct backup_part *part)
{
    json_t *blocks = json_array();
    for (size_t i = 0; i < part->block_count; i++) {
        const struct backup_block *block = &part->blocks[i];
        json_array_append_new(blocks, json_pack("[s,o,o,o]", block->name, number(block->size),
                                                number(block->bytes), number(block->entries)));
    }
    return json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "lo", part->lo, "hi", part->hi, "range",
                     number(part->range), "epoch", number(part->epoch), "recovered",
                     number(part->recovered), "seq", number(part->seq), "entries",
                     number(part->entries), "blocks", blocks);
}

static json_t *collection_json(const struct backup_collection *it)
{
    json_t *parts = json_array();
    for (size_t i = 0; i < it->part_count; i++)
        json_array_append_new(parts, part_json(&it->parts[i]));
    return json_pack("{s:s,s:s,s:{s:o,s:o,s:o,s:o},s:f,s:f,s:s,s:o,s:o,s:o}", "name", it->name,
                     "language", it->language, "weights", "headword", number(it->weight_headword),
                     "terms", number(it->weight_terms), "categories", number(it->weight_categories),
                     "body", number(it->weight_body), "k1", it->k1, "b", it->b, "order",
                     it->by_category ? "category" : "arrival", "replicas", number(it->replicas),
                     "entries", number(it->entries), "parts", parts);
}

static int append(const char *text, size_t size, void *out)
{
    buf_append(out, text, size);
    return 0;
}

void backup_manifest_write(const struct backup_manifest *manifest, struct buf *out)
{
    struct buf text = {0};
    char checksum[BACKUP_NAME_SIZE];
    json_t *collections = json_array();
    for (size_t i = 0; i < manifest->collection_count; i++)
        json_array_append_new(collections, collection_json(&manifest->collections[i]));
    json_t *document = json_pack("{s:o,s:s,s:s,s:o,s:o,s:o}", "number", number(manifest->number),
                                 "cluster", manifest->cluster, "software", manifest->software,
                                 "began", number(manifest->began), "ended", number(manifest->ended),
                                 "collections", collections);
    if (document == NULL ||
        json_dump_callback(document, append, &text, JSON_COMPACT | JSON_REAL_PRECISION(17)) != 0)
        abort(); /* memory is out */
    json_decref(document);
    buf_append_u8(&text, '\n');
    backup_checksum(buf_bytes(&text), checksum);
    buf_printf(out, MAGIC " %d %s %zu\n", BACKUP_VERSION, checksum, text.size);
    buf_append_bytes(out, buf_bytes(&text));
    buf_deinit(&text);
}

/* ---- reading ---- */

static const char *get_text(struct reading *it, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    it->bad |= text == NULL;
    return text == NULL ? "" : arena_strdup(it->arena, text);
}

static uint64_t number_of(struct reading *it, const json_t *value)
{
    it->bad |= !json_is_integer(value) || json_integer_value(value) < 0;
    return (uint64_t)json_integer_value(value);
}

static uint64_t get_number(struct reading *it, const json_t *object, const char *name)
{
    return number_of(it, json_object_get(object, name));
}

static uint32_t get_small(struct reading *it, const json_t *object, const char *name)
{
    uint64_t value = get_number(it, object, name);
    it->bad |= value > UINT32_MAX;
    return (uint32_t)value;
}

static double get_real(struct reading *it, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    it->bad |= !json_is_number(value);
    return json_number_value(value);
}

static const json_t *get_list(struct reading *it, const json_t *object, const char *name)
{
    const json_t *list = json_object_get(object, name);
    it->bad |= !json_is_array(list);
    return list;
}

static void read_block(struct reading *it, const json_t *from, struct backup_block *to)
{
    const char *name = json_string_value(json_array_get(from, 0));
    if (name == NULL || !backup_name_valid(name)) {
        it->bad = true;
        return;
    }
    memcpy(to->name, name, BACKUP_NAME_SIZE);
    to->size = number_of(it, json_array_get(from, 1));
    to->bytes = number_of(it, json_array_get(from, 2));
    to->entries = number_of(it, json_array_get(from, 3));
}

static void read_part(struct reading *it, const json_t *from, struct backup_part *to)
{
    const json_t *blocks = get_list(it, from, "blocks");
    uint64_t entries = 0;
    to->lo = get_text(it, from, "lo");
    to->hi = get_text(it, from, "hi");
    to->range = get_number(it, from, "range");
    to->epoch = get_number(it, from, "epoch");
    to->recovered = get_small(it, from, "recovered");
    to->seq = get_number(it, from, "seq");
    to->entries = get_number(it, from, "entries");
    to->block_count = json_array_size(blocks);
    to->blocks = reading_take(it, to->block_count, sizeof *to->blocks);
    for (size_t i = 0; i < to->block_count; i++) {
        read_block(it, json_array_get(blocks, i), &to->blocks[i]);
        entries += to->blocks[i].entries;
    }
    it->bad |= entries != to->entries;
}

static void read_collection(struct reading *it, const json_t *from, struct backup_collection *to)
{
    const json_t *weights = json_object_get(from, "weights"), *parts = get_list(it, from, "parts");
    uint64_t entries = 0;
    to->name = get_text(it, from, "name");
    to->language = get_text(it, from, "language");
    to->weight_headword = get_small(it, weights, "headword");
    to->weight_terms = get_small(it, weights, "terms");
    to->weight_categories = get_small(it, weights, "categories");
    to->weight_body = get_small(it, weights, "body");
    to->k1 = get_real(it, from, "k1");
    to->b = get_real(it, from, "b");
    to->by_category = strcmp(get_text(it, from, "order"), "category") == 0;
    to->replicas = get_small(it, from, "replicas");
    to->entries = get_number(it, from, "entries");
    to->part_count = json_array_size(parts);
    to->parts = reading_take(it, to->part_count, sizeof *to->parts);
    for (size_t i = 0; i < to->part_count; i++) {
        struct backup_part *part = &to->parts[i];
        read_part(it, json_array_get(parts, i), part);
        entries += part->entries;
        it->bad |= strcmp(part->lo, i == 0 ? "" : to->parts[i - 1].hi) != 0 ||
                   (part->hi[0] == '\0') != (i + 1 == to->part_count);
    }
    it->bad |= to->part_count == 0 || entries != to->entries;
}

static int read_document(struct bytes text, struct arena *arena, struct backup_manifest *out,
                         struct err *err)
{
    struct reading it = {.arena = arena};
    json_t *document = json_loadb((const char *)text.data, text.size, 0, NULL);
    if (document == NULL)
        return err_set(err, ERR_CORRUPT, "the manifest is not JSON");
    const json_t *collections = get_list(&it, document, "collections");
    out->number = get_number(&it, document, "number");
    out->cluster = get_text(&it, document, "cluster");
    out->software = get_text(&it, document, "software");
    out->began = get_number(&it, document, "began");
    out->ended = get_number(&it, document, "ended");
    out->collection_count = json_array_size(collections);
    out->collections = reading_take(&it, out->collection_count, sizeof *out->collections);
    for (size_t i = 0; i < out->collection_count; i++)
        read_collection(&it, json_array_get(collections, i), &out->collections[i]);
    json_decref(document);
    return it.bad ? err_set(err, ERR_CORRUPT, "the manifest contradicts itself, or lacks something")
                  : 0;
}

int backup_manifest_read(struct bytes text, struct arena *arena, struct backup_manifest *out,
                         struct err *err)
{
    char line[FIRST_LINE_MAX], checksum[BACKUP_NAME_SIZE], expected[FIRST_LINE_MAX];
    const uint8_t *end = text.size > 0 ? memchr(text.data, '\n', text.size) : NULL;
    unsigned version;
    *out = (struct backup_manifest){0};
    if (end == NULL || (size_t)(end - text.data) >= sizeof line - 1)
        return err_set(err, ERR_CORRUPT, "the manifest is damaged: it has no first line");
    size_t head = (size_t)(end - text.data) + 1;
    memcpy(line, text.data, head);
    line[head] = '\0';
    if (sscanf(line, MAGIC " %u ", &version) != 1)
        return err_set(err, ERR_CORRUPT, "the manifest is damaged: its first line is none");
    struct bytes rest = bytes_of(text.data + head, text.size - head);
    backup_checksum(rest, checksum);
    snprintf(expected, sizeof expected, MAGIC " %u %s %zu\n", version, checksum, rest.size);
    /* A version that was flipped by damage is not told from another version; either is refused. */
    if (strcmp(line, expected) != 0)
        return err_set(err, ERR_CORRUPT, "the manifest is damaged: its checksum is another one");
    if (version != BACKUP_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "the backup is of format %u, this program knows format %d", version,
                       BACKUP_VERSION);
    return read_document(rest, arena, out, err);
}
