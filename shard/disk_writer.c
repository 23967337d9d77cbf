/* Writing a disk segment: from one memory segment (a flush) or several segments of any kind (a merge).
 *
 * First the documents: the live ones of all sources, in order, get new numbers, and their columns are written page
 * by page. Then the lists, in (field, token) order: a heap holds the sources by their next token; all that
 * have the smallest one are drained in the order of the sources, which is that of the new numbers, so a merged list
 * is one list after another. Postings gather in buffers of at most two chunks; rows gather in a batch of a few
 * megabytes. So memory is bounded but for the map of document numbers (four bytes a document).
 *
 * The header is written last.
 */
#include "shard/bitpack.h"
#include "shard/disk_format.h"
#include "shard/disk_segment.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES ((size_t)4 << 20)
#define INLINE_POSITIONS_MAX 64u      /* bytes: longer ones get a row of their own */
#define BUFFERED_POSITIONS_MAX (1u << 20) /* cuts a chunk early */

struct list { /* the list being built */
    struct segment_token token;
    bool positional;
    uint32_t count; /* in the buffers */
    uint32_t docs[CODEC_CHUNK_MAX], freqs[CODEC_CHUNK_MAX], position_counts[CODEC_CHUNK_MAX];
    uint8_t norms[CODEC_CHUNK_MAX];
    uint32_t *positions;
    size_t position_count, position_capacity;
    uint64_t df, total_frequency;
    struct disk_chunk_entry *chunks;
    uint32_t chunk_count, chunk_capacity;
};

struct writer {
    struct store *store;
    uint64_t id;
    const struct view_segment *sources;
    uint32_t source_count;
    uint32_t **remap;
    struct store_batch *batch;
    bool (*pause)(void *data, size_t bytes);
    void *pause_data;
    struct disk_header header;
    uint8_t *norms; /* by new document */
    uint32_t next_term_id;
    struct list *list;
    struct buf value, post, pos;
    struct err *err;
};

static int nomem(struct err *err)
{
    return err_set(err, ERR_NOMEM, "write segment: out of memory");
}

/* ---- rows ---- */

static int writer_send(struct writer *w)
{
    size_t bytes = store_batch_bytes(w->batch);
    int code = store_write(w->store, w->batch, w->err);

    if (code == 0 && w->pause != NULL && !w->pause(w->pause_data, bytes))
        code = err_set(w->err, ERR_CANCELED, "write segment: canceled");
    return code;
}

static int writer_put(struct writer *w, enum store_family family, const struct disk_key *key,
                      const struct buf *value)
{
    store_batch_put(w->batch, w->store, family, disk_key_bytes(key), buf_bytes(value));
    w->header.bytes += key->size + value->size;
    return store_batch_bytes(w->batch) >= BATCH_BYTES ? writer_send(w) : 0;
}

static int writer_page(struct writer *w, enum disk_column column, uint32_t page, struct buf *payload)
{
    struct disk_key key;

    buf_clear(&w->value);
    disk_put_page(&w->value, payload);
    buf_clear(payload);
    disk_key_column(&key, w->id, column, page);
    return writer_put(w, STORE_DOC, &key, &w->value);
}

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

static bool categories_init(struct categories *c, const struct view_segment *sources, uint32_t count)
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

/* New numbers for the live documents. */
static int number_documents(struct writer *w)
{
    uint64_t next = 0;

    for (uint32_t i = 0; i < w->source_count; i++) {
        const struct view_segment *source = &w->sources[i];

        w->remap[i] = malloc(((size_t)source->doc_limit + 1) * sizeof(*w->remap[i]));
        if (w->remap[i] == NULL)
            return nomem(w->err);
        for (uint32_t doc = 0; doc < source->doc_limit; doc++)
            w->remap[i][doc] = view_live(source, doc) ? (uint32_t)next++ : POSTING_END;
        if (next >= POSTING_END)
            return err_set(w->err, ERR_FULL, "write segment: too many documents");
    }
    w->header.documents = next;
    w->norms = malloc(next + 1);
    return w->norms == NULL ? nomem(w->err) : 0;
}

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
        bitpack_put(out, values + i, count - i > BITPACK_GROUP ? BITPACK_GROUP : (uint32_t)(count - i));
}

