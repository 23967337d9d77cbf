/* Writing a disk segment: from one memory segment (a flush) or several segments of any kind (a
 * merge).
 *
 * First the documents: the live ones of all sources get new numbers (disk_order.c), and their
 * columns are written page by page. Then the lists, in (field, token) order: a heap holds the
 * sources by their next token; the lists of all that have the smallest one become one
 * (disk_list_merge.c). Postings gather in buffers of at most two chunks. Rows of lists come in key
 * order and go to tables, one a family; rows of columns gather in a batch of a few megabytes. So
 * memory is bounded but for the map of document numbers (four bytes a document of the sources, by
 * category 12) and what disk_order.c and disk_list_merge.c say.
 *
 * The header is written last.
 */
#include "shard/disk_writer.h"

#include "shard/disk_segment.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES ((size_t)4 << 20)
#define PAUSE_BYTES ((size_t)1 << 20)

int disk_writer_nomem(struct disk_writer *w)
{
    return err_set(w->err, ERR_NOMEM, "write segment: out of memory");
}

/* ---- rows ---- */

static int writer_put_table(struct disk_writer *w, enum store_family family,
                            const struct disk_key *key, const struct buf *value)
{
    struct store_table **table = &w->tables[family];
    int code = *table != NULL ? 0 : store_table_create(w->store, family, table, w->err);

    return code != 0 ? code
                     : store_table_put(*table, disk_key_bytes(key), buf_bytes(value), w->err);
}

static int writer_pause(struct disk_writer *w)
{
    size_t bytes = w->unpaused;

    w->unpaused = 0;
    if (w->pause == NULL || w->pause(w->pause_data, bytes))
        return 0;
    return err_set(w->err, ERR_CANCELED, "write segment: canceled");
}

int disk_writer_put(struct disk_writer *w, enum store_family family, const struct disk_key *key,
                    const struct buf *value)
{
    int code = 0;

    if (family == STORE_DOC)
        store_batch_put(w->batch, w->store, family, disk_key_bytes(key), buf_bytes(value));
    else
        code = writer_put_table(w, family, key, value);
    w->header.bytes += key->size + value->size;
    w->unpaused += key->size + value->size;
    if (code == 0 && store_batch_bytes(w->batch) >= BATCH_BYTES)
        code = store_write(w->store, w->batch, w->err);
    return code == 0 && w->unpaused >= PAUSE_BYTES ? writer_pause(w) : code;
}

int disk_writer_page(struct disk_writer *w, enum disk_column column, uint32_t page,
                     struct buf *payload)
{
    struct disk_key key;

    buf_clear(&w->value);
    disk_put_page(&w->value, payload);
    buf_clear(payload);
    disk_key_column(&key, w->id, column, page);
    return disk_writer_put(w, STORE_DOC, &key, &w->value);
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

static int heap_open(struct disk_writer *w, struct head *heap, uint32_t *count)
{
    for (uint32_t i = 0; i < w->source_count; i++) {
        struct segment *segment = w->sources[i].segment;
        struct segment_terms *terms;
        int code = segment->ops->terms(segment, NULL, &terms, w->err);

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
static int merge_token(struct disk_writer *w, struct head *heap, uint32_t *count)
{
    uint8_t text[UINT8_MAX];
    struct segment_token token = heap[0].token;
    int code = 0;

    assert(token.text.size <= sizeof(text));
    if (token.text.size > 0)
        memcpy(text, token.text.data, token.text.size);
    token.text.data = text;
    disk_list_begin(w, token);
    while (code == 0 && *count > 0 && token_compare(heap[0].token, token) == 0) {
        struct posting_cursor *cursor;

        code = heap[0].terms->ops->postings(heap[0].terms, &cursor, w->err);
        if (code == 0)
            code = disk_merge_source(w, heap[0].source, cursor);
        if (code == 0)
            code = heap_next(heap, count, w->err);
    }
    if (code == 0)
        code = disk_merge_drain(w);
    return code == 0 ? disk_list_finish(w) : code;
}

static int write_lists(struct disk_writer *w)
{
    struct head *heap = calloc(w->source_count + 1, sizeof(*heap));
    uint32_t count = 0;
    int code;

    if (heap == NULL)
        return disk_writer_nomem(w);
    code = disk_list_create(w);
    if (code == 0)
        code = disk_merge_create(w);
    if (code == 0)
        code = heap_open(w, heap, &count);
    while (code == 0 && count > 0)
        code = merge_token(w, heap, &count);
    for (uint32_t i = 0; i < count; i++)
        heap[i].terms->ops->close(heap[i].terms);
    free(heap);
    return code;
}

/* ---- all of it ---- */

/* Last: what is not complete has no header. */
static int write_header(struct disk_writer *w)
{
    struct disk_header header = w->header;
    struct buf payload = {0};
    int code;

    disk_put_header(&payload, &header);
    code = disk_writer_page(w, DISK_HEADER, 0, &payload);
    buf_deinit(&payload);
    return code == 0 ? store_write(w->store, w->batch, w->err) : code;
}

static int show_tables(struct disk_writer *w)
{
    int code = 0;

    for (int i = 0; i < STORE_FAMILIES && code == 0; i++)
        if (w->tables[i] != NULL)
            code = store_table_show(w->tables[i], w->err);
    return code == 0 ? writer_pause(w) : code;
}

static void writer_deinit(struct disk_writer *w)
{
    disk_list_destroy(w);
    disk_merge_destroy(w);
    free(w->norms);
    free(w->rising);
    buf_deinit(&w->value);
    buf_deinit(&w->post);
    buf_deinit(&w->pos);
    store_batch_destroy(w->batch);
    for (int i = 0; i < STORE_FAMILIES; i++)
        store_table_destroy(w->tables[i]);
}

/* Whatever was written goes; what else goes wrong here is less interesting than the first error. */
static void writer_take_back(struct disk_writer *w)
{
    struct store_batch *batch = store_batch_create();

    if (disk_segment_remove(w->store, batch, w->id, NULL) == 0)
        (void)store_write(w->store, batch, NULL);
    store_batch_destroy(batch);
}

static int write_all(struct disk_writer *w, enum segment_order order)
{
    int code = disk_writer_number(w, order);

    if (code == 0)
        code = disk_writer_columns(w);
    free(w->origins);
    w->origins = NULL;
    if (code == 0)
        code = write_lists(w);
    if (code == 0)
        code = show_tables(w);
    return code == 0 ? write_header(w) : code;
}

int disk_segment_write_by(enum segment_order order, struct store *store, uint64_t id,
                          const struct view_segment *sources, uint32_t count, uint32_t **remap,
                          bool (*pause)(void *data, size_t bytes), void *data, struct err *err)
{
    struct disk_writer w = {.store = store,
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
    w.rising = calloc(count + 1, sizeof(*w.rising));
    if (w.remap == NULL || w.rising == NULL) {
        free(w.remap);
        free(w.rising);
        return disk_writer_nomem(&w);
    }
    w.batch = store_batch_create();
    code = write_all(&w, order);
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

int disk_segment_write(struct store *store, uint64_t id, const struct view_segment *sources,
                       uint32_t count, uint32_t **remap, bool (*pause)(void *data, size_t bytes),
                       void *data, struct err *err)
{
    return disk_segment_write_by(SEGMENT_ORDER_ARRIVAL, store, id, sources, count, remap, pause,
                                 data, err);
}
