/* quire up: a local cluster, started and waited for.
 *
 * Settings are remembered in the folder, so that a second `up` starts the same cluster; what
 * already runs is left alone. In the background the processes are on their own: nobody restarts
 * them (a second `up` does). In the foreground this process is their parent: it starts again what
 * dies, and stops all of them when it is told to stop.
 */
#include "client/cli/commands.h"
#include "client/cli/local.h"

#include "proto/base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_REPLICAS 2
#define READY_MS 90000 /* until it serves; recovery of a large log takes its time */
#define STOP_MS 30000
#define PROBE_MS 2000     /* for one question whether it serves */
#define PORT_WAIT_MS 3000 /* for the ports of processes that have just died */
#define RESTART_PAUSE_MS 1000
#define RESTARTS_MAX 5 /* of a process that ends within QUICK_DEATH_MS of its start each time */
#define QUICK_DEATH_MS 3000

struct up {
    struct cli cli;
    struct local local;
    const char *dir;
    uint64_t coordinators, shards, replicas, port, memory; /* 0: not given */
    bool foreground;
    bool fresh[LOCAL_PROCESSES_MAX]; /* started by us */
    size_t started;
};

static int refuse(struct up *up, int exit, const char *sentence)
{
    if (exit == CLI_USAGE)
        return cli_usage(&up->cli, "%s", sentence);
    cli_failed(&up->cli, QUIRE_UNAVAILABLE, sentence, NULL);
    return exit;
}

/* ---- settings ---- */

static bool any_runs(struct up *up)
{
    for (size_t i = 0; i < local_processes(&up->local); i++)
        if (local_pid(&up->local, local_name(&up->local, i)) != 0)
            return true;
    return false;
}

static int check_coordinators(struct up *up)
{
    char text[LOCAL_ERROR_SIZE * 2];
    const struct local *local = &up->local;

    if (up->coordinators == 0)
        return CLI_DONE;
    if (up->coordinators % 2 == 0)
        return refuse(up, CLI_USAGE,
                      "--coordinators is 1, 3 or 5: one more than an odd number helps nobody");
    if (local->existed && up->coordinators < local->coordinators) {
        snprintf(text, sizeof text,
                 "the cluster in %s has %llu coordinators; they cannot become fewer", local->dir,
                 (unsigned long long)local->coordinators);
        return refuse(up, CLI_USAGE, text);
    }
    if (local->existed && up->coordinators > local->coordinators && any_runs(up)) {
        snprintf(
            text, sizeof text,
            "the shards learn of further coordinators when they start: 'quire down', then 'quire "
            "up --coordinators %llu'",
            (unsigned long long)up->coordinators);
        return refuse(up, CLI_USAGE, text);
    }
    up->local.coordinators = up->coordinators;
    return CLI_DONE;
}

static int check_settings(struct up *up)
{
    char text[LOCAL_ERROR_SIZE];
    struct local *local = &up->local;

    if (local->existed && up->port != 0 && up->port != local->port) {
        snprintf(
            text, sizeof text,
            "the cluster in %s has port %llu and keeps it; leave --port out, or choose another "
            "folder with --dir",
            local->dir, (unsigned long long)local->port);
        return refuse(up, CLI_USAGE, text);
    }
    if (local->existed && up->shards != 0 && up->shards < local->shards) {
        snprintf(text, sizeof text,
                 "the cluster in %s has %llu shards with data; they cannot become fewer",
                 local->dir, (unsigned long long)local->shards);
        return refuse(up, CLI_USAGE, text);
    }
    if (check_coordinators(up) != CLI_DONE)
        return CLI_USAGE;
    if (up->port != 0)
        local->port = up->port;
    if (up->shards != 0)
        local->shards = up->shards;
    if (up->replicas != 0)
        local->replicas = up->replicas;
    else if (!local->existed)
        local->replicas = local->shards < DEFAULT_REPLICAS ? local->shards : DEFAULT_REPLICAS;
    if (local->replicas > local->shards) {
        snprintf(text, sizeof text, "%llu replicas of each range need as many shards, not %llu",
                 (unsigned long long)local->replicas, (unsigned long long)local->shards);
        return refuse(up, CLI_USAGE, text);
    }
    if (up->memory != 0)
        local->memory = up->memory;
    if (local_port(local, local_processes(local) - 1) > 65535 ||
        local_port(local, local->coordinators - 1) > 65535) {
        snprintf(text, sizeof text,
                 "the other ports follow port %llu, and there is none above 65535",
                 (unsigned long long)local->port);
        return refuse(up, CLI_USAGE, text);
    }
    return CLI_DONE;
}

