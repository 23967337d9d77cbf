/* quire: the command line of Quire. Finds the command and runs it; see cli.h for what a command is.
 */
#include "client/cli/commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* The commands that have commands of their own. */
static const struct group {
    const char *name, *commands, *examples;
} groups[] = {
    {"collection", "create, list or drop",
     "  quire collection create computing --language en\n"
     "  quire collection list\n"
     "  quire collection drop computing\n"},
    {"node", "list, drain, undrain or remove",
     "  quire node list\n  quire node drain tcp://10.0.0.5:7401\n"},
    {"range", "list or move",
     "  quire range list\n  quire range move --range 7 --from tcp://10.0.0.5:7401\n"},
    {"coordinator", "list or remove",
     "  quire coordinator list\n"
     "  quire coordinator remove tcp://10.0.0.3:7400\n"},
};

static const struct group *find_group(const char *word)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strcmp(groups[i].name, word) == 0)
            return &groups[i];
    return NULL;
}

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
        fprintf(to, "  %-19s %s\n", command->name, command->summary);
    fputs(
        "\nEvery command takes:\n"
        "  -c NAME            the collection (default: default)\n"
        "  --json             one JSON document on standard output\n"
        "  --connect URL,...  coordinators (default: $QUIRE_CONNECT, else those that 'quire up'\n"
        "                     started, else tcp://127.0.0.1:7400)\n"
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

static void print_group(FILE *to, const struct group *group)
{
    size_t size = strlen(group->name);

    fprintf(to, "usage: quire %s COMMAND [options] ...\n\n", group->name);
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++)
        if (strncmp(command->name, group->name, size) == 0)
            fprintf(to, "  %-19s %s\n", command->name, command->summary);
    fprintf(to, "\n'quire %s COMMAND --help' tells more about each.\n\nexamples:\n%s", group->name,
            group->examples);
}

int main(int argc, char **argv)
{
    struct cli cli = {.json = has_option(argc, argv, "--json", NULL)};
    const struct cli_command *command;
    const struct group *group;
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
    group = find_group(word);
    if (group != NULL) {
        const char *second = take_word(&argc, argv);
        if (second == NULL && has_option(argc, argv, "--help", "-h")) {
            print_group(stdout, group);
            return CLI_DONE;
        }
        if (second == NULL)
            return cli_usage(&cli, "'quire %s' needs a command: %s", group->name, group->commands);
        snprintf(name, sizeof name, "%s %.40s", group->name, second);
    }
    command = find_command(name);
    if (command == NULL)
        return cli_usage(&cli, "there is no command '%s'", name);
    return command->run(command, argc, argv);
}
