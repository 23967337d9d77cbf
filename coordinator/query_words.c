/* Operands: from a word or a quoted text to nodes, with the collection's analyzer. */
#include "coordinator/query_parser.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <string.h>

#define BOOST_MAX 1000.0
/* Below the gap between fields (shard/document.h), so that a phrase stays in its field. */
#define SLOP_MAX 90

/* ---- nodes ---- */

Quire__QueryNode *parser_add_node(struct parser *parser, Quire__QueryNode__Op op)
{
    if (parser->status)
        return NULL;
    if (parser->count == LIMIT_QUERY_NODES) {
        parser->status = err_set(parser->err, ERR_TOO_LARGE,
                                 "a query of more than %d words and operators", LIMIT_QUERY_NODES);
        return NULL;
    }
    Quire__QueryNode *node = arena_alloc(parser->arena, sizeof *node);
    if (!node) {
        parser_no_memory(parser);
        return NULL;
    }
    quire__query_node__init(node);
    node->op = op;
    parser->nodes[parser->count++] = node;
    return node;
}

void parser_set_occur(struct parser *parser, size_t root, Quire__QueryNode__Occur occur)
{
    if (parser->status)
        return;
    parser->nodes[root]->has_occur = occur != OCCUR(SHOULD);
    parser->nodes[root]->occur = occur;
}

void parser_close_group(struct parser *parser, uint32_t arity)
{
    Quire__QueryNode *node = parser_add_node(parser, OP(BOOL));
    if (!node)
        return;
    node->has_arity = 1;
    node->arity = arity;
}

void parser_set_boost(struct parser *parser, Quire__QueryNode *node, const struct lex_suffix *boost,
                      size_t at)
{
    if (!node || !boost->present)
        return;
    double value = boost->value * (node->has_boost ? (double)node->boost : 1.0);
    if (!(boost->value > 0 && (float)value > 0)) {
        parser_guess(parser, at, "a boost has to be above 0; left out");
        return;
    }
    if (boost->value > BOOST_MAX)
        parser_guess(parser, at, "a boost is at most 1000");
    node->has_boost = 1;
    node->boost = (float)(value < BOOST_MAX ? value : BOOST_MAX);
}

/* ---- words ---- */

struct words {
    struct parser *parser;
    ProtobufCBinaryData *tokens;
    uint32_t *positions;
    size_t count, capacity;
    bool too_many;
};

static bool collect_word(void *data, const struct token *token)
{
    struct words *words = data;
    struct arena *arena = words->parser->arena;
    if (words->count == LIMIT_PHRASE_TOKENS) {
        words->too_many = true;
        return false;
    }
    if (words->count == words->capacity) { /* one for nearly all, the limit for the rest */
        size_t capacity = words->capacity ? LIMIT_PHRASE_TOKENS : 1;
        ProtobufCBinaryData *tokens = arena_alloc(arena, capacity * sizeof *tokens);
        uint32_t *positions = arena_alloc(arena, capacity * sizeof *positions);
        if (!tokens || !positions) {
            parser_no_memory(words->parser);
            return false;
        }
        for (size_t i = 0; i < words->count; i++) {
            tokens[i] = words->tokens[i];
            positions[i] = words->positions[i];
        }
        words->tokens = tokens;
        words->positions = positions;
        words->capacity = capacity;
    }
    uint8_t *copy = arena_copy(arena, token->text.data, token->text.size);
    if (!copy) {
        parser_no_memory(words->parser);
        return false;
    }
    words->tokens[words->count] = (ProtobufCBinaryData){token->text.size, copy};
    words->positions[words->count++] = token->position;
    return true;
}

static bool is_stemmed(enum text_field field)
{
    return field == TEXT_FIELD_ALL || field == TEXT_FIELD_BODY;
}

static struct words analyze(struct parser *parser, const struct lex_token *token,
                            enum analysis_mode mode)
{
    struct words words = {.parser = parser};
    analyzer_run(parser->analyzer, token->text, mode, false, collect_word, &words);
    if (words.too_many && !parser->status)
        parser->status =
            err_set(parser->err, ERR_TOO_LARGE, "column %zu: a phrase of more than %d words",
                    parser_column(parser, token->start), LIMIT_PHRASE_TOKENS);
    return words;
}

static void set_text(struct parser *parser, Quire__QueryNode *node, const struct lex_token *token)
{
    if (!node)
        return;
    node->text = arena_copy(parser->arena, token->text.data, token->text.size);
    if (!node->text)
        parser_no_memory(parser);
}

static Quire__QueryNode *add_leaf(struct parser *parser, Quire__QueryNode__Op op,
                                  enum text_field field, const struct lex_token *token,
                                  ProtobufCBinaryData *tokens, size_t count)
{
    Quire__QueryNode *node = parser_add_node(parser, op);
    if (!node)
        return NULL;
    parser->tokens += count;
    if (parser->tokens > LIMIT_QUERY_TOKENS && !parser->status)
        parser->status = err_set(parser->err, ERR_TOO_LARGE, "a query of more than %d tokens",
                                 LIMIT_QUERY_TOKENS);
    node->has_field = field != TEXT_FIELD_ALL;
    node->field = field;
    node->tokens = tokens;
    node->n_tokens = count;
    set_text(parser, node, token);
    return node;
}

static void set_offsets(struct parser *parser, Quire__QueryNode *node, const struct words *words)
{
    bool plain = true;
    for (size_t i = 0; i < words->count; i++)
        plain &= words->positions[i] - words->positions[0] == i;
    if (!node || plain)
        return;
    node->offsets = words->positions;
    node->n_offsets = words->count;
    for (size_t i = words->count; i-- > 0;)
        node->offsets[i] -= words->positions[0];
}

