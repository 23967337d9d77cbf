/* Tab-separated values: one entry a line, no quoting, no escapes; a field is what stands between
 * two tabs.
 *
 *   headword <TAB> body
 *   headword <TAB> other name|other name <TAB> category|category <TAB> body
 *
 * A first line that holds nothing but column names, "headword" among them, says what the columns
 * are, in any order: headword, sense, terms, categories, body, source. A line that has fewer
 * columns than that leaves the rest empty.
 */
#include "client/import/reader.h"
#include "proto/text/key.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COLUMNS_MAX 16

enum column {
    COLUMN_NONE,
    COLUMN_HEADWORD,
    COLUMN_SENSE,
    COLUMN_TERMS,
    COLUMN_CATEGORIES,
    COLUMN_BODY,
    COLUMN_SOURCE
};

struct tsv {
    struct import_reader reader;
    struct input *input;
    struct buf line;
    size_t number;
    bool failed;
    enum column columns[COLUMNS_MAX];
    size_t column_count; /* 0: there was no line of column names */
};

static const enum column columns_of_two[] = {COLUMN_HEADWORD, COLUMN_BODY};
static const enum column columns_of_four[] = {COLUMN_HEADWORD, COLUMN_TERMS, COLUMN_CATEGORIES,
                                              COLUMN_BODY};

static enum column column_named(struct bytes name)
{
    static const struct {
        const char *name;
        enum column column;
    } names[] = {{"headword", COLUMN_HEADWORD},
                 {"sense", COLUMN_SENSE},
                 {"terms", COLUMN_TERMS},
                 {"other names", COLUMN_TERMS},
                 {"categories", COLUMN_CATEGORIES},
                 {"category", COLUMN_CATEGORIES},
                 {"body", COLUMN_BODY},
                 {"definition", COLUMN_BODY},
                 {"source", COLUMN_SOURCE}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == name.size &&
            strncasecmp(names[i].name, (const char *)name.data, name.size) == 0)
            return names[i].column;
    return COLUMN_NONE;
}

/* Cuts at the tabs; returns how many fields there are, of which at most COLUMNS_MAX are stored. */
static size_t cut(struct bytes line, struct bytes *fields)
{
    const uint8_t *at = line.data;
    const uint8_t *end = line.data + line.size;
    size_t count = 0;

    for (;;) {
        const uint8_t *tab = memchr(at, '\t', (size_t)(end - at));
        const uint8_t *stop = tab != NULL ? tab : end;
        if (count < COLUMNS_MAX)
            fields[count] = bytes_of(at, (size_t)(stop - at));
        count++;
        if (tab == NULL)
            return count;
        at = tab + 1;
    }
}

static bool read_column_names(struct tsv *tsv, const struct bytes *fields, size_t count)
{
    bool headword = false;

    if (count < 2 || count > COLUMNS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        tsv->columns[i] = column_named(import_trim(fields[i]));
        if (tsv->columns[i] == COLUMN_NONE)
            return false;
        headword = headword || tsv->columns[i] == COLUMN_HEADWORD;
    }
    if (headword)
        tsv->column_count = count;
    return headword;
}

/* Names between bars; empty ones are left out. */
static const char **cut_names(struct import_entry *entry, struct bytes field, size_t *count)
{
    const uint8_t *end = field.data + field.size;
    size_t most = 1;
    const char **names;

    for (size_t i = 0; i < field.size; i++)
        most += field.data[i] == '|';
    names = import_entry_array(entry, most, sizeof *names);
    *count = 0;
    for (const uint8_t *at = field.data; at <= end;) {
        const uint8_t *bar = memchr(at, '|', (size_t)(end - at));
        const uint8_t *stop = bar != NULL ? bar : end;
        struct bytes name = import_trim(bytes_of(at, (size_t)(stop - at)));
        if (name.size > 0)
            names[(*count)++] = import_entry_text(entry, name);
        at = stop + 1;
    }
    return names;
}

