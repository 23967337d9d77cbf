#include "proto/http/observer.h"

#include "proto/base/log.h"
#include "proto/http/http.h"
#include "proto/http/notify.h"
#include "proto/http/process_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct observer {
    struct observer_settings settings;
    struct metrics *metrics;
    struct process_metrics *process;
    struct http_server *http; /* NULL: no pages */
    struct notify notify;
    bool supervised; /* by systemd */
    uv_timer_t timer;
};

static void free_all(struct observer *observer)
{
    metrics_destroy(observer->metrics);
    process_metrics_free(observer->process);
    free(observer);
}

static void on_timer(uv_timer_t *timer)
{
    observer_look(timer->data);
}

static void log_address(const struct observer *observer)
{
    const char *address = observer->settings.address;
    char listen[320];
    snprintf(listen, sizeof listen, "%.*s:%d", (int)(strrchr(address, ':') - address), address,
             http_port(observer->http));
    log_event(LOG_INFO, "pages over http: /metrics, /healthz, /readyz", LOG_STR("http", listen));
}

int observer_create(const struct observer_settings *settings, struct observer **out,
                    struct err *err)
{
    struct notify notify;
    bool supervised = notify_init(&notify);
    *out = NULL;
    if (settings->address == NULL && !supervised)
        return 0;
    struct observer *observer = calloc(1, sizeof *observer);
    if (observer == NULL || (observer->metrics = metrics_create()) == NULL)
        abort();
    observer->settings = *settings;
    observer->notify = notify;
    observer->supervised = supervised;
    observer->process = process_metrics_create(observer->metrics, settings->program);
    const struct http_settings http = {.address = settings->address, .metrics = observer->metrics};
    int code = settings->address != NULL ? http_create(&http, &observer->http, err) : 0;
    if (code != 0) {
        free_all(observer);
        return code;
    }
    uv_timer_init(settings->loop, &observer->timer);
    observer->timer.data = observer;
    uv_timer_start(&observer->timer, on_timer, 0, OBSERVER_MS);
    if (observer->http != NULL)
        log_address(observer);
    *out = observer;
    return 0;
}

struct metrics *observer_metrics(struct observer *observer)
{
    return observer != NULL ? observer->metrics : NULL;
}

void observer_look(struct observer *observer)
{
    if (observer == NULL)
        return;
    if (observer->http != NULL)
        http_beat(observer->http);
    if (observer->supervised)
        notify_beat(&observer->notify);
    observer->settings.look(observer->settings.data, observer);
}

void observer_set_ready(struct observer *observer, bool ready, const char *why)
{
    if (observer->http != NULL)
        http_set_ready(observer->http, ready, why);
    if (observer->supervised)
        notify_set_ready(&observer->notify, ready, why);
}

void observer_stopping(struct observer *observer)
{
    if (observer == NULL)
        return;
    if (observer->supervised)
        notify_stopping(&observer->notify);
    observer_look(observer); /* not ready any more, before anybody reads of it */
}

static void on_closed(uv_handle_t *handle)
{
    free_all(handle->data);
}

void observer_close(struct observer *observer)
{
    if (observer == NULL)
        return;
    http_destroy(observer->http);
    uv_close((uv_handle_t *)&observer->timer, on_closed);
}
