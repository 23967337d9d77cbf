/* HTML entities: the numbered ones, and the named ones that occur in prose. */
#ifndef QUIRE_TEXT_ENTITY_H
#define QUIRE_TEXT_ENTITY_H

#include <stddef.h>
#include <stdint.h>

/* `text` begins with '&'. Returns the bytes of the entity including its ';' and its code point, or
 * 0 when there is none: unknown names and impossible numbers stay text. */
size_t entity_decode(const uint8_t *text, size_t size, int32_t *point);

#endif
