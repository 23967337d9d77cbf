/* A world for search tests: random documents that both the index and a brute-force scorer know.
 *
 * The scorer is slow and obvious: it walks the query as a tree over each document's list of words,
 * tries every position, counts document frequencies by looking, and adds up the formula of
 * shard/score.h. One test program includes this; everything is static.
 */
#ifndef QUIRE_TESTS_SEARCH_WORLD_H
#define QUIRE_TESTS_SEARCH_WORLD_H

#include "proto/base/arena.h"
#include "proto/quire.pb-c.h"
#include "proto/text/key.h"
#include "shard/disk_segment.h"
#include "shard/document.h"
#include "shard/live.h"
#include "shard/memory_segment.h"
#include "shard/score.h"
#include "shard/search.h"
#include "shard/view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_WORDS 60
#define WORLD_CATEGORIES 7
#define WORLD_WORDS_PER_DOCUMENT 48

struct world_word {
    uint32_t word;     /* index of world.words */
    uint32_t position; /* in ALL */
    uint8_t field;     /* it was written in */
};

struct world_document {
    char key[32];
    size_t key_size;
    struct world_word *words; /* positions rise */
    uint32_t word_count;
    uint32_t body_length;
    uint32_t length; /* weighted */
    uint32_t categories[3];
    uint32_t category_count;
};

struct world {
    uint64_t random;
    struct arena arena;
    char words[WORLD_WORDS][24];
    const char *const *categories;
    struct world_document *documents;
    uint32_t document_count;
    struct document_settings weights;
    double k1, b;
    struct store *store; /* set: some segments are written to it and read from there */
    uint64_t next_segment;
};

struct world_hit {
    uint64_t score;
    struct bytes key;
    const struct world_document *document;
};

typedef Quire__QueryNode node_t;
#define WOP(name) QUIRE__QUERY_NODE__OP__##name
#define WOCCUR(name) QUIRE__QUERY_NODE__OCCUR__##name

/* Two spellings of one key among them. */
static const char *const world_category_names[WORLD_CATEGORIES] = {
    "Vision", "Machine Learning", "machine learning", "Optik", "C++", "Ökologie", "rare"};

static uint32_t world_random(struct world *world, uint32_t below)
{
    world->random = world->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((world->random >> 33) * below) >> 31);
}

/* Low ones far more often. */
static uint32_t world_zipf(struct world *world, uint32_t below)
{
    uint32_t bound = 1 + world_random(world, below);
    bound = 1 + world_random(world, bound);
    return world_random(world, bound);
}

static uint32_t world_weight(const struct world *world, uint8_t field)
{
    switch (field) {
    case TEXT_FIELD_HEADWORD:
        return world->weights.weight_headword;
    case TEXT_FIELD_TERMS:
        return world->weights.weight_terms;
    case TEXT_FIELD_CATEGORY:
        return world->weights.weight_categories;
    default:
        return world->weights.weight_body;
    }
}

static void world_write_words(struct world *world, struct world_document *document, uint8_t field,
                              uint32_t count, uint32_t *position)
{
    for (uint32_t i = 0; i < count; i++) {
        struct world_word *word = &document->words[document->word_count++];
        *word = (struct world_word){
            .word = world_zipf(world, WORLD_WORDS), .position = (*position)++, .field = field};
        document->length += world_weight(world, field);
    }
}

