/* Settings: what a server program is told, on its command line (--name VALUE) and in files:
 *
 *   # what follows is ignored, and so are empty lines
 *   name = value
 *
 * The names are those of the options, the values are read by the same code. The command line wins
 * over the files; of several files (--config may be repeated) a later one wins over an earlier one;
 * in one file a name stands once. A value runs from its first to its last character that is no
 * blank; there are no quotes and no continuation lines. A flag is `yes` or `no`.
 *
 * Every program that reads settings so has these options as well: --config FILE, --check-config
 * (reads everything, says what is wrong, starts nothing), --help, --version.
 *
 * One thread, at the start.
 */
#ifndef QUIRE_BASE_SETTINGS_H
#define QUIRE_BASE_SETTINGS_H

#include "proto/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SETTINGS_MAX 48         /* names that a program knows */
#define SETTINGS_FILES_MAX 8    /* --config */
#define SETTINGS_FILE_MAX 65536 /* bytes of a file */

/* The end of what usage() lists: the options that every such program has. */
#define SETTINGS_USAGE                                                                             \
    "  --config FILE          reads options from a file, a line each: name = value; what the\n"    \
    "                         command line says wins; may stand several times\n"                   \
    "  --check-config         reads all of that, says what is wrong with it, starts nothing\n"     \
    "  --help, --version\n"

enum setting_kind {
    SETTING_KIND_TEXT,  /* const char **out: as it is written, not empty, and valid() */
    SETTING_KIND_FLAG,  /* bool *out */
    SETTING_KIND_COUNT, /* uint32_t *out: from least to most */
    SETTING_KIND_SIZE,  /* size_t *out: bytes (size_parse.h), 0 only when least is 0 */
    SETTING_KIND_LEVEL  /* enum log_level *out */
};

struct setting {
    const char *name; /* without "--" */
    enum setting_kind kind;
    void *out; /* untouched when nothing says anything */
    uint32_t least, most;
    bool (*valid)(const char *text); /* NULL: any text; what it refuses */
    const char *meaning;             /* "is <meaning>", as it is told */
    bool command_line_only;          /* an act, not a setting: no file has it */
};

/* The lines of a table. */
#define SETTING_TEXT(name_, out_)                                                                  \
    {                                                                                              \
        .name = (name_), .kind = SETTING_KIND_TEXT, .out = (out_)                                  \
    }
#define SETTING_VALID(name_, out_, valid_, meaning_)                                               \
    {                                                                                              \
        .name = (name_), .kind = SETTING_KIND_TEXT, .out = (out_), .valid = (valid_),              \
        .meaning = (meaning_)                                                                      \
    }
#define SETTING_COUNT(name_, out_, least_, most_)                                                  \
    {                                                                                              \
        .name = (name_), .kind = SETTING_KIND_COUNT, .out = (out_), .least = (least_),             \
        .most = (most_)                                                                            \
    }
#define SETTING_SIZE(name_, out_, least_)                                                          \
    {                                                                                              \
        .name = (name_), .kind = SETTING_KIND_SIZE, .out = (out_), .least = (least_)               \
    }
#define SETTING_LEVEL(name_, out_)                                                                 \
    {                                                                                              \
        .name = (name_), .kind = SETTING_KIND_LEVEL, .out = (out_)                                 \
    }
#define SETTING_FLAG(name_, out_)                                                                  \
    {                                                                                              \
        .name = (name_), .kind = SETTING_KIND_FLAG, .out = (out_)                                  \
    }
#define SETTING_ACT(name_, out_)                                                                   \
    {                                                                                              \
        .name = (name_), .kind = SETTING_KIND_FLAG, .out = (out_), .command_line_only = true       \
    }

enum settings_verdict {
    SETTINGS_START, /* everything is read */
    SETTINGS_CHECK, /* the same, and the program was only asked for that: --check-config */
    SETTINGS_HELP,
    SETTINGS_VERSION
};

/* The texts that came from files; as old as what points to them. */
struct settings {
    char *files[SETTINGS_FILES_MAX];
    size_t count;
};

/* Reads the command line and the files that it names into the table's outs. ERR_INVALID: a name
 * that is not known, a value that its setting does not take, a name twice in a file: `err` says
 * where, unless getopt has said it already (its text is empty then). ERR_IO, ERR_TOO_LARGE: of a
 * file. After an error, too, settings_free(). */
int settings_read(struct settings *settings, const struct setting *table, size_t count, int argc,
                  char **argv, enum settings_verdict *verdict, struct err *err);
void settings_free(struct settings *settings);

/* What main() does about it. Says what is wrong on stderr, and where help is: the exit code 2. */
int settings_complain(const char *program, const struct err *err);
/* After any verdict but SETTINGS_START, on stdout: the exit code 0. */
int settings_told(const char *program, enum settings_verdict verdict, void (*usage)(FILE *to));

/* The same for the text of one file: `name` stands in what is said of it. `text` is cut into pieces
 * and has to stay. */
int settings_read_text(const struct setting *table, size_t count, const char *name, char *text,
                       size_t size, struct err *err);

#endif
