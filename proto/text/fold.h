/* Folding: the one form under which texts that differ only in case, width, ligatures or accents are
 * equal.
 *
 * NFKC case folding with default-ignorable characters dropped and marks stripped. Marks are
 * stripped where they are accents, points or decoration; in the scripts that write vowels or
 * voicing with them (Indic, Thai, Khmer, Tibetan, kana) they make the word and stay.
 *
 * Order of the steps, because folding must be idempotent: full compatibility decomposition and case
 * folding together, character by character, until nothing decomposes or folds; then marks are
 * dropped, and the others brought into canonical order again; then what is left is composed.
 * Composition only ever joins characters that the first step takes apart again in the same way, so
 * a second fold walks the same road.
 *
 * Time is linear but for thousands of combining marks in a row, which are sorted by insertion (in
 * utf8proc too): callers fold names and words of bounded length, never whole bodies.
 */
#ifndef QUIRE_TEXT_FOLD_H
#define QUIRE_TEXT_FOLD_H

#include "proto/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* Scratch memory for folding; zero it before first use. */
struct fold {
    int32_t *points; /* the result of the last step */
    size_t count;
    size_t capacity;
};

void fold_deinit(struct fold *fold);

/* Step one and two: `text` (valid UTF-8) decomposed and folded into fold->points; marks dropped if
 * `strip`. */
void fold_decompose(struct fold *fold, struct bytes text, bool strip);

/* Step three: composes fold->points in place. */
void fold_compose(struct fold *fold);

/* Appends fold->points as UTF-8. */
void fold_append(const struct fold *fold, struct buf *out);

/* Whether fold_decompose() drops this character: a mark that is not part of its script's spelling.
 */
bool fold_strips(int32_t point);

#endif
