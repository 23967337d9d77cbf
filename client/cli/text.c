#include "client/cli/cli.h"

#include "proto/base/bytes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

/* Length of the harmless piece that begins here; 0 when the next character must not reach a
 * terminal. *skip is then how many bytes it has. */
static size_t harmless(const char *text, size_t size, size_t *skip)
{
    size_t at = 0;

    while (at < size) {
        unsigned char c = (unsigned char)text[at];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            break;
        if (c == 0xc2 && at + 1 < size && (unsigned char)text[at + 1] < 0xa0) /* U+0080 to U+009F */
            break;
        at++;
    }
    *skip = at < size && (unsigned char)text[at] == 0xc2 ? 2 : 1;
    return at;
}

void cli_put_bytes(const char *text, size_t size)
{
    while (size > 0) {
        size_t skip;
        size_t good = harmless(text, size, &skip);

        fwrite(text, 1, good, stdout);
        text += good;
        size -= good;
        if (size > 0) {
            fputs("\xef\xbf\xbd", stdout);
            text += skip;
            size -= skip;
        }
    }
}

void cli_put(const char *text)
{
    cli_put_bytes(text, strlen(text));
}

size_t cli_width(const char *text)
{
    size_t width = 0, size = strlen(text);

    for (size_t at = 0; at < size;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                 (utf8proc_ssize_t)(size - at), &point);
        if (used <= 0) {
            at++;
            width++;
            continue;
        }
        at += (size_t)used;
        width += point < 0x20 ? 1 : (size_t)utf8proc_charwidth(point);
    }
    return width;
}

bool cli_styled(void)
{
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL && term != NULL &&
           strcmp(term, "dumb") != 0;
}

void cli_put_bold(const char *text)
{
    bool styled = cli_styled();

    if (styled)
        fputs("\033[1m", stdout);
    cli_put(text);
    if (styled)
        fputs("\033[0m", stdout);
}

void cli_put_list(const char *const *texts, size_t count, const char *separator)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            fputs(separator, stdout);
        cli_put(texts[i]);
    }
}

struct cli_table {
    size_t columns;
    char **cells;
    size_t count, capacity;
    size_t width[16];
    bool right[16];
};

struct cli_table *cli_table_create(size_t columns)
{
    struct cli_table *table = calloc(1, sizeof *table);

    assert(table != NULL && columns > 0 && columns <= 16);
    table->columns = columns;
    return table;
}

void cli_table_add(struct cli_table *table, const char *cell)
{
    size_t column = table->count % table->columns;
    size_t width = cli_width(cell);

    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        table->cells = realloc(table->cells, table->capacity * sizeof *table->cells);
        assert(table->cells != NULL);
    }
    table->cells[table->count] = strdup(cell);
    assert(table->cells[table->count] != NULL);
    table->count++;
    if (width > table->width[column])
        table->width[column] = width;
}

void cli_table_right(struct cli_table *table, size_t column)
{
    table->right[column] = true;
}

static void put_cell(const struct cli_table *table, size_t i)
{
    size_t column = i % table->columns;
    bool last = column + 1 == table->columns;
    size_t pad = table->width[column] - cli_width(table->cells[i]);

    if (table->right[column])
        printf("%*s", (int)pad, "");
    if (i < table->columns)
        cli_put_bold(table->cells[i]);
    else
        cli_put(table->cells[i]);
    if (!table->right[column] && !last)
        printf("%*s", (int)pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

void cli_table_print(struct cli_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        put_cell(table, i);
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}

const char *cli_count(uint64_t count, char *out)
{
    char digits[24];
    size_t size = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, count);
    size_t at = 0;

    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *cli_size(uint64_t bytes, char *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}
