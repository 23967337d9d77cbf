#include "client/cli/cli.h"
#include "client/cli/local.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(const struct cli *cli, const char *format, va_list arguments)
{
    char text[2048];

    vsnprintf(text, sizeof text, format, arguments);
    /* A sentence may quote what somebody typed or stored: no control characters for the terminal.
     */
    for (char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = ' ';
    fflush(stdout);
    fprintf(stderr, "quire%s%s: %s\n", cli->command != NULL ? " " : "",
            cli->command != NULL ? cli->command->name : "", text);
}

const char *cli_trace(const void *result, char out[CLI_TRACE_SIZE])
{
    uint64_t trace = quire_result_trace(result);
    out[0] = '\0';
    if (trace != 0)
        snprintf(out, CLI_TRACE_SIZE, "%016llx", (unsigned long long)trace);
    return out;
}

void cli_say(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(cli, format, arguments);
    va_end(arguments);
}

/* "deadline exceeded" as "deadline_exceeded": codes are for programs. */
/* `cli`: what it knows of the request; may be NULL. */
static json_t *error_document(const char *code, const char *message, const struct cli *cli)
{
    char name[64];
    json_t *document;

    snprintf(name, sizeof name, "%s", code);
    for (char *at = name; *at != '\0'; at++)
        if (*at == ' ' || *at == '/')
            *at = '_';
    document = json_pack("{s:{s:s,s:o}}", "error", "code", name, "message", cli_text(message));
    if (cli != NULL && cli->retry_after_ms > 0)
        json_object_set_new(json_object_get(document, "error"), "retry_after_ms",
                            json_integer(cli->retry_after_ms));
    if (cli != NULL && cli->trace[0] != '\0')
        json_object_set_new(json_object_get(document, "error"), "trace", json_string(cli->trace));
    return document;
}

int cli_usage(struct cli *cli, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cli_say(cli, "%s", text);
    fprintf(stderr, "Try 'quire%s%s --help'.\n", cli->command != NULL ? " " : "",
            cli->command != NULL ? cli->command->name : "");
    if (cli->json)
        cli_print_json(cli, error_document("usage", text, NULL));
    return CLI_USAGE;
}

int cli_exit_of(int status)
{
    switch (status) {
    case QUIRE_OK:
        return CLI_DONE;
    case QUIRE_NOT_FOUND:
    case QUIRE_EXISTS:
    case QUIRE_CONFLICT:
        return CLI_NO;
    case QUIRE_INVALID:
    case QUIRE_TOO_LARGE:
    case QUIRE_UNSUPPORTED:
        return CLI_USAGE;
    default:
        return CLI_CLUSTER;
    }
}

int cli_failed(struct cli *cli, int status, const char *error, json_t *shape)
{
    int exit = cli_exit_of(status);

    if (error == NULL || error[0] == '\0')
        error = quire_strerror(status);
    if (exit == CLI_CLUSTER && cli->trace[0] != '\0')
        cli_say(cli, "%s (trace %s)", error, cli->trace);
    else
        cli_say(cli, "%s", error);
    if (cli->json && !cli->printed) {
        if (exit == CLI_NO && shape != NULL)
            cli_print_json(cli, json_incref(shape));
        else
            cli_print_json(cli, error_document(quire_strerror(status), error, cli));
    }
    json_decref(shape);
    return exit;
}

void cli_print_json(struct cli *cli, json_t *document)
{
    if (document == NULL)
        document = error_document("internal error", "the answer cannot be written as JSON", NULL);
    json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    putchar('\n');
    json_decref(document);
    cli->printed = true;
}

bool cli_connect(struct cli *cli, int *exit)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    char error[QUIRE_ERROR_SIZE] = "", local[LOCAL_CONNECT_SIZE];
    int status;

    options.connect = cli->connect;
    if (options.connect == NULL && getenv("QUIRE_CONNECT") == NULL && local_connect_default(local))
        options.connect = local;
    options.timeout_ms = cli->timeout_ms;
    options.one_replica = cli->replica != CLI_ANY_REPLICA;
    options.from_primary = cli->from_primary && !options.one_replica;
    options.replica = options.one_replica ? (uint32_t)cli->replica : 0;
    status = quire_client_create(&options, &cli->client, error, sizeof error);
    if (status == QUIRE_OK)
        return true;
    *exit = cli_failed(cli, status, error, NULL);
    return false;
}

const struct quire_status_result *cli_status(struct cli *cli, int *exit)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_status_result *result = NULL;
    request.timeout_ms = cli->timeout_ms;
    int status = quire_status_wait(cli->client, &request, &result);
    if (status == QUIRE_OK)
        return result;
    *exit = cli_failed(cli, status, result != NULL ? result->error : NULL, NULL);
    quire_result_free(result);
    return NULL;
}

int cli_show_status(const struct cli_command *command, int argc, char **argv,
                    json_t *(*json)(const struct quire_status_result *result),
                    void (*print)(const struct quire_status_result *result))
{
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, NULL, 0, 0, 0, &exit) || !cli_connect(&cli, &exit))
        return exit;
    const struct quire_status_result *result = cli_status(&cli, &exit);
    if (result != NULL && cli.json)
        cli_print_json(&cli, json(result));
    else if (result != NULL)
        print(result);
    quire_result_free(result);
    return cli_end(&cli, exit);
}

const char *cli_shard_url(const struct quire_status_result *result, const char *id)
{
    for (size_t i = 0; i < result->node_count; i++)
        if (strcmp(result->nodes[i]->id, id) == 0)
            return result->nodes[i]->address;
    return id;
}

int cli_end(struct cli *cli, int exit)
{
    quire_client_destroy(cli->client);
    cli->client = NULL;
    if (fflush(stdout) != 0 && exit == CLI_DONE)
        exit = CLI_CLUSTER; /* the reader went away, or the disk is full: not everything was told */
    return exit;
}
