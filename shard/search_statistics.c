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

/* The tokens of a view that begin with something, in order, each once. */
struct token_walk {
    const struct view *view;
    struct segment_terms **terms; /* of each segment; NULL at its end */
    struct buf token;             /* the current one */
    uint64_t df;                  /* its live document frequency */
    uint8_t field;
};

static void walk_close(struct token_walk *walk)
{
    for (uint32_t i = 0; i < walk->view->segment_count; i++)
        if (walk->terms[i])
            walk->terms[i]->ops->close(walk->terms[i]);
    buf_deinit(&walk->token);
}

static int walk_open(struct token_walk *walk, const struct view *view,
                     const struct segment_token *within, struct arena *arena, struct err *err)
{
    *walk = (struct token_walk){.view = view, .field = within->field};
    walk->terms = arena_calloc(arena, view->segment_count + 1, sizeof(struct segment_terms *));
    if (!walk->terms)
        return err_set(err, ERR_NOMEM, "out of memory for an expansion");
    for (uint32_t i = 0; i < view->segment_count; i++) {
        struct segment *segment = view->segments[i].segment;
        int status = segment->ops->terms(segment, within, &walk->terms[i], err);
        if (status) {
            walk->terms[i] = NULL;
            walk_close(walk);
            return status;
        }
    }
    return 0;
}

/* Adds what segment i, which stands on the current token, has of it. A list on disk tells without
 * being looked up; one in memory grows beyond the view. */
static int add_frequency(struct token_walk *walk, uint32_t i, struct err *err)
{
    const struct view_segment *vs = &walk->view->segments[i];
    struct segment_token token = {walk->field, buf_bytes(&walk->token)};
    uint32_t listed = walk->terms[i]->ops->frequency(walk->terms[i]);
    if (!vs->segment->words) {
        int status = vs->segment->ops->frequency(vs->segment, token, vs->doc_limit, &listed, err);
        if (status)
            return status;
    }
    walk->df += view_live_of(vs, token, listed);
    return 0;
}

