/* quire-coordinator: keeps the map of a cluster and answers its clients. */
#include "coordinator/alone.h"
#include "coordinator/coordinator.h"
#include "coordinator/observe.h"
#include "coordinator/raft_dial.h"
#include "proto/base/admission.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "proto/base/memory_limit.h"
#include "proto/base/settings.h"
#include "proto/http/http_address.h"
#include "proto/http/observer.h"
#include "proto/limits.h"
#include "proto/rpc/url.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_LISTEN "tcp://127.0.0.1:7400"
#define RAFT_PORT_OFFSET 10000

struct options {
    const char *dir;
    const char *listen;
    const char *advertise;
    const char *raft_listen;
    const char *raft_advertise;
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
    struct observer *observer; /* NULL: nobody watches */
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
          "  --raft-advertise H:P   how they reach it, when that is another address; H may be a\n"
          "                         name (default, when it listens on all addresses: the host of\n"
          "                         --advertise)\n"
          "  --join URL,...         on a first start: takes part in the cluster of one of those\n"
          "                         coordinators, instead of beginning one. All coordinators of a\n"
          "                         new cluster may be told the same list: the first one in it\n"
          "                         begins, when for ten seconds none of the others is there\n"
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
          "  --log-json             log lines as JSON\n" SETTINGS_USAGE "\n"
          "Example: quire-coordinator --dir /var/lib/quire/coordinator --listen "
          "tcp://10.0.0.1:7400\n",
          to);
}

/* ---- options ---- */

static int parse_options(int argc, char **argv, struct options *out, struct settings *settings,
                         enum settings_verdict *verdict, struct err *err)
{
    *out = (struct options){
        .listen = DEFAULT_LISTEN,
        .stats_cache_bytes = COORDINATOR_STATS_CACHE_BYTES,
        .admit = {.memory_limit = memory_limit(), .target_ms = ADMISSION_TARGET_MS},
        .slow_query_ms = SLOW_MS,
        .level = LOG_INFO};
    const struct setting table[] = {
        SETTING_TEXT("dir", &out->dir),
        SETTING_VALID("listen", &out->listen, url_valid, URL_MEANING),
        SETTING_VALID("advertise", &out->advertise, url_valid, URL_MEANING),
        SETTING_TEXT("raft-listen", &out->raft_listen),
        SETTING_TEXT("raft-advertise", &out->raft_advertise),
        SETTING_VALID("join", &out->join, urls_valid, URLS_MEANING),
        SETTING_COUNT("replicas", &out->replicas, 1, LIMIT_REPLICAS),
        SETTING_SIZE("stats-cache-bytes", &out->stats_cache_bytes, 0),
        SETTING_SIZE("memory-limit", &out->admit.memory_limit, 1),
        SETTING_COUNT("queue-target-ms", &out->admit.target_ms, 0, 60000),
        SETTING_COUNT("queue-limit", &out->admit.queue, 1, 65536),
        SETTING_COUNT("searches", &out->admit.searches, 1, 65536),
        SETTING_COUNT("slow-query-ms", &out->slow_query_ms, 0, 3600000),
        SETTING_VALID("http", &out->http, http_address_valid, HTTP_ADDRESS_MEANING),
        SETTING_LEVEL("log-level", &out->level),
        SETTING_FLAG("log-json", &out->json),
        SETTING_ACT("recover-alone", &out->recover_alone),
        SETTING_ACT("force", &out->force),
    };
    int code =
        settings_read(settings, table, sizeof table / sizeof *table, argc, argv, verdict, err);
    if (code != 0 || *verdict > SETTINGS_CHECK)
        return code;
    if (out->dir == NULL)
        return err_set(err, ERR_INVALID, "--dir is missing");
    if (out->force && !out->recover_alone)
        return err_set(err, ERR_INVALID, "--force goes with --recover-alone");
    if (out->admit.target_ms == 0)
        out->admit.target_ms = ADMIT_NO_TARGET;
    if (out->advertise == NULL)
        out->advertise = out->listen;
    return 0;
}

struct raft_addresses {
    char listen[URL_MAX + 8];
    char advertise[URL_MAX + 8]; /* empty: the same */
};

static bool is_everywhere(const char *host)
{
    return strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0;
}

