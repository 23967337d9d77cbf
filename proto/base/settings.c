#include "proto/base/settings.h"

#include "proto/base/log.h"
#include "proto/base/size_parse.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a value stands: in a line of a file, or (no file) on the command line. */
struct place {
    const char *file;
    unsigned line;
};

/* ---- one value ---- */

static bool parse_count(const struct setting *setting, const char *text)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || value < setting->least ||
        value > setting->most)
        return false;
    *(uint32_t *)setting->out = (uint32_t)value;
    return true;
}

static bool parse_size(const struct setting *setting, const char *text)
{
    size_t value;
    if (!size_parse(text, &value) || (value == 0 && setting->least > 0))
        return false;
    *(size_t *)setting->out = value;
    return true;
}

static bool parse_flag(const struct setting *setting, const char *text)
{
    bool yes = strcmp(text, "yes") == 0;
    if (!yes && strcmp(text, "no") != 0)
        return false;
    *(bool *)setting->out = yes;
    return true;
}

static bool parse_text(const struct setting *setting, const char *text)
{
    if (text[0] == '\0' || (setting->valid != NULL && !setting->valid(text)))
        return false;
    *(const char **)setting->out = text;
    return true;
}

static bool parse_value(const struct setting *setting, const char *text)
{
    switch (setting->kind) {
    case SETTING_KIND_TEXT:
        return parse_text(setting, text);
    case SETTING_KIND_FLAG:
        return parse_flag(setting, text);
    case SETTING_KIND_COUNT:
        return parse_count(setting, text);
    case SETTING_KIND_SIZE:
        return parse_size(setting, text);
    case SETTING_KIND_LEVEL:
        return log_level_parse(text, setting->out);
    }
    return false;
}

static void describe(const struct setting *setting, char *out, size_t size)
{
    if (setting->meaning != NULL)
        snprintf(out, size, "%s", setting->meaning);
    else if (setting->kind == SETTING_KIND_COUNT)
        snprintf(out, size, "a number from %u to %u", setting->least, setting->most);
    else if (setting->kind == SETTING_KIND_SIZE)
        snprintf(out, size, "a size like 512M%s", setting->least == 0 ? ", or 0" : "");
    else if (setting->kind == SETTING_KIND_FLAG)
        snprintf(out, size, "yes or no");
    else if (setting->kind == SETTING_KIND_LEVEL)
        snprintf(out, size, "debug, info, warn or error");
    else
        snprintf(out, size, "not empty");
}

static int set(const struct setting *setting, const char *text, struct place place, struct err *err)
{
    char meaning[200];
    if (parse_value(setting, text))
        return 0;
    describe(setting, meaning, sizeof meaning);
    if (place.file == NULL)
        return err_set(err, ERR_INVALID, "--%s is %s", setting->name, meaning);
    return err_set(err, ERR_INVALID, "%s:%u: %s is %s", place.file, place.line, setting->name,
                   meaning);
}

/* ---- a file ---- */

static char *trim(char *text)
{
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

static int read_line(const struct setting *table, size_t count, char *line, struct place place,
                     unsigned *seen, struct err *err)
{
    line = trim(line);
    if (line[0] == '\0' || line[0] == '#')
        return 0;
    char *equals = strchr(line, '=');
    if (equals == NULL)
        return err_set(err, ERR_INVALID, "%s:%u: \"%.40s\" is no line of the form name = value",
                       place.file, place.line, line);
    *equals = '\0';
    const char *name = trim(line);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) != 0)
            continue;
        if (table[i].command_line_only)
            return err_set(err, ERR_INVALID, "%s:%u: %s is for the command line only", place.file,
                           place.line, name);
        if (seen[i] != 0)
            return err_set(err, ERR_INVALID, "%s:%u: %s is set in line %u already", place.file,
                           place.line, name, seen[i]);
        seen[i] = place.line;
        return set(&table[i], trim(equals + 1), place, err);
    }
    return err_set(err, ERR_INVALID, "%s:%u: there is no setting \"%.40s\"", place.file, place.line,
                   name);
}

int settings_read_text(const struct setting *table, size_t count, const char *name, char *text,
                       size_t size, struct err *err)
{
    unsigned seen[SETTINGS_MAX] = {0};
    struct place place = {.file = name};
    assert(count <= SETTINGS_MAX);
    if (memchr(text, '\0', size) != NULL)
        return err_set(err, ERR_INVALID, "%s: is no text: it has a byte 0", name);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        place.line++;
        int code = read_line(table, count, line, place, seen, err);
        if (code != 0)
            return code;
    }
    return 0;
}

