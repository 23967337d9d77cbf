/* How fast entries become a searchable segment, and how large it is: analysis, memory segment,
 * flush, merge, reading.
 *
 *     bench_segment [documents [documents of a memory segment]]        corpus: arxiv200k, see
 * QUIRE_CORPUS
 */
#include "shard/disk_format.h"
#include "shard/disk_segment.h"
#include "shard/memory_segment.h"

#include "arxiv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEGMENTS_MAX 64

struct bench {
    struct store *store;
    struct analyzer *analyzer;
    struct arena arena;
    struct view_segment disk[SEGMENTS_MAX];
    uint32_t disk_count;
    struct segment *memory;
    uint64_t entries, text_bytes, memory_bytes;
    double parse, analyze, add, flush;
};

/* Of this thread, so that what else the machine does counts less. */
static uint64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double seconds_since(uint64_t start)
{
    return (double)(cpu_ns() - start) / 1e9;
}

static void check(int code, const struct err *err)
{
    if (code != 0) {
        fprintf(stderr, "%s\n", err->text);
        exit(1);
    }
}

static void flush(struct bench *b)
{
    struct view_segment source = {.segment = b->memory,
                                  .doc_limit = memory_segment_documents(b->memory)};
    uint64_t start = cpu_ns(), id = b->memory->id;
    struct segment *disk;
    struct err err;

    if (source.doc_limit == 0)
        return;
    b->memory_bytes += memory_segment_bytes(b->memory);
    check(disk_segment_write(b->store, id, &source, 1, NULL, NULL, NULL, &err), &err);
    check(disk_segment_open(b->store, id, &disk, &err), &err);
    b->disk[b->disk_count++] =
        (struct view_segment){.segment = disk, .doc_limit = source.doc_limit};
    segment_unref(b->memory);
    b->memory = memory_segment_create(id + 1);
    b->flush += seconds_since(start);
}

static void add_line(struct bench *b, const char *line, size_t size)
{
    static const struct document_settings weights = {3, 2, 1, 1};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    uint64_t start = cpu_ns();
    json_t *json;
    struct document document;
    struct err err;
    uint32_t doc;

    json = arxiv_entry(line, size, &entry);
    if (json == NULL)
        return;
    b->parse += seconds_since(start);
    start = cpu_ns();
    check(document_analyze(b->analyzer, &weights, &entry, &b->arena, &document, &err), &err);
    b->analyze += seconds_since(start);
    start = cpu_ns();
    check(memory_segment_add(b->memory, &document, &doc, &err), &err);
    b->add += seconds_since(start);
    b->entries++;
    b->text_bytes += strlen(entry.headword) + (entry.body == NULL ? 0 : strlen(entry.body));
    arena_deinit(&b->arena);
    arxiv_entry_free(json, &entry);
}

static uint64_t row_sum(const struct store_iterator *it)
{
    struct bytes key = store_iterator_key(it), value = store_iterator_value(it);

    return hash64(key.data, key.size) ^ hash64(value.data, value.size);
}

/* The sums tell whether two builds write the same bytes. */
static void sizes(struct bench *b, uint64_t id)
{
    static const struct {
        enum store_family family;
        const char *name;
    } families[] = {
        {STORE_TERM, "term"}, {STORE_POST, "post"}, {STORE_POS, "pos"}, {STORE_DOC, "doc"}};

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        uint64_t rows = 0, keys = 0, values = 0, sum = 0;
        struct disk_key from, to;
        struct store_iterator *it;

        disk_key_segment(&from, id);
        disk_key_segment(&to, id + 1);
        it =
            store_iterate(b->store, families[i].family, disk_key_bytes(&from), disk_key_bytes(&to));
        for (; store_iterator_valid(it); store_iterator_next(it)) {
            rows++;
            keys += store_iterator_key(it).size;
            values += store_iterator_value(it).size;
            sum = sum * 31 + row_sum(it);
        }
        store_iterator_close(it);
        printf("  %-5s rows %9llu   keys %6.1f MB   values %7.1f MB   sum %016llx\n",
               families[i].name, (unsigned long long)rows, (double)keys / 1e6, (double)values / 1e6,
               (unsigned long long)sum);
    }
}

static void read_lists(struct segment *segment)
{
    uint64_t start = cpu_ns(), postings = 0, sum = 0, lists = 0;
    struct segment_terms *terms;
    struct err err;

    check(segment->ops->terms(segment, NULL, &terms, &err), &err);
    while (terms->ops->valid(terms)) {
        struct posting_cursor *cursor;

        check(terms->ops->postings(terms, &cursor, &err), &err);
        check(posting_next(cursor, &err), &err);
        for (; posting_doc(cursor) != POSTING_END; check(posting_next(cursor, &err), &err)) {
            postings++;
            check(posting_load_freqs(cursor, &err), &err);
            sum += posting_freq(cursor);
        }
        posting_close(cursor);
        lists++;
        check(terms->ops->next(terms, &err), &err);
    }
    terms->ops->close(terms);
    printf("read   %llu lists, %llu postings (%llu) in %.2f s: %.2f ns a posting\n",
           (unsigned long long)lists, (unsigned long long)postings, (unsigned long long)sum,
           seconds_since(start), seconds_since(start) * 1e9 / (double)postings);
}

