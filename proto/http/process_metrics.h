/* What every process can say of itself: memory, descriptors, processor time, when it began, and
 * what it was built from. */
#ifndef QUIRE_HTTP_PROCESS_METRICS_H
#define QUIRE_HTTP_PROCESS_METRICS_H

#include "proto/base/metrics.h"

/* Registers process_* (the names that Prometheus's own clients use) and quire_build_info. They are
 * read from /proc when the registry is rendered; what cannot be read stays as it was. `program` is
 * one word. Once for a registry; what it allocates is freed with process_metrics_free(), after the
 * last rendering. */
struct process_metrics;
struct process_metrics *process_metrics_create(struct metrics *metrics, const char *program);
void process_metrics_free(struct process_metrics *process);

#endif
