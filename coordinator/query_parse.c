/* Recursive descent, one function a level; the depth is that of the parentheses and bounded.
 *
 *   list    = and { [OR] and }            any of them (with + and -: Lucene's clauses)
 *   and     = unary { AND unary }         all of them; with `all`, AND may be left out and OR may not
 *   unary   = { + | - | ! | NOT | field: } primary
 *   primary = word | "quoted" | ( list )
 *
 * Nodes are written in post-order as they are understood: a subtree is complete, at the end of the list, when the
 * function that parsed it returns, and its parent follows. A list or conjunction of one needs no parent.
 */
#include "coordinator/query_parse.h"
#include "coordinator/query_lex.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <string.h>

#define BOOST_MAX 1000.0
#define SLOP_MAX 90 /* below the gap between fields (shard/document.h): a phrase stays in its field */

typedef Quire__QueryNode__Op op_t;
typedef Quire__QueryNode__Occur occur_t;
#define OP(name) QUIRE__QUERY_NODE__OP__##name
#define OCCUR(name) QUIRE__QUERY_NODE__OCCUR__##name

struct parser {
    struct analyzer *analyzer;
    struct bytes text;
    struct query_parse_options options;
    struct arena *arena;
    struct lex_token token; /* the next one, not yet taken */
    Quire__QueryNode **nodes;
    size_t count;
    size_t expansions;
    uint32_t depth;
    char **warnings;
    size_t warning_count;
    int status;
    struct err *err;
};

/* What an operand left behind: nothing, or one subtree at the end of the nodes. */
struct operand {
    bool any;
    occur_t occur; /* SHOULD: said nothing */
};

/* ---- messages ---- */

static size_t column(const struct parser *parser, size_t at)
{
    size_t points = 1;
    for (size_t i = 0; i < at; i++)
        points += (parser->text.data[i] & 0xc0) != 0x80;
    return points;
}

static void no_memory(struct parser *parser)
{
    if (!parser->status)
        parser->status = err_set(parser->err, ERR_NOMEM, "out of memory for a query");
}

/* A guess: a warning, or in strict mode the end. */
static void guess(struct parser *parser, size_t at, const char *what)
{
    if (parser->status)
        return;
    if (parser->options.strict) {
        parser->status = err_set(parser->err, ERR_INVALID, "column %zu: %s", column(parser, at), what);
    } else if (parser->warning_count < QUERY_WARNINGS_MAX) {
        char *text = arena_printf(parser->arena, "column %zu: %s", column(parser, at), what);
        if (text)
            parser->warnings[parser->warning_count++] = text;
        else
            no_memory(parser);
    }
}

/* Something that is no mistake, in either mode, but that one may want to know. */
static void notice(struct parser *parser, size_t at, const char *what)
{
    bool strict = parser->options.strict;
    parser->options.strict = false;
    guess(parser, at, what);
    parser->options.strict = strict;
}

/* ---- tokens ---- */

static void look(struct parser *parser, size_t at, bool plain)
{
    parser->token = lex_next(parser->text, at, plain, parser->arena);
    if (parser->token.kind == LEX_NOMEM) {
        no_memory(parser);
        parser->token.kind = LEX_END;
    }
    if (parser->status)
        parser->token.kind = LEX_END;
}

static struct lex_token take(struct parser *parser)
{
    struct lex_token token = parser->token;
    look(parser, token.end, false);
    return token;
}

static bool starts_operand(enum lex_kind kind)
{
    return kind != LEX_END && kind != LEX_CLOSE && kind != LEX_AND && kind != LEX_OR;
}

/* An operator with nothing to work on: probably meant as a word ("AND gate"); a sign is left out. */
static void reread(struct parser *parser, const struct lex_token *token)
{
    guess(parser, token->start, token->kind == LEX_FIELD ? "a field name with nothing behind it"
                                                        : "an operator with nothing to work on");
    if (token->symbol)
        look(parser, token->end, false);
    else
        look(parser, token->start, true);
}

/* Takes the operator that comes next if it stands between two operands. */
static bool take_operator(struct parser *parser, enum lex_kind kind)
{
    if (parser->token.kind != kind)
        return false;
    struct lex_token token = take(parser);
    if (starts_operand(parser->token.kind))
        return true;
    reread(parser, &token);
    return false;
}

