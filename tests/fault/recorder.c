/* quire_recorder: reads and writes through libquire at a stated rate, whatever the answers take
 * (open loop, Poisson arrivals), and writes down what was asked and what was answered. check.py
 * judges the record.
 *
 *   quire_recorder --connect URL,... --history FILE [--seconds S] [--rate N] [--clients N]
 *                  [--writes PERCENT] [--registers N] [--timeout MS] [--seed N]
 *                  [--collection NAME]
 *
 * Each of its clients is a session of its own; client i prefers the coordinator i of the list;
 * every third client reads from the primaries only. The record ends after --seconds or at SIGTERM,
 * when all that is under way was answered. One line an operation, of tab-separated
 *
 *   start end client view kind key value version expect outcome complete status
 *
 * start, end: microseconds of CLOCK_MONOTONIC. view: "primary" or "session". outcome: "ok"; "fail":
 * surely not done; "unknown". Kinds: put    register `key` := `value` (never used twice); `version`
 * as acknowledged cas    the same on condition that the version is `expect` get    the register by
 * headword: `value` and `version`, "-" and 0: absent define the same by its other name add    a
 * member of the client's own set, `key`; grows only find   `key`, an acknowledged member of the own
 * set, by full text: `value` hits count  members of the own set by full text, counted exactly:
 * `value`; key is the client's word still  query `key` on a collection that nobody writes: `value`,
 * a digest of hits and scores complete: of searches, whether the answer claims to cover everything;
 * each asks for that (fail instead) at random. 1 for lookups.
 */
#include "client/quire.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLIENTS_MAX 32
#define REGISTERS_MAX 1024
#define KEY_MAX 64

static const char *const queries[] = {
    "river", "stone harbour",        "+lantern meadow", "\"copper bridge\"", "winter OR thunder",
    "har*",  "violet +garden -river"};
#define QUERIES (sizeof queries / sizeof queries[0])

struct session {
    struct quire_client *client;
    unsigned number;
    bool from_primary;
    unsigned serial;                  /* of values and members: never used twice */
    unsigned *members;                /* serials that were acknowledged */
    size_t member_count, member_room; /* under `lock` */
    uint64_t known[REGISTERS_MAX];    /* the version last seen; under `lock` */
};

enum kind { PUT, CAS, GET, DEFINE, ADD, FIND, COUNT, STILL };
static const char *const kind_names[] = {"put", "cas",  "get",   "define",
                                         "add", "find", "count", "still"};

struct operation {
    struct session *session;
    enum kind kind;
    uint64_t start;
    unsigned reg, serial; /* register; serial of the value or member */
    uint64_t expect;
    char key[KEY_MAX], value[KEY_MAX];
};

static struct {
    const char *connect, *history, *collection;
    double seconds, rate;
    unsigned clients, writes, registers, timeout, seed;
} options = {
    .seconds = 10, .rate = 200, .clients = 6, .writes = 40, .registers = 26, .timeout = 10000};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t landed = PTHREAD_COND_INITIALIZER;
static unsigned outstanding;
static FILE *history;
static volatile sig_atomic_t stopping;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* A word of letters only, so that no analyzer takes it apart: "w" client "x" serial. */
static void word(char out[KEY_MAX], const char *head, unsigned client, unsigned serial)
{
    char digits[16];
    size_t n = 0;
    do
        digits[n++] = (char)('a' + serial % 20);
    while ((serial /= 20) > 0);
    digits[n] = '\0';
    snprintf(out, KEY_MAX, "%s%cx%s", head, 'a' + (int)(client % 26), digits);
}

/* ---- what came back ---- */

static const char *outcome_of(int status)
{
    switch (status) {
    case QUIRE_OK:
        return "ok";
    case QUIRE_INVALID:
    case QUIRE_TOO_LARGE:
    case QUIRE_CONFLICT:
        return "fail";
    default:
        return "unknown";
    }
}

static void record(struct operation *op, const char *value, uint64_t version, bool complete,
                   int status, const char *error)
{
    uint64_t end = now_us();
    pthread_mutex_lock(&lock);
    fprintf(history,
            "%" PRIu64 "\t%" PRIu64 "\t%u\t%s\t%s\t%s\t%s\t%" PRIu64 "\t%" PRIu64
            "\t%s\t%d\t%s%s%s\n",
            op->start, end, op->session->number, op->session->from_primary ? "primary" : "session",
            kind_names[op->kind], op->key, value, version, op->expect, outcome_of(status),
            (int)complete, quire_strerror(status), *error ? ": " : "", error);
    outstanding--;
    pthread_cond_signal(&landed);
    pthread_mutex_unlock(&lock);
    free(op);
}

static void remember_member(struct session *session, unsigned serial)
{
    if (session->member_count == session->member_room) {
        session->member_room = session->member_room * 2 + 64;
        session->members = realloc(session->members, session->member_room * sizeof(unsigned));
        if (session->members == NULL)
            abort();
    }
    session->members[session->member_count++] = serial;
}

