/* quire import: files to entries to the cluster.
 *
 * A first pass reads a sample of the headwords, from which the coordinator cuts the key space of a
 * collection that is still empty; it is left out when the collection has entries already. Standard
 * input cannot be read twice: there the first entries are held back and sampled. The second pass
 * streams every entry through libquire's writer, which gathers batches and waits when the cluster
 * does not keep up. What became of each entry is told on the client's thread, hence the lock around
 * the counts.
 *
 * Batches that are under way at the same time are applied in no particular order. So an entry that
 * was put since the last flush and comes again with other contents (pages that overlap) is preceded
 * by a flush: the later one wins.
 */
#include "client/import/import.h"
#include "client/cli/commands.h"
#include "client/cli/convert.h"
#include "client/cli/progress.h"
#include "client/cli/sample.h"
#include "client/import/seen.h"
#include "proto/base/clock.h"
#include "proto/text/key.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FAILURES_MAX 1000       /* told in the JSON document; standard error has all of them */
#define SINCE_FLUSH_MAX 1000000 /* identities remembered; beyond: a flush */
#define PREPARE_TIMEOUT_MS 60000
#define LINE_BITS 40 /* of a tag; the rest is the number of the file */

struct failure {
    size_t file;
    size_t line;
    char *reason; /* malloc'd */
};

struct import_command {
    struct cli cli;
    enum import_format format;
    const char *language;
    uint64_t replicas; /* 0: not given */
    bool dry_run;

    pthread_mutex_t lock; /* over what follows, up to the next blank line */
    uint64_t outcomes[8]; /* by enum quire_outcome */
    uint64_t failed;      /* entries that failed anywhere, and files that could not be read */
    struct failure *failures;
    size_t failure_count, failure_capacity;

    uint64_t read;
    struct quire_writer *writer;
    struct seen *since_flush;
    size_t since_flush_count;
    struct progress progress;
    uint64_t bytes_before; /* of the files that are done */
    int status;            /* of libquire, once the import cannot go on */
    char error[QUIRE_ERROR_SIZE];

    struct importer *held; /* standard input, opened in the first pass */
    struct import_run *held_run;
    struct import_entry *held_entries; /* its first entries */
    size_t held_count, held_at;
    struct import_problem held_problem; /* what came right after them */
    enum import_step held_step;
};

static const char *file_name(const struct import_command *import, size_t file)
{
    const char *name = import->cli.operands[file];

    return strcmp(name, "-") == 0 ? "standard input" : name;
}

/* ---- failures ---- */

static void tell_failure(struct import_command *import, size_t file, size_t line,
                         const char *reason)
{
    if (import->progress.shown)
        fputs("\r\033[K", stderr);
    if (line > 0)
        cli_say(&import->cli, "%s:%zu: %s", file_name(import, file), line, reason);
    else
        cli_say(&import->cli, "%s: %s", file_name(import, file), reason);
}

static void add_failure(struct import_command *import, size_t file, size_t line, const char *reason)
{
    pthread_mutex_lock(&import->lock);
    import->failed++;
    tell_failure(import, file, line, reason);
    if (import->failure_count < FAILURES_MAX) {
        if (import->failure_count == import->failure_capacity) {
            import->failure_capacity = import->failure_capacity * 2 + 16;
            import->failures =
                realloc(import->failures, import->failure_capacity * sizeof *import->failures);
        }
        char *copy = strdup(reason);
        if (import->failures == NULL || copy == NULL)
            abort();
        import->failures[import->failure_count++] = (struct failure){file, line, copy};
    }
    pthread_mutex_unlock(&import->lock);
}

static int compare_failures(const void *a, const void *b)
{
    const struct failure *left = a, *right = b;

    if (left->file != right->file)
        return left->file < right->file ? -1 : 1;
    return left->line < right->line ? -1 : left->line > right->line;
}

/* ---- writing ---- */

static void *make_tag(size_t file, size_t line)
{
    return (void *)(uintptr_t)((uint64_t)file << LINE_BITS |
                               (line & ((UINT64_C(1) << LINE_BITS) - 1)));
}

