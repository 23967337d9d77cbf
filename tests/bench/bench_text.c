/* Speed of text analysis, in MB/s of input: bench_text [FILE...]. Without files, generated
 * English-like text. */
#include "proto/text/analysis.h"
#include "proto/text/key.h"
#include "proto/text/snippet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool count(void *data, const struct token *token)
{
    ++*(size_t *)data;
    return true;
}

static void generate(struct buf *text, size_t size)
{
    static const char *parts[] = {"model", "quanti", "zation",  "ing",   "the",
                                  "of",    "re",     "network", "train", "er"};
    uint64_t state = 1;
    while (text->size < size) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        buf_append_str(text, parts[(state >> 33) % 10]);
        buf_append_str(text, (state >> 60) < 6 ? "" : (state >> 60) == 15 ? ". " : " ");
    }
}

static void read_file(const char *path, struct buf *text)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    size_t got;
    do {
        buf_reserve(text, 1 << 16);
        got = fread(text->data + text->size, 1, 1 << 16, file);
        text->size += got;
    } while (got > 0);
    fclose(file);
}

static void run(const char *name, struct analyzer *analyzer, struct bytes text,
                enum analysis_mode mode, bool markdown)
{
    size_t tokens = 0, done = 0;
    double start = seconds(), took;
    do {
        for (size_t at = 0; at < text.size; at += 1 << 20) { /* bodies of at most 1 MiB */
            size_t size = text.size - at < 1 << 20 ? text.size - at : 1 << 20;
            analyzer_run(analyzer, bytes_of(text.data + at, size), mode, markdown, count, &tokens);
        }
        done += text.size;
        took = seconds() - start;
    } while (took < 0.5);
    printf("%-28s %8.1f MB/s %8.1f Mtokens/s\n", name, (double)done / 1e6 / took,
           (double)tokens / 1e6 / took);
}

int main(int argc, char **argv)
{
    struct buf text = {0}, key = {0};
    for (int i = 1; i < argc; i++)
        read_file(argv[i], &text);
    if (argc == 1)
        generate(&text, 8 << 20);
    struct analyzer *analyzer;
    struct err err;
    if (analyzer_create("en", &analyzer, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    run("unstemmed, plain", analyzer, buf_bytes(&text), ANALYSIS_UNSTEMMED, false);
    run("unstemmed, markdown", analyzer, buf_bytes(&text), ANALYSIS_UNSTEMMED, true);
    run("stemmed, plain", analyzer, buf_bytes(&text), ANALYSIS_STEMMED, false);
    run("stemmed, markdown", analyzer, buf_bytes(&text), ANALYSIS_STEMMED, true);
    double start = seconds();
    size_t done = 0;
    while (seconds() - start < 0.5) {
        buf_clear(&key);
        text_plain(buf_bytes(&text), &key);
        done += text.size;
    }
    printf("%-28s %8.1f MB/s\n", "plain text", (double)done / 1e6 / (seconds() - start));
    start = seconds();
    size_t keys = 0;
    for (; seconds() - start < 0.5; keys++) {
        buf_clear(&key);
        text_key(bytes_str(keys & 1 ? "Cram\303\251r\342\200\223Rao bound"
                                    : "model quantization inference"),
                 &key);
    }
    printf("%-28s %8.2f Mkeys/s, half of them ASCII\n", "keys",
           (double)keys / 1e6 / (seconds() - start));
    analyzer_destroy(analyzer);
    buf_deinit(&text);
    buf_deinit(&key);
    return 0;
}