static int read_file(struct settings *settings, const struct setting *table, size_t count,
                     const char *path, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    char *text = malloc(SETTINGS_FILE_MAX + 2);
    if (text == NULL)
        abort();
    errno = 0;
    size_t size = fread(text, 1, SETTINGS_FILE_MAX + 1, file);
    int failed = ferror(file) ? errno : 0;
    fclose(file);
    text[size] = '\0';
    settings->files[settings->count++] = text;
    if (failed != 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(failed));
    if (size > SETTINGS_FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s: a configuration file has at most %d bytes", path,
                       SETTINGS_FILE_MAX);
    return settings_read_text(table, count, path, text, size, err);
}

/* ---- the command line ---- */

enum { CONFIG = SETTINGS_MAX + 256, CHECK, HELP, VERSION };

static void list_options(const struct setting *table, size_t count, struct option *out)
{
    static const struct option common[] = {
        {"config", required_argument, NULL, CONFIG},
        {"check-config", no_argument, NULL, CHECK},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    for (size_t i = 0; i < count; i++) {
        int argument = table[i].kind == SETTING_KIND_FLAG ? no_argument : required_argument;
        out[i] = (struct option){table[i].name, argument, NULL, 256 + (int)i};
    }
    memcpy(out + count, common, sizeof common);
}

/* Once for the files, a second time for what stands above them. */
struct reading {
    struct settings *settings;
    const struct setting *table;
    size_t count;
    bool files;
    enum settings_verdict *verdict;
};

static int read_option(struct reading *reading, int which, struct err *err)
{
    switch (which) {
    case '?':
        err_set(err, ERR_INVALID, "%s", "");
        return ERR_INVALID;
    case CONFIG:
        if (!reading->files)
            return 0;
        if (reading->settings->count == SETTINGS_FILES_MAX)
            return err_set(err, ERR_INVALID, "--config stands %d times at most",
                           SETTINGS_FILES_MAX);
        return read_file(reading->settings, reading->table, reading->count, optarg, err);
    case CHECK:
        *reading->verdict = SETTINGS_CHECK;
        return 0;
    default:
        break;
    }
    const struct setting *setting = &reading->table[which - 256];
    if (reading->files)
        return 0;
    return set(setting, setting->kind == SETTING_KIND_FLAG ? "yes" : optarg, (struct place){0},
               err);
}

static int read_options(struct reading *reading, int argc, char **argv, struct err *err)
{
    struct option options[SETTINGS_MAX + 8];
    list_options(reading->table, reading->count, options);
    optind = 0; /* from the start again */
    for (int which; (which = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (which == HELP || which == VERSION) {
            *reading->verdict = which == HELP ? SETTINGS_HELP : SETTINGS_VERSION;
            return 0;
        }
        int code = read_option(reading, which, err);
        if (code != 0)
            return code;
    }
    if (optind < argc)
        return err_set(err, ERR_INVALID, "there is an argument too many: %.100s", argv[optind]);
    return 0;
}

int settings_read(struct settings *settings, const struct setting *table, size_t count, int argc,
                  char **argv, enum settings_verdict *verdict, struct err *err)
{
    struct reading reading = {settings, table, count, true, verdict};
    *settings = (struct settings){0};
    *verdict = SETTINGS_START;
    assert(count <= SETTINGS_MAX);
    int code = read_options(&reading, argc, argv, err);
    reading.files = false;
    if (code == 0 && *verdict != SETTINGS_HELP && *verdict != SETTINGS_VERSION)
        code = read_options(&reading, argc, argv, err);
    return code;
}

void settings_free(struct settings *settings)
{
    for (size_t i = 0; i < settings->count; i++)
        free(settings->files[i]);
    settings->count = 0;
}

int settings_complain(const char *program, const struct err *err)
{
    if (err->text[0] != '\0')
        fprintf(stderr, "%s: %s\n", program, err->text);
    fprintf(stderr, "Try '%s --help'.\n", program);
    return 2;
}

int settings_told(const char *program, enum settings_verdict verdict, void (*usage)(FILE *to))
{
    if (verdict == SETTINGS_HELP)
        usage(stdout);
    else if (verdict == SETTINGS_VERSION)
        printf("%s %s\n", program, QUIRE_VERSION);
    else
        printf("%s: the configuration is good\n", program);
    return EXIT_SUCCESS;
}
