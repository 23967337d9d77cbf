/* quire get, put, delete, define: single entries */
#include "client/cli/commands.h"
#include "client/cli/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *entries_json(const struct quire_entries_result *result, const char *collection)
{
    json_t *list = json_array();

    for (size_t i = 0; result != NULL && i < result->entry_count; i++)
        json_array_append_new(list, cli_entry(result->entries[i], collection, true));
    return json_pack("{s:o}", "entries", list);
}

static void print_entry(const struct quire_entry *entry)
{
    cli_put_bold(entry->headword);
    if (entry->sense[0] != '\0') {
        fputs("  [", stdout);
        cli_put(entry->sense);
        putchar(']');
    }
    putchar('\n');
    if (entry->term_count > 0) {
        fputs("also: ", stdout);
        cli_put_list(entry->terms, entry->term_count, ", ");
        putchar('\n');
    }
    if (entry->category_count > 0) {
        fputs("in: ", stdout);
        cli_put_list(entry->categories, entry->category_count, ", ");
        putchar('\n');
    }
    putchar('\n');
    cli_put(entry->body);
    putchar('\n');
}

/* Tells the entries of a lookup, or why there are none. Frees the result. */
static int tell_entries(struct cli *cli, const struct quire_entries_result *result)
{
    int exit = CLI_DONE;

    if (result == NULL || result->status != QUIRE_OK) {
        exit = cli_failed(cli, result != NULL ? result->status : QUIRE_NOMEM,
                          result != NULL ? result->error : NULL, entries_json(NULL, NULL));
    } else if (cli->json) {
        cli_print_json(cli, entries_json(result, cli->collection));
    } else {
        for (size_t i = 0; i < result->entry_count; i++) {
            if (i > 0)
                putchar('\n');
            print_entry(result->entries[i]);
        }
    }
    if (exit == CLI_DONE && result->entry_count == 0) {
        exit = CLI_NO;
        cli_say(cli, "no entry of that name in collection %s", cli->collection);
    }
    quire_result_free(result);
    return exit;
}

int cmd_get(const struct cli_command *command, int argc, char **argv)
{
    struct quire_get_request request = QUIRE_GET_INIT;
    const struct quire_entries_result *result = NULL;
    const char *sense = NULL;
    struct cli cli;
    const struct cli_option options[] = {{"sense", 's', CLI_TEXT, &sense, 0, 0}, CLI_REPLICA(cli)};
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 2, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection;
    request.headword = cli.operands[0];
    request.sense = sense;
    request.timeout_ms = cli.timeout_ms;
    quire_get_wait(cli.client, &request, &result);
    return cli_end(&cli, tell_entries(&cli, result));
}

int cmd_define(const struct cli_command *command, int argc, char **argv)
{
    struct quire_define_request request = QUIRE_DEFINE_INIT;
    const struct quire_entries_result *result = NULL;
    struct cli cli;
    const struct cli_option options[] = {CLI_REPLICA(cli)};
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 1, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection;
    request.term = cli.operands[0];
    request.timeout_ms = cli.timeout_ms;
    quire_define_wait(cli.client, &request, &result);
    return cli_end(&cli, tell_entries(&cli, result));
}

static const char *outcome_name(enum quire_outcome outcome)
{
    static const char *const names[] = {"none",    "new",    "changed", "unchanged",
                                        "deleted", "absent", "failed"};

    return names[(unsigned)outcome <= QUIRE_FAILED ? outcome : 0];
}

/* Tells what a put or a delete did. Frees the result. */
static int tell_written(struct cli *cli, const char *headword,
                        const struct quire_write_result *result)
{
    const struct quire_written *written;
    int exit = CLI_DONE;

    if (result == NULL || result->status != QUIRE_OK || result->written_count == 0) {
        int status = result != NULL ? result->status : QUIRE_NOMEM;
        exit = cli_failed(cli, status != QUIRE_OK ? status : QUIRE_INTERNAL,
                          result != NULL ? result->error : NULL, NULL);
        quire_result_free(result);
        return exit;
    }
    written = result->written[0];
    if (cli->json) {
        cli_print_json(cli, json_pack("{s:s,s:I}", "outcome", outcome_name(written->outcome),
                                      "version", (json_int_t)written->version));
    } else if (written->outcome != QUIRE_ABSENT) {
        printf("%s: ", outcome_name(written->outcome));
        cli_put(headword);
        putchar('\n');
    }
    if (written->outcome == QUIRE_ABSENT) {
        cli_say(cli, "there is no such entry in collection %s", cli->collection);
        exit = CLI_NO;
    }
    quire_result_free(result);
    return exit;
}

