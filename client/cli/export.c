/* quire export: every entry of a collection as JSON lines, in key order, as `quire import` reads
 * them. */
#include "client/cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct export
{
    struct cli *cli;
    bool versions;
    uint64_t count;
};

/* With --json the lines are elements of one document. */
static void put_entry(struct export *export, const struct quire_entry *entry)
{
    json_t *object = cli_entry(entry, NULL, export->versions);

    if (export->cli->json && export->count > 0)
        putchar(',');
    json_dumpf(object, stdout, JSON_COMPACT);
    if (!export->cli->json)
        putchar('\n');
    export->count++;
    json_decref(object);
}

static int export_pages(struct export *export)
{
    struct cli *cli = export->cli;
    const struct quire_export_result *result = NULL, *last = NULL;
    struct quire_export_request request = QUIRE_EXPORT_INIT;
    int exit = CLI_DONE;

    request.collection = cli->collection;
    request.timeout_ms = cli->timeout_ms;
    do {
        int status = quire_export_wait(cli->client, &request, &result);
        if (status != QUIRE_OK) {
            /* Once the document has begun, only the exit code and the sentence can say that it is
             * cut. */
            cli->printed = last != NULL;
            exit = cli_failed(cli, status, result != NULL ? result->error : NULL,
                              json_pack("{s:[]}", "entries"));
            quire_result_free(result);
            break;
        }
        if (last == NULL && cli->json)
            fputs("{\"entries\":[", stdout);
        for (size_t i = 0; i < result->entry_count; i++)
            put_entry(export, result->entries[i]);
        if (ferror(stdout)) {
            cli_say(cli, "cannot write: %s", strerror(errno));
            exit = CLI_CLUSTER;
            quire_result_free(result);
            break;
        }
        quire_result_free(last);
        last = result; /* request.after points into it */
        request.after = result->after;
        request.after_size = result->after_size;
    } while (request.after_size > 0);
    if (last != NULL && cli->json)
        fputs("]}\n", stdout);
    quire_result_free(last);
    return exit;
}

int cmd_export(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli;
    struct export export = {.cli = &cli};
    const struct cli_option options[] = {{"versions", 0, CLI_FLAG, &export.versions, 0, 0},
                                         CLI_REPLICA(cli)};
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 2, 0, 0, &exit))
        return exit;
    cli.from_primary = true; /* everything that was acknowledged, whoever wrote it */
    if (!cli_connect(&cli, &exit))
        return exit;
    return cli_end(&cli, export_pages(&export));
}
