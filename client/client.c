/* The life of a client: its loop and thread, and the door through which other threads reach it.
 *
 * Closing. quire_client_destroy() (or quire_client_close()) shuts the door: from then on requests
 * are not taken. The loop's thread ends what waits, then rpc_close() ends what is being called;
 * when that is done the timer and the async handle are closed, and the last close callback ends the
 * loop's thread by leaving the loop without handles (or, on a loop of the caller's, frees the
 * client and tells).
 */
#include "client/core.h"
#include "client/encode.h"
#include "proto/base/clock.h"
#include "quire_uv.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct rpc_identity identity = {RPC_ROLE_CLIENT, "", ""};

static void free_client(struct quire_client *client)
{
    session_deinit(&client->session);
    struct list *link;
    assert(list_empty(&client->waiting) && list_empty(&client->calling));
    assert(list_empty(&client->door.incoming) && client->door.outstanding == 0);
    while ((link = list_shift(&client->door.lanes)) != NULL)
        free(list_entry(link, struct lane, link));
    buf_deinit(&client->door.cancels);
    pthread_mutex_destroy(&client->door.lock);
    free(client);
}

/* ---- closing, on the loop's thread ---- */

static void handle_closed(uv_handle_t *handle)
{
    struct quire_client *client = handle->data;
    void (*closed)(void *data) = client->closed;
    void *data = client->closed_data;
    if (--client->handles > 0 || client->owns_loop)
        return;
    free_client(client);
    if (closed != NULL)
        closed(data);
}

static void rpc_closed(void *data)
{
    struct quire_client *client = data;
    client->rpc = NULL;
    uv_close((uv_handle_t *)&client->tick, handle_closed);
    uv_close((uv_handle_t *)&client->async, handle_closed);
}

static void stop(struct quire_client *client)
{
    if (client->stopping)
        return;
    dispatch_stop(client);
    rpc_close(client->rpc, rpc_closed, client);
}

/* ---- the door ---- */

static void door_opened(uv_async_t *async)
{
    struct quire_client *client = async->data;
    struct door *door = &client->door;
    struct list incoming;
    struct list *link;
    struct buf cancels;
    bool close_asked;

    list_init(&incoming);
    pthread_mutex_lock(&door->lock);
    list_splice(&incoming, &door->incoming);
    cancels = door->cancels;
    buf_init(&door->cancels);
    close_asked = door->close_asked;
    pthread_mutex_unlock(&door->lock);

    while ((link = list_shift(&incoming)) != NULL)
        dispatch_request(list_entry(link, struct request, link));
    for (size_t at = 0; at < cancels.size; at += sizeof(quire_ticket)) {
        quire_ticket ticket;
        memcpy(&ticket, cancels.data + at, sizeof(ticket));
        dispatch_cancel(client, ticket);
    }
    buf_deinit(&cancels);
    if (close_asked)
        stop(client);
}

void quire_cancel(struct quire_client *client, quire_ticket ticket)
{
    struct door *door = &client->door;
    if (ticket == 0 || client->pid != getpid())
        return;
    pthread_mutex_lock(&door->lock);
    if (!door->closing) {
        buf_append(&door->cancels, &ticket, sizeof(ticket));
        uv_async_send(&client->async);
    }
    pthread_mutex_unlock(&door->lock);
}

bool client_on_loop(const struct quire_client *client)
{
    return pthread_equal(client->thread, pthread_self());
}

static void ask_to_close(struct quire_client *client)
{
    pthread_mutex_lock(&client->door.lock);
    client->door.closing = client->door.close_asked = true;
    uv_async_send(&client->async);
    pthread_mutex_unlock(&client->door.lock);
}

/* ---- creation ---- */

static void *run_loop(void *data)
{
    struct quire_client *client = data;
    pthread_setname_np(pthread_self(), "quire-client");
    uv_run(client->loop, UV_RUN_DEFAULT);
    return NULL;
}

static int options_take(struct quire_client *client, const struct quire_options *options,
                        struct err *err)
{
    struct quire_options copy = QUIRE_OPTIONS_INIT;
    if (options != NULL && struct_copy(&copy, sizeof(copy), options, "options", err) != 0)
        return err->code;
    client->timeout_ms = copy.timeout_ms ? copy.timeout_ms : CLIENT_TIMEOUT_MS;
    client->connect_timeout_ms = copy.connect_timeout_ms;
    session_init(&client->session, copy.from_primary);
    client->session.one_replica = copy.one_replica;
    client->session.replica = copy.replica;
    client->no_retry = copy.no_retry;
    client->max_outstanding = copy.max_outstanding ? copy.max_outstanding : CLIENT_OUTSTANDING_MAX;
    return coordinators_parse(copy.connect, &client->coordinators, err);
}

