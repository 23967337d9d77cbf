/* Reading the lists of a disk segment. Rows: disk_format.c; chunks: posting_codec.c.
 *
 * A cursor keeps the chunk that it is in pinned in the block cache, with its directory decoded; a
 * move within the chunk decodes one block. The directory of chunks comes with the term, so chunks
 * in between are never read.
 *
 * Bounds of blocks are in the chunks. For a chunk that is not loaded, bounds() answers with those
 * of the whole chunk, from the directory: enough to pass over it without reading it, and once it is
 * loaded the answers are those of its blocks.
 */
#include "shard/disk_reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct position_state {
    bool loaded; /* positions of the chunk (inline: of the list) are at hand */
    bool opened; /* those of the current block are opened */
    struct store_value value;
    struct codec_position_chunk chunk;
    struct codec_positions block;
    uint32_t *buffer;
    uint32_t buffer_size;
};

struct disk_cursor {
    struct posting_cursor base;
    struct disk_segment *segment;
    struct disk_term term;            /* rest: into `inline_bytes` */
    struct position_state *positions; /* made when first asked for */

    /* Inline. */
    uint8_t *inline_bytes;
    struct bytes inline_positions;
    bool inline_bounds_known;
    struct posting_bounds inline_bounds;

    /* Chunked. */
    struct disk_chunk_entry *chunks;
    uint32_t at;    /* the chunk that was reached */
    bool loaded;    /* it is at hand */
    uint32_t block; /* within it, the decoded one */
    struct store_value value;
    struct codec_chunk chunk;
};

static struct disk_cursor *cursor_of(struct posting_cursor *cursor)
{
    return (struct disk_cursor *)cursor;
}

static int corrupt(struct err *err, const struct disk_cursor *c, const char *what)
{
    return err_set(err, ERR_CORRUPT, "segment %llu, list %u, chunk %u: %s",
                   (unsigned long long)c->segment->base.id, c->term.id, c->at, what);
}

static void cursor_forget_positions(struct disk_cursor *c, bool chunk_too)
{
    if (c->positions == NULL)
        return;
    c->positions->opened = false;
    if (chunk_too && c->positions->loaded) {
        store_value_release(&c->positions->value);
        c->positions->loaded = false;
    }
}

/* ---- inline lists ---- */

static int inline_load(struct posting_cursor *cursor, uint32_t target, struct err *err)
{
    struct disk_cursor *c = cursor_of(cursor);
    struct reader reader;

    reader_init(&reader, c->term.rest);
    if (!codec_get_block(&reader, c->term.df, 0, &cursor->block) ||
        cursor->block.docs[c->term.df - 1] >= c->segment->header.documents) {
        cursor->block.count = 0;
        return corrupt(err, c, "malformed inline list");
    }
    c->inline_positions = bytes_of(reader.at, reader_left(&reader));
    if (cursor->block.docs[cursor->block.count - 1] < target)
        cursor->block.count = 0;
    return 0;
}

static bool inline_bounds(struct posting_cursor *cursor, uint32_t target,
                          struct posting_bounds *out)
{
    struct disk_cursor *c = cursor_of(cursor);

    if (!c->inline_bounds_known) {
        struct posting_block block;
        uint8_t norms[POSTING_BLOCK];
        struct reader reader;

        reader_init(&reader, c->term.rest);
        if (!codec_get_block(&reader, c->term.df, 0, &block) ||
            block.docs[block.count - 1] >= c->segment->header.documents) {
            /* Nothing is ruled out: load() is then called, and tells. */
            *out = (struct posting_bounds){.last_doc = POSTING_END - 1, .count = 1};
            out->pair[0].freq = UINT32_MAX;
            return true;
        }
        for (uint32_t i = 0; i < block.count; i++)
            norms[i] = c->segment->norms[block.docs[i]];
        posting_bounds_build(block.freqs, norms, block.count, &c->inline_bounds);
        c->inline_bounds.last_doc = block.docs[block.count - 1];
        c->inline_bounds_known = true;
    }
    *out = c->inline_bounds;
    return out->last_doc >= target;
}

/* ---- chunked lists ---- */