#define OPENED 2000

/* What a query pays to begin with a list: at first, and when it is kept. */
static void open_lists(struct segment *segment)
{
    static uint8_t texts[OPENED][UINT8_MAX];
    static struct segment_token tokens[OPENED];
    struct segment_terms *terms;
    uint32_t count = 0;
    struct err err;

    check(segment->ops->terms(segment, NULL, &terms, &err), &err);
    for (; count < OPENED && terms->ops->valid(terms); check(terms->ops->next(terms, &err), &err)) {
        struct segment_token token = terms->ops->token(terms);

        if (terms->ops->frequency(terms) < 100)
            continue;
        memcpy(texts[count], token.text.data, token.text.size);
        tokens[count] =
            (struct segment_token){token.field, bytes_of(texts[count], token.text.size)};
        count++;
    }
    terms->ops->close(terms);
    for (uint32_t turn = 0; turn < 3; turn++) {
        uint64_t start = cpu_ns(), opened, df = 0;

        for (uint32_t i = 0; i < count; i++) {
            struct posting_cursor *cursor;

            check(segment->ops->postings(segment, tokens[i], POSTING_END, &cursor, &err), &err);
            df += cursor->df;
            posting_close(cursor);
        }
        opened = cpu_ns() - start;
        printf("open   %u lists of %llu postings: %.0f ns each\n", count, (unsigned long long)df,
               (double)opened / count);
    }
}

static void merge(struct bench *b)
{
    uint64_t start = cpu_ns(), postings;
    struct segment *merged;
    struct err err;

    check(disk_segment_write(b->store, 1000, b->disk, b->disk_count, NULL, NULL, NULL, &err), &err);
    printf("merge  %u segments in %.2f s\n", b->disk_count, seconds_since(start));
    start = cpu_ns();
    check(disk_segment_open(b->store, 1000, &merged, &err), &err);
    printf("open   %.3f s\n", seconds_since(start));
    printf("size   %.1f MB in %llu postings of %u documents\n",
           (double)disk_segment_bytes(merged) / 1e6,
           (unsigned long long)disk_segment_postings(merged), disk_segment_documents(merged));
    sizes(b, 1000);
    read_lists(merged);
    open_lists(merged);
    start = cpu_ns();
    check(disk_segment_validate(merged, &postings, &err), &err);
    printf("validate %.2f s\n", seconds_since(start));
    segment_unref(merged);
}

int main(int argc, char **argv)
{
    uint64_t most = argc > 1 ? strtoull(argv[1], NULL, 10) : 50000;
    uint64_t each = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    struct store_cache *cache = store_cache_create((size_t)256 << 20);
    char path[] = "/tmp/quire-bench-XXXXXX", *text, *at;
    struct bench b = {.memory = memory_segment_create(1)};
    struct err err;
    size_t size;

    text = arxiv_load(&size);
    if (text == NULL) {
        fprintf(stderr, "bench_segment: no arxiv200k in $QUIRE_CORPUS: skipped\n");
        return 0;
    }
    if (mkdtemp(path) == NULL)
        return 1;
    check(store_open(path, cache, &b.store, &err), &err);
    check(analyzer_create("en", &b.analyzer, &err), &err);
    arena_init(&b.arena, 0);
    at = text;
    for (char *end;
         b.entries < most && (end = memchr(at, '\n', (size_t)(text + size - at))) != NULL;
         at = end + 1) {
        add_line(&b, at, (size_t)(end - at));
        if (memory_segment_documents(b.memory) >= each && b.disk_count + 1 < SEGMENTS_MAX)
            flush(&b);
    }
    flush(&b);
    printf("%llu entries, %.1f MB of text\n", (unsigned long long)b.entries,
           (double)b.text_bytes / 1e6);
    printf("parse  %.2f s\nanalyze %.2f s: %.0f entries/s, %.1f MB/s\nadd    %.2f s: %.0f "
           "entries/s, %.1f MB of memory\n"
           "flush  %.2f s\n",
           b.parse, b.analyze, (double)b.entries / b.analyze,
           (double)b.text_bytes / b.analyze / 1e6, b.add, (double)b.entries / b.add,
           (double)b.memory_bytes / 1e6, b.flush);
    merge(&b);
    for (uint32_t i = 0; i < b.disk_count; i++)
        segment_unref(b.disk[i].segment);
    segment_unref(b.memory);
    analyzer_destroy(b.analyzer);
    store_close(b.store);
    store_cache_destroy(cache);
    (void)store_destroy_files(path, &err);
    (void)rmdir(path);
    free(text);
    return 0;
}
