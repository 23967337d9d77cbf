#include "proto/http/observer.h"

#include "proto/base/log.h"
#include "proto/http/process_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct observer {
    struct observer_settings settings;
    struct metrics *metrics;
    struct process_metrics *process;
    struct http_server *http;
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
    *out = NULL;
    struct observer *observer = calloc(1, sizeof *observer);
    if (observer == NULL || (observer->metrics = metrics_create()) == NULL)
        abort();
    observer->settings = *settings;
    observer->process = process_metrics_create(observer->metrics, settings->program);
    const struct http_settings http = {.address = settings->address, .metrics = observer->metrics};
    int code = http_create(&http, &observer->http, err);
    if (code != 0) {
        free_all(observer);
        return code;
    }
    uv_timer_init(settings->loop, &observer->timer);
    observer->timer.data = observer;
    uv_timer_start(&observer->timer, on_timer, 0, OBSERVER_MS);
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
    http_beat(observer->http);
    observer->settings.look(observer->settings.data, observer->http);
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