static void written(void *data, const struct quire_write_result *result)
{
    struct operation *op = data;
    uint64_t version = result->written_count > 0 ? result->written[0]->version : 0;
    if (result->status == QUIRE_OK) {
        pthread_mutex_lock(&lock);
        if (op->kind == ADD)
            remember_member(op->session, op->serial);
        else
            op->session->known[op->reg] = version;
        pthread_mutex_unlock(&lock);
    }
    record(op, op->value, version, true, result->status, result->error);
}

static void looked_up(void *data, const struct quire_entries_result *result)
{
    struct operation *op = data;
    char value[KEY_MAX] = "-";
    uint64_t version = 0;
    if (result->entry_count > 0) {
        version = result->entries[0]->version;
        snprintf(value, sizeof value, "%.*s", (int)strcspn(result->entries[0]->body, " \n\t"),
                 result->entries[0]->body);
        pthread_mutex_lock(&lock);
        op->session->known[op->reg] = version;
        pthread_mutex_unlock(&lock);
    }
    record(op, value, version, true, result->status, result->error);
}

static void digest(uint64_t *hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u; /* FNV-1a */
}

static void searched(void *data, const struct quire_search_result *result)
{
    struct operation *op = data;
    char value[KEY_MAX];
    if (op->kind == STILL) {
        uint64_t hash = 0xcbf29ce484222325u;
        for (size_t i = 0; i < result->hit_count; i++) {
            digest(&hash, result->hits[i]->headword, strlen(result->hits[i]->headword) + 1);
            digest(&hash, &result->hits[i]->score_fixed, sizeof result->hits[i]->score_fixed);
        }
        snprintf(value, sizeof value, "%016" PRIx64 "/%" PRIu64, hash, result->total);
    } else {
        snprintf(value, sizeof value, "%" PRIu64, result->total);
    }
    if (result->status == QUIRE_OK && !result->complete && result->missing_count == 0)
        strcat(value, "?"); /* incomplete, and does not say where */
    record(op, value, 0, result->status == QUIRE_OK && result->complete, result->status,
           result->error);
}

/* ---- what is asked ---- */

static double uniform(void)
{
    return (double)rand() / ((double)RAND_MAX + 1);
}

static unsigned below(unsigned bound)
{
    return (unsigned)(uniform() * bound);
}

static quire_ticket submit_write(struct operation *op)
{
    struct session *session = op->session;
    char headword[KEY_MAX * 2], body[KEY_MAX * 4], alias[KEY_MAX * 2], crowd[KEY_MAX];
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    const char *terms[] = {alias};
    op->serial = session->serial++;
    if (op->kind == ADD) {
        word(op->key, "m", session->number, op->serial);
        word(crowd, "crowd", session->number, 0);
        snprintf(headword, sizeof headword, "%c member %s", 'a' + (int)(op->serial * 7 % 26),
                 op->key);
        snprintf(body, sizeof body, "%s %s", op->key, crowd);
        snprintf(op->value, sizeof op->value, "%s", op->key);
    } else {
        word(op->value, "v", session->number, op->serial);
        snprintf(headword, sizeof headword, "%s", op->key);
        snprintf(body, sizeof body, "%s is what it holds", op->value);
        snprintf(alias, sizeof alias, "alias of %s", op->key);
        entry.terms = terms;
        entry.term_count = 1;
    }
    entry.headword = headword;
    entry.body = body;
    struct quire_put_request request = QUIRE_PUT_INIT;
    request.collection = options.collection;
    request.timeout_ms = options.timeout;
    request.entry = &entry;
    request.conditional = op->kind == CAS;
    request.if_version = op->expect;
    return quire_put(session->client, &request, written, op);
}

static quire_ticket submit_search(struct operation *op)
{
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    request.collection = op->kind == STILL ? "still" : options.collection;
    request.timeout_ms = options.timeout;
    request.query = op->key;
    request.limit = 10;
    request.total_limit = QUIRE_TOTAL_EXACT;
    request.complete = below(2) == 0;
    return quire_search(op->session->client, &request, searched, op);
}

static quire_ticket submit_lookup(struct operation *op)
{
    if (op->kind == GET) {
        struct quire_get_request request = QUIRE_GET_INIT;
        request.collection = options.collection;
        request.timeout_ms = options.timeout;
        request.headword = op->key;
        return quire_get(op->session->client, &request, looked_up, op);
    }
    char alias[KEY_MAX * 2];
    snprintf(alias, sizeof alias, "alias of %s", op->key);
    struct quire_define_request request = QUIRE_DEFINE_INIT;
    request.collection = options.collection;
    request.timeout_ms = options.timeout;
    request.term = alias;
    return quire_define(op->session->client, &request, looked_up, op);
}

