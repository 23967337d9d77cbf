/* quire restore: collections from a backup.
 *
 *   every file is read and checked, and the headwords sampled    nothing is changed before that
 *   -> the collection is created with its settings, and cut by the sample
 *   -> its entries are written as any import's: in the logs of all replicas, checked, analysed
 *   -> each of them has to have come in; else the collection is dropped again
 *
 * Blocks are written in strides over the key space, so that all ranges have work at any time.
 */
#include "client/backup/lines.h"
#include "client/cli/backup.h"
#include "client/cli/commands.h"
#include "client/cli/progress.h"
#include "client/cli/sample.h"
#include "proto/base/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRIDES 32       /* places of the key space that are written to in turns */
#define FAILURES_TOLD 10 /* of entries that the cluster refuses */
#define PREPARE_TIMEOUT_MS 60000

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* From here on an interruption is an error like others: what is half restored is dropped. A second
 * one ends the process. */
static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

struct restoring { /* one collection */
    const struct backup_collection *from;
    const char *name; /* that it gets */
    uint32_t replicas;
    struct sample sample;
    bool exists; /* there is one of that name */
};

struct restore {
    struct cli cli;
    struct backup_store store;
    struct arena arena;
    struct backup_manifest manifest;
    struct restoring *all;
    size_t count;
    uint64_t number, replicas, entries;
    const char *as;
    bool replace;
    struct progress bar;
    struct buf lines;
    struct quire_writer *writer;

    pthread_mutex_t lock; /* over what follows */
    uint64_t outcomes[8]; /* by enum quire_outcome */
    uint64_t failed;
};

/* ---- blocks ---- */

typedef int (*line_fn)(struct restore *it, struct restoring *to, struct bytes line,
                       struct err *err);

static int each_line(struct restore *it, struct restoring *to, line_fn take, struct err *err)
{
    struct bytes rest = buf_bytes(&it->lines);
    int code = 0;
    while (rest.size > 0 && code == 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size); /* it was checked: there is one */
        size_t size = (size_t)(end - rest.data);
        code = take(it, to, bytes_of(rest.data, size), err);
        rest = bytes_of(end + 1, rest.size - size - 1);
    }
    return code;
}

/* The blocks of all parts, in strides. */
static const struct backup_block **order_blocks(const struct backup_collection *from, size_t *count)
{
    size_t all = 0, at = 0;
    for (size_t i = 0; i < from->part_count; i++)
        all += from->parts[i].block_count;
    const struct backup_block **plain = calloc(all + 1, sizeof(void *));
    const struct backup_block **out = calloc(all + 1, sizeof(void *));
    if (plain == NULL || out == NULL)
        abort();
    for (size_t i = 0; i < from->part_count; i++)
        for (size_t j = 0; j < from->parts[i].block_count; j++)
            plain[at++] = &from->parts[i].blocks[j];
    size_t stride = (all + STRIDES - 1) / STRIDES;
    at = 0;
    for (size_t first = 0; first < stride; first++)
        for (size_t i = first; i < all; i += stride)
            out[at++] = plain[i];
    free(plain);
    *count = all;
    return out;
}

static int each_block(struct restore *it, struct restoring *to, line_fn take, uint64_t *done,
                      struct err *err)
{
    size_t count;
    const struct backup_block **blocks = order_blocks(to->from, &count);
    int code = 0;
    for (size_t i = 0; i < count && code == 0; i++) {
        code = interrupted != 0 ? err_set(err, ERR_CANCELED, "interrupted")
                                : backup_store_get(&it->store, blocks[i], &it->lines, err);
        if (code == 0)
            code = each_line(it, to, take, err);
        *done += blocks[i]->entries;
        pthread_mutex_lock(&it->lock);
        progress_update(&it->bar, *done, *done);
        pthread_mutex_unlock(&it->lock);
    }
    free(blocks);
    return code;
}

/* ---- checking ---- */

static int sample_line(struct restore *it, struct restoring *to, struct bytes line, struct err *err)
{
    (void)it;
    if (!sample_wants(&to->sample))
        return 0;
    char *headword = backup_line_headword(line);
    if (headword == NULL)
        return err_set(err, ERR_CORRUPT, "a line of the backup is not an entry");
    sample_add(&to->sample, headword);
    free(headword);
    return 0;
}

