/* Glossary header lines: how an entry's first line is told from prose, lists and code that look
 * like it. Internal to the glossary importer, apart for its tests. The reasoning stands at the head
 * of glossary.c.
 */
#ifndef QUIRE_IMPORT_GLOSSARY_HEADER_H
#define QUIRE_IMPORT_GLOSSARY_HEADER_H

#include "proto/base/bytes.h"

#include <stdbool.h>

/* What surrounds a line. */
struct header_context {
    struct bytes previous; /* the nearest line before it that is not blank; empty at the start */
    struct bytes next;     /* the nearest line after it that is not blank; empty at the end */
    bool alone;            /* blank lines (or the start) before it, a blank line after it */
    bool enclosed;         /* within a code fence */
};

/* How much a line looks like a header line: 0 when it cannot be one, else at most about 20. */
int header_score(struct bytes line, const struct header_context *context);

#define HEADER_SCORE_LEAST 4  /* below: not a candidate */
#define HEADER_SCORE_STRONG 9 /* from here on there is hardly a doubt */

/* True when `a` may stand before `b` on a page: pages are sorted by header line or by headword, by
 * bytes or without regard to case. */
bool header_in_order(struct bytes a, struct bytes b);

#endif
