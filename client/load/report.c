#include "client/load/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const load_kind_names[LOAD_KINDS] = {"lookup", "search", "browse", "match", "write"};
const char *const load_fault_names[LOAD_FAULTS] = {"lost", "stale", "duplicate", "wrong",
                                                   "incomplete"};

static const double PERCENTS[] = {50, 90, 99, 99.9};
static const char *const PERCENT_NAMES[] = {"p50_us", "p90_us", "p99_us", "p99_9_us"};
#define PERCENT_COUNT (sizeof PERCENTS / sizeof PERCENTS[0])

uint64_t figures_faults(const struct figures *figures)
{
    uint64_t sum = 0;
    for (int i = 0; i < LOAD_FAULTS; i++)
        sum += figures->faults[i];
    return sum;
}

uint64_t figures_errors(const struct figures *figures)
{
    uint64_t sum = 0;
    for (int i = 0; i < LOAD_KINDS; i++)
        sum += figures->kinds[i].errors;
    return sum;
}

uint64_t figures_refused(const struct figures *figures)
{
    uint64_t sum = 0;
    for (int i = 0; i < LOAD_KINDS; i++)
        sum += figures->kinds[i].refused;
    return sum;
}

void figures_free(struct figures *figures)
{
    for (size_t i = 0; i < figures->example_count; i++)
        free(figures->examples[i]);
    free(figures->examples);
    free(figures->seconds);
}

void report_second(const struct second_figures *second, size_t index)
{
    fprintf(stderr,
            "%4zu s  %6" PRIu64 " sent  %6" PRIu64 " ok  %6" PRIu64 " refused  %4" PRIu64
            " errors  %4" PRIu64 " faults  p99 %8.1f ms  max %8.1f ms\n",
            index + 1, second->sent, second->ok, second->refused, second->errors, second->faults,
            (double)second->p99_us / 1000, (double)second->max_us / 1000);
}

static void print_kind(const char *name, const struct kind_figures *kind)
{
    printf("%-8s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %7" PRIu64, name, kind->sent, kind->ok,
           kind->refused, kind->errors);
    for (size_t i = 0; i < PERCENT_COUNT; i++)
        printf(" %9.2f", (double)histogram_percentile(&kind->latency, PERCENTS[i]) / 1000);
    printf(" %9.1f\n", (double)kind->latency.max_us / 1000);
}

void report_end(const struct load_options *options, const struct figures *figures)
{
    printf("%.0f requests a second for %.1f s, seed %" PRIu64
           "; ms from the intended start of a request:\n"
           "              sent        ok   refused  errors       p50       p90       p99     p99.9 "
           "      max\n",
           options->rate, figures->took_s, options->seed);
    for (int i = 0; i < LOAD_KINDS; i++)
        if (figures->kinds[i].sent > 0)
            print_kind(load_kind_names[i], &figures->kinds[i]);
    printf("longest time without a good answer: reads %.2f s, writes %.2f s\n",
           (double)figures->read_gap_us / 1e6, (double)figures->write_gap_us / 1e6);
    for (int i = 0; i < LOAD_FAULTS; i++)
        printf("%s%s %" PRIu64, i == 0 ? "answers that were " : ", ", load_fault_names[i],
               figures->faults[i]);
    printf("\n%" PRIu64 " own entries read at the end, %" PRIu64
           " writes with an outcome that is not known, %" PRIu64 " requests not sent\n",
           figures->audited, figures->unknown, figures->not_sent);
    for (size_t i = 0; i < figures->example_count; i++)
        printf("  %s\n", figures->examples[i]);
}

