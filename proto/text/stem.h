/* Stemming: Snowball, one language, behind a cache (Snowball takes about a microsecond a word, and
 * most words of a text have been seen before). */
#ifndef QUIRE_TEXT_STEM_H
#define QUIRE_TEXT_STEM_H

#include "proto/text/fold.h"

/* What differs between the languages that can be stemmed. */
struct stem_language {
    const char *code;      /* ISO 639-1 */
    const char *algorithm; /* Snowball's name */
    bool elides;           /* the apostrophe separates words */
    bool strips_first;     /* marks are stripped before stemming rather than after */
};

/* NULL when the language has no stemmer ("none" has none). */
const struct stem_language *stem_language(const char *code);
/* "ar, ca, ..., none", a constant text. */
const char *stem_languages(void);

struct stemmer;

/* NULL when memory is out. One thread at a time. */
struct stemmer *stemmer_create(const struct stem_language *language);
void stemmer_destroy(struct stemmer *stemmer);

/* The stem of a folded word (its marks still on, unless the language strips them first), with marks
 * stripped; valid until the next call. A word that would have an empty stem is its own stem. */
struct bytes stemmer_stem(struct stemmer *stemmer, struct bytes word);

#endif
