#include "client/import/import.h"

#include "client/import/reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNIFF_BYTES 16384

struct importer {
    struct import_reader *reader; /* NULL: nothing to read */
    enum import_format format;
};

/* ---- what the formats share ---- */

enum import_step import_problem_set(struct import_problem *problem, size_t line,
                                    enum import_severity severity, const char *format, ...)
{
    va_list arguments;

    problem->line = line;
    problem->severity = severity;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    return IMPORT_PROBLEM;
}

enum import_step import_checked(const struct import_entry *entry, struct import_problem *problem)
{
    struct err err = {0};

    if (import_entry_check(entry, &err) == 0)
        return IMPORT_ENTRY;
    return import_problem_set(problem, entry->line, IMPORT_BAD_ENTRY, "%s", err.text);
}

struct bytes import_skip_bom(struct bytes line)
{
    if (bytes_has_prefix(line, bytes_str("\xef\xbb\xbf")))
        return bytes_of(line.data + 3, line.size - 3);
    return line;
}

struct import_run *import_run_create(void)
{
    struct import_run *run = calloc(1, sizeof *run);

    if (run == NULL)
        return NULL;
    run->glossary = seen_create();
    if (run->glossary == NULL) {
        free(run);
        return NULL;
    }
    return run;
}

void import_run_destroy(struct import_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->dictionary_count; i++)
        free(run->dictionaries[i]);
    free(run->dictionaries);
    seen_destroy(run->glossary);
    free(run);
}

/* ---- formats ---- */

static const char *const format_names[] = {"auto", "glossary", "jsonl", "dictd", "tsv"};

bool import_format_parse(const char *text, enum import_format *format)
{
    for (size_t i = 0; i < sizeof format_names / sizeof *format_names; i++)
        if (strcmp(format_names[i], text) == 0) {
            *format = (enum import_format)i;
            return true;
        }
    return false;
}

const char *import_format_name(enum import_format format)
{
    return format_names[format];
}

static bool ends_with(const char *path, size_t size, const char *ending)
{
    size_t length = strlen(ending);

    return size > length && strncmp(path + size - length, ending, length) == 0;
}

/* By the name alone; IMPORT_AUTO when it says nothing. */
static enum import_format format_of_name(const char *path)
{
    size_t size = strlen(path);

    if (ends_with(path, size, ".index") || ends_with(path, size, ".dict") ||
        ends_with(path, size, ".dict.dz") || ends_with(path, size, ".index.dz"))
        return IMPORT_DICTD;
    if (ends_with(path, size, ".gz"))
        size -= 3;
    else if (ends_with(path, size, ".zst"))
        size -= 4;
    if (ends_with(path, size, ".jsonl") || ends_with(path, size, ".ndjson") ||
        ends_with(path, size, ".json"))
        return IMPORT_JSONL;
    if (ends_with(path, size, ".tsv") || ends_with(path, size, ".tab"))
        return IMPORT_TSV;
    return IMPORT_AUTO;
}

/* True when most of the lines that are not blank have a tab. */
static bool looks_tabbed(struct bytes text)
{
    size_t lines = 0, tabbed = 0;

    while (text.size > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end != NULL ? (size_t)(end - text.data) : text.size;
        if (import_trim(bytes_of(text.data, size)).size > 0) {
            lines++;
            tabbed += memchr(text.data, '\t', size) != NULL;
        }
        size += end != NULL;
        text = bytes_of(text.data + size, text.size - size);
    }
    return lines > 0 && tabbed * 10 >= lines * 9;
}

/* Refuses what is no text, and finds the format of what is. */
static int sniff(struct input *input, enum import_format *format, struct err *err)
{
    struct bytes start;
    int status = input_peek(input, SNIFF_BYTES, &start, err);

    if (status != 0)
        return status;
    if (start.size > SNIFF_BYTES)
        start.size = SNIFF_BYTES;
    if (bytes_has_prefix(start, bytes_of("\xff\xfe", 2)) ||
        bytes_has_prefix(start, bytes_of("\xfe\xff", 2)))
        return err_set(err, ERR_INVALID, "it is UTF-16; convert it to UTF-8 first");
    if (start.size > 0 && memchr(start.data, 0, start.size) != NULL)
        return err_set(err, ERR_INVALID, "it is binary, not text (it has NUL bytes)");
    if (*format != IMPORT_AUTO)
        return 0;
    start = import_trim(import_skip_bom(start));
    if (start.size > 0 && start.data[0] == '{')
        *format = IMPORT_JSONL;
    else if (looks_tabbed(start))
        *format = IMPORT_TSV;
    else
        *format = IMPORT_GLOSSARY;
    return 0;
}

