/* The statistics round: document frequencies of tokens, and the words that prefixes and near
 * spellings stand for.
 *
 * An expansion is the first `limit + 1` of the tokens that match, by (distance, token), among those
 * that a live entry bears. Each of those first ones of the whole collection is among the first ones
 * of every range that has it at all, so merging the ranges' lists and adding up frequencies gives
 * the same list, and the same frequencies, however the entries are spread (promise P2).
 *
 * The indexed tokens are stems, what is typed is not: a node's first token is what was typed,
 * folded, and its second one, when there is one, the stem of that. A prefix stands for all tokens
 * that begin with the typed one, and for the stem itself; a near spelling is near when it is near
 * either.
 */
#include "proto/limits.h"
#include "shard/distance.h"
#include "shard/nearest.h"
#include "shard/search.h"
#include "shard/search_plan.h"

/* All tokens of a view from a place on, in order, each once. */
struct token_walk {
    const struct view *view;
    struct segment_terms **terms; /* of each segment; NULL at its end */
    struct buf token;             /* the current one */
    uint8_t field;
};

static int compare_tokens(struct segment_token a, struct segment_token b)
{
    if (a.field != b.field)
        return a.field < b.field ? -1 : 1;
    return bytes_compare(a.text, b.text);
}

static void walk_close(struct token_walk *walk)
{
    for (uint32_t i = 0; i < walk->view->segment_count; i++)
        if (walk->terms[i])
            walk->terms[i]->ops->close(walk->terms[i]);
    buf_deinit(&walk->token);
}

static int walk_open(struct token_walk *walk, const struct view *view, struct segment_token from,
                     struct arena *arena, struct err *err)
{
    *walk = (struct token_walk){.view = view};
    walk->terms = arena_calloc(arena, view->segment_count + 1, sizeof(struct segment_terms *));
    if (!walk->terms)
        return err_set(err, ERR_NOMEM, "out of memory for an expansion");
    for (uint32_t i = 0; i < view->segment_count; i++) {
        struct segment *segment = view->segments[i].segment;
        int status = segment->ops->terms(segment, from, &walk->terms[i], err);
        if (status) {
            walk->terms[i] = NULL;
            walk_close(walk);
            return status;
        }
    }
    return 0;
}

/* To the next token; *found = false at the end. */
static int walk_next(struct token_walk *walk, bool *found, struct err *err)
{
    struct segment_token lowest = {0};
    *found = false;
    for (uint32_t i = 0; i < walk->view->segment_count; i++) {
        struct segment_terms *terms = walk->terms[i];
        if (!terms || !terms->ops->valid(terms))
            continue;
        struct segment_token token = terms->ops->token(terms);
        if (!*found || compare_tokens(token, lowest) < 0)
            lowest = token;
        *found = true;
    }
    if (!*found)
        return 0;
    buf_clear(&walk->token);
    buf_append_bytes(&walk->token, lowest.text);
    walk->field = lowest.field;
    lowest.text = buf_bytes(&walk->token);
    for (uint32_t i = 0; i < walk->view->segment_count; i++) {
        struct segment_terms *terms = walk->terms[i];
        if (!terms || !terms->ops->valid(terms) || compare_tokens(terms->ops->token(terms), lowest))
            continue;
        int status = terms->ops->next(terms, err);
        if (status)
            return status;
    }
    return 0;
}

struct expander {
    const struct view *view;
    struct arena *arena;
    uint8_t space;
    uint32_t distance; /* 0: prefix */
    struct bytes typed, stem;
    struct distance_word *typed_word, *stem_word, *other;
    struct nearest nearest;
};

static int consider(struct expander *expander, struct bytes token, uint32_t distance,
                    struct err *err)
{
    if (!nearest_wants(&expander->nearest, distance, token))
        return 0;
    struct segment_token wanted = {.field = expander->space, .text = token};
    struct nearest_item item = {.distance = distance, .text = token};
    int status = view_frequency(expander->view, wanted, &item.number, err);
    if (status || item.number == 0)
        return status;
    return nearest_add(&expander->nearest, &item)
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for an expansion");
}

