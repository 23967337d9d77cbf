/* Everything but http_beat() and http_set_ready() happens on libmicrohttpd's thread, the list of
 * connections included: it accepts, calls on_connection() and answer(), and closes.
 *
 * libmicrohttpd calls answer() when the head of a request has come, and again with pieces of its
 * body and at its end. GET and HEAD are answered at the end, which keeps the connection for the
 * next request; one that brings a body is closed. Other methods are refused at the head, and the
 * connection closed: nobody waits for their bodies.
 *
 * libmicrohttpd stops accepting at its own limit of connections, which would let idle ones keep
 * everybody else out for HTTP_IDLE_S. So its limit is never reached: with each connection beyond
 * HTTP_CONNECTIONS_MAX the oldest one is shut down, and its end noticed with the next turn.
 */
#include "proto/http/http.h"

#include "proto/base/clock.h"
#include "proto/base/list.h"
#include "proto/http/http_address.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SHUT_DOWN_MAX 64 /* connections that were shut down and whose end was not noticed yet */

struct connection {
    struct list link; /* empty: it was shut down */
    int fd;
};

struct http_server {
    struct http_settings settings;
    struct MHD_Daemon *daemon;
    int port;
    _Atomic uint64_t beat_ms;
    struct list connections; /* oldest first */
    size_t connection_count;
    pthread_mutex_t lock; /* the next two */
    bool ready;
    char why[HTTP_REASON_MAX];
};

/* ---- pages ---- */

struct page {
    unsigned status;
    const char *type;
    struct buf body;
};

static void say(struct page *page, unsigned status, const char *sentence)
{
    page->status = status;
    page->type = "text/plain; charset=utf-8";
    buf_printf(&page->body, "%s\n", sentence);
}

static void show_metrics(struct http_server *server, struct page *page)
{
    page->status = MHD_HTTP_OK;
    page->type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_render(server->settings.metrics, &page->body);
}

static void show_health(struct http_server *server, struct page *page)
{
    char sentence[HTTP_REASON_MAX];
    uint64_t beat = atomic_load(&server->beat_ms), now = server->settings.now_ms();
    if (now < beat + HTTP_SILENCE_MS) {
        say(page, MHD_HTTP_OK, "ok");
        return;
    }
    snprintf(sentence, sizeof sentence, "the event loop has not turned for %llu s",
             (unsigned long long)((now - beat) / 1000));
    say(page, MHD_HTTP_SERVICE_UNAVAILABLE, sentence);
}

static void show_ready(struct http_server *server, struct page *page)
{
    char why[HTTP_REASON_MAX];
    pthread_mutex_lock(&server->lock);
    bool ready = server->ready;
    memcpy(why, server->why, sizeof why);
    pthread_mutex_unlock(&server->lock);
    say(page, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, ready ? "ready" : why);
}

static const struct {
    const char *path;
    void (*show)(struct http_server *server, struct page *page);
} pages[] = {{"/metrics", show_metrics}, {"/healthz", show_health}, {"/readyz", show_ready}};

static bool is_read(const char *method)
{
    return strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

static void make_page(struct http_server *server, const char *path, bool reads, struct page *page)
{
    size_t i = 0, count = sizeof pages / sizeof *pages;
    while (i < count && strcmp(pages[i].path, path) != 0)
        i++;
    if (i == count)
        say(page, MHD_HTTP_NOT_FOUND, "there are /metrics, /healthz and /readyz");
    else if (!reads)
        say(page, MHD_HTTP_METHOD_NOT_ALLOWED, "this page is only read: GET or HEAD");
    else
        pages[i].show(server, page);
}

static enum MHD_Result answer(void *data, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **context)
{
    static char began;
    bool reads = is_read(method);
    if (*context == NULL && reads) {
        *context = &began;
        return MHD_YES;
    }
    if (reads && *upload_size > 0)
        return MHD_NO;
    struct page page = {0};
    make_page(data, path, reads, &page);
    size_t size;
    uint8_t *body = buf_steal(&page.body, &size);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, body, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(body);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page.type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (page.status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result queued = MHD_queue_response(connection, page.status, response);
    MHD_destroy_response(response);
    return queued;
}

/* ---- connections ---- */

static void shut_oldest(struct http_server *server)
{
    struct connection *oldest =
        list_entry(list_shift(&server->connections), struct connection, link);
    list_init(&oldest->link);
    server->connection_count--;
    (void)shutdown(oldest->fd, SHUT_RDWR);
}

static void on_connection(void *data, struct MHD_Connection *from, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = data;
    struct connection *connection = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(from, MHD_CONNECTION_INFO_CONNECTION_FD);
        connection = calloc(1, sizeof *connection);
        *context = connection;
        if (connection == NULL || info == NULL)
            abort();
        connection->fd = info->connect_fd;
        list_push(&server->connections, &connection->link);
        if (++server->connection_count > HTTP_CONNECTIONS_MAX)
            shut_oldest(server);
    } else if (connection != NULL) {
        if (!list_empty(&connection->link)) {
            list_remove(&connection->link);
            server->connection_count--;
        }
        free(connection);
        *context = NULL;
    }
}

/* ---- life ---- */

int http_create(const struct http_settings *settings, struct http_server **out, struct err *err)
{
    int fd, port;
    *out = NULL;
    int code = http_address_listen(settings->address, &fd, &port, err);
    if (code != 0)
        return code;
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        abort();
    server->settings = *settings;
    if (server->settings.now_ms == NULL)
        server->settings.now_ms = clock_ms;
    server->port = port;
    list_init(&server->connections);
    pthread_mutex_init(&server->lock, NULL);
    http_set_ready(server, false, "it is starting");
    http_beat(server);
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, answer, server,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)HTTP_CONNECTIONS_MAX + SHUT_DOWN_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)HTTP_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEAD_MAX,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
    if (server->daemon != NULL) {
        *out = server;
        return 0;
    }
    /* The socket is libmicrohttpd's from the moment it was handed over. */
    pthread_mutex_destroy(&server->lock);
    free(server);
    return err_set(err, ERR_NOMEM, "listen for http on %.300s: the server cannot be started",
                   settings->address);
}

void http_destroy(struct http_server *server)
{
    if (server == NULL)
        return;
    MHD_stop_daemon(server->daemon);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

int http_port(const struct http_server *server)
{
    return server->port;
}

void http_beat(struct http_server *server)
{
    atomic_store(&server->beat_ms, server->settings.now_ms());
}

void http_set_ready(struct http_server *server, bool ready, const char *why)
{
    pthread_mutex_lock(&server->lock);
    server->ready = ready;
    snprintf(server->why, sizeof server->why, "%s", ready ? "" : why);
    pthread_mutex_unlock(&server->lock);
}
