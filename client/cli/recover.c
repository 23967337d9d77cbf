/* quire recover: giving up what is gone for good, told before it is done */
#include "client/cli/commands.h"

#include <stdio.h>

struct recover {
    struct cli cli;
    uint64_t range; /* 0: none */
    const char *node;
    bool empty, force;
};

static int check(struct recover *it)
{
    if (it->range == 0 && (it->node != NULL || it->empty || it->force))
        return cli_usage(&it->cli, "--node, --empty and --force need --range");
    if (it->range != 0 && (it->node != NULL) == it->empty)
        return cli_usage(&it->cli, "a range goes on with the replica of one shard (--node) or "
                                   "begins empty (--empty): say which");
    return CLI_DONE;
}

static json_t *result_json(const struct recover *it, const struct quire_recover_result *result)
{
    return json_pack("{s:o,s:b}", "losses", cli_texts(result->losses, result->loss_count), "done",
                     (int)it->force);
}

static int tell(struct recover *it, const struct quire_recover_result *result)
{
    bool idle = it->range == 0 && result->loss_count == 0;

    if (it->cli.json)
        cli_print_json(&it->cli, result_json(it, result));
    for (size_t i = 0; i < result->loss_count && !it->cli.json; i++) {
        cli_put(result->losses[i]);
        putchar('\n');
    }
    if (!it->cli.json && idle)
        printf("every range has a replica that can serve it: there is nothing to recover\n");
    else if (!it->cli.json && it->force)
        printf("done\n");
    else if (it->range != 0 && !it->force)
        cli_say(&it->cli, "nothing was changed; with --force it is");
    return idle || it->force ? CLI_DONE : CLI_NO;
}

int cmd_recover(const struct cli_command *command, int argc, char **argv)
{
    struct recover it = {0};
    const struct cli_option options[] = {{"range", 0, CLI_NUMBER, &it.range, 1, INT64_MAX},
                                         {"node", 0, CLI_TEXT, &it.node, 0, 0},
                                         {"empty", 0, CLI_FLAG, &it.empty, 0, 0},
                                         {"force", 0, CLI_FLAG, &it.force, 0, 0}};
    struct quire_recover_request request = QUIRE_RECOVER_INIT;
    const struct quire_recover_result *result = NULL;
    int exit, status;

    if (!cli_parse(&it.cli, command, argc, argv, options, 4, 0, 0, &exit))
        return exit;
    exit = check(&it);
    if (exit != CLI_DONE || !cli_connect(&it.cli, &exit))
        return exit;
    request.range = it.range;
    request.node = it.node;
    request.force = it.force;
    request.timeout_ms = it.cli.timeout_ms;
    status = quire_recover_wait(it.cli.client, &request, &result);
    if (status != QUIRE_OK)
        exit = cli_failed(&it.cli, status, result != NULL ? result->error : NULL, NULL);
    else
        exit = tell(&it, result);
    quire_result_free(result);
    return cli_end(&it.cli, exit);
}
