/* quire status, verify: the cluster itself */
#include "client/cli/commands.h"
#include "client/cli/watch.h"

#include <stdio.h>
#include <string.h>

static json_t *nodes_json(const struct quire_node *const *nodes, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            list, json_pack("{s:o,s:o,s:o,s:b,s:b,s:I}", "id", cli_text(nodes[i]->id), "address",
                            cli_text(nodes[i]->address), "zone", cli_text(nodes[i]->zone), "alive",
                            (int)nodes[i]->alive, "draining", (int)nodes[i]->draining,
                            "last_seen_ms", (json_int_t)nodes[i]->last_seen_ms));
    return list;
}

static json_t *replicas_json(const struct quire_range *range)
{
    json_t *list = json_array();

    for (size_t i = 0; i < range->replica_count; i++) {
        const struct quire_replica *replica = range->replicas[i];
        json_array_append_new(
            list,
            json_pack("{s:o,s:o,s:o,s:I,s:I,s:I,s:I}", "node", cli_text(replica->node), "role",
                      cli_text(replica->role), "state", cli_text(replica->state), "epoch",
                      (json_int_t)replica->epoch, "last_seq", (json_int_t)replica->last_seq,
                      "committed_seq", (json_int_t)replica->committed_seq, "durable_seq",
                      (json_int_t)replica->durable_seq));
    }
    return list;
}

static json_t *range_json(const struct quire_range *range)
{
    return json_pack(
        "{s:I,s:o,s:I,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:i,s:I,s:I,s:o,s:o,s:i,s:o,s:o}", "id",
        (json_int_t)range->id, "collection", cli_text(range->collection), "epoch",
        (json_int_t)range->epoch, "lo", cli_text(range->lo), "hi", cli_text(range->hi), "primary",
        cli_text(range->primary), "in_sync", cli_texts(range->in_sync, range->in_sync_count),
        "state", cli_text(range->state), "entries", (json_int_t)range->entries, "bytes",
        (json_int_t)range->bytes, "memory_bytes", (json_int_t)range->memory_bytes, "segments",
        (int)range->segments, "committed_seq", (json_int_t)range->committed_seq, "durable_seq",
        (json_int_t)range->durable_seq, "learners",
        cli_texts(range->learners, range->learner_count), "leaving",
        cli_texts(range->leaving, range->leaving_count), "replicas_wanted",
        (int)range->replicas_wanted, "reshape", cli_text(range->reshape), "replicas",
        replicas_json(range));
}

static json_t *searches_json(const struct quire_search_figures *figures)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I}", "searches", (json_int_t)figures->searches,
                     "one_round", (json_int_t)figures->one_round, "outdated",
                     (json_int_t)figures->outdated, "cache_bytes", (json_int_t)figures->cache_bytes,
                     "cache_limit", (json_int_t)figures->cache_limit);
}

static json_t *reads_json(const struct quire_read_figures *figures)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "calls", (json_int_t)figures->calls, "again",
                     (json_int_t)figures->again, "hedges", (json_int_t)figures->hedges,
                     "hedges_won", (json_int_t)figures->hedges_won, "given_up",
                     (json_int_t)figures->given_up, "refused", (json_int_t)figures->refused);
}

static json_t *status_json(const struct quire_status_result *result)
{
    json_t *ranges = json_array();

    for (size_t i = 0; i < result->range_count; i++)
        json_array_append_new(ranges, range_json(result->ranges[i]));
    return json_pack("{s:o,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "cluster_id",
                     cli_text(result->cluster_id), "map_epoch", (json_int_t)result->map_epoch,
                     "software", cli_text(result->software), "leader", cli_text(result->leader),
                     "coordinators", nodes_json(result->coordinators, result->coordinator_count),
                     "nodes", nodes_json(result->nodes, result->node_count), "ranges", ranges,
                     "searches", searches_json(&result->searches), "reads",
                     reads_json(&result->reads));
}

