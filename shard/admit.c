#include "shard/admit.h"

#include "proto/base/clock.h"
#include "shard/server_internal.h"

#include <stdlib.h>

#define WHO "the shard"

struct worker {          /* a query thread's turn */
    struct pool_job job; /* first */
    struct list link;    /* in `idle`, while it has nothing to do */
    struct admit *admit;
    struct work *work; /* that it begins with */
};

struct admit {
    struct server *server;
    pthread_mutex_t lock; /* everything below */
    struct admission policy;
    struct list queues[ADMISSION_CLASSES]; /* work */
    struct list idle;
    struct worker workers[];
};

static uint64_t deadline_us(const struct rpc_request *request)
{
    return request->deadline_ms * 1000;
}

static void set_up(struct admit *admit, const struct server_settings *settings)
{
    uint32_t threads = (uint32_t)settings->threads;
    uint32_t target = settings->queue_target_ms == 0                  ? ADMISSION_TARGET_MS
                      : settings->queue_target_ms == SERVER_NO_TARGET ? 0
                                                                      : settings->queue_target_ms;
    uint32_t queue = settings->queue_limit != 0 ? settings->queue_limit : SERVER_READ_QUEUE;
    struct admission_settings rules = {.slots = threads};
    const struct admission_class_settings read = {
        .slots = threads, .queue = queue, .weight = 4, .target_us = target * 1000};
    rules.classes[ADMISSION_CHEAP] = rules.classes[ADMISSION_SEARCH] =
        rules.classes[ADMISSION_HEAVY] = read;
    /* What takes long anyway may wait longer. */
    rules.classes[ADMISSION_HEAVY].target_us *= 10;
    rules.classes[ADMISSION_HEAVY].weight = 1;
    rules.classes[ADMISSION_HEAVY].slots = threads > 1 ? threads - 1 : 1;
    rules.classes[ADMISSION_WRITE] = (struct admission_class_settings){
        .slots = 1, .queue = WRITE_QUEUE_MAX, .weight = 1, .external = true};
    admission_init(&admit->policy, &rules);
}

struct admit *admit_create(struct server *server)
{
    size_t count = (size_t)server->settings.threads;
    struct admit *admit = calloc(1, sizeof *admit + count * sizeof admit->workers[0]);
    if (admit == NULL)
        return NULL;
    admit->server = server;
    pthread_mutex_init(&admit->lock, NULL);
    set_up(admit, &server->settings);
    for (int i = 0; i < ADMISSION_CLASSES; i++)
        list_init(&admit->queues[i]);
    list_init(&admit->idle);
    for (size_t i = 0; i < count; i++) {
        admit->workers[i].admit = admit;
        list_push(&admit->idle, &admit->workers[i].link);
    }
    return admit;
}

void admit_destroy(struct admit *admit)
{
    if (admit == NULL)
        return;
    pthread_mutex_destroy(&admit->lock);
    free(admit);
}

static void refuse(struct admit *admit, struct rpc_request *request, enum admission_class class,
                   const struct admission_refusal *why)
{
    struct err err = {0};
    admission_error(class, why, WHO, &err);
    serve_error(admit->server, request, &err);
}

/* ---- reads ---- */

static enum admission_class class_of(const struct rpc_request *request)
{
    if (request->heavy)
        return ADMISSION_HEAVY;
    switch (request->kind) {
    case QUIRE__KIND__KIND_SHARD_STATS:
    case QUIRE__KIND__KIND_SHARD_SEARCH:
    case QUIRE__KIND__KIND_SHARD_EXPLAIN:
    case QUIRE__KIND__KIND_SHARD_MATCH:
        return ADMISSION_SEARCH;
    default:
        return ADMISSION_CHEAP;
    }
}

/* The next one whose turn it is; with the lock held, which is let go while others are refused.
 * NULL: none. */
static struct work *next_work(struct admit *admit)
{
    enum admission_class class;
    while ((class = admission_next(&admit->policy)) != ADMISSION_NONE) {
        struct work *work = list_entry(list_shift(&admit->queues[class]), struct work, job.link);
        struct rpc_request *request = work->request;
        struct admission_refusal why;
        if (admission_take(&admit->policy, class, clock_us(), request->read_us,
                           deadline_us(request), !rpc_request_abandoned(request), &why))
            return work;
        pthread_mutex_unlock(&admit->lock);
        refuse(admit, request, class, &why);
        free(work);
        pthread_mutex_lock(&admit->lock);
    }
    return NULL;
}