/* On the client's thread. */
static void written(void *data, const struct quire_writer_item *item)
{
    struct import_command *import = data;
    uint64_t tag = (uint64_t)(uintptr_t)item->tag;

    if (item->outcome == QUIRE_FAILED) {
        add_failure(import, (size_t)(tag >> LINE_BITS),
                    (size_t)(tag & ((UINT64_C(1) << LINE_BITS) - 1)), item->error);
        return;
    }
    pthread_mutex_lock(&import->lock);
    import->outcomes[item->outcome]++;
    pthread_mutex_unlock(&import->lock);
}

static uint64_t hash_identity(const struct import_entry *entry)
{
    struct buf name = {0};
    uint64_t hash;

    text_key(bytes_str(entry->headword), &name);
    buf_append_u8(&name, 0);
    buf_append_str(&name, entry->sense);
    hash = hash64(name.data, name.size);
    buf_deinit(&name);
    return hash;
}

static uint32_t hash_contents(const struct import_entry *entry)
{
    uint64_t hash = hash64(entry->body, entry->body_size);

    for (size_t i = 0; i < entry->term_count; i++)
        hash = hash * 31 + hash64(entry->terms[i], strlen(entry->terms[i]));
    for (size_t i = 0; i < entry->category_count; i++)
        hash = hash * 37 + hash64(entry->categories[i], strlen(entry->categories[i]));
    return (uint32_t)hash | 1; /* never 0, which means "not met" */
}

static void stop_import(struct import_command *import, int status)
{
    import->status = status;
    snprintf(import->error, sizeof import->error, "%s", quire_writer_error(import->writer));
}

/* Flushes when this entry has come before with other contents, or when too many are remembered. */
static bool keep_order(struct import_command *import, const struct import_entry *entry)
{
    uint64_t identity = hash_identity(entry);
    uint32_t contents = hash_contents(entry);
    uint32_t before = seen_find(import->since_flush, identity, 0);

    if (before == contents)
        return true;
    if (before != 0 || import->since_flush_count == SINCE_FLUSH_MAX) {
        int status = quire_writer_flush(import->writer);
        if (status != QUIRE_OK) {
            stop_import(import, status);
            return false;
        }
        seen_destroy(import->since_flush);
        import->since_flush = seen_create();
        import->since_flush_count = 0;
        if (import->since_flush == NULL)
            abort();
    }
    seen_put(import->since_flush, identity, 0, contents);
    import->since_flush_count++;
    return true;
}

/* False once the import cannot go on. */
static bool write_entry(struct import_command *import, size_t file, struct import_entry *entry)
{
    struct quire_entry out;
    int status;

    if (import->dry_run)
        return true;
    if (!keep_order(import, entry))
        return false;
    cli_convert(entry, &out);
    status = quire_writer_put(import->writer, &out, make_tag(file, entry->line));
    if (status == QUIRE_OK)
        return true;
    if (status == QUIRE_INVALID || status == QUIRE_TOO_LARGE) {
        add_failure(import, file, entry->line, quire_writer_error(import->writer));
        return true;
    }
    stop_import(import, status);
    return false;
}

/* ---- reading ---- */

static void update_progress(struct import_command *import, const struct importer *importer)
{
    uint64_t done = 0, size = 0;

    if (!import->progress.shown)
        return;
    importer_progress(importer, &done, &size);
    pthread_mutex_lock(&import->lock);
    progress_update(&import->progress, import->bytes_before + done, import->read);
    pthread_mutex_unlock(&import->lock);
}

static void take_problem(struct import_command *import, size_t file,
                         const struct import_problem *problem)
{
    if (problem->severity == IMPORT_WARNING) {
        pthread_mutex_lock(&import->lock);
        tell_failure(import, file, problem->line, problem->text);
        pthread_mutex_unlock(&import->lock);
        return;
    }
    if (problem->severity == IMPORT_BAD_ENTRY)
        import->read++;
    add_failure(import, file, problem->line, problem->text);
}

