/* quire backup: a copy of all entries in a folder of this machine; also lists and checks them. */
#include "client/cli/backup.h"

#include "client/cli/commands.h"
#include "client/cli/progress.h"
#include "proto/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int backup_failed(struct cli *cli, int code, const char *text)
{
    int exit = cli_failed(cli, code, text, NULL);
    bool no = code == ERR_CORRUPT || code == ERR_NOT_FOUND || code == ERR_EXISTS ||
              code == ERR_CONFLICT || code == ERR_UNSUPPORTED;
    return no ? CLI_NO : exit;
}

int backup_choose(const struct backup_store *store, uint64_t number, struct arena *arena,
                  struct backup_manifest *out, struct err *err)
{
    uint64_t *numbers;
    size_t count;
    int code = number == 0 ? backup_store_list(store, &numbers, &count, err) : 0;
    if (code != 0)
        return code;
    if (number == 0) {
        number = count > 0 ? numbers[count - 1] : 0;
        free(numbers);
    }
    return number == 0 ? err_set(err, ERR_NOT_FOUND, "there is no backup in %s", store->dir)
                       : backup_store_manifest(store, number, arena, out, err);
}

/* ---- making one ---- */

struct backup_command {
    struct cli cli;
    struct backup_store store;
    struct backup_taken taken;
    struct backup_pruned pruned;
    uint64_t keep;
    double seconds;
};

static json_t *collections_json(const struct backup_manifest *manifest)
{
    json_t *list = json_array();
    for (size_t i = 0; i < manifest->collection_count; i++) {
        const struct backup_collection *it = &manifest->collections[i];
        json_array_append_new(list, json_pack("{s:s,s:I,s:I}", "name", it->name, "entries",
                                              (json_int_t)it->entries, "parts",
                                              (json_int_t)it->part_count));
    }
    return list;
}

static void report(struct backup_command *it)
{
    const struct backup_taken *taken = &it->taken;
    char entries[32], size[32], new_size[32], removed[32];
    if (it->cli.json) {
        cli_print_json(
            &it->cli,
            json_pack("{s:o,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:{s:I,s:I,s:I},s:f}",
                      "directory", cli_text(it->cli.operands[0]), "backup",
                      (json_int_t)taken->manifest.number, "collections",
                      collections_json(&taken->manifest), "entries", (json_int_t)taken->entries,
                      "bytes", (json_int_t)taken->bytes, "files", (json_int_t)taken->files,
                      "file_bytes", (json_int_t)taken->size, "new_files",
                      (json_int_t)taken->new_files, "new_file_bytes", (json_int_t)taken->new_size,
                      "parts", (json_int_t)taken->parts, "unchanged_parts",
                      (json_int_t)taken->same_parts, "taken_again", (json_int_t)taken->again,
                      "removed", "backups", (json_int_t)it->pruned.backups, "files",
                      (json_int_t)it->pruned.files, "file_bytes", (json_int_t)it->pruned.bytes,
                      "seconds", it->seconds));
        return;
    }
    printf("backup %" PRIu64 ": %s entries, %s in %" PRIu64 " files, of which %s in %" PRIu64
           " are new  (%.1f s)\n",
           taken->manifest.number, cli_count(taken->entries, entries), cli_size(taken->size, size),
           taken->files, cli_size(taken->new_size, new_size), taken->new_files, it->seconds);
    if (it->keep > 0)
        printf("removed %" PRIu64 " older backups, %" PRIu64 " files, %s\n", it->pruned.backups,
               it->pruned.files, cli_size(it->pruned.bytes, removed));
}

/* One more than the newest; what that one holds, when it can be read. */
static int look_before(struct backup_command *it, struct arena *arena,
                       struct backup_manifest *before, uint64_t *number, struct err *err)
{
    uint64_t *numbers;
    size_t count;
    int code = backup_store_list(&it->store, &numbers, &count, err);
    *number = 0;
    if (code != 0)
        return code;
    if (count > 0) {
        struct err why = {0};
        *number = numbers[count - 1];
        if (backup_store_manifest(&it->store, *number, arena, before, &why) != 0) {
            cli_say(&it->cli, "the backup before cannot be read, so all entries are: %s", why.text);
            *before = (struct backup_manifest){0};
        }
    }
    free(numbers);
    return 0;
}

