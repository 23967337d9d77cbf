/* Words: the runs of characters that become tokens, found and folded, not yet stemmed.
 *
 * A word is a run of letters, digits and marks. Besides that:
 *   3.5 1.2.3      a dot between two digits belongs to the word
 *   c++ c# f#      signs that directly follow a word of letters only, up to three of them, when no
 * letter or digit comes next ("a+b" is a, b), or when they are "++" ("c++17" is c++, 17) o'neil an
 * apostrophe between letters vanishes (oneil); in languages that elide (French, Italian, Catalan)
 * it separates: l'homme is l, homme Gauss's        a possessive 's is dropped, also behind a digit
 * (1990's) snake_case     '_' separates like any other punctuation 漢字かな        scripts without
 * spaces give overlapping pairs: 漢字 字か かな; a single character stays one So text of lower-case
 * ASCII letters and digits gives exactly its alphanumeric runs.
 */
#ifndef QUIRE_TEXT_WORDS_H
#define QUIRE_TEXT_WORDS_H

#include "proto/text/fold.h"

struct word {
    struct bytes text; /* folded, at most TEXT_TOKEN_BYTES; valid until words_reset() */
    size_t start, end; /* in the scanned text; covers a dropped possessive */
    bool letters;      /* no digit, no sign, no pair of characters: what a stemmer may work on */
};

struct words_block;

/* One per analyzer; zero it before first use, then set the options. */
struct words {
    bool strip;  /* marks off while folding */
    bool elides; /* the apostrophe separates */
    struct fold fold;
    struct buf raw;
    struct buf folded;
    struct words_block *blocks; /* where the words' texts live, newest first */
};

void words_deinit(struct words *words);

/* Forgets the texts of earlier scans (keeps one block). */
void words_reset(struct words *words);

/* Room for a text of at most `size` <= TEXT_TOKEN_BYTES that lives as long as the words' texts. */
uint8_t *words_reserve(struct words *words, size_t size);
void words_commit(struct words *words, size_t size);

/* Calls `emit` for each word of text[from, to), whose ends are taken as word boundaries; stops
 * early when it returns false, and then returns false. */
bool words_scan(struct words *words, struct bytes text, size_t from, size_t to,
                bool (*emit)(void *data, const struct word *word), void *data);

#endif