static void world_write_document(struct world *world, uint32_t index)
{
    struct world_document *document = &world->documents[index];
    /* A few keys differ in the sense only; the order of keys has nothing to do with that of
     * documents. */
    uint32_t number = (index * 7919u) % 100003u;
    int length = snprintf(document->key, sizeof document->key, "k%05u", number / 2);
    document->key_size = (size_t)length + 1;
    document->key[document->key_size++] = (char)('a' + number % 2);
    document->words =
        arena_calloc(&world->arena, WORLD_WORDS_PER_DOCUMENT, sizeof *document->words);
    uint32_t position = 0;
    world_write_words(world, document, TEXT_FIELD_BODY, world_random(world, 30), &position);
    document->body_length = position;
    position += DOCUMENT_POSITION_GAP;
    world_write_words(world, document, TEXT_FIELD_HEADWORD, 1 + world_random(world, 3), &position);
    for (uint32_t names = world_random(world, 3); names > 0; names--) {
        position += DOCUMENT_POSITION_GAP;
        world_write_words(world, document, TEXT_FIELD_TERMS, 1 + world_random(world, 2), &position);
    }
    position += DOCUMENT_POSITION_GAP;
    world_write_words(world, document, TEXT_FIELD_CATEGORY, world_random(world, 3), &position);
    for (uint32_t i = 0; i < WORLD_CATEGORIES && document->category_count < 3; i++)
        if (world_random(world, i + 2) == 0 &&
            (i != 2 || document->category_count == 0 ||
             document->categories[document->category_count - 1] != 1))
            document->categories[document->category_count++] = i;
}

static void world_make_words(struct world *world)
{
    static const char *const letters[] = {"a", "b", "c", "é", "ab", "ba"};
    for (uint32_t i = 0; i < WORLD_WORDS; i++) {
        bool again = true;
        while (again) {
            world->words[i][0] = 0;
            for (uint32_t n = 1 + world_random(world, 5); n > 0; n--)
                strcat(world->words[i], letters[world_random(world, 6)]);
            again = false;
            for (uint32_t k = 0; k < i; k++)
                again |= strcmp(world->words[i], world->words[k]) == 0;
        }
    }
}

static void world_init(struct world *world, uint64_t seed, uint32_t documents)
{
    *world = (struct world){.random = seed * 77777 + 1, .categories = world_category_names};
    arena_init(&world->arena, 0);
    world->weights = (struct document_settings){
        .weight_headword = 3, .weight_terms = 2, .weight_categories = 1, .weight_body = 1};
    world->k1 = 0.5 + world_random(world, 20) / 10.0;
    world->b = world_random(world, 11) / 10.0;
    world_make_words(world);
    world->documents = arena_calloc(&world->arena, documents + 1, sizeof *world->documents);
    world->document_count = documents;
    for (uint32_t i = 0; i < documents; i++)
        world_write_document(world, i);
}

static void world_deinit(struct world *world)
{
    arena_deinit(&world->arena);
}

/* ---- the index ---- */

static int world_compare_terms(const void *a, const void *b)
{
    const struct document_term *x = a, *y = b;
    if (x->token.field != y->token.field)
        return x->token.field < y->token.field ? -1 : 1;
    return bytes_compare(x->token.text, y->token.text);
}

static void world_add_term(struct document *out, struct arena *arena, uint8_t field,
                           struct bytes token, uint32_t freq, const uint32_t *position)
{
    struct document_term *term = NULL;
    for (uint32_t i = 0; i < out->term_count && !term; i++)
        if (out->terms[i].token.field == field && bytes_equal(out->terms[i].token.text, token))
            term = &out->terms[i];
    if (!term) {
        term = &out->terms[out->term_count++];
        *term = (struct document_term){.token = {.field = field, .text = token}};
        term->positions = arena_alloc(arena, WORLD_WORDS_PER_DOCUMENT * sizeof *term->positions);
    }
    term->freq += freq;
    if (position)
        ((uint32_t *)term->positions)[term->position_count++] = *position;
}

static struct document world_index(struct world *world, const struct world_document *from)
{
    struct document out = {.key = bytes_of(from->key, from->key_size),
                           .norm = norm_encode(from->length),
                           .body_length = from->body_length};
    out.terms = arena_calloc(&world->arena, 2 * WORLD_WORDS_PER_DOCUMENT + 3, sizeof *out.terms);
    for (uint32_t i = 0; i < from->word_count; i++) {
        const struct world_word *word = &from->words[i];
        struct bytes token = bytes_str(world->words[word->word]);
        world_add_term(&out, &world->arena, TEXT_FIELD_ALL, token, world_weight(world, word->field),
                       &word->position);
        if (word->field != TEXT_FIELD_BODY)
            world_add_term(&out, &world->arena, word->field, token, 1, NULL);
    }
    for (uint32_t i = 0; i < from->category_count; i++) {
        struct buf key = {0};
        text_key(bytes_str(world->categories[from->categories[i]]), &key);
        world_add_term(&out, &world->arena, TEXT_FIELD_CATEGORY_KEY,
                       bytes_of(arena_copy(&world->arena, key.data, key.size), key.size), 1, NULL);
        buf_deinit(&key);
    }
    qsort(out.terms, out.term_count, sizeof *out.terms, world_compare_terms);
    out.categories = arena_alloc(&world->arena, 3 * sizeof *out.categories);
    for (uint32_t i = 0; i < from->category_count; i++)
        out.categories[out.category_count++] = bytes_str(world->categories[from->categories[i]]);
    return out;
}