/* ---- starting ---- */

/* Stops what this run of the command started; what ran before goes on. */
static void take_back(struct up *up)
{
    for (size_t i = 0; i < local_processes(&up->local); i++) {
        pid_t pid = up->fresh[i] ? local_pid(&up->local, local_name(&up->local, i)) : 0;
        if (pid != 0)
            kill(pid, SIGTERM);
    }
    for (size_t i = 0; i < local_processes(&up->local); i++) {
        uint64_t deadline = clock_ms() + 5000;
        pid_t pid = up->fresh[i] ? local_pid(&up->local, local_name(&up->local, i)) : 0;
        while (pid != 0 && local_alive(pid) && clock_ms() < deadline) {
            waitpid(pid, NULL, WNOHANG);
            usleep(20000);
        }
        if (pid != 0 && local_alive(pid))
            kill(pid, SIGKILL);
        if (up->fresh[i])
            local_remove_pid(&up->local, local_name(&up->local, i));
    }
}

static int start_missing(struct up *up)
{
    char text[LOCAL_ERROR_SIZE * 2], error[LOCAL_ERROR_SIZE] = "";
    uint64_t deadline = clock_ms() + PORT_WAIT_MS;
    uint64_t port = local_taken_port(&up->local);

    while (port != 0 && up->local.existed && clock_ms() < deadline) {
        usleep(50000);
        port = local_taken_port(&up->local);
    }
    if (port != 0) {
        snprintf(
            text, sizeof text,
            "port %llu is taken by another program; stop that, or choose other ports with --port",
            (unsigned long long)port);
        return refuse(up, CLI_CLUSTER, text);
    }
    for (size_t i = 0; i < local_processes(&up->local); i++) {
        if (local_pid(&up->local, local_name(&up->local, i)) != 0)
            continue;
        if (local_start(&up->local, i, !up->foreground, error) == 0) {
            take_back(up);
            snprintf(text, sizeof text, "%s: %s", local_name(&up->local, i), error);
            return refuse(up, CLI_CLUSTER, text);
        }
        up->fresh[i] = true;
        up->started++;
    }
    return CLI_DONE;
}

/* Whether the coordinator knows all processes as alive, and every range is served. */
static bool all_serving(struct up *up, struct quire_client *client)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_status_result *result = NULL;
    size_t alive = 0, coordinators = 0;
    bool serving;

    request.timeout_ms = PROBE_MS;
    serving = quire_status_wait(client, &request, &result) == QUIRE_OK;
    for (size_t i = 0; serving && i < result->node_count; i++)
        alive += result->nodes[i]->alive;
    for (size_t i = 0; serving && i < result->coordinator_count; i++)
        coordinators += result->coordinators[i]->alive;
    serving = serving && alive >= up->local.shards && coordinators >= up->local.coordinators &&
              result->leader[0] != '\0';
    for (size_t i = 0; serving && i < result->range_count; i++)
        serving = strcmp(result->ranges[i]->state, "serving") == 0;
    quire_result_free(result);
    return serving;
}

/* Whether every range answers: what a coordinator last heard of a shard may be older than the
 * shard's end. Letters and their counts come from all ranges of a collection. */
static bool all_answer(struct quire_client *client)
{
    const struct quire_collections_result *list = NULL;
    struct quire_simple_request all = QUIRE_SIMPLE_INIT;
    bool answer;

    all.timeout_ms = PROBE_MS;
    answer = quire_collection_list_wait(client, &all, &list) == QUIRE_OK;
    for (size_t i = 0; answer && i < list->collection_count; i++) {
        struct quire_browse_request request = QUIRE_BROWSE_INIT;
        const struct quire_browse_result *result = NULL;
        request.collection = list->collections[i]->name;
        request.per_page = 1;
        request.timeout_ms = PROBE_MS;
        answer = quire_browse_wait(client, &request, &result) == QUIRE_OK;
        quire_result_free(result);
    }
    quire_result_free(list);
    return answer;
}

/* Number of a process that has ended, or SIZE_MAX. */
static size_t find_dead(struct up *up)
{
    for (size_t i = 0; i < local_processes(&up->local); i++)
        if (local_pid(&up->local, local_name(&up->local, i)) == 0)
            return i;
    return SIZE_MAX;
}