static void choose(struct operation *op)
{
    struct session *session = op->session;
    if (below(100) < options.writes) {
        unsigned dice = below(10);
        op->kind = dice < 5 ? ADD : dice < 8 ? PUT : CAS;
    } else {
        static const enum kind reads[] = {GET, GET, DEFINE, FIND, FIND, COUNT, STILL, STILL};
        op->kind = reads[below(sizeof reads / sizeof reads[0])];
    }
    op->reg = below(options.registers);
    pthread_mutex_lock(&lock);
    if (op->kind == FIND && session->member_count == 0)
        op->kind = COUNT;
    else if (op->kind == FIND) /* often the newest: what a replica would miss */
        word(op->key, "m", session->number,
             session->members[below(2) ? session->member_count - 1
                                       : below((unsigned)session->member_count)]);
    if (op->kind == CAS)
        op->expect = session->known[op->reg];
    pthread_mutex_unlock(&lock);
    if (op->kind == COUNT)
        word(op->key, "crowd", session->number, 0);
    else if (op->kind == STILL)
        snprintf(op->key, sizeof op->key, "%s", queries[below(QUERIES)]);
    else if (op->kind <= DEFINE)
        snprintf(op->key, sizeof op->key, "%c register %u", 'a' + (int)(op->reg % 26), op->reg);
}

static void submit(struct session *session)
{
    struct operation *op = calloc(1, sizeof *op);
    if (op == NULL)
        abort();
    op->session = session;
    choose(op);
    pthread_mutex_lock(&lock);
    outstanding++;
    pthread_mutex_unlock(&lock);
    op->start = now_us();
    bool write = op->kind == PUT || op->kind == CAS || op->kind == ADD;
    bool lookup = op->kind == GET || op->kind == DEFINE;
    quire_ticket ticket = write ? submit_write(op) : lookup ? submit_lookup(op) : submit_search(op);
    if (ticket == 0)
        abort();
}

/* ---- the run ---- */

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

/* "a,b,c" from its element `first` on: "b,c,a". */
static void rotated(char *out, size_t size, const char *list, unsigned first)
{
    char copy[1024], *parts[16], *rest = NULL;
    unsigned count = 0;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *part = strtok_r(copy, ",", &rest); part && count < 16;
         part = strtok_r(NULL, ",", &rest))
        parts[count++] = part;
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "," : "",
                                 parts[(first + i) % count]);
}

static int start_sessions(struct session *sessions)
{
    for (unsigned i = 0; i < options.clients; i++) {
        char connect[1024], error[QUIRE_ERROR_SIZE];
        rotated(connect, sizeof connect, options.connect, i);
        struct quire_options client = QUIRE_OPTIONS_INIT;
        client.connect = connect;
        sessions[i].number = i;
        sessions[i].from_primary = client.from_primary = i % 3 == 2;
        if (quire_client_create(&client, &sessions[i].client, error, sizeof error) != QUIRE_OK) {
            fprintf(stderr, "quire_recorder: %s\n", error);
            return 1;
        }
    }
    return 0;
}

static void run(struct session *sessions)
{
    double next = (double)now_us(), end = next + options.seconds * 1e6;
    while (!stopping && next < end) {
        double wait = next - (double)now_us();
        if (wait > 0) {
            struct timespec t = {(time_t)(wait / 1e6), (long)((uint64_t)wait % 1000000 * 1000)};
            nanosleep(&t, NULL);
        }
        submit(&sessions[below(options.clients)]);
        next += -log(1 - uniform()) * 1e6 / options.rate;
    }
    pthread_mutex_lock(&lock);
    while (outstanding > 0)
        pthread_cond_wait(&landed, &lock);
    pthread_mutex_unlock(&lock);
}

static bool option(const char *name, const char *value)
{
    unsigned number = (unsigned)strtoul(value, NULL, 10);
    const struct {
        const char *name;
        unsigned *at;
        unsigned max;
    } numbers[] = {{"--clients", &options.clients, CLIENTS_MAX < 26 ? CLIENTS_MAX : 26},
                   {"--writes", &options.writes, 100},
                   {"--registers", &options.registers, REGISTERS_MAX},
                   {"--timeout", &options.timeout, UINT32_MAX},
                   {"--seed", &options.seed, UINT32_MAX}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i].name) == 0)
            return *numbers[i].at = number, number <= numbers[i].max;
    if (strcmp(name, "--connect") == 0)
        options.connect = value;
    else if (strcmp(name, "--history") == 0)
        options.history = value;
    else if (strcmp(name, "--collection") == 0)
        options.collection = value;
    else if (strcmp(name, "--seconds") == 0)
        options.seconds = strtod(value, NULL);
    else if (strcmp(name, "--rate") == 0)
        options.rate = strtod(value, NULL);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !option(argv[i], argv[i + 1])) {
            fprintf(stderr, "quire_recorder: %s: see the head of tests/fault/recorder.c\n",
                    argv[i]);
            return 2;
        }
    if (!options.connect || !options.history || !(history = fopen(options.history, "w"))) {
        fprintf(stderr,
                "quire_recorder: --connect and a --history that can be written are needed\n");
        return 2;
    }
    setvbuf(history, NULL, _IOLBF, 0);
    srand(options.seed);
    signal(SIGTERM, stop);
    static struct session sessions[CLIENTS_MAX];
    if (start_sessions(sessions) != 0)
        return 1;
    run(sessions);
    for (unsigned i = 0; i < options.clients; i++) {
        quire_client_destroy(sessions[i].client);
        free(sessions[i].members);
    }
    return fclose(history) == 0 ? 0 : 1;
}