/* ---- the importer ---- */

static int wrap(struct import_reader *reader, enum import_format format, struct importer **out,
                struct err *err)
{
    struct importer *importer = calloc(1, sizeof *importer);

    if (importer == NULL) {
        if (reader != NULL)
            reader->close(reader);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    importer->reader = reader;
    importer->format = format;
    *out = importer;
    return 0;
}

static int open_input(struct input *input, enum import_format format, struct import_run *run,
                      struct importer **out, struct err *err)
{
    struct import_reader *reader = NULL;
    int status = sniff(input, &format, err);

    if (status != 0) {
        input_close(input);
        return status;
    }
    if (format == IMPORT_GLOSSARY)
        status = glossary_open(input, run, &reader, err);
    else if (format == IMPORT_TSV)
        status = tsv_open(input, &reader, err);
    else
        status = jsonl_open(input, &reader, err);
    return status != 0 ? status : wrap(reader, format, out, err);
}

int importer_open(const char *path, enum import_format format, struct import_run *run,
                  struct importer **out, struct err *err)
{
    struct import_reader *reader = NULL;
    struct input *input = NULL;
    int status;

    *out = NULL;
    if (format == IMPORT_AUTO)
        format = format_of_name(path);
    if (format == IMPORT_DICTD) {
        status = dictd_open_path(path, run, &reader, err);
        return status != 0 ? status : wrap(reader, format, out, err);
    }
    status = input_open(path, &input, err);
    return status != 0 ? status : open_input(input, format, run, out, err);
}

int importer_open_memory(struct bytes memory, enum import_format format, struct import_run *run,
                         struct importer **out, struct err *err)
{
    struct input *input = NULL;
    int status;

    *out = NULL;
    status = input_open_memory(memory, &input, err);
    return status != 0 ? status : open_input(input, format, run, out, err);
}

int importer_open_dictd_memory(struct bytes index, struct bytes dict, struct import_run *run,
                               struct importer **out, struct err *err)
{
    struct import_reader *reader = NULL;
    struct input *first = NULL, *second = NULL;
    int status;

    *out = NULL;
    status = input_open_memory(index, &first, err);
    if (status == 0)
        status = input_open_memory(dict, &second, err);
    if (status != 0) {
        input_close(first);
        return status;
    }
    status = dictd_open(first, second, &reader, err);
    return status != 0 ? status : wrap(reader, IMPORT_DICTD, out, err);
}

void importer_close(struct importer *importer)
{
    if (importer == NULL)
        return;
    if (importer->reader != NULL)
        importer->reader->close(importer->reader);
    free(importer);
}

enum import_step importer_next(struct importer *importer, struct import_entry *entry,
                               struct import_problem *problem)
{
    import_entry_reset(entry);
    if (importer->reader == NULL)
        return IMPORT_END;
    return importer->reader->next(importer->reader, entry, problem);
}

enum import_step importer_skip(struct importer *importer)
{
    struct import_entry entry;
    struct import_problem problem;
    enum import_step step;

    if (importer->reader != NULL && importer->reader->skip != NULL)
        return importer->reader->skip(importer->reader);
    import_entry_init(&entry);
    step = importer_next(importer, &entry, &problem);
    import_entry_deinit(&entry);
    return step;
}

enum import_format importer_format(const struct importer *importer)
{
    return importer->format;
}

void importer_progress(const struct importer *importer, uint64_t *done, uint64_t *size)
{
    *done = *size = 0;
    if (importer->reader != NULL)
        importer->reader->progress(importer->reader, done, size);
}
