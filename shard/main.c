/* quire-shard: holds prefix ranges of collections and answers the coordinators of its cluster. */
#include "proto/base/admission.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "proto/base/memory_limit.h"
#include "proto/base/settings.h"
#include "proto/http/http_address.h"
#include "proto/http/observer.h"
#include "proto/rpc/url.h"
#include "shard/server.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_LISTEN "tcp://127.0.0.1:7401"
#define DEFAULT_COORDINATORS "tcp://127.0.0.1:7400"
#define THREADS_MAX 256
#define DEFAULT_MERGE_BYTES (32 << 20) /* a second; README.md, "When it flushes and merges" */
#define HEAPS_MIN 2
#define HEAPS_MAX 8
#define MAP_THRESHOLD (256 << 10)
#define TRIM_THRESHOLD (1 << 20)

struct options {
    const char *dir, *listen, *advertise, *coordinators, *zone, *http;
    uint32_t threads;
    size_t memory_limit;
    size_t cache_bytes, memory_bytes; /* 0: from the memory limit */
    size_t merge_bytes_per_second;    /* 0: no limit */
    uint32_t queue_target_ms;         /* 0: only deadlines count */
    uint32_t queue_limit;
    enum log_level level;
    bool json;
};

struct process {
    struct server *server;     /* NULL: not yet, or not any more */
    struct observer *observer; /* NULL: nobody watches */
    uv_signal_t signals[2];
    bool stopping;
};

static void usage(FILE *to)
{
    fputs(
        "Usage: quire-shard --dir DIR [options]\n"
        "\n"
        "Holds ranges of a Quire cluster: their log, their index, their search.\n"
        "\n"
        "  --dir DIR              data folder; created when missing\n"
        "  --listen URL           where coordinators connect (default " DEFAULT_LISTEN ")\n"
        "  --advertise URL        how they reach it, when that is another address\n"
        "  --coordinators URL,... where it registers (default " DEFAULT_COORDINATORS ")\n"
        "  --zone NAME            replicas of a range are put into different zones\n"
        "  --threads N            for queries (default: one a core)\n"
        "  --cache-bytes SIZE     of the cache of blocks and lists (default: a quarter of the "
        "memory\n"
        "                         limit)\n"
        "  --memory-bytes SIZE    of what is indexed but not yet on disk (default: an eighth)\n"
        "  --memory-limit SIZE    of the whole process: from 85 % on writes are refused, from 92 "
        "%\n"
        "                         heavy reads as well (default: the memory limit)\n"
        "  --merge-bytes-per-second SIZE\n"
        "                         that merges write at most, all ranges together; 0: no limit\n"
        "                         (default 32M)\n"
        "  --queue-target-ms N    reads that would wait for longer are refused, once they do so\n"
        "                         for good (default 2000; 0: only when their deadline is nearer)\n"
        "  --queue-limit N        reads of a class that wait; beyond, they are refused\n"
        "                         (default 1024)\n"
        "  --http HOST:PORT       serves /metrics (for Prometheus), /healthz and /readyz there;\n"
        "                         with port 0 the log says which one the kernel picked\n"
        "                         (default: not at all)\n"
        "  --log-level LEVEL      debug, info, warn or error (default info)\n"
        "  --log-json             log lines as JSON\n" SETTINGS_USAGE "\n"
        "SIZE takes a suffix K, M or G. The memory limit is the cgroup's, else the machine's.\n"
        "\n"
        "Example: quire-shard --dir /var/lib/quire/shard --listen tcp://10.0.0.2:7401 \\\n"
        "           --coordinators tcp://10.0.0.1:7400\n",
        to);
}

/* ---- options ---- */

static int parse_options(int argc, char **argv, struct options *out, struct settings *settings,
                         enum settings_verdict *verdict, struct err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *out = (struct options){.listen = DEFAULT_LISTEN,
                            .coordinators = DEFAULT_COORDINATORS,
                            .threads = cores < 1             ? 1
                                       : cores > THREADS_MAX ? THREADS_MAX
                                                             : (uint32_t)cores,
                            .merge_bytes_per_second = DEFAULT_MERGE_BYTES,
                            .queue_target_ms = ADMISSION_TARGET_MS,
                            .queue_limit = SERVER_READ_QUEUE,
                            .level = LOG_INFO};
    const struct setting table[] = {
        SETTING_TEXT("dir", &out->dir),
        SETTING_VALID("listen", &out->listen, url_valid, URL_MEANING),
        SETTING_VALID("advertise", &out->advertise, url_valid, URL_MEANING),
        SETTING_VALID("coordinators", &out->coordinators, urls_valid, URLS_MEANING),
        SETTING_TEXT("zone", &out->zone),
        SETTING_COUNT("threads", &out->threads, 1, THREADS_MAX),
        SETTING_SIZE("cache-bytes", &out->cache_bytes, 1),
        SETTING_SIZE("memory-bytes", &out->memory_bytes, 1),
        SETTING_SIZE("memory-limit", &out->memory_limit, 1),
        SETTING_SIZE("merge-bytes-per-second", &out->merge_bytes_per_second, 0),
        SETTING_COUNT("queue-target-ms", &out->queue_target_ms, 0, 60000),
        SETTING_COUNT("queue-limit", &out->queue_limit, 1, 65536),
        SETTING_VALID("http", &out->http, http_address_valid, HTTP_ADDRESS_MEANING),
        SETTING_LEVEL("log-level", &out->level),
        SETTING_FLAG("log-json", &out->json),
    };
    int code =
        settings_read(settings, table, sizeof table / sizeof *table, argc, argv, verdict, err);
    if (code == 0 && *verdict <= SETTINGS_CHECK && out->dir == NULL)
        return err_set(err, ERR_INVALID, "--dir is missing");
    return code;
}

