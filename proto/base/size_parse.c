#include "proto/base/size_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

bool size_parse(const char *text, size_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || !isdigit((unsigned char)text[0]))
        return false;
    int shift = 0;
    switch (*end) {
    case 'K':
        shift = 10;
        break;
    case 'M':
        shift = 20;
        break;
    case 'G':
        shift = 30;
        break;
    default:
        break;
    }
    end += shift > 0;
    if (*end != 0 || value > (SIZE_MAX >> 1) >> shift)
        return false;
    *out = (size_t)value << shift;
    return true;
}