static int make_backup(struct backup_command *it)
{
    struct backup_manifest before = {0};
    struct arena arena;
    struct err err = {0};
    char error[QUIRE_ERROR_SIZE] = "";
    uint64_t number, began_ms = clock_ms();
    int exit = CLI_DONE;
    arena_init(&arena, 0);
    int code = look_before(it, &arena, &before, &number, &err);
    if (code == 0) {
        code =
            backup_take(&it->cli, &it->store, it->cli.collection_given ? it->cli.collection : NULL,
                        before.number != 0 ? &before : NULL, &it->taken, error);
        if (code != 0)
            err_set(&err, code, "%s", error[0] != '\0' ? error : quire_strerror(code));
        else if (it->taken.manifest.collection_count == 0)
            code = err_set(&err, ERR_NOT_FOUND, "the cluster has no collections");
        it->taken.manifest.number = number + 1;
        if (code == 0)
            code = backup_store_publish(&it->store, &it->taken.manifest, &err);
        if (code == 0 && it->keep > 0)
            code = backup_store_prune(&it->store, it->keep, &it->pruned, &err);
        it->seconds = (double)(clock_ms() - began_ms + 1) / 1000;
        if (code == 0)
            report(it);
        backup_taken_deinit(&it->taken);
    }
    arena_deinit(&arena);
    if (code != 0)
        exit = backup_failed(&it->cli, code, err.text);
    return exit;
}

/* ---- listing them ---- */

static void add_rows(struct cli_table *table, const struct backup_manifest *manifest)
{
    char number[32], began[32], text[32];
    time_t when = (time_t)manifest->began;
    struct tm parts;
    uint64_t entries = 0, size = 0;
    for (size_t i = 0; i < manifest->collection_count; i++) {
        entries += manifest->collections[i].entries;
        for (size_t j = 0; j < manifest->collections[i].part_count; j++)
            for (size_t k = 0; k < manifest->collections[i].parts[j].block_count; k++)
                size += manifest->collections[i].parts[j].blocks[k].size;
    }
    snprintf(number, sizeof number, "%" PRIu64, manifest->number);
    gmtime_r(&when, &parts);
    strftime(began, sizeof began, "%Y-%m-%d %H:%M:%S UTC", &parts);
    cli_table_add(table, number);
    cli_table_add(table, began);
    cli_table_add(table, cli_count(manifest->collection_count, text));
    cli_table_add(table, cli_count(entries, text));
    cli_table_add(table, cli_size(size, text));
}

static json_t *backup_json(const struct backup_manifest *manifest)
{
    return json_pack("{s:I,s:s,s:s,s:I,s:I,s:o}", "backup", (json_int_t)manifest->number, "cluster",
                     manifest->cluster, "software", manifest->software, "began",
                     (json_int_t)manifest->began, "ended", (json_int_t)manifest->ended,
                     "collections", collections_json(manifest));
}

static int list_backups(struct cli *cli, const struct backup_store *store)
{
    static const char *const heads[] = {"backup", "began", "collections", "entries", "files"};
    uint64_t *numbers;
    size_t count, bad = 0;
    struct err err = {0};
    if (backup_store_list(store, &numbers, &count, &err) != 0)
        return backup_failed(cli, err.code, err.text);
    struct cli_table *table = cli->json ? NULL : cli_table_create(5);
    json_t *list = json_array();
    for (size_t i = 0; i < 5 && table != NULL; i++) {
        cli_table_add(table, heads[i]);
        if (i != 1)
            cli_table_right(table, i);
    }
    for (size_t i = 0; i < count; i++) {
        struct backup_manifest manifest;
        struct arena arena;
        arena_init(&arena, 0);
        if (backup_store_manifest(store, numbers[i], &arena, &manifest, &err) == 0) {
            json_array_append_new(list, backup_json(&manifest));
            if (table != NULL)
                add_rows(table, &manifest);
        } else {
            cli_say(cli, "%s", err.text);
            bad++;
        }
        arena_deinit(&arena);
    }
    free(numbers);
    if (cli->json) {
        cli_print_json(cli, json_pack("{s:o}", "backups", list));
    } else {
        cli_table_print(table);
        json_decref(list);
    }
    return bad > 0 ? CLI_NO : CLI_DONE;
}

/* ---- checking them ---- */

struct checking {
    struct cli *cli;
    const struct backup_store *store;
    struct progress bar;
    struct buf lines;
    json_t *problems;
    uint64_t backups, entries, files;
};

static void add_problem(struct checking *it, uint64_t number, const char *text)
{
    if (it->bar.shown)
        fputs("\r\033[K", stderr);
    cli_say(it->cli, "backup %" PRIu64 ": %s", number, text);
    json_array_append_new(
        it->problems, json_pack("{s:I,s:o}", "backup", (json_int_t)number, "text", cli_text(text)));
}

