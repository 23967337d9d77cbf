/* The run: requests are begun when their time has come, whether or not those before them were
 * answered (an open loop), and each answer is checked.
 *
 * One thread. A timer wakes it at the next arrival; what is due is begun, and its latency counts
 * from when it was due, so that a cluster (or a client) that stands still is seen by all who would
 * have come meanwhile ("coordinated omission").
 *
 * Reads of the corpus: a headword that was in the collection is found, a word of a headword finds
 * something, the same query is answered alike each time (nobody is to write to the collection
 * meanwhile), an answer is complete. What the run itself writes goes into a collection of its own,
 * and is judged by journal.h; a key is written and read by one client, whose session it belongs to.
 * In the end every key is read once more.
 */
#include "client/load/load.h"
#include "quire_uv.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define OWN_LOOKUPS 4 /* one in so many lookups is of an own key */
#define DELETES 8     /* one in so many writes deletes */
#define AUDIT_UNDER_WAY 64
#define TIMER_SLACK_NS 20000

struct own_key {
    struct journal_key journal;
    unsigned client;
    char headword[64];
};

struct load {
    const struct load_options *options;
    struct corpus *corpus;
    struct figures *figures;
    struct draw draw;
    struct zipf zipf;
    unsigned mix_total;
    uv_loop_t loop;
    struct quire_client **clients;
    struct own_key **keys; /* in use: options->keys; those beyond are retired */
    size_t key_count, key_room;
    uint64_t run_id;

    uv_signal_t signals[2];
    uv_poll_t timer;
    int timer_fd;
    uint64_t start_ns, end_ns, next_ns;
    uint64_t outstanding;
    bool arriving, auditing;
    size_t audited;
    uint64_t last_read_us, last_write_us;
    struct second_figures second;
    struct histogram *of_second;
    uint64_t second_ends_ns;
};

