/* Observer: what a process shows of itself to who watches over it: to Prometheus and other readers
 * of pages (http.h) when it was told --http, to systemd (notify.h) when that has started it. It has
 * a registry with what every process has (process_metrics.h), and a timer on the process's loop
 * that beats for /healthz and the watchdog, and looks at what only the loop may look at: readiness,
 * and gauges that are copies.
 *
 * The loop's thread only. A process that nobody watches has no observer: NULL is allowed wherever
 * it makes sense.
 */
#ifndef QUIRE_HTTP_OBSERVER_H
#define QUIRE_HTTP_OBSERVER_H

#include "proto/base/err.h"
#include "proto/base/metrics.h"

#include <stdbool.h>
#include <uv.h>

#define OBSERVER_MS 500 /* between two looks; so old is what they copied at most */

struct observer;

struct observer_settings {
    uv_loop_t *loop;
    const char *address; /* HOST:PORT; NULL: no pages */
    const char *program; /* one word */
    /* Every OBSERVER_MS from the first turn of the loop on, and with observer_look(): calls
     * observer_set_ready(). */
    void (*look)(void *data, struct observer *observer);
    void *data;
};

/* Listens, and logs where. *out is NULL when nobody watches. Errors as http_create(). */
int observer_create(const struct observer_settings *settings, struct observer **out,
                    struct err *err);
/* To register more in; as old as the observer. NULL for NULL. */
struct metrics *observer_metrics(struct observer *observer);
/* Looks now. */
void observer_look(struct observer *observer);
/* Whether the process serves; `why` not, as in http_set_ready(). */
void observer_set_ready(struct observer *observer, bool ready, const char *why);
/* It was told to stop: looks a last time for some while. */
void observer_stopping(struct observer *observer);
/* The pages are gone at once, the rest with the next turn of the loop. Nobody uses the registry any
 * more. */
void observer_close(struct observer *observer);

#endif