/* Near spellings keep the first letter: of what was typed, or of its stem. */
static uint32_t distance_to(const struct expander *expander, const struct distance_word *word)
{
    const struct distance_word *other = expander->other;
    if (word->count == 0 || other->count == 0 || word->points[0] != other->points[0])
        return expander->distance + 1;
    return distance_between(word, other, expander->distance);
}

static uint32_t token_distance(struct expander *expander, struct bytes token)
{
    if (expander->distance == 0)
        return 0;
    distance_word_init(expander->other, token);
    uint32_t typed = distance_to(expander, expander->typed_word);
    uint32_t stem = distance_to(expander, expander->stem_word);
    return typed < stem ? typed : stem;
}

/* Over the tokens that begin with `prefix`. */
static int expand_run(struct expander *expander, struct bytes prefix, struct err *err)
{
    struct token_walk walk;
    struct segment_token from = {.field = expander->space, .text = prefix};
    int status = walk_open(&walk, expander->view, from, expander->arena, err);
    if (status)
        return status;
    for (;;) {
        bool found;
        status = walk_next(&walk, &found, err);
        if (status || !found || walk.field != expander->space ||
            !bytes_has_prefix(buf_bytes(&walk.token), prefix))
            break;
        if (expander->distance == 0 && expander->nearest.count == expander->nearest.limit)
            break; /* in token order: nothing further on gets in */
        uint32_t distance = token_distance(expander, buf_bytes(&walk.token));
        if (distance <= expander->distance)
            status = consider(expander, buf_bytes(&walk.token), distance, err);
        if (status)
            break;
    }
    walk_close(&walk);
    return status;
}

static int expand(struct expander *expander, struct err *err)
{
    if (expander->distance == 0) {
        int status = expand_run(expander, expander->typed, err);
        if (!status && expander->stem.size && !bytes_has_prefix(expander->stem, expander->typed))
            status = consider(expander, expander->stem, 0, err);
        return status;
    }
    struct bytes letter = distance_first_letter(expander->typed);
    struct bytes other = distance_first_letter(expander->stem);
    int status = expand_run(expander, letter, err);
    /* Few stemmers touch a first letter; then the tokens near the stem are elsewhere. */
    if (!status && other.size && !bytes_equal(letter, other))
        status = expand_run(expander, other, err);
    return status;
}

static int expander_init(struct expander *expander, const struct view *view,
                         const Quire__QueryNode *node, uint32_t limit, struct arena *arena,
                         struct err *err)
{
    *expander = (struct expander){.view = view, .arena = arena, .space = plan_space(node->field)};
    expander->typed = bytes_of(node->tokens[0].data, node->tokens[0].len);
    if (node->n_tokens > 1)
        expander->stem = bytes_of(node->tokens[1].data, node->tokens[1].len);
    if (node->op == QUIRE__QUERY_NODE__OP__FUZZY)
        expander->distance = node->distance;
    struct distance_word *words = arena_alloc(arena, 3 * sizeof *words);
    if (!words || !nearest_init(&expander->nearest, (size_t)limit + 1, arena))
        return err_set(err, ERR_NOMEM, "out of memory for an expansion");
    expander->typed_word = words;
    expander->stem_word = words + 1;
    expander->other = words + 2;
    distance_word_init(expander->typed_word, expander->typed);
    distance_word_init(expander->stem_word, expander->stem);
    return 0;
}

static Quire__TokenStat *make_stat(uint32_t field, struct bytes token, uint64_t df,
                                   struct arena *arena)
{
    Quire__TokenStat *stat = arena_alloc(arena, sizeof *stat);
    uint8_t *copy = arena_copy(arena, token.size ? token.data : (const uint8_t *)"", token.size);
    if (!stat || !copy)
        return NULL;
    quire__token_stat__init(stat);
    stat->field = field;
    stat->token = (ProtobufCBinaryData){token.size, copy};
    stat->document_frequency = df;
    return stat;
}

