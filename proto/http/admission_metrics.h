/* What admission (proto/base/admission.h) tells: the same for every kind of process. */
#ifndef QUIRE_HTTP_ADMISSION_METRICS_H
#define QUIRE_HTTP_ADMISSION_METRICS_H

#include "proto/base/admission.h"
#include "proto/base/metrics.h"

struct admission_metrics;

/* The names are literals: a counter {class=,reason=}, and two gauges {class=}. All are registered
 * at once. */
struct admission_metrics *admission_metrics_create(struct metrics *metrics, const char *refusals,
                                                   const char *waiting, const char *at_work);
/* NULL is allowed. */
void admission_metrics_free(struct admission_metrics *it);
/* Copies what is known now. */
void admission_metrics_show(struct admission_metrics *it, const struct admission *admission);

#endif
