/* quire: the command line of Quire. Finds the command and runs it; see cli.h for what a command is.
 */
#include "client/cli/commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define GROUPED "collection" /* the one command that has commands of its own */

/* Options of every command that take an argument: a word behind one of these is not the command. */
static bool takes_argument(const char *word)
{
    static const char *const options[] = {"-c", "--collection", "--connect", "--timeout"};

    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(word, options[i]) == 0)
            return true;
    return false;
}

/* Takes the first word that is no option out of argv; NULL when there is none. */
static const char *take_word(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return NULL;
        if (argv[i][0] == '-') {
            i += takes_argument(argv[i]);
            continue;
        }
        const char *word = argv[i];
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof *argv); /* the NULL too */
        *argc -= 1;
        return word;
    }
    return NULL;
}

static bool has_option(int argc, char **argv, const char *name, const char *letter)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0 || (letter != NULL && strcmp(argv[i], letter) == 0))
            return true;
    return false;
}

static const struct cli_command *find_command(const char *name)
{
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

static void print_overview(FILE *to)
{
    fputs("quire: search and look up terms in a Quire cluster\n\n"
          "usage: quire COMMAND [options] ...\n\n",
          to);
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++)
        fprintf(to, "  %-18s %s\n", command->name, command->summary);
    fputs(
        "\nEvery command takes:\n"
        "  -c NAME            the collection (default: default)\n"
        "  --json             one JSON document on standard output\n"
        "  --connect URL,...  coordinators (default: $QUIRE_CONNECT, else tcp://127.0.0.1:7400)\n"
        "  --timeout MS       how long to wait for an answer\n"
        "  --help             what it does, with examples\n\n"
        "Exit codes: 0 done, 1 the answer is no, 2 usage, 3 cluster unreachable or incomplete.\n\n"
        "A first tour:\n"
        "  quire up\n"
        "  quire import /usr/share/dictd/foldoc.index\n"
        "  quire search \"lambda calculus\"\n"
        "  quire define foobar\n"
        "  quire down\n",
        to);
}

static void print_group(FILE *to, const char *group)
{
    size_t size = strlen(group);

    fprintf(to, "usage: quire %s COMMAND [options] ...\n\n", group);
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++)
        if (strncmp(command->name, group, size) == 0)
            fprintf(to, "  %-18s %s\n", command->name, command->summary);
    fprintf(to,
            "\n'quire %s COMMAND --help' tells more about each.\n\nexamples:\n"
            "  quire collection create computing --language en\n"
            "  quire collection list\n"
            "  quire collection drop computing\n",
            group);
}

int main(int argc, char **argv)
{
    struct cli cli = {.json = has_option(argc, argv, "--json", NULL)};
    const struct cli_command *command;
    char name[64];
    const char *word = take_word(&argc, argv);

    if (word == NULL) {
        if (has_option(argc, argv, "--version", "-V")) {
            printf("quire %s\n", quire_version());
            return CLI_DONE;
        }
        if (has_option(argc, argv, "--help", "-h")) {
            print_overview(stdout);
            return CLI_DONE;
        }
        return cli_usage(
            &cli, argc > 1 && !cli.json ? "there is no option '%.100s'" : "a command is missing",
            argc > 1 ? argv[1] : "");
    }
    snprintf(name, sizeof name, "%s", word);
    if (strcmp(word, "help") == 0) {
        print_overview(stdout);
        return CLI_DONE;
    }
    if (strcmp(word, GROUPED) == 0) {
        const char *second = take_word(&argc, argv);
        if (second == NULL && has_option(argc, argv, "--help", "-h")) {
            print_group(stdout, GROUPED);
            return CLI_DONE;
        }
        if (second == NULL)
            return cli_usage(&cli, "'quire collection' needs a command: create, list or drop");
        snprintf(name, sizeof name, GROUPED " %.40s", second);
    }
    command = find_command(name);
    if (command == NULL)
        return cli_usage(&cli, "there is no command '%s'", name);
    return command->run(command, argc, argv);
}
