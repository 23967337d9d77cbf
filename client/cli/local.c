#include "client/cli/local.h"

#include "proto/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_WAIT_MS 90000
#define DEFAULT_PORT 7400
#define DEFAULT_SHARDS 3

static bool failed(char error[LOCAL_ERROR_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool failed(char error[LOCAL_ERROR_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, LOCAL_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static void sleep_ms(unsigned ms)
{
    struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&pause, NULL);
}

char *local_default_dir(void)
{
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    char *dir = NULL;

    if (data != NULL && data[0] == '/') {
        if (asprintf(&dir, "%s/quire", data) < 0)
            return NULL;
    } else if (home != NULL && home[0] == '/') {
        if (asprintf(&dir, "%s/.local/share/quire", home) < 0)
            return NULL;
    }
    return dir;
}

/* mkdir -p */
static bool make_dirs(const char *path, char error[LOCAL_ERROR_SIZE])
{
    char part[PATH_MAX];

    if (strlen(path) >= sizeof part)
        return failed(error, "the name of the folder is too long");
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return failed(error, "cannot create %s: %s", part, strerror(errno));
    }
    return true;
}

static bool lock_dir(struct local *local, char error[LOCAL_ERROR_SIZE])
{
    char path[PATH_MAX];
    uint64_t deadline = clock_ms() + LOCK_WAIT_MS;

    snprintf(path, sizeof path, "%s/lock", local->dir);
    local->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (local->lock < 0)
        return failed(error, "cannot open %s: %s", path, strerror(errno));
    while (flock(local->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return failed(error, "cannot lock %s: %s", path, strerror(errno));
        if (clock_ms() > deadline)
            return failed(error, "another 'quire up' or 'quire down' is at work in %s", local->dir);
        sleep_ms(50);
    }
    return true;
}

static bool read_settings(struct local *local, char error[LOCAL_ERROR_SIZE])
{
    char path[PATH_MAX];
    json_error_t bad;
    json_t *settings;

    local->port = DEFAULT_PORT;
    local->coordinators = 1;
    local->shards = DEFAULT_SHARDS;
    local->replicas = 0;
    snprintf(path, sizeof path, "%s/cluster.json", local->dir);
    local->existed = access(path, F_OK) == 0;
    if (!local->existed)
        return true;
    settings = json_load_file(path, 0, &bad);
    if (settings == NULL)
        return failed(error, "%s is damaged: %s", path, bad.text);
    local->port = (uint64_t)json_integer_value(json_object_get(settings, "port"));
    local->coordinators = (uint64_t)json_integer_value(json_object_get(settings, "coordinators"));
    if (local->coordinators == 0) /* of a version that had one only */
        local->coordinators = 1;
    local->shards = (uint64_t)json_integer_value(json_object_get(settings, "shards"));
    local->replicas = (uint64_t)json_integer_value(json_object_get(settings, "replicas"));
    local->memory = (uint64_t)json_integer_value(json_object_get(settings, "memory_mib"));
    json_decref(settings);
    if (local->port < 1 || local->port > 65535 || local->shards < 1 ||
        local->shards > LOCAL_SHARDS_MAX || local->coordinators > LOCAL_COORDINATORS_MAX ||
        local->replicas < 1 || local->replicas > LOCAL_REPLICAS_MAX)
        return failed(error, "%s is damaged: its numbers make no sense", path);
    return true;
}

bool local_open(struct local *local, const char *dir, bool create, char error[LOCAL_ERROR_SIZE])
{
    char *given = dir != NULL ? strdup(dir) : local_default_dir();
    char path[PATH_MAX];
    bool good = false;

    *local = (struct local){.lock = -1};
    error[0] = '\0';
    if (given == NULL || given[0] == '\0') {
        failed(error, "no folder: give one with --dir, or set HOME");
        goto done;
    }
    if (create && !make_dirs(given, error))
        goto done;
    local->dir = realpath(given, NULL);
    if (local->dir == NULL) {
        good = !create && errno == ENOENT;
        if (!good)
            failed(error, "cannot use %s: %s", given, strerror(errno));
        goto done;
    }
    if (strlen(local->dir) > PATH_MAX - 64) {
        failed(error, "the name of the folder is too long");
        goto done;
    }
    if (!create) {
        snprintf(path, sizeof path, "%s/cluster.json", local->dir);
        if (access(path, F_OK) != 0) { /* do not leave a lock file where no cluster ever was */
            good = true;
            goto done;
        }
    }
    good = lock_dir(local, error) && read_settings(local, error);
done:
    free(given);
    return good;
}

void local_close(struct local *local)
{
    if (local->lock >= 0)
        close(local->lock);
    free(local->dir);
    *local = (struct local){.lock = -1};
}

bool local_save(const struct local *local, char error[LOCAL_ERROR_SIZE])
{
    char path[PATH_MAX], fresh[PATH_MAX];
    json_t *settings = json_pack(
        "{s:i,s:I,s:I,s:I,s:I,s:I}", "version", 1, "port", (json_int_t)local->port, "coordinators",
        (json_int_t)local->coordinators, "shards", (json_int_t)local->shards, "replicas",
        (json_int_t)local->replicas, "memory_mib", (json_int_t)local->memory);
    bool good;

    snprintf(path, sizeof path, "%s/cluster.json", local->dir);
    snprintf(fresh, sizeof fresh, "%s/cluster.json.new", local->dir);
    good = json_dump_file(settings, fresh, JSON_INDENT(2)) == 0 && rename(fresh, path) == 0;
    json_decref(settings);
    return good || failed(error, "cannot write %s: %s", path, strerror(errno));
}

/* ---- processes ---- */

size_t local_processes(const struct local *local)
{
    return local->coordinators + local->shards;
}

bool local_is_coordinator(const struct local *local, size_t i)
{
    return i < local->coordinators;
}

const char *local_name(const struct local *local, size_t i)
{
    static _Thread_local char name[40];

    if (i == 0)
        return "coordinator";
    if (local_is_coordinator(local, i))
        snprintf(name, sizeof name, "coordinator-%zu", i + 1);
    else
        snprintf(name, sizeof name, "shard-%zu", i - local->coordinators + 1);
    return name;
}

uint64_t local_port(const struct local *local, size_t i)
{
    if (!local_is_coordinator(local, i))
        return local->port + (i - local->coordinators) + 1;
    return i == 0 ? local->port : local->port + LOCAL_SHARDS_MAX + i;
}

const char *local_url(const struct local *local, size_t i)
{
    static _Thread_local char url[64];

    snprintf(url, sizeof url, "tcp://127.0.0.1:%llu", (unsigned long long)local_port(local, i));
    return url;
}

void local_connect(const struct local *local, char out[LOCAL_CONNECT_SIZE])
{
    size_t size = 0;

    out[0] = '\0';
    for (size_t i = 0; i < local->coordinators; i++)
        size += (size_t)snprintf(out + size, LOCAL_CONNECT_SIZE - size, "%s%s", i > 0 ? "," : "",
                                 local_url(local, i));
}

bool local_connect_default(char out[LOCAL_CONNECT_SIZE])
{
    struct local local = {.lock = -1, .dir = local_default_dir()};
    char error[LOCAL_ERROR_SIZE];
    bool found = local.dir != NULL && strlen(local.dir) < PATH_MAX - 64 &&
                 read_settings(&local, error) && local.existed;

    if (found)
        local_connect(&local, out);
    free(local.dir);
    return found;
}

/* /proc/PID/NAME, terminated; its size, 0 when there is none. */
static size_t read_proc(pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    ssize_t got;
    int file;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    got = read(file, out, size - 1);
    close(file);
    if (got <= 0)
        return 0;
    out[got] = '\0';
    return (size_t)got;
}

bool local_alive(pid_t pid)
{
    char text[512], *state;

    if (read_proc(pid, "stat", text, sizeof text) == 0)
        return false;
    state = strrchr(text, ')'); /* the name in parentheses may hold anything */
    return state != NULL && state[1] == ' ' && state[2] != 'Z' && state[2] != 'X';
}

/* Whether one of the words of a process's command line is `word`: process ids are used again. */
static bool has_word(pid_t pid, const char *word)
{
    char text[16384];
    size_t size = read_proc(pid, "cmdline", text, sizeof text);

    for (const char *at = text; at < text + size; at += strlen(at) + 1)
        if (strcmp(at, word) == 0)
            return true;
    return false;
}

static void pid_path(const struct local *local, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/run/%s.pid", local->dir, name);
}

pid_t local_pid(const struct local *local, const char *name)
{
    char path[PATH_MAX], word[PATH_MAX];
    long pid = 0;
    FILE *file;

    pid_path(local, name, path);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%ld", &pid) != 1 || pid <= 1 || pid > INT_MAX)
        pid = 0;
    fclose(file);
    if (pid == 0 || !local_alive((pid_t)pid))
        return 0;
    if (strcmp(name, LOCAL_SUPERVISOR) == 0)
        return has_word((pid_t)pid, "up") ? (pid_t)pid : 0;
    snprintf(word, sizeof word, "%s/%s", local->dir, name);
    return has_word((pid_t)pid, word) ? (pid_t)pid : 0;
}

bool local_write_pid(const struct local *local, const char *name, pid_t pid)
{
    char path[PATH_MAX];
    FILE *file;
    bool good;

    pid_path(local, name, path);
    file = fopen(path, "we");
    if (file == NULL)
        return false;
    good = fprintf(file, "%d\n", (int)pid) > 0;
    return fclose(file) == 0 && good;
}

void local_remove_pid(const struct local *local, const char *name)
{
    char path[PATH_MAX];

    pid_path(local, name, path);
    unlink(path);
}

void local_last_words(const struct local *local, size_t i, char *out, size_t size)
{
    char path[PATH_MAX], line[2048];
    FILE *file;

    out[0] = '\0';
    snprintf(path, sizeof path, "%s/log/%s.log", local->dir, local_name(local, i));
    file = fopen(path, "re");
    if (file == NULL)
        return;
    if (fseek(file, -8192, SEEK_END) != 0)
        rewind(file);
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0')
            snprintf(out, size, "%s", line);
    }
    fclose(file);
}