/* To the next token; *found = false at the end. */
static int walk_next(struct token_walk *walk, bool *found, struct err *err)
{
    struct bytes lowest = {0};
    *found = false;
    for (uint32_t i = 0; i < walk->view->segment_count; i++) {
        struct segment_terms *terms = walk->terms[i];
        if (!terms || !terms->ops->valid(terms))
            continue;
        struct bytes token = terms->ops->token(terms).text;
        if (!*found || bytes_compare(token, lowest) < 0)
            lowest = token;
        *found = true;
    }
    if (!*found)
        return 0;
    buf_clear(&walk->token);
    buf_append_bytes(&walk->token, lowest);
    lowest = buf_bytes(&walk->token);
    walk->df = 0;
    for (uint32_t i = 0; i < walk->view->segment_count; i++) {
        struct segment_terms *terms = walk->terms[i];
        if (!terms || !terms->ops->valid(terms) ||
            !bytes_equal(terms->ops->token(terms).text, lowest))
            continue;
        int status = add_frequency(walk, i, err);
        if (!status)
            status = terms->ops->next(terms, err);
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
    struct distance_word *words; /* of near spellings: typed, stem */
    struct candidates candidates;
    uint32_t segment; /* that is being looked through */
    bool no_memory;
    struct nearest nearest;
};

static int take(struct expander *expander, struct bytes token, uint32_t distance, uint64_t df,
                struct err *err)
{
    struct nearest_item item = {.distance = distance, .text = token, .number = df};
    if (df == 0 || nearest_add(&expander->nearest, &item))
        return 0;
    return err_set(err, ERR_NOMEM, "out of memory for an expansion");
}

static int take_stem(struct expander *expander, struct err *err)
{
    struct segment_token wanted = {.field = expander->space, .text = expander->stem};
    uint64_t df;
    if (!nearest_wants(&expander->nearest, 0, expander->stem))
        return 0;
    int status = view_frequency(expander->view, wanted, &df, err);
    return status ? status : take(expander, expander->stem, 0, df, err);
}

/* The tokens that begin with `prefix`, as many as get in. */
static int expand_prefix(struct expander *expander, struct bytes prefix, struct err *err)
{
    struct token_walk walk;
    struct segment_token within = {.field = expander->space, .text = prefix};
    int status = walk_open(&walk, expander->view, &within, expander->arena, err);
    if (status)
        return status;
    while (expander->nearest.count < expander->nearest.limit) {
        bool found;
        status = walk_next(&walk, &found, err);
        if (status || !found)
            break;
        status = take(expander, buf_bytes(&walk.token), 0, walk.df, err);
        if (status)
            break;
    }
    walk_close(&walk);
    return status;
}

static void take_token(void *data, struct bytes token, uint32_t distance, uint32_t listed)
{
    struct expander *expander = data;
    struct candidate candidate = {token, distance, expander->segment, listed};
    expander->no_memory |= !candidates_add(&expander->candidates, &candidate);
}

static int find_near(struct expander *expander, struct distance_walks *walks, struct bytes letter,
                     struct err *err)
{
    for (uint32_t i = 0; i < expander->view->segment_count; i++) {
        expander->segment = i;
        int status = segment_near(expander->view->segments[i].segment, expander->space, letter,
                                  walks, take_token, expander, err);
        if (status)
            return status;
    }
    if (expander->no_memory)
        return err_set(err, ERR_NOMEM, "out of memory for an expansion");
    return 0;
}

/* Near spellings keep the first letter: of what was typed, or of its stem. Mostly that is the same
 * one, and its tokens are gone through once. */
static int find_all(struct expander *expander, struct err *err)
{
    const struct bytes texts[] = {expander->typed, expander->stem};
    struct bytes letters[] = {distance_first_letter(texts[0]), distance_first_letter(texts[1])};
    int status = 0;
    for (int i = 0; i < 2 && !status; i++) {
        struct distance_walks walks = {.limit = expander->distance};
        if (letters[i].size == 0)
            continue;
        bool added = distance_walks_add(&walks, &expander->words[i], expander->arena);
        if (added && i == 0 && bytes_equal(letters[0], letters[1])) {
            added = distance_walks_add(&walks, &expander->words[1], expander->arena);
            letters[1].size = 0;
        }
        if (!added)
            return err_set(err, ERR_NOMEM, "out of memory for an expansion");
        status = find_near(expander, &walks, letters[i], err);
    }
    return status;
}

static int add_live(const struct expander *expander, const struct candidate *candidate,
                    uint64_t *df, struct err *err)
{
    const struct view_segment *vs = &expander->view->segments[candidate->source];
    struct segment_token token = {.field = expander->space, .text = candidate->text};
    uint64_t live = 0;
    int status = 0;
    if (vs->segment->words)
        live = view_live_of(vs, token, candidate->number);
    else
        status = view_segment_frequency(vs, token, &live, err);
    *df += live;
    return status;
}

/* Near spellings are many where words are short; only as many are looked at as get in. */
static int expand_near(struct expander *expander, struct err *err)
{
    struct candidate candidate;
    int status = find_all(expander, err);
    while (!status && expander->nearest.count < expander->nearest.limit &&
           candidates_take(&expander->candidates, &candidate)) {
        uint64_t df = 0;
        do
            status = add_live(expander, &candidate, &df, err);
        while (!status && candidates_take_again(&expander->candidates, &candidate));
        if (!status)
            status = take(expander, candidate.text, candidate.distance, df, err);
    }
    return status;
}

static int expand(struct expander *expander, struct err *err)
{
    if (expander->distance > 0)
        return expand_near(expander, err);
    int status = expand_prefix(expander, expander->typed, err);
    if (!status && expander->stem.size && !bytes_has_prefix(expander->stem, expander->typed))
        status = take_stem(expander, err);
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
    candidates_init(&expander->candidates, arena);
    expander->words = arena_alloc(arena, 2 * sizeof *expander->words);
    if (!expander->words || !nearest_init(&expander->nearest, (size_t)limit + 1, arena))
        return err_set(err, ERR_NOMEM, "out of memory for an expansion");
    distance_word_init(&expander->words[0], expander->typed);
    distance_word_init(&expander->words[1], expander->stem);
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
