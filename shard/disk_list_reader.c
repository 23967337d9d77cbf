/* Cursors over the lists of a disk segment, and the iterator over its terms.
 *
 * A cursor reads an opened list (disk_list.h). The list's level of chunks comes with the term, so
 * chunks that evaluation passes over are never read; the level of blocks comes with the chunk. Of a
 * block, documents and frequencies are decoded when they are asked for, each apart; positions when
 * the first ones of a block are asked for, in a state that most cursors never make.
 */
#include "shard/disk_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct position_state {
    const struct disk_position_chunk *chunk; /* of the entered chunk; NULL: not asked for yet */
    void *own;                               /* the same, when it was read for this cursor */
    bool opened;                             /* those of the current block are opened */
    struct codec_positions block;
    uint32_t *buffer;
    uint32_t buffer_size;
};

struct disk_cursor {
    struct posting_cursor base;
    struct disk_segment *segment;
    struct disk_list *list;
    const struct disk_chunk *chunk; /* the entered one */
    void *own;                      /* the same, when it was read for this cursor */
    uint32_t doc_limit;
    struct reader freqs;              /* of the decoded block, unless has_freqs */
    struct position_state *positions; /* made when first asked for */
    void *memory;                     /* what free() wants: the cursor itself is aligned */
};

static struct disk_cursor *cursor_of(struct posting_cursor *cursor)
{
    return (struct disk_cursor *)cursor;
}

static int corrupt(struct err *err, const struct disk_cursor *c, const char *what)
{
    return disk_list_corrupt(c->segment, c->list, c->base.chunk, what, err);
}

static void cursor_forget_chunk(struct disk_cursor *c)
{
    c->base.chunk = POSTING_NONE;
    c->base.block_number = POSTING_NONE;
    c->base.block.count = 0;
    c->base.blocks = (struct posting_level){0};
    c->chunk = NULL;
    free(c->own);
    c->own = NULL;
    if (c->positions != NULL) {
        c->positions->opened = false;
        free(c->positions->own);
        c->positions->own = NULL;
        c->positions->chunk = NULL;
    }
}

static int disk_enter(struct posting_cursor *cursor, uint32_t number, struct err *err)
{
    struct disk_cursor *c = cursor_of(cursor);

    assert(number < cursor->chunks.count);
    cursor_forget_chunk(c);
    c->chunk = &c->list->inline_only;
    if (c->list->flags & DISK_TERM_CHUNKED) {
        int code = disk_chunk_get(c->segment, c->list, number, &c->chunk, &c->own, err);

        if (code != 0)
            return code;
    }
    cursor->chunk = number;
    cursor->blocks = c->chunk->blocks;
    return 0;
}

/* Takes away documents that the cursor must not show. */
static void block_cut(struct posting_block *block, uint32_t doc_limit)
{
    while (block->count > 0 && block->docs[block->count - 1] >= doc_limit)
        block->docs[--block->count] = POSTING_END;
}

static int disk_decode(struct posting_cursor *cursor, uint32_t number, struct err *err)
{
    struct disk_cursor *c = cursor_of(cursor);
    const struct disk_chunk *chunk = c->chunk;
    uint32_t next_doc = number == 0 ? chunk->first_doc : chunk->blocks.last_doc[number - 1] + 1;
    uint32_t count = codec_block_count(chunk->count, number);

    assert(number < chunk->blocks.count);
    cursor->index = 0;
    cursor->block_number = number;
    if (c->positions != NULL)
        c->positions->opened = false;
    reader_init(&c->freqs, bytes_of(chunk->bytes + chunk->offset[number],
                                    chunk->offset[number + 1] - chunk->offset[number]));
    if (!codec_get_docs(&c->freqs, count, next_doc, &cursor->block) ||
        cursor->block.docs[count - 1] != chunk->blocks.last_doc[number] ||
        (cursor->block.has_freqs && reader_left(&c->freqs) != 0)) {
        cursor->block.count = 0;
        cursor->block_number = POSTING_NONE;
        return corrupt(err, c, "damaged block");
    }
    if (cursor->block.docs[count - 1] >= c->doc_limit)
        block_cut(&cursor->block, c->doc_limit);
    return 0;
}