/* ---- JSON ---- */

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *kind_json(const struct kind_figures *kind)
{
    json_t *out = json_object(), *statuses = json_object();
    for (int i = 1; i < LOAD_STATUSES; i++)
        if (kind->by_status[i] > 0)
            json_object_set_new(statuses, quire_strerror(i), number(kind->by_status[i]));
    json_object_set_new(out, "sent", number(kind->sent));
    json_object_set_new(out, "ok", number(kind->ok));
    json_object_set_new(out, "errors", number(kind->errors));
    json_object_set_new(out, "refused", number(kind->refused));
    json_object_set_new(out, "refused_p99_us", number(histogram_percentile(&kind->refusal, 99)));
    json_object_set_new(out, "errors_by_status", statuses);
    for (size_t i = 0; i < PERCENT_COUNT; i++)
        json_object_set_new(out, PERCENT_NAMES[i],
                            number(histogram_percentile(&kind->latency, PERCENTS[i])));
    json_object_set_new(out, "max_us", number(kind->latency.max_us));
    json_object_set_new(out, "longest_gap_us", number(kind->longest_gap_us));
    return out;
}

static json_t *seconds_json(const struct figures *figures)
{
    json_t *out = json_array();
    for (size_t i = 0; i < figures->second_count; i++) {
        const struct second_figures *second = &figures->seconds[i];
        json_array_append_new(
            out, json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "sent", number(second->sent), "ok",
                           number(second->ok), "refused", number(second->refused), "errors",
                           number(second->errors), "faults", number(second->faults), "p99_us",
                           number(second->p99_us), "max_us", number(second->max_us)));
    }
    return out;
}

static json_t *settings_json(const struct load_options *options)
{
    json_t *mix = json_object();
    for (int i = 0; i < LOAD_KINDS; i++)
        json_object_set_new(mix, load_kind_names[i], number(options->mix[i]));
    return json_pack("{s:s,s:f,s:f,s:f,s:i,s:i,s:i,s:o,s:o}", "collection", options->collection,
                     "rate", options->rate, "duration_s", options->duration, "zipf", options->zipf,
                     "clients", (int)options->clients, "keys", (int)options->keys, "timeout_ms",
                     (int)options->timeout_ms, "seed", number(options->seed), "mix", mix);
}

static json_t *whole_json(const struct load_options *options, const struct figures *figures)
{
    json_t *out = json_object(), *kinds = json_object(), *faults = json_object(),
           *examples = json_array();
    for (int i = 0; i < LOAD_KINDS; i++)
        json_object_set_new(kinds, load_kind_names[i], kind_json(&figures->kinds[i]));
    for (int i = 0; i < LOAD_FAULTS; i++)
        json_object_set_new(faults, load_fault_names[i], number(figures->faults[i]));
    for (size_t i = 0; i < figures->example_count; i++)
        json_array_append_new(examples, json_string(figures->examples[i]));
    json_object_set_new(out, "settings", settings_json(options));
    json_object_set_new(out, "took_s", json_real(figures->took_s));
    json_object_set_new(out, "kinds", kinds);
    json_object_set_new(out, "faults", faults);
    json_object_set_new(out, "errors", number(figures_errors(figures)));
    json_object_set_new(out, "refused", number(figures_refused(figures)));
    json_object_set_new(out, "not_sent", number(figures->not_sent));
    json_object_set_new(out, "unknown_writes", number(figures->unknown));
    json_object_set_new(out, "audited", number(figures->audited));
    json_object_set_new(out, "read_gap_us", number(figures->read_gap_us));
    json_object_set_new(out, "write_gap_us", number(figures->write_gap_us));
    json_object_set_new(out, "seconds", seconds_json(figures));
    json_object_set_new(out, "examples", examples);
    return out;
}

bool report_json(const struct load_options *options, const struct figures *figures)
{
    if (options->json == NULL)
        return true;
    json_t *out = whole_json(options, figures);
    bool good = strcmp(options->json, "-") == 0
                    ? json_dumpf(out, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF
                    : json_dump_file(out, options->json, JSON_INDENT(1)) == 0;
    json_decref(out);
    if (!good)
        fprintf(stderr, "quire-load: cannot write %s: %s\n", options->json, strerror(errno));
    return good;
}