static int tell_dead(struct up *up, size_t i)
{
    char words[1024], text[1536];

    local_last_words(&up->local, i, words, sizeof words);
    snprintf(text, sizeof text, "%s ended right after its start%s%s%s", local_name(&up->local, i),
             words[0] != '\0' && !up->foreground ? "; its log ends with: " : "",
             up->foreground ? "" : words, "");
    take_back(up);
    return refuse(up, CLI_CLUSTER, text);
}

/* In the foreground the signals that end us are blocked, and looked for where we wait. */
static bool told_to_stop(const struct up *up)
{
    sigset_t pending;

    return up->foreground && sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
            sigismember(&pending, SIGHUP));
}

static int await_serving(struct up *up)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client = NULL;
    char error[QUIRE_ERROR_SIZE] = "", connect[LOCAL_CONNECT_SIZE], text[LOCAL_ERROR_SIZE * 2];
    uint64_t deadline = clock_ms() + READY_MS;
    int exit = CLI_DONE;

    local_connect(&up->local, connect);
    options.connect = connect;
    options.timeout_ms = 1000;
    if (quire_client_create(&options, &client, error, sizeof error) != QUIRE_OK) {
        take_back(up);
        return refuse(up, CLI_CLUSTER, error);
    }
    while (!all_serving(up, client) || !all_answer(client)) {
        size_t dead;
        if (told_to_stop(up)) {
            exit = refuse(up, CLI_CLUSTER, "stopped before it served");
            break;
        }
        if (up->foreground)
            while (waitpid(-1, NULL, WNOHANG) > 0)
                continue;
        dead = find_dead(up);
        if (dead != SIZE_MAX && up->fresh[dead]) {
            exit = tell_dead(up, dead);
            break;
        }
        if (dead != SIZE_MAX &&
            (exit = start_missing(up)) != CLI_DONE) /* it was dying when we came */
            break;
        if (clock_ms() > deadline) {
            snprintf(text, sizeof text,
                     "it does not serve after %d s; the processes go on, see their logs in %s/log",
                     READY_MS / 1000, up->local.dir);
            exit = refuse(up, CLI_CLUSTER, text);
            break;
        }
        usleep(50000);
    }
    quire_client_destroy(client);
    return exit;
}

/* ---- telling ---- */

static void tell(struct up *up)
{
    char url[LOCAL_CONNECT_SIZE];

    local_connect(&up->local, url);
    if (up->cli.json) {
        cli_print_json(&up->cli,
                       json_pack("{s:o,s:s,s:I,s:I,s:I,s:I,s:I}", "dir", cli_text(up->local.dir),
                                 "connect", url, "port", (json_int_t)up->local.port, "coordinators",
                                 (json_int_t)up->local.coordinators, "shards",
                                 (json_int_t)up->local.shards, "replicas",
                                 (json_int_t)up->local.replicas, "started",
                                 (json_int_t)up->started));
        return;
    }
    if (up->started == 0)
        printf("the cluster in %s is up already: %s\n", up->local.dir, url);
    else
        printf("the cluster in %s is up: %s, %llu shards\n", up->local.dir, url,
               (unsigned long long)up->local.shards);
    if (up->local.port != QUIRE_DEFAULT_PORT || up->local.coordinators > 1)
        printf("export QUIRE_CONNECT=%s\n", url);
    fflush(stdout);
}

/* ---- the foreground ---- */

struct health {
    uint64_t started_ms;
    uint64_t restart_ms; /* when to start it again; 0: it runs */
    unsigned quick_deaths;
};

static bool restart(struct up *up, size_t i, struct health *health)
{
    char error[LOCAL_ERROR_SIZE] = "";

    if (local_start(&up->local, i, false, error) == 0) {
        cli_say(&up->cli, "%s: %s", local_name(&up->local, i), error);
        return false;
    }
    health->started_ms = clock_ms();
    health->restart_ms = 0;
    return true;
}