static void print_nodes(const struct quire_status_result *result)
{
    struct cli_table *table = cli_table_create(4);
    static const char *const heads[] = {"role", "address", "state", "id"};

    for (size_t i = 0; i < 4; i++)
        cli_table_add(table, heads[i]);
    for (size_t i = 0; i < result->coordinator_count + result->node_count; i++) {
        bool coordinator = i < result->coordinator_count;
        const struct quire_node *node =
            coordinator ? result->coordinators[i] : result->nodes[i - result->coordinator_count];
        cli_table_add(table, coordinator ? "coordinator" : "shard");
        cli_table_add(table, node->address);
        cli_table_add(table, !node->alive                                           ? "gone"
                             : coordinator && strcmp(node->id, result->leader) == 0 ? "leader"
                             : node->draining                                       ? "drained"
                                                                                    : "up");
        cli_table_add(table, node->id);
    }
    cli_table_print(table);
}

static void print_ranges(const struct quire_status_result *result)
{
    static const char *const heads[] = {"collection", "from", "to",     "shard",    "state",
                                        "entries",    "disk", "memory", "segments", "in sync"};
    const size_t columns = sizeof heads / sizeof heads[0];
    struct cli_table *table = cli_table_create(columns);
    char cell[32];

    for (size_t i = 0; i < columns; i++)
        cli_table_add(table, heads[i]);
    for (size_t i = 5; i < columns - 1; i++)
        cli_table_right(table, i);
    for (size_t i = 0; i < result->range_count; i++) {
        const struct quire_range *range = result->ranges[i];
        cli_table_add(table, range->collection);
        cli_table_add(table, range->lo[0] != '\0' ? range->lo : "-");
        cli_table_add(table, range->hi[0] != '\0' ? range->hi : "-");
        cli_table_add(table, cli_shard_url(result, range->primary));
        cli_table_add(table, range->state);
        cli_table_add(table, cli_count(range->entries, cell));
        cli_table_add(table, cli_size(range->bytes, cell));
        cli_table_add(table, cli_size(range->memory_bytes, cell));
        cli_table_add(table, cli_count(range->segments, cell));
        snprintf(cell, sizeof cell, "%zu of %u", range->in_sync_count,
                 (unsigned)range->replicas_wanted);
        cli_table_add(table, cell);
    }
    cli_table_print(table);
}

static void print_reads(const struct quire_read_figures *figures)
{
    char calls[32], again[32], hedges[32], won[32], given_up[32], refused[32];

    printf("\nreads, by the coordinator that answers, since it started: %s calls to shards; %s "
           "more to "
           "the next replica\nafter a failure; %s to a second one beside a slow one (%s of them "
           "won); %s "
           "given up\n",
           cli_count(figures->calls, calls), cli_count(figures->again, again),
           cli_count(figures->hedges, hedges), cli_count(figures->hedges_won, won),
           cli_count(figures->given_up, given_up));
    if (figures->refused > 0)
        printf("requests refused, since there were too many: %s\n",
               cli_count(figures->refused, refused));
}

/* Whether every range has a shard that is there; the first that has none is named. A range that
 * opens, or whose shard has not told yet that it has opened, is no gap. */
static bool is_complete(const struct cli *cli, const struct quire_status_result *result)
{
    for (size_t i = 0; i < result->range_count; i++) {
        const struct quire_range *range = result->ranges[i];
        if (strcmp(range->state, "serving") != 0 && strcmp(range->state, "opening") != 0) {
            cli_say(cli, "range %llu of collection %s is %s", (unsigned long long)range->id,
                    range->collection, range->state[0] != '\0' ? range->state : "not served");
            return false;
        }
    }
    return true;
}

static void print_status(const struct quire_status_result *result)
{
    printf("cluster %s, %s, map epoch %llu\n\n", result->cluster_id, result->software,
           (unsigned long long)result->map_epoch);
    print_nodes(result);
    if (result->range_count > 0) {
        putchar('\n');
        print_ranges(result);
        print_reads(&result->reads);
    }
}