/* Puts a segment on disk, the dead ones with it: they are dropped only in a merge. */
static void world_to_disk(struct world *world, struct view_segment *in)
{
    struct view_segment all = {.segment = in->segment, .doc_limit = in->doc_limit};
    struct segment *disk;
    struct err err;
    uint64_t id = ++world->next_segment;
    int status = disk_segment_write(world->store, id, &all, 1, NULL, NULL, NULL, &err);
    if (!status)
        status = disk_segment_open(world->store, id, &disk, &err);
    if (status)
        abort();
    segment_unref(in->segment);
    in->segment = disk;
}

/* A view of the documents for which `part` says so (NULL: all), in `segments` memory segments,
 * together with dead documents, and with some beyond the view, that no search must ever see. */
static struct view *world_view(struct world *world, uint32_t segments,
                               bool (*part)(const struct world_document *))
{
    struct view *view = calloc(1, sizeof *view + segments * sizeof view->segments[0]);
    view->segment_count = segments;
    struct buf *dead = calloc(segments, sizeof *dead);
    for (uint32_t i = 0; i < segments; i++) {
        view->segments[i].segment = memory_segment_create(i + 1);
        view->segments[i].dead_terms = dead_terms_create();
    }
    for (uint32_t i = 0; i < world->document_count; i++) {
        if (part && !part(&world->documents[i]))
            continue;
        struct document document = world_index(world, &world->documents[i]);
        uint32_t place = world_random(world, segments), doc;
        struct view_segment *in = &view->segments[place];
        if (world_random(world, 3) == 0) { /* an older version, dead by now */
            struct document older =
                world_index(world, &world->documents[world_random(world, world->document_count)]);
            older.key = document.key;
            memory_segment_add(in->segment, &older, &doc, NULL);
            buf_append(&dead[place], &doc, sizeof doc);
            for (uint32_t k = 0; k < older.term_count; k++)
                dead_terms_add(in->dead_terms, older.terms[k].token.field,
                               older.terms[k].token.text, 1);
        }
        memory_segment_add(in->segment, &document, &doc, NULL);
        view->documents++;
        view->total_length += norm_decode(document.norm);
    }
    for (uint32_t i = 0; i < segments; i++) {
        struct view_segment *in = &view->segments[i];
        in->doc_limit = memory_segment_documents(in->segment);
        if (dead[i].size)
            in->dead = live_with(NULL, (uint32_t *)dead[i].data, dead[i].size / sizeof(uint32_t));
        buf_deinit(&dead[i]);
        for (uint32_t k = 0; k < 5 && world->document_count; k++) {
            uint32_t doc;
            struct document later =
                world_index(world, &world->documents[world_random(world, world->document_count)]);
            memory_segment_add(in->segment, &later, &doc, NULL);
        }
        if (world->store && in->doc_limit && world_random(world, 3))
            world_to_disk(world, in);
    }
    free(dead);
    return view;
}

/* ---- brute force ---- */

static bool world_has(const struct world *world, const struct world_document *document,
                      uint32_t field, struct bytes token)
{
    for (uint32_t i = 0; i < document->word_count; i++)
        if ((field == TEXT_FIELD_ALL || field == TEXT_FIELD_BODY ||
             document->words[i].field == field) &&
            bytes_equal(bytes_str(world->words[document->words[i].word]), token))
            return true;
    return false;
}

