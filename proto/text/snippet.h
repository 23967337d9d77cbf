/* Snippets: the passage of a Markdown body that best shows why it matched, as plain text. */
#ifndef QUIRE_TEXT_SNIPPET_H
#define QUIRE_TEXT_SNIPPET_H

#include "proto/text/analysis.h"

/* Appends the plain text of a Markdown body: marks, link targets, table rules, fences and HTML tags
 * gone, white space single. Code and formulas stay as text. Never more bytes than the body. */
void text_plain(struct bytes body, struct buf *out);

struct highlight {
    uint32_t offset; /* bytes within the snippet */
    uint32_t length;
};

#define SNIPPET_HIGHLIGHTS_MAX 32

/* Appends to `out` a passage of at most `size` bytes (cut at word boundaries, "…" where text was
 * left out) of the body, the one with the most distinct `tokens` (analysed with ANALYSIS_STEMMED,
 * sorted by bytes_compare), the earliest of equals. Returns how many highlights were written (at
 * most max). */
size_t text_snippet(struct analyzer *analyzer, struct bytes body, const struct bytes *tokens,
                    size_t token_count, size_t size, struct buf *out, struct highlight *highlights,
                    size_t max);

#endif