/* Notices what has died and starts it again; false when one keeps dying. */
static bool tend(struct up *up, struct health *health)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    for (size_t i = 0; i < local_processes(&up->local); i++) {
        uint64_t now = clock_ms();
        if (health[i].restart_ms == 0 && local_pid(&up->local, local_name(&up->local, i)) == 0) {
            bool quick = now - health[i].started_ms < QUICK_DEATH_MS;
            health[i].quick_deaths = quick ? health[i].quick_deaths + 1 : 0;
            if (health[i].quick_deaths >= RESTARTS_MAX) {
                cli_say(&up->cli, "%s ends each time it is started", local_name(&up->local, i));
                return false;
            }
            cli_say(&up->cli, "%s has ended; it is started again", local_name(&up->local, i));
            health[i].restart_ms = now + RESTART_PAUSE_MS;
        } else if (health[i].restart_ms != 0 && now >= health[i].restart_ms &&
                   !restart(up, i, &health[i])) {
            return false;
        }
    }
    return true;
}

static int stay(struct up *up, const sigset_t *signals)
{
    struct health health[LOCAL_PROCESSES_MAX];
    const struct timespec tick = {0, 200000000};
    bool good = true;

    for (size_t i = 0; i < local_processes(&up->local); i++)
        health[i] = (struct health){.started_ms = clock_ms()};
    while (good) {
        int got = sigtimedwait(signals, NULL, &tick);
        if (got == SIGINT || got == SIGTERM || got == SIGHUP)
            break;
        good = tend(up, health);
    }
    local_stop(&up->local, STOP_MS, NULL, NULL);
    local_remove_pid(&up->local, LOCAL_SUPERVISOR);
    return good ? CLI_DONE : CLI_CLUSTER;
}

static int run_foreground(struct up *up)
{
    sigset_t signals;
    int exit;

    if (local_pid(&up->local, LOCAL_SUPERVISOR) != 0 || find_dead(up) == SIZE_MAX)
        return refuse(up, CLI_CLUSTER,
                      "the cluster runs already; 'quire down' stops it, then it can be started in "
                      "the foreground");
    local_stop(&up->local, STOP_MS, NULL,
               NULL); /* what is left of a cluster that was not stopped */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    exit = start_missing(up);
    if (exit == CLI_DONE)
        local_write_pid(&up->local, LOCAL_SUPERVISOR, getpid());
    if (exit == CLI_DONE)
        exit = await_serving(up);
    if (exit != CLI_DONE) {
        local_remove_pid(&up->local, LOCAL_SUPERVISOR);
        local_stop(&up->local, STOP_MS, NULL, NULL);
        return exit;
    }
    tell(up);
    /* Others may ask for `down` now. */
    close(up->local.lock);
    up->local.lock = -1;
    return stay(up, &signals);
}

int cmd_up(const struct cli_command *command, int argc, char **argv)
{
    struct up up = {0};
    char error[LOCAL_ERROR_SIZE] = "";
    const struct cli_option options[] = {
        {"dir", 'd', CLI_TEXT, &up.dir, 0, 0},
        {"coordinators", 0, CLI_NUMBER, &up.coordinators, 1, LOCAL_COORDINATORS_MAX},
        {"shards", 0, CLI_NUMBER, &up.shards, 1, LOCAL_SHARDS_MAX},
        {"replicas", 0, CLI_NUMBER, &up.replicas, 1, LOCAL_REPLICAS_MAX},
        {"port", 0, CLI_NUMBER, &up.port, 1, 65535},
        {"memory", 0, CLI_NUMBER, &up.memory, 16, 1u << 24},
        {"foreground", 0, CLI_FLAG, &up.foreground, 0, 0}};
    int exit;

    if (!cli_parse(&up.cli, command, argc, argv, options, sizeof options / sizeof *options, 0, 0,
                   &exit))
        return exit;
    if (!local_open(&up.local, up.dir, true, error)) {
        exit = refuse(&up, CLI_CLUSTER, error);
        local_close(&up.local);
        return exit;
    }
    exit = check_settings(&up);
    if (exit == CLI_DONE && up.foreground) {
        if (!local_save(&up.local, error))
            exit = refuse(&up, CLI_CLUSTER, error);
        else
            exit = run_foreground(&up);
    } else if (exit == CLI_DONE) {
        exit = start_missing(&up);
        if (exit == CLI_DONE)
            exit = await_serving(&up);
        if (exit == CLI_DONE && !local_save(&up.local, error))
            exit = refuse(&up, CLI_CLUSTER, error);
        if (exit == CLI_DONE)
            tell(&up);
    }
    local_close(&up.local);
    return cli_end(&up.cli, exit);
}