static uint64_t world_frequency(const struct world *world, uint32_t field, struct bytes token)
{
    uint64_t df = 0;
    for (uint32_t i = 0; i < world->document_count; i++)
        df += world_has(world, &world->documents[i], field, token);
    return df;
}

static uint64_t world_part(const struct world *world, const struct world_document *document,
                           double weight, uint64_t freq, uint64_t total_length)
{
    double average = world->document_count ? (double)total_length / world->document_count : 1;
    double length = norm_decode(norm_encode(document->length));
    float norm = (float)(world->k1 * (1 - world->b + world->b * length / average));
    return (uint64_t)floor(weight * ((double)freq / ((double)freq + (double)norm)) + 0.5);
}

/* Is there a way on from word `index` of the phrase at position `from`? */
static bool world_phrase_from(const struct world *world, const struct world_document *document,
                              const node_t *node, size_t index, uint32_t from, uint32_t slop,
                              uint32_t end)
{
    if (index == node->n_tokens)
        return true;
    uint32_t step = node->n_offsets ? node->offsets[index] - node->offsets[index - 1] : 1;
    for (uint32_t i = 0; i < document->word_count; i++) {
        const struct world_word *word = &document->words[i];
        if (word->position < from + step || word->position > from + step + slop ||
            word->position >= end)
            continue;
        struct bytes token = bytes_of(node->tokens[index].data, node->tokens[index].len);
        if (bytes_equal(bytes_str(world->words[word->word]), token) &&
            world_phrase_from(world, document, node, index + 1, word->position,
                              slop - (word->position - from - step), end))
            return true;
    }
    return false;
}

static uint64_t world_leaf_frequency(const struct world *world,
                                     const struct world_document *document, const node_t *node)
{
    uint64_t freq = 0;
    uint32_t end = node->field == TEXT_FIELD_BODY ? document->body_length : UINT32_MAX;
    struct bytes token = bytes_of(node->tokens[0].data, node->tokens[0].len);
    for (uint32_t i = 0; i < document->word_count; i++) {
        const struct world_word *word = &document->words[i];
        if (!bytes_equal(bytes_str(world->words[word->word]), token) || word->position >= end)
            continue;
        if (node->n_tokens > 1)
            freq += world_phrase_from(world, document, node, 1, word->position, node->slop, end);
        else if (node->field == TEXT_FIELD_ALL)
            freq += world_weight(world, word->field);
        else
            freq += word->field == node->field;
    }
    return freq;
}

static bool world_in_category(const struct world *world, const struct world_document *document,
                              struct bytes key)
{
    bool in = false;
    for (uint32_t i = 0; i < document->category_count; i++) {
        struct buf other = {0};
        text_key(bytes_str(world->categories[document->categories[i]]), &other);
        in |= bytes_equal(key, buf_bytes(&other));
        buf_deinit(&other);
    }
    return in;
}

struct world_state {
    const struct world *world;
    const Quire__ShardSearch *request;
};

/* From the request, which world_statistics() filled in the order of the nodes' tokens. */
static uint64_t world_df(const struct world_state *state, size_t node, size_t index)
{
    size_t before = 0;
    for (size_t i = 0; i < node; i++)
        before += state->request->query->nodes[i]->n_tokens;
    return state->request->tokens[before + index]->document_frequency;
}

/* The subtree that ends at *at, walked from its end; *at is before it afterwards. */
static bool world_matches(const struct world_state *state, const struct world_document *document,
                          size_t *at, double boost, uint64_t *score)
{
    const Quire__Query *query = state->request->query;
    const node_t *node = query->nodes[--*at];
    *score = 0;
    boost *= node->has_boost ? (double)node->boost : 1;
    if (node->op == WOP(CATEGORY)) {
        struct buf key = {0};
        text_key(bytes_str(node->text), &key);
        bool in = world_in_category(state->world, document, buf_bytes(&key));
        buf_deinit(&key);
        return in;
    }
    if (node->op == WOP(ALL) || node->op == WOP(NONE))
        return node->op == WOP(ALL);
    if (node->op != WOP(BOOL)) {
        uint64_t freq = world_leaf_frequency(state->world, document, node);
        double idf = 0;
        for (size_t i = 0; freq && i < node->n_tokens; i++)
            idf += score_idf(state->request->documents, world_df(state, *at, i));
        if (freq)
            *score = world_part(state->world, document, boost * idf * SCORE_ONE, freq,
                                state->request->total_length);
        return freq > 0;
    }
    uint32_t required = 0, optional = 0;
    bool ok = true;
    for (uint32_t i = 0; i < node->arity; i++) {
        const node_t *child = query->nodes[*at - 1];
        uint64_t part;
        bool in = world_matches(state, document, at, boost, &part);
        if (child->occur == WOCCUR(MUST_NOT)) {
            ok &= !in;
        } else if (child->occur == WOCCUR(SHOULD)) {
            optional += in;
            *score += in ? part : 0;
        } else {
            required++;
            ok &= in;
            *score += in && child->occur == WOCCUR(MUST) ? part : 0;
        }
    }
    return ok && (required || optional);
}

