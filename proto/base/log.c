/* One line is built in a bounded buffer on the stack and written with one write(2), so that lines
 * of several threads and processes do not mix. A line that does not fit is cut before a field and
 * ends with the field `cut`. Values are escaped: text from outside can never begin a line of its
 * own. */
#include "proto/base/log.h"

#include "proto/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 4096
#define LOG_TAIL 32 /* kept free for the mark of a cut line */

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* Process-wide, set once before threads start: where lines go is a property of the process. */
static struct {
    enum log_level least;
    bool json;
    char node[64];
} config = {.least = LOG_INFO};

struct line {
    size_t size;
    bool cut;
    char text[LOG_LINE_MAX];
};

void log_configure(enum log_level least, bool json, const char *node)
{
    config.least = least;
    config.json = json;
    snprintf(config.node, sizeof config.node, "%s", node ? node : "");
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void add(struct line *line, const char *bytes, size_t size)
{
    if (line->cut || size > sizeof line->text - LOG_TAIL - line->size) {
        line->cut = true;
        return;
    }
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
}

static void __attribute__((format(printf, 2, 3))) addf(struct line *line, const char *format, ...)
{
    char text[96];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        add(line, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* Inside quotes, in both formats. Bytes above 0x7f pass, so that UTF-8 stays readable. */
static void add_escaped(struct line *line, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p && !line->cut; p++) {
        if (*p == '"' || *p == '\\') {
            add(line, (char[]){'\\', (char)*p}, 2);
        } else if (*p == '\n') {
            add(line, "\\n", 2);
        } else if (*p < 0x20 || *p == 0x7f) {
            addf(line, "\\u%04x", *p);
        } else {
            add(line, (const char *)p, 1);
        }
    }
}

static bool plain(const char *text) /* needs no quotes in key=value lines */
{
    if (!*text)
        return false;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p == '"' || *p == '\\' || *p == '=' || *p == 0x7f)
            return false;
    return true;
}

static void add_key(struct line *line, const char *key)
{
    if (config.json)
        addf(line, "%s\"%s\":", line->size > 1 ? "," : "", key);
    else
        addf(line, "%s%s=", line->size ? " " : "", key);
}

static void add_str(struct line *line, const char *key, const char *text)
{
    size_t start = line->size;
    add_key(line, key);
    if (!text)
        text = "";
    if (!config.json && plain(text)) {
        add(line, text, strlen(text));
    } else {
        add(line, "\"", 1);
        add_escaped(line, text);
        add(line, "\"", 1);
    }
    if (line->cut)
        line->size = start;
}

static void add_field(struct line *line, const struct log_field *field)
{
    size_t start = line->size;
    switch (field->kind) {
    case LOG_KIND_STR:
        add_str(line, field->key, field->str);
        return;
    case LOG_KIND_I64:
        add_key(line, field->key);
        addf(line, "%" PRId64, field->i64);
        break;
    case LOG_KIND_U64:
        add_key(line, field->key);
        addf(line, "%" PRIu64, field->u64);
        break;
    case LOG_KIND_F64:
        add_key(line, field->key);
        if (config.json && !isfinite(field->f64))
            add(line, "null", 4);
        else
            addf(line, "%.9g", field->f64);
        break;
    case LOG_KIND_END:
        break;
    }
    if (line->cut)
        line->size = start;
}

static void add_time(struct line *line)
{
    uint64_t ms = clock_wall_ms();
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    gmtime_r(&seconds, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03uZ", (unsigned)(ms % 1000));
    add_str(line, "time", text);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    if (level < config.least)
        return;
    int saved = errno; /* logging is no reason to lose it */
    struct line line;
    line.size = 0;
    line.cut = false;
    if (config.json)
        add(&line, "{", 1);
    add_time(&line);
    add_str(&line, "level", level_names[level]);
    if (config.node[0])
        add_str(&line, "node", config.node);
    add_str(&line, "event", event);
    for (const struct log_field *field = fields; field->kind != LOG_KIND_END; field++)
        add_field(&line, field);
    const char *tail = line.cut ? (config.json ? ",\"cut\":true}\n" : " cut=true\n")
                                : (config.json ? "}\n" : "\n");
    memcpy(line.text + line.size, tail, strlen(tail)); /* LOG_TAIL keeps room */
    line.size += strlen(tail);
    ssize_t ignored = write(STDERR_FILENO, line.text, line.size);
    (void)ignored;
    errno = saved;
}