/* The next step of an importer, or of the entries that were held back. */
static enum import_step next_step(struct import_command *import, struct importer *importer,
                                  struct import_entry **entry, struct import_problem *problem)
{
    if (importer == import->held && import->held_at < import->held_count) {
        *entry = &import->held_entries[import->held_at++];
        return IMPORT_ENTRY;
    }
    if (importer == import->held && import->held_step == IMPORT_PROBLEM) {
        *problem = import->held_problem;
        import->held_step = IMPORT_ENTRY;
        return IMPORT_PROBLEM;
    }
    return importer_next(importer, *entry, problem);
}

static bool import_steps(struct import_command *import, size_t file, struct importer *importer)
{
    struct import_entry own, *entry;
    struct import_problem problem;
    enum import_step step;
    bool go_on = true;

    import_entry_init(&own);
    while (go_on) {
        entry = &own;
        step = next_step(import, importer, &entry, &problem);
        if (step == IMPORT_END)
            break;
        if (step == IMPORT_PROBLEM) {
            take_problem(import, file, &problem);
        } else {
            import->read++;
            go_on = write_entry(import, file, entry);
        }
        update_progress(import, importer);
    }
    import_entry_deinit(&own);
    return go_on;
}

static uint64_t file_size(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
}

/* False once the import cannot go on. */
static bool import_file(struct import_command *import, size_t file, struct import_run *run)
{
    const char *path = import->cli.operands[file];
    struct importer *importer = NULL;
    struct err err = {0};
    bool go_on;

    if (strcmp(path, "-") == 0 && import->held != NULL) {
        importer = import->held;
    } else if (importer_open(path, import->format, run, &importer, &err) != 0) {
        add_failure(import, file, 0, err.text);
        return true;
    }
    go_on = import_steps(import, file, importer);
    if (importer == import->held)
        import->held = NULL;
    importer_close(importer);
    import->bytes_before += file_size(path);
    return go_on;
}

/* ---- the sample ---- */

/* Standard input: holds the first entries back for the second pass. */
static void hold_back(struct import_command *import, struct sample *sample)
{
    struct err err = {0};

    import->held_run = import_run_create();
    if (import->held_run == NULL || import->held != NULL ||
        importer_open("-", import->format, import->held_run, &import->held, &err) != 0)
        return; /* the second pass will say why */
    import->held_entries = calloc(QUIRE_MAX_SAMPLE, sizeof *import->held_entries);
    if (import->held_entries == NULL)
        abort();
    for (size_t bytes = 0; import->held_count < QUIRE_MAX_SAMPLE && bytes < (32u << 20);) {
        struct import_entry *entry = &import->held_entries[import->held_count];
        import_entry_init(entry);
        import->held_step = importer_next(import->held, entry, &import->held_problem);
        if (import->held_step != IMPORT_ENTRY) {
            import_entry_deinit(entry);
            break;
        }
        import->held_count++;
        bytes += entry->body_size;
        if (sample_wants(sample))
            sample_add(sample, entry->headword);
    }
}

static void sample_file(struct import_command *import, const char *path, struct import_run *run,
                        struct sample *sample)
{
    struct importer *importer = NULL;
    struct import_entry entry;
    struct import_problem problem;
    enum import_step step;

    if (strcmp(path, "-") == 0) {
        if (import->held == NULL)
            hold_back(import, sample);
        return;
    }
    if (importer_open(path, import->format, run, &importer, NULL) != 0)
        return;
    import_entry_init(&entry);
    do {
        if (sample_wants(sample)) {
            step = importer_next(importer, &entry, &problem);
            if (step == IMPORT_ENTRY)
                sample_add(sample, entry.headword);
        } else {
            step = importer_skip(importer);
        }
        if (import->progress.shown) {
            uint64_t done, size;
            importer_progress(importer, &done, &size);
            progress_update(&import->progress, import->bytes_before + done, sample->seen);
        }
    } while (step != IMPORT_END);
    import_entry_deinit(&entry);
    importer_close(importer);
    import->bytes_before += file_size(path);
}

