/* quire range list, move; quire placement */
#include "client/cli/commands.h"

#include <stdio.h>
#include <string.h>

static const char *const placements[] = {
    [QUIRE_STEADY] = "steady", [QUIRE_FROZEN] = "frozen", [QUIRE_LIVELY] = "lively"};

#define PLACEMENTS (sizeof placements / sizeof placements[0])

/* ---- list ---- */

static bool leaves(const struct quire_range *range, const char *node)
{
    for (size_t i = 0; i < range->leaving_count; i++)
        if (strcmp(range->leaving[i], node) == 0)
            return true;
    return false;
}

/* A row for each replica; the bounds stand with the first. */
static void print_list(const struct quire_status_result *result, const char *collection)
{
    static const char *const heads[] = {"id",      "collection", "from", "to",
                                        "entries", "shard",      "role", "state"};
    const size_t columns = sizeof heads / sizeof heads[0];
    struct cli_table *table = cli_table_create(columns);
    char cell[32];

    for (size_t i = 0; i < columns; i++)
        cli_table_add(table, heads[i]);
    cli_table_right(table, 0);
    cli_table_right(table, 4);
    for (size_t i = 0; i < result->range_count; i++) {
        const struct quire_range *range = result->ranges[i];
        if (collection != NULL && strcmp(range->collection, collection) != 0)
            continue;
        for (size_t j = 0; j < range->replica_count; j++) {
            const struct quire_replica *replica = range->replicas[j];
            snprintf(cell, sizeof cell, "%llu", (unsigned long long)range->id);
            cli_table_add(table, j == 0 ? cell : "");
            cli_table_add(table, j == 0 ? range->collection : "");
            cli_table_add(table, j > 0 ? "" : range->lo[0] != '\0' ? range->lo : "-");
            cli_table_add(table, j > 0 ? "" : range->hi[0] != '\0' ? range->hi : "-");
            cli_table_add(table, j == 0 ? cli_count(range->entries, cell) : "");
            cli_table_add(table, cli_shard_url(result, replica->node));
            cli_table_add(table, replica->role);
            snprintf(cell, sizeof cell, "%s%s", replica->state,
                     leaves(range, replica->node) ? ", leaves" : "");
            cli_table_add(table, cell);
        }
    }
    cli_table_print(table);
}

static json_t *range_json(const struct quire_range *range)
{
    json_t *replicas = json_array();

    for (size_t i = 0; i < range->replica_count; i++) {
        const struct quire_replica *it = range->replicas[i];
        json_array_append_new(replicas,
                              json_pack("{s:o,s:o,s:o,s:b}", "node", cli_text(it->node), "role",
                                        cli_text(it->role), "state", cli_text(it->state), "leaving",
                                        (int)leaves(range, it->node)));
    }
    return json_pack("{s:I,s:o,s:o,s:o,s:I,s:I,s:i,s:o}", "id", (json_int_t)range->id, "collection",
                     cli_text(range->collection), "lo", cli_text(range->lo), "hi",
                     cli_text(range->hi), "entries", (json_int_t)range->entries, "bytes",
                     (json_int_t)range->bytes + (json_int_t)range->memory_bytes, "replicas_wanted",
                     (int)range->replicas_wanted, "replicas", replicas);
}

static json_t *list_json(const struct quire_status_result *result, const char *collection)
{
    json_t *list = json_array();

    for (size_t i = 0; i < result->range_count; i++)
        if (collection == NULL || strcmp(result->ranges[i]->collection, collection) == 0)
            json_array_append_new(list, range_json(result->ranges[i]));
    return json_pack("{s:o}", "ranges", list);
}

int cmd_range_list(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 0, 0, &exit) || !cli_connect(&cli, &exit))
        return exit;
    const struct quire_status_result *result = cli_status(&cli, &exit);
    const char *collection = cli.collection_given ? cli.collection : NULL;
    if (result != NULL && cli.json)
        cli_print_json(&cli, list_json(result, collection));
    else if (result != NULL)
        print_list(result, collection);
    quire_result_free(result);
    return cli_end(&cli, exit);
}

/* ---- move ---- */

int cmd_range_move(const struct cli_command *command, int argc, char **argv)
{
    struct quire_move_request request = QUIRE_MOVE_INIT;
    uint64_t range = 0;
    const struct cli_option options[] = {{"range", 0, CLI_NUMBER, &range, 1, INT64_MAX},
                                         {"from", 0, CLI_TEXT, &request.from, 0, 0},
                                         {"to", 0, CLI_TEXT, &request.to, 0, 0}};
    const struct quire_result *result = NULL;
    struct cli cli;
    int exit, status;

    if (!cli_parse(&cli, command, argc, argv, options, 3, 0, 0, &exit))
        return exit;
    if (range == 0 || request.from == NULL)
        return cli_usage(&cli, "which replica moves is said with --range and --from");
    if (!cli_connect(&cli, &exit))
        return exit;
    request.range = range;
    request.timeout_ms = cli.timeout_ms;
    status = quire_range_move_wait(cli.client, &request, &result);
    if (status != QUIRE_OK)
        exit = cli_failed(&cli, status, result != NULL ? result->error : NULL, NULL);
    else if (cli.json)
        cli_print_json(&cli, json_pack("{s:I}", "moving", (json_int_t)range));
    else
        printf("range %llu moves away from %s\n", (unsigned long long)range, request.from);
    quire_result_free(result);
    return cli_end(&cli, exit);
}

/* ---- placement ---- */

static void tell_placement(struct cli *cli, enum quire_placement placement)
{
    const char *name = (size_t)placement < PLACEMENTS ? placements[placement] : "unknown";
    if (cli->json)
        cli_print_json(cli, json_pack("{s:o}", "placement", cli_text(name)));
    else
        printf("placement is %s\n", name);
}

static int show_placement(struct cli *cli)
{
    int exit = CLI_DONE;
    const struct quire_status_result *result = cli_status(cli, &exit);
    if (result != NULL)
        tell_placement(cli, result->placement);
    quire_result_free(result);
    return exit;
}

static int set_placement(struct cli *cli, size_t placement)
{
    struct quire_placement_request request = QUIRE_PLACEMENT_INIT;
    const struct quire_result *result = NULL;
    int exit = CLI_DONE;
    request.placement = (enum quire_placement)placement;
    request.timeout_ms = cli->timeout_ms;
    int status = quire_placement_set_wait(cli->client, &request, &result);
    if (status != QUIRE_OK)
        exit = cli_failed(cli, status, result != NULL ? result->error : NULL, NULL);
    else
        tell_placement(cli, request.placement);
    quire_result_free(result);
    return exit;
}

int cmd_placement(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli;
    size_t which = 0;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 0, 1, &exit))
        return exit;
    while (cli.operand_count == 1 && which < PLACEMENTS &&
           strcmp(placements[which], cli.operands[0]) != 0)
        which++;
    if (which == PLACEMENTS)
        return cli_usage(&cli, "%s is no placement: steady, frozen or lively", cli.operands[0]);
    if (!cli_connect(&cli, &exit))
        return exit;
    exit = cli.operand_count == 0 ? show_placement(&cli) : set_placement(&cli, which);
    return cli_end(&cli, exit);
}
