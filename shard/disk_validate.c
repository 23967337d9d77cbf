/* Validation of a disk segment: every list read to its end, everything compared with everything. */
#include "shard/disk_reader.h"
#include "shard/disk_segment.h"

#include <inttypes.h>
#include <stdlib.h>

struct validation {
    struct disk_segment *segment;
    uint64_t terms, postings, post_rows, pos_rows;
    struct segment_token token;
    uint32_t block; /* number of the block in the list */
};

static int problem(const struct validation *v, struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "segment %" PRIu64 ", field %u, token \"%.*s\", block %u: %s",
                   v->segment->base.id, v->token.field, (int)v->token.text.size,
                   (const char *)v->token.text.data, v->block, what);
}

/* Whether element `at` of the level bounds the posting. */
static bool bounded(const struct posting_level *level, uint32_t at, uint32_t doc, uint32_t freq,
                    uint8_t norm)
{
    uint32_t from = at == 0 ? 0 : level->pair_end[at - 1];

    for (uint32_t i = from; i < level->pair_end[at]; i++)
        if (level->pair_freq[i] >= freq && level->pair_norm[i] <= norm)
            return doc <= level->last_doc[at];
    return false;
}

static int check_positions(struct validation *v, struct posting_cursor *cursor, struct err *err)
{
    for (uint32_t i = 0; i < cursor->block.count; i++) {
        const uint32_t *positions;
        uint32_t count;
        int code = cursor->ops->positions(cursor, i, &positions, &count, err);

        if (code != 0)
            return code;
        if ((count > 0) != (v->token.field == TEXT_FIELD_ALL))
            return problem(
                v, err, "positions where there should be none, or none where there should be some");
        for (uint32_t j = 1; j < count; j++)
            if (positions[j] < positions[j - 1])
                return problem(v, err, "positions do not rise");
    }
    return 0;
}

static int check_block(struct validation *v, struct posting_cursor *cursor, uint32_t *next_doc,
                       struct err *err)
{
    const struct posting_block *block = &cursor->block;
    uint32_t number = cursor->block_number;
    int code = posting_load_freqs(cursor, err);

    if (code != 0)
        return code;
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t doc = block->docs[i], freq = block->freqs[i];

        if (doc < *next_doc || doc >= v->segment->header.documents)
            return problem(v, err, "documents do not rise");
        if (!bounded(&cursor->blocks, number, doc, freq, v->segment->norms[doc]) ||
            !bounded(&cursor->chunks, cursor->chunk, doc, freq, v->segment->norms[doc]))
            return problem(v, err, "bounds do not hold");
        *next_doc = doc + 1;
    }
    if (cursor->blocks.last_doc[number] != block->docs[block->count - 1])
        return problem(v, err, "last document differs from that of the bounds");
    return check_positions(v, cursor, err);
}

static int check_list(struct validation *v, struct posting_cursor *cursor, struct err *err)
{
    uint32_t next_doc = 0, count = 0;
    int code = 0;

    v->block = 0;
    for (uint32_t chunk = 0; code == 0 && chunk < cursor->chunks.count; chunk++) {
        code = cursor->ops->enter(cursor, chunk, err);
        for (uint32_t i = 0; code == 0 && i < cursor->blocks.count; i++, v->block++) {
            code = cursor->ops->decode(cursor, i, err);
            if (code == 0)
                code = check_block(v, cursor, &next_doc, err);
            count += cursor->block.count;
        }
    }
    if (code != 0)
        return code;
    if (count != cursor->df)
        return problem(v, err, "frequency and list differ");
    v->postings += count;
    v->terms++;
    return 0;
}

