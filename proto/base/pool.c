#include "proto/base/pool.h"

#include "proto/base/err.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list queue;
    size_t depth;
    size_t limit;
    bool stopping;
    int threads;
    char name[16];
    pthread_t thread[];
};

static void *pool_main(void *data)
{
    struct pool *pool = data;
    pthread_setname_np(pthread_self(), pool->name);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct list *link = list_shift(&pool->queue);
        if (link) {
            pool->depth--;
            pthread_mutex_unlock(&pool->lock);
            struct pool_job *job = list_entry(link, struct pool_job, link);
            job->run(job);
            pthread_mutex_lock(&pool->lock);
        } else if (pool->stopping) {
            break;
        } else {
            pthread_cond_wait(&pool->work, &pool->lock);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct pool *pool_create(const char *name, int threads, size_t queue_limit)
{
    assert(threads > 0);
    struct pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof pool->thread[0]);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    list_init(&pool->queue);
    pool->limit = queue_limit;
    snprintf(pool->name, sizeof pool->name, "%s", name);
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&pool->thread[i], NULL, pool_main, pool)) {
            pool_destroy(pool);
            return NULL;
        }
        pool->threads++;
    }
    return pool;
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int pool_submit(struct pool *pool, struct pool_job *job)
{
    int status = ERR_FULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->depth < pool->limit) {
        list_push(&pool->queue, &job->link);
        pool->depth++;
        pthread_cond_signal(&pool->work);
        status = 0;
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

size_t pool_depth(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    size_t depth = pool->depth;
    pthread_mutex_unlock(&pool->lock);
    return depth;
}
