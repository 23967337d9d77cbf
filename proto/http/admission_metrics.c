#include "proto/http/admission_metrics.h"

#include <stdio.h>
#include <stdlib.h>

struct admission_metrics {
    struct metric *refused[ADMISSION_CLASSES][ADMISSION_REASONS];
    struct metric *waiting[ADMISSION_CLASSES], *at_work[ADMISSION_CLASSES];
};

struct admission_metrics *admission_metrics_create(struct metrics *metrics, const char *refusals,
                                                   const char *waiting, const char *at_work)
{
    char labels[128];
    struct admission_metrics *it = calloc(1, sizeof *it);
    if (it == NULL)
        abort();
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        for (int k = 0; k < ADMISSION_REASONS; k++) {
            snprintf(labels, sizeof labels, "class=\"%s\",reason=\"%s\"", admission_class_names[i],
                     admission_reason_names[k]);
            it->refused[i][k] = metrics_counter_of(
                metrics, refusals, "Requests that were refused or dropped before any work on them.",
                labels);
        }
    }
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        snprintf(labels, sizeof labels, "class=\"%s\"", admission_class_names[i]);
        it->waiting[i] = metrics_gauge_of(metrics, waiting,
                                          "Requests that wait for their turn, by class.", labels);
    }
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        snprintf(labels, sizeof labels, "class=\"%s\"", admission_class_names[i]);
        it->at_work[i] = metrics_gauge_of(metrics, at_work,
                                          "Requests that are being worked on, by class.", labels);
    }
    return it;
}

void admission_metrics_free(struct admission_metrics *it)
{
    free(it);
}

void admission_metrics_show(struct admission_metrics *it, const struct admission *admission)
{
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        const struct admission_state *state = &admission->classes[i];
        for (int k = 0; k < ADMISSION_REASONS; k++)
            metric_set(it->refused[i][k], (int64_t)state->refused[k]);
        metric_set(it->waiting[i], state->waiting);
        metric_set(it->at_work[i], state->at_work);
    }
}
