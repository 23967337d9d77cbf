/* quire coordinator list, remove */
#include "client/cli/commands.h"

#include <stdio.h>
#include <string.h>

static bool leads(const struct quire_status_result *result, size_t i)
{
    return strcmp(result->coordinators[i]->id, result->leader) == 0;
}

static void print_list(const struct quire_status_result *result)
{
    static const char *const heads[] = {"url", "state", "id"};
    struct cli_table *table = cli_table_create(3);

    for (size_t i = 0; i < 3; i++)
        cli_table_add(table, heads[i]);
    for (size_t i = 0; i < result->coordinator_count; i++) {
        const struct quire_node *it = result->coordinators[i];
        cli_table_add(table, it->address);
        cli_table_add(table, !it->alive ? "gone" : leads(result, i) ? "leader" : "up");
        cli_table_add(table, it->id);
    }
    cli_table_print(table);
}

static json_t *list_json(const struct quire_status_result *result)
{
    json_t *list = json_array();

    for (size_t i = 0; i < result->coordinator_count; i++) {
        const struct quire_node *it = result->coordinators[i];
        json_array_append_new(list, json_pack("{s:o,s:o,s:b,s:b}", "id", cli_text(it->id), "url",
                                              cli_text(it->address), "leader",
                                              (int)leads(result, i), "alive", (int)it->alive));
    }
    return json_pack("{s:o}", "coordinators", list);
}

int cmd_coordinator_list(const struct cli_command *command, int argc, char **argv)
{
    return cli_show_status(command, argc, argv, list_json, print_list);
}

int cmd_coordinator_remove(const struct cli_command *command, int argc, char **argv)
{
    struct quire_coordinator_request request = QUIRE_COORDINATOR_INIT;
    const struct quire_result *result = NULL;
    struct cli cli;
    int exit, status;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 1, 1, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.id = cli.operands[0];
    request.timeout_ms = cli.timeout_ms;
    status = quire_coordinator_remove_wait(cli.client, &request, &result);
    if (status != QUIRE_OK)
        exit = cli_failed(&cli, status, result != NULL ? result->error : NULL, NULL);
    else if (cli.json)
        cli_print_json(&cli, json_pack("{s:o}", "removed", cli_text(cli.operands[0])));
    else
        printf("removed coordinator %s\n", cli.operands[0]);
    quire_result_free(result);
    return cli_end(&cli, exit);
}
