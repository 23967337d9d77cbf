#include "proto/base/memory_pressure.h"

#include "proto/base/log.h"

#include <stdio.h>
#include <unistd.h>

static bool from(uint64_t used, uint64_t limit, unsigned per_cent)
{
    return used >= limit / 100 * per_cent;
}

enum admission_pressure memory_pressure(enum admission_pressure before, uint64_t used,
                                        uint64_t limit)
{
    if (limit == 0)
        return ADMISSION_EASE;
    if (from(used, limit, before == ADMISSION_NO_HEAVY ? MEMORY_HEAVY_AGAIN : MEMORY_NO_HEAVY))
        return ADMISSION_NO_HEAVY;
    if (from(used, limit, before == ADMISSION_EASE ? MEMORY_NO_WRITES : MEMORY_WRITES_AGAIN))
        return ADMISSION_NO_WRITES;
    return ADMISSION_EASE;
}

/* statm: size resident shared ..., in pages. */
uint64_t memory_own(void)
{
    unsigned long long resident, shared;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    int read = fscanf(file, "%*u %llu %llu", &resident, &shared);
    fclose(file);
    if (read != 2 || shared > resident)
        return 0;
    return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool memory_watch_look(struct memory_watch *watch, uint64_t now_ms)
{
    static const char *const events[] = {
        [ADMISSION_EASE] = "memory has room again",
        [ADMISSION_NO_WRITES] = "near the memory limit: writes are refused",
        [ADMISSION_NO_HEAVY] = "near the memory limit: writes and heavy reads are refused"};
    if (watch->limit == 0 || now_ms < watch->checked_ms + MEMORY_CHECK_MS)
        return false;
    watch->checked_ms = now_ms;
    watch->own = memory_own();
    enum admission_pressure pressure = memory_pressure(watch->pressure, watch->own, watch->limit);
    if (pressure == watch->pressure)
        return false;
    watch->pressure = pressure;
    log_event(pressure == ADMISSION_EASE ? LOG_INFO : LOG_WARN, events[pressure],
              LOG_U64("own_bytes", watch->own), LOG_U64("limit_bytes", watch->limit));
    return true;
}
