/* Scoring every posting of one dense word: documents, frequencies, norms and parts of each block,
 * from a disk segment whose list is kept open. Prints nanoseconds of processor time a posting, the
 * least of several rounds, for words in every document, every third, every thirtieth.
 *
 *     bench_score [DOCUMENTS]     default 1000000; in a folder of its own under TMPDIR or /tmp
 */
#include "shard/disk_segment.h"
#include "shard/memory_segment.h"
#include "shard/score.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 20

static const struct {
    const char *word;
    uint32_t every;
} words[] = {{"all", 1}, {"third", 3}, {"thirtieth", 30}};

#define WORDS (sizeof words / sizeof words[0])

static void check(int code, const struct err *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "bench_score: %s\n", err->text);
    exit(1);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33);
}

/* Frequencies as in text: mostly 1; lengths of 100 to 300 words. */
static void fill(struct segment *memory, uint32_t documents)
{
    static const uint32_t positions[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint64_t random = 7;
    struct err err;
    for (uint32_t i = 0; i < documents; i++) {
        char key[16];
        struct document_term terms[WORDS];
        struct document document = {.terms = terms, .body_length = 200};
        document.norm = norm_encode(100 + next_random(&random) % 200);
        document.key = bytes_of(key, (size_t)snprintf(key, sizeof key, "%09u", i) + 1);
        for (size_t k = 0; k < WORDS; k++) {
            uint32_t freq = 1;
            if (next_random(&random) % words[k].every != 0)
                continue;
            while (freq < 8 && next_random(&random) % 4 == 0)
                freq++;
            terms[document.term_count++] = (struct document_term){
                .token = {.field = TEXT_FIELD_ALL, .text = bytes_str(words[k].word)},
                .freq = freq,
                .positions = positions,
                .position_count = freq};
        }
        uint32_t doc;
        check(memory_segment_add(memory, &document, &doc, &err), &err);
    }
}

static struct segment *build(struct store *store, uint32_t documents)
{
    struct segment *memory = memory_segment_create(1), *disk;
    struct view_segment source = {.segment = memory, .doc_limit = documents};
    struct err err;
    fill(memory, documents);
    check(disk_segment_write(store, 2, &source, 1, NULL, NULL, NULL, &err), &err);
    check(disk_segment_open(store, 2, &disk, &err), &err);
    segment_unref(memory);
    return disk;
}

/* The sum of all parts, so that nothing is left out. */
static uint64_t score_list(struct segment *segment, struct posting_cursor *cursor,
                           const struct score_term *term)
{
    uint8_t norms[POSTING_BLOCK];
    uint32_t parts[POSTING_BLOCK];
    uint64_t sum = 0;
    struct err err;
    for (uint32_t chunk = 0; chunk < cursor->chunks.count; chunk++) {
        check(cursor->ops->enter(cursor, chunk, &err), &err);
        for (uint32_t i = 0; i < cursor->blocks.count; i++) {
            check(cursor->ops->decode(cursor, i, &err), &err);
            check(posting_load_freqs(cursor, &err), &err);
            const struct posting_block *block = &cursor->block;
            for (uint32_t k = 0; k < block->count; k++)
                norms[k] = segment->norms[block->docs[k]];
            score_parts(term, block->freqs, norms, block->count, parts);
            for (uint32_t k = 0; k < block->count; k++)
                sum += parts[k];
        }
    }
    return sum;
}

static void measure(struct segment *segment, uint32_t documents, const char *word)
{
    struct score_collection collection = {.documents = 4 * (uint64_t)documents,
                                          .total_length = 800 * (uint64_t)documents,
                                          .k1 = 2,
                                          .b = 0.75};
    struct segment_token token = {.field = TEXT_FIELD_ALL, .text = bytes_str(word)};
    struct posting_cursor *cursor;
    struct err err;
    double best = 0;
    uint64_t sum = 0;
    check(segment->ops->postings(segment, token, documents, &cursor, &err), &err);
    if (cursor == NULL)
        return;
    struct score_term term =
        score_term_init(&collection, score_table_get(&collection), cursor->df, 1);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = cpu_ns();
        sum = score_list(segment, cursor, &term);
        double ns = (double)(cpu_ns() - start) / cursor->df;
        best = round == 0 || ns < best ? ns : best;
    }
    printf("%-10s %9u postings  %5.2f ns a posting  (sum %llu)\n", word, cursor->df, best,
           (unsigned long long)sum);
    posting_close(cursor);
}

int main(int argc, char **argv)
{
    uint32_t documents = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    const char *base = getenv("TMPDIR");
    char path[512];
    struct store *store;
    struct err err;
    if (documents == 0 || documents > 4000000 || argc > 2) {
        fprintf(stderr, "usage: bench_score [DOCUMENTS]  (1 to 4000000)\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/quire-bench-score-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(path) == NULL) {
        perror(path);
        return 1;
    }
    struct store_cache *cache = store_cache_create((size_t)256 << 20);
    check(store_open(path, cache, &store, &err), &err);
    struct segment *segment = build(store, documents);
    for (size_t i = 0; i < WORDS; i++)
        measure(segment, documents, words[i].word);
    segment_unref(segment);
    store_close(store);
    store_cache_destroy(cache);
    check(store_destroy_files(path, &err), &err);
    return 0;
}
