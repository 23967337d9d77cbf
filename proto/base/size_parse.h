/* Sizes as people write them: 1048576, 1024K, 1M, 2G (powers of 1024). */
#ifndef QUIRE_BASE_SIZE_PARSE_H
#define QUIRE_BASE_SIZE_PARSE_H

#include <stdbool.h>
#include <stddef.h>

/* False for anything else, and for more than half of what a size_t holds. */
bool size_parse(const char *text, size_t *out);

#endif