/* The first chunk from the current one on that ends at the target or behind it. */
static uint32_t chunk_find(const struct disk_cursor *c, uint32_t target)
{
    uint32_t low = c->at, high = c->term.chunk_count;

    if (low < high && c->chunks[low].bounds.last_doc >= target)
        return low;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (c->chunks[middle].bounds.last_doc < target)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void chunk_unload(struct disk_cursor *c)
{
    cursor_forget_positions(c, true);
    if (c->loaded)
        store_value_release(&c->value);
    c->loaded = false;
}

static int chunk_load(struct disk_cursor *c, uint32_t number, struct err *err)
{
    const struct disk_chunk_entry *entry = &c->chunks[number];
    struct disk_key key;
    bool found;
    int code;

    chunk_unload(c);
    c->at = number;
    disk_key_chunk(&key, c->segment->base.id, c->term.id, entry->first_doc);
    code = store_get(c->segment->store, STORE_POST, disk_key_bytes(&key), &c->value, &found, err);
    if (code != 0)
        return code;
    if (!found)
        return corrupt(err, c, "postings are missing");
    c->loaded = true;
    if (!codec_chunk_open(c->value.bytes, entry->first_doc, &c->chunk) ||
        c->chunk.count != entry->count ||
        c->chunk.bounds[c->chunk.block_count - 1].last_doc != entry->bounds.last_doc) {
        chunk_unload(c);
        return corrupt(err, c, "damaged postings");
    }
    return 0;
}

static int chunked_load(struct posting_cursor *cursor, uint32_t target, struct err *err)
{
    struct disk_cursor *c = cursor_of(cursor);
    uint32_t number = chunk_find(c, target);
    int code;

    cursor->block.count = 0;
    if (number == c->term.chunk_count) {
        chunk_unload(c);
        c->at = number;
        return 0;
    }
    if (number != c->at || !c->loaded) {
        code = chunk_load(c, number, err);
        if (code != 0)
            return code;
    }
    cursor_forget_positions(c, false);
    c->block = codec_chunk_find(&c->chunk, target);
    assert(c->block < c->chunk.block_count); /* its last document is the chunk's */
    if (!codec_chunk_decode(&c->chunk, c->block, &cursor->block)) {
        cursor->block.count = 0;
        return corrupt(err, c, "damaged block");
    }
    return 0;
}

static bool chunked_bounds(struct posting_cursor *cursor, uint32_t target,
                           struct posting_bounds *out)
{
    const struct disk_cursor *c = cursor_of(cursor);
    uint32_t number = chunk_find(c, target);

    if (number == c->term.chunk_count)
        return false;
    *out = number == c->at && c->loaded ? c->chunk.bounds[codec_chunk_find(&c->chunk, target)]
                                        : c->chunks[number].bounds;
    return true;
}

/* ---- positions ---- */

/* The chunk of positions that belongs to the current chunk, or to the inline list. */
static int positions_load(struct disk_cursor *c, struct err *err)
{
    struct position_state *p = c->positions;
    bool chunked = c->term.flags & DISK_TERM_CHUNKED;
    uint32_t first = chunked ? c->chunks[c->at].first_doc : c->base.block.docs[0], blocks;
    struct disk_key key;
    bool found;
    int code;

    disk_key_chunk(&key, c->segment->base.id, c->term.id, first);
    code = store_get(c->segment->store, STORE_POS, disk_key_bytes(&key), &p->value, &found, err);
    if (code != 0)
        return code;
    if (!found)
        return corrupt(err, c, "positions are missing");
    blocks = chunked ? c->chunk.block_count : 1;
    if (!codec_position_chunk_open(p->value.bytes, blocks, &p->chunk)) {
        store_value_release(&p->value);
        return corrupt(err, c, "damaged positions");
    }
    p->loaded = true;
    return 0;
}

static int positions_open(struct disk_cursor *c, struct err *err)
{
    struct position_state *p = c->positions;
    struct bytes bytes = c->inline_positions;
    int code;

    if (!(c->term.flags & DISK_TERM_POSITIONS_INLINE)) {
        if (!p->loaded) {
            code = positions_load(c, err);
            if (code != 0)
                return code;
        }
        bytes =
            codec_position_chunk_block(&p->chunk, c->term.flags & DISK_TERM_CHUNKED ? c->block : 0);
    }
    if (!codec_positions_open(bytes, &c->base.block, &p->block))
        return corrupt(err, c, "malformed positions");
    p->opened = true;
    return 0;
}

static int disk_positions(struct posting_cursor *cursor, uint32_t index, const uint32_t **positions,
                          uint32_t *count, struct err *err)
{
    struct disk_cursor *c = cursor_of(cursor);
    struct position_state *p;
    uint32_t n;

    assert(index < cursor->block.count);
    *positions = NULL;
    *count = 0;
    if (!(c->term.flags & DISK_TERM_POSITIONS))
        return 0;
    if (c->positions == NULL && (c->positions = calloc(1, sizeof(*c->positions))) == NULL)
        return err_set(err, ERR_NOMEM, "positions: out of memory");
    p = c->positions;
    if (!p->opened) {
        int code = positions_open(c, err);

        if (code != 0)
            return code;
    }
    n = codec_positions_count(&p->block, index);
    if (n > p->buffer_size) {
        uint32_t *bigger = realloc(p->buffer, (size_t)n * sizeof(*bigger));

        if (bigger == NULL)
            return err_set(err, ERR_NOMEM, "positions: out of memory");
        p->buffer = bigger;
        p->buffer_size = n;
    }
    if (!codec_positions_get(&p->block, index, p->buffer))
        return corrupt(err, c, "malformed positions");
    *positions = p->buffer;
    *count = n;
    return 0;
}

static void disk_close(struct posting_cursor *cursor)
{
    struct disk_cursor *c = cursor_of(cursor);

    chunk_unload(c);
    cursor_forget_positions(c, true); /* of an inline list */
    if (c->positions != NULL)
        free(c->positions->buffer);
    free(c->positions);
    free(c->inline_bytes);
    free(c->chunks);
    free(c);
}

static const struct posting_cursor_ops inline_ops = {
    .load = inline_load,
    .bounds = inline_bounds,
    .positions = disk_positions,
    .close = disk_close,
};

static const struct posting_cursor_ops chunked_ops = {
    .load = chunked_load,
    .bounds = chunked_bounds,
    .positions = disk_positions,
    .close = disk_close,
};

/* ---- opening ---- */

static int cursor_fill(struct disk_cursor *c, struct bytes value, struct err *err)
{
    if (!disk_get_term(value, &c->term))
        return corrupt(err, c, "damaged term");
    c->base.df = c->term.df;
    if (!(c->term.flags & DISK_TERM_CHUNKED)) {
        c->base.ops = &inline_ops;
        c->inline_bytes = malloc(c->term.rest.size + 1);
        if (c->inline_bytes == NULL)
            return err_set(err, ERR_NOMEM, "postings: out of memory");
        memcpy(c->inline_bytes, c->term.rest.data, c->term.rest.size);
        c->term.rest.data = c->inline_bytes;
        return 0;
    }
    c->base.ops = &chunked_ops;
    c->chunks = malloc(c->term.chunk_count * sizeof(*c->chunks));
    if (c->chunks == NULL)
        return err_set(err, ERR_NOMEM, "postings: out of memory");
    if (!disk_get_directory(&c->term, (uint32_t)c->segment->header.documents, c->chunks))
        return corrupt(err, c, "damaged directory of chunks");
    c->term.rest = (struct bytes){0};
    return 0;
}

static int cursor_create(struct disk_segment *s, struct bytes value, struct posting_cursor **out,
                         struct err *err)
{
    struct disk_cursor *c = calloc(1, sizeof(*c));
    int code;

    *out = NULL;
    if (c == NULL)
        return err_set(err, ERR_NOMEM, "postings: out of memory");
    c->segment = s;
    code = cursor_fill(c, value, err);
    if (code != 0) {
        disk_close(&c->base);
        return code;
    }
    *out = &c->base;
    return 0;
}

int disk_postings(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                  struct posting_cursor **out, struct err *err)
{
    struct disk_segment *s = disk_segment_of(segment);
    struct store_value value;
    struct disk_key key;
    bool found;
    int code;

    *out = NULL;
    disk_key_term(&key, segment->id, token);
    code = store_get(s->store, STORE_TERM, disk_key_bytes(&key), &value, &found, err);
    if (code != 0 || !found)
        return code;
    code = cursor_create(s, value.bytes, out, err);
    store_value_release(&value);
    return code;
}

int disk_frequency(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                   uint32_t *df, struct err *err)
{
    struct disk_segment *s = disk_segment_of(segment);
    struct store_value value;
    struct disk_term term;
    struct disk_key key;
    bool found, good;
    int code;

    *df = 0;
    disk_key_term(&key, segment->id, token);
    code = store_get(s->store, STORE_TERM, disk_key_bytes(&key), &value, &found, err);
    if (code != 0 || !found)
        return code;
    good = disk_get_term(value.bytes, &term);
    *df = term.df;
    store_value_release(&value);
    return good ? 0
                : err_set(err, ERR_CORRUPT, "segment %llu: damaged term",
                          (unsigned long long)segment->id);
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
    if (disk_key_token(store_iterator_key(t->it), &t->token) &&
        disk_get_term(store_iterator_value(t->it), &t->term))
        return 0;
    t->valid = false;
    return err_set(err, ERR_CORRUPT, "segment %llu: damaged term",
                   (unsigned long long)t->segment->base.id);
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

    return cursor_create(t->segment, store_iterator_value(t->it), out, err);
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

int disk_terms(struct segment *segment, struct segment_token from, struct segment_terms **out,
               struct err *err)
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
    disk_key_term(&first, segment->id, from);
    disk_key_segment(&end, segment->id + 1);
    t->it = store_iterate(s->store, STORE_TERM, disk_key_bytes(&first), disk_key_bytes(&end));
    code = terms_settle(t, err);
    if (code != 0) {
        terms_close(&t->base);
        return code;
    }
    *out = &t->base;
    return 0;
}
