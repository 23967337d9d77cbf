/* quire-coordinator: keeps the map of a cluster and answers its clients. */
#include "coordinator/alone.h"
#include "coordinator/coordinator.h"
#include "coordinator/observe.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "proto/base/memory_limit.h"
#include "proto/base/size_parse.h"
#include "proto/http/http_address.h"
#include "proto/http/observer.h"
#include "proto/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_LISTEN "tcp://127.0.0.1:7400"
#define RAFT_PORT_OFFSET 10000

enum { EXIT_USAGE = 2 };

struct options {
    const char *dir;
    const char *listen;
    const char *advertise;
    const char *raft_listen;
    const char *join;
    const char *http;
    size_t stats_cache_bytes;
    uint32_t replicas;
    struct admit_options admit;
    uint32_t slow_query_ms;
    enum log_level level;
    bool json;
    bool recover_alone, force;
};

struct process {
    struct coordinator *coordinator;
    struct observer *observer; /* NULL: without --http */
    uv_signal_t signals[2];
    bool stopping;
    int exit_code;
};

static void usage(FILE *to)
{
    fputs("Usage: quire-coordinator --dir DIR [options]\n"
          "\n"
          "Keeps the map of a Quire cluster and answers its clients.\n"
          "\n"
          "  --dir DIR              data folder; created when missing\n"
          "  --listen URL           where clients and shards connect (default " DEFAULT_LISTEN ")\n"
          "  --advertise URL        how others reach it, when that is another address\n"
          "  --raft-listen H:P      where other coordinators connect (default: the host of\n"
          "                         --listen, its port + 10000); H is an IPv4 address\n"
          "  --join URL             on a first start: takes part in the cluster of that\n"
          "                         coordinator, instead of beginning one\n"
          "  --recover-alone        does not start: tells what it would mean to go on with this\n"
          "                         coordinator alone, when a majority is gone for good; with\n"
          "                         --force, makes it the only one\n"
          "  --replicas N           of each range, 1 to 5, in collections whose creator does not\n"
          "                         say (default 1)\n"
          "  --stats-cache-bytes SIZE  of the cache of statistics that saves most searches a\n"
          "                         round; a suffix K, M or G; 0: none (default 32M)\n"
          "  --memory-limit SIZE    of the whole process: from 85 % on writes are refused, from\n"
          "                         92 % exports and verification as well (default: the cgroup's\n"
          "                         limit, else the machine's memory)\n"
          "  --queue-target-ms N    requests that would wait for longer are refused, once they\n"
          "                         do so for good (default 2000; 0: only deadlines count)\n"
          "  --queue-limit N        requests of a class that wait; beyond, they are refused\n"
          "                         (default 1024)\n"
          "  --searches N           under way at a time, at most (default 1024; how many it\n"
          "                         really lets through is found by what the shards say)\n"
          "  --slow-query-ms N      look-ups and searches that take longer get a line of the log\n"
          "                         that says where the time went (default 1000; 0: none)\n"
          "  --http HOST:PORT       serves /metrics (for Prometheus), /healthz and /readyz there;\n"
          "                         with port 0 the log says which one the kernel picked\n"
          "                         (default: not at all)\n"
          "  --log-level LEVEL      debug, info, warn or error (default info)\n"
          "  --log-json             log lines as JSON\n"
          "  --help, --version\n"
          "\n"
          "Example: quire-coordinator --dir /var/lib/quire/coordinator --listen "
          "tcp://10.0.0.1:7400\n",
          to);
}

/* ---- options ---- */

static bool parse_count(const char *option, const char *text, uint32_t least, uint32_t most,
                        uint32_t *out)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    *out = (uint32_t)value;
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && value >= least && value <= most)
        return true;
    fprintf(stderr, "quire-coordinator: %s is a number from %u to %u\n", option, least, most);
    return false;
}

