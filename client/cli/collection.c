/* quire collection create, list, drop */
#include "client/cli/commands.h"

#include <stdio.h>
#include <string.h>

static const char *const orders[] = {"arrival", "category"}; /* by enum quire_order */

static json_t *collection_json(const struct quire_collection *collection, bool counts)
{
    json_t *object =
        json_pack("{s:o,s:o,s:{s:i,s:i,s:i,s:i},s:f,s:f,s:s,s:i}", "name",
                  cli_text(collection->name), "language", cli_text(collection->language), "weights",
                  "headword", (int)collection->weight_headword, "terms",
                  (int)collection->weight_terms, "categories", (int)collection->weight_categories,
                  "body", (int)collection->weight_body, "k1", collection->k1, "b", collection->b,
                  "order", orders[collection->order], "replicas", (int)collection->replicas);

    if (counts) {
        json_object_set_new(object, "entries", json_integer((json_int_t)collection->entries));
        json_object_set_new(object, "ranges", json_integer((json_int_t)collection->ranges));
    }
    return object;
}

int cmd_collection_create(const struct cli_command *command, int argc, char **argv)
{
    struct quire_collection_request request = QUIRE_COLLECTION_INIT;
    const struct quire_collection_result *result = NULL;
    uint64_t replicas = 1;
    const char *language = NULL, *order = orders[QUIRE_ORDER_ARRIVAL];
    const struct cli_option options[] = {{"language", 'l', CLI_TEXT, &language, 0, 0},
                                         {"order", 0, CLI_TEXT, &order, 0, 0},
                                         {"replicas", 0, CLI_NUMBER, &replicas, 1, 5}};
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 3, 1, 1, &exit))
        return exit;
    if (strcmp(order, orders[QUIRE_ORDER_ARRIVAL]) != 0 &&
        strcmp(order, orders[QUIRE_ORDER_CATEGORY]) != 0)
        return cli_usage(&cli, "--order is arrival or category, not '%.100s'", order);
    if (!cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.operands[0];
    request.language = language;
    request.replicas = (uint32_t)replicas;
    request.order = strcmp(order, orders[QUIRE_ORDER_CATEGORY]) == 0 ? QUIRE_ORDER_CATEGORY
                                                                     : QUIRE_ORDER_ARRIVAL;
    request.timeout_ms = cli.timeout_ms;
    if (quire_collection_create_wait(cli.client, &request, &result) != QUIRE_OK) {
        exit = cli_failed(&cli, result != NULL ? result->status : QUIRE_NOMEM,
                          result != NULL ? result->error : NULL, NULL);
    } else if (cli.json) {
        cli_print_json(&cli, collection_json(result->collection, false));
    } else {
        printf("created collection %s (language %s)\n", result->collection->name,
               result->collection->language);
    }
    quire_result_free(result);
    return cli_end(&cli, exit);
}

static void print_collections(const struct quire_collections_result *result)
{
    struct cli_table *table = cli_table_create(5);
    char number[32];

    cli_table_add(table, "collection");
    cli_table_add(table, "language");
    cli_table_add(table, "entries");
    cli_table_add(table, "ranges");
    cli_table_add(table, "replicas");
    cli_table_right(table, 2);
    cli_table_right(table, 3);
    cli_table_right(table, 4);
    for (size_t i = 0; i < result->collection_count; i++) {
        cli_table_add(table, result->collections[i]->name);
        cli_table_add(table, result->collections[i]->language);
        cli_table_add(table, cli_count(result->collections[i]->entries, number));
        cli_table_add(table, cli_count(result->collections[i]->ranges, number));
        cli_table_add(table, cli_count(result->collections[i]->replicas, number));
    }
    cli_table_print(table);
}

int cmd_collection_list(const struct cli_command *command, int argc, char **argv)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_collections_result *result = NULL;
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 0, 0, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.timeout_ms = cli.timeout_ms;
    if (quire_collection_list_wait(cli.client, &request, &result) != QUIRE_OK) {
        exit = cli_failed(&cli, result != NULL ? result->status : QUIRE_NOMEM,
                          result != NULL ? result->error : NULL, NULL);
    } else if (cli.json) {
        json_t *list = json_array();
        for (size_t i = 0; i < result->collection_count; i++)
            json_array_append_new(list, collection_json(result->collections[i], true));
        cli_print_json(&cli, json_pack("{s:o}", "collections", list));
    } else if (result->collection_count == 0) {
        printf("there are no collections yet\n");
    } else {
        print_collections(result);
    }
    quire_result_free(result);
    return cli_end(&cli, exit);
}

int cmd_collection_drop(const struct cli_command *command, int argc, char **argv)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_result *result = NULL;
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.operands[0];
    request.timeout_ms = cli.timeout_ms;
    if (quire_collection_drop_wait(cli.client, &request, &result) != QUIRE_OK)
        exit = cli_failed(&cli, result != NULL ? result->status : QUIRE_NOMEM,
                          result != NULL ? result->error : NULL, NULL);
    else if (cli.json)
        cli_print_json(&cli, json_pack("{s:o}", "dropped", cli_text(cli.operands[0])));
    else
        printf("dropped collection %s\n", cli.operands[0]);
    quire_result_free(result);
    return cli_end(&cli, exit);
}
