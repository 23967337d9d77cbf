/* Where the words stand in the query's text is found by analysing it once more: the query's nodes
 * hold tokens without places, and an operator or a field's name is no unknown word, since no node
 * has it. */
#include "coordinator/query_suggest.h"
#include "proto/limits.h"

#include <string.h>

#define OP(name) QUIRE__QUERY_NODE__OP__##name

/* ---- which words are unknown ---- */

static bool is_unknown(Quire__TokenStat *const *tokens, size_t count, uint32_t field,
                       struct bytes token)
{
    for (size_t i = 0; i < count; i++)
        if (tokens[i]->field == field &&
            bytes_equal(bytes_of(tokens[i]->token.data, tokens[i]->token.len), token))
            return tokens[i]->document_frequency == 0;
    return false;
}

static uint32_t space_of(const Quire__QueryNode *node)
{
    return node->field == TEXT_FIELD_BODY ? TEXT_FIELD_ALL : node->field;
}

/* A node that looks for this token in this space, and may find it. */
static const Quire__QueryNode *node_of(const Quire__Query *query, uint32_t field,
                                       struct bytes token)
{
    for (size_t i = 0; i < query->n_nodes; i++) {
        const Quire__QueryNode *node = query->nodes[i];
        if ((node->op != OP(TERM) && node->op != OP(PHRASE)) || space_of(node) != field ||
            node->occur == QUIRE__QUERY_NODE__OCCUR__MUST_NOT)
            continue;
        for (size_t k = 0; k < node->n_tokens; k++)
            if (bytes_equal(bytes_of(node->tokens[k].data, node->tokens[k].len), token))
                return node;
    }
    return NULL;
}

static uint32_t letters_of(struct bytes word)
{
    uint32_t letters = 0;
    for (size_t i = 0; i < word.size; i++)
        letters += (word.data[i] & 0xc0) != 0x80;
    return letters;
}

static bool is_worth_it(struct bytes word)
{
    for (size_t i = 0; i < word.size; i++)
        if (word.data[i] >= '0' && word.data[i] <= '9')
            return false;
    return letters_of(word) >= SUGGEST_LETTERS;
}

struct finder {
    const Quire__Query *query;
    Quire__TokenStat *const *tokens;
    size_t token_count;
    struct arena *arena;
    struct suggestion *out;
    size_t at; /* of the second pass */
    bool no_memory;
};

/* First pass: all that is typed. */
struct typed {
    struct finder *finder;
    struct suggest_word *words;
    size_t count, capacity;
};

static bool take_typed(void *data, const struct token *token)
{
    struct typed *typed = data;
    struct arena *arena = typed->finder->arena;
    if (typed->count == typed->capacity) {
        size_t capacity = typed->capacity ? 2 * typed->capacity : 16;
        struct suggest_word *words = arena_calloc(arena, capacity, sizeof *words);
        if (words && typed->count)
            memcpy(words, typed->words, typed->count * sizeof *words);
        if (!words)
            return !(typed->finder->no_memory = true);
        typed->words = words;
        typed->capacity = capacity;
    }
    const uint8_t *copy = arena_copy(arena, token->text.data, token->text.size);
    if (!copy)
        return !(typed->finder->no_memory = true);
    typed->words[typed->count++] = (struct suggest_word){
        token->offset, token->length, bytes_of(copy, token->text.size), {0}, 0, 0};
    return true;
}

static bool add_expand(struct finder *finder, struct suggest_word *word, uint32_t field)
{
    Quire__ShardStats *request = &finder->out->request;
    Quire__QueryNode *node = arena_alloc(finder->arena, sizeof *node);
    ProtobufCBinaryData *tokens = arena_calloc(finder->arena, 2, sizeof *tokens);
    if (!node || !tokens)
        return false;
    quire__query_node__init(node);
    node->op = OP(FUZZY);
    node->has_field = field != TEXT_FIELD_ALL;
    node->field = field;
    node->has_distance = 1;
    node->distance = letters_of(word->typed) > 5 ? 2 : 1;
    node->tokens = tokens;
    tokens[node->n_tokens++] = (ProtobufCBinaryData){word->typed.size, (uint8_t *)word->typed.data};
    if (field == TEXT_FIELD_ALL && !bytes_equal(word->typed, word->token))
        tokens[node->n_tokens++] =
            (ProtobufCBinaryData){word->token.size, (uint8_t *)word->token.data};
    request->expand[request->n_expand++] = node;
    word->expand_count++;
    return true;
}

/* Takes the word when one of the nodes looks for it in vain. */
static void consider(struct finder *finder, struct suggest_word word, struct bytes stem)
{
    struct suggestion *out = finder->out;
    uint32_t field = TEXT_FIELD_ALL;
    word.token = stem;
    while (field <= TEXT_FIELD_TERMS) {
        if (node_of(finder->query, field, word.token) &&
            is_unknown(finder->tokens, finder->token_count, field, word.token))
            break;
        word.token = word.typed;
        field++;
    }
    if (field > TEXT_FIELD_TERMS || !is_worth_it(word.typed) || out->word_count == SUGGEST_WORDS)
        return;
    const uint8_t *copy = arena_copy(finder->arena, word.token.data, word.token.size);
    word.token = bytes_of(copy, word.token.size);
    word.expand = out->request.n_expand;
    bool added = copy && add_expand(finder, &word, field);
    if (added && field == TEXT_FIELD_ALL)
        added = add_expand(finder, &word, TEXT_FIELD_HEADWORD) &&
                add_expand(finder, &word, TEXT_FIELD_TERMS);
    finder->no_memory |= !added;
    out->words[out->word_count++] = word;
}

