/* Term keys: the form under which headwords and other names are compared, sorted and routed.
 *
 * key(text): NFKC case fold, marks stripped, every run of punctuation, symbols and white space
 * becomes one space, trimmed; UTF-8 bytes, compared as bytes. key("Cramér–Rao  bound") = "cramer
 * rao bound". "c++" and "c#" keep their signs, as analysis.h keeps them as words: a '+' or '#' that
 * directly follows a letter or another kept sign belongs to it. Marks with which a script spells
 * its vowels or voicing (Indic, Thai, Khmer, kana ...) are no accents and stay. A headword that
 * would have an empty key (".",
 * "#") falls back to its folded raw text with single white space, and if that is empty too (a lone
 * combining mark) to the raw text. Total over valid UTF-8, idempotent, free of NUL, versioned.
 *
 * Unicode data comes from utf8proc: a character that its Unicode version does not know yet counts
 * as a letter without a fold, so only such characters can differ between builds.
 */
#ifndef QUIRE_TEXT_KEY_H
#define QUIRE_TEXT_KEY_H

#include "proto/base/bytes.h"

#include <stdbool.h>

/* Rises when the key of any text changes: such a change needs a new index. */
#define TEXT_KEY_VERSION 1

/* True when `text` is well-formed UTF-8 without NUL (no surrogates, no overlong forms). On false,
 * `*offset` (may be NULL) is the byte where it goes wrong. */
bool text_valid(struct bytes text, size_t *offset);

/* Appends key(text) to `out`. `text` must be text_valid(). At most 4 times as long as the input,
 * +4. An empty text has an empty key. */
void text_key(struct bytes text, struct buf *out);

/* The letter under which a key is listed: its first code point in upper case, appended as UTF-8. */
void text_letter(struct bytes key, struct buf *out);

/* The shortest prefix of `b` that sorts after `a` (a < b), not cutting a code point: the bound that
 * separates two neighbours, "mod" rather than "model quantization". Appends to `out`. */
void text_separator(struct bytes a, struct bytes b, struct buf *out);

#endif