/* An entry that is refused is an answer (no), not a misuse of the command. */
static int refuse_entry(struct cli *cli, const char *reason)
{
    cli_failed(cli, QUIRE_INVALID, reason, NULL);
    return CLI_NO;
}

/* The collection `default` is there for whoever writes to it first. */
static bool create_default(struct cli *cli)
{
    struct quire_prepare_request request = QUIRE_PREPARE_INIT;
    const struct quire_collection_result *result = NULL;
    bool created;

    if (strcmp(cli->collection, QUIRE_DEFAULT_COLLECTION) != 0)
        return false;
    request.collection = cli->collection;
    request.timeout_ms = cli->timeout_ms;
    created = quire_import_prepare_wait(cli->client, &request, &result) == QUIRE_OK;
    quire_result_free(result);
    return created;
}

int cmd_put(const struct cli_command *command, int argc, char **argv)
{
    struct quire_put_request request = QUIRE_PUT_INIT;
    const struct quire_write_result *result = NULL;
    struct import_entry parsed;
    struct quire_entry entry;
    struct err err = {0};
    char error[256] = "", *text = NULL;
    uint64_t if_version = UINT64_MAX;
    size_t size = 0;
    const struct cli_option options[] = {
        {"if-version", 0, CLI_NUMBER, &if_version, 0, UINT64_MAX - 1}};
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 1, 0, 0, &exit))
        return exit;
    import_entry_init(&parsed);
    text = cli_read_input(2 * (size_t)QUIRE_MAX_ENTRY_BYTES, &size, error, sizeof error);
    if (text == NULL) {
        exit = refuse_entry(&cli, error);
        goto done;
    }
    if (import_entry_from_json(&parsed, import_trim(bytes_of(text, size - 1)), &err) != 0) {
        exit = refuse_entry(&cli, err.text);
        goto done;
    }
    if (!cli_connect(&cli, &exit))
        goto done;
    cli_convert(&parsed, &entry);
    request.collection = cli.collection;
    request.entry = &entry;
    request.timeout_ms = cli.timeout_ms;
    request.conditional = if_version != UINT64_MAX;
    request.if_version = request.conditional ? if_version : 0;
    if (quire_put_wait(cli.client, &request, &result) == QUIRE_NOT_FOUND && create_default(&cli)) {
        quire_result_free(result);
        quire_put_wait(cli.client, &request, &result);
    }
    exit = tell_written(&cli, parsed.headword, result);
done:
    free(text);
    import_entry_deinit(&parsed);
    return cli_end(&cli, exit);
}

int cmd_delete(const struct cli_command *command, int argc, char **argv)
{
    struct quire_delete_request request = QUIRE_DELETE_INIT;
    const struct quire_write_result *result = NULL;
    const char *sense = NULL;
    bool all_senses = false;
    const struct cli_option options[] = {{"sense", 's', CLI_TEXT, &sense, 0, 0},
                                         {"all-senses", 0, CLI_FLAG, &all_senses, 0, 0}};
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 2, 1, 1, &exit))
        return exit;
    if (sense != NULL && all_senses)
        return cli_usage(&cli, "--sense and --all-senses exclude each other");
    if (!cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection;
    request.headword = cli.operands[0];
    request.sense = sense;
    request.all_senses = all_senses;
    request.timeout_ms = cli.timeout_ms;
    quire_delete_wait(cli.client, &request, &result);
    return cli_end(&cli, tell_written(&cli, cli.operands[0], result));
}