static int columns_send(struct writer *w, struct columns *c)
{
    struct buf scratch = {0};
    int code = writer_page(w, DISK_NORMS, c->page, &c->norms);

    if (code == 0) {
        put_groups(&scratch, c->lengths, c->rows);
        code = writer_page(w, DISK_LENGTHS, c->page, &scratch);
    }
    if (code == 0)
        code = writer_page(w, DISK_KEYS, c->page, &c->keys);
    if (code == 0) {
        put_groups(&scratch, c->category_counts, c->rows);
        put_groups(&scratch, (const uint32_t *)c->ordinals.data, c->ordinals.size / sizeof(uint32_t));
        buf_clear(&c->ordinals);
        code = writer_page(w, DISK_CATEGORIES, c->page, &scratch);
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

    while (shared < key.size && shared < c->last_key.size && key.data[shared] == c->last_key.data[shared])
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

static int write_names(struct writer *w, const struct categories *categories)
{
    struct buf payload = {0};
    int code = 0;

    for (uint32_t i = 0; i < categories->count && code == 0; i++) {
        buf_append_varint(&payload, categories->names[i].size);
        buf_append_bytes(&payload, categories->names[i]);
        if ((i + 1) % DISK_PAGE == 0 || i + 1 == categories->count)
            code = writer_page(w, DISK_NAMES, i / DISK_PAGE, &payload);
    }
    buf_deinit(&payload);
    w->header.categories = categories->count;
    return code;
}

static int write_documents(struct writer *w)
{
    struct columns *c = calloc(1, sizeof(*c));
    int code = 0;

    if (c == NULL || !categories_init(&c->categories, w->sources, w->source_count))
        code = nomem(w->err);
    for (uint32_t i = 0; i < w->source_count && code == 0; i++) {
        struct segment *segment = w->sources[i].segment;

        for (uint32_t doc = 0; doc < w->sources[i].doc_limit && code == 0; doc++) {
            if (w->remap[i][doc] == POSTING_END)
                continue;
            w->norms[w->remap[i][doc]] = segment->ops->norm(segment, doc);
            columns_add(c, segment, i, doc);
            if (c->rows == DISK_PAGE)
                code = columns_send(w, c);
        }
    }
    if (code == 0 && c->rows > 0)
        code = columns_send(w, c);
    if (code == 0)
        code = write_names(w, &c->categories);
    if (c != NULL) {
        categories_deinit(&c->categories, w->source_count);
        buf_deinit(&c->norms);
        buf_deinit(&c->keys);
        buf_deinit(&c->ordinals);
    }
    free(c);
    return code;
}

/* ---- lists ---- */

static struct codec_postings list_postings(const struct list *list, uint32_t count)
{
    return (struct codec_postings){
        .docs = list->docs,
        .freqs = list->freqs,
        .norms = list->norms,
        .count = count,
        .position_counts = list->positional ? list->position_counts : NULL,
        .positions = list->positions,
    };
}

/* Takes the first `count` postings out of the buffers. */
static void list_drop(struct list *list, uint32_t count)
{
    size_t positions = 0;
    uint32_t left = list->count - count;

    for (uint32_t i = 0; i < count && list->positional; i++)
        positions += list->position_counts[i];
    list->position_count -= positions;
    if (list->position_count > 0)
        memmove(list->positions, list->positions + positions,
                list->position_count * sizeof(*list->positions));
    memmove(list->docs, list->docs + count, left * sizeof(*list->docs));
    memmove(list->freqs, list->freqs + count, left * sizeof(*list->freqs));
    memmove(list->norms, list->norms + count, left * sizeof(*list->norms));
    memmove(list->position_counts, list->position_counts + count, left * sizeof(*list->position_counts));
    list->count = left;
}

/* Writes a chunk of the first `count` postings. */
static int list_chunk(struct writer *w, uint32_t count)
{
    struct list *list = w->list;
    struct codec_postings postings = list_postings(list, count);
    struct disk_chunk_entry *entry;
    struct disk_key key;
    int code;

    if (list->chunk_count == list->chunk_capacity) {
        uint32_t capacity = list->chunk_capacity == 0 ? 16 : list->chunk_capacity * 2;
        struct disk_chunk_entry *bigger = realloc(list->chunks, capacity * sizeof(*bigger));

        if (bigger == NULL)
            return nomem(w->err);
        list->chunks = bigger;
        list->chunk_capacity = capacity;
    }
    entry = &list->chunks[list->chunk_count++];
    entry->first_doc = list->docs[0];
    entry->count = count;
    buf_clear(&w->post);
    buf_clear(&w->pos);
    codec_put_chunk(&w->post, &w->pos, &postings, &entry->bounds);
    disk_key_chunk(&key, w->id, w->next_term_id, entry->first_doc);
    code = writer_put(w, STORE_POST, &key, &w->post);
    if (code == 0 && list->positional)
        code = writer_put(w, STORE_POS, &key, &w->pos);
    list_drop(list, count);
    return code;
}

static int list_positions(struct writer *w, const uint32_t *positions, uint32_t count)
{
    struct list *list = w->list;

    if (list->position_count + count > list->position_capacity) {
        size_t capacity = list->position_capacity * 2 + count + 1024;
        uint32_t *bigger = realloc(list->positions, capacity * sizeof(*bigger));

        if (bigger == NULL)
            return nomem(w->err);
        list->positions = bigger;
        list->position_capacity = capacity;
    }
    memcpy(list->positions + list->position_count, positions, count * sizeof(*positions));
    list->position_count += count;
    return 0;
}

/* Adds the posting at `index` of the cursor's block as document `doc`. */
static int list_add(struct writer *w, struct posting_cursor *cursor, uint32_t index, uint32_t doc)
{
    struct list *list = w->list;
    uint32_t at = list->count, count = 0;
    const uint32_t *positions;
    int code = 0;

    if (list->positional) {
        code = cursor->ops->positions(cursor, index, &positions, &count, w->err);
        if (code == 0 && (count == 0 || count > cursor->block.freqs[index]))
            code = err_set(w->err, ERR_CORRUPT, "write segment: a posting without its positions");
        if (code == 0)
            code = list_positions(w, positions, count);
        if (code != 0)
            return code;
    }
    list->docs[at] = doc;
    list->freqs[at] = cursor->block.freqs[index];
    list->norms[at] = w->norms[doc];
    list->position_counts[at] = count;
    list->total_frequency += cursor->block.freqs[index];
    list->df++;
    list->count++;
    if (list->count == CODEC_CHUNK_MAX)
        return list_chunk(w, CODEC_CHUNK);
    if (list->position_count > BUFFERED_POSITIONS_MAX)
        return list_chunk(w, list->count);
    return 0;
}

static int list_drain(struct writer *w, uint32_t source, struct posting_cursor *cursor)
{
    const uint32_t *remap = w->remap[source];
    uint32_t limit = w->sources[source].doc_limit, target = 0;

    while (target < limit) {
        const struct posting_block *block = &cursor->block;
        int code = cursor->ops->load(cursor, target, w->err);

        if (code != 0 || block->count == 0)
            return code;
        for (uint32_t i = 0; i < block->count && block->docs[i] < limit; i++) {
            if (remap[block->docs[i]] == POSTING_END)
                continue;
            code = list_add(w, cursor, i, remap[block->docs[i]]);
            if (code != 0)
                return code;
        }
        target = block->docs[block->count - 1] + 1;
    }
    return 0;
}

/* A list of one block: into the term's value; its positions too when they are few, else to their own row. */
static int list_inline(struct writer *w, struct disk_term *term)
{
    struct list *list = w->list;
    struct disk_key key;
    int code = 0;

    buf_clear(&w->post);
    codec_put_block(&w->post, list->docs, list->freqs, list->count, 0);
    if (list->positional) {
        size_t block = w->post.size;

        codec_put_positions(&w->post, list->freqs, list->position_counts, list->positions, list->count);
        if (w->post.size - block <= INLINE_POSITIONS_MAX) {
            term->flags |= DISK_TERM_POSITIONS_INLINE;
        } else {
            struct codec_postings postings = list_postings(list, list->count);
            struct posting_bounds bounds;
            struct buf unused = {0};

            w->post.size = block;
            buf_clear(&w->pos);
            codec_put_chunk(&unused, &w->pos, &postings, &bounds);
            buf_deinit(&unused);
            disk_key_chunk(&key, w->id, w->next_term_id, list->docs[0]);
            code = writer_put(w, STORE_POS, &key, &w->pos);
        }
    }
    term->rest = buf_bytes(&w->post);
    return code;
}

static int list_finish(struct writer *w)
{
    struct list *list = w->list;
    struct disk_term term = {.df = (uint32_t)list->df, .id = w->next_term_id};
    struct disk_key key;
    int code = 0;

    if (list->df == 0)
        return 0; /* only the dead bore it */
    if (list->positional)
        term.flags |= DISK_TERM_POSITIONS;
    if (list->chunk_count == 0 && list->count <= POSTING_BLOCK) {
        code = list_inline(w, &term);
    } else {
        term.flags |= DISK_TERM_CHUNKED;
        if (list->count > 0)
            code = list_chunk(w, list->count);
        term.chunk_count = list->chunk_count;
        term.total_frequency = list->total_frequency;
        buf_clear(&w->post);
        disk_put_directory(&w->post, list->chunks, list->chunk_count);
        term.rest = buf_bytes(&w->post);
    }
    if (code != 0)
        return code;
    w->next_term_id += disk_term_has_rows(term.flags);
    w->header.terms++;
    w->header.postings += list->df;
    buf_clear(&w->value);
    disk_put_term(&w->value, &term);
    disk_key_term(&key, w->id, list->token);
    return writer_put(w, STORE_TERM, &key, &w->value);
}

static void list_begin(struct writer *w, struct segment_token token)
{
    struct list *list = w->list;

    list->token = token;
    list->positional = token.field == TEXT_FIELD_ALL;
    list->count = 0;
    list->position_count = 0;
    list->df = list->total_frequency = 0;
    list->chunk_count = 0;
}

/* ---- the heap of sources, by (next token, number) ---- */

struct head {
    struct segment_terms *terms;
    struct segment_token token;
    uint32_t source;
};

static int token_compare(struct segment_token a, struct segment_token b)
{
    return a.field != b.field ? (a.field < b.field ? -1 : 1) : bytes_compare(a.text, b.text);
}

static bool head_before(const struct head *a, const struct head *b)
{
    int order = token_compare(a->token, b->token);

    return order != 0 ? order < 0 : a->source < b->source;
}

static void heap_sift(struct head *heap, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t least = at, child = 2 * at + 1;
        struct head swap;

        for (uint32_t i = child; i < child + 2 && i < count; i++)
            if (head_before(&heap[i], &heap[least]))
                least = i;
        if (least == at)
            return;
        swap = heap[at];
        heap[at] = heap[least];
        heap[least] = swap;
        at = least;
    }
}

/* The smallest source goes on to its next token, or leaves. */
static int heap_next(struct head *heap, uint32_t *count, struct err *err)
{
    struct segment_terms *terms = heap[0].terms;
    int code = terms->ops->next(terms, err);

    if (code != 0)
        return code;
    if (terms->ops->valid(terms)) {
        heap[0].token = terms->ops->token(terms);
    } else {
        terms->ops->close(terms);
        heap[0] = heap[--*count];
    }
    heap_sift(heap, *count, 0);
    return 0;
}

static int heap_open(struct writer *w, struct head *heap, uint32_t *count)
{
    for (uint32_t i = 0; i < w->source_count; i++) {
        struct segment *segment = w->sources[i].segment;
        struct segment_terms *terms;
        int code = segment->ops->terms(segment, (struct segment_token){0}, &terms, w->err);

        if (code != 0)
            return code;
        if (!terms->ops->valid(terms)) {
            terms->ops->close(terms);
            continue;
        }
        heap[(*count)++] = (struct head){terms, terms->ops->token(terms), i};
    }
    for (uint32_t i = *count / 2; i-- > 0;)
        heap_sift(heap, *count, i);
    return 0;
}

/* All lists of the smallest token. Its text is copied: it goes with the iterator's next step. */
static int merge_token(struct writer *w, struct head *heap, uint32_t *count)
{
    uint8_t text[UINT8_MAX];
    struct segment_token token = heap[0].token;
    int code = 0;

    assert(token.text.size <= sizeof(text));
    if (token.text.size > 0)
        memcpy(text, token.text.data, token.text.size);
    token.text.data = text;
    list_begin(w, token);
    while (code == 0 && *count > 0 && token_compare(heap[0].token, token) == 0) {
        struct posting_cursor *cursor;

        code = heap[0].terms->ops->postings(heap[0].terms, &cursor, w->err);
        if (code == 0)
            code = list_drain(w, heap[0].source, cursor);
        posting_close(cursor);
        if (code == 0)
            code = heap_next(heap, count, w->err);
    }
    return code == 0 ? list_finish(w) : code;
}

static int write_lists(struct writer *w)
{
    struct head *heap = calloc(w->source_count + 1, sizeof(*heap));
    uint32_t count = 0;
    int code;

    w->list = calloc(1, sizeof(*w->list));
    if (heap == NULL || w->list == NULL) {
        free(heap);
        return nomem(w->err);
    }
    code = heap_open(w, heap, &count);
    while (code == 0 && count > 0)
        code = merge_token(w, heap, &count);
    for (uint32_t i = 0; i < count; i++)
        heap[i].terms->ops->close(heap[i].terms);
    free(heap);
    return code;
}

/* ---- all of it ---- */

static int write_header(struct writer *w)
{
    struct disk_header header = w->header;
    struct buf payload = {0};
    int code;

    disk_put_header(&payload, &header);
    code = writer_page(w, DISK_HEADER, 0, &payload);
    buf_deinit(&payload);
    return code == 0 ? writer_send(w) : code;
}

static void writer_deinit(struct writer *w)
{
    if (w->list != NULL) {
        free(w->list->positions);
        free(w->list->chunks);
    }
    free(w->list);
    free(w->norms);
    buf_deinit(&w->value);
    buf_deinit(&w->post);
    buf_deinit(&w->pos);
    store_batch_destroy(w->batch);
}

/* Whatever was written goes; what else goes wrong here is less interesting than the first error. */
static void writer_take_back(struct writer *w)
{
    struct store_batch *batch = store_batch_create();

    disk_segment_remove(w->store, batch, w->id);
    (void)store_write(w->store, batch, NULL);
    store_batch_destroy(batch);
}

int disk_segment_write(struct store *store, uint64_t id, const struct view_segment *sources, uint32_t count,
                       uint32_t **remap, bool (*pause)(void *data, size_t bytes), void *data, struct err *err)
{
    struct writer w = {.store = store,
                       .id = id,
                       .sources = sources,
                       .source_count = count,
                       .pause = pause,
                       .pause_data = data,
                       .err = err};
    int code;

    for (uint32_t i = 0; i < count && remap != NULL; i++)
        remap[i] = NULL;
    w.remap = calloc(count + 1, sizeof(*w.remap));
    if (w.remap == NULL)
        return nomem(err);
    w.batch = store_batch_create();
    code = number_documents(&w);
    if (code == 0)
        code = write_documents(&w);
    if (code == 0)
        code = write_lists(&w);
    if (code == 0)
        code = write_header(&w);
    if (code != 0)
        writer_take_back(&w);
    for (uint32_t i = 0; i < count; i++) {
        if (code == 0 && remap != NULL)
            remap[i] = w.remap[i];
        else
            free(w.remap[i]);
    }
    free(w.remap);
    writer_deinit(&w);
    return code;
}
