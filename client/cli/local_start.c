/* Starting and stopping the processes of a local cluster.
 *
 * A process is started by fork and exec, nothing between but plain system calls; libquire, whose
 * threads do not survive a fork, is not in use yet when `quire up` forks, or exec follows at once.
 * A detached process gets a session of its own, /dev/null as its input and its log file as its
 * output; its grandparent is told through a pipe that exec closes whether the program could be
 * started at all.
 */
#include "client/cli/local.h"

#include "proto/base/clock.h"
#include "proto/base/memory_limit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16
#define CONSENSUS_PORT_OFFSET 10000 /* the coordinator's other port, see quire-coordinator(8) */

/* Where the program is: beside this one, in the build tree, else left to PATH. */
static void find_program(const char *program, const char *folder, char path[PATH_MAX])
{
    char own[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
    char *slash;

    snprintf(path, PATH_MAX, "%s", program);
    if (size <= 0 || size > PATH_MAX - 128)
        return;
    own[size] = '\0';
    slash = strrchr(own, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    snprintf(path, PATH_MAX, "%.*s/%s", PATH_MAX - 128, own, program);
    if (access(path, X_OK) == 0)
        return;
    snprintf(path, PATH_MAX, "%.*s/../%s/%s", PATH_MAX - 128, own, folder, program);
    if (access(path, X_OK) != 0)
        snprintf(path, PATH_MAX, "%s", program);
}

struct arguments {
    char *words[ARGUMENTS_MAX + 1];
    size_t count;
};

static void add_argument(struct arguments *arguments, const char *word)
{
    char *copy = strdup(word);

    if (copy == NULL || arguments->count == ARGUMENTS_MAX)
        abort();
    arguments->words[arguments->count++] = copy;
}

static void free_arguments(struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->count; i++)
        free(arguments->words[i]);
}

/* MiB for the cache of one shard, and as much again for what is not on disk yet: all shards
 * together take half of the memory that there is. (A shard that is not told counts on all of it for
 * itself.) */
static uint64_t memory_share(const struct local *local)
{
    uint64_t memory = local->memory != 0 ? local->memory : memory_limit() >> 21;

    memory /= 2 * local->shards;
    return memory > 4 ? memory : 4;
}

static void build_arguments(const struct local *local, size_t i, struct arguments *arguments)
{
    char path[PATH_MAX];

    *arguments = (struct arguments){.count = 0};
    if (local_is_coordinator(local, i))
        find_program("quire-coordinator", "coordinator", path);
    else
        find_program("quire-shard", "shard", path);
    add_argument(arguments, path);
    snprintf(path, sizeof path, "%s/%s", local->dir, local_name(local, i));
    add_argument(arguments, "--dir");
    add_argument(arguments, path);
    add_argument(arguments, "--listen");
    add_argument(arguments, local_url(local, i));
    if (local_is_coordinator(local, i)) {
        snprintf(path, sizeof path, "%llu", (unsigned long long)local->replicas);
        add_argument(arguments, "--replicas");
        add_argument(arguments, path);
        if (i > 0) {
            add_argument(arguments, "--join");
            add_argument(arguments, local_url(local, 0));
        }
    } else {
        char connect[LOCAL_CONNECT_SIZE];
        local_connect(local, connect);
        add_argument(arguments, "--coordinators");
        add_argument(arguments, connect);
        snprintf(path, sizeof path, "%lluM", (unsigned long long)memory_share(local));
        add_argument(arguments, "--cache-bytes");
        add_argument(arguments, path);
        add_argument(arguments, "--memory-bytes");
        add_argument(arguments, path);
    }
}

/* What comes through the pipe: at most two of these. Each is one write, so they do not mix. */
struct report {
    enum { REPORT_PID, REPORT_ERRNO } kind;
    int value;
};

static void send_report(int file, int kind, int value)
{
    struct report report = {.kind = kind, .value = value};

    while (write(file, &report, sizeof report) < 0 && errno == EINTR)
        continue;
}

/* In the child: never returns. Reports errno when it fails; exec closes the pipe when it does not.
 */
static void become(struct arguments *arguments, int log, int report)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;

    if (log < 0) { /* a child in the foreground: Ctrl-C is for its parent alone; it ends with its
                      parent */
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    /* In the foreground to standard error: our standard output is for answers. */
    dup2(log >= 0 ? log : STDERR_FILENO, STDOUT_FILENO);
    if (log >= 0)
        dup2(log, STDERR_FILENO);
    execvp(arguments->words[0], arguments->words);
    send_report(report, REPORT_ERRNO, errno);
    _exit(127);
}

/* Detached: a child that starts the process and ends, so that the process has no parent that would
 * have to wait for it. */
static void start_detached(struct arguments *arguments, int log, int report)
{
    pid_t pid;

    setsid();
    pid = fork();
    if (pid == 0) {
        if (chdir("/") != 0)
            _exit(127);
        become(arguments, log, report);
    }
    if (pid > 0)
        send_report(report, REPORT_PID, pid);
    else
        send_report(report, REPORT_ERRNO, errno);
    _exit(0);
}

/* Reads the pipe until exec, or the end of everybody, has closed it. The process id, 0 with a
 * sentence. */
static pid_t await_start(int file, pid_t child, bool detached, const char *program,
                         char error[LOCAL_ERROR_SIZE])
{
    pid_t pid = detached ? 0 : child;
    struct report report;
    int failure = 0;

    for (;;) {
        ssize_t got = read(file, &report, sizeof report);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof report)
            break;
        if (report.kind == REPORT_PID)
            pid = report.value;
        else
            failure = report.value;
    }
    if (detached || failure != 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            continue;
    if (failure == 0)
        return pid;
    snprintf(error, LOCAL_ERROR_SIZE, "cannot start %s: %s", program, strerror(failure));
    return 0;
}

static int open_log(const struct local *local, size_t i, char error[LOCAL_ERROR_SIZE])
{
    char path[PATH_MAX];
    int log;

    snprintf(path, sizeof path, "%s/log", local->dir);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/log/%s.log", local->dir, local_name(local, i));
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0)
        snprintf(error, LOCAL_ERROR_SIZE, "cannot open its log file: %s", strerror(errno));
    return log;
}

