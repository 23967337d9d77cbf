#include "proto/base/memory_limit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024
#define PATH_MAX_BYTES 2304

/* "max" does not parse as a number. */
static void read_limit(const char *path, uint64_t *limit)
{
    FILE *file = fopen(path, "r");
    unsigned long long value;
    if (file == NULL)
        return;
    if (fscanf(file, "%llu", &value) == 1 && value > 0 && value < *limit)
        *limit = value;
    fclose(file);
}

/* A group and those above it. One that is not there is passed over: in a container the table may
 * name groups as the host sees them, while the container's own is the root. */
static void read_groups(const char *root, char *group, const char *name, uint64_t *limit)
{
    char path[PATH_MAX_BYTES];
    for (;;) {
        snprintf(path, sizeof path, "%s%s/%s", root, strcmp(group, "/") == 0 ? "" : group, name);
        read_limit(path, limit);
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return;
        *slash = 0;
    }
}

/* Whether `memory` is one of "cpu,memory,pids". */
static bool names_memory(const char *controllers, const char *end)
{
    static const char word[] = "memory";
    for (const char *at = controllers; at < end;) {
        size_t size = strcspn(at, ",:");
        if (size == sizeof word - 1 && memcmp(at, word, size) == 0)
            return true;
        at += size + 1;
    }
    return false;
}

uint64_t memory_limit_of(const char *table, const char *groups, uint64_t machine)
{
    uint64_t limit = machine;
    char line[LINE_MAX_BYTES], root[PATH_MAX_BYTES / 2];
    FILE *file = fopen(table, "r");
    if (file == NULL)
        return limit;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(++controllers, ':');
        if (group == NULL)
            continue;
        snprintf(root, sizeof root, "%s/memory", groups);
        if (group == controllers) /* version 2: no controllers are named */
            read_groups(groups, group + 1, "memory.max", &limit);
        else if (names_memory(controllers, group))
            read_groups(root, group + 1, "memory.limit_in_bytes", &limit);
    }
    fclose(file);
    return limit;
}

uint64_t memory_limit(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return memory_limit_of("/proc/self/cgroup", "/sys/fs/cgroup", machine);
}
