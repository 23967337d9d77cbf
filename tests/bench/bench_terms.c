/* How fast a range with millions of different names and words answers prefixes and near spellings.
 *
 *     bench_terms [names [folder]]        5,000,000 names unless said; corpus: wnwords,
 * QUIRE_CORPUS
 *
 * The names are WordNet's headwords, and others made of them: with letters changed, put together in
 * twos, with numbers. Always the same ones. They are the other names of entries, NAMES_EACH of
 * each, and go through the range like any entry: applied, flushed, merged. The folder is kept, and
 * one that is there already is only opened; the second table is of a folder that is not.
 *
 * Two columns of times: by the clock, and of the processor (this thread), which other work on the
 * machine disturbs less. "first" is the slowest query of a first round, which finds nothing
 * prepared; the other columns are of a second round of other queries. Words of a query come with
 * their stems, as from the coordinator. The second table is of all in one segment.
 */
#include "proto/limits.h"
#include "proto/text/analysis.h"
#include "proto/text/key.h"
#include "shard/names.h"
#include "shard/range.h"
#include "shard/search.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define NAMES_EACH 64
#define BATCH 256
#define QUERIES 2000
#define ROUNDS 2
#define TOP 10
#define NAME_BYTES 200

struct bench {
    char **words; /* WordNet's */
    size_t word_count, words_used;
    char **misspelt;
    size_t misspelt_count;
    uint64_t *seen; /* hashes of the keys of the names made so far, open addressing */
    size_t seen_mask;
    uint64_t random;
    struct range *range;
    struct analyzer *analyzer;
    uint32_t room; /* for words, of the query that is asked */
};

struct times {
    uint64_t wall[QUERIES], cpu[QUERIES];
    uint64_t first;
    uint64_t found;
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void check(int code, const struct err *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "bench_terms: %s\n", err->text);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static uint32_t below(struct bench *b, uint32_t limit)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((b->random >> 33) * limit) >> 31);
}

/* ---- the corpus ---- */

static char *read_corpus(const char *name, size_t *size)
{
    const char *corpus = getenv("QUIRE_CORPUS");
    char path[4096];
    snprintf(path, sizeof path, "%s/wnwords/%s", corpus ? corpus : "../shared/corpus", name);
    FILE *file = fopen(path, "rb");
    long length = -1;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0) {
        fprintf(stderr, "bench_terms: no corpus at %s\n", path);
        exit(1);
    }
    rewind(file);
    char *text = need(malloc((size_t)length + 1));
    *size = fread(text, 1, (size_t)length, file);
    text[*size] = 0;
    fclose(file);
    return text;
}

static char *unpack(const char *packed, size_t packed_size, size_t *size)
{
    size_t capacity = (size_t)256 << 20;
    char *text = need(malloc(capacity + 1));
    *size = ZSTD_decompress(text, capacity, packed, packed_size);
    if (ZSTD_isError(*size))
        abort();
    text[*size] = 0;
    return text;
}

static void load_words(struct bench *b)
{
    size_t packed_size, size;
    char *packed = read_corpus("docs.jsonl.zst", &packed_size);
    char *text = unpack(packed, packed_size, &size);
    b->words = need(calloc(200000, sizeof *b->words));
    for (char *line = text, *end; b->word_count < 200000 && (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);
        const char *word = json_string_value(json_array_get(json_object_get(json, "terms"), 0));
        if (word != NULL && strlen(word) < NAME_BYTES / 3)
            b->words[b->word_count++] = need(strdup(word));
        json_decref(json);
    }
    free(text);
    free(packed);
}

static void load_misspelt(struct bench *b)
{
    size_t size;
    char *text = read_corpus("queries_misspelt.tsv", &size);
    b->misspelt = need(calloc(size / 8 + 1, sizeof *b->misspelt));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        char *tab = strchr(line, '\t');
        if (tab != NULL)
            b->misspelt[b->misspelt_count++] = need(strdup(tab + 1));
    }
    free(text);
}

/* ---- making names ---- */