static int check_all(struct restore *it, struct err *err)
{
    uint64_t done = 0;
    int code = 0;
    progress_start(&it->bar, "checking ", it->entries);
    for (size_t i = 0; i < it->count && code == 0; i++)
        code = each_block(it, &it->all[i], sample_line, &done, err);
    progress_stop(&it->bar);
    if (code != 0)
        err_prefix(err, "nothing is changed");
    return code;
}

/* ---- writing ---- */

static void written(void *data, const struct quire_writer_item *item)
{
    struct restore *it = data;
    pthread_mutex_lock(&it->lock);
    it->outcomes[item->outcome]++;
    if (item->outcome == QUIRE_FAILED && it->failed++ < FAILURES_TOLD)
        cli_say(&it->cli, "an entry cannot be restored: %s", item->error);
    pthread_mutex_unlock(&it->lock);
}

static int write_line(struct restore *it, struct restoring *to, struct bytes line, struct err *err)
{
    (void)to;
    struct quire_entry entry;
    struct arena arena;
    arena_init(&arena, 0);
    int code = backup_line_read(line, &arena, &entry, err);
    if (code == 0) {
        code = quire_writer_put(it->writer, &entry, NULL);
        if (code != QUIRE_OK)
            err_set(err, code, "\"%.100s\": %s", entry.headword, quire_writer_error(it->writer));
    }
    arena_deinit(&arena);
    return code;
}

static int flush(struct restore *it, struct err *err)
{
    int code = quire_writer_flush(it->writer);
    return code == QUIRE_OK ? 0 : err_set(err, code, "%s", quire_writer_error(it->writer));
}

static int write_entries(struct restore *it, struct restoring *to, uint64_t *done, struct err *err)
{
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    char error[QUIRE_ERROR_SIZE];
    memset(it->outcomes, 0, sizeof it->outcomes);
    it->failed = 0;
    options.collection = to->name;
    options.timeout_ms = it->cli.timeout_ms;
    options.result = written;
    options.data = it;
    int code = quire_writer_create(it->cli.client, &options, &it->writer, error, sizeof error);
    if (code != QUIRE_OK)
        return err_set(err, code, "%s", error);
    code = each_block(it, to, write_line, done, err);
    if (code == 0)
        code = flush(it, err);
    quire_writer_destroy(it->writer);
    it->writer = NULL;
    if (code == 0 && it->outcomes[QUIRE_NEW] != to->from->entries)
        code = err_set(err, ERR_CONFLICT,
                       "of %" PRIu64 " entries %" PRIu64 " came in as new, %" PRIu64
                       " failed: does somebody else write to it?",
                       to->from->entries, it->outcomes[QUIRE_NEW], it->failed);
    return code;
}

/* ---- collections ---- */

static int drop(struct restore *it, const struct restoring *to, struct err *err)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_result *result = NULL;
    request.collection = to->name;
    request.timeout_ms = it->cli.timeout_ms;
    int code = quire_collection_drop_wait(it->cli.client, &request, &result);
    if (code != QUIRE_OK)
        err_set(err, code, "%s", result != NULL ? result->error : "");
    quire_result_free(result);
    return code;
}

static int create(struct restore *it, const struct restoring *to, struct err *err)
{
    struct quire_collection_request request = QUIRE_COLLECTION_INIT;
    const struct quire_collection_result *result = NULL;
    const struct backup_collection *from = to->from;
    request.collection = to->name;
    request.language = from->language;
    request.weight_headword = from->weight_headword;
    request.weight_terms = from->weight_terms;
    request.weight_categories = from->weight_categories;
    request.weight_body = from->weight_body;
    request.k1 = from->k1;
    request.b = from->b;
    request.order = from->by_category ? QUIRE_ORDER_CATEGORY : QUIRE_ORDER_ARRIVAL;
    request.replicas = to->replicas;
    request.timeout_ms = it->cli.timeout_ms;
    int code = quire_collection_create_wait(it->cli.client, &request, &result);
    if (code != QUIRE_OK)
        err_set(err, code, "%s", result != NULL ? result->error : "");
    quire_result_free(result);
    return code;
}