static int world_compare_hits(const void *a, const void *b)
{
    const struct world_hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return bytes_compare(x->key, y->key);
}

/* All matches by (score descending, key); the number of them. */
static size_t world_search(struct world *world, const Quire__ShardSearch *request,
                           struct world_hit **hits)
{
    struct world_state state = {.world = world, .request = request};
    *hits = arena_alloc(&world->arena, (world->document_count + 1) * sizeof **hits);
    size_t count = 0;
    for (uint32_t i = 0; i < world->document_count; i++) {
        const struct world_document *document = &world->documents[i];
        bool in = request->n_categories == 0;
        for (size_t k = 0; k < request->n_categories; k++)
            in |= world_in_category(
                world, document, bytes_of(request->categories[k].data, request->categories[k].len));
        size_t at = request->query->n_nodes;
        uint64_t score;
        if (in && world_matches(&state, document, &at, 1, &score))
            (*hits)[count++] =
                (struct world_hit){.score = score,
                                   .key = bytes_of(document->key, document->key_size),
                                   .document = document};
    }
    qsort(*hits, count, sizeof **hits, world_compare_hits);
    return count;
}

/* Fills in documents, total_length, k1, b and the tokens that the query needs. */
static void world_statistics(struct world *world, const Quire__Query *query,
                             Quire__ShardSearch *request)
{
    request->query = (Quire__Query *)query;
    request->documents = world->document_count;
    request->total_length = 0;
    for (uint32_t i = 0; i < world->document_count; i++)
        request->total_length += norm_decode(norm_encode(world->documents[i].length));
    request->k1 = world->k1;
    request->b = world->b;
    size_t most = 0;
    for (size_t i = 0; i < query->n_nodes; i++)
        most += query->nodes[i]->n_tokens;
    request->tokens = arena_alloc(&world->arena, (most + 1) * sizeof *request->tokens);
    request->n_tokens = 0;
    for (size_t i = 0; i < query->n_nodes; i++) {
        const node_t *node = query->nodes[i];
        for (size_t k = 0; k < node->n_tokens; k++) {
            Quire__TokenStat *stat = arena_alloc(&world->arena, sizeof *stat);
            quire__token_stat__init(stat);
            stat->field = node->field == TEXT_FIELD_BODY ? TEXT_FIELD_ALL : node->field;
            stat->token = node->tokens[k];
            stat->document_frequency =
                world_frequency(world, stat->field, bytes_of(stat->token.data, stat->token.len));
            request->tokens[request->n_tokens++] = stat;
        }
    }
}

/* ---- queries ---- */

static node_t *world_node(struct world *world, int op)
{
    node_t *node = arena_alloc(&world->arena, sizeof *node);
    quire__query_node__init(node);
    node->op = (Quire__QueryNode__Op)op;
    return node;
}

static void world_token(struct world *world, node_t *node, const char *token)
{
    ProtobufCBinaryData *tokens = arena_alloc(&world->arena, (node->n_tokens + 1) * sizeof *tokens);
    for (size_t i = 0; i < node->n_tokens; i++)
        tokens[i] = node->tokens[i];
    tokens[node->n_tokens++] = (ProtobufCBinaryData){strlen(token), (uint8_t *)token};
    node->tokens = tokens;
}