/* ---- nodes ---- */

static Quire__QueryNode *add_node(struct parser *parser, op_t op)
{
    if (parser->status)
        return NULL;
    if (parser->count == LIMIT_QUERY_NODES) {
        parser->status =
            err_set(parser->err, ERR_TOO_LARGE, "a query of more than %d words and operators",
                    LIMIT_QUERY_NODES);
        return NULL;
    }
    Quire__QueryNode *node = arena_alloc(parser->arena, sizeof *node);
    if (!node) {
        no_memory(parser);
        return NULL;
    }
    quire__query_node__init(node);
    node->op = op;
    parser->nodes[parser->count++] = node;
    return node;
}

static void set_occur(struct parser *parser, size_t root, occur_t occur)
{
    if (parser->status)
        return;
    parser->nodes[root]->has_occur = occur != OCCUR(SHOULD);
    parser->nodes[root]->occur = occur;
}

static void close_group(struct parser *parser, uint32_t arity)
{
    Quire__QueryNode *node = add_node(parser, OP(BOOL));
    if (!node)
        return;
    node->has_arity = 1;
    node->arity = arity;
}

static void set_boost(struct parser *parser, Quire__QueryNode *node, const struct lex_suffix *boost,
                      size_t at)
{
    if (!node || !boost->present)
        return;
    double value = boost->value * (node->has_boost ? (double)node->boost : 1.0);
    if (!(boost->value > 0 && (float)value > 0)) {
        guess(parser, at, "a boost has to be above 0; left out");
        return;
    }
    if (boost->value > BOOST_MAX)
        guess(parser, at, "a boost is at most 1000");
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
            no_memory(words->parser);
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
        no_memory(words->parser);
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

static struct words analyze(struct parser *parser, const struct lex_token *token, enum analysis_mode mode)
{
    struct words words = {.parser = parser};
    analyzer_run(parser->analyzer, token->text, mode, false, collect_word, &words);
    if (words.too_many && !parser->status)
        parser->status = err_set(parser->err, ERR_TOO_LARGE, "column %zu: a phrase of more than %d words",
                                 column(parser, token->start), LIMIT_PHRASE_TOKENS);
    return words;
}

static void set_text(struct parser *parser, Quire__QueryNode *node, const struct lex_token *token)
{
    if (!node)
        return;
    node->text = arena_copy(parser->arena, token->text.data, token->text.size);
    if (!node->text)
        no_memory(parser);
}

static Quire__QueryNode *add_leaf(struct parser *parser, op_t op, enum text_field field,
                                  const struct lex_token *token, ProtobufCBinaryData *tokens, size_t count)
{
    Quire__QueryNode *node = add_node(parser, op);
    if (!node)
        return NULL;
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
        guess(parser, token->start, "a ~ behind a phrase wants a number");
    if (token->tilde.value > SLOP_MAX)
        guess(parser, token->start, "a phrase lets at most 90 words in between");
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
        notice(parser, token->start, "nothing here to search for; left out");
        return NULL;
    }
    if (words.count == 1)
        return add_leaf(parser, OP(TERM), field, token, words.tokens, 1);
    if (is_stemmed(field)) {
        Quire__QueryNode *node = add_leaf(parser, OP(PHRASE), field, token, words.tokens, words.count);
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
        set_occur(parser, parser->count - 1, OCCUR(MUST));
    }
    close_group(parser, (uint32_t)words.count);
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
        guess(parser, token->start, "no category has such a name; left out");
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

static uint32_t distance_of(struct parser *parser, const struct lex_token *token, ProtobufCBinaryData word)
{
    double value = token->tilde.value;
    if (value < 0)
        return letters(word) > 5 ? 2 : 1;
    if (value > 2 || value != (double)(uint32_t)value)
        guess(parser, token->start, "a near spelling is 1 or 2 edits away");
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
            guess(parser, token->start, "* and ~ work on single words only");
        return add_words(parser, token, field);
    }
    uint32_t distance = token->star ? 0 : distance_of(parser, token, typed.tokens[0]);
    if (!token->star && distance == 0)
        return add_words(parser, token, field);
    if (++parser->expansions > LIMIT_QUERY_EXPANSIONS && !parser->status)
        parser->status =
            err_set(parser->err, ERR_TOO_LARGE, "column %zu: more than %d prefixes and near spellings",
                    column(parser, token->start), LIMIT_QUERY_EXPANSIONS);
    ProtobufCBinaryData *tokens = arena_alloc(parser->arena, 2 * sizeof *tokens);
    if (!tokens) {
        no_memory(parser);
        return NULL;
    }
    size_t count = 1;
    tokens[0] = typed.tokens[0];
    if (is_stemmed(field)) {
        struct words stems = analyze(parser, token, ANALYSIS_STEMMED);
        bool differs = stems.count == 1 && (stems.tokens[0].len != tokens[0].len ||
                                            memcmp(stems.tokens[0].data, tokens[0].data, tokens[0].len));
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

static Quire__QueryNode *add_operand(struct parser *parser, const struct lex_token *token,
                                     enum text_field field)
{
    if (token->kind == LEX_QUOTED)
        return field == TEXT_FIELD_CATEGORY ? add_category(parser, token) : add_words(parser, token, field);
    if (token->star && token->text.size == 0)
        return add_node(parser, OP(ALL));
    if (token->star && token->tilde.present)
        guess(parser, token->start, "* and ~ do not go together");
    if (token->star || token->tilde.present)
        return add_expansion(parser, token, field);
    return add_words(parser, token, field);
}

static bool parse_operand(struct parser *parser, enum text_field field)
{
    struct lex_token token = take(parser);
    if (token.unclosed)
        guess(parser, token.start, "this quotation mark is not closed");
    if (token.unknown_field)
        guess(parser, token.start, "no such field; there are headword, name, category and body");
    if (token.inner_star)
        guess(parser, token.start, "* works only at the end of a word");
    Quire__QueryNode *node = add_operand(parser, &token, field);
    set_boost(parser, node, &token.boost, token.start);
    return node != NULL;
}

/* ---- structure ---- */

static struct operand parse_list(struct parser *parser, enum text_field field);

static bool parse_group(struct parser *parser, enum text_field field)
{
    struct lex_token open = take(parser);
    if (parser->depth == LIMIT_QUERY_DEPTH) {
        if (!parser->status)
            parser->status = err_set(parser->err, ERR_TOO_LARGE,
                                     "column %zu: parentheses nested more than %d deep",
                                     column(parser, open.start), LIMIT_QUERY_DEPTH);
        return false;
    }
    parser->depth++;
    struct operand inside = parse_list(parser, field);
    parser->depth--;
    if (parser->status)
        return false;
    if (parser->token.kind != LEX_CLOSE) {
        guess(parser, open.start, "this parenthesis is not closed");
        return inside.any;
    }
    size_t end = parser->token.end;
    struct lex_suffix boost = lex_boost(parser->text, end, &end);
    look(parser, end, false);
    if (!inside.any)
        notice(parser, open.start, "nothing between these parentheses; left out");
    else
        set_boost(parser, parser->nodes[parser->count - 1], &boost, open.start);
    return inside.any && !parser->status;
}

static struct operand parse_unary(struct parser *parser, enum text_field field)
{
    bool required = false, excluded = false;
    for (;;) {
        struct lex_token token = parser->token;
        if (token.kind == LEX_PLUS || token.kind == LEX_MINUS || token.kind == LEX_NOT ||
            token.kind == LEX_FIELD) {
            take(parser);
            if (!starts_operand(parser->token.kind)) {
                reread(parser, &token);
                if (!starts_operand(parser->token.kind))
                    return (struct operand){0};
                break;
            }
            required |= token.kind == LEX_PLUS;
            excluded ^= token.kind == LEX_MINUS || token.kind == LEX_NOT;
            field = token.kind == LEX_FIELD ? token.field : field;
        } else if (token.kind == LEX_AND || token.kind == LEX_OR) {
            reread(parser, &token);
            if (parser->token.kind == LEX_END || parser->token.kind == LEX_CLOSE)
                return (struct operand){0};
        } else {
            break;
        }
    }
    struct operand operand = {.occur = excluded ? OCCUR(MUST_NOT) : required ? OCCUR(MUST) : OCCUR(SHOULD)};
    operand.any = parser->token.kind == LEX_OPEN ? parse_group(parser, field) : parse_operand(parser, field);
    operand.any &= !parser->status;
    return operand;
}

/* A parent for `arity` children that only exclude finds nothing. */
static void warn_exclusions(struct parser *parser, size_t at, bool included)
{
    if (!included)
        notice(parser, at, "only exclusions find nothing; a * before them stands for every entry");
}

static struct operand parse_and(struct parser *parser, enum text_field field)
{
    size_t at = parser->token.start, first = 0;
    uint32_t arity = 0;
    bool included = false;
    struct operand result = {0};
    for (;;) {
        struct operand operand = parse_unary(parser, field);
        if (parser->status)
            return (struct operand){0};
        if (operand.any) {
            bool out = operand.occur == OCCUR(MUST_NOT);
            included |= !out;
            if (arity++ == 0) {
                first = parser->count - 1;
                result = operand;
            } else {
                set_occur(parser, parser->count - 1, out ? OCCUR(MUST_NOT) : OCCUR(MUST));
            }
        }
        if (take_operator(parser, LEX_AND))
            continue;
        if (!parser->options.all || !starts_operand(parser->token.kind))
            break;
    }
    if (arity < 2)
        return result;
    set_occur(parser, first, result.occur == OCCUR(MUST_NOT) ? OCCUR(MUST_NOT) : OCCUR(MUST));
    warn_exclusions(parser, at, included);
    close_group(parser, arity);
    return (struct operand){.any = true, .occur = OCCUR(SHOULD)};
}

static struct operand parse_list(struct parser *parser, enum text_field field)
{
    size_t at = parser->token.start;
    uint32_t arity = 0;
    bool included = false;
    while (parser->token.kind != LEX_END && !parser->status) {
        if (parser->token.kind == LEX_CLOSE) {
            if (parser->depth > 0)
                break;
            guess(parser, parser->token.start, "a parenthesis is closed that was not opened");
            take(parser);
            continue;
        }
        struct operand operand = parse_and(parser, field);
        if (operand.any && !parser->status) {
            set_occur(parser, parser->count - 1, operand.occur);
            included |= operand.occur != OCCUR(MUST_NOT);
            arity++;
        }
        take_operator(parser, LEX_OR);
    }
    if (arity == 0 || parser->status)
        return (struct operand){0};
    warn_exclusions(parser, at, included);
    if (arity > 1 || !included)
        close_group(parser, arity);
    else
        set_occur(parser, parser->count - 1, OCCUR(SHOULD));
    return (struct operand){.any = true, .occur = OCCUR(SHOULD)};
}

static int check_text(struct parser *parser)
{
    size_t bad;
    if (parser->text.size > LIMIT_QUERY_BYTES)
        return err_set(parser->err, ERR_TOO_LARGE, "a query of %zu bytes (limit %u)", parser->text.size,
                       LIMIT_QUERY_BYTES);
    if (!text_valid(parser->text, &bad))
        return err_set(parser->err, ERR_INVALID, "column %zu: %s", column(parser, bad),
                       parser->text.data[bad] ? "not UTF-8" : "a NUL byte");
    return 0;
}

int query_parse(struct analyzer *analyzer, struct bytes text, const struct query_parse_options *options,
                struct arena *arena, Quire__Query **out, char ***warnings, size_t *warning_count,
                struct err *err)
{
    *out = NULL;
    *warnings = NULL;
    *warning_count = 0;
    struct parser parser = {
        .analyzer = analyzer, .text = text, .options = *options, .arena = arena, .err = err};
    int status = check_text(&parser);
    if (status)
        return status;
    Quire__Query *query = arena_alloc(arena, sizeof *query);
    parser.nodes = arena_alloc(arena, LIMIT_QUERY_NODES * sizeof(Quire__QueryNode *));
    parser.warnings = arena_alloc(arena, QUERY_WARNINGS_MAX * sizeof(char *));
    if (!query || !parser.nodes || !parser.warnings)
        return err_set(err, ERR_NOMEM, "out of memory for a query");
    look(&parser, 0, false);
    struct operand all = parse_list(&parser, TEXT_FIELD_ALL);
    if (!all.any)
        add_node(&parser, OP(NONE));
    if (parser.status)
        return parser.status;
    quire__query__init(query);
    query->nodes = parser.nodes;
    query->n_nodes = parser.count;
    *out = query;
    *warnings = parser.warnings;
    *warning_count = parser.warning_count;
    return 0;
}
