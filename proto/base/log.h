/* Log lines on standard error, one event a line: key=value, or JSON when asked.
 *
 *   time=2026-11-22T10:00:00.123Z level=info node=shard-1 event="range opened" range=7 entries=138
 *
 * Thread-safe; each line is one write(2). Fields are passed as pairs through LOG_* helpers:
 *
 *   log_event(LOG_INFO, "range opened", LOG_U64("range", id), LOG_STR("path", path));
 */
#ifndef QUIRE_BASE_LOG_H
#define QUIRE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_kind { LOG_KIND_END, LOG_KIND_STR, LOG_KIND_I64, LOG_KIND_U64, LOG_KIND_F64 };

struct log_field {
    const char *key;
    enum log_kind kind;
    union {
        const char *str;
        int64_t i64;
        uint64_t u64;
        double f64;
    };
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .str = (v)})
#define LOG_I64(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_I64, .i64 = (v)})
#define LOG_U64(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_U64, .u64 = (v)})
#define LOG_F64(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_F64, .f64 = (v)})

/* Once, before threads start. `node` is copied (63 bytes at most) and put on each line. */
void log_configure(enum log_level least, bool json, const char *node);
/* "debug", "info", "warn", "error"; false for anything else. */
bool log_level_parse(const char *text, enum log_level *level);

void log_write(enum log_level level, const char *event, const struct log_field *fields);
#define log_event(level, event, ...)                                                               \
    log_write(level, event,                                                                        \
              (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = LOG_KIND_END}})

#endif