/* Where raft listens: tcp://HOST:PORT -> HOST:(PORT + 10000), with numbers. */
static int choose_raft_listen(const struct options *options, char *out, size_t size,
                              struct err *err)
{
    char host[URL_MAX + 1];
    int port;
    if (options->raft_listen != NULL) {
        snprintf(out, size, "%s", options->raft_listen);
        return 0;
    }
    if (!url_split(options->listen, host, sizeof host, &port) || port == 0)
        return err_set(err, ERR_INVALID,
                       "--listen %s has no port: say --raft-listen HOST:PORT as well",
                       options->listen);
    port += port + RAFT_PORT_OFFSET <= 65535 ? RAFT_PORT_OFFSET : -RAFT_PORT_OFFSET;
    snprintf(out, size, "%s:%d",
             strcmp(host, "localhost") == 0 ? "127.0.0.1"
             : is_everywhere(host)          ? "0.0.0.0"
                                            : host,
             port);
    return 0;
}

/* Where it is dialled: one that listens everywhere is reached at the host of --advertise. */
static int choose_raft(const struct options *options, struct raft_addresses *out, struct err *err)
{
    char host[URL_MAX + 1], own[URL_MAX + 1];
    int port;
    int code = choose_raft_listen(options, out->listen, sizeof out->listen, err);
    out->advertise[0] = '\0';
    if (code != 0)
        return code;
    if (options->raft_advertise != NULL) {
        if (!raft_address_split(options->raft_advertise, host, sizeof host, &port) || port == 0)
            return err_set(err, ERR_INVALID,
                           "--raft-advertise is HOST:PORT, with a port that is not 0");
        snprintf(out->advertise, sizeof out->advertise, "%s", options->raft_advertise);
    } else if (raft_address_split(out->listen, own, sizeof own, &port) && is_everywhere(own) &&
               url_split(options->advertise, host, sizeof host, &(int){0}) &&
               !is_everywhere(host)) {
        snprintf(out->advertise, sizeof out->advertise, "%s:%d", host, port);
    }
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
    observer_stopping(process->observer);
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

static void look(void *data, struct observer *observer)
{
    struct process *process = data;
    coordinator_observe_look(process->coordinator, observer);
}

static int observe(uv_loop_t *loop, const struct options *options, struct process *process,
                   struct err *err)
{
    const struct observer_settings settings = {.loop = loop,
                                               .address = options->http,
                                               .program = "quire-coordinator",
                                               .look = look,
                                               .data = process};
    return observer_create(&settings, &process->observer, err);
}

static int run(const struct options *options, const char *node_id,
               const struct raft_addresses *addresses)
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
        .raft_listen = addresses->listen,
        .raft_address = addresses->advertise[0] != '\0' ? addresses->advertise : NULL,
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
                         const struct raft_addresses *addresses)
{
    const char *address =
        addresses->advertise[0] != '\0' ? addresses->advertise : addresses->listen;
    struct alone_options alone = {options->dir, node_id, address, options->force};
    struct err err = {0};
    if (alone_recover(&alone, stdout, &err) != 0) {
        fprintf(stderr, "quire-coordinator: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return options->force ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_locked(const struct options *options, const struct raft_addresses *addresses)
{
    char node_id[UUID_TEXT_SIZE];
    char name[32];
    struct err err;
    int lock; /* held until the process ends */
    if (options->recover_alone && access(options->dir, F_OK) != 0) {
        fprintf(stderr, "quire-coordinator: %s: %s\n", options->dir, strerror(errno));
        return EXIT_FAILURE;
    }
    if (data_dir_lock(options->dir, &lock, &err) != 0 ||
        data_dir_node_id(options->dir, node_id, &err) != 0) {
        fprintf(stderr, "quire-coordinator: %s\n", err.text);
        return EXIT_FAILURE;
    }
    snprintf(name, sizeof name, "coordinator-%.8s", node_id);
    log_configure(options->level, options->json, name);
    return options->recover_alone ? recover_alone(options, node_id, addresses)
                                  : run(options, node_id, addresses);
}

int main(int argc, char **argv)
{
    struct options options;
    struct settings settings; /* what the options point to, until the end */
    struct raft_addresses addresses;
    enum settings_verdict verdict;
    struct err err = {0};
    if (parse_options(argc, argv, &options, &settings, &verdict, &err) != 0 ||
        (verdict <= SETTINGS_CHECK && choose_raft(&options, &addresses, &err) != 0))
        return settings_complain("quire-coordinator", &err);
    if (verdict != SETTINGS_START)
        return settings_told("quire-coordinator", verdict, usage);
    signal(SIGPIPE, SIG_IGN);
    int code = run_locked(&options, &addresses);
    settings_free(&settings);
    return code;
}
