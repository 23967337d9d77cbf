/* quire-shard: holds prefix ranges of collections and answers the coordinators of its cluster. */
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "proto/base/memory_limit.h"
#include "proto/base/size_parse.h"
#include "proto/http/http_address.h"
#include "proto/http/observer.h"
#include "shard/server.h"

#include <errno.h>
#include <getopt.h>
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

enum { EXIT_USAGE = 2 };

struct options {
    const char *dir, *listen, *advertise, *zone, *http;
    char *coordinators;
    int threads;
    size_t memory_limit;
    size_t cache_bytes, memory_bytes;      /* 0: from the memory limit */
    size_t merge_bytes_per_second;         /* 0: no limit */
    uint32_t queue_target_ms, queue_limit; /* as in server_settings */
    enum log_level level;
    bool json;
};

struct process {
    struct server *server;     /* NULL: not yet, or not any more */
    struct observer *observer; /* NULL: without --http */
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
        "  --log-json             log lines as JSON\n"
        "  --help, --version\n"
        "\n"
        "SIZE takes a suffix K, M or G. The memory limit is the cgroup's, else the machine's.\n"
        "\n"
        "Example: quire-shard --dir /var/lib/quire/shard --listen tcp://10.0.0.2:7401 \\\n"
        "           --coordinators tcp://10.0.0.1:7400\n",
        to);
}

/* ---- options ---- */

static int complain(const char *text)
{
    fprintf(stderr, "quire-shard: %s\nTry 'quire-shard --help'.\n", text);
    return EXIT_USAGE;
}

static bool parse_threads(const char *text, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    *out = (int)value;
    return end != text && *end == 0 && value >= 1 && value <= THREADS_MAX;
}

static bool parse_count(const char *text, uint32_t least, uint32_t most, uint32_t *out)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *out = (uint32_t)value;
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && value >= least && value <= most;
}