struct operation {
    struct load *load;
    enum load_kind kind;
    uint64_t intended_ns;
    unsigned client;
    struct own_key *key; /* NULL: of the corpus */
    uint64_t floor;
    size_t query;
    bool audit;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what is counted ---- */

static void example(struct load *load, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void example(struct load *load, const char *format, ...)
{
    struct figures *figures = load->figures;
    va_list arguments;
    char text[512];
    if (figures->example_count == LOAD_EXAMPLES)
        return;
    if (figures->examples == NULL)
        figures->examples = calloc(LOAD_EXAMPLES, sizeof(char *));
    int at = snprintf(text, sizeof text, "at %.2f s: ", (double)(now_ns() - load->start_ns) / 1e9);
    va_start(arguments, format);
    vsnprintf(text + at, sizeof text - (size_t)at, format, arguments);
    va_end(arguments);
    if (figures->examples != NULL)
        figures->examples[figures->example_count++] = strdup(text);
}

static void fault(struct load *load, enum load_fault which)
{
    load->figures->faults[which]++;
    load->second.faults++;
}

static void note_gap(uint64_t *last_us, uint64_t *longest_us, uint64_t us)
{
    if (*last_us != 0 && us - *last_us > *longest_us)
        *longest_us = us - *last_us;
    *last_us = us;
}

static void note_good(struct load *load, enum load_kind kind, uint64_t us)
{
    struct kind_figures *figures = &load->figures->kinds[kind];
    figures->ok++;
    load->second.ok++;
    if (!load->arriving)
        return;
    note_gap(&figures->last_ok_us, &figures->longest_gap_us, us);
    if (kind == LOAD_WRITE)
        note_gap(&load->last_write_us, &load->figures->write_gap_us, us);
    else
        note_gap(&load->last_read_us, &load->figures->read_gap_us, us);
}

static void note_end(struct operation *op, int status, const char *error)
{
    struct load *load = op->load;
    struct kind_figures *figures = &load->figures->kinds[op->kind];
    uint64_t now = now_ns(), us = (now - op->intended_ns) / 1000;
    load->outstanding--;
    if (status == QUIRE_OVERLOADED && !op->audit) {
        histogram_add(&figures->refusal, us);
        figures->refused++;
        load->second.refused++;
        return;
    }
    if (!op->audit) {
        histogram_add(&figures->latency, us);
        histogram_add(load->of_second, us);
    }
    if (status == QUIRE_OK) {
        if (!op->audit)
            note_good(load, op->kind, now / 1000);
        return;
    }
    figures->errors++;
    load->second.errors++;
    figures->by_status[status < LOAD_STATUSES ? status : LOAD_STATUSES - 1]++;
    example(load, "%s after %.3f s: %s: %s", load_kind_names[op->kind], (double)us / 1e6,
            quire_strerror(status), error);
}

static void close_second(struct load *load)
{
    struct figures *figures = load->figures;
    load->second.p99_us = histogram_percentile(load->of_second, 99);
    load->second.max_us = load->of_second->max_us;
    if (figures->second_count == figures->second_room) {
        figures->second_room = figures->second_room == 0 ? 64 : 2 * figures->second_room;
        figures->seconds =
            realloc(figures->seconds, figures->second_room * sizeof *figures->seconds);
        if (figures->seconds == NULL)
            abort();
    }
    if (!load->options->quiet)
        report_second(&load->second, figures->second_count);
    figures->seconds[figures->second_count++] = load->second;
    load->second = (struct second_figures){0};
    histogram_clear(load->of_second);
    load->second_ends_ns += 1000000000u;
}

/* ---- own keys ---- */

static struct own_key *new_key(struct load *load)
{
    struct own_key *key = calloc(1, sizeof *key);
    if (load->key_count == load->key_room) {
        load->key_room = load->key_room == 0 ? 64 : 2 * load->key_room;
        load->keys = realloc(load->keys, load->key_room * sizeof(void *));
    }
    if (key == NULL || load->keys == NULL)
        abort();
    key->client = (unsigned)(load->key_count % load->options->clients);
    snprintf(key->headword, sizeof key->headword, "key %zu of run %" PRIx64, load->key_count,
             load->run_id);
    return key;
}

static void add_key(struct load *load)
{
    struct own_key *key = new_key(load);
    load->keys[load->key_count++] = key;
}

/* The slot's key, or a new one in the place of one that is retired, which moves to the end. */
static struct own_key *key_at(struct load *load, size_t slot)
{
    if (load->keys[slot]->journal.retired) {
        add_key(load);
        struct own_key *retired = load->keys[slot];
        load->keys[slot] = load->keys[load->key_count - 1];
        load->keys[load->key_count - 1] = retired;
    }
    return load->keys[slot];
}

static void judge_own(struct operation *op, const struct quire_entries_result *result)
{
    static const int faults[] = {[JOURNAL_LOST] = LOAD_LOST,
                                 [JOURNAL_STALE] = LOAD_STALE,
                                 [JOURNAL_DUPLICATE] = LOAD_DUPLICATE,
                                 [JOURNAL_WRONG] = LOAD_WRONG};
    const struct own_key *key = op->key;
    unsigned long long number = 0;
    if (result->entry_count > 0 && sscanf(result->entries[0]->body, "number %llu", &number) != 1)
        number = 0;
    enum journal_verdict verdict =
        journal_judge(&key->journal, op->floor, result->entry_count, number);
    if (verdict == JOURNAL_RIGHT)
        return;
    /* After the end there is nothing that could be behind: what is old is lost. */
    enum load_fault which = (enum load_fault)faults[verdict];
    if (op->audit && which == LOAD_STALE)
        which = LOAD_LOST;
    fault(op->load, which);
    example(op->load,
            "%s: \"%s\" has %zu entries, number %llu; acknowledged %" PRIu64
            " before, sent %" PRIu64,
            load_fault_names[which], key->headword, result->entry_count, number, op->floor,
            key->journal.sent);
}

/* ---- answers ---- */

static void audit_more(struct load *load);
static void finish_when_done(struct load *load);

static void on_entries(void *data, const struct quire_entries_result *result)
{
    struct operation *op = data;
    struct load *load = op->load;
    note_end(op, result->status, result->error);
    if (result->status == QUIRE_OK && op->key != NULL) {
        judge_own(op, result);
    } else if (result->status == QUIRE_OK && result->entry_count == 0) {
        fault(load, LOAD_LOST);
        example(load, "lost: \"%s\" of the collection is not found",
                load->corpus->headwords[op->query]);
    }
    if (op->audit)
        audit_more(load);
    free(op);
    finish_when_done(load);
}

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u; /* FNV-1a */
    return hash;
}

static uint64_t fingerprint(const struct quire_search_result *result)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < result->hit_count; i++) {
        const struct quire_hit *hit = result->hits[i];
        hash = mix(hash, hit->headword, strlen(hit->headword) + 1);
        hash = mix(hash, hit->sense, strlen(hit->sense) + 1);
        hash = mix(hash, &hit->score_fixed, sizeof hit->score_fixed);
    }
    hash = mix(hash, &result->total, sizeof result->total);
    return hash == 0 ? 1 : hash;
}

