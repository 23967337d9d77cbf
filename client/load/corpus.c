/* The corpus: every headword of the collection, up to a limit, and queries made of their words. */
#include "client/load/load.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *list, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0) /* room is doubled at powers of two */
        return list;
    list = realloc(list, (count == 0 ? 1 : 2 * count) * size);
    if (list == NULL)
        abort();
    return list;
}

static char *copy(const char *text, size_t size)
{
    char *made = strndup(text, size);
    if (made == NULL)
        abort();
    return made;
}

/* The longest word, of plain letters only: how it is cut and stemmed needs no thought. */
static bool plain_word(const char *headword, const char **word, size_t *size)
{
    *size = 0;
    for (const char *at = headword; *at != '\0';) {
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        bool alone = (at == headword || at[-1] == ' ') && (at[length] == '\0' || at[length] == ' ');
        if (alone && length > *size) {
            *word = at;
            *size = length;
        }
        at += length > 0 ? length : 1;
    }
    return *size >= 4;
}

static void add(struct corpus *corpus, const char *headword)
{
    const char *word;
    size_t size;
    corpus->headwords = grow(corpus->headwords, corpus->headword_count, sizeof(char *));
    corpus->headwords[corpus->headword_count++] = copy(headword, strlen(headword));
    if (corpus->query_count == LOAD_QUERIES_MAX || !plain_word(headword, &word, &size))
        return;
    corpus->queries = grow(corpus->queries, corpus->query_count, sizeof(char *));
    corpus->queries[corpus->query_count++] = copy(word, size);
}

/* So that the frequent ones of Zipf's law lie all over the key space. */
static void shuffle(char **list, size_t count, struct draw *draw)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = (size_t)draw_below(draw, i);
        char *kept = list[i - 1];
        list[i - 1] = list[other];
        list[other] = kept;
    }
}

static bool read_pages(struct quire_client *client, const struct load_options *options,
                       struct corpus *corpus)
{
    struct quire_export_request request = QUIRE_EXPORT_INIT;
    const struct quire_export_result *result = NULL;
    uint8_t after[16384];
    request.collection = options->collection;
    do {
        quire_result_free(result);
        if (quire_export_wait(client, &request, &result) != QUIRE_OK) {
            fprintf(stderr, "quire-load: the collection cannot be read: %s\n", result->error);
            quire_result_free(result);
            return false;
        }
        for (size_t i = 0; i < result->entry_count && corpus->headword_count < LOAD_HEADWORDS_MAX;
             i++)
            add(corpus, result->entries[i]->headword);
        request.after_size = result->after_size <= sizeof after ? result->after_size : 0;
        if (request.after_size > 0)
            memcpy(after, result->after, request.after_size);
        request.after = after;
    } while (request.after_size > 0 && corpus->headword_count < LOAD_HEADWORDS_MAX);
    quire_result_free(result);
    return true;
}

bool corpus_read(const struct load_options *options, struct corpus *corpus)
{
    struct quire_options settings = QUIRE_OPTIONS_INIT;
    struct quire_client *client;
    char error[QUIRE_ERROR_SIZE];
    settings.connect = options->connect;
    settings.connect_timeout_ms = 5000;
    settings.timeout_ms = 60000;
    *corpus = (struct corpus){0};
    if (quire_client_create(&settings, &client, error, sizeof error) != QUIRE_OK) {
        fprintf(stderr, "quire-load: %s\n", error);
        return false;
    }
    bool good = read_pages(client, options, corpus);
    quire_client_destroy(client);
    if (good && (corpus->headword_count == 0 || corpus->query_count == 0)) {
        fprintf(stderr, "quire-load: collection \"%s\" has no entries to ask for: import some\n",
                options->collection);
        good = false;
    }
    struct draw draw;
    draw_seed(&draw, options->seed);
    shuffle(corpus->headwords, corpus->headword_count, &draw);
    shuffle(corpus->queries, corpus->query_count, &draw);
    corpus->answers = calloc(corpus->query_count + 1, sizeof *corpus->answers);
    if (corpus->answers == NULL)
        abort();
    return good;
}

void corpus_free(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->headword_count; i++)
        free(corpus->headwords[i]);
    for (size_t i = 0; i < corpus->query_count; i++)
        free(corpus->queries[i]);
    free(corpus->headwords);
    free(corpus->queries);
    free(corpus->answers);
}
