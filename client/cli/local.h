/* A local cluster: coordinators and shards as processes of this machine, in one data folder.
 *
 *   DIR/cluster.json      what was asked for: port, coordinators, shards, replicas, memory
 *   DIR/lock              held by `quire up` and `quire down` while they work
 *   DIR/run/NAME.pid      process ids; NAME is coordinator, coordinator-2, ..., shard-1,
 *                         shard-2, ... or supervisor
 *   DIR/log/NAME.log      what the processes say
 *   DIR/NAME              their data
 *
 * Ports: PORT is the first coordinator's, the shards have the next ones; the other coordinators
 * follow where the last shard that there may ever be would end. Each coordinator has its port
 * + 10000 for the others, too.
 */
#ifndef QUIRE_CLI_LOCAL_H
#define QUIRE_CLI_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOCAL_COORDINATORS_MAX 5
#define LOCAL_SHARDS_MAX 64
#define LOCAL_PROCESSES_MAX (LOCAL_COORDINATORS_MAX + LOCAL_SHARDS_MAX)
#define LOCAL_CONNECT_SIZE (64 * LOCAL_COORDINATORS_MAX)
#define LOCAL_REPLICAS_MAX 5
#define LOCAL_ERROR_SIZE 512
#define LOCAL_SUPERVISOR "supervisor"

struct local {
    char *dir; /* absolute, malloc'd */
    uint64_t port, coordinators, shards;
    uint64_t replicas; /* of the ranges of collections that do not say */
    uint64_t memory; /* MiB for caches and unflushed data of all shards; 0: half of the machine's */
    bool existed;    /* cluster.json was there */
    int lock;        /* file descriptor; -1: not held */
};

/* $XDG_DATA_HOME/quire or ~/.local/share/quire, malloc'd; NULL when neither variable is set. */
char *local_default_dir(void);

/* Finds the folder (creates it when `create`), locks it, reads cluster.json. False with a sentence.
 * When there is no such folder and `create` is false: true, with `existed` false and `dir` NULL. */
bool local_open(struct local *local, const char *dir, bool create, char error[LOCAL_ERROR_SIZE]);
void local_close(struct local *local);
/* Writes cluster.json (atomically). */
bool local_save(const struct local *local, char error[LOCAL_ERROR_SIZE]);

/* Process i of the cluster: the coordinators, then the shards. The name is valid until the next
 * call. */
size_t local_processes(const struct local *local);
bool local_is_coordinator(const struct local *local, size_t i);
const char *local_name(const struct local *local, size_t i);
/* Its process id when it runs and is ours, else 0. */
pid_t local_pid(const struct local *local, const char *name);
bool local_write_pid(const struct local *local, const char *name, pid_t pid);
void local_remove_pid(const struct local *local, const char *name);
/* Whether a process runs (a zombie does not). */
bool local_alive(pid_t pid);

/* Starts process i: detached with its output in its log file, or as a child that shares our
 * standard error. The process id is written to its file. 0 with a sentence when it cannot be
 * started. */
pid_t local_start(const struct local *local, size_t i, bool detached, char error[LOCAL_ERROR_SIZE]);
uint64_t local_port(const struct local *local, size_t i);
/* "tcp://127.0.0.1:PORT" of process i; valid until the next call. */
const char *local_url(const struct local *local, size_t i);
/* The urls of all coordinators, as --connect takes them. */
void local_connect(const struct local *local, char out[LOCAL_CONNECT_SIZE]);
/* The same for the cluster in the default folder; false when there is none. */
bool local_connect_default(char out[LOCAL_CONNECT_SIZE]);
/* The last line of a log that tells an error; "" when there is none. */
void local_last_words(const struct local *local, size_t i, char *out, size_t size);
/* The first port of the cluster, among those of processes that do not run, on which somebody else
 * listens; 0: none. */
uint64_t local_taken_port(const struct local *local);

/* Sends SIGTERM to what runs, waits, then SIGKILL. Counts go to *stopped and *killed (may be NULL).
 */
void local_stop(const struct local *local, unsigned wait_ms, size_t *stopped, size_t *killed);

#endif
