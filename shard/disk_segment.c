/* An open disk segment: its columns in memory, its life, and its validation. Lists:
 * disk_list_reader.c; rows: disk_format.c; writing: disk_writer.c. */
#include "shard/disk_segment.h"

#include "shard/bitpack.h"
#include "shard/disk_reader.h"

#include <stdlib.h>
#include <string.h>

/* ---- columns ---- */

static int column_error(const struct disk_segment *s, char column, uint32_t page, const char *what,
                        struct err *err)
{
    return err_set(err, ERR_CORRUPT, "segment %llu, column %c, page %u: %s",
                   (unsigned long long)s->base.id, column, page, what);
}

/* Decodes one page: rows `first` and following, `count` of them. */
typedef bool page_reader(struct disk_segment *s, struct reader *reader, uint32_t first,
                         uint32_t count);

static int column_load(struct disk_segment *s, enum disk_column column, uint64_t rows,
                       page_reader *read, struct err *err)
{
    for (uint32_t page = 0; page < disk_pages(rows); page++) {
        uint32_t first = page * DISK_PAGE;
        uint32_t count = rows - first > DISK_PAGE ? DISK_PAGE : (uint32_t)(rows - first);
        struct store_value value;
        struct reader reader;
        struct disk_key key;
        bool found, good;
        int code;

        disk_key_column(&key, s->base.id, column, page);
        code = store_get(s->store, STORE_DOC, disk_key_bytes(&key), &value, &found, err);
        if (code != 0)
            return code;
        if (!found)
            return column_error(s, (char)column, page, "missing", err);
        good = disk_get_page(value.bytes, &reader) && read(s, &reader, first, count) &&
               reader_left(&reader) == 0;
        store_value_release(&value);
        if (!good)
            return column_error(s, (char)column, page, "damaged", err);
    }
    return 0;
}

static bool read_header(struct disk_segment *s, struct reader *reader, uint32_t first,
                        uint32_t count)
{
    return disk_get_header(reader, &s->header);
}

static bool read_norms(struct disk_segment *s, struct reader *reader, uint32_t first,
                       uint32_t count)
{
    struct bytes norms;

    if (!reader_bytes(reader, count, &norms))
        return false;
    memcpy(s->norms + first, norms.data, count);
    return true;
}

/* Bit-packed groups; `to` has room for a multiple of a group. */
static bool read_groups(struct reader *reader, uint32_t *to, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += BITPACK_GROUP)
        if (!bitpack_get(reader, to + i, count - i > BITPACK_GROUP ? BITPACK_GROUP : count - i))
            return false;
    return true;
}

static bool read_lengths(struct disk_segment *s, struct reader *reader, uint32_t first,
                         uint32_t count)
{
    return read_groups(reader, s->lengths + first, count);
}

static bool read_keys(struct disk_segment *s, struct reader *reader, uint32_t first, uint32_t count)
{
    struct disk_key_page *page = &s->key_pages[first / DISK_PAGE];
    struct buf keys = {0};
    size_t last_start = 0, last_size = 0;
    uint64_t shared, rest;
    struct bytes tail;

    page->offsets = malloc((count + 1) * sizeof(*page->offsets));
    if (page->offsets == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        size_t start = keys.size;

        if (!reader_varint(reader, &shared) || !reader_varint(reader, &rest) ||
            shared > last_size || keys.size + shared + rest > UINT32_MAX ||
            !reader_bytes(reader, rest, &tail)) {
            buf_deinit(&keys);
            return false;
        }
        page->offsets[i] = (uint32_t)start;
        buf_reserve(&keys, shared); /* first: the source is in the same buffer */
        if (shared > 0)
            buf_append(&keys, keys.data + last_start, shared);
        buf_append_bytes(&keys, tail);
        last_start = start;
        last_size = keys.size - start;
    }
    page->offsets[count] = (uint32_t)keys.size;
    page->bytes = buf_steal(&keys, &last_size);
    return true;
}

