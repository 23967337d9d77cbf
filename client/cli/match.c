/* quire match, suggest: headwords and other names */
#include "client/cli/commands.h"

#include <stdio.h>
#include <string.h>

static json_t *names_json(const struct quire_match_result *result)
{
    json_t *list = json_array();

    for (size_t i = 0; result != NULL && i < result->name_count; i++) {
        const struct quire_name *name = result->names[i];
        json_array_append_new(list,
                              json_pack("{s:o,s:o,s:i,s:I}", "name", cli_text(name->name), "key",
                                        cli_text(name->key), "distance", (int)name->distance,
                                        "entries", (json_int_t)name->entries));
    }
    return list;
}

/* Tells the names and frees the result. `document` is the head of the JSON answer (stolen). */
static int tell_names(struct cli *cli, json_t *document, const struct quire_match_result *result,
                      bool distances)
{
    bool good = result != NULL && result->status == QUIRE_OK;
    int exit = CLI_DONE;

    json_object_set_new(document, "names", names_json(good ? result : NULL));
    json_object_set_new(document, "limited", json_boolean(good && result->limited));
    if (!good) {
        exit = cli_failed(cli, result != NULL ? result->status : QUIRE_NOMEM,
                          result != NULL ? result->error : NULL, document);
        quire_result_free(result);
        return exit;
    }
    if (cli->json) {
        cli_print_json(cli, document);
    } else {
        for (size_t i = 0; i < result->name_count; i++) {
            cli_put(result->names[i]->name);
            if (distances)
                printf("  (%u)", result->names[i]->distance);
            putchar('\n');
        }
        json_decref(document);
    }
    if (result->limited && !cli->json)
        cli_say(cli, "there are more; -n NUMBER shows more of them");
    if (result->name_count == 0) {
        cli_say(cli, "no such name in collection %s", cli->collection);
        exit = CLI_NO;
    }
    quire_result_free(result);
    return exit;
}

static bool parse_strategy(const char *text, enum quire_strategy *strategy)
{
    static const char *const names[] = {"", "exact", "prefix", "substring", "fuzzy"};

    for (int i = QUIRE_MATCH_EXACT; i <= QUIRE_MATCH_FUZZY; i++)
        if (strcmp(text, names[i]) == 0) {
            *strategy = (enum quire_strategy)i;
            return true;
        }
    return false;
}

int cmd_match(const struct cli_command *command, int argc, char **argv)
{
    struct quire_match_request request = QUIRE_MATCH_INIT;
    const struct quire_match_result *result = NULL;
    const char *strategy = "exact";
    uint64_t distance = 0, limit = 0;
    struct cli cli;
    const struct cli_option options[] = {{"strategy", 's', CLI_TEXT, &strategy, 0, 0},
                                         {"distance", 'd', CLI_NUMBER, &distance, 1, 2},
                                         {"limit", 'n', CLI_NUMBER, &limit, 1, QUIRE_MAX_MATCHES},
                                         CLI_REPLICA(cli)};
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 4, 1, 1, &exit))
        return exit;
    if (!parse_strategy(strategy, &request.strategy))
        return cli_usage(&cli, "--strategy is exact, prefix, substring or fuzzy, not '%.100s'",
                         strategy);
    if (distance != 0 && request.strategy != QUIRE_MATCH_FUZZY)
        return cli_usage(&cli, "--distance goes with --strategy fuzzy only");
    if (!cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection;
    request.word = cli.operands[0];
    request.distance = (uint32_t)distance;
    request.limit = (uint32_t)limit;
    request.timeout_ms = cli.timeout_ms;
    quire_match_wait(cli.client, &request, &result);
    exit = tell_names(
        &cli, json_pack("{s:s,s:o}", "strategy", strategy, "word", cli_text(cli.operands[0])),
        result, request.strategy == QUIRE_MATCH_FUZZY);
    return cli_end(&cli, exit);
}

int cmd_suggest(const struct cli_command *command, int argc, char **argv)
{
    struct quire_suggest_request request = QUIRE_SUGGEST_INIT;
    const struct quire_match_result *result = NULL;
    uint64_t limit = 0;
    struct cli cli;
    const struct cli_option options[] = {{"limit", 'n', CLI_NUMBER, &limit, 1, QUIRE_MAX_MATCHES},
                                         CLI_REPLICA(cli)};
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 2, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection;
    request.prefix = cli.operands[0];
    request.limit = (uint32_t)limit;
    request.timeout_ms = cli.timeout_ms;
    quire_suggest_wait(cli.client, &request, &result);
    exit = tell_names(&cli, json_pack("{s:o}", "prefix", cli_text(cli.operands[0])), result, false);
    return cli_end(&cli, exit);
}
