#include "proto/base/memory_limit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool read_limit(const char *path, uint64_t *out)
{
    FILE *file = fopen(path, "r");
    unsigned long long value;
    bool fine = file != NULL && fscanf(file, "%llu", &value) == 1 && value > 0;
    if (file != NULL)
        fclose(file);
    if (fine && value < *out)
        *out = value;
    return fine;
}

/* The smallest limit of our cgroup and those above it; "max" does not parse as a number. */
uint64_t memory_limit(void)
{
    uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    char line[1024], path[1200];
    FILE *file = fopen("/proc/self/cgroup", "r");
    if (file == NULL)
        return limit;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "0::", 3) != 0)
            continue;
        char *group = line + 3;
        group[strcspn(group, "\n")] = 0;
        for (;;) {
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
            read_limit(path, &limit);
            char *slash = strrchr(group, '/');
            if (slash == NULL || group[0] == 0)
                break;
            *slash = 0;
        }
    }
    fclose(file);
    read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes", &limit); /* version 1 */
    return limit;
}
