/* Writing the columns of a disk segment: the live documents of all sources in the order of their
 * new numbers, page by page. */
#include "shard/bitpack.h"
#include "shard/disk_writer.h"

#include <assert.h>
#include <stdlib.h>

/* ---- categories: ordinals of the sources to ordinals of the new segment, by name ---- */

struct categories {
    struct bytes *names; /* by new ordinal; they live in the sources */
    uint32_t *slots;     /* ordinal + 1 by hash of the name */
    uint32_t **known;    /* [source][its ordinal]: new ordinal + 1, 0 as long as it was not met */
    uint32_t count, most;
    size_t mask;
};

static void categories_deinit(struct categories *c, uint32_t sources)
{
    for (uint32_t i = 0; c->known != NULL && i < sources; i++)
        free(c->known[i]);
    free(c->known);
    free(c->names);
    free(c->slots);
}

static bool categories_init(struct categories *c, const struct view_segment *sources,
                            uint32_t count)
{
    uint64_t most = 0, slots = 16;

    *c = (struct categories){.known = calloc(count + 1, sizeof(*c->known))};
    if (c->known == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t names = sources[i].segment->ops->category_count(sources[i].segment);

        most += names;
        c->known[i] = calloc((size_t)names + 1, sizeof(*c->known[i]));
        if (c->known[i] == NULL)
            return false;
    }
    while (slots < most * 2)
        slots *= 2;
    c->mask = slots - 1;
    c->most = (uint32_t)most;
    c->slots = calloc(slots, sizeof(*c->slots));
    c->names = malloc((most + 1) * sizeof(*c->names));
    return c->slots != NULL && c->names != NULL && most < UINT32_MAX;
}

static uint32_t categories_ordinal(struct categories *c, struct segment *segment, uint32_t source,
                                   uint32_t ordinal)
{
    struct bytes name;
    size_t at;

    if (c->known[source][ordinal] != 0)
        return c->known[source][ordinal] - 1;
    name = segment->ops->category_name(segment, ordinal);
    at = hash64(name.data, name.size) & c->mask;
    while (c->slots[at] != 0 && !bytes_equal(c->names[c->slots[at] - 1], name))
        at = (at + 1) & c->mask;
    if (c->slots[at] == 0) {
        assert(c->count < c->most);
        c->names[c->count] = name;
        c->slots[at] = ++c->count;
    }
    c->known[source][ordinal] = c->slots[at];
    return c->slots[at] - 1;
}

/* ---- documents ---- */

struct columns { /* the page that is being filled */
    uint32_t rows, page;
    struct buf norms, keys, counts, ordinals;
    uint32_t lengths[DISK_PAGE], category_counts[DISK_PAGE];
    struct bytes last_key;
    struct categories categories;
};

static void put_groups(struct buf *out, const uint32_t *values, size_t count)
{
    for (size_t i = 0; i < count; i += BITPACK_GROUP)
        bitpack_put(out, values + i,
                    count - i > BITPACK_GROUP ? BITPACK_GROUP : (uint32_t)(count - i));
}

static int columns_send(struct disk_writer *w, struct columns *c)
{
    struct buf scratch = {0};
    int code = disk_writer_page(w, DISK_NORMS, c->page, &c->norms);

    if (code == 0) {
        put_groups(&scratch, c->lengths, c->rows);
        code = disk_writer_page(w, DISK_LENGTHS, c->page, &scratch);
    }
    if (code == 0)
        code = disk_writer_page(w, DISK_KEYS, c->page, &c->keys);
    if (code == 0) {
        put_groups(&scratch, c->category_counts, c->rows);
        put_groups(&scratch, (const uint32_t *)c->ordinals.data,
                   c->ordinals.size / sizeof(uint32_t));
        buf_clear(&c->ordinals);
        code = disk_writer_page(w, DISK_CATEGORIES, c->page, &scratch);
    }
    c->rows = 0;
    c->page++;
    c->last_key = (struct bytes){0};
    buf_deinit(&scratch);
    return code;
}

static int ordinal_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void columns_add(struct columns *c, struct segment *segment, uint32_t source, uint32_t doc)
{
    struct bytes key = segment->ops->entry_key(segment, doc);
    uint32_t count, shared = 0, *ordinals;
    const uint32_t *old = segment->ops->categories(segment, doc, &count);

    while (shared < key.size && shared < c->last_key.size &&
           key.data[shared] == c->last_key.data[shared])
        shared++;
    buf_append_varint(&c->keys, shared);
    buf_append_varint(&c->keys, key.size - shared);
    buf_append(&c->keys, key.data + shared, key.size - shared);
    c->last_key = key;
    buf_append_u8(&c->norms, segment->ops->norm(segment, doc));
    c->lengths[c->rows] = segment->ops->body_length(segment, doc);
    c->category_counts[c->rows] = count;
    ordinals = buf_extend(&c->ordinals, count * sizeof(*ordinals));
    for (uint32_t i = 0; i < count; i++)
        ordinals[i] = categories_ordinal(&c->categories, segment, source, old[i]);
    if (count > 1)
        qsort(ordinals, count, sizeof(*ordinals), ordinal_compare);
    c->rows++;
}

static int write_names(struct disk_writer *w, const struct categories *categories)
{
    struct buf payload = {0};
    int code = 0;

    for (uint32_t i = 0; i < categories->count && code == 0; i++) {
        buf_append_varint(&payload, categories->names[i].size);
        buf_append_bytes(&payload, categories->names[i]);
        if ((i + 1) % DISK_PAGE == 0 || i + 1 == categories->count)
            code = disk_writer_page(w, DISK_NAMES, i / DISK_PAGE, &payload);
    }
    buf_deinit(&payload);
    w->header.categories = categories->count;
    return code;
}

/* Where the document after *at comes from, which is to be document `number`. */
static void next_origin(const struct disk_writer *w, uint32_t number, struct disk_origin *at)
{
    if (w->origins != NULL) {
        *at = w->origins[number];
        return;
    }
    for (at->doc++;; at->doc++) {
        while (at->doc >= w->sources[at->source].doc_limit)
            *at = (struct disk_origin){at->source + 1, 0};
        if (w->remap[at->source][at->doc] != POSTING_END)
            return;
    }
}

int disk_writer_columns(struct disk_writer *w)
{
    struct columns *c = calloc(1, sizeof(*c));
    struct disk_origin from = {0, UINT32_MAX};
    int code = 0;

    w->norms = malloc(w->header.documents + 1);
    if (c == NULL || w->norms == NULL) {
        free(c);
        return disk_writer_nomem(w);
    }
    if (!categories_init(&c->categories, w->sources, w->source_count))
        code = disk_writer_nomem(w);
    for (uint32_t number = 0; number < w->header.documents && code == 0; number++) {
        struct segment *segment;

        next_origin(w, number, &from);
        segment = w->sources[from.source].segment;
        w->norms[number] = segment->ops->norm(segment, from.doc);
        columns_add(c, segment, from.source, from.doc);
        if (c->rows == DISK_PAGE)
            code = columns_send(w, c);
    }
    if (code == 0 && c->rows > 0)
        code = columns_send(w, c);
    if (code == 0)
        code = write_names(w, &c->categories);
    categories_deinit(&c->categories, w->source_count);
    buf_deinit(&c->norms);
    buf_deinit(&c->keys);
    buf_deinit(&c->ordinals);
    free(c);
    return code;
}