static Quire__Query *world_query_of(struct world *world, node_t *const *nodes, size_t count)
{
    Quire__Query *query = arena_alloc(&world->arena, sizeof *query);
    quire__query__init(query);
    query->nodes = arena_alloc(&world->arena, count * sizeof *query->nodes);
    memcpy(query->nodes, nodes, count * sizeof *nodes);
    query->n_nodes = count;
    return query;
}

static const char *world_any_word(struct world *world)
{
    return world_random(world, 20) ? world->words[world_zipf(world, WORLD_WORDS)] : "unheard";
}

static void world_phrase(struct world *world, node_t *node)
{
    static const uint8_t slops[] = {0, 0, 1, 2, 5, 98};
    node->has_slop = 1;
    node->slop = slops[world_random(world, 6)];
    node->has_field = 1;
    node->field = world_random(world, 3) ? TEXT_FIELD_ALL : TEXT_FIELD_BODY;
    const struct world_document *from =
        &world->documents[world_random(world, world->document_count)];
    uint32_t length = 1 + world_random(world, 4);
    uint32_t start = world_random(world, from->word_count);
    for (uint32_t i = 0; i < length; i++) { /* mostly what some document says */
        bool real = start + i < from->word_count && world_random(world, 8);
        world_token(world, node,
                    real ? world->words[from->words[start + i].word] : world_any_word(world));
    }
    if (world_random(world, 4) == 0 && node->slop < 90) {
        node->offsets = arena_alloc(&world->arena, length * sizeof *node->offsets);
        node->n_offsets = length;
        for (uint32_t i = 0; i < length; i++)
            node->offsets[i] = i ? node->offsets[i - 1] + 1 + world_random(world, 2) : 0;
    }
}

static node_t *world_leaf(struct world *world)
{
    uint32_t kind = world_random(world, 16);
    if (kind < 9) {
        node_t *node = world_node(world, WOP(TERM));
        world_token(world, node, world_any_word(world));
        node->has_field = 1;
        node->field = world_random(world, 3) ? TEXT_FIELD_ALL : world_random(world, 5);
        return node;
    }
    if (kind < 13) {
        node_t *node = world_node(world, WOP(PHRASE));
        world_phrase(world, node);
        return node;
    }
    if (kind == 13)
        return world_node(world, world_random(world, 4) ? WOP(ALL) : WOP(NONE));
    node_t *node = world_node(world, WOP(CATEGORY));
    node->text = (char *)world->categories[world_random(world, WORLD_CATEGORIES)];
    return node;
}

static void world_grow(struct world *world, node_t **nodes, size_t *count, uint32_t depth,
                       bool words_only)
{
    if (depth == 0 || world_random(world, 4) == 0) {
        node_t *leaf = world_leaf(world);
        while (words_only && (leaf->op != WOP(TERM) || leaf->field == TEXT_FIELD_BODY))
            leaf = world_leaf(world);
        nodes[(*count)++] = leaf;
    } else {
        node_t *group = world_node(world, WOP(BOOL));
        group->has_arity = 1;
        group->arity = world_random(world, 5);
        for (uint32_t i = 0; i < group->arity; i++) {
            world_grow(world, nodes, count, depth - 1, words_only);
            static const int occurs[] = {1, 1, 1, 2, 2, 3, 4};
            node_t *child = nodes[*count - 1];
            child->has_occur = 1;
            child->occur =
                (Quire__QueryNode__Occur)(words_only ? 1 : occurs[world_random(world, 7)]);
        }
        nodes[(*count)++] = group;
    }
    if (world_random(world, 4) == 0) {
        nodes[*count - 1]->has_boost = 1;
        nodes[*count - 1]->boost = (float)(1 + world_random(world, 30)) / 8.0f;
    }
}

/* A random query of leaves and groups; passes search_check(). */
static Quire__Query *world_query(struct world *world)
{
    node_t *nodes[256];
    size_t count = 0;
    world_grow(world, nodes, &count, world_random(world, 4), world_random(world, 4) == 0);
    return world_query_of(world, nodes, count);
}

#endif
