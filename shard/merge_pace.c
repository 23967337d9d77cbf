#include "shard/merge_pace.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/rate_limit.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#define SECOND 1000000000u

struct merge_pace {
    struct merge_clock clock;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a stop, or the limit was lifted */
    struct rate_limit limit;
    uint32_t behind; /* ranges; above 0: lifted */
};

static uint64_t machine_now(void *data)
{
    return clock_ns();
}

static void machine_wait(void *data, pthread_cond_t *changed, pthread_mutex_t *lock,
                         uint64_t until_ns)
{
    struct timespec until = {(time_t)(until_ns / SECOND), (long)(until_ns % SECOND)};
    if (until_ns == UINT64_MAX)
        pthread_cond_wait(changed, lock);
    else
        pthread_cond_timedwait(changed, lock, &until);
}

struct merge_pace *merge_pace_create(uint64_t bytes_per_second, const struct merge_clock *clock)
{
    static const struct merge_clock machine = {machine_now, machine_wait, NULL};
    struct merge_pace *pace = calloc(1, sizeof *pace);
    pthread_condattr_t monotonic;
    if (pace == NULL)
        return NULL;
    pace->clock = clock != NULL ? *clock : machine;
    pace->limit.bytes_per_second = bytes_per_second;
    pthread_mutex_init(&pace->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pace->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return pace;
}

void merge_pace_destroy(struct merge_pace *pace)
{
    if (pace == NULL)
        return;
    assert(pace->behind == 0);
    pthread_mutex_destroy(&pace->lock);
    pthread_cond_destroy(&pace->changed);
    free(pace);
}

void merge_pace_take(struct merge_pace *pace, size_t bytes, const _Atomic bool *stop)
{
    const struct merge_clock *clock = &pace->clock;
    if (pace->limit.bytes_per_second == 0)
        return;
    pthread_mutex_lock(&pace->lock);
    if (pace->behind == 0) {
        uint64_t until = rate_limit_take(&pace->limit, bytes, clock->now_ns(clock->data));
        while (pace->behind == 0 && !atomic_load(stop) && clock->now_ns(clock->data) < until)
            clock->wait(clock->data, &pace->changed, &pace->lock, until);
    }
    pthread_mutex_unlock(&pace->lock);
}

void merge_pace_wake(struct merge_pace *pace)
{
    pthread_mutex_lock(&pace->lock); /* else between a waiter's look and its wait */
    pthread_cond_broadcast(&pace->changed);
    pthread_mutex_unlock(&pace->lock);
}

void merge_pace_behind(struct merge_pace *pace, bool behind)
{
    pthread_mutex_lock(&pace->lock);
    assert(behind || pace->behind > 0);
    pace->behind += behind ? 1 : -1;
    bool turned = pace->behind == (behind ? 1 : 0);
    pthread_cond_broadcast(&pace->changed);
    pthread_mutex_unlock(&pace->lock);
    if (turned && pace->limit.bytes_per_second > 0)
        log_event(LOG_INFO, behind ? "merges fall behind: they are not limited for now"
                                   : "merges have caught up: they are limited again");
}