/* Whether the collection is there and has entries: then its ranges are cut already. */
static int has_entries(struct import_command *import, bool *yes)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_collections_result *result = NULL;
    int status;

    *yes = false;
    request.timeout_ms = import->cli.timeout_ms;
    status = quire_collection_list_wait(import->cli.client, &request, &result);
    if (status != QUIRE_OK)
        snprintf(import->error, sizeof import->error, "%s", result != NULL ? result->error : "");
    for (size_t i = 0; status == QUIRE_OK && i < result->collection_count; i++)
        if (strcmp(result->collections[i]->name, import->cli.collection) == 0)
            *yes = result->collections[i]->entries > 0;
    quire_result_free(result);
    return status;
}

static uint64_t total_size(const struct import_command *import)
{
    uint64_t size = 0;

    for (int i = 0; i < import->cli.operand_count; i++) {
        uint64_t one = file_size(import->cli.operands[i]);
        if (one == 0)
            return 0; /* one of unknown size: no bar */
        size += one;
    }
    return size;
}

/* The first pass, and what the coordinator makes of it. */
static int prepare(struct import_command *import)
{
    struct quire_prepare_request request = QUIRE_PREPARE_INIT;
    const struct quire_collection_result *result = NULL;
    struct import_run *run = NULL;
    struct sample sample;
    bool full;
    int status = has_entries(import, &full);

    if (status != QUIRE_OK || full)
        return status;
    run = import_run_create();
    if (run == NULL)
        return QUIRE_NOMEM;
    sample_init(&sample, QUIRE_MAX_SAMPLE);
    progress_start(&import->progress, "sampling ", total_size(import));
    for (int i = 0; i < import->cli.operand_count; i++)
        sample_file(import, import->cli.operands[i], run, &sample);
    progress_stop(&import->progress);
    import->bytes_before = 0;
    request.collection = import->cli.collection;
    request.language = import->language;
    request.replicas = (uint32_t)import->replicas;
    request.sample = (const char *const *)sample.words;
    request.sample_count = sample.count;
    request.timeout_ms = import->cli.timeout_ms != 0 ? import->cli.timeout_ms : PREPARE_TIMEOUT_MS;
    if (sample.count > 0) /* else there is nothing to write, and no collection to create for it */
        status = quire_import_prepare_wait(import->cli.client, &request, &result);
    if (status != QUIRE_OK)
        snprintf(import->error, sizeof import->error, "%s", result != NULL ? result->error : "");
    quire_result_free(result);
    sample_deinit(&sample);
    import_run_destroy(run);
    return status;
}

static int create_writer(struct import_command *import)
{
    struct quire_writer_options options = QUIRE_WRITER_INIT;

    options.collection = import->cli.collection;
    options.timeout_ms = import->cli.timeout_ms;
    options.result = written;
    options.data = import;
    return quire_writer_create(import->cli.client, &options, &import->writer, import->error,
                               sizeof import->error);
}

/* ---- the report ---- */

static json_t *report_json(struct import_command *import, double seconds)
{
    json_t *failures = json_array();

    for (size_t i = 0; i < import->failure_count; i++) {
        const struct failure *failure = &import->failures[i];
        json_array_append_new(failures, json_pack("{s:o,s:I,s:o}", "file",
                                                  cli_text(import->cli.operands[failure->file]),
                                                  "line", (json_int_t)failure->line, "reason",
                                                  cli_text(failure->reason)));
    }
    return json_pack("{s:o,s:b,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:o}", "collection",
                     cli_text(import->cli.collection), "dry_run", (int)import->dry_run, "read",
                     (json_int_t)import->read, "new", (json_int_t)import->outcomes[QUIRE_NEW],
                     "changed", (json_int_t)import->outcomes[QUIRE_CHANGED], "unchanged",
                     (json_int_t)import->outcomes[QUIRE_UNCHANGED], "failed",
                     (json_int_t)import->failed, "seconds", seconds, "entries_per_second",
                     (double)import->read / seconds, "failures", failures);
}