static int disk_freqs(struct posting_cursor *cursor, struct err *err)
{
    struct disk_cursor *c = cursor_of(cursor);
    uint32_t count = cursor->block.count;

    if (cursor->block.has_freqs || count == 0)
        return 0;
    cursor->block.count = codec_block_count(c->chunk->count, cursor->block_number);
    if (!codec_get_freqs(&c->freqs, &cursor->block) || reader_left(&c->freqs) != 0) {
        cursor->block.count = 0;
        cursor->block_number = POSTING_NONE;
        return corrupt(err, c, "damaged frequencies");
    }
    cursor->block.count = count;
    return 0;
}

/* ---- positions ---- */

/* Opens those of the current block. */
static int positions_open(struct disk_cursor *c, struct err *err)
{
    struct position_state *p = c->positions;
    struct bytes bytes = c->list->inline_positions;
    uint32_t count = c->base.block.count;
    bool good;
    int code = posting_load_freqs(&c->base, err);

    if (code == 0 && !(c->list->flags & DISK_TERM_POSITIONS_INLINE)) {
        uint32_t number = c->base.block_number;

        if (p->chunk == NULL)
            code = disk_positions_get(c->segment, c->list, c->base.chunk, &p->chunk, &p->own, err);
        if (code == 0)
            bytes = bytes_of(p->chunk->bytes + p->chunk->offset[number],
                             p->chunk->offset[number + 1] - p->chunk->offset[number]);
    }
    if (code != 0)
        return code;
    c->base.block.count = codec_block_count(c->chunk->count, c->base.block_number);
    good = codec_positions_open(bytes, &c->base.block, &p->block);
    c->base.block.count = count;
    p->opened = good;
    return good ? 0 : corrupt(err, c, "malformed positions");
}

static int positions_room(struct position_state *p, uint32_t count, struct err *err)
{
    uint32_t *bigger;

    if (count <= p->buffer_size)
        return 0;
    bigger = realloc(p->buffer, (size_t)count * sizeof(*bigger));
    if (bigger == NULL)
        return err_set(err, ERR_NOMEM, "positions: out of memory");
    p->buffer = bigger;
    p->buffer_size = count;
    return 0;
}

static int disk_positions(struct posting_cursor *cursor, uint32_t index, const uint32_t **positions,
                          uint32_t *count, struct err *err)
{
    struct disk_cursor *c = cursor_of(cursor);
    struct position_state *p;
    uint32_t n;
    int code = 0;

    assert(index < cursor->block.count);
    *positions = NULL;
    *count = 0;
    if (!(c->list->flags & DISK_TERM_POSITIONS))
        return 0;
    if (c->positions == NULL && (c->positions = calloc(1, sizeof(*c->positions))) == NULL)
        return err_set(err, ERR_NOMEM, "positions: out of memory");
    p = c->positions;
    if (!p->opened)
        code = positions_open(c, err);
    if (code != 0)
        return code;
    n = codec_positions_count(&p->block, index);
    code = positions_room(p, n, err);
    if (code != 0)
        return code;
    if (!codec_positions_get(&p->block, index, p->buffer))
        return corrupt(err, c, "malformed positions");
    *positions = p->buffer;
    *count = n;
    return 0;
}

static void disk_close(struct posting_cursor *cursor)
{
    struct disk_cursor *c = cursor_of(cursor);

    cursor_forget_chunk(c);
    if (c->positions != NULL)
        free(c->positions->buffer);
    free(c->positions);
    disk_list_unref(c->list);
    free(c->memory);
}

static const struct posting_cursor_ops disk_cursor_ops = {
    .enter = disk_enter,
    .decode = disk_decode,
    .freqs = disk_freqs,
    .positions = disk_positions,
    .close = disk_close,
};

/* ---- opening ---- */

/* Takes over the reference on the list, also when it fails. */
static int cursor_create(struct disk_segment *s, struct disk_list *list, uint32_t doc_limit,
                         struct posting_cursor **out, struct err *err)
{
    void *memory = malloc(sizeof(struct disk_cursor) + _Alignof(struct disk_cursor));
    uintptr_t aligned = ((uintptr_t)memory + _Alignof(struct disk_cursor) - 1) &
                        ~(uintptr_t)(_Alignof(struct disk_cursor) - 1);
    struct disk_cursor *c = (struct disk_cursor *)aligned;