static struct quire_client *allocate(const struct quire_options *options, struct err *err)
{
    struct quire_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (options_take(client, options, err) != 0) {
        free(client);
        return NULL;
    }
    client->pid = getpid();
    client->random = (clock_ns() ^ (uint64_t)client->pid << 40 ^ (uint64_t)(uintptr_t)client) | 1;
    retry_init(&client->budget, clock_ms());
    pthread_mutex_init(&client->door.lock, NULL);
    list_init(&client->door.incoming);
    list_init(&client->door.lanes);
    buf_init(&client->door.cancels);
    list_init(&client->waiting);
    list_init(&client->calling);
    for (size_t i = 0; i < CLIENT_TICKET_BUCKETS; i++)
        list_init(&client->tickets[i]);
    return client;
}

/* What lives on the loop. Nothing runs yet, or we are on the loop's thread. */
static int init_on_loop(struct quire_client *client, uv_loop_t *loop, struct err *err)
{
    client->loop = loop;
    client->rpc = rpc_create(loop, &identity, err);
    if (client->rpc == NULL)
        return err->code;
    if (uv_async_init(loop, &client->async, door_opened) != 0)
        abort(); /* rpc has just made one */
    uv_timer_init(loop, &client->tick);
    client->async.data = client->tick.data = client;
    client->handles = 2;
    dispatch_start(client);
    return 0;
}

static int start_thread(struct quire_client *client, struct err *err)
{
    client->owns_loop = true;
    if (uv_loop_init(&client->own_loop) != 0)
        return err_set(err, ERR_NOMEM, "no event loop: out of memory or of file descriptors");
    if (init_on_loop(client, &client->own_loop, err) != 0) {
        uv_loop_close(&client->own_loop);
        return err->code;
    }
    if (pthread_create(&client->thread, NULL, run_loop, client) != 0) {
        ask_to_close(client);
        uv_run(client->loop, UV_RUN_DEFAULT);
        uv_loop_close(&client->own_loop);
        return err_set(err, ERR_NOMEM, "no thread could be started");
    }
    return 0;
}

static int create(const struct quire_options *options, uv_loop_t *loop, struct quire_client **out,
                  char *error, size_t error_size)
{
    struct err err = {0};
    struct quire_client *client;
    sigset_t all, before;
    int code = 0;
    *out = NULL;
    if (error != NULL && error_size > 0)
        error[0] = '\0';
    client = allocate(options, &err);
    if (client != NULL) {
        /* The threads that are started here and by nng must not take the program's signals. */
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &before);
        client->thread = pthread_self();
        code = loop ? init_on_loop(client, loop, &err) : start_thread(client, &err);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (code == 0) {
            *out = client;
            return QUIRE_OK;
        }
        free_client(client);
    }
    if (error != NULL && error_size > 0)
        snprintf(error, error_size, "%s", err.text[0] ? err.text : err_name(err.code));
    return err.code;
}

int quire_client_create(const struct quire_options *options, struct quire_client **client,
                        char *error, size_t error_size)
{
    return create(options, NULL, client, error, error_size);
}

void quire_client_destroy(struct quire_client *client)
{
    if (client == NULL || client->pid != getpid())
        return;
    assert(client->owns_loop && "a client on the caller's loop is ended by quire_client_close()");
    if (client_on_loop(client))
        return;
    ask_to_close(client);
    pthread_join(client->thread, NULL);
    if (uv_loop_close(&client->own_loop) != 0)
        abort(); /* a handle was left open: its memory is about to go */
    free_client(client);
}

int quire_client_create_on_loop(const struct quire_options *options, uv_loop_t *loop,
                                struct quire_client **client, char *error, size_t error_size)
{
    return create(options, loop, client, error, error_size);
}

int quire_session_export(struct quire_client *client, void *token, size_t *size)
{
    struct buf all = {0};
    size_t room = *size;
    session_export(&client->session, &all);
    *size = all.size;
    if (all.size > 0 && all.size <= room)
        memcpy(token, all.data, all.size);
    int status = all.size <= room ? QUIRE_OK : QUIRE_TOO_LARGE;
    buf_deinit(&all);
    return status;
}

int quire_session_import(struct quire_client *client, const void *token, size_t size)
{
    return session_import(&client->session, bytes_of(token, size)) ? QUIRE_OK : QUIRE_INVALID;
}

void quire_client_close(struct quire_client *client, void (*closed)(void *data), void *data)
{
    assert(!client->owns_loop && client_on_loop(client));
    client->closed = closed;
    client->closed_data = data;
    ask_to_close(client);
}