static void print_report(const struct import_command *import, double seconds)
{
    printf("read %" PRIu64 ", new %" PRIu64 ", changed %" PRIu64 ", unchanged %" PRIu64
           ", failed %" PRIu64 "%s  (%.1f s, %.0f entries a second)\n",
           import->read, import->outcomes[QUIRE_NEW], import->outcomes[QUIRE_CHANGED],
           import->outcomes[QUIRE_UNCHANGED], import->failed,
           import->dry_run ? ", nothing written" : "", seconds, (double)import->read / seconds);
}

static int report(struct import_command *import, uint64_t began_ms)
{
    double seconds = (double)(clock_ms() - began_ms + 1) / 1000;
    int exit = CLI_DONE;

    if (import->failure_count > 0)
        qsort(import->failures, import->failure_count, sizeof *import->failures, compare_failures);
    if (import->status != QUIRE_OK) {
        exit = cli_failed(&import->cli, import->status, import->error, NULL);
        if (exit != CLI_USAGE)
            exit = CLI_CLUSTER;
        if (import->read > 0)
            cli_say(&import->cli,
                    "the import stopped after %" PRIu64
                    " entries; run it again to complete the rest",
                    import->read);
        return exit;
    }
    if (import->cli.json)
        cli_print_json(&import->cli, report_json(import, seconds));
    else
        print_report(import, seconds);
    return import->failed > 0 ? CLI_NO : CLI_DONE;
}

static void import_files(struct import_command *import)
{
    struct import_run *run = import_run_create();
    bool go_on = run != NULL;

    progress_start(&import->progress, "importing", total_size(import));
    for (int i = 0; go_on && i < import->cli.operand_count; i++)
        go_on = import_file(import, (size_t)i, run);
    if (import->writer != NULL && import->status == QUIRE_OK) {
        int status = quire_writer_flush(import->writer);
        if (status != QUIRE_OK)
            stop_import(import, status);
    }
    progress_stop(&import->progress);
    import_run_destroy(run);
}

static void release(struct import_command *import)
{
    quire_writer_destroy(import->writer);
    importer_close(import->held);
    for (size_t i = 0; i < import->held_count; i++)
        import_entry_deinit(&import->held_entries[i]);
    free(import->held_entries);
    import_run_destroy(import->held_run);
    seen_destroy(import->since_flush);
    for (size_t i = 0; i < import->failure_count; i++)
        free(import->failures[i].reason);
    free(import->failures);
    pthread_mutex_destroy(&import->lock);
}

int cmd_import(const struct cli_command *command, int argc, char **argv)
{
    struct import_command import = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const char *format = "auto";
    const struct cli_option options[] = {{"format", 'f', CLI_TEXT, &format, 0, 0},
                                         {"language", 'l', CLI_TEXT, &import.language, 0, 0},
                                         {"replicas", 0, CLI_NUMBER, &import.replicas, 1, 5},
                                         {"dry-run", 'n', CLI_FLAG, &import.dry_run, 0, 0}};
    uint64_t began_ms = clock_ms();
    int exit;

    if (!cli_parse(&import.cli, command, argc, argv, options, 4, 1, -1, &exit))
        return exit;
    if (!import_format_parse(format, &import.format))
        return cli_usage(&import.cli,
                         "--format is auto, glossary, jsonl, dictd or tsv, not '%.100s'", format);
    import.since_flush = seen_create();
    if (import.since_flush == NULL)
        abort();
    if (!import.dry_run) {
        if (!cli_connect(&import.cli, &exit))
            goto done;
        import.status = prepare(&import);
        if (import.status == QUIRE_OK)
            import.status = create_writer(&import);
    }
    if (import.status == QUIRE_OK)
        import_files(&import);
    exit = report(&import, began_ms);
done:
    release(&import);
    return cli_end(&import.cli, exit);
}