static void check_search(struct operation *op, const struct quire_search_result *result)
{
    struct load *load = op->load;
    uint64_t *known = &load->corpus->answers[op->query];
    const char *query = load->corpus->queries[op->query];
    if (!result->complete) {
        fault(load, LOAD_INCOMPLETE);
        example(load, "incomplete: search for \"%s\": %s", query,
                result->missing_count > 0 ? result->missing[0]->reason : "");
        return;
    }
    uint64_t found = fingerprint(result);
    if (*known == 0)
        *known = found;
    if (result->hit_count > 0 && *known == found)
        return;
    fault(load, LOAD_WRONG);
    example(load, "wrong: search for \"%s\" has %zu hits of %" PRIu64 "%s", query,
            result->hit_count, result->total,
            result->hit_count > 0 ? ", others than it had before" : "");
}

static void on_search(void *data, const struct quire_search_result *result)
{
    struct operation *op = data;
    struct load *load = op->load;
    note_end(op, result->status, result->error);
    if (result->status == QUIRE_OK)
        check_search(op, result);
    free(op);
    finish_when_done(load);
}

static void on_browse(void *data, const struct quire_browse_result *result)
{
    struct operation *op = data;
    struct load *load = op->load;
    note_end(op, result->status, result->error);
    if (result->status == QUIRE_OK && result->entry_count == 0) {
        fault(load, LOAD_WRONG);
        example(load, "wrong: a page from \"%s\" on is empty", load->corpus->headwords[op->query]);
    }
    free(op);
    finish_when_done(load);
}

static void on_match(void *data, const struct quire_match_result *result)
{
    struct operation *op = data;
    struct load *load = op->load;
    note_end(op, result->status, result->error);
    if (result->status == QUIRE_OK && result->name_count == 0) {
        fault(load, LOAD_LOST);
        example(load, "lost: no name matches \"%s\"", load->corpus->headwords[op->query]);
    }
    free(op);
    finish_when_done(load);
}

/* What was refused before it was sent, or by itself, was surely not written. */
static bool surely_not_written(int status)
{
    return status == QUIRE_FULL || status == QUIRE_INVALID || status == QUIRE_TOO_LARGE ||
           status == QUIRE_NOT_FOUND;
}

static void on_write(void *data, const struct quire_write_result *result)
{
    struct operation *op = data;
    struct load *load = op->load;
    note_end(op, result->status, result->error);
    if (result->status == QUIRE_OK) {
        journal_acknowledged(&op->key->journal);
    } else if (surely_not_written(result->status)) {
        journal_refused(&op->key->journal);
    } else {
        journal_unknown(&op->key->journal);
        load->figures->unknown++;
    }
    free(op);
    finish_when_done(load);
}

/* ---- requests ---- */

static quire_ticket get(struct operation *op, const char *collection, const char *headword)
{
    struct quire_get_request request = QUIRE_GET_INIT;
    request.collection = collection;
    request.headword = headword;
    return quire_get(op->load->clients[op->client], &request, on_entries, op);
}

