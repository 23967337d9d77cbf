/* UTF-8 and what a character is to a word: shared by the key, the word scanner and the snippets.
 *
 * All functions but utf8_check() take text that has been checked.
 */
#ifndef QUIRE_TEXT_UTF8_H
#define QUIRE_TEXT_UTF8_H

#include "proto/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* What a character does to the word it stands in. */
enum utf8_class {
    CLASS_BREAK,   /* ends a word: punctuation, symbols, white space, controls */
    CLASS_LETTER,  /* also unassigned and private characters: better a word than lost */
    CLASS_DIGIT,   /* every kind of number character */
    CLASS_MARK,    /* combining: belongs to the letter before it, begins no word */
    CLASS_IGNORED, /* soft hyphen, joiners: as if it were not there */
    CLASS_BIGRAM, /* scripts written without spaces: Han, kana, Hangul, Thai, Lao, Khmer, Myanmar */
    CLASS_APOSTROPHE, /* ' and ’ */
};

enum utf8_class utf8_class(int32_t point);

/* The code point at `*at`, which moves behind it; `*at < end`. Never reads behind `end`, so that
 * even text that was not checked cannot lead it astray (the code point is then meaningless, but *at
 * moves on). */
int32_t utf8_next(const uint8_t **at, const uint8_t *end);

/* Appends the 1 to 4 bytes of `point`, a valid scalar value. */
void utf8_append(struct buf *out, int32_t point);

/* The largest code point boundary <= size (or <= text.size). */
size_t utf8_cut(struct bytes text, size_t size);

/* White space that is to become a single space, beyond ASCII's: no-break and other Unicode spaces.
 */
bool utf8_space(int32_t point);

#endif