/* Cuts it into ranges. */
static int prepare(struct restore *it, const struct restoring *to, struct err *err)
{
    struct quire_prepare_request request = QUIRE_PREPARE_INIT;
    const struct quire_collection_result *result = NULL;
    if (to->sample.count == 0)
        return 0;
    request.collection = to->name;
    request.sample = (const char *const *)to->sample.words;
    request.sample_count = to->sample.count;
    request.timeout_ms = it->cli.timeout_ms != 0 ? it->cli.timeout_ms : PREPARE_TIMEOUT_MS;
    int code = quire_import_prepare_wait(it->cli.client, &request, &result);
    if (code != QUIRE_OK)
        err_set(err, code, "%s", result != NULL ? result->error : "");
    quire_result_free(result);
    return code;
}

/* One that could not be made whole does not stay. */
static void undo(struct restore *it, const struct restoring *to)
{
    struct err err = {0};
    if (drop(it, to, &err) != 0)
        cli_say(&it->cli, "collection %s is there with a part of its entries: %s", to->name,
                err.text);
    else
        cli_say(&it->cli, "collection %s was dropped again", to->name);
}

static int restore_one(struct restore *it, struct restoring *to, uint64_t *done, struct err *err)
{
    int code = to->exists ? drop(it, to, err) : 0;
    if (code == 0)
        code = create(it, to, err);
    if (code != 0)
        return err_prefix(err, "collection %s", to->name);
    code = prepare(it, to, err);
    if (code == 0)
        code = write_entries(it, to, done, err);
    if (code == 0)
        return 0;
    err_prefix(err, "collection %s", to->name);
    undo(it, to);
    return code;
}

/* ---- choosing ---- */

static int choose(struct restore *it, struct err *err)
{
    const struct backup_manifest *manifest = &it->manifest;
    int code = backup_choose(&it->store, it->number, &it->arena, &it->manifest, err);
    if (code != 0)
        return code;
    it->all = calloc(manifest->collection_count + 1, sizeof it->all[0]);
    if (it->all == NULL)
        abort();
    for (size_t i = 0; i < manifest->collection_count; i++) {
        const struct backup_collection *from = &manifest->collections[i];
        if (it->cli.collection_given && strcmp(from->name, it->cli.collection) != 0)
            continue;
        struct restoring *to = &it->all[it->count++];
        to->from = from;
        to->name = it->as != NULL ? it->as : from->name;
        sample_init(&to->sample, QUIRE_MAX_SAMPLE);
        it->entries += from->entries;
    }
    if (it->count == 0)
        return err_set(err, ERR_NOT_FOUND, "backup %" PRIu64 " has no collection %s",
                       manifest->number, it->cli.collection);
    if (it->as != NULL && it->count > 1)
        return err_set(err, ERR_INVALID, "--as names one collection, the backup has %zu: say -c",
                       it->count);
    return 0;
}

static int look_for_names(struct restore *it, struct err *err)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_collections_result *result = NULL;
    request.timeout_ms = it->cli.timeout_ms;
    int code = quire_collection_list_wait(it->cli.client, &request, &result);
    if (code != QUIRE_OK)
        err_set(err, code, "%s", result != NULL ? result->error : "");
    for (size_t i = 0; code == 0 && i < result->collection_count; i++)
        for (size_t j = 0; j < it->count; j++)
            it->all[j].exists |= strcmp(result->collections[i]->name, it->all[j].name) == 0;
    quire_result_free(result);
    for (size_t j = 0; code == 0 && j < it->count; j++)
        if (it->all[j].exists && !it->replace)
            code = err_set(err, ERR_EXISTS,
                           "there is a collection %s already: restore it --as another one, or "
                           "--replace it",
                           it->all[j].name);
    return code;
}