/* How many rows of chunks the list should have. */
static int count_rows(struct validation *v, struct err *err)
{
    struct segment_token token = v->token;
    struct store_value value;
    struct disk_term term;
    struct disk_key key;
    bool found;
    int code;

    disk_key_term(&key, v->segment->base.id, token);
    code = store_get(v->segment->store, STORE_TERM, disk_key_bytes(&key), &value, &found, err);
    if (code != 0)
        return code;
    if (!found || !disk_get_term(value.bytes, &term)) {
        code = problem(v, err, "term is missing or damaged");
    } else {
        v->post_rows += term.chunk_count;
        if ((term.flags & DISK_TERM_POSITIONS) && !(term.flags & DISK_TERM_POSITIONS_INLINE))
            v->pos_rows += term.chunk_count == 0 ? 1 : term.chunk_count;
    }
    store_value_release(&value);
    return code;
}

static int check_lists(struct validation *v, struct err *err)
{
    struct segment *segment = &v->segment->base;
    struct segment_terms *terms;
    int code = segment->ops->terms(segment, NULL, &terms, err);

    while (code == 0 && terms->ops->valid(terms)) {
        struct posting_cursor *cursor = NULL;

        v->token = terms->ops->token(terms);
        v->block = 0;
        code = terms->ops->postings(terms, &cursor, err);
        if (code == 0)
            code = check_list(v, cursor, err);
        posting_close(cursor);
        if (code == 0)
            code = count_rows(v, err);
        if (code == 0)
            code = terms->ops->next(terms, err);
    }
    if (terms != NULL)
        terms->ops->close(terms);
    return code;
}

static int check_rows(struct validation *v, enum store_family family, uint64_t expected,
                      struct err *err)
{
    struct disk_key from, to;
    struct store_iterator *it;
    uint64_t rows = 0;
    int code;

    disk_key_segment(&from, v->segment->base.id);
    disk_key_segment(&to, v->segment->base.id + 1);
    it = store_iterate(v->segment->store, family, disk_key_bytes(&from), disk_key_bytes(&to));
    for (; store_iterator_valid(it); store_iterator_next(it))
        rows++;
    code = store_iterator_status(it, err);
    store_iterator_close(it);
    if (code == 0 && rows != expected)
        code = err_set(err, ERR_CORRUPT,
                       "segment %" PRIu64 ": %" PRIu64 " chunks of %s, but %" PRIu64 " are named",
                       v->segment->base.id, rows, family == STORE_POST ? "postings" : "positions",
                       expected);
    return code;
}

/* Columns were checked against their checksums when they were loaded; here their texts. */
static int check_columns(const struct validation *v, struct err *err)
{
    struct segment *segment = &v->segment->base;

    for (uint32_t doc = 0; doc < v->segment->header.documents; doc++) {
        uint32_t count;
        const uint32_t *ordinals = segment->ops->categories(segment, doc, &count);

        if (segment->ops->entry_key(segment, doc).size == 0)
            return err_set(err, ERR_CORRUPT, "segment %" PRIu64 ", document %u: empty entry key",
                           segment->id, doc);
        for (uint32_t i = 1; i < count; i++)
            if (ordinals[i] <= ordinals[i - 1])
                return err_set(err, ERR_CORRUPT,
                               "segment %" PRIu64 ", document %u: categories do not rise",
                               segment->id, doc);
    }
    return 0;
}

int disk_segment_validate(struct segment *segment, uint64_t *postings, struct err *err)
{
    struct validation v = {.segment = disk_segment_of(segment)};
    int code = check_columns(&v, err);

    *postings = 0;
    if (code == 0)
        code = check_lists(&v, err);
    if (code == 0)
        code = check_rows(&v, STORE_POST, v.post_rows, err);
    if (code == 0)
        code = check_rows(&v, STORE_POS, v.pos_rows, err);
    if (code == 0 &&
        (v.terms != v.segment->header.terms || v.postings != v.segment->header.postings))
        code = err_set(err, ERR_CORRUPT,
                       "segment %" PRIu64 ": %" PRIu64 " lists and %" PRIu64
                       " postings, but its header says %" PRIu64 " and %" PRIu64,
                       segment->id, v.terms, v.postings, v.segment->header.terms,
                       v.segment->header.postings);
    if (code == 0)
        *postings = v.postings;
    return code;
}