static void run_worker(struct pool_job *job)
{
    struct worker *worker = (struct worker *)job;
    struct admit *admit = worker->admit;
    struct work *work = worker->work;
    while (work != NULL) {
        enum admission_class class = work->request->class;
        uint64_t began = clock_us();
        work->job.run(&work->job);
        uint64_t now = clock_us();
        pthread_mutex_lock(&admit->lock);
        admission_end(&admit->policy, class, now, now - began);
        work = next_work(admit);
        if (work == NULL)
            list_push(&admit->idle, &worker->link);
        pthread_mutex_unlock(&admit->lock);
    }
}

void admit_read(struct admit *admit, struct work *work)
{
    struct rpc_request *request = work->request;
    enum admission_class class = class_of(request);
    struct admission_refusal why;
    struct worker *worker = NULL;
    request->class = (uint8_t) class;
    pthread_mutex_lock(&admit->lock);
    enum admission_verdict verdict = admission_arrive(&admit->policy, class, clock_us(),
                                                      request->read_us, deadline_us(request), &why);
    if (verdict == ADMISSION_WAIT) {
        list_push(&admit->queues[class], &work->job.link);
    } else if (verdict == ADMISSION_START) {
        /* Fewer are at work than there are threads: one of the workers is idle. */
        worker = list_entry(list_shift(&admit->idle), struct worker, link);
        worker->work = work;
        worker->job.run = run_worker;
    }
    pthread_mutex_unlock(&admit->lock);
    if (verdict == ADMISSION_REFUSE) {
        refuse(admit, request, class, &why);
        free(work);
    } else if (worker != NULL && pool_submit(admit->server->query, &worker->job) != 0) {
        abort(); /* its queue has room for every worker */
    }
}

/* ---- the others ---- */

bool admit_write(struct admit *admit, struct rpc_request *request)
{
    struct admission_refusal why;
    uint64_t now = clock_us();
    pthread_mutex_lock(&admit->lock);
    enum admission_verdict verdict = admission_arrive(&admit->policy, ADMISSION_WRITE, now,
                                                      request->read_us, deadline_us(request), &why);
    pthread_mutex_unlock(&admit->lock);
    if (verdict == ADMISSION_START) {
        request->class = ADMISSION_WRITE;
        request->began_us = now;
        return true;
    }
    refuse(admit, request, ADMISSION_WRITE, &why);
    return false;
}

void admit_write_ended(struct admit *admit, struct rpc_request *request)
{
    if (request->class != ADMISSION_WRITE || request->began_us == 0)
        return;
    uint64_t now = clock_us();
    pthread_mutex_lock(&admit->lock);
    admission_end(&admit->policy, ADMISSION_WRITE, now, now - request->began_us);
    pthread_mutex_unlock(&admit->lock);
}

static void refuse_for(struct admit *admit, struct rpc_request *request, enum admission_class class,
                       enum admission_reason reason, uint32_t retry_after_ms)
{
    const struct admission_refusal why = {.reason = reason, .retry_after_ms = retry_after_ms};
    pthread_mutex_lock(&admit->lock);
    admission_count(&admit->policy, class, reason);
    pthread_mutex_unlock(&admit->lock);
    refuse(admit, request, class, &why);
}

void admit_full(struct admit *admit, struct rpc_request *request, enum admission_class class)
{
    refuse_for(admit, request, class, ADMISSION_FULL, ADMISSION_INTERVAL_US / 1000);
}

bool admit_aside(struct admit *admit, struct rpc_request *request)
{
    pthread_mutex_lock(&admit->lock);
    bool refused = admit->policy.pressure >= ADMISSION_NO_HEAVY;
    pthread_mutex_unlock(&admit->lock);
    if (refused)
        refuse_for(admit, request, ADMISSION_HEAVY, ADMISSION_MEMORY, ADMISSION_MEMORY_RETRY_MS);
    return !refused;
}

void admit_pressure(struct admit *admit, enum admission_pressure pressure)
{
    pthread_mutex_lock(&admit->lock);
    admit->policy.pressure = pressure;
    pthread_mutex_unlock(&admit->lock);
}

void admit_look(struct admit *admit, struct admission *out)
{
    pthread_mutex_lock(&admit->lock);
    *out = admit->policy;
    pthread_mutex_unlock(&admit->lock);
}
