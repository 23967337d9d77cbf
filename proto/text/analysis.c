#include "proto/text/analysis.h"

#include "proto/text/stem.h"
#include "proto/text/utf8.h"
#include "proto/text/words.h"

#include <stdlib.h>
#include <string.h>

struct analyzer {
    const struct stem_language *language; /* NULL: none */
    struct stemmer *stemmer;
    struct words words;
};

int analyzer_create(const char *language, struct analyzer **out, struct err *err)
{
    *out = NULL;
    if (!analyzer_language_known(language))
        return err_set(err, ERR_UNSUPPORTED, "language \"%.20s\" is not known; known are %s",
                       language, analyzer_languages());
    struct analyzer *analyzer = calloc(1, sizeof *analyzer);
    if (!analyzer)
        return err_set(err, ERR_NOMEM, "out of memory for an analyzer");
    analyzer->language = stem_language(language);
    if (analyzer->language) {
        analyzer->stemmer = stemmer_create(analyzer->language);
        if (!analyzer->stemmer) {
            free(analyzer);
            return err_set(err, ERR_NOMEM, "out of memory for a stemmer");
        }
        analyzer->words.elides = analyzer->language->elides;
    }
    *out = analyzer;
    return 0;
}

void analyzer_destroy(struct analyzer *analyzer)
{
    if (!analyzer)
        return;
    stemmer_destroy(analyzer->stemmer);
    words_deinit(&analyzer->words);
    free(analyzer);
}

bool analyzer_language_known(const char *language)
{
    return strcmp(language, "none") == 0 || stem_language(language) != NULL;
}

const char *analyzer_languages(void)
{
    return stem_languages();
}

struct run {
    struct analyzer *analyzer;
    bool stem;
    uint32_t position;
    bool (*emit)(void *data, const struct token *token);
    void *data;
};

static bool on_word(void *data, const struct word *word)
{
    struct run *run = data;
    struct token token = {.text = word->text,
                          .position = run->position++,
                          .offset = (uint32_t)word->start,
                          .length = (uint32_t)(word->end - word->start)};
    if (run->stem && word->letters) {
        struct words *words = &run->analyzer->words;
        struct bytes stem = stemmer_stem(run->analyzer->stemmer, word->text);
        size_t size = utf8_cut(stem, TEXT_TOKEN_BYTES);
        uint8_t *to = words_reserve(words, size);
        memcpy(to, stem.data, size);
        words_commit(words, size);
        token.text = bytes_of(to, size);
    }
    return run->emit(run->data, &token);
}

void analyzer_run(struct analyzer *analyzer, struct bytes text, enum analysis_mode mode,
                  bool markdown, bool (*emit)(void *data, const struct token *token), void *data)
{
    struct run run = {.analyzer = analyzer,
                      .stem = mode == ANALYSIS_STEMMED && analyzer->stemmer,
                      .emit = emit,
                      .data = data};
    analyzer->words.strip = !run.stem || analyzer->language->strips_first;
    words_reset(&analyzer->words);
    words_scan(&analyzer->words, text, 0, text.size, on_word, &run);
}
