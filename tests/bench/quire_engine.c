/* quire-engine: one range without a cluster around it, for measuring beside other engines.
 *
 *     quire-engine index DIR [DOCS.tsv]       a new range in DIR; a line is
 *                                             N<TAB>id<TAB>text[<TAB>category|category...]
 *     quire-engine merge DIR                  down to one segment
 *     quire-engine delete DIR NTH             every NTH entry, in key order
 *     quire-engine query DIR [top10|exact|exhaustive]
 *     quire-engine compare DIR                the same hits in all three modes?
 *     quire-engine sizes DIR
 *     quire-engine tokens plain|markdown      the stemmed words of each line of stdin
 *
 * The range is the one of the shard (range_open, range_apply, flush, merge) with the settings of a
 * new collection; only the log and the network are not there. An entry has the id as its headword
 * and the text as its body. All in one thread, but for the threads in which RocksDB writes its
 * files.
 *
 * `query` speaks the protocol of the peers' harness (../shared/peers/README.md): a query a line in
 * (and behind a tab, where there is one, categories to filter by: category|category...),
 * `count<TAB>micros` a line out, flushed; `~` before a count that is a lower bound. The micros go
 * from the line having been read to the ten best being known: parsing, stemming, the statistics
 * round and the search, with the code of coordinator and shard. PEERS_IDS=1 adds the hits' line
 * numbers in DOCS.tsv; they come from the stored entries, outside of the micros.
 *
 *     top10       hits are counted up to 1,000 (ShardSearch.total_limit), as by default
 *     exact       the exact count
 *     exhaustive  every match is scored
 */
#include "coordinator/defaults.h"
#include "tests/bench/engine.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RANGE_ID 1
#define MEGABYTE 1e6

/* ---- the range ---- */

const struct document_settings engine_weights = {DEFAULT_WEIGHT_HEADWORD, DEFAULT_WEIGHT_TERMS,
                                                 DEFAULT_WEIGHT_CATEGORIES, DEFAULT_WEIGHT_BODY};

int engine_open(struct engine *engine, const char *dir, const struct engine_options *options,
                bool create, struct err *err)
{
    *engine = (struct engine){.options = options, .dir = dir};
    if (create && store_exists(dir))
        return err_set(err, ERR_EXISTS, "%s holds an index already: give a new folder", dir);
    if (!create && !store_exists(dir))
        return err_set(err, ERR_NOT_FOUND, "%s holds no index", dir);
    engine->cache = store_cache_create(options->cache_bytes);
    struct range_settings settings = {.id = RANGE_ID,
                                      .collection = 1,
                                      .language = DEFAULT_LANGUAGE,
                                      .document = engine_weights,
                                      .order = options->order,
                                      .memory_limit = options->memory_bytes,
                                      .cache = engine->cache};
    return range_open(dir, &settings, &engine->range, err);
}

void engine_close(struct engine *engine)
{
    range_close(engine->range);
    if (engine->cache != NULL)
        store_cache_destroy(engine->cache);
}

int engine_settle(struct engine *engine, bool all, struct err *err)
{
    bool merged = true;
    int code = range_flush(engine->range, err);
    while (code == 0 && merged && (all || range_wants_merge(engine->range)))
        code = range_merge(engine->range, all, &merged, err);
    return code == 0 ? range_flush(engine->range, err) : code;
}

/* Without the one in memory, which is empty after a flush. */
static uint32_t used_segments(struct range *range)
{
    struct view *view = range_view(range);
    uint32_t used = 0;
    for (uint32_t i = 0; i < view->segment_count; i++)
        used += view->segments[i].doc_limit > 0;
    view_release(view);
    return used;
}

