/* Markdown with LaTeX, read as text: what a reader sees, in one line, and where each byte of it
 * came from.
 *
 * This is no renderer: it never fails, never looks far ahead for what would complete a construct,
 * and treats whatever does not look like markup as text. Many bodies were flattened to one line
 * when they were dumped, so fences, tables and headings are also recognised in the middle of a
 * line.
 *
 *   gone              emphasis marks, heading marks, bullets, quote marks, rulers, table rules and
 * bars, fences and the language named behind them, backticks, link targets, HTML tags and comments,
 *                     dollar signs (\( \[) around a formula, the backslash of an escape
 *   text              the words of links and images, code, formulas, numbers of ordered lists
 *   text but no words TeX commands (\frac, \begin{aligned}; the letters of their arguments are
 * words), the scheme of a bare URL: what follows "https://" is visible, so it can be searched for
 *   decoded           HTML entities (but not in code)
 *   one space         every run of white space and control characters; a bar between cells; a
 * block-level tag
 *
 * Linear time: what closes a construct is looked up with cached searches that pass over the body
 * once.
 */
#ifndef QUIRE_TEXT_MARKDOWN_H
#define QUIRE_TEXT_MARKDOWN_H

#include "proto/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* A stretch of the plain text, up to where the next span begins. */
struct markdown_span {
    uint32_t plain;  /* offset in the plain text */
    uint32_t source; /* offset in the body */
    uint32_t size; /* of an entity in the body, which stands for the whole stretch; else 0: byte for
                      byte */
    bool silent;   /* holds no words, and ends the ones beside it */
};

/* A place in the body where a link or image begins or ends, and how far to skip there. */
struct markdown_skip {
    uint32_t at, to;
};

/* Zero it before first use; it can be used again for the next body. */
struct markdown {
    struct buf plain;
    struct markdown_span *spans;
    size_t span_count, span_capacity;
    struct markdown_skip *skips;
    size_t skip_count, skip_capacity;
};

void markdown_deinit(struct markdown *markdown);

/* Fills markdown->plain (never longer than the body) and markdown->spans (the first one begins at 0
 * unless the plain text is empty). `body` is valid UTF-8 below 4 GiB. */
void markdown_strip(struct markdown *markdown, struct bytes body);

#endif