/* One edit anywhere but at the first letter. */
static void edit(struct bench *b, char *word)
{
    size_t size = strlen(word), at = 1 + below(b, (uint32_t)size);
    char letter = (char)('a' + below(b, 26));
    if (size < 2 || size + 2 > NAME_BYTES)
        return;
    at = at < size ? at : size - 1;
    switch (below(b, 4)) {
    case 0:
        word[at] = letter;
        break;
    case 1:
        memmove(word + at + 1, word + at, size - at + 1);
        word[at] = letter;
        break;
    case 2:
        memmove(word + at, word + at + 1, size - at);
        break;
    default:
        if (at + 1 < size) {
            char moved = word[at];
            word[at] = word[at + 1];
            word[at + 1] = moved;
        }
    }
}

static const char *any_word(struct bench *b)
{
    return b->words[below(b, (uint32_t)b->word_count)];
}

static void make_name(struct bench *b, char *name)
{
    char other[NAME_BYTES + 1];
    bool plain = b->words_used < b->word_count;
    snprintf(name, NAME_BYTES, "%s", plain ? b->words[b->words_used++] : any_word(b));
    if (plain)
        return;
    uint32_t kind = below(b, 10);
    for (uint32_t edits = 1 + below(b, 3); edits > 0; edits--)
        edit(b, name);
    if (kind >= 5 && kind < 8) {
        snprintf(other, sizeof other, "%.60s %.60s", name, any_word(b));
        strcpy(name, other);
    } else if (kind >= 8) {
        snprintf(other, sizeof other, "%.80s%s%u", name, kind == 8 ? " " : "", below(b, 100000));
        strcpy(name, other);
    }
}

/* Whether the name's key is a new one. */
static bool is_new(struct bench *b, const char *name)
{
    struct buf key = {0};
    text_key(bytes_str(name), &key);
    uint64_t hash = hash64(key.data, key.size) | 1;
    buf_deinit(&key);
    size_t at = hash & b->seen_mask;
    while (b->seen[at] != 0 && b->seen[at] != hash)
        at = (at + 1) & b->seen_mask;
    bool new = b->seen[at] == 0;
    b->seen[at] = hash;
    return new;
}

/* ---- building ---- */

static void settle(struct bench *b, bool all)
{
    struct err err;
    bool merged = true;
    if (all || range_wants_flush(b->range))
        check(range_flush(b->range, &err), &err);
    while (merged && range_wants_merge(b->range))
        check(range_merge(b->range, false, &merged, &err), &err);
}

static size_t fill_batch(struct bench *b, Quire__WriteOp *ops, size_t *made, size_t names,
                         struct arena *arena)
{
    size_t count = 0;
    char name[NAME_BYTES + 1];
    while (count < BATCH && *made < names) {
        Quire__Entry *entry = need(arena_alloc(arena, sizeof *entry));
        quire__entry__init(entry);
        entry->terms = need(arena_calloc(arena, NAMES_EACH, sizeof *entry->terms));
        while (entry->n_terms < NAMES_EACH && *made < names) {
            make_name(b, name);
            if (!is_new(b, name))
                continue;
            entry->terms[entry->n_terms++] = need(arena_strdup(arena, name));
            ++*made;
        }
        entry->headword = entry->terms[0];
        entry->sense = need(arena_printf(arena, "%zu", *made));
        quire__write_op__init(&ops[count]);
        ops[count++].put = entry;
    }
    return count;
}

static void build(struct bench *b, size_t names)
{
    size_t slots = 1024;
    while (slots < 2 * names)
        slots *= 2;
    b->seen = need(calloc(slots, sizeof *b->seen));
    b->seen_mask = slots - 1;
    struct range_op ops[BATCH];
    struct range_result results[BATCH];
    Quire__WriteOp writes[BATCH];
    struct err err;
    for (size_t made = 0; made < names;) {
        struct arena arena;
        arena_init(&arena, 0);
        size_t count = fill_batch(b, writes, &made, names, &arena);
        uint64_t seq = range_applied_seq(b->range);
        for (size_t i = 0; i < count; i++)
            ops[i] = (struct range_op){.seq = seq + 1 + i, .op = &writes[i]};
        check(range_apply(b->range, ops, count, results, &err), &err);
        arena_deinit(&arena);
        settle(b, false);
    }
    settle(b, true);
    free(b->seen);
}

