/* The tokens of a body by their place in its plain text, for snippets: the same words, stems and
 * boundaries as analyzer_run() gives with `markdown`, other offsets. */
#ifndef QUIRE_TEXT_PLAIN_H
#define QUIRE_TEXT_PLAIN_H

#include "proto/text/analysis.h"
#include "proto/text/markdown.h"

/* The plain text of `body` (valid UTF-8), until the analyzer is next given a Markdown text. */
struct bytes analyzer_plain(struct analyzer *analyzer, struct bytes body);

/* Calls `emit` for the stemmed tokens of that plain text between two of its offsets, which are
 * taken as word boundaries; stops early when it returns false. Token offsets are in the plain text.
 */
void analyzer_run_plain(struct analyzer *analyzer, size_t from, size_t to,
                        bool (*emit)(void *data, const struct token *token), void *data);

#endif