static quire_ticket begin_lookup(struct operation *op)
{
    struct load *load = op->load;
    if (load->options->mix[LOAD_WRITE] > 0 && draw_below(&load->draw, OWN_LOOKUPS) == 0) {
        op->key = load->keys[draw_below(&load->draw, load->options->keys)];
        op->client = op->key->client;
        op->floor = op->key->journal.acknowledged;
        return get(op, LOAD_OWN_COLLECTION, op->key->headword);
    }
    op->query = zipf_draw(&load->zipf, &load->draw);
    return get(op, load->options->collection, load->corpus->headwords[op->query]);
}

static quire_ticket begin_search(struct operation *op)
{
    struct load *load = op->load;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    op->query = zipf_draw(&load->zipf, &load->draw) % load->corpus->query_count;
    request.collection = load->options->collection;
    request.query = load->corpus->queries[op->query];
    return quire_search(load->clients[op->client], &request, on_search, op);
}

static quire_ticket begin_browse(struct operation *op)
{
    struct load *load = op->load;
    struct quire_browse_request request = QUIRE_BROWSE_INIT;
    op->query = zipf_draw(&load->zipf, &load->draw);
    request.collection = load->options->collection;
    request.from = load->corpus->headwords[op->query];
    return quire_browse(load->clients[op->client], &request, on_browse, op);
}

static quire_ticket begin_match(struct operation *op)
{
    struct load *load = op->load;
    struct quire_match_request request = QUIRE_MATCH_INIT;
    op->query = zipf_draw(&load->zipf, &load->draw);
    request.collection = load->options->collection;
    request.word = load->corpus->headwords[op->query];
    return quire_match(load->clients[op->client], &request, on_match, op);
}

static quire_ticket put(struct operation *op, uint64_t number)
{
    struct quire_put_request request = QUIRE_PUT_INIT;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    char body[64];
    snprintf(body, sizeof body, "number %" PRIu64, number);
    entry.headword = op->key->headword;
    entry.body = body;
    request.collection = LOAD_OWN_COLLECTION;
    request.entry = &entry;
    return quire_put(op->load->clients[op->client], &request, on_write, op);
}

static quire_ticket remove_own(struct operation *op)
{
    struct quire_delete_request request = QUIRE_DELETE_INIT;
    request.collection = LOAD_OWN_COLLECTION;
    request.headword = op->key->headword;
    return quire_delete(op->load->clients[op->client], &request, on_write, op);
}

/* A key that is not being written; with all of them under way there is one more. */
static struct own_key *idle_key(struct load *load)
{
    size_t first = (size_t)draw_below(&load->draw, load->options->keys);
    for (size_t i = 0; i < load->options->keys; i++) {
        struct own_key *key = key_at(load, (first + i) % load->options->keys);
        if (!key->journal.under_way)
            return key;
    }
    add_key(load);
    return load->keys[load->key_count - 1];
}

static quire_ticket begin_write(struct operation *op)
{
    struct load *load = op->load;
    bool deletes = draw_below(&load->draw, DELETES) == 0;
    op->key = idle_key(load);
    op->client = op->key->client;
    uint64_t number = journal_begin(&op->key->journal, deletes);
    return deletes ? remove_own(op) : put(op, number);
}

static quire_ticket (*const BEGIN[LOAD_KINDS])(struct operation *op) = {
    begin_lookup, begin_search, begin_browse, begin_match, begin_write};

static enum load_kind draw_kind(struct load *load)
{
    uint64_t at = draw_below(&load->draw, load->mix_total);
    int kind = 0;
    while (at >= load->options->mix[kind])
        at -= load->options->mix[kind++];
    return (enum load_kind)kind;
}

static struct operation *operation_new(struct load *load, enum load_kind kind, uint64_t intended_ns)
{
    struct operation *op = calloc(1, sizeof *op);
    if (op == NULL)
        abort();
    *op = (struct operation){.load = load,
                             .kind = kind,
                             .intended_ns = intended_ns,
                             .client = (unsigned)draw_below(&load->draw, load->options->clients)};
    return op;
}

