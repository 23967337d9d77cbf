#include "client/cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 24
#define OPTION_BASE 256 /* getopt_long's values of our options start here */

/* True when --json is among the words before "--": it decides how errors in the other words are
 * told. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static bool parse_number(const char *text, uint64_t *value)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

/* Stores one option's argument. 0 or the exit code. */
static int store(struct cli *cli, const struct cli_option *option, const char *argument)
{
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->value = true;
        break;
    case CLI_TEXT:
        *(const char **)option->value = argument;
        break;
    case CLI_TEXTS: {
        struct cli_texts *texts = option->value;
        if (texts->count == CLI_TEXTS_MAX)
            return cli_usage(cli, "--%s may be given at most %d times", option->name,
                             CLI_TEXTS_MAX);
        texts->texts[texts->count++] = argument;
        break;
    }
    case CLI_NUMBER: {
        uint64_t number;
        if (!parse_number(argument, &number) || number < option->least || number > option->most)
            return cli_usage(cli, "--%s takes a number from %llu to %llu, not '%.100s'",
                             option->name, (unsigned long long)option->least,
                             (unsigned long long)option->most, argument);
        *(uint64_t *)option->value = number;
        break;
    }
    }
    return 0;
}

/* The tables of getopt_long. */
struct tables {
    struct option longs[OPTIONS_MAX + 1];
    char shorts[2 * OPTIONS_MAX + 2];
};

static void build_tables(struct tables *tables, const struct cli_option *options, size_t count)
{
    size_t at = 0;

    memset(tables, 0, sizeof *tables);
    tables->shorts[at++] = ':'; /* tell a missing argument from an unknown option */
    for (size_t i = 0; i < count; i++) {
        bool argument = options[i].kind != CLI_FLAG;
        tables->longs[i] =
            (struct option){options[i].name, argument ? required_argument : no_argument, NULL,
                            OPTION_BASE + (int)i};
        if (options[i].letter != 0) {
            tables->shorts[at++] = options[i].letter;
            if (argument)
                tables->shorts[at++] = ':';
        }
    }
}

static const struct cli_option *option_of(int value, const struct cli_option *options, size_t count)
{
    if (value >= OPTION_BASE && value < OPTION_BASE + (int)count)
        return &options[value - OPTION_BASE];
    for (size_t i = 0; i < count; i++)
        if (options[i].letter != 0 && options[i].letter == value)
            return &options[i];
    return NULL;
}

static int check_operands(struct cli *cli, int least, int most)
{
    if (cli->operand_count < least)
        return cli_usage(cli, cli->operand_count == 0 ? "something is missing behind the command"
                                                      : "there are too few words");
    if (most >= 0 && cli->operand_count > most)
        return cli_usage(cli, "there are more words than it takes: '%.100s'", cli->operands[most]);
    if (cli->collection[0] == '\0')
        return cli_usage(cli, "the name of the collection is empty");
    return 0;
}

bool cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv,
               const struct cli_option *options, size_t option_count, int least_operands,
               int most_operands, int *exit)
{
    struct cli_option all[OPTIONS_MAX];
    struct tables tables;
    size_t count = option_count;
    uint64_t timeout = 0;
    bool help = false;
    int value;

    *cli = (struct cli){.command = command, .replica = CLI_ANY_REPLICA};
    cli->json = wants_json(argc, argv);
    if (option_count > 0)
        memcpy(all, options, option_count * sizeof *options);
    all[count++] = (struct cli_option){"json", 0, CLI_FLAG, &cli->json, 0, 0};
    all[count++] = (struct cli_option){"help", 'h', CLI_FLAG, &help, 0, 0};
    all[count++] = (struct cli_option){"collection", 'c', CLI_TEXT, &cli->collection, 0, 0};
    all[count++] = (struct cli_option){"connect", 0, CLI_TEXT, &cli->connect, 0, 0};
    all[count++] = (struct cli_option){"timeout", 0, CLI_NUMBER, &timeout, 1, 86400000};
    build_tables(&tables, all, count);
    opterr = 0;
    optind = 0;
    while ((value = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
        const struct cli_option *option = option_of(value, all, count);

        if (option == NULL) {
            const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
            *exit = cli_usage(cli,
                              value == ':' ? "'%.100s' needs an argument"
                                           : "there is no option '%.100s' (words that begin "
                                             "with '-' go behind '--')",
                              word);
            return false;
        }
        *exit = store(cli, option, optarg);
        if (*exit != 0)
            return false;
    }
    if (help) {
        printf("%s", command->help);
        *exit = CLI_DONE;
        return false;
    }
    cli->collection_given = cli->collection != NULL;
    if (!cli->collection_given)
        cli->collection = QUIRE_DEFAULT_COLLECTION;
    cli->timeout_ms = (uint32_t)timeout;
    cli->operands = argv + optind;
    cli->operand_count = argc - optind;
    *exit = check_operands(cli, least_operands, most_operands);
    return *exit == 0;
}