void engine_print_sizes(struct engine *engine)
{
    struct range_figures figures;
    struct store *store = range_store(engine->range);
    uint64_t index = 0;
    range_figures(engine->range, &figures);
    printf("entries      %llu in %u segments\n", (unsigned long long)figures.entries,
           used_segments(engine->range));
    for (int i = 0; i < STORE_FAMILIES; i++) {
        uint64_t bytes = store_family_bytes(store, (enum store_family)i);
        index += i == STORE_ENTRY ? 0 : bytes;
        printf("  %-10s %.1f MB\n", store_family_name((enum store_family)i),
               (double)bytes / MEGABYTE);
    }
    printf("disk         %.1f MB, %.1f MB without the stored entries\n",
           (double)figures.disk_bytes / MEGABYTE, (double)index / MEGABYTE);
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double engine_wall_seconds(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double engine_thread_seconds(void)
{
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

double engine_process_seconds(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- the command line ---- */

static void usage(FILE *to)
{
    fprintf(to, "usage: quire-engine [option] index DIR [DOCS.tsv]\n"
                "                             merge DIR\n"
                "                             delete DIR NTH\n"
                "                             query DIR [top10|exact|exhaustive]\n"
                "                             compare DIR\n"
                "                             sizes DIR\n"
                "                             tokens plain|markdown\n"
                "\n"
                "  --memory-bytes SIZE  a memory segment is flushed at this size (default 64M)\n"
                "  --cache-bytes SIZE   of the block cache (default 256M)\n"
                "  --limit N            hits of a query (default 10)\n"
                "  --order ORDER        of documents that are merged: arrival (default), category\n"
                "  --help\n"
                "\n"
                "index and query, compare read stdin. SIZE takes a suffix K, M or G.\n");
}

static bool parse_size(const char *text, size_t *out)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || value == 0 || value > (1ull << 40))
        return false;
    static const char suffixes[] = "KMG";
    const char *suffix = *end != 0 ? strchr(suffixes, *end) : NULL;
    if (*end != 0 && (suffix == NULL || end[1] != 0))
        return false;
    *out = (size_t)value << (suffix == NULL ? 0 : 10 * (suffix - suffixes + 1));
    return true;
}

/* 0, or -1 after a complaint, or 1 when there is nothing more to do. */
static int parse_options(int argc, char **argv, struct engine_options *out)
{
    static const struct option names[] = {{"memory-bytes", required_argument, NULL, 'm'},
                                          {"cache-bytes", required_argument, NULL, 'c'},
                                          {"limit", required_argument, NULL, 'l'},
                                          {"order", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    size_t limit;
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        if (option == 'h') {
            usage(stdout);
            return 1;
        }
        bool good = option != '?';
        if (option == 'm')
            good = parse_size(optarg, &out->memory_bytes);
        if (option == 'c')
            good = parse_size(optarg, &out->cache_bytes);
        if (option == 'l') {
            good = parse_size(optarg, &limit) && limit <= 1000;
            out->limit = good ? (uint32_t)limit : 0;
        }
        if (option == 'o') {
            good = strcmp(optarg, "arrival") == 0 || strcmp(optarg, "category") == 0;
            out->order = *optarg == 'c' ? SEGMENT_ORDER_CATEGORY : SEGMENT_ORDER_ARRIVAL;
        }
        if (!good) {
            fprintf(stderr, "quire-engine: a bad option or value; see --help\n");
            return -1;
        }
    }
    return 0;
}

static int run_query(struct engine *engine, const char *mode, struct err *err)
{
    static const char *const names[] = {"top10", "exact", "exhaustive"};
    for (int i = 0; i < 3; i++)
        if (strcmp(mode, names[i]) == 0)
            return engine_query(engine, (enum engine_mode)i, err);
    return err_set(err, ERR_INVALID, "no mode \"%s\": top10, exact or exhaustive", mode);
}

static int run_delete(struct engine *engine, const char *nth, struct err *err)
{
    size_t value;
    if (nth == NULL || !parse_size(nth, &value))
        return err_set(err, ERR_INVALID, "delete wants a number: every how many-th entry");
    int code = engine_delete(engine, value, err);
    if (code == 0)
        engine_print_sizes(engine);
    return code;
}

static int run(struct engine *engine, const char *command, const char *argument, bool *differ,
               struct err *err)
{
    if (strcmp(command, "index") == 0)
        return engine_index(engine, argument, err);
    if (strcmp(command, "query") == 0)
        return run_query(engine, argument == NULL ? "top10" : argument, err);
    if (strcmp(command, "compare") == 0)
        return engine_compare(engine, differ, err);
    if (strcmp(command, "delete") == 0)
        return run_delete(engine, argument, err);
    double wall = engine_wall_seconds();
    int code = 0;
    if (strcmp(command, "merge") == 0) {
        code = engine_settle(engine, true, err);
        printf("merge        %.2f CPU s, wall %.2f s\n", engine_process_seconds(),
               engine_wall_seconds() - wall);
    }
    if (code == 0)
        engine_print_sizes(engine);
    return code;
}

static bool is_command(const char *text)
{
    static const char *const commands[] = {"index",   "merge", "delete", "query",
                                           "compare", "sizes", "tokens"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(text, commands[i]) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    struct engine_options options = {
        .memory_bytes = (size_t)64 << 20, .cache_bytes = (size_t)256 << 20, .limit = DEFAULT_HITS};
    int code = parse_options(argc, argv, &options);
    if (code != 0)
        return code < 0 ? 2 : 0;
    int left = argc - optind;
    if (left < 2 || left > 3 || !is_command(argv[optind])) {
        usage(stderr);
        return 2;
    }
    struct engine engine = {0};
    struct err err = {0};
    bool differ = false;
    const char *command = argv[optind];
    if (strcmp(command, "tokens") == 0)
        code = engine_tokens(strcmp(argv[optind + 1], "markdown") == 0, &err);
    else
        code =
            engine_open(&engine, argv[optind + 1], &options, strcmp(command, "index") == 0, &err);
    if (code == 0 && engine.range != NULL)
        code = run(&engine, command, left > 2 ? argv[optind + 2] : NULL, &differ, &err);
    engine_close(&engine);
    if (code != 0)
        fprintf(stderr, "quire-engine: %s\n", err.text);
    return code != 0 || differ ? EXIT_FAILURE : EXIT_SUCCESS;
}