static Quire__Expansion *make_expansion(uint32_t index, struct expander *expander)
{
    struct nearest *nearest = &expander->nearest;
    nearest_sort(nearest);
    struct arena *arena = expander->arena;
    Quire__Expansion *expansion = arena_alloc(arena, sizeof *expansion);
    if (!expansion)
        return NULL;
    quire__expansion__init(expansion);
    expansion->node = index;
    expansion->tokens = arena_alloc(arena, (nearest->count + 1) * sizeof *expansion->tokens);
    expansion->distances = arena_alloc(arena, (nearest->count + 1) * sizeof *expansion->distances);
    if (!expansion->tokens || !expansion->distances)
        return NULL;
    for (size_t i = 0; i < nearest->count; i++) {
        const struct nearest_item *item = &nearest->items[i];
        expansion->tokens[i] = make_stat(expander->space, item->text, item->number, arena);
        expansion->distances[i] = item->distance;
        if (!expansion->tokens[i])
            return NULL;
    }
    expansion->n_tokens = expansion->n_distances = nearest->count;
    return expansion;
}

static int expand_all(struct view *view, const Quire__ShardStats *request, struct arena *arena,
                      Quire__RangeStats *out, struct err *err)
{
    if (request->n_expand > LIMIT_QUERY_EXPANSIONS)
        return err_set(err, ERR_TOO_LARGE, "%zu prefixes and near spellings in a query (limit %d)",
                       request->n_expand, LIMIT_QUERY_EXPANSIONS);
    uint32_t limit = request->has_expand_limit ? request->expand_limit : LIMIT_EXPANSION;
    limit = limit < LIMIT_EXPANSION ? limit : LIMIT_EXPANSION;
    out->expansions = arena_alloc(arena, (request->n_expand + 1) * sizeof *out->expansions);
    if (!out->expansions)
        return err_set(err, ERR_NOMEM, "out of memory for an expansion");
    for (size_t i = 0; i < request->n_expand; i++) {
        const Quire__QueryNode *node = request->expand[i];
        int status = search_check_node(node, i, err);
        if (status)
            return status;
        if (node->op != QUIRE__QUERY_NODE__OP__PREFIX && node->op != QUIRE__QUERY_NODE__OP__FUZZY)
            return err_set(err, ERR_INVALID, "node %zu cannot be expanded", i);
        struct expander expander;
        status = expander_init(&expander, view, node, limit, arena, err);
        if (!status)
            status = expand(&expander, err);
        if (status)
            return status;
        out->expansions[i] = make_expansion((uint32_t)i, &expander);
        if (!out->expansions[i])
            return err_set(err, ERR_NOMEM, "out of memory for an expansion");
        out->n_expansions = i + 1;
    }
    return 0;
}

int search_statistics(struct view *view, const Quire__ShardStats *request, struct arena *arena,
                      Quire__RangeStats *out, struct err *err)
{
    quire__range_stats__init(out);
    out->seq = view->seq;
    out->documents = view->documents;
    out->total_length = view->total_length;
    out->frequencies = arena_calloc(arena, request->n_tokens + 1, sizeof *out->frequencies);
    if (!out->frequencies)
        return err_set(err, ERR_NOMEM, "out of memory for statistics");
    for (size_t i = 0; i < request->n_tokens; i++) {
        const Quire__TokenStat *asked = request->tokens[i];
        struct segment_token token = {.field = plan_space(asked->field),
                                      .text = bytes_of(asked->token.data, asked->token.len)};
        if (asked->field > TEXT_FIELD_BODY || token.text.size == 0 ||
            token.text.size > TEXT_TOKEN_BYTES)
            return err_set(err, ERR_INVALID, "token %zu is no token", i);
        int status = view_frequency(view, token, &out->frequencies[i], err);
        if (status)
            return status;
        out->n_frequencies = i + 1;
    }
    return expand_all(view, request, arena, out, err);
}
