#include "proto/text/stem.h"

#include "proto/base/hash.h"

#include <libstemmer.h>
#include <stdlib.h>
#include <string.h>

/* A cache of pairs of slots: a new word takes the second place of its pair, and changes to the
 * first when it comes again; so words that come once do not drive out those that come all the time.
 * 16,384 slots of 64 bytes cover 29 words in 30 of English text, and what is used of them much
 * stays in the second-level cache. */
#define CACHE_SLOTS 16384u
#define CACHE_WORD 31 /* longer words, and stems, are not cached */

struct slot {
    uint8_t word_size; /* 0: empty */
    uint8_t stem_size;
    uint8_t stem[CACHE_WORD];
    uint8_t word[CACHE_WORD];
};

struct stemmer {
    const struct stem_language *language;
    struct sb_stemmer *snowball;
    struct slot *slots;
    struct fold fold;
    struct buf out;
};

/* Snowball's algorithms expect a language as it is spelt, so marks come off after stemming:
 * stripped first, the й of Russian endings or the é of French ones would hide them. English spells
 * only loans with accents, and "résumés" must meet "resumes": there they come off first. */
static const struct stem_language languages[] = {
    {"ar", "arabic", false, false},     {"ca", "catalan", true, false},
    {"da", "danish", false, false},     {"de", "german", false, false},
    {"el", "greek", false, false},      {"en", "english", false, true},
    {"es", "spanish", false, false},    {"eu", "basque", false, false},
    {"fi", "finnish", false, false},    {"fr", "french", true, false},
    {"ga", "irish", false, false},      {"hi", "hindi", false, false},
    {"hu", "hungarian", false, false},  {"hy", "armenian", false, false},
    {"id", "indonesian", false, false}, {"it", "italian", true, false},
    {"lt", "lithuanian", false, false}, {"ne", "nepali", false, false},
    {"nl", "dutch", false, false},      {"no", "norwegian", false, false},
    {"pt", "portuguese", false, false}, {"ro", "romanian", false, false},
    {"ru", "russian", false, false},    {"sr", "serbian", false, false},
    {"sv", "swedish", false, false},    {"ta", "tamil", false, false},
    {"tr", "turkish", false, false},    {"yi", "yiddish", false, false},
};

const struct stem_language *stem_language(const char *code)
{
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
        if (strcmp(languages[i].code, code) == 0)
            return &languages[i];
    return NULL;
}

const char *stem_languages(void)
{
    return "ar, ca, da, de, el, en, es, eu, fi, fr, ga, hi, hu, hy, id, it, lt, ne, nl, no, pt, "
           "ro, ru, sr, "
           "sv, ta, tr, yi, none";
}

struct stemmer *stemmer_create(const struct stem_language *language)
{
    struct stemmer *stemmer = calloc(1, sizeof *stemmer);
    if (!stemmer)
        return NULL;
    stemmer->language = language;
    stemmer->slots = calloc(CACHE_SLOTS, sizeof *stemmer->slots);
    if (!stemmer->slots)
        goto err_after_stemmer;
    stemmer->snowball = sb_stemmer_new(language->algorithm, "UTF_8");
    if (!stemmer->snowball)
        goto err_after_slots;
    return stemmer;

err_after_slots:
    free(stemmer->slots);
err_after_stemmer:
    free(stemmer);
    return NULL;
}

void stemmer_destroy(struct stemmer *stemmer)
{
    if (!stemmer)
        return;
    sb_stemmer_delete(stemmer->snowball);
    free(stemmer->slots);
    fold_deinit(&stemmer->fold);
    buf_deinit(&stemmer->out);
    free(stemmer);
}

static bool ascii(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] >= 0x80)
            return false;
    return true;
}

static struct bytes stem_uncached(struct stemmer *stemmer, struct bytes word)
{
    struct bytes stem = word;
    const sb_symbol *found = sb_stemmer_stem(stemmer->snowball, word.data, (int)word.size);
    int size = sb_stemmer_length(stemmer->snowball);
    if (!found) /* Snowball out of memory: going on unstemmed would make an index that differs */
        abort();
    if (size > 0)
        stem = bytes_of(found, (size_t)size);
    if (stemmer->language->strips_first || ascii(stem))
        return stem;
    buf_clear(&stemmer->out);
    fold_decompose(&stemmer->fold, stem, true);
    fold_compose(&stemmer->fold);
    fold_append(&stemmer->fold, &stemmer->out);
    return stemmer->out.size > 0 ? buf_bytes(&stemmer->out) : stem;
}

static inline bool slot_is(const struct slot *slot, struct bytes word)
{
    return slot->word_size == word.size && short_equal(slot->word, word.data, word.size);
}

struct bytes stemmer_stem(struct stemmer *stemmer, struct bytes word)
{
    if (word.size == 0 || word.size > CACHE_WORD)
        return word.size == 0 ? word : stem_uncached(stemmer, word);
    struct slot *pair = &stemmer->slots[short_hash(word.data, word.size) & (CACHE_SLOTS - 2)];
    struct slot *slot = &pair[1];
    if (slot_is(&pair[0], word)) {
        slot = &pair[0];
    } else if (slot_is(slot, word)) {
        struct slot swap = pair[0];
        pair[0] = pair[1];
        pair[1] = swap;
        slot = &pair[0];
    } else {
        struct bytes stem = stem_uncached(stemmer, word);
        if (stem.size > CACHE_WORD)
            return stem;
        slot->word_size = (uint8_t)word.size;
        memcpy(slot->word, word.data, word.size);
        slot->stem_size = (uint8_t)stem.size;
        memcpy(slot->stem, stem.data, stem.size);
    }
    return bytes_of(slot->stem, slot->stem_size);
}