/* ---- queries ---- */

/* A name as somebody might type it: one out of WordNet, with edits, or one of the misspelt ones. */
static void make_query(struct bench *b, bool prefix, char *query)
{
    snprintf(query, NAME_BYTES, "%s", any_word(b));
    if (prefix) {
        query[1 + below(b, 6)] = 0; /* words are padded with their end */
        return;
    }
    if (below(b, 2)) {
        snprintf(query, NAME_BYTES, "%s", b->misspelt[below(b, (uint32_t)b->misspelt_count)]);
        return;
    }
    for (uint32_t edits = 1 + below(b, 2); edits > 0; edits--)
        edit(b, query);
}

static size_t ask_names(struct bench *b, uint32_t distance, struct bytes key, struct arena *arena)
{
    Quire__MatchRequest match = QUIRE__MATCH_REQUEST__INIT;
    Quire__ShardMatch request = QUIRE__SHARD_MATCH__INIT;
    Quire__MatchedName **found;
    struct err err;
    size_t count;
    match.strategy =
        distance ? QUIRE__MATCH_REQUEST__STRATEGY__FUZZY : QUIRE__MATCH_REQUEST__STRATEGY__PREFIX;
    match.has_distance = distance > 0;
    match.distance = distance;
    match.has_limit = 1;
    match.limit = TOP;
    request.match = &match;
    request.key = (ProtobufCBinaryData){key.size, (uint8_t *)key.data};
    check(names_match(range_name_index(b->range), &request, NULL, arena, &found, &count, &err),
          &err);
    return count;
}

static bool copy_token(void *data, const struct token *token)
{
    buf_append_bytes(data, token->text);
    return false;
}