static uint32_t slop_of(struct parser *parser, const struct lex_token *token)
{
    if (token->kind != LEX_QUOTED || !token->tilde.present)
        return 0;
    if (token->tilde.value < 0)
        parser_guess(parser, token->start, "a ~ behind a phrase wants a number");
    if (token->tilde.value > SLOP_MAX)
        parser_guess(parser, token->start, "a phrase lets at most 90 words in between");
    double slop = token->tilde.value < 0 ? 1 : token->tilde.value;
    return slop < SLOP_MAX ? (uint32_t)slop : SLOP_MAX;
}

/* One word, or several as a phrase; where there are no positions, all of them. */
static Quire__QueryNode *add_words(struct parser *parser, const struct lex_token *token,
                                   enum text_field field)
{
    struct words words =
        analyze(parser, token, is_stemmed(field) ? ANALYSIS_STEMMED : ANALYSIS_UNSTEMMED);
    if (parser->status)
        return NULL;
    if (words.count == 0) {
        parser_notice(parser, token->start, "nothing here to search for; left out");
        return NULL;
    }
    if (words.count == 1)
        return add_leaf(parser, OP(TERM), field, token, words.tokens, 1);
    if (is_stemmed(field)) {
        Quire__QueryNode *node =
            add_leaf(parser, OP(PHRASE), field, token, words.tokens, words.count);
        if (!node)
            return NULL;
        uint32_t slop = slop_of(parser, token);
        node->has_slop = slop > 0;
        node->slop = slop;
        set_offsets(parser, node, &words);
        return node;
    }
    for (size_t i = 0; i < words.count && !parser->status; i++) {
        add_leaf(parser, OP(TERM), field, token, &words.tokens[i], 1);
        parser_set_occur(parser, parser->count - 1, OCCUR(MUST));
    }
    parser_close_group(parser, (uint32_t)words.count);
    return parser->status ? NULL : parser->nodes[parser->count - 1];
}

static Quire__QueryNode *add_category(struct parser *parser, const struct lex_token *token)
{
    struct buf key = {0};
    if (token->text.size <= LIMIT_HEADWORD_BYTES)
        text_key(token->text, &key);
    size_t size = key.size;
    buf_deinit(&key);
    if (size == 0) {
        parser_guess(parser, token->start, "no category has such a name; left out");
        return NULL;
    }
    return add_leaf(parser, OP(CATEGORY), TEXT_FIELD_CATEGORY, token, NULL, 0);
}

static uint32_t letters(ProtobufCBinaryData token)
{
    uint32_t points = 0;
    for (size_t i = 0; i < token.len; i++)
        points += (token.data[i] & 0xc0) != 0x80;
    return points;
}

static uint32_t distance_of(struct parser *parser, const struct lex_token *token,
                            ProtobufCBinaryData word)
{
    double value = token->tilde.value;
    if (value < 0)
        return letters(word) > 5 ? 2 : 1;
    if (value > 2 || value != (double)(uint32_t)value)
        parser_guess(parser, token->start, "a near spelling is 1 or 2 edits away");
    return value > 1 ? 2 : value > 0 ? 1 : 0;
}

/* pre* or fuzy~ of a single word: the folded word, and its stem where the field has stems. */
static Quire__QueryNode *add_expansion(struct parser *parser, const struct lex_token *token,
                                       enum text_field field)
{
    struct words typed = analyze(parser, token, ANALYSIS_UNSTEMMED);
    if (parser->status)
        return NULL;
    if (typed.count != 1) {
        if (typed.count > 1)
            parser_guess(parser, token->start, "* and ~ work on single words only");
        return add_words(parser, token, field);
    }
    uint32_t distance = token->star ? 0 : distance_of(parser, token, typed.tokens[0]);
    if (!token->star && distance == 0)
        return add_words(parser, token, field);
    if (++parser->expansions > LIMIT_QUERY_EXPANSIONS && !parser->status)
        parser->status = err_set(parser->err, ERR_TOO_LARGE,
                                 "column %zu: more than %d prefixes and near spellings",
                                 parser_column(parser, token->start), LIMIT_QUERY_EXPANSIONS);
    ProtobufCBinaryData *tokens = arena_alloc(parser->arena, 2 * sizeof *tokens);
    if (!tokens) {
        parser_no_memory(parser);
        return NULL;
    }
    size_t count = 1;
    tokens[0] = typed.tokens[0];
    if (is_stemmed(field)) {
        struct words stems = analyze(parser, token, ANALYSIS_STEMMED);
        bool differs =
            stems.count == 1 && (stems.tokens[0].len != tokens[0].len ||
                                 memcmp(stems.tokens[0].data, tokens[0].data, tokens[0].len) != 0);
        if (differs)
            tokens[count++] = stems.tokens[0];
    }
    Quire__QueryNode *node =
        add_leaf(parser, token->star ? OP(PREFIX) : OP(FUZZY), field, token, tokens, count);
    if (node && !token->star) {
        node->has_distance = 1;
        node->distance = distance;
    }
    return node;
}

Quire__QueryNode *parser_add_operand(struct parser *parser, const struct lex_token *token,
                                     enum text_field field)
{
    if (token->kind == LEX_QUOTED)
        return field == TEXT_FIELD_CATEGORY ? add_category(parser, token)
                                            : add_words(parser, token, field);
    if (token->star && token->text.size == 0)
        return parser_add_node(parser, OP(ALL));
    if (token->star && token->tilde.present)
        parser_guess(parser, token->start, "* and ~ do not go together");
    if (token->star || token->tilde.present)
        return add_expansion(parser, token, field);
    return add_words(parser, token, field);
}
