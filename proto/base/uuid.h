/* Version 4 UUIDs in text form, from the kernel's random source. */
#ifndef QUIRE_BASE_UUID_H
#define QUIRE_BASE_UUID_H

#include <stdbool.h>

#define UUID_TEXT_SIZE 37 /* 36 characters and the NUL */

void uuid_generate_text(char out[UUID_TEXT_SIZE]);
bool uuid_valid(const char *text);

#endif