static int parse_options(int argc, char **argv, struct options *out)
{
    enum {
        DIR_ = 256,
        LISTEN,
        ADVERTISE,
        COORDINATORS,
        ZONE,
        THREADS,
        CACHE,
        MEMORY,
        MEMORY_LIMIT,
        MERGE,
        QUEUE_TARGET,
        QUEUE_LIMIT,
        HTTP,
        LEVEL,
        JSON,
        HELP,
        VERSION
    };
    static const struct option known[] = {
        {"dir", required_argument, NULL, DIR_},
        {"listen", required_argument, NULL, LISTEN},
        {"advertise", required_argument, NULL, ADVERTISE},
        {"coordinators", required_argument, NULL, COORDINATORS},
        {"zone", required_argument, NULL, ZONE},
        {"threads", required_argument, NULL, THREADS},
        {"cache-bytes", required_argument, NULL, CACHE},
        {"memory-bytes", required_argument, NULL, MEMORY},
        {"memory-limit", required_argument, NULL, MEMORY_LIMIT},
        {"merge-bytes-per-second", required_argument, NULL, MERGE},
        {"queue-target-ms", required_argument, NULL, QUEUE_TARGET},
        {"queue-limit", required_argument, NULL, QUEUE_LIMIT},
        {"http", required_argument, NULL, HTTP},
        {"log-level", required_argument, NULL, LEVEL},
        {"log-json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    static char default_coordinators[] = DEFAULT_COORDINATORS;
    *out = (struct options){.listen = DEFAULT_LISTEN,
                            .coordinators = default_coordinators,
                            .threads = (int)sysconf(_SC_NPROCESSORS_ONLN),
                            .merge_bytes_per_second = DEFAULT_MERGE_BYTES,
                            .level = LOG_INFO};
    int which;
    while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (which) {
        case DIR_:
            out->dir = optarg;
            break;
        case LISTEN:
            out->listen = optarg;
            break;
        case ADVERTISE:
            out->advertise = optarg;
            break;
        case COORDINATORS:
            out->coordinators = optarg;
            break;
        case ZONE:
            out->zone = optarg;
            break;
        case THREADS:
            if (!parse_threads(optarg, &out->threads))
                return complain("--threads is a number from 1 to 256");
            break;
        case CACHE:
            if (!size_parse(optarg, &out->cache_bytes) || out->cache_bytes == 0)
                return complain("--cache-bytes is a size like 512M");
            break;
        case MEMORY:
            if (!size_parse(optarg, &out->memory_bytes) || out->memory_bytes == 0)
                return complain("--memory-bytes is a size like 512M");
            break;
        case MEMORY_LIMIT:
            if (!size_parse(optarg, &out->memory_limit) || out->memory_limit == 0)
                return complain("--memory-limit is a size like 512M");
            break;
        case MERGE:
            if (!size_parse(optarg, &out->merge_bytes_per_second))
                return complain("--merge-bytes-per-second is a size like 32M, or 0");
            break;
        case QUEUE_TARGET:
            if (!parse_count(optarg, 0, 60000, &out->queue_target_ms))
                return complain("--queue-target-ms is a number of milliseconds from 0 to 60000");
            if (out->queue_target_ms == 0)
                out->queue_target_ms = SERVER_NO_TARGET;
            break;
        case QUEUE_LIMIT:
            if (!parse_count(optarg, 1, 65536, &out->queue_limit))
                return complain("--queue-limit is a number from 1 to 65536");
            break;
        case HTTP:
            if (!http_address_valid(optarg))
                return complain("--http is HOST:PORT, with an IPv4 address or a name, and a port "
                                "from 0 to 65535");
            out->http = optarg;
            break;
        case LEVEL:
            if (!log_level_parse(optarg, &out->level))
                return complain("the log level is debug, info, warn or error");
            break;
        case JSON:
            out->json = true;
            break;
        case HELP:
            usage(stdout);
            exit(EXIT_SUCCESS);
        case VERSION:
            puts("quire-shard " QUIRE_VERSION);
            exit(EXIT_SUCCESS);
        default:
            fputs("Try 'quire-shard --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (out->dir == NULL)
        return complain("--dir is missing");
    if (optind < argc)
        return complain("there is an argument too many");
    return 0;
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
    observer_look(process->observer); /* not ready any more, before anybody reads of it */
    log_event(LOG_INFO, "stopping", LOG_STR("signal", strsignal(number)));
}

static void look(void *data, struct http_server *http)
{
    struct process *process = data;
    if (process->server != NULL)
        server_look(process->server, http);
}

static int observe(uv_loop_t *loop, const char *address, struct process *process, struct err *err)
{
    const struct observer_settings settings = {
        .loop = loop, .address = address, .program = "quire-shard", .look = look, .data = process};
    return address != NULL ? observer_create(&settings, &process->observer, err) : 0;
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

static size_t split_coordinators(char *list, const char *out[SERVER_COORDINATORS_MAX])
{
    size_t count = 0;
    for (char *rest = list, *one; (one = strsep(&rest, ",")) != NULL;)
        if (one[0] != 0 && count < SERVER_COORDINATORS_MAX)
            out[count++] = one;
    return count;
}

static int serve(const struct options *options, const char *id)
{
    const char *coordinators[SERVER_COORDINATORS_MAX];
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
        .coordinator_count = split_coordinators(options->coordinators, coordinators),
        .threads = options->threads < 1 ? 1 : options->threads,
        .cache_bytes = options->cache_bytes > 0 ? options->cache_bytes : limit / 4,
        .memory_bytes = options->memory_bytes > 0 ? options->memory_bytes : limit / 8,
        .merge_bytes_per_second = options->merge_bytes_per_second,
        .memory_limit = options->memory_limit > 0 ? options->memory_limit : limit,
        .queue_target_ms = options->queue_target_ms,
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
              LOG_U64("threads", (uint64_t)settings.threads));
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

int main(int argc, char **argv)
{
    struct options options;
    char id[UUID_TEXT_SIZE];
    int code = parse_options(argc, argv, &options);
    if (code != 0)
        return code;
    limit_heaps(options.threads);
    signal(SIGPIPE, SIG_IGN);
    struct err err;
    int lock;
    if (data_dir_lock(options.dir, &lock, &err) != 0 ||
        data_dir_node_id(options.dir, id, &err) != 0) {
        fprintf(stderr, "quire-shard: %s\n", err.text);
        return EXIT_FAILURE;
    }
    char name[64];
    snprintf(name, sizeof name, "shard-%.8s", id);
    log_configure(options.level, options.json, name);
    code = serve(&options, id);
    close(lock);
    return code;
}
