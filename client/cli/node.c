/* quire node list, drain, undrain, remove */
#include "client/cli/commands.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 500 /* how often a drain that is waited for is looked at */

/* ---- list ---- */

struct holding {
    size_t primaries, replicas;
    uint64_t bytes; /* of those it leads: others do not tell theirs */
};

static struct holding holding_of(const struct quire_status_result *result, const char *id)
{
    struct holding holding = {0};
    for (size_t i = 0; i < result->range_count; i++) {
        const struct quire_range *range = result->ranges[i];
        bool leads = strcmp(range->primary, id) == 0;
        holding.primaries += leads;
        holding.bytes += leads ? range->bytes + range->memory_bytes : 0;
        for (size_t j = 0; j < range->replica_count; j++)
            holding.replicas += strcmp(range->replicas[j]->node, id) == 0;
    }
    return holding;
}

static const char *state_of(const struct quire_node *node)
{
    if (!node->alive)
        return node->draining ? "gone, drained" : "gone";
    return node->draining ? "drained" : "up";
}

static void print_list(const struct quire_status_result *result)
{
    static const char *const heads[] = {"url",    "state",     "zone", "leads",
                                        "ranges", "bytes led", "id"};
    const size_t columns = sizeof heads / sizeof heads[0];
    struct cli_table *table = cli_table_create(columns);
    char cell[32];

    for (size_t i = 0; i < columns; i++)
        cli_table_add(table, heads[i]);
    for (size_t i = 3; i < columns - 1; i++)
        cli_table_right(table, i);
    for (size_t i = 0; i < result->node_count; i++) {
        const struct quire_node *node = result->nodes[i];
        struct holding holding = holding_of(result, node->id);
        cli_table_add(table, node->address);
        cli_table_add(table, state_of(node));
        cli_table_add(table, node->zone[0] != '\0' ? node->zone : "-");
        cli_table_add(table, cli_count(holding.primaries, cell));
        cli_table_add(table, cli_count(holding.replicas, cell));
        cli_table_add(table, cli_size(holding.bytes, cell));
        cli_table_add(table, node->id);
    }
    cli_table_print(table);
}

static json_t *list_json(const struct quire_status_result *result)
{
    json_t *list = json_array();

    for (size_t i = 0; i < result->node_count; i++) {
        const struct quire_node *node = result->nodes[i];
        struct holding holding = holding_of(result, node->id);
        json_array_append_new(list, json_pack("{s:o,s:o,s:o,s:b,s:b,s:I,s:I}", "id",
                                              cli_text(node->id), "url", cli_text(node->address),
                                              "zone", cli_text(node->zone), "alive",
                                              (int)node->alive, "draining", (int)node->draining,
                                              "primaries", (json_int_t)holding.primaries,
                                              "replicas", (json_int_t)holding.replicas));
    }
    return json_pack("{s:o}", "nodes", list);
}

int cmd_node_list(const struct cli_command *command, int argc, char **argv)
{
    return cli_show_status(command, argc, argv, list_json, print_list);
}

/* ---- drain ---- */

/* How many replicas the shard (an id or a url) has; SIZE_MAX: it could not be asked. */
static size_t replicas_left(struct cli *cli, const char *name, int *exit)
{
    const struct quire_status_result *result = cli_status(cli, exit);
    size_t left = 0;
    if (result == NULL)
        return SIZE_MAX;
    for (size_t i = 0; i < result->node_count; i++)
        if (strcmp(result->nodes[i]->id, name) == 0 || strcmp(result->nodes[i]->address, name) == 0)
            left = holding_of(result, result->nodes[i]->id).replicas;
    quire_result_free(result);
    return left;
}

static int wait_until_empty(struct cli *cli)
{
    size_t told = SIZE_MAX;
    int exit = CLI_DONE;
    for (;;) {
        size_t left = replicas_left(cli, cli->operands[0], &exit);
        if (left == SIZE_MAX)
            return exit;
        if (left == 0)
            return CLI_DONE;
        if (left != told && !cli->json)
            cli_say(cli, left == 1 ? "%zu replica is left" : "%zu replicas are left", left);
        told = left;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
}

static int ask(struct cli *cli,
               int (*call)(struct quire_client *, const struct quire_node_request *,
                           const struct quire_result **),
               bool undo)
{
    struct quire_node_request request = QUIRE_NODE_INIT;
    const struct quire_result *result = NULL;
    request.id = cli->operands[0];
    request.undo = undo;
    request.timeout_ms = cli->timeout_ms;
    int status = call(cli->client, &request, &result);
    int exit = CLI_DONE;
    if (status != QUIRE_OK)
        exit = cli_failed(cli, status, result != NULL ? result->error : NULL, NULL);
    quire_result_free(result);
    return exit;
}

static void done(struct cli *cli, const char *what)
{
    if (cli->json)
        cli_print_json(cli, json_pack("{s:o}", what, cli_text(cli->operands[0])));
    else
        printf("%s shard %s\n", what, cli->operands[0]);
}

int cmd_node_drain(const struct cli_command *command, int argc, char **argv)
{
    bool no_wait = false;
    const struct cli_option options[] = {{"no-wait", 0, CLI_FLAG, &no_wait, 0, 0}};
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 1, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    exit = ask(&cli, quire_node_drain_wait, false);
    if (exit == CLI_DONE && !no_wait)
        exit = wait_until_empty(&cli);
    if (exit == CLI_DONE)
        done(&cli, no_wait ? "draining" : "drained");
    return cli_end(&cli, exit);
}

int cmd_node_undrain(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    exit = ask(&cli, quire_node_drain_wait, true);
    if (exit == CLI_DONE)
        done(&cli, "undrained");
    return cli_end(&cli, exit);
}

int cmd_node_remove(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    exit = ask(&cli, quire_node_remove_wait, false);
    if (exit == CLI_DONE)
        done(&cli, "removed");
    return cli_end(&cli, exit);
}
