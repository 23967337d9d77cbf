/* How much memory this process may take: the machine's, or the smallest limit of its cgroup and
 * those above it. */
#ifndef QUIRE_BASE_MEMORY_LIMIT_H
#define QUIRE_BASE_MEMORY_LIMIT_H

#include <stdint.h>

uint64_t memory_limit(void); /* bytes; any thread; reads files, so for start-up */

#endif
