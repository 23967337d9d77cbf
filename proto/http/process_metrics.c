#include "proto/http/process_metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct process_metrics {
    struct metric *resident, *fds, *fds_max, *threads, *cpu;
};

static int64_t count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int64_t count = -1; /* the folder's own */
    if (folder == NULL)
        return -1;
    for (struct dirent *item; (item = readdir(folder)) != NULL;)
        count += item->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* The fields of /proc/self/stat from the third on, in which no name can be mistaken for them;
 * field 3 is at [0]. */
#define STAT_FIELDS 22
static bool read_stat(unsigned long long fields[STAT_FIELDS])
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    char *at = strrchr(text, ')');
    if (at == NULL)
        return false;
    at += 3; /* ") S": the state is no number */
    memset(fields, 0, STAT_FIELDS * sizeof *fields);
    for (int i = 1; i < STAT_FIELDS && at < text + size; i++)
        fields[i] = strtoull(at, &at, 10);
    return true;
}

enum { FIELD_THREADS = 20 - 3, FIELD_START = 22 - 3, FIELD_RESIDENT = 24 - 3 };

static int64_t us_of(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static void update(void *data)
{
    struct process_metrics *process = data;
    unsigned long long fields[STAT_FIELDS];
    struct rusage usage;
    struct rlimit limit;
    int64_t fds = count_fds();
    if (read_stat(fields)) {
        metric_set(process->resident,
                   (int64_t)fields[FIELD_RESIDENT] * (int64_t)sysconf(_SC_PAGESIZE));
        metric_set(process->threads, (int64_t)fields[FIELD_THREADS]);
    }
    if (fds >= 0)
        metric_set(process->fds, fds);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metric_set(process->fds_max,
                   limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metric_set(process->cpu, us_of(usage.ru_utime) + us_of(usage.ru_stime));
}

static int64_t now_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Since 1970; to a hundredth of a second, as the kernel keeps it. */
static int64_t started_us(void)
{
    unsigned long long fields[STAT_FIELDS];
    int64_t booted = now_us(CLOCK_REALTIME) - now_us(CLOCK_BOOTTIME);
    long ticks = sysconf(_SC_CLK_TCK);
    if (!read_stat(fields) || ticks <= 0)
        return now_us(CLOCK_REALTIME);
    return booted + (int64_t)(fields[FIELD_START] * 1000000 / (unsigned long long)ticks);
}

struct process_metrics *process_metrics_create(struct metrics *metrics, const char *program)
{
    char labels[128];
    struct process_metrics *process = calloc(1, sizeof *process);
    if (process == NULL)
        abort();
    snprintf(labels, sizeof labels, "program=\"%s\",version=\"%s\"", program, QUIRE_VERSION);
    metric_set(metrics_gauge_of(metrics, "quire_build_info",
                                "Always 1; its labels say what this process is.", labels),
               1);
    process->resident =
        metrics_gauge(metrics, "process_resident_memory_bytes", "Resident memory in bytes.");
    process->fds = metrics_gauge(metrics, "process_open_fds", "Open file descriptors.");
    process->fds_max =
        metrics_gauge(metrics, "process_max_fds", "File descriptors that may be open.");
    process->threads = metrics_gauge(metrics, "process_threads", "Threads of the process.");
    process->cpu = metrics_counter_us(metrics, "process_cpu_seconds_total",
                                      "User and system processor time in seconds.");
    metric_set(metrics_gauge_us(metrics, "process_start_time_seconds",
                                "When the process began, in seconds since 1970."),
               started_us());
    metrics_on_render(metrics, update, process);
    return process;
}

void process_metrics_free(struct process_metrics *process)
{
    free(process);
}