/* ---- running ---- */

static void on_stopped(void *data)
{
    struct process *process = data;
    process->server = NULL;
    observer_close(process->observer);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&process->signals[i], NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct process *process = handle->data;
    if (process->stopping)
        return;
    process->stopping = true;
    server_stop(process->server, on_stopped, process);
    observer_stopping(process->observer);
    log_event(LOG_INFO, "stopping", LOG_STR("signal", strsignal(number)));
}

static void look(void *data, struct observer *observer)
{
    struct process *process = data;
    if (process->server != NULL)
        server_look(process->server, observer);
}

static int observe(uv_loop_t *loop, const char *address, struct process *process, struct err *err)
{
    const struct observer_settings settings = {
        .loop = loop, .address = address, .program = "quire-shard", .look = look, .data = process};
    return observer_create(&settings, &process->observer, err);
}

static int run(uv_loop_t *loop, struct process *process)
{
    const int numbers[2] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(loop, &process->signals[i]);
        process->signals[i].data = process;
        uv_signal_start(&process->signals[i], on_signal, numbers[i]);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    int closed = uv_loop_close(loop);
    log_event(LOG_INFO, "stopped");
    return closed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int serve(const struct options *options, const char *id)
{
    const char *coordinators[SERVER_COORDINATORS_MAX];
    char *list = strdup(options->coordinators); /* for as long as the process lives */
    size_t limit = memory_limit();
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct server_settings settings = {
        .loop = &loop,
        .dir = options->dir,
        .node_id = id,
        .listen = options->listen,
        .advertise = options->advertise,
        .zone = options->zone,
        .coordinators = coordinators,
        .coordinator_count = urls_split(list, coordinators, SERVER_COORDINATORS_MAX),
        .threads = (int)options->threads,
        .cache_bytes = options->cache_bytes > 0 ? options->cache_bytes : limit / 4,
        .memory_bytes = options->memory_bytes > 0 ? options->memory_bytes : limit / 8,
        .merge_bytes_per_second = options->merge_bytes_per_second,
        .memory_limit = options->memory_limit > 0 ? options->memory_limit : limit,
        .queue_target_ms =
            options->queue_target_ms != 0 ? options->queue_target_ms : SERVER_NO_TARGET,
        .queue_limit = options->queue_limit,
    };
    struct process process = {0};
    struct err err = {0};
    int code = observe(&loop, options->http, &process, &err);
    settings.metrics = observer_metrics(process.observer);
    if (code == 0)
        code = server_create(&settings, &process.server, &err);
    if (code != 0) {
        log_event(LOG_ERROR, "cannot start", LOG_STR("error", err.text));
        observer_close(process.observer);
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        return EXIT_FAILURE;
    }
    char line[512];
    snprintf(line, sizeof line, "quire-shard: listening on %s", options->listen);
    log_event(LOG_INFO, line, LOG_STR("id", id), LOG_U64("memory_bytes", settings.memory_bytes),
              LOG_U64("cache_bytes", settings.cache_bytes),
              LOG_U64("merge_bytes_per_second", settings.merge_bytes_per_second),
              LOG_U64("threads", options->threads));
    return run(&loop, &process);
}

/* Left to itself malloc makes eight heaps a core, and keeps in each what it once needed. Few heaps,
 * and large blocks (arenas, segments in memory, buffers) mapped one by one, so that freeing them
 * gives them back; what is small goes back after background work (replica.c). */
static void limit_heaps(int threads)
{
    int heaps = threads < HEAPS_MIN ? HEAPS_MIN : threads > HEAPS_MAX ? HEAPS_MAX : threads;
    mallopt(M_ARENA_MAX, heaps);
    mallopt(M_MMAP_THRESHOLD, MAP_THRESHOLD);
    mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
}

static int run_locked(const struct options *options)
{
    char id[UUID_TEXT_SIZE];
    char name[64];
    struct err err;
    int lock; /* held until the process ends */
    if (data_dir_lock(options->dir, &lock, &err) != 0 ||
        data_dir_node_id(options->dir, id, &err) != 0) {
        fprintf(stderr, "quire-shard: %s\n", err.text);
        return EXIT_FAILURE;
    }
    snprintf(name, sizeof name, "shard-%.8s", id);
    log_configure(options->level, options->json, name);
    return serve(options, id);
}

int main(int argc, char **argv)
{
    struct options options;
    struct settings settings; /* what the options point to, until the end */
    enum settings_verdict verdict;
    struct err err = {0};
    if (parse_options(argc, argv, &options, &settings, &verdict, &err) != 0)
        return settings_complain("quire-shard", &err);
    if (verdict != SETTINGS_START)
        return settings_told("quire-shard", verdict, usage);
    limit_heaps((int)options.threads);
    signal(SIGPIPE, SIG_IGN);
    int code = run_locked(&options);
    settings_free(&settings);
    return code;
}
