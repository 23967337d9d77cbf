/* The command line: what every command shares.
 *
 * A command is a function that gets its words, declares its options in a table, calls cli_parse(),
 * asks the cluster through libquire and prints: with --json exactly one JSON document on standard
 * output, else text for people. Sentences about what went wrong go to standard error. The exit
 * codes are a contract with scripts.
 */
#ifndef QUIRE_CLI_H
#define QUIRE_CLI_H

#include "client/quire.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_exit {
    CLI_DONE = 0,
    CLI_NO = 1,      /* the answer is no: nothing found, an entry failed, verify failed */
    CLI_USAGE = 2,   /* the command makes no sense */
    CLI_CLUSTER = 3, /* unreachable, or the answer is incomplete */
};

struct cli_command {
    const char *name;    /* "search", "collection create" */
    const char *summary; /* one line for `quire --help` */
    const char *help;    /* synopsis, options, examples */
    int (*run)(const struct cli_command *command, int argc,
               char **argv); /* argv[0] is the command */
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */

#define CLI_TRACE_SIZE 17

/* One run of a command. */
struct cli {
    const struct cli_command *command;
    bool json;
    const char *connect; /* NULL: QUIRE_CONNECT, else the default */
    const char *collection;
    bool collection_given; /* -c was there */
    uint32_t timeout_ms;   /* 0: the library's default */
    bool from_primary;     /* to be set before cli_connect(): see quire_options */
    uint64_t replica;      /* that answers; CLI_ANY_REPLICA */
    char **operands;
    int operand_count;
    bool printed;               /* the JSON document is out */
    uint32_t retry_after_ms;    /* of a refusal: told with the error */
    char trace[CLI_TRACE_SIZE]; /* of a request that failed: told with the error; or "" */
    struct quire_client *client;
};

/* ---- options.c ---- */

enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_TEXTS, CLI_NUMBER };

#define CLI_TEXTS_MAX 64

struct cli_texts { /* an option that may be given several times */
    const char *texts[CLI_TEXTS_MAX];
    size_t count;
};

struct cli_option {
    const char *name; /* long */
    char letter;      /* short; 0: none */
    enum cli_kind kind;
    void *value;          /* bool, const char *, struct cli_texts, uint64_t */
    uint64_t least, most; /* of numbers */
};

#define CLI_ANY_REPLICA UINT64_MAX
/* An option of the commands that read. */
#define CLI_REPLICA(cli)                                                                           \
    {                                                                                              \
        "replica", 0, CLI_NUMBER, &(cli).replica, 0, 4                                             \
    }

/* Parses options (in any place; "--" ends them) and operands. --json, -c, --connect, --timeout and
 * --help belong to every command. Returns true to go on; false when the command is over, with its
 * exit code in *exit. */
bool cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv,
               const struct cli_option *options, size_t option_count, int least_operands,
               int most_operands, int *exit);

/* ---- report.c ---- */

/* A usage error: the sentence and where to read more on standard error; an error document with
 * --json. CLI_USAGE. */
int cli_usage(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The exit code for a status of libquire. */
int cli_exit_of(int status);

/* Prints why it failed, and with --json `shape` (stolen; NULL: an error document) when the exit
 * code is CLI_NO, else the error document. Returns the exit code. */
int cli_failed(struct cli *cli, int status, const char *error, json_t *shape);

/* The request's number in the logs of the cluster, as they write it; "" when it was not sent.
 * Returns `out`. `result` is any of libquire's, or NULL. */
const char *cli_trace(const void *result, char out[CLI_TRACE_SIZE]);

/* A sentence on standard error: "quire search: ...". */
void cli_say(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the one JSON document and forgets it. */
void cli_print_json(struct cli *cli, json_t *document);

/* Creates the client. False: *exit says how the command ends. */
bool cli_connect(struct cli *cli, int *exit);

/* What quire_status() says; NULL: *exit says how the command ends. */
const struct quire_status_result *cli_status(struct cli *cli, int *exit);
/* A whole command that shows a part of that, and has no options of its own. Returns the exit code.
 */
int cli_show_status(const struct cli_command *command, int argc, char **argv,
                    json_t *(*json)(const struct quire_status_result *result),
                    void (*print)(const struct quire_status_result *result));
/* The url of a shard, or its id when nothing is known of it. */
const char *cli_shard_url(const struct quire_status_result *result, const char *id);

/* Frees what cli_connect made; returns `exit`. */
int cli_end(struct cli *cli, int exit);

/* ---- json.c ---- */

/* A JSON string; bytes that are not UTF-8 become U+FFFD. */
json_t *cli_text(const char *text);
json_t *cli_texts(const char *const *texts, size_t count);
/* The entry as `get` shows it and `import` reads it; `collection` may be NULL. */
json_t *cli_entry(const struct quire_entry *entry, const char *collection, bool version);
/* A whole file as text (standard input): up to `most` bytes. Malloc'd; NULL with a sentence in
 * *error. */
char *cli_read_input(size_t most, size_t *size, char *error, size_t error_size);

/* ---- text.c ---- */

/* Writes text for people: control characters become U+FFFD, so that an entry cannot steer the
 * terminal. */
void cli_put(const char *text);
void cli_put_bytes(const char *text, size_t size);
/* Columns that a text takes on a terminal. */
size_t cli_width(const char *text);
/* True when standard output is a terminal that knows bold. */
bool cli_styled(void);
void cli_put_bold(const char *text);
/* Prints texts separated by `separator`. */
void cli_put_list(const char *const *texts, size_t count, const char *separator);

/* A table: cells are copied; columns are as wide as their widest cell; the last one is not padded.
 */
struct cli_table;
struct cli_table *cli_table_create(size_t columns);
void cli_table_add(struct cli_table *table, const char *cell); /* row by row */
void cli_table_right(struct cli_table *table, size_t column);  /* align to the right: numbers */
void cli_table_print(struct cli_table *table); /* the first row is the heading; destroys it */
/* "12,345" and "1.5 MiB" into a buffer of at least 32 bytes; return it. */
const char *cli_count(uint64_t count, char *out);
const char *cli_size(uint64_t bytes, char *out);

#endif