static int parse_options(int argc, char **argv, struct options *out)
{
    enum {
        DIR_ = 256,
        LISTEN,
        ADVERTISE,
        RAFT_LISTEN,
        JOIN,
        REPLICAS,
        RECOVER_ALONE,
        FORCE,
        STATS_CACHE,
        MEMORY_LIMIT,
        QUEUE_TARGET,
        QUEUE_LIMIT,
        SEARCHES,
        SLOW_QUERY,
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
        {"raft-listen", required_argument, NULL, RAFT_LISTEN},
        {"join", required_argument, NULL, JOIN},
        {"replicas", required_argument, NULL, REPLICAS},
        {"recover-alone", no_argument, NULL, RECOVER_ALONE},
        {"force", no_argument, NULL, FORCE},
        {"stats-cache-bytes", required_argument, NULL, STATS_CACHE},
        {"memory-limit", required_argument, NULL, MEMORY_LIMIT},
        {"queue-target-ms", required_argument, NULL, QUEUE_TARGET},
        {"queue-limit", required_argument, NULL, QUEUE_LIMIT},
        {"searches", required_argument, NULL, SEARCHES},
        {"slow-query-ms", required_argument, NULL, SLOW_QUERY},
        {"http", required_argument, NULL, HTTP},
        {"log-level", required_argument, NULL, LEVEL},
        {"log-json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    *out = (struct options){.listen = DEFAULT_LISTEN,
                            .stats_cache_bytes = COORDINATOR_STATS_CACHE_BYTES,
                            .admit.memory_limit = memory_limit(),
                            .slow_query_ms = SLOW_MS,
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
        case RAFT_LISTEN:
            out->raft_listen = optarg;
            break;
        case JOIN:
            out->join = optarg;
            break;
        case REPLICAS:
            if (strlen(optarg) != 1 || optarg[0] < '1' || optarg[0] > '0' + LIMIT_REPLICAS) {
                fprintf(stderr, "quire-coordinator: --replicas is a number from 1 to %d\n",
                        LIMIT_REPLICAS);
                return EXIT_USAGE;
            }
            out->replicas = (uint32_t)(optarg[0] - '0');
            break;
        case RECOVER_ALONE:
            out->recover_alone = true;
            break;
        case FORCE:
            out->force = true;
            break;
        case STATS_CACHE:
            if (!size_parse(optarg, &out->stats_cache_bytes)) {
                fprintf(stderr,
                        "quire-coordinator: --stats-cache-bytes is a size like 64M, or 0\n");
                return EXIT_USAGE;
            }
            break;
        case MEMORY_LIMIT: {
            size_t limit;
            if (!size_parse(optarg, &limit) || limit == 0) {
                fputs("quire-coordinator: --memory-limit is a size like 512M\n", stderr);
                return EXIT_USAGE;
            }
            out->admit.memory_limit = limit;
            break;
        }
        case QUEUE_TARGET:
            if (!parse_count("--queue-target-ms", optarg, 0, 60000, &out->admit.target_ms))
                return EXIT_USAGE;
            if (out->admit.target_ms == 0)
                out->admit.target_ms = ADMIT_NO_TARGET;
            break;
        case QUEUE_LIMIT:
            if (!parse_count("--queue-limit", optarg, 1, 65536, &out->admit.queue))
                return EXIT_USAGE;
            break;
        case SLOW_QUERY:
            if (!parse_count("--slow-query-ms", optarg, 0, 3600000, &out->slow_query_ms))
                return EXIT_USAGE;
            break;
        case SEARCHES:
            if (!parse_count("--searches", optarg, 1, 65536, &out->admit.searches))
                return EXIT_USAGE;
            break;
        case HTTP:
            if (!http_address_valid(optarg)) {
                fprintf(stderr, "quire-coordinator: --http is HOST:PORT, with an IPv4 address or a "
                                "name, and a port from 0 to 65535\n");
                return EXIT_USAGE;
            }
            out->http = optarg;
            break;
        case LEVEL:
            if (!log_level_parse(optarg, &out->level)) {
                fprintf(stderr, "quire-coordinator: the log level is debug, info, warn or error\n");
                return EXIT_USAGE;
            }
            break;
        case JSON:
            out->json = true;
            break;
        case HELP:
            usage(stdout);
            exit(EXIT_SUCCESS);
        case VERSION:
            puts("quire-coordinator " QUIRE_VERSION);
            exit(EXIT_SUCCESS);
        default:
            fputs("Try 'quire-coordinator --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (out->dir == NULL || optind < argc) {
        fprintf(stderr, "quire-coordinator: %s\nTry 'quire-coordinator --help'.\n",
                out->dir == NULL ? "--dir is missing" : "there is an argument too many");
        return EXIT_USAGE;
    }
    if (out->force && !out->recover_alone) {
        fputs("quire-coordinator: --force goes with --recover-alone\n", stderr);
        return EXIT_USAGE;
    }
    if (out->advertise == NULL)
        out->advertise = out->listen;
    return 0;
}

/* tcp://HOST:PORT -> HOST:(PORT + 10000); everywhere for the host "0.0.0.0" or "*". */
static int default_raft_listen(const char *listen, char *out, size_t size)
{
    const char *host = strstr(listen, "://");
    const char *colon = strrchr(listen, ':');
    if (host == NULL || colon <= host + 2)
        return ERR_INVALID;
    host += 3;
    long port = strtol(colon + 1, NULL, 10);
    port += port + RAFT_PORT_OFFSET <= 65535 ? RAFT_PORT_OFFSET : -RAFT_PORT_OFFSET;
    int length = (int)(colon - host);
    if (port <= 0 || length == 0)
        return ERR_INVALID;
    if (length == 9 && strncmp(host, "localhost", 9) == 0)
        snprintf(out, size, "127.0.0.1:%ld", port);
    else if (length == 1 && *host == '*')
        snprintf(out, size, "0.0.0.0:%ld", port);
    else
        snprintf(out, size, "%.*s:%ld", length, host, port);
    return 0;
}

/* ---- running ---- */

static void stop_observing(struct process *process)
{
    observer_close(process->observer);
    process->observer = NULL;
}

static void on_stopped(void *data)
{
    struct process *process = data;
    process->coordinator = NULL;
    stop_observing(process);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&process->signals[i], NULL);
}

static void stop(struct process *process)
{
    if (process->stopping || process->coordinator == NULL)
        return;
    process->stopping = true;
    coordinator_stop(process->coordinator, on_stopped, process);
    observer_look(process->observer); /* not ready any more */
}

static void on_signal(uv_signal_t *signal, int number)
{
    stop(signal->data);
    log_event(LOG_INFO, "stopping", LOG_I64("signal", number));
}

static void on_ready(void *data, int status, const struct err *err)
{
    struct process *process = data;
    if (status == 0)
        return;
    fprintf(stderr, "quire-coordinator: %s\n", err->text);
    process->exit_code = EXIT_FAILURE;
    stop(process);
}

static void on_removed(void *data)
{
    fputs(
        "quire-coordinator: this coordinator was removed from its cluster and stops; to take part "
        "again, start it with an empty folder and --join\n",
        stderr);
    stop(data);
}

static void look(void *data, struct http_server *http)
{
    struct process *process = data;
    coordinator_observe_look(process->coordinator, http);
}

static int observe(uv_loop_t *loop, const struct options *options, struct process *process,
                   struct err *err)
{
    const struct observer_settings settings = {.loop = loop,
                                               .address = options->http,
                                               .program = "quire-coordinator",
                                               .look = look,
                                               .data = process};
    return options->http != NULL ? observer_create(&settings, &process->observer, err) : 0;
}

static int run(const struct options *options, const char *node_id, const char *raft_listen)
{
    struct process process = {0};
    struct err err = {0};
    uv_loop_t loop;
    if (uv_loop_init(&loop) != 0)
        return EXIT_FAILURE;
    struct coordinator_options settings = {
        .dir = options->dir,
        .node_id = node_id,
        .listen = options->listen,
        .advertise = options->advertise,
        .raft_listen = raft_listen,
        .join = options->join,
        .replicas = options->replicas,
        .stats_cache_bytes = options->stats_cache_bytes,
        .admit = options->admit,
        .slow_query_ms = options->slow_query_ms,
        .ready = on_ready,
        .removed = on_removed,
        .data = &process,
    };
    int rc = observe(&loop, options, &process, &err);
    settings.metrics = observer_metrics(process.observer);
    if (rc == 0)
        rc = coordinator_start(&loop, &settings, &process.coordinator, &err);
    if (rc != 0) {
        fprintf(stderr, "quire-coordinator: %s\n", err.text);
        process.exit_code = EXIT_FAILURE;
        stop_observing(&process);
    } else {
        static const int numbers[2] = {SIGTERM, SIGINT};
        for (int i = 0; i < 2; i++) {
            uv_signal_init(&loop, &process.signals[i]);
            process.signals[i].data = &process;
            uv_signal_start(&process.signals[i], on_signal, numbers[i]);
        }
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&loop) != 0)
        log_event(LOG_ERROR, "handles were left open");
    return process.exit_code;
}