/* As the coordinator asks for a word of a query: as it is and, where that is another, its stem. */
static size_t ask_words(struct bench *b, uint32_t distance, struct bytes key, struct arena *arena)
{
    Quire__QueryNode node = QUIRE__QUERY_NODE__INIT, *nodes = &node;
    Quire__ShardStats request = QUIRE__SHARD_STATS__INIT;
    Quire__RangeStats reply;
    const uint8_t *space = memchr(key.data, ' ', key.size);
    struct bytes word = bytes_of(key.data, space ? (size_t)(space - key.data) : key.size);
    struct buf stem = {0};
    struct err err;
    analyzer_run(b->analyzer, word, ANALYSIS_STEMMED, false, copy_token, &stem);
    ProtobufCBinaryData tokens[] = {{word.size, (uint8_t *)word.data}, {stem.size, stem.data}};
    node.op = distance ? QUIRE__QUERY_NODE__OP__FUZZY : QUIRE__QUERY_NODE__OP__PREFIX;
    node.has_distance = distance > 0;
    node.distance = distance;
    node.tokens = tokens;
    node.n_tokens = stem.size == 0 || bytes_equal(word, buf_bytes(&stem)) ? 1 : 2;
    request.expand = &nodes;
    request.n_expand = 1;
    request.has_expand_limit = 1;
    request.expand_limit = b->room;
    struct view *view = range_view(b->range);
    check(search_statistics(view, &request, arena, &reply, &err), &err);
    view_release(view);
    buf_deinit(&stem);
    return reply.expansions[0]->n_tokens;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_row(const char *what, struct times *times)
{
    qsort(times->wall, QUERIES, sizeof times->wall[0], by_value);
    qsort(times->cpu, QUERIES, sizeof times->cpu[0], by_value);
    printf("%-22s %8.3f %8.3f %8.3f %8.3f %9.1f %8.1f\n", what,
           (double)times->wall[QUERIES / 2] / 1e6, (double)times->wall[QUERIES * 99 / 100] / 1e6,
           (double)times->cpu[QUERIES / 2] / 1e6, (double)times->cpu[QUERIES * 99 / 100] / 1e6,
           (double)times->first / 1e6, (double)times->found / (ROUNDS * QUERIES));
    fflush(stdout);
}

static void measure(struct bench *b, const char *what, uint32_t distance,
                    size_t (*ask)(struct bench *, uint32_t, struct bytes, struct arena *))
{
    struct times *times = need(calloc(1, sizeof *times));
    b->random = 7;
    for (int i = 0; i < ROUNDS * QUERIES; i++) {
        char query[NAME_BYTES + 1];
        struct buf key = {0};
        struct arena arena;
        make_query(b, distance == 0, query);
        text_key(bytes_str(query), &key);
        arena_init(&arena, 0);
        uint64_t wall = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
        times->found += ask(b, distance, buf_bytes(&key), &arena);
        cpu = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
        wall = now_ns(CLOCK_MONOTONIC) - wall;
        arena_deinit(&arena);
        buf_deinit(&key);
        if (i < QUERIES && wall > times->first)
            times->first = wall;
        times->wall[i % QUERIES] = wall;
        times->cpu[i % QUERIES] = cpu;
    }
    print_row(what, times);
    free(times);
}

static void report(struct bench *b)
{
    struct range_figures figures;
    range_figures(b->range, &figures);
    printf("%u segments, %.1f MB on disk, %.1f MB in memory\n", figures.segments,
           (double)figures.disk_bytes / 1e6, (double)figures.memory_bytes / 1e6);
}

static void measure_words(struct bench *b)
{
    b->room = TOP;
    measure(b, "query words, prefix 10", 0, ask_words);
    b->room = LIMIT_EXPANSION;
    measure(b, "query words, prefix", 0, ask_words);
    measure(b, "query words, dist. 1", 1, ask_words);
    measure(b, "query words, dist. 2", 2, ask_words);
}

static void measure_all(struct bench *b)
{
    report(b);
    printf("%-22s %8s %8s %8s %8s %9s %8s\n", "ms", "p50", "p99", "cpu p50", "cpu p99", "first",
           "found");
    measure(b, "names, prefix", 0, ask_names);
    measure(b, "names, distance 1", 1, ask_names);
    measure(b, "names, distance 2", 2, ask_names);
    measure_words(b);
    report(b);
}

static void merge_all(struct bench *b)
{
    struct err err;
    bool merged;
    uint64_t start = now_ns(CLOCK_MONOTONIC);
    check(range_merge(b->range, true, &merged, &err), &err);
    printf("merged in %.1f s\n", (double)(now_ns(CLOCK_MONOTONIC) - start) / 1e9);
}

int main(int argc, char **argv)
{
    size_t names = argc > 1 ? strtoull(argv[1], NULL, 10) : 5000000;
    struct bench b = {.random = 1};
    struct err err;
    char folder[4096] = "/tmp/quire-bench-terms-XXXXXX";
    bool keep = argc > 2;
    if (keep)
        snprintf(folder, sizeof folder, "%s", argv[2]);
    else if (mkdtemp(folder) == NULL)
        return 1;
    load_words(&b);
    load_misspelt(&b);
    struct store_cache *cache = store_cache_create((size_t)1 << 30);
    struct range_settings settings = {.id = 1,
                                      .language = "en",
                                      .document = {3, 2, 1, 1},
                                      .memory_limit = (size_t)256 << 20,
                                      .cache = cache};
    check(range_open(folder, &settings, &b.range, &err), &err);
    check(analyzer_create(settings.language, &b.analyzer, &err), &err);
    uint64_t start = now_ns(CLOCK_MONOTONIC);
    if (range_applied_seq(b.range) == 0)
        build(&b, names);
    printf("%zu names, made ready in %.1f s\n", names,
           (double)(now_ns(CLOCK_MONOTONIC) - start) / 1e9);
    measure_all(&b);
    if (!keep) {
        merge_all(&b);
        measure_words(&b);
        report(&b);
    }
    range_close(b.range);
    analyzer_destroy(b.analyzer);
    store_cache_destroy(cache);
    for (size_t i = 0; i < b.word_count; i++)
        free(b.words[i]);
    for (size_t i = 0; i < b.misspelt_count; i++)
        free(b.misspelt[i]);
    free(b.words);
    free(b.misspelt);
    if (!keep) {
        store_destroy_files(folder, NULL);
        rmdir(folder);
    }
    return 0;
}