struct stems {
    struct finder *finder;
    const struct typed *typed;
};

/* Second pass: the stems of the same words. */
static bool take_stem(void *data, const struct token *token)
{
    struct stems *stems = data;
    struct finder *finder = stems->finder;
    const struct typed *typed = stems->typed;
    while (finder->at < typed->count && typed->words[finder->at].offset < token->offset)
        finder->at++;
    if (finder->at < typed->count && typed->words[finder->at].offset == token->offset &&
        typed->words[finder->at].length == token->length)
        consider(finder, typed->words[finder->at], token->text);
    return !finder->no_memory;
}

bool query_suggest_ask(struct analyzer *analyzer, struct bytes text, const Quire__Query *query,
                       Quire__TokenStat *const *tokens, size_t token_count, struct arena *arena,
                       struct suggestion *out)
{
    bool any = false;
    for (size_t i = 0; i < token_count; i++)
        any |= tokens[i]->document_frequency == 0;
    *out = (struct suggestion){.text = text};
    if (!any)
        return false;
    quire__shard_stats__init(&out->request);
    out->request.has_expand_limit = 1;
    out->request.expand_limit = LIMIT_EXPANSION;
    out->request.expand = arena_calloc(arena, 3 * SUGGEST_WORDS, sizeof *out->request.expand);
    struct finder finder = {query, tokens, token_count, arena, out, 0, !out->request.expand};
    struct typed typed = {.finder = &finder};
    struct stems stems = {&finder, &typed};
    if (!finder.no_memory)
        analyzer_run(analyzer, text, ANALYSIS_UNSTEMMED, false, take_typed, &typed);
    if (!finder.no_memory)
        analyzer_run(analyzer, text, ANALYSIS_STEMMED, false, take_stem, &stems);
    return !finder.no_memory && out->word_count > 0;
}

/* ---- which words are near ---- */

struct choice {
    struct bytes word; /* no bytes: none yet */
    uint32_t distance;
    bool stem; /* from the text, not from the names */
    uint64_t df;
};

static bool is_better(const struct choice *a, const struct choice *b)
{
    if (b->word.size == 0)
        return true;
    if (a->distance != b->distance)
        return a->distance < b->distance;
    if (a->stem != b->stem)
        return b->stem;
    return a->df != b->df ? a->df > b->df : bytes_compare(a->word, b->word) < 0;
}

struct stemming {
    struct bytes wanted;
    uint32_t count;
    bool same;
};

static bool compare_stem(void *data, const struct token *token)
{
    struct stemming *stemming = data;
    stemming->same = stemming->count++ == 0 && bytes_equal(token->text, stemming->wanted);
    return stemming->same;
}

/* The stem with the ending that was typed; no bytes when that is no word with this stem. */
static struct bytes word_of(struct analyzer *analyzer, const struct suggest_word *word,
                            struct bytes stem, struct arena *arena)
{
    size_t common = 0;
    while (common < word->token.size && common < word->typed.size &&
           word->token.data[common] == word->typed.data[common])
        common++;
    size_t lost = word->token.size - common, ending = word->typed.size - common;
    if (stem.size <= lost ||
        memcmp(stem.data + stem.size - lost, word->token.data + common, lost) != 0)
        return (struct bytes){0};
    char *text = arena_printf(arena, "%.*s%.*s", (int)(stem.size - lost), (const char *)stem.data,
                              (int)ending, (const char *)word->typed.data + common);
    struct stemming stemming = {.wanted = stem};
    if (text)
        analyzer_run(analyzer, bytes_str(text), ANALYSIS_STEMMED, false, compare_stem, &stemming);
    return stemming.same ? bytes_str(text) : (struct bytes){0};
}

static struct choice choose(const struct suggest_word *word, struct analyzer *analyzer,
                            const Quire__RangeStats *stats, struct arena *arena)
{
    struct choice best = {0};
    for (size_t i = word->expand; i < word->expand + word->expand_count; i++) {
        const Quire__Expansion *expansion = stats->expansions[i];
        for (size_t k = 0; k < expansion->n_tokens && k < LIMIT_EXPANSION; k++) {
            const Quire__TokenStat *stat = expansion->tokens[k];
            struct choice choice = {.word = bytes_of(stat->token.data, stat->token.len),
                                    .distance = expansion->distances[k],
                                    .stem = stat->field == TEXT_FIELD_ALL,
                                    .df = stat->document_frequency};
            if (!is_better(&choice, &best))
                continue;
            if (choice.stem)
                choice.word = word_of(analyzer, word, choice.word, arena);
            if (choice.word.size > 0)
                best = choice;
        }
    }
    return best;
}

char *query_suggest_text(const struct suggestion *suggestion, struct analyzer *analyzer,
                         const Quire__RangeStats *stats, struct arena *arena)
{
    struct buf text = {0};
    size_t at = 0, replaced = 0;
    if (stats->n_expansions != suggestion->request.n_expand)
        return NULL;
    for (size_t i = 0; i < suggestion->word_count; i++) {
        const struct suggest_word *word = &suggestion->words[i];
        struct choice choice = choose(word, analyzer, stats, arena);
        if (choice.word.size == 0 || word->offset < at)
            continue;
        buf_append(&text, suggestion->text.data + at, word->offset - at);
        buf_append_bytes(&text, choice.word);
        at = word->offset + word->length;
        replaced++;
    }
    buf_append(&text, suggestion->text.data + at, suggestion->text.size - at);
    char *copy = replaced ? arena_strdup(arena, buf_text(&text)) : NULL;
    buf_deinit(&text);
    return copy;
}
