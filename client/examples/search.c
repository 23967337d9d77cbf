/* Searches a Quire cluster and prints the best hits: a complete program on libquire.
 *
 *     cc search.c -o search $(pkg-config --cflags --libs quire)
 *     ./search ai "gradient descent"
 *
 * It connects to the coordinators named by QUIRE_CONNECT, or to tcp://127.0.0.1:7400. First it asks
 * in the simplest way, by a call that waits. Then it looks up the definitions of all hits at once,
 * asynchronously: the requests travel together, and the answers come to a callback on the library's
 * thread.
 */
#include <pthread.h>
#include <quire.h>
#include <stdio.h>

struct lookups {
    pthread_mutex_t lock;
    pthread_cond_t all_done;
    size_t left;
    size_t bytes; /* of definitions */
};

/* On the library's thread, once for each request. */
static void looked_up(void *data, const struct quire_entries_result *result)
{
    struct lookups *lookups = data;
    pthread_mutex_lock(&lookups->lock);
    if (result->status == QUIRE_OK) {
        for (size_t i = 0; i < result->entry_count; i++)
            lookups->bytes += result->entries[i]->body_size;
    } else {
        fprintf(stderr, "search: %s\n", result->error);
    }
    if (--lookups->left == 0)
        pthread_cond_signal(&lookups->all_done);
    pthread_mutex_unlock(&lookups->lock);
}

static void look_up_all(struct quire_client *client, const char *collection,
                        const struct quire_search_result *found)
{
    struct lookups lookups = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, found->hit_count,
                              0};
    for (size_t i = 0; i < found->hit_count; i++) {
        struct quire_get_request get = QUIRE_GET_INIT;
        get.collection = collection;
        get.headword = found->hits[i]->headword;
        get.sense = found->hits[i]->sense;
        if (quire_get(client, &get, looked_up, &lookups) ==
            0) { /* not taken: no callback will come */
            pthread_mutex_lock(&lookups.lock);
            lookups.left--;
            pthread_mutex_unlock(&lookups.lock);
        }
    }
    pthread_mutex_lock(&lookups.lock);
    while (lookups.left > 0)
        pthread_cond_wait(&lookups.all_done, &lookups.lock);
    pthread_mutex_unlock(&lookups.lock);
    printf("%zu bytes of definitions\n", lookups.bytes);
}

int main(int argc, char **argv)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result = NULL;
    struct quire_client *client = NULL;
    char error[QUIRE_ERROR_SIZE];
    int status;

    if (argc != 3) {
        fprintf(stderr, "usage: search COLLECTION QUERY\n");
        return 2;
    }
    options.timeout_ms = 5000;
    if (quire_client_create(&options, &client, error, sizeof(error)) != QUIRE_OK) {
        fprintf(stderr, "search: %s\n", error);
        return 2;
    }
    request.collection = argv[1];
    request.query = argv[2];
    request.limit = 10;
    status = quire_search_wait(client, &request, &result);
    if (status == QUIRE_OK) {
        printf("%llu entries\n", (unsigned long long)result->total);
        for (size_t i = 0; i < result->hit_count; i++)
            printf("%8.4f  %s\n", result->hits[i]->score, result->hits[i]->headword);
        if (!result->complete)
            printf("(%zu parts of the collection did not answer)\n", result->missing_count);
        look_up_all(client, argv[1], result);
    } else {
        fprintf(stderr, "search: %s\n", result ? result->error : quire_strerror(status));
    }
    quire_result_free(result);
    quire_client_destroy(client);
    return status == QUIRE_OK ? 0 : 1;
}
