#include "proto/base/err.h"

#include <stdio.h>
#include <string.h>

const char *err_name(int code)
{
    switch (code) {
#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;
        ERR_CODES(X)
#undef X
    default:
        return "unknown error";
    }
}

int err_set(struct err *err, int code, const char *format, ...)
{
    if (!err)
        return code;
    err->code = code;
    err->retry_after_ms = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return code;
}

int err_prefix(struct err *err, const char *format, ...)
{
    if (!err)
        return ERR_INTERNAL;
    char old[ERR_TEXT_MAX];
    memcpy(old, err->text, sizeof old);
    old[sizeof old - 1] = 0;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t at = length < 0 ? 0 : (size_t)length;
    const char *parts[] = {": ", old};
    for (int i = 0; i < 2 && at < sizeof err->text - 1; i++) {
        size_t room = sizeof err->text - 1 - at, size = strlen(parts[i]);
        size = size < room ? size : room;
        memcpy(err->text + at, parts[i], size);
        at += size;
        err->text[at] = 0;
    }
    return err->code;
}
