/* How near this process is to its memory limit, and what it refuses then: writes first, which grow,
 * then heavy reads, before the kernel kills it.
 *
 * What counts is the process's own memory (resident and not shared: heaps and stacks). The page
 * cache of its files does not: the kernel takes that back. Processes that share one limit (one
 * cgroup) do not see each other; each is told its part.
 */
#ifndef QUIRE_BASE_MEMORY_PRESSURE_H
#define QUIRE_BASE_MEMORY_PRESSURE_H

#include "proto/base/admission.h"

#include <stdbool.h>
#include <stdint.h>

/* Per cent of the limit: from the first on it is refused, below the second no more. */
#define MEMORY_NO_WRITES 85
#define MEMORY_WRITES_AGAIN 80
#define MEMORY_NO_HEAVY 92
#define MEMORY_HEAVY_AGAIN 87
#define MEMORY_CHECK_MS 200 /* to be asked no more often */

/* Pure. `limit` 0: there is none. */
enum admission_pressure memory_pressure(enum admission_pressure before, uint64_t used,
                                        uint64_t limit);

/* Bytes of its own that this process has; 0: not known. Reads a file of some microseconds. */
uint64_t memory_own(void);

struct memory_watch {
    uint64_t limit; /* bytes; 0: none */
    uint64_t checked_ms, own;
    enum admission_pressure pressure;
};

/* Looks, unless it did so less than MEMORY_CHECK_MS ago, and logs a change. Returns whether the
 * pressure has changed. */
bool memory_watch_look(struct memory_watch *watch, uint64_t now_ms);

#endif
