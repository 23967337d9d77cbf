/* Analysis: from the text of a field to the tokens of the inverted index.
 *
 * Words are runs of letters, digits and marks; CJK runs become overlapping bigrams (a single
 * character stays one); "c++", "c#", "int8", "3.5", "o'neil" (as oneil; possessive 's dropped) stay
 * whole; '_' and
 * '-' separate; the fold is that of key.h; then Snowball stemming in the collection's language
 * (words of letters only). words.h has the exact rules. Plain lower-case ASCII text gives its
 * alphanumeric runs.
 *
 * Markdown and LaTeX are understood: link targets, table rules, fence markers (and the language
 * named behind them), HTML tags and TeX commands are no words; the code inside fences is, and so
 * are the letters of a formula, and a bare URL without its scheme, since a reader sees it.
 * markdown.h has the exact rules. Nothing is ever an error: what is not markup is text. Time is
 * linear in the text.
 *
 * The same bytes give the same tokens on every machine: this is part of the index version.
 */
#ifndef QUIRE_TEXT_ANALYSIS_H
#define QUIRE_TEXT_ANALYSIS_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define TEXT_ANALYSIS_VERSION 2 /* 1: no TEXT_FIELD_CATEGORY_KEY */
#define TEXT_TOKEN_BYTES 64     /* longer words are cut at a code point boundary */

/* Token spaces of the index; the number stands in index keys. */
enum text_field {
    TEXT_FIELD_ALL = 0,      /* every field, weighted, stemmed: what a plain word searches */
    TEXT_FIELD_HEADWORD = 1, /* unstemmed */
    TEXT_FIELD_TERMS = 2,    /* unstemmed */
    TEXT_FIELD_CATEGORY = 3, /* unstemmed words of categories */
    TEXT_FIELD_BODY = 4,     /* not a token space: positions of ALL that lie in the body */
    /* Not words but whole categories, one token each (document_category_token()): the documents of
     * a category are a list. Nobody asks for it by number. */
    TEXT_FIELD_CATEGORY_KEY = 5,
};

struct token {
    struct bytes text; /* 1 to TEXT_TOKEN_BYTES; valid until the analyzer is used again */
    uint32_t position; /* from 0, rises by one a word */
    uint32_t offset;   /* of the word in the analysed text, bytes; never falls */
    uint32_t length;   /* > 0; covers markup inside the word, and a possessive 's */
};

/* One per thread (Snowball has state). About half a megabyte with a stemmer (its cache of stems),
 * and scratch memory about twice the largest text it was given. */
struct analyzer;

/* `language`: ISO 639-1 ("en", "de", ...), or "none" for no stemming. ERR_UNSUPPORTED names the
 * known ones. */
int analyzer_create(const char *language, struct analyzer **out, struct err *err);
void analyzer_destroy(struct analyzer *analyzer);
bool analyzer_language_known(const char *language);
/* "en", "de", ... "none", comma separated, for messages. */
const char *analyzer_languages(void);

enum analysis_mode {
    ANALYSIS_STEMMED,   /* what TEXT_FIELD_ALL holds */
    ANALYSIS_UNSTEMMED, /* folded words as they are */
};

/* Calls `emit` for each token of `text` (valid UTF-8) in order; stops early when it returns false.
 * `markdown`: whether to read the text as Markdown with LaTeX (bodies) or as plain text (names). */
void analyzer_run(struct analyzer *analyzer, struct bytes text, enum analysis_mode mode,
                  bool markdown, bool (*emit)(void *data, const struct token *token), void *data);

#endif
