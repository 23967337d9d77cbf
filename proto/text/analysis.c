#include "proto/text/analysis.h"

#include "proto/text/plain.h"
#include "proto/text/stem.h"
#include "proto/text/utf8.h"
#include "proto/text/words.h"

#include <stdlib.h>
#include <string.h>

struct analyzer {
    const struct stem_language *language; /* NULL: none */
    struct stemmer *stemmer;
    struct words words;
    struct markdown markdown; /* of the last body */
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
    markdown_deinit(&analyzer->markdown);
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
    const struct markdown *markdown; /* NULL: offsets are right as they are */
    size_t span;                     /* the one where the last word ended */
    bool (*emit)(void *data, const struct token *token);
    void *data;
};

/* Where the plain byte at `plain` came from; `behind`: behind that byte rather than at it. */
static uint32_t source_of(struct run *run, size_t plain, bool behind)
{
    const struct markdown *markdown = run->markdown;
    while (run->span + 1 < markdown->span_count && markdown->spans[run->span + 1].plain <= plain)
        run->span++;
    const struct markdown_span *span = &markdown->spans[run->span];
    if (span->size > 0)
        return span->source + (behind ? span->size : 0);
    return span->source + (uint32_t)(plain - span->plain) + behind;
}

static void stem_token(struct analyzer *analyzer, struct token *token)
{
    struct bytes stem = stemmer_stem(analyzer->stemmer, token->text);
    size_t size = utf8_cut(stem, TEXT_TOKEN_BYTES);
    uint8_t *to = words_reserve(&analyzer->words, size);
    memcpy(to, stem.data, size);
    words_commit(&analyzer->words, size);
    token->text = bytes_of(to, size);
}

static bool on_word(void *data, const struct word *word)
{
    struct run *run = data;
    struct token token = {.text = word->text,
                          .position = run->position++,
                          .offset = (uint32_t)word->start,
                          .length = (uint32_t)(word->end - word->start)};
    if (run->markdown) {
        token.offset = source_of(run, word->start, false);
        size_t span = run->span;
        token.length = source_of(run, word->end - 1, true) - token.offset;
        run->span = span; /* pairs of characters overlap */
    }
    if (run->stem && word->letters)
        stem_token(run->analyzer, &token);
    return run->emit(run->data, &token);
}

static void begin(struct run *run, struct analyzer *analyzer, enum analysis_mode mode)
{
    run->analyzer = analyzer;
    run->stem = mode == ANALYSIS_STEMMED && analyzer->stemmer;
    analyzer->words.strip = !run->stem || analyzer->language->strips_first;
    words_reset(&analyzer->words);
}

/* The words of plain[from, to) outside of silent spans. Neighbouring spans that are not silent are
 * one text: a word may go on across the markup that lay between them. */
static void run_spans(struct run *run, size_t from, size_t to)
{
    struct analyzer *analyzer = run->analyzer;
    const struct markdown *markdown = &analyzer->markdown;
    struct bytes plain = buf_bytes(&markdown->plain);
    size_t start = from;
    for (size_t i = 0; i < markdown->span_count && start < to; i++) {
        if (!markdown->spans[i].silent)
            continue;
        size_t silent = markdown->spans[i].plain;
        size_t behind = i + 1 < markdown->span_count ? markdown->spans[i + 1].plain : plain.size;
        if (behind <= start)
            continue;
        size_t end = silent < to ? silent : to;
        if (start < end && !words_scan(&analyzer->words, plain, start, end, on_word, run))
            return;
        start = behind;
    }
    if (start < to)
        words_scan(&analyzer->words, plain, start, to, on_word, run);
}

void analyzer_run(struct analyzer *analyzer, struct bytes text, enum analysis_mode mode,
                  bool markdown, bool (*emit)(void *data, const struct token *token), void *data)
{
    struct run run = {.emit = emit, .data = data};
    begin(&run, analyzer, mode);
    if (!markdown) {
        words_scan(&analyzer->words, text, 0, text.size, on_word, &run);
        return;
    }
    markdown_strip(&analyzer->markdown, text);
    run.markdown = &analyzer->markdown;
    run_spans(&run, 0, analyzer->markdown.plain.size);
}

struct bytes analyzer_plain(struct analyzer *analyzer, struct bytes body)
{
    markdown_strip(&analyzer->markdown, body);
    return buf_bytes(&analyzer->markdown.plain);
}

void analyzer_run_plain(struct analyzer *analyzer, size_t from, size_t to,
                        bool (*emit)(void *data, const struct token *token), void *data)
{
    struct run run = {.emit = emit, .data = data};
    begin(&run, analyzer, ANALYSIS_STEMMED);
    run_spans(&run, from, to);
}
