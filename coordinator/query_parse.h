/* The query language: from what people type to the flat query of quire.proto (QueryNode).
 *
 *   word             a word anywhere: TERM in the stemmed space. What the analyzer cuts into more
 *                    ("state-of-the-art") is a PHRASE; what it leaves nothing of ("!?") is dropped.
 *   "some words"     PHRASE; "some words"~3 lets up to 3 other positions in between (90 at most)
 *   +word  -word     has to be there; must not be there. `!word` is the same as `-word`.
 *   a AND b  a OR b  NOT b    in capitals; `&&` and `||` too. AND binds tighter than OR.
 *   ( ... )          groups, nested at most LIMIT_QUERY_DEPTH deep
 *   field:word       field is headword, name (or terms), category or body; also before "..." and
 *                    ( ... ). headword, name and category hold words unstemmed and without
 *                    positions: a quoted text means all of its words, but in category it means the
 *                    category of that name as a whole: category:"computer vision" (CATEGORY).
 *   pre*             PREFIX: indexed words that begin so. Indexed words are stems; so the node also
 *                    carries the stem of what was typed, which stands for itself: `computing*`
 *                    still finds "comput".
 *   fuzy~  fuzy~1    FUZZY: near spellings of the word or of its stem; 2 edits when not said, but 1
 *                    up to 5 letters; the first letter stays
 *   *                every entry (ALL)
 *   x^2.5            weighs more or less: above 0, at most 1000
 *   \x               x is an ordinary character
 *
 * Any of the words is enough unless `all` is set, or AND or + say otherwise. A query, or a group,
 * that only excludes finds nothing; put a `*` before it.
 *
 * Lenient (the search box): no text fails but for its limits. A missing quote or parenthesis is put
 * at the end, an operator with nothing to work on is a word (a sign is dropped), an unknown field
 * is a word; each such guess is a warning. Strict (the API): the first such thing is ERR_INVALID,
 * "column N: ..." (columns count code points from 1).
 */
#ifndef QUIRE_COORDINATOR_QUERY_PARSE_H
#define QUIRE_COORDINATOR_QUERY_PARSE_H

#include "proto/base/arena.h"
#include "proto/quire.pb-c.h"
#include "proto/text/analysis.h"

#include <stdbool.h>

#define QUERY_WARNINGS_MAX 16 /* further ones are not reported */

struct query_parse_options {
    bool all;    /* words without an operator are joined by AND */
    bool strict; /* what does not parse is an error */
};

/* Parses `text` with the collection's analyzer. *out, a query that passes search_check() but for
 * PREFIX and FUZZY nodes, and the warnings live in `arena`. An empty text, or one of which nothing
 * is left, is a single NONE node. In both modes: ERR_TOO_LARGE beyond LIMIT_QUERY_BYTES,
 * LIMIT_QUERY_NODES, LIMIT_QUERY_TOKENS, LIMIT_QUERY_DEPTH,
 * LIMIT_QUERY_EXPANSIONS or LIMIT_PHRASE_TOKENS; ERR_INVALID for broken UTF-8 or NUL;
 * ERR_NOMEM. Time is linear in the text. */
int query_parse(struct analyzer *analyzer, struct bytes text,
                const struct query_parse_options *options, struct arena *arena, Quire__Query **out,
                char ***warnings, size_t *warning_count, struct err *err);

#endif