/* 0 when it was done; told only, it is a failure, so that no script takes it for done. */
static int recover_alone(const struct options *options, const char *node_id,
                         const char *raft_listen)
{
    struct alone_options alone = {options->dir, node_id, raft_listen, options->force};
    struct err err = {0};
    if (alone_recover(&alone, stdout, &err) != 0) {
        fprintf(stderr, "quire-coordinator: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return options->force ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct options options;
    char node_id[UUID_TEXT_SIZE];
    char raft_listen[300];
    int rc = parse_options(argc, argv, &options);
    if (rc != 0)
        return rc;
    if (options.raft_listen != NULL) {
        snprintf(raft_listen, sizeof raft_listen, "%s", options.raft_listen);
    } else if (default_raft_listen(options.listen, raft_listen, sizeof raft_listen) != 0) {
        fprintf(stderr,
                "quire-coordinator: --listen %s has no port: say --raft-listen HOST:PORT as well\n",
                options.listen);
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    if (options.recover_alone && access(options.dir, F_OK) != 0) {
        fprintf(stderr, "quire-coordinator: %s: %s\n", options.dir, strerror(errno));
        return EXIT_FAILURE;
    }
    struct err err;
    int lock; /* held until the process ends */
    if (data_dir_lock(options.dir, &lock, &err) != 0 ||
        data_dir_node_id(options.dir, node_id, &err) != 0) {
        fprintf(stderr, "quire-coordinator: %s\n", err.text);
        return EXIT_FAILURE;
    }
    char name[32];
    snprintf(name, sizeof name, "coordinator-%.8s", node_id);
    log_configure(options.level, options.json, name);
    if (options.recover_alone)
        return recover_alone(&options, node_id, raft_listen);
    return run(&options, node_id, raft_listen);
}