static bool read_categories(struct disk_segment *s, struct reader *reader, uint32_t first,
                            uint32_t count)
{
    uint32_t counts[DISK_PAGE], before = s->category_start[first], rounded;
    uint64_t total = 0;
    uint32_t *bigger;

    if (!read_groups(reader, counts, count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        total += counts[i];
        if (total > reader_left(reader) * (uint64_t)BITPACK_GROUP || before + total > UINT32_MAX)
            return false;
        s->category_start[first + i + 1] = before + (uint32_t)total;
    }
    rounded = (uint32_t)(total + BITPACK_GROUP - 1) / BITPACK_GROUP * BITPACK_GROUP;
    bigger = realloc(s->category_ordinals, ((size_t)before + rounded + 1) * sizeof(*bigger));
    if (bigger == NULL)
        return false;
    s->category_ordinals = bigger;
    if (!read_groups(reader, bigger + before, (uint32_t)total))
        return false;
    for (uint64_t i = 0; i < total; i++)
        if (bigger[before + i] >= s->header.categories)
            return false;
    return true;
}

/* The names go to one buffer, which may still move: until all are read, `data` is the offset in it.
 */
static bool read_names(struct disk_segment *s, struct reader *reader, uint32_t first,
                       uint32_t count)
{
    uint64_t size;
    struct bytes name;

    for (uint32_t i = 0; i < count; i++) {
        if (!reader_varint(reader, &size) || !reader_bytes(reader, size, &name))
            return false;
        s->category_names[first + i] = bytes_of((const uint8_t *)s->names.size, name.size);
        buf_append_bytes(&s->names, name);
    }
    return true;
}

static int columns_load(struct disk_segment *s, struct err *err)
{
    size_t documents = s->header.documents, groups = disk_pages(documents) * (size_t)DISK_PAGE;
    int code;

    s->norms = malloc(documents + 1);
    s->lengths = malloc((groups + 1) * sizeof(*s->lengths));
    s->category_start = calloc(documents + 1, sizeof(*s->category_start));
    s->category_names = calloc(s->header.categories + 1, sizeof(*s->category_names));
    s->key_pages = calloc(disk_pages(documents) + 1, sizeof(*s->key_pages));
    if (s->norms == NULL || s->lengths == NULL || s->category_start == NULL ||
        s->category_names == NULL || s->key_pages == NULL)
        return err_set(err, ERR_NOMEM, "segment: out of memory");
    s->base.norms = s->norms;
    code = column_load(s, DISK_NORMS, documents, read_norms, err);
    if (code == 0)
        code = column_load(s, DISK_LENGTHS, documents, read_lengths, err);
    if (code == 0)
        code = column_load(s, DISK_KEYS, documents, read_keys, err);
    if (code == 0)
        code = column_load(s, DISK_CATEGORIES, documents, read_categories, err);
    if (code == 0)
        code = column_load(s, DISK_NAMES, s->header.categories, read_names, err);
    if (code != 0)
        return code;
    for (uint64_t i = 0; i < s->header.categories; i++)
        s->category_names[i].data = s->names.data + (uintptr_t)s->category_names[i].data;
    return 0;
}

/* ---- life ---- */

static void disk_segment_destroy(struct segment *segment)
{
    struct disk_segment *s = disk_segment_of(segment);

    list_owner_deinit(&s->lists);
    for (uint32_t i = 0; s->key_pages != NULL && i < disk_pages(s->header.documents); i++) {
        free(s->key_pages[i].offsets);
        free(s->key_pages[i].bytes);
    }
    free(s->key_pages);
    free(s->norms);
    free(s->lengths);
    free(s->category_start);
    free(s->category_ordinals);
    free(s->category_names);
    buf_deinit(&s->names);
    free(s);
}

static uint8_t disk_norm(struct segment *segment, uint32_t doc)
{
    return disk_segment_of(segment)->norms[doc];
}

static uint32_t disk_body_length(struct segment *segment, uint32_t doc)
{
    return disk_segment_of(segment)->lengths[doc];
}

static struct bytes disk_entry_key(struct segment *segment, uint32_t doc)
{
    const struct disk_key_page *page = &disk_segment_of(segment)->key_pages[doc / DISK_PAGE];
    uint32_t at = doc % DISK_PAGE;

    return bytes_of(page->bytes + page->offsets[at], page->offsets[at + 1] - page->offsets[at]);
}

static const uint32_t *disk_categories(struct segment *segment, uint32_t doc, uint32_t *count)
{
    const struct disk_segment *s = disk_segment_of(segment);

    *count = s->category_start[doc + 1] - s->category_start[doc];
    return s->category_ordinals + s->category_start[doc];
}

static struct bytes disk_category_name(struct segment *segment, uint32_t ordinal)
{
    return disk_segment_of(segment)->category_names[ordinal];
}

static uint32_t disk_category_count(struct segment *segment)
{
    return (uint32_t)disk_segment_of(segment)->header.categories;
}

static const struct segment_ops disk_segment_ops = {
    .postings = disk_postings,
    .frequency = disk_frequency,
    .terms = disk_terms,
    .norm = disk_norm,
    .body_length = disk_body_length,
    .entry_key = disk_entry_key,
    .categories = disk_categories,
    .category_name = disk_category_name,
    .category_count = disk_category_count,
    .destroy = disk_segment_destroy,
};

int disk_segment_open(struct store *store, uint64_t id, struct segment **out, struct err *err)
{
    struct disk_segment *s = calloc(1, sizeof(*s));
    int code;

    *out = NULL;
    if (s == NULL)
        return err_set(err, ERR_NOMEM, "segment: out of memory");
    s->base.ops = &disk_segment_ops;
    s->base.id = id;
    s->store = store;
    list_owner_init(&s->lists, store_list_cache(store));
    atomic_init(&s->base.refs, 1);
    code = column_load(s, DISK_HEADER, 1, read_header, err);
    if (code == 0)
        code = columns_load(s, err);
    if (code != 0) {
        disk_segment_destroy(&s->base);
        return code;
    }
    s->base.words = segment_words_create();
    *out = &s->base;
    return 0;
}

uint32_t disk_segment_documents(const struct segment *segment)
{
    return (uint32_t)((const struct disk_segment *)segment)->header.documents;
}

uint64_t disk_segment_bytes(const struct segment *segment)
{
    return ((const struct disk_segment *)segment)->header.bytes;
}

uint64_t disk_segment_postings(const struct segment *segment)
{
    return ((const struct disk_segment *)segment)->header.postings;
}

int disk_segment_remove(struct store *store, struct store_batch *batch, uint64_t id,
                        struct err *err)
{
    static const enum store_family families[] = {STORE_TERM, STORE_POST, STORE_POS, STORE_DOC};
    struct disk_key from, to;
    int code = 0;

    disk_key_segment(&from, id);
    disk_key_segment(&to, id + 1);
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && code == 0; i++)
        code =
            store_drop(store, families[i], disk_key_bytes(&from), disk_key_bytes(&to), batch, err);
    return code;
}
