/* The words and signs of the query language (query_parse.h). Pure; one pass over the text. */
#ifndef QUIRE_COORDINATOR_QUERY_LEX_H
#define QUIRE_COORDINATOR_QUERY_LEX_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/text/analysis.h"

enum lex_kind {
    LEX_END,
    LEX_OPEN,
    LEX_CLOSE,
    LEX_QUOTED,
    LEX_WORD,
    LEX_AND,
    LEX_OR,
    LEX_NOT,   /* the word NOT */
    LEX_PLUS,  /* + before an operand */
    LEX_MINUS, /* - or ! before an operand */
    LEX_FIELD, /* name: */
    LEX_NOMEM,
};

/* A number as it stands in the text; what it may be is the parser's business. */
struct lex_suffix {
    bool present;
    double value; /* -1: the sign stands alone */
};

struct lex_token {
    enum lex_kind kind;
    size_t start, end;       /* bytes of the query */
    struct bytes text;       /* WORD, QUOTED: without escapes and suffixes */
    bool star;               /* WORD: ends in * */
    bool inner_star;         /* WORD: has a * elsewhere */
    bool unclosed;           /* QUOTED: the text ended first */
    bool symbol;             /* AND, OR: && and || */
    bool unknown_field;      /* WORD: looks like field:word with a field that there is not */
    struct lex_suffix tilde; /* WORD, QUOTED */
    struct lex_suffix boost; /* WORD, QUOTED */
    enum text_field field;   /* FIELD */
};

/* The token at or after `at`. `plain`: an operator or field name is read as an ordinary word. */
struct lex_token lex_next(struct bytes text, size_t at, bool plain, struct arena *arena);

/* A ^number that stands at `at`; *end is behind it. */
struct lex_suffix lex_boost(struct bytes text, size_t at, size_t *end);

#endif
