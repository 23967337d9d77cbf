/* Errors: one enumeration for the whole cluster, and a bounded text that says what is wrong and
 * where.
 *
 * A function that can fail returns an `int` that is 0 or one of `enum err_code`, and takes a
 * `struct err *` (which may be NULL) that it fills when it fails. On the way up each layer may put
 * its own words in front with err_prefix(): "open range 7: read manifest: checksum mismatch".
 *
 * The numbers travel in messages: never renumber, only append.
 */
#ifndef QUIRE_BASE_ERR_H
#define QUIRE_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define ERR_CODES(X)                                                                               \
    X(OK, 0, "ok")                                                                                 \
    X(NOMEM, 1, "out of memory")                                                                   \
    X(INVALID, 2, "invalid request")                                                               \
    X(TOO_LARGE, 3, "too large")                                                                   \
    X(NOT_FOUND, 4, "not found")                                                                   \
    X(EXISTS, 5, "already exists")                                                                 \
    X(CONFLICT, 6, "version conflict")                                                             \
    X(UNAVAILABLE, 7, "unavailable")                                                               \
    X(DEADLINE, 8, "deadline exceeded")                                                            \
    X(CANCELED, 9, "canceled")                                                                     \
    X(STALE, 10, "stale epoch")                                                                    \
    X(CORRUPT, 11, "corrupt data")                                                                 \
    X(IO, 12, "input/output error")                                                                \
    X(FULL, 13, "full")                                                                            \
    X(PROTOCOL, 14, "protocol error")                                                              \
    X(UNSUPPORTED, 15, "unsupported")                                                              \
    X(INTERNAL, 16, "internal error")                                                              \
    X(INCOMPLETE, 17, "incomplete answer")                                                         \
    X(CLOSED, 18, "closed")                                                                        \
    X(OVERLOADED, 19, "overloaded")

enum err_code {
#define X(name, number, text) ERR_##name = number,
    ERR_CODES(X)
#undef X
};

/* Longest error text, terminator included; longer ones are cut, never overrun. */
#define ERR_TEXT_MAX 512

struct err {
    int code;                /* enum err_code */
    uint32_t retry_after_ms; /* with ERR_OVERLOADED: when it may be worth asking again; else 0 */
    char text[ERR_TEXT_MAX];
};

/* The fixed words for a code ("stale epoch"); "unknown error" for a number that is none. */
const char *err_name(int code);

/* Fills `err` (if not NULL; retry_after_ms with 0) and returns `code`, so that `return err_set(err,
 * ERR_IO, ...)` reads well. */
int err_set(struct err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<words>: " in front of the text; the end is cut when it does not fit. Returns err->code
 * (ERR_INTERNAL when err is NULL). */
int err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