/* Asks and shows once. `watch`: NULL when that is all. */
static int show_status(struct cli *cli, struct watch *watch)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_status_result *result = NULL;
    int exit = CLI_DONE, status;

    request.timeout_ms = cli->timeout_ms;
    status = quire_status_wait(cli->client, &request, &result);
    watch_prints(watch, cli);
    if (status != QUIRE_OK) {
        exit = cli_failed(cli, status, result != NULL ? result->error : NULL, NULL);
    } else {
        if (cli->json)
            cli_print_json(cli, status_json(result));
        else
            print_status(result);
        if (!is_complete(cli, result))
            exit = CLI_CLUSTER;
    }
    quire_result_free(result);
    return exit;
}

int cmd_status(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli;
    bool watch = false;
    uint64_t seconds = WATCH_SECONDS;
    const struct cli_option options[] = {{"watch", 'w', CLI_FLAG, &watch, 0, 0}};
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 1, 0, 1, &exit))
        return exit;
    if (cli.operand_count > 0 && !watch)
        return cli_usage(&cli, "there are more words than it takes: '%.100s'", cli.operands[0]);
    if (cli.operand_count > 0 && !watch_seconds(cli.operands[0], &seconds))
        return cli_usage(&cli, "--watch takes a number of seconds from 1 to %d, not '%.100s'",
                         WATCH_SECONDS_MAX, cli.operands[0]);
    if (watch)
        return watch_run(&cli, (unsigned)seconds, show_status);
    if (!cli_connect(&cli, &exit))
        return exit;
    return cli_end(&cli, show_status(&cli, NULL));
}

static json_t *verify_json(const struct quire_verify_result *result)
{
    json_t *problems = json_array();

    for (size_t i = 0; result != NULL && i < result->problem_count; i++)
        json_array_append_new(problems, json_pack("{s:I,s:o}", "range",
                                                  (json_int_t)result->problems[i]->range, "text",
                                                  cli_text(result->problems[i]->text)));
    return json_pack("{s:I,s:I,s:I,s:I,s:o}", "ranges",
                     (json_int_t)(result != NULL ? result->ranges : 0), "uncompared",
                     (json_int_t)(result != NULL ? result->uncompared : 0), "entries",
                     (json_int_t)(result != NULL ? result->entries : 0), "postings",
                     (json_int_t)(result != NULL ? result->postings : 0), "problems", problems);
}

int cmd_verify(const struct cli_command *command, int argc, char **argv)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_verify_result *result = NULL;
    char ranges[32], entries[32], postings[32];
    const struct cli_option options[] = {{"replicas", 0, CLI_FLAG, &request.every_replica, 0, 0}};
    struct cli cli;
    int exit, status;

    if (!cli_parse(&cli, command, argc, argv, options, 1, 0, 0, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection_given ? cli.collection : NULL; /* NULL: all of them */
    request.timeout_ms = cli.timeout_ms;
    status = quire_verify_wait(cli.client, &request, &result);
    if (status != QUIRE_OK) {
        exit = cli_failed(&cli, status, result != NULL ? result->error : NULL, verify_json(NULL));
    } else {
        if (cli.json)
            cli_print_json(&cli, verify_json(result));
        else
            printf("%s %s, %s entries, %s postings: %s\n", cli_count(result->ranges, ranges),
                   request.every_replica ? "replicas" : "ranges",
                   cli_count(result->entries, entries), cli_count(result->postings, postings),
                   result->problem_count == 0 ? "all is well" : "there are problems");
        if (result->uncompared > 0)
            cli_say(&cli,
                    "%llu ranges were written to meanwhile: their replicas were checked, and not "
                    "compared with each other",
                    (unsigned long long)result->uncompared);
        for (size_t i = 0; i < result->problem_count; i++)
            cli_say(&cli, "range %llu: %s", (unsigned long long)result->problems[i]->range,
                    result->problems[i]->text);
        if (result->problem_count > 0)
            exit = CLI_NO;
    }
    quire_result_free(result);
    return cli_end(&cli, exit);
}
