/* Observer: what a process shows of itself when it was told --http: a registry with what every
 * process has (process_metrics.h), the pages (http.h), and a timer on the process's loop that beats
 * for /healthz and looks at what only the loop may look at: readiness, and gauges that are copies.
 *
 * The loop's thread only. A process without --http has no observer: NULL is allowed wherever it
 * makes sense.
 */
#ifndef QUIRE_HTTP_OBSERVER_H
#define QUIRE_HTTP_OBSERVER_H

#include "proto/http/http.h"

#include <uv.h>

#define OBSERVER_MS 500 /* between two looks; so old is what they copied at most */

struct observer;

struct observer_settings {
    uv_loop_t *loop;
    const char *address; /* HOST:PORT */
    const char *program; /* one word */
    /* Every OBSERVER_MS from the first turn of the loop on, and with observer_look(): tells http
     * whether the process is ready. */
    void (*look)(void *data, struct http_server *http);
    void *data;
};

/* Listens, and logs where. Errors as http_create(). */
int observer_create(const struct observer_settings *settings, struct observer **out,
                    struct err *err);
/* To register more in; as old as the observer. NULL for NULL. */
struct metrics *observer_metrics(struct observer *observer);
/* Looks now. */
void observer_look(struct observer *observer);
/* The pages are gone at once, the rest with the next turn of the loop. Nobody uses the registry any
 * more. */
void observer_close(struct observer *observer);

#endif