static void arrive(struct load *load, uint64_t intended_ns)
{
    struct operation *op = operation_new(load, draw_kind(load), intended_ns);
    load->figures->kinds[op->kind].sent++;
    load->second.sent++;
    load->outstanding++;
    if (BEGIN[op->kind](op) != 0)
        return;
    load->outstanding--; /* memory is out, or the client is closing */
    load->figures->not_sent++;
    if (op->kind == LOAD_WRITE)
        journal_refused(&op->key->journal);
    free(op);
}

/* ---- the end ---- */

static void close_clients(struct load *load)
{
    for (unsigned i = 0; i < load->options->clients; i++)
        quire_client_close(load->clients[i], NULL, NULL);
}

static void audit_more(struct load *load)
{
    if (load->audited == load->key_count || load->options->mix[LOAD_WRITE] == 0)
        return;
    struct operation *op = operation_new(load, LOAD_LOOKUP, now_ns());
    op->audit = true;
    op->key = load->keys[load->audited++];
    op->client = op->key->client;
    op->floor = op->key->journal.acknowledged;
    load->outstanding++;
    load->figures->audited++;
    if (get(op, LOAD_OWN_COLLECTION, op->key->headword) == 0)
        abort();
}

static void finish_when_done(struct load *load)
{
    if (load->arriving || load->outstanding > 0)
        return;
    if (!load->auditing) {
        load->auditing = true;
        for (int i = 0; i < AUDIT_UNDER_WAY; i++)
            audit_more(load);
    }
    if (load->outstanding == 0)
        close_clients(load);
}

static void stop_arrivals(struct load *load)
{
    uint64_t us = now_ns() / 1000;
    load->arriving = false;
    load->figures->took_s = (double)(now_ns() - load->start_ns) / 1e9;
    if (load->last_read_us != 0)
        note_gap(&load->last_read_us, &load->figures->read_gap_us, us);
    if (load->last_write_us != 0)
        note_gap(&load->last_write_us, &load->figures->write_gap_us, us);
    uv_poll_stop(&load->timer);
    uv_close((uv_handle_t *)&load->timer, NULL);
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&load->signals[i], NULL);
    finish_when_done(load);
}

/* ---- the arrivals ---- */

static void set_timer(struct load *load)
{
    struct itimerspec at = {
        .it_value = {(time_t)(load->next_ns / 1000000000u), (long)(load->next_ns % 1000000000u)}};
    timerfd_settime(load->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_timer(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    struct load *load = handle->data;
    uint64_t expirations;
    if (read(load->timer_fd, &expirations, sizeof expirations) < 0)
        expirations = 0;
    uint64_t now = now_ns();
    while (load->next_ns <= now + TIMER_SLACK_NS && load->next_ns < load->end_ns) {
        arrive(load, load->next_ns);
        load->next_ns += draw_pause_ns(&load->draw, load->options->rate);
    }
    while (now >= load->second_ends_ns)
        close_second(load);
    if (now >= load->end_ns) {
        stop_arrivals(load);
        return;
    }
    uint64_t next = load->next_ns;
    if (load->next_ns > load->end_ns || load->next_ns > load->second_ends_ns)
        load->next_ns = load->end_ns < load->second_ends_ns ? load->end_ns : load->second_ends_ns;
    set_timer(load);
    load->next_ns = next;
}

/* Nothing more arrives; what is under way is waited for, and all is reported. The next signal ends
 * the process. */
static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct load *load = handle->data;
    uint64_t now = now_ns();
    for (size_t i = 0; i < 2; i++)
        uv_signal_stop(&load->signals[i]);
    load->end_ns = now < load->end_ns ? now : load->end_ns;
    load->next_ns = load->end_ns;
    set_timer(load);
}

static void watch_signals(struct load *load)
{
    static const int numbers[2] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&load->loop, &load->signals[i]);
        load->signals[i].data = load;
        uv_signal_start(&load->signals[i], on_signal, numbers[i]);
    }
}

