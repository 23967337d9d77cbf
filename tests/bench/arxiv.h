/* The abstracts of arxiv200k, for the benches: loaded whole, parsed line by line. */
#ifndef QUIRE_TESTS_BENCH_ARXIV_H
#define QUIRE_TESTS_BENCH_ARXIV_H

#include "shard/document.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* All lines (free() them); NULL where QUIRE_CORPUS (or ../shared/corpus) has no such corpus. */
static inline char *arxiv_load(size_t *size)
{
    const char *corpus = getenv("QUIRE_CORPUS");
    unsigned long long raw;
    char path[4096], *packed, *text;
    FILE *file;
    long length;

    snprintf(path, sizeof(path), "%s/arxiv200k/docs.jsonl.zst",
             corpus == NULL ? "../shared/corpus" : corpus);
    file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0)
        return NULL;
    rewind(file);
    packed = malloc((size_t)length + 1);
    if (packed == NULL || fread(packed, 1, (size_t)length, file) != (size_t)length)
        return NULL;
    fclose(file);
    raw = ZSTD_getFrameContentSize(packed, (size_t)length);
    if (raw > (UINT64_C(1) << 32))
        raw = UINT64_C(1) << 30;
    text = malloc(raw);
    *size = text == NULL ? 0 : ZSTD_decompress(text, raw, packed, (size_t)length);
    free(packed);
    return text == NULL || ZSTD_isError(*size) ? NULL : text;
}

static inline char **arxiv_texts(const json_t *list, size_t *count)
{
    char **out = calloc(json_array_size(list) + 1, sizeof(*out));

    *count = json_array_size(list);
    for (size_t i = 0; out != NULL && i < *count; i++)
        out[i] = (char *)json_string_value(json_array_get(list, i));
    return out;
}

/* Fills the entry, whose texts live until arxiv_entry_free(); NULL for what is no entry. */
static inline json_t *arxiv_entry(const char *line, size_t size, Quire__Entry *entry)
{
    json_t *json = json_loadb(line, size, 0, NULL);

    if (json == NULL)
        return NULL;
    entry->headword = (char *)json_string_value(json_object_get(json, "id"));
    entry->body = (char *)json_string_value(json_object_get(json, "body"));
    entry->terms = arxiv_texts(json_object_get(json, "terms"), &entry->n_terms);
    entry->categories = arxiv_texts(json_object_get(json, "category"), &entry->n_categories);
    return json;
}

static inline void arxiv_entry_free(json_t *json, Quire__Entry *entry)
{
    free(entry->terms);
    free(entry->categories);
    json_decref(json);
}

#endif