/* As many replicas as it had, but not more than there are shards. */
static int choose_replicas(struct restore *it, struct err *err)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_status_result *result = NULL;
    uint32_t alive = 0;
    request.timeout_ms = it->cli.timeout_ms;
    int code = quire_status_wait(it->cli.client, &request, &result);
    if (code != QUIRE_OK)
        err_set(err, code, "%s", result != NULL ? result->error : "");
    for (size_t i = 0; code == 0 && i < result->node_count; i++)
        alive += result->nodes[i]->alive;
    quire_result_free(result);
    for (size_t i = 0; i < it->count; i++) {
        struct restoring *to = &it->all[i];
        to->replicas = it->replicas != 0 ? (uint32_t)it->replicas : to->from->replicas;
        if (it->replicas != 0 || to->replicas <= alive || alive == 0)
            continue;
        cli_say(&it->cli, "collection %s had %u replicas, it gets %u: there are no more shards",
                to->name, to->replicas, alive);
        to->replicas = alive;
    }
    return code;
}

static int restore_all(struct restore *it, struct err *err)
{
    uint64_t done = 0;
    int code = choose(it, err);
    if (code == 0)
        code = look_for_names(it, err);
    if (code == 0)
        code = choose_replicas(it, err);
    watch_signals();
    if (code == 0)
        code = check_all(it, err);
    progress_start(&it->bar, "restoring", it->entries);
    for (size_t i = 0; i < it->count && code == 0; i++)
        code = restore_one(it, &it->all[i], &done, err);
    progress_stop(&it->bar);
    return code;
}

/* ---- the command ---- */

static void report(struct restore *it, uint64_t began_ms)
{
    double seconds = (double)(clock_ms() - began_ms + 1) / 1000;
    json_t *list = json_array();
    char text[32];
    for (size_t i = 0; i < it->count; i++)
        json_array_append_new(list,
                              json_pack("{s:o,s:o,s:I,s:i}", "name", cli_text(it->all[i].name),
                                        "from", cli_text(it->all[i].from->name), "entries",
                                        (json_int_t)it->all[i].from->entries, "replicas",
                                        (int)it->all[i].replicas));
    if (it->cli.json) {
        cli_print_json(&it->cli, json_pack("{s:o,s:I,s:o,s:I,s:f}", "directory",
                                           cli_text(it->cli.operands[0]), "backup",
                                           (json_int_t)it->manifest.number, "collections", list,
                                           "entries", (json_int_t)it->entries, "seconds", seconds));
        return;
    }
    json_decref(list);
    for (size_t i = 0; i < it->count; i++)
        printf("restored collection %s from backup %" PRIu64 ": %s entries\n", it->all[i].name,
               it->manifest.number, cli_count(it->all[i].from->entries, text));
    printf("%s entries in %.1f s\n", cli_count(it->entries, text), seconds);
}

int cmd_restore(const struct cli_command *command, int argc, char **argv)
{
    struct restore it = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const struct cli_option options[] = {{"backup", 0, CLI_NUMBER, &it.number, 1, UINT64_MAX},
                                         {"as", 0, CLI_TEXT, &it.as, 0, 0},
                                         {"replace", 0, CLI_FLAG, &it.replace, 0, 0},
                                         {"replicas", 0, CLI_NUMBER, &it.replicas, 1, 5}};
    uint64_t began_ms = clock_ms();
    struct err err = {0};
    int exit;

    if (!cli_parse(&it.cli, command, argc, argv, options, 4, 1, 1, &exit))
        return exit;
    if (!cli_connect(&it.cli, &exit))
        return exit;
    if (backup_store_open(it.cli.operands[0], &it.store, &err) != 0)
        return cli_end(&it.cli, backup_failed(&it.cli, err.code, err.text));
    arena_init(&it.arena, 0);
    if (restore_all(&it, &err) == 0)
        report(&it, began_ms);
    else
        exit = backup_failed(&it.cli, err.code, err.text);
    for (size_t i = 0; i < it.count; i++)
        sample_deinit(&it.all[i].sample);
    free(it.all);
    buf_deinit(&it.lines);
    arena_deinit(&it.arena);
    backup_store_close(&it.store);
    pthread_mutex_destroy(&it.lock);
    return cli_end(&it.cli, exit);
}