static void check_part(struct checking *it, uint64_t number, const struct backup_part *part)
{
    for (size_t i = 0; i < part->block_count; i++) {
        struct err err = {0};
        if (backup_store_get(it->store, &part->blocks[i], &it->lines, &err) != 0)
            add_problem(it, number, err.text);
        it->files++;
        it->entries += part->blocks[i].entries;
        progress_update(&it->bar, 0, it->entries);
    }
}

static void check_backup(struct checking *it, uint64_t number)
{
    struct backup_manifest manifest;
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    it->backups++;
    if (backup_store_manifest(it->store, number, &arena, &manifest, &err) != 0) {
        add_problem(it, number, err.text);
        manifest.collection_count = 0;
    }
    for (size_t i = 0; i < manifest.collection_count; i++)
        for (size_t j = 0; j < manifest.collections[i].part_count; j++)
            check_part(it, number, &manifest.collections[i].parts[j]);
    arena_deinit(&arena);
}

static int check_backups(struct cli *cli, const struct backup_store *store, uint64_t only)
{
    struct checking it = {.cli = cli, .store = store, .problems = json_array()};
    uint64_t *numbers = NULL;
    size_t count = 0;
    struct err err = {0};
    int code = backup_store_list(store, &numbers, &count, &err);
    progress_start(&it.bar, "checking ", 0);
    for (size_t i = 0; i < count && code == 0; i++)
        if (only == 0 || only == numbers[i])
            check_backup(&it, numbers[i]);
    progress_stop(&it.bar);
    free(numbers);
    buf_deinit(&it.lines);
    if (code == 0 && it.backups == 0)
        code = only == 0 ? err_set(&err, ERR_NOT_FOUND, "there is no backup in %s", store->dir)
                         : err_set(&err, ERR_NOT_FOUND, "there is no backup %" PRIu64 " in %s",
                                   only, store->dir);
    size_t problems = json_array_size(it.problems);
    if (code != 0) {
        json_decref(it.problems);
        return backup_failed(cli, code, err.text);
    }
    if (cli->json) {
        cli_print_json(cli, json_pack("{s:I,s:I,s:I,s:o}", "backups", (json_int_t)it.backups,
                                      "files", (json_int_t)it.files, "entries",
                                      (json_int_t)it.entries, "problems", it.problems));
    } else {
        char text[32];
        printf("%" PRIu64 " %s, %" PRIu64 " files, %s entries: ", it.backups,
               it.backups == 1 ? "backup" : "backups", it.files, cli_count(it.entries, text));
        if (problems == 0)
            printf("all is well\n");
        else
            printf("%zu are damaged or missing\n", problems);
        json_decref(it.problems);
    }
    return problems == 0 ? CLI_DONE : CLI_NO;
}

/* ---- the command ---- */

int cmd_backup(const struct cli_command *command, int argc, char **argv)
{
    struct backup_command it = {0};
    bool list = false, verify = false;
    uint64_t number = 0;
    const struct cli_option options[] = {{"keep", 0, CLI_NUMBER, &it.keep, 1, 1000000},
                                         {"list", 0, CLI_FLAG, &list, 0, 0},
                                         {"verify", 0, CLI_FLAG, &verify, 0, 0},
                                         {"backup", 0, CLI_NUMBER, &number, 1, UINT64_MAX}};
    struct err err = {0};
    int exit;

    if (!cli_parse(&it.cli, command, argc, argv, options, 4, 1, 1, &exit))
        return exit;
    if (list && verify)
        return cli_usage(&it.cli, "--list and --verify do not go together");
    if ((list || verify) && (it.keep > 0 || it.cli.collection_given))
        return cli_usage(&it.cli, "--%s makes no backup: it goes without -c and --keep",
                         list ? "list" : "verify");
    if (number > 0 && !verify)
        return cli_usage(&it.cli, "--backup goes with --verify");
    if (list || verify) {
        if (backup_store_open(it.cli.operands[0], &it.store, &err) != 0)
            return backup_failed(&it.cli, err.code, err.text);
        exit = list ? list_backups(&it.cli, &it.store) : check_backups(&it.cli, &it.store, number);
        backup_store_close(&it.store);
        return cli_end(&it.cli, exit);
    }
    if (!cli_connect(&it.cli, &exit))
        return exit;
    if (backup_store_create(it.cli.operands[0], &it.store, &err) != 0)
        return cli_end(&it.cli, backup_failed(&it.cli, err.code, err.text));
    exit = make_backup(&it);
    backup_store_close(&it.store);
    return cli_end(&it.cli, exit);
}
