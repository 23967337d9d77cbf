/* How much memory this process may take: the machine's, or the smallest limit of its cgroup and
 * those above it, of version 1 or 2. */
#ifndef QUIRE_BASE_MEMORY_LIMIT_H
#define QUIRE_BASE_MEMORY_LIMIT_H

#include <stdint.h>

uint64_t memory_limit(void); /* bytes; any thread; reads files, so for start-up */

/* The same of a process whose /proc/PID/cgroup is `table`, with cgroups mounted at `groups`, on a
 * machine of so many bytes. */
uint64_t memory_limit_of(const char *table, const char *groups, uint64_t machine);

#endif
