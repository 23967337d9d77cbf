/* http: three read-only pages about a process, over libmicrohttpd.
 *
 *   /metrics   the registry (proto/base/metrics.h) in the Prometheus text format
 *   /healthz   200 while the process's loop turns: it has called http_beat() within
 *              HTTP_SILENCE_MS. Else 503 and one sentence. What fails here wants a new process.
 *   /readyz    200 while the process can serve, as http_set_ready() was told last. Else 503 and one
 *              sentence that says why.
 *
 * GET and HEAD; any other method gets 405, any other path 404. Nothing is read but the request's
 * head. There is no TLS and no authentication: the pages hold no entries and no queries, and the
 * address is off unless it is given; one that strangers can reach shows them how busy the process
 * is.
 *
 * One thread of libmicrohttpd's own (epoll) accepts, renders and sends; the process's loop does
 * nothing for a page but keep atomics up to date, so no client, however slow, holds it up. Limits:
 * a connection that is idle for HTTP_IDLE_S is closed; of more than HTTP_CONNECTIONS_MAX the oldest
 * is closed, so that many idle ones cannot keep a good one out; a request's head has at most
 * HTTP_HEAD_MAX bytes (beyond: 413, 414 or 431, as libmicrohttpd sees it); what waits to be sent is
 * at most one page a connection.
 */
#ifndef QUIRE_HTTP_H
#define QUIRE_HTTP_H

#include "proto/base/err.h"
#include "proto/base/metrics.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_CONNECTIONS_MAX 64
#define HTTP_IDLE_S 10
#define HTTP_HEAD_MAX 8192
#define HTTP_SILENCE_MS 10000
#define HTTP_REASON_MAX 256 /* bytes of a sentence; longer ones are cut */

struct http_server;

struct http_settings {
    const char *address;      /* HOST:PORT (http_address.h); copied */
    struct metrics *metrics;  /* outlives the server */
    uint64_t (*now_ms)(void); /* any thread; NULL: clock_ms() */
};

/* Listens, and answers from then on: not ready ("it is starting"), and healthy for the first
 * HTTP_SILENCE_MS. ERR_INVALID: the address is malformed or its name not known; ERR_IO: it is taken
 * or not ours; ERR_NOMEM: no thread. */
int http_create(const struct http_settings *settings, struct http_server **out, struct err *err);
/* Closes every connection and joins the thread. NULL is allowed. */
void http_destroy(struct http_server *server);
/* The port it listens on: the one that was found, when the address said 0. */
int http_port(const struct http_server *server);

/* Any thread: the loop has turned. */
void http_beat(struct http_server *server);
/* Any thread. `why` (copied; one sentence without its end, "it has no map of the cluster yet") is
 * used when it is not ready. */
void http_set_ready(struct http_server *server, bool ready, const char *why);

#endif