    if (memory == NULL) {
        disk_list_unref(list);
        return err_set(err, ERR_NOMEM, "postings: out of memory");
    }
    c->memory = memory;
    c->segment = s;
    c->list = list;
    c->chunk = NULL;
    c->own = NULL;
    c->doc_limit = doc_limit;
    c->positions = NULL;
    posting_cursor_init(&c->base, &disk_cursor_ops, list->df, &list->chunks);
    *out = &c->base;
    return 0;
}

int disk_postings(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                  struct posting_cursor **out, struct err *err)
{
    struct disk_segment *s = disk_segment_of(segment);
    struct disk_list *list;
    int code = disk_list_find(s, token, &list, err);

    *out = NULL;
    if (code != 0)
        return code;
    if (list->df > 0)
        return cursor_create(s, list, doc_limit, out, err);
    disk_list_unref(list);
    return 0;
}

int disk_frequency(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                   uint32_t *df, struct err *err)
{
    struct disk_list *list;
    int code = disk_list_find(disk_segment_of(segment), token, &list, err);

    *df = 0;
    if (code != 0)
        return code;
    *df = list->df;
    disk_list_unref(list);
    return 0;
}

/* ---- terms ---- */

struct disk_terms {
    struct segment_terms base;
    struct disk_segment *segment;
    struct store_iterator *it;
    struct segment_token token;
    struct disk_term term;
    bool valid;
};

/* Looks at the row that the iterator stands on. */
static int terms_settle(struct disk_terms *t, struct err *err)
{
    t->valid = store_iterator_valid(t->it);
    if (!t->valid)
        return store_iterator_status(t->it, err);
    if (!disk_key_token(store_iterator_key(t->it), &t->token)) {
        t->valid = false;
        return err_set(err, ERR_CORRUPT, "segment %llu: damaged key of a term",
                       (unsigned long long)t->segment->base.id);
    }
    if (disk_get_term(store_iterator_value(t->it), &t->term))
        return 0;
    t->valid = false;
    return disk_term_corrupt(t->segment, t->token, "damaged term", err);
}

static bool terms_valid(const struct segment_terms *terms)
{
    return ((const struct disk_terms *)terms)->valid;
}

static struct segment_token terms_token(const struct segment_terms *terms)
{
    return ((const struct disk_terms *)terms)->token;
}

static int terms_next(struct segment_terms *terms, struct err *err)
{
    struct disk_terms *t = (struct disk_terms *)terms;

    store_iterator_next(t->it);
    return terms_settle(t, err);
}

static int terms_postings(struct segment_terms *terms, struct posting_cursor **out, struct err *err)
{
    struct disk_terms *t = (struct disk_terms *)terms;
    struct disk_list *list;
    int code = disk_list_open(t->segment, t->token, store_iterator_value(t->it), &list, err);

    *out = NULL;
    return code != 0 ? code : cursor_create(t->segment, list, POSTING_END, out, err);
}

static uint32_t terms_frequency(const struct segment_terms *terms)
{
    return ((const struct disk_terms *)terms)->term.df;
}

static void terms_close(struct segment_terms *terms)
{
    struct disk_terms *t = (struct disk_terms *)terms;

    store_iterator_close(t->it);
    free(t);
}

static const struct segment_terms_ops disk_terms_ops = {
    .valid = terms_valid,
    .token = terms_token,
    .next = terms_next,
    .postings = terms_postings,
    .frequency = terms_frequency,
    .close = terms_close,
};

int disk_terms(struct segment *segment, const struct segment_token *within,
               struct segment_terms **out, struct err *err)
{
    struct disk_segment *s = disk_segment_of(segment);
    struct disk_terms *t = calloc(1, sizeof(*t));
    struct disk_key first, end;
    int code;

    *out = NULL;
    if (t == NULL)
        return err_set(err, ERR_NOMEM, "terms: out of memory");
    t->base.ops = &disk_terms_ops;
    t->segment = s;
    if (within == NULL) {
        disk_key_segment(&first, segment->id);
        disk_key_segment(&end, segment->id + 1);
    } else {
        disk_key_term(&first, segment->id, *within);
        disk_key_behind(&first, &end);
    }
    t->it = store_iterate(s->store, STORE_TERM, disk_key_bytes(&first), disk_key_bytes(&end));
    code = terms_settle(t, err);
    if (code != 0) {
        terms_close(&t->base);
        return code;
    }
    *out = &t->base;
    return 0;
}
