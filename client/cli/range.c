/* quire range list, move, split, merge; quire placement */
#include "client/cli/commands.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 100 /* how often a split or merge that is waited for is looked at */

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
            snprintf(cell, sizeof cell, "%s%s%s%s", replica->state,
                     leaves(range, replica->node) ? ", leaves" : "",
                     range->reshape[0] != 0 ? ", in a " : "", range->reshape);
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
    return json_pack("{s:I,s:o,s:o,s:o,s:I,s:I,s:i,s:o,s:o}", "id", (json_int_t)range->id,
                     "collection", cli_text(range->collection), "lo", cli_text(range->lo), "hi",
                     cli_text(range->hi), "entries", (json_int_t)range->entries, "bytes",
                     (json_int_t)range->bytes + (json_int_t)range->memory_bytes, "replicas_wanted",
                     (int)range->replicas_wanted, "reshape", cli_text(range->reshape), "replicas",
                     replicas);
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

/* ---- split, merge ---- */

static const struct quire_range *find_range(const struct quire_status_result *result, uint64_t id)
{
    for (size_t i = 0; i < result->range_count; i++)
        if (result->ranges[i]->id == id)
            return result->ranges[i];
    return NULL;
}

static bool all_serve(const struct quire_status_result *result)
{
    for (size_t i = 0; i < result->range_count; i++)
        if (strcmp(result->ranges[i]->state, "opening") == 0)
            return false;
    return true;
}

/* Until the range is gone and what came in its place is open; or nothing is under way in it. */
static int await_reshape(struct cli *cli, uint64_t id, const char *what)
{
    for (;;) {
        int exit = CLI_DONE;
        const struct quire_status_result *result = cli_status(cli, &exit);
        if (result == NULL)
            return exit;
        const struct quire_range *range = find_range(result, id);
        bool done = range == NULL && all_serve(result);
        bool given_up = range != NULL && range->reshape[0] == '\0';
        quire_result_free(result);
        if (given_up)
            fprintf(stderr,
                    "quire: the %s of range %llu was given up: the logs of the coordinators and "
                    "shards say why\n",
                    what, (unsigned long long)id);
        if (done || given_up)
            return given_up ? CLI_NO : CLI_DONE;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
}

static int tell_reshape(struct cli *cli, int status, const struct quire_result *result, uint64_t id,
                        const char *what, bool no_wait)
{
    int exit = CLI_DONE;
    if (status != QUIRE_OK)
        exit = cli_failed(cli, status, result != NULL ? result->error : NULL, NULL);
    else if (!no_wait)
        exit = await_reshape(cli, id, what);
    if (exit == CLI_DONE && cli->json)
        cli_print_json(cli, json_pack("{s:I,s:b}", what, (json_int_t)id, "done", (int)!no_wait));
    else if (exit == CLI_DONE)
        printf("the %s of range %llu %s\n", what, (unsigned long long)id,
               no_wait ? "has begun" : "is done");
    quire_result_free(result);
    return cli_end(cli, exit);
}

int cmd_range_split(const struct cli_command *command, int argc, char **argv)
{
    struct quire_split_request request = QUIRE_SPLIT_INIT;
    uint64_t range = 0;
    bool no_wait = false;
    const struct cli_option options[] = {{"range", 0, CLI_NUMBER, &range, 1, INT64_MAX},
                                         {"at", 0, CLI_TEXT, &request.at, 0, 0},
                                         {"no-wait", 0, CLI_FLAG, &no_wait, 0, 0}};
    const struct quire_result *result = NULL;
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 3, 0, 0, &exit))
        return exit;
    if (range == 0)
        return cli_usage(&cli, "which range is to be split is said with --range");
    if (!cli_connect(&cli, &exit))
        return exit;
    request.range = range;
    request.timeout_ms = cli.timeout_ms;
    int status = quire_range_split_wait(cli.client, &request, &result);
    return tell_reshape(&cli, status, result, range, "split", no_wait);
}

int cmd_range_merge(const struct cli_command *command, int argc, char **argv)
{
    struct quire_merge_request request = QUIRE_MERGE_INIT;
    uint64_t range = 0;
    bool no_wait = false;
    const struct cli_option options[] = {{"range", 0, CLI_NUMBER, &range, 1, INT64_MAX},
                                         {"no-wait", 0, CLI_FLAG, &no_wait, 0, 0}};
    const struct quire_result *result = NULL;
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 2, 0, 0, &exit))
        return exit;
    if (range == 0)
        return cli_usage(&cli, "which range is to be merged is said with --range");
    if (!cli_connect(&cli, &exit))
        return exit;
    request.range = range;
    request.timeout_ms = cli.timeout_ms;
    int status = quire_range_merge_wait(cli.client, &request, &result);
    return tell_reshape(&cli, status, result, range, "merge", no_wait);
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