static void set_column(struct import_entry *entry, enum column column, struct bytes field)
{
    switch (column) {
    case COLUMN_HEADWORD:
        entry->headword = import_entry_text(entry, import_trim(field));
        break;
    case COLUMN_SENSE:
        entry->sense = import_entry_text(entry, import_trim(field));
        break;
    case COLUMN_TERMS:
        entry->terms = cut_names(entry, field, &entry->term_count);
        break;
    case COLUMN_CATEGORIES:
        entry->categories = cut_names(entry, field, &entry->category_count);
        break;
    case COLUMN_BODY:
        import_entry_set_body(entry, field);
        break;
    case COLUMN_SOURCE:
        entry->source = import_entry_text(entry, import_trim(field));
        break;
    case COLUMN_NONE:
        break;
    }
}

static enum import_step convert(struct tsv *tsv, const struct bytes *fields, size_t count,
                                struct import_entry *entry, struct import_problem *problem)
{
    const enum column *columns = tsv->columns;

    if (tsv->column_count == 0) {
        if (count != 2 && count != 4)
            return import_problem_set(problem, tsv->number, IMPORT_BAD_ENTRY,
                                      "the line has %zu columns; without a line of column names it "
                                      "must have 2 (headword, "
                                      "body) or 4 (headword, terms, categories, body)",
                                      count);
        columns = count == 2 ? columns_of_two : columns_of_four;
    } else if (count > tsv->column_count) {
        return import_problem_set(problem, tsv->number, IMPORT_BAD_ENTRY,
                                  "the line has %zu columns, but only %zu are named", count,
                                  tsv->column_count);
    }
    for (size_t i = 0; i < count; i++)
        set_column(entry, columns[i], fields[i]);
    return import_checked(entry, problem);
}

static enum import_step tsv_next(struct import_reader *reader, struct import_entry *entry,
                                 struct import_problem *problem)
{
    struct tsv *tsv = (struct tsv *)reader;
    struct bytes fields[COLUMNS_MAX];
    struct err err = {0};
    enum input_line what;

    while (!tsv->failed) {
        struct bytes text;
        size_t count, offset;

        tsv->number++;
        if (input_line(tsv->input, IMPORT_LINE_MAX, &tsv->line, &what, &err) != 0) {
            tsv->failed = true;
            return import_problem_set(problem, tsv->number, IMPORT_BAD_FILE, "%s", err.text);
        }
        if (what == INPUT_LINE_END)
            break;
        if (what == INPUT_LINE_LONG)
            return import_problem_set(problem, tsv->number, IMPORT_BAD_ENTRY,
                                      "the line is too long: an entry may have at most %u MiB",
                                      LIMIT_ENTRY_BYTES >> 20);
        text = buf_bytes(&tsv->line);
        if (tsv->number == 1)
            text = import_skip_bom(text);
        if (import_trim(text).size == 0)
            continue;
        entry->line = tsv->number;
        if (!text_valid(text, &offset))
            return import_problem_set(problem, tsv->number, IMPORT_BAD_ENTRY,
                                      "not valid UTF-8 at byte %zu", offset);
        count = cut(text, fields);
        if (tsv->number == 1 && read_column_names(tsv, fields, count))
            continue;
        return convert(tsv, fields, count, entry, problem);
    }
    return IMPORT_END;
}

static void tsv_close(struct import_reader *reader)
{
    struct tsv *tsv = (struct tsv *)reader;

    input_close(tsv->input);
    buf_deinit(&tsv->line);
    free(tsv);
}

static void tsv_progress(const struct import_reader *reader, uint64_t *done, uint64_t *size)
{
    input_progress(((const struct tsv *)reader)->input, done, size);
}

int tsv_open(struct input *input, struct import_reader **out, struct err *err)
{
    struct tsv *tsv = calloc(1, sizeof *tsv);

    *out = NULL;
    if (tsv == NULL) {
        input_close(input);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    tsv->reader = (struct import_reader){tsv_next, tsv_close, tsv_progress, NULL};
    tsv->input = input;
    *out = &tsv->reader;
    return 0;
}
