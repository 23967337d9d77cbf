/* Recursive descent, one function a level; the depth is that of the parentheses and bounded.
 *
 *   list    = and { [OR] and }            any of them (with + and -: Lucene's clauses)
 *   and     = unary { AND unary }         all of them; with `all` it is AND that may be left out
 *   unary   = { + | - | ! | NOT | field: } primary
 *   primary = word | "quoted" | ( list )
 *
 * Nodes are written in post-order as they are understood: a subtree is complete, at the end of the
 * list, when the function that parsed it returns, and its parent follows. A list or conjunction of
 * one needs no parent.
 */
#include "coordinator/query_parse.h"
#include "coordinator/query_parser.h"
#include "proto/limits.h"
#include "proto/text/key.h"

/* What an operand left behind: nothing, or one subtree at the end of the nodes. */
struct operand {
    bool any;
    Quire__QueryNode__Occur occur; /* SHOULD: said nothing */
};

/* ---- messages ---- */

size_t parser_column(const struct parser *parser, size_t at)
{
    size_t points = 1;
    for (size_t i = 0; i < at; i++)
        points += (parser->text.data[i] & 0xc0) != 0x80;
    return points;
}

void parser_no_memory(struct parser *parser)
{
    if (!parser->status)
        parser->status = err_set(parser->err, ERR_NOMEM, "out of memory for a query");
}

void parser_guess(struct parser *parser, size_t at, const char *what)
{
    if (parser->status)
        return;
    if (parser->options.strict) {
        parser->status =
            err_set(parser->err, ERR_INVALID, "column %zu: %s", parser_column(parser, at), what);
    } else if (parser->warning_count < QUERY_WARNINGS_MAX) {
        char *text = arena_printf(parser->arena, "column %zu: %s", parser_column(parser, at), what);
        if (text)
            parser->warnings[parser->warning_count++] = text;
        else
            parser_no_memory(parser);
    }
}

void parser_notice(struct parser *parser, size_t at, const char *what)
{
    bool strict = parser->options.strict;
    parser->options.strict = false;
    parser_guess(parser, at, what);
    parser->options.strict = strict;
}

/* ---- tokens ---- */

static void look(struct parser *parser, size_t at, bool plain)
{
    parser->token = lex_next(parser->text, at, plain, parser->arena);
    if (parser->token.kind == LEX_NOMEM) {
        parser_no_memory(parser);
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

/* An operator with nothing to work on: probably meant as a word ("AND gate"); a sign is dropped. */
static void reread(struct parser *parser, const struct lex_token *token)
{
    parser_guess(parser, token->start,
                 token->kind == LEX_FIELD ? "a field name with nothing behind it"
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

static bool parse_operand(struct parser *parser, enum text_field field)
{
    struct lex_token token = take(parser);
    if (token.unclosed)
        parser_guess(parser, token.start, "this quotation mark is not closed");
    if (token.unknown_field)
        parser_guess(parser, token.start,
                     "no such field; there are headword, name, category and body");
    if (token.inner_star)
        parser_guess(parser, token.start, "* works only at the end of a word");
    Quire__QueryNode *node = parser_add_operand(parser, &token, field);
    parser_set_boost(parser, node, &token.boost, token.start);
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
                                     parser_column(parser, open.start), LIMIT_QUERY_DEPTH);
        return false;
    }
    parser->depth++;
    struct operand inside = parse_list(parser, field);
    parser->depth--;
    if (parser->status)
        return false;
    if (parser->token.kind != LEX_CLOSE) {
        parser_guess(parser, open.start, "this parenthesis is not closed");
        return inside.any;
    }
    size_t end = parser->token.end;
    struct lex_suffix boost = lex_boost(parser->text, end, &end);
    look(parser, end, false);
    if (!inside.any)
        parser_notice(parser, open.start, "nothing between these parentheses; left out");
    else
        parser_set_boost(parser, parser->nodes[parser->count - 1], &boost, open.start);
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
    struct operand operand = {.occur = excluded   ? OCCUR(MUST_NOT)
                                       : required ? OCCUR(MUST)
                                                  : OCCUR(SHOULD)};
    operand.any =
        parser->token.kind == LEX_OPEN ? parse_group(parser, field) : parse_operand(parser, field);
    operand.any &= !parser->status;
    return operand;
}

/* A parent for `arity` children that only exclude finds nothing. */
static void warn_exclusions(struct parser *parser, size_t at, bool included)
{
    if (!included)
        parser_notice(parser, at,
                      "only exclusions find nothing; a * before them stands for every entry");
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
                parser_set_occur(parser, parser->count - 1, out ? OCCUR(MUST_NOT) : OCCUR(MUST));
            }
        }
        if (take_operator(parser, LEX_AND))
            continue;
        if (!parser->options.all || !starts_operand(parser->token.kind))
            break;
    }
    if (arity < 2)
        return result;
    parser_set_occur(parser, first,
                     result.occur == OCCUR(MUST_NOT) ? OCCUR(MUST_NOT) : OCCUR(MUST));
    warn_exclusions(parser, at, included);
    parser_close_group(parser, arity);
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
            parser_guess(parser, parser->token.start,
                         "a parenthesis is closed that was not opened");
            take(parser);
            continue;
        }
        struct operand operand = parse_and(parser, field);
        if (operand.any && !parser->status) {
            parser_set_occur(parser, parser->count - 1, operand.occur);
            included |= operand.occur != OCCUR(MUST_NOT);
            arity++;
        }
        take_operator(parser, LEX_OR);
    }
    if (arity == 0 || parser->status)
        return (struct operand){0};
    warn_exclusions(parser, at, included);
    if (arity > 1 || !included)
        parser_close_group(parser, arity);
    else
        parser_set_occur(parser, parser->count - 1, OCCUR(SHOULD));
    return (struct operand){.any = true, .occur = OCCUR(SHOULD)};
}

static int check_text(struct parser *parser)
{
    size_t bad;
    if (parser->text.size > LIMIT_QUERY_BYTES)
        return err_set(parser->err, ERR_TOO_LARGE, "a query of %zu bytes (limit %u)",
                       parser->text.size, LIMIT_QUERY_BYTES);
    if (!text_valid(parser->text, &bad))
        return err_set(parser->err, ERR_INVALID, "column %zu: %s", parser_column(parser, bad),
                       parser->text.data[bad] ? "not UTF-8" : "a NUL byte");
    return 0;
}

int query_parse(struct analyzer *analyzer, struct bytes text,
                const struct query_parse_options *options, struct arena *arena, Quire__Query **out,
                char ***warnings, size_t *warning_count, struct err *err)
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
        parser_add_node(&parser, OP(NONE));
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