static bool start_timer(struct load *load)
{
    load->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (load->timer_fd < 0 || uv_poll_init(&load->loop, &load->timer, load->timer_fd) != 0)
        return false;
    uint64_t duration = (uint64_t)(load->options->duration * 1e9);
    load->timer.data = load;
    load->start_ns = now_ns();
    load->end_ns = load->start_ns + duration;
    load->second_ends_ns = load->start_ns + 1000000000u;
    load->next_ns = load->start_ns + draw_pause_ns(&load->draw, load->options->rate);
    load->last_read_us = load->last_write_us = 0;
    load->arriving = true;
    watch_signals(load);
    uv_poll_start(&load->timer, UV_READABLE, on_timer);
    set_timer(load);
    return true;
}

/* ---- life ---- */

/* With requests of its own, before the loop runs. */
static bool make_collection(const struct load_options *options, bool drop)
{
    struct quire_options settings = QUIRE_OPTIONS_INIT;
    struct quire_collection_request request = QUIRE_COLLECTION_INIT;
    struct quire_simple_request gone = QUIRE_SIMPLE_INIT;
    const struct quire_collection_result *made = NULL;
    const struct quire_result *dropped = NULL;
    struct quire_client *client;
    char error[QUIRE_ERROR_SIZE];
    bool good = true;
    settings.connect = options->connect;
    settings.timeout_ms = 30000;
    if (quire_client_create(&settings, &client, error, sizeof error) != QUIRE_OK)
        return false;
    request.collection = gone.collection = LOAD_OWN_COLLECTION;
    if (drop) {
        (void)quire_collection_drop_wait(client, &gone, &dropped);
    } else {
        int status = quire_collection_create_wait(client, &request, &made);
        good = status == QUIRE_OK || status == QUIRE_EXISTS;
        if (!good)
            fprintf(stderr, "quire-load: collection \"%s\" cannot be created: %s\n",
                    LOAD_OWN_COLLECTION, made->error);
    }
    quire_result_free(made);
    quire_result_free(dropped);
    quire_client_destroy(client);
    return good;
}

static bool start_clients(struct load *load)
{
    struct quire_options settings = QUIRE_OPTIONS_INIT;
    char error[QUIRE_ERROR_SIZE];
    settings.connect = load->options->connect;
    settings.timeout_ms = load->options->timeout_ms;
    settings.no_retry = load->options->no_retry;
    load->clients = calloc(load->options->clients, sizeof(void *));
    for (unsigned i = 0; load->clients != NULL && i < load->options->clients; i++) {
        if (quire_client_create_on_loop(&settings, &load->loop, &load->clients[i], error,
                                        sizeof error) != QUIRE_OK) {
            fprintf(stderr, "quire-load: %s\n", error);
            return false;
        }
    }
    return load->clients != NULL;
}

static void free_load(struct load *load)
{
    for (size_t i = 0; i < load->key_count; i++)
        free(load->keys[i]);
    free(load->keys);
    free(load->clients);
    free(load->of_second);
    zipf_deinit(&load->zipf);
    close(load->timer_fd);
}

bool load_run(const struct load_options *options, struct corpus *corpus, struct figures *figures)
{
    struct load load = {.options = options, .corpus = corpus, .figures = figures};
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    load.run_id = (uint64_t)wall.tv_sec << 20 ^ (uint64_t)getpid();
    draw_seed(&load.draw, options->seed);
    for (int i = 0; i < LOAD_KINDS; i++)
        load.mix_total += options->mix[i];
    load.of_second = calloc(1, sizeof *load.of_second);
    if (load.of_second == NULL || !zipf_init(&load.zipf, corpus->headword_count, options->zipf))
        abort();
    for (unsigned i = 0; i < options->keys; i++)
        add_key(&load);
    if (options->mix[LOAD_WRITE] > 0 && !make_collection(options, false))
        return false;
    uv_loop_init(&load.loop);
    if (!start_clients(&load) || !start_timer(&load))
        return false;
    uv_run(&load.loop, UV_RUN_DEFAULT);
    uv_loop_close(&load.loop);
    if (options->mix[LOAD_WRITE] > 0 && !options->keep)
        make_collection(options, true);
    free_load(&load);
    return true;
}
