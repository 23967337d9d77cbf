/* What a query with words that no entry bears may have been meant to be: the pure part of "did you
 * mean".
 *
 *   query_suggest_ask()   query + statistics -> ShardStats.expand, near spellings of those words
 *   query_suggest_text()  the ranges' answers, merged -> the query with the nearest known words
 *
 * Of a word, each token space that holds it is asked: that of the text, where words are stems, and
 * for a word of all fields also those of headwords and of other names, where words are as written.
 * The nearest wins; of those as near, a word of the names, then the one that more entries bear,
 * then the first in byte order. A stem gets the ending of what was typed, and counts only if that
 * is a word with this stem. All of it follows from the query and the merged answers, so it is the
 * same however the collection is cut.
 *
 * Words with digits and words of fewer than SUGGEST_LETTERS letters are left alone, and so are
 * words that must not occur.
 */
#ifndef QUIRE_COORDINATOR_QUERY_SUGGEST_H
#define QUIRE_COORDINATOR_QUERY_SUGGEST_H

#include "proto/base/arena.h"
#include "proto/base/err.h"
#include "proto/quire.pb-c.h"
#include "proto/text/analysis.h"

#include <stdbool.h>

#define SUGGEST_LETTERS 4
#define SUGGEST_WORDS 8 /* of a query that are looked for; others stay as they are */

struct suggest_word {
    uint32_t offset, length; /* in the query's text */
    struct bytes typed;      /* folded */
    struct bytes token;      /* its stem, where it is looked for in the text; otherwise as typed */
    size_t expand;           /* its first node of request.expand; `expand_count` of them */
    size_t expand_count;
};

struct suggestion {
    struct bytes text; /* the query's */
    struct suggest_word words[SUGGEST_WORDS];
    size_t word_count;
    Quire__ShardStats request; /* expand and expand_limit are set; ranges are the caller's */
};

/* False: every word is known, or there is none to be looked for, or no memory. `tokens` are the
 * statistics of the query's tokens. Memory is the arena's, and points into `text`. */
bool query_suggest_ask(struct analyzer *analyzer, struct bytes text, const Quire__Query *query,
                       Quire__TokenStat *const *tokens, size_t token_count, struct arena *arena,
                       struct suggestion *out);

/* NULL: nothing is near. Memory is the arena's. */
char *query_suggest_text(const struct suggestion *suggestion, struct analyzer *analyzer,
                         const Quire__RangeStats *stats, struct arena *arena);

#endif
