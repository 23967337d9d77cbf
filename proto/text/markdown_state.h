/* The state of one markdown_strip(), shared by its block and inline halves: the writer of the plain
 * text, and the cached searches. */
#ifndef QUIRE_TEXT_MARKDOWN_STATE_H
#define QUIRE_TEXT_MARKDOWN_STATE_H

#include "proto/text/markdown.h"

#define STRIP_NOWHERE SIZE_MAX
#define STRIP_CODE_RUN_MAX 6   /* backticks around inline code */
#define STRIP_FORMULA_MAX 1024 /* bytes between two single dollar signs */
#define STRIP_DISPLAY_MAX 8192 /* bytes of any other formula */
#define STRIP_TARGET_MAX 4096  /* bytes of a link target, of an HTML tag */
#define STRIP_TABLE_AHEAD 512  /* how far behind its bars a flattened table may have its rule */
#define STRIP_EMPHASIS_MAX 3   /* marks in a row; more are text */

/* What a search looks for. */
enum strip_mark {
    MARK_CODE_1, /* a run of exactly one backtick; up to MARK_CODE_1 + STRIP_CODE_RUN_MAX - 1 */
    MARK_DOLLAR = MARK_CODE_1 + STRIP_CODE_RUN_MAX, /* a dollar sign that can close a formula */
    MARK_DOLLARS,
    MARK_PAREN,   /* \) */
    MARK_BRACKET, /* \] */
    MARK_COMMENT, /* --> */
    MARK_BLANK,   /* the newline before a blank line */
    MARK_NEWLINE,
    MARK_RULE, /* a bar with the rule of a table behind it */
    MARK_COUNT,
};

struct strip {
    struct markdown *out;
    const uint8_t *base;
    size_t size;
    size_t at;
    size_t skip;              /* the next of out->skips */
    size_t found[MARK_COUNT]; /* where the next mark is, or STRIP_NOWHERE; right while >= the asked
                                 place */
    bool searched[MARK_COUNT];
    bool table_line;                         /* this line has shown to be one of a table */
    uint8_t open[2][STRIP_EMPHASIS_MAX + 1]; /* emphasis begun, by mark (* and _) and length */
};

/* The first mark at or behind `from`; STRIP_NOWHERE if none. `from` must not decrease by mark. */
size_t strip_find(struct strip *strip, enum strip_mark mark, size_t from);
/* The same, but STRIP_NOWHERE when it lies behind the paragraph of `from` or more than `most` bytes
 * ahead. */
size_t strip_find_near(struct strip *strip, enum strip_mark mark, size_t from, size_t most);

/* The byte at `at`; a space outside of the body. */
uint8_t strip_byte(const struct strip *strip, size_t at);
bool strip_blank(uint8_t c);  /* space, tab, newline, any control */
bool strip_letter(uint8_t c); /* ASCII */
bool strip_wordy(uint8_t c);  /* ASCII letter or digit, any byte of a longer character */

/* Writes body[from, to) as it is (no white space to collapse in it). */
void strip_write(struct strip *strip, size_t from, size_t to, bool silent);
/* One space for what is at `from`, unless the plain text is empty or ends with one. */
void strip_space(struct strip *strip, size_t from);
/* A character that stands for body[from, to). */
void strip_decoded(struct strip *strip, size_t from, size_t to, int32_t point);
/* Writes body[from, to) with white space made single but no markup looked for: code. */
void strip_text(struct strip *strip, size_t from, size_t to);
/* The bytes of the Unicode white space or C1 control at `at`; 0 when it is something else, or
 * ASCII. */
size_t strip_wide_space(const struct strip *strip, size_t at);
/* Moves strip->at over one white space or control character of any kind, writing a space. False
 * when there is none. */
bool strip_white(struct strip *strip);

/* Writes the `size` bytes at strip->at as text, not markup, and moves behind them. */
void strip_as_text(struct strip *strip, size_t size);

/* ---- markup: each handles what may begin at strip->at, and always moves on ---- */

/* The byte there is one of those that can begin markup within a line. */
void strip_inline(struct strip *strip);
void strip_bracket(struct strip *strip); /* [ ] and the ! of an image */
void strip_url(struct strip *strip);     /* the colon of "://" */
void strip_angle(struct strip *strip);   /* < of a tag, comment or autolink */
void strip_entity(struct strip *strip);  /* & */
void strip_bar(struct strip *strip);     /* | of a table */
/* From a run of `run` >= 3 fence characters to behind the fence that closes it (or the end). */
void strip_fence(struct strip *strip, size_t run, bool line_start);

/* Finds the links and images of the whole body: out->skips, in order. Once, before all else. */
void strip_links(struct strip *strip);

#endif
