/* The parser's own parts, shared by query_parse.c (structure) and query_words.c (operands). */
#ifndef QUIRE_COORDINATOR_QUERY_PARSER_H
#define QUIRE_COORDINATOR_QUERY_PARSER_H

#include "coordinator/query_lex.h"
#include "coordinator/query_parse.h"

#define OP(name) QUIRE__QUERY_NODE__OP__##name
#define OCCUR(name) QUIRE__QUERY_NODE__OCCUR__##name

struct parser {
    struct analyzer *analyzer;
    struct bytes text;
    struct query_parse_options options;
    struct arena *arena;
    struct lex_token token;   /* the next one, not yet taken */
    Quire__QueryNode **nodes; /* in post-order, as they were understood */
    size_t count;
    size_t expansions;
    size_t tokens; /* of all nodes */
    uint32_t depth;
    char **warnings;
    size_t warning_count;
    int status; /* once it is not 0, nothing more happens */
    struct err *err;
};

/* The column of a byte, counted in code points from 1. */
size_t parser_column(const struct parser *parser, size_t at);
void parser_no_memory(struct parser *parser);
/* A guess: a warning, or in strict mode the end. */
void parser_guess(struct parser *parser, size_t at, const char *what);
/* Something that is no mistake, in either mode, but that one may want to know. */
void parser_notice(struct parser *parser, size_t at, const char *what);

/* All of these append to the nodes; NULL when nothing was added. */
Quire__QueryNode *parser_add_node(struct parser *parser, Quire__QueryNode__Op op);
void parser_close_group(struct parser *parser, uint32_t arity);
/* A WORD or QUOTED token; a subtree, of which the result is the root. */
Quire__QueryNode *parser_add_operand(struct parser *parser, const struct lex_token *token,
                                     enum text_field field);

void parser_set_occur(struct parser *parser, size_t root, Quire__QueryNode__Occur occur);
void parser_set_boost(struct parser *parser, Quire__QueryNode *node, const struct lex_suffix *boost,
                      size_t at);

#endif
