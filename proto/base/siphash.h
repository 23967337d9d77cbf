/* SipHash-2-4 (Aumasson and Bernstein, 2012): the keyed hash that signs cursors. */
#ifndef QUIRE_BASE_SIPHASH_H
#define QUIRE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash24(const uint8_t key[16], const void *data, size_t size);

#endif