pid_t local_start(const struct local *local, size_t i, bool detached, char error[LOCAL_ERROR_SIZE])
{
    struct arguments arguments;
    char folder[PATH_MAX];
    int report[2], log = -1;
    pid_t child, pid = 0;

    snprintf(folder, sizeof folder, "%s/run", local->dir);
    mkdir(folder, 0755);
    snprintf(folder, sizeof folder, "%s/%s", local->dir, local_name(local, i));
    mkdir(folder, 0755);
    if (detached && (log = open_log(local, i, error)) < 0)
        return 0;
    if (pipe2(report, O_CLOEXEC) != 0) {
        snprintf(error, LOCAL_ERROR_SIZE, "cannot make a pipe: %s", strerror(errno));
        goto done;
    }
    build_arguments(local, i, &arguments);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        close(report[0]);
        if (detached)
            start_detached(&arguments, log, report[1]);
        become(&arguments, -1, report[1]);
    }
    close(report[1]);
    if (child > 0)
        pid = await_start(report[0], child, detached, arguments.words[0], error);
    else
        snprintf(error, LOCAL_ERROR_SIZE, "cannot fork: %s", strerror(errno));
    close(report[0]);
    free_arguments(&arguments);
    if (pid > 0 && !local_write_pid(local, local_name(local, i), pid)) {
        snprintf(error, LOCAL_ERROR_SIZE, "cannot write its pid file: %s", strerror(errno));
        kill(pid, SIGTERM);
        pid = 0;
    }
done:
    if (log >= 0)
        close(log);
    return pid;
}

/* ---- ports ---- */

static bool port_is_taken(uint64_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1, socket_file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken;

    if (socket_file < 0)
        return false;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(socket_file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    taken = bind(socket_file, (const struct sockaddr *)&address, sizeof address) != 0 &&
            errno == EADDRINUSE;
    close(socket_file);
    return taken;
}

static uint64_t consensus_port(uint64_t port)
{
    return port + CONSENSUS_PORT_OFFSET <= 65535 ? port + CONSENSUS_PORT_OFFSET
                                                 : port - CONSENSUS_PORT_OFFSET;
}

uint64_t local_taken_port(const struct local *local)
{
    for (size_t i = 0; i < local_processes(local); i++) {
        uint64_t port = local_port(local, i);
        if (local_pid(local, local_name(local, i)) != 0)
            continue;
        if (port_is_taken(port))
            return port;
        if (local_is_coordinator(local, i) && port_is_taken(consensus_port(port)))
            return consensus_port(port);
    }
    return 0;
}

/* ---- stopping ---- */

static void reap(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

void local_stop(const struct local *local, unsigned wait_ms, size_t *stopped, size_t *killed)
{
    pid_t pids[LOCAL_PROCESSES_MAX] = {0};
    struct local all = *local; /* also what a run that broke off has started */
    uint64_t deadline = clock_ms() + wait_ms;
    size_t left, count = 0;

    all.coordinators = LOCAL_COORDINATORS_MAX;
    all.shards = LOCAL_SHARDS_MAX;
    for (size_t i = 0; i < LOCAL_PROCESSES_MAX; i++) {
        pids[i] = local_pid(local, local_name(&all, i));
        if (pids[i] != 0) {
            count++;
            kill(pids[i], SIGTERM);
        }
    }
    do {
        struct timespec pause = {0, 20000000};
        left = 0;
        reap();
        for (size_t i = 0; i < LOCAL_PROCESSES_MAX; i++)
            left += pids[i] != 0 && local_alive(pids[i]);
        if (left > 0)
            nanosleep(&pause, NULL);
    } while (left > 0 && clock_ms() < deadline);
    for (size_t i = 0; i < LOCAL_PROCESSES_MAX; i++) {
        if (pids[i] != 0 && local_alive(pids[i]))
            kill(pids[i], SIGKILL);
        if (pids[i] != 0)
            local_remove_pid(local, local_name(&all, i));
    }
    reap();
    if (stopped != NULL)
        *stopped = count;
    if (killed != NULL)
        *killed = left;
}
