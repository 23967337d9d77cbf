/* What the tests of libquire share: clients, a collector of callbacks, simple answers of the fake
 * coordinator. */
#ifndef QUIRE_TESTS_LIBQUIRE_HELPERS_H
#define QUIRE_TESTS_LIBQUIRE_HELPERS_H

#include "proto/base/clock.h"
#include "quire.h"
#include "unit/fake_coordinator.h"

static inline struct quire_client *connect_with(const char *urls, struct quire_options *options)
{
    struct quire_client *client;
    char error[QUIRE_ERROR_SIZE];
    options->connect = urls;
    if (quire_client_create(options, &client, error, sizeof(error)) != QUIRE_OK)
        fail_msg("%s", error);
    return client;
}

static inline struct quire_client *connect_to(const struct fake *fake)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    return connect_with(fake->url, &options);
}

/* Collects callbacks. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned count;
    unsigned by_status[32];
    char error[QUIRE_ERROR_SIZE];
};
#define SEEN_INIT                                                                                  \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0},                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static inline void see(struct seen *seen, int status, const char *error)
{
    pthread_mutex_lock(&seen->lock);
    seen->count++;
    seen->by_status[status]++;
    snprintf(seen->error, sizeof(seen->error), "%s", error);
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static inline void see_search(void *data, const struct quire_search_result *result)
{
    see(data, result->status, result->error);
}

static inline void see_write(void *data, const struct quire_write_result *result)
{
    see(data, result->status, result->error);
}

static inline void wait_until(struct seen *seen, unsigned count)
{
    pthread_mutex_lock(&seen->lock);
    while (seen->count < count)
        pthread_cond_wait(&seen->changed, &seen->lock);
    pthread_mutex_unlock(&seen->lock);
}

static inline void sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

static inline void wait_requests(struct fake *fake, unsigned count)
{
    for (int i = 0; i < 500 && atomic_load(&fake->requests) < count; i++)
        sleep_ms(10);
    assert_true(atomic_load(&fake->requests) >= count);
}

static inline void reply_search(struct rpc_request *request, const char *headword)
{
    Quire__SearchReply reply = QUIRE__SEARCH_REPLY__INIT;
    Quire__Hit hit = QUIRE__HIT__INIT;
    Quire__Hit *hits[] = {&hit};
    hit.headword = (char *)(uintptr_t)headword;
    hit.score = 3 << 19;
    reply.hits = hits;
    reply.n_hits = 1;
    reply.total = 1;
    reply.complete = true;
    fake_reply(request, QUIRE__KIND__KIND_SEARCH + 1, &reply.base);
}

static inline void answer_search(void *data, struct rpc_request *request)
{
    reply_search(request, "model");
}

static inline void answer_nothing(void *data, struct rpc_request *request)
{
    fake_hold(data, request);
}

#endif
