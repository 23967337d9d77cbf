/* quire search: ranked full-text search */
#include "client/cli/commands.h"

#include "proto/base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The snippet with «» around the words that matched. Highlights that do not fit are left out. */
static json_t *marked_snippet(const struct quire_hit *hit)
{
    struct buf text = {0};
    size_t size = strlen(hit->snippet), at = 0;
    json_t *value;

    for (size_t i = 0; i < hit->highlight_count; i++) {
        const struct quire_highlight *highlight = &hit->highlights[i];
        if (highlight->offset < at || highlight->offset > size ||
            highlight->length > size - highlight->offset)
            continue;
        buf_append(&text, hit->snippet + at, highlight->offset - at);
        buf_append_str(&text, "«");
        buf_append(&text, hit->snippet + highlight->offset, highlight->length);
        buf_append_str(&text, "»");
        at = highlight->offset + highlight->length;
    }
    buf_append(&text, hit->snippet + at, size - at);
    value = cli_text(buf_text(&text));
    buf_deinit(&text);
    return value;
}

static json_t *hit_json(const struct quire_hit *hit, const char *collection)
{
    return json_pack("{s:o,s:o,s:o,s:f,s:o,s:o}", "collection", cli_text(collection), "headword",
                     cli_text(hit->headword), "sense", cli_text(hit->sense), "score", hit->score,
                     "categories", cli_texts(hit->categories, hit->category_count), "snippet",
                     marked_snippet(hit));
}

static json_t *missing_json(const struct quire_search_result *result)
{
    json_t *list = json_array();

    for (size_t i = 0; result != NULL && i < result->missing_count; i++)
        json_array_append_new(list,
                              json_pack("{s:o,s:o,s:o}", "lo", cli_text(result->missing[i]->lo),
                                        "hi", cli_text(result->missing[i]->hi), "reason",
                                        cli_text(result->missing[i]->reason)));
    return list;
}

static json_t *span_json(const struct quire_span *span)
{
    json_t *object =
        json_pack("{s:o,s:i,s:I,s:I}", "name", cli_text(span->name), "parent", (int)span->parent,
                  "start_us", (json_int_t)span->start_us, "took_us", (json_int_t)span->took_us);
    if (span->shard[0] != '\0') {
        json_object_set_new(object, "shard", cli_text(span->shard));
        json_object_set_new(object, "ranges", json_integer(span->ranges));
    }
    if (span->answered) {
        json_object_set_new(object, "waited_us", json_integer((json_int_t)span->waited_us));
        json_object_set_new(object, "worked_us", json_integer((json_int_t)span->worked_us));
    }
    if (span->note[0] != '\0')
        json_object_set_new(object, "note", cli_text(span->note));
    return object;
}

static json_t *trace_json(const struct quire_search_result *result)
{
    json_t *spans = json_array();
    char id[CLI_TRACE_SIZE];

    for (size_t i = 0; i < result->span_count; i++)
        json_array_append_new(spans, span_json(result->spans[i]));
    return json_pack("{s:s,s:o}", "id", cli_trace(result, id), "spans", spans);
}

/* The answer; of nothing when `result` is NULL. */
static json_t *search_json(const char *query, const char *collection,
                           const struct quire_search_result *result)
{
    json_t *hits = json_array(), *facets = json_array(), *document;

    for (size_t i = 0; result != NULL && i < result->hit_count; i++)
        json_array_append_new(hits, hit_json(result->hits[i], collection));
    for (size_t i = 0; result != NULL && i < result->category_count; i++)
        json_array_append_new(facets, json_pack("{s:o,s:I}", "value",
                                                cli_text(result->categories[i]->value), "count",
                                                (json_int_t)result->categories[i]->count));
    document = json_pack(
        "{s:o,s:{s:I,s:s},s:o,s:{s:o},s:o,s:b,s:o,s:I}", "query", cli_text(query), "total", "value",
        (json_int_t)(result != NULL ? result->total : 0), "relation",
        result != NULL && result->total_is_lower_bound ? "gte" : "eq", "hits", hits, "facets",
        "category", facets, "cursor",
        result != NULL && result->cursor[0] != '\0' ? cli_text(result->cursor) : json_null(),
        "complete", result == NULL || result->complete, "missing", missing_json(result), "took_us",
        (json_int_t)(result != NULL ? result->took_us : 0));
    if (result != NULL && result->warning_count > 0)
        json_object_set_new(document, "warnings",
                            cli_texts(result->warnings, result->warning_count));
    if (result != NULL && result->expansion_limited)
        json_object_set_new(document, "expansion_limited", json_true());
    if (result != NULL && result->did_you_mean[0] != '\0')
        json_object_set_new(document, "did_you_mean", cli_text(result->did_you_mean));
    if (result != NULL && result->span_count > 0)
        json_object_set_new(document, "trace", trace_json(result));
    return document;
}

static void put_snippet(const struct quire_hit *hit)
{
    size_t size = strlen(hit->snippet), at = 0;
    bool styled = cli_styled();

    for (size_t i = 0; i < hit->highlight_count; i++) {
        const struct quire_highlight *highlight = &hit->highlights[i];
        if (highlight->offset < at || highlight->offset > size ||
            highlight->length > size - highlight->offset)
            continue;
        cli_put_bytes(hit->snippet + at, highlight->offset - at);
        fputs(styled ? "\033[1m" : "«", stdout);
        cli_put_bytes(hit->snippet + highlight->offset, highlight->length);
        fputs(styled ? "\033[0m" : "»", stdout);
        at = highlight->offset + highlight->length;
    }
    cli_put_bytes(hit->snippet + at, size - at);
}

static void print_hit(const struct quire_hit *hit, size_t number)
{
    printf("%3zu. ", number);
    cli_put_bold(hit->headword);
    if (hit->category_count > 0) {
        fputs("  (", stdout);
        cli_put_list(hit->categories, hit->category_count, ", ");
        putchar(')');
    } else if (hit->sense[0] != '\0') {
        fputs("  [", stdout);
        cli_put(hit->sense);
        putchar(']');
    }
    printf("  %.3f\n", hit->score);
    if (hit->snippet[0] != '\0') {
        fputs("     ", stdout);
        put_snippet(hit);
        putchar('\n');
    }
}

static void print_answer(const struct quire_search_result *result)
{
    char number[32];

    for (size_t i = 0; i < result->hit_count; i++)
        print_hit(result->hits[i], i + 1);
    printf("\n%s%s %s found in %.1f ms\n", result->total_is_lower_bound ? "at least " : "",
           cli_count(result->total, number), result->total == 1 ? "entry" : "entries",
           (double)result->took_us / 1000);
    if (result->category_count > 0) {
        size_t shown = result->category_count < 8 ? result->category_count : 8;
        fputs("categories: ", stdout);
        for (size_t i = 0; i < shown; i++) {
            fputs(i > 0 ? ", " : "", stdout);
            cli_put(result->categories[i]->value);
            printf(" %s", cli_count(result->categories[i]->count, number));
        }
        fputs(shown < result->category_count ? ", ...\n" : "\n", stdout);
    }
    if (result->cursor[0] != '\0')
        printf("more: --cursor %s\n", result->cursor);
}

#define TRACE_NAME_WIDTH 24

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

/* "    tcp://127.0.0.1:11801      at 0.2  took 1.1 ms: 2 ranges, waited 0.1 ms, worked 0.8 ms" */
static void print_span(const struct quire_span *span, int depth)
{
    const char *name = span->shard[0] != '\0' ? span->shard : span->name;
    int width = TRACE_NAME_WIDTH - 2 * depth - (int)cli_width(name);

    printf("%*s", 2 + 2 * depth, "");
    cli_put(name);
    printf("%*s  at %8.2f  took %8.2f ms", width > 0 ? width : 0, "", ms(span->start_us),
           ms(span->took_us));
    if (span->shard[0] != '\0')
        printf(", %u %s", (unsigned)span->ranges, span->ranges == 1 ? "range" : "ranges");
    if (span->answered)
        printf(", waited %.2f, worked %.2f", ms(span->waited_us), ms(span->worked_us));
    if (span->note[0] != '\0') {
        fputs(": ", stdout);
        cli_put(span->note);
    }
    putchar('\n');
}

/* A parent comes before what lies within it. */
static void print_spans(const struct quire_search_result *result, uint32_t parent, int depth)
{
    for (size_t i = parent; i < result->span_count; i++) {
        if (result->spans[i]->parent != parent)
            continue;
        print_span(result->spans[i], depth);
        print_spans(result, (uint32_t)i + 1, depth + 1);
    }
}

static void print_trace(const struct quire_search_result *result)
{
    char id[CLI_TRACE_SIZE];

    if (result->span_count == 0)
        return;
    printf("\ntrace %s, ms from when the request came to the coordinator:\n",
           cli_trace(result, id));
    print_spans(result, 0, 0);
}

static int tell_answer(struct cli *cli, const char *query, const struct quire_search_result *result)
{
    for (size_t i = 0; i < result->warning_count; i++)
        cli_say(cli, "%s", result->warnings[i]);
    if (result->expansion_limited)
        cli_say(cli,
                "a word with * or ~ stands for more words than are looked at; be more precise");
    if (cli->json)
        cli_print_json(cli, search_json(query, cli->collection, result));
    else if (result->hit_count > 0)
        print_answer(result);
    if (!cli->json)
        print_trace(result);
    for (size_t i = 0; i < result->missing_count; i++) {
        const struct quire_missing *missing = result->missing[i];
        cli_say(cli, "the answer lacks the entries from '%s' to '%s': %s", missing->lo,
                missing->hi[0] != '\0' ? missing->hi : "the end", missing->reason);
    }
    if (!cli->json && result->did_you_mean[0] != '\0')
        cli_say(cli, "did you mean: %s", result->did_you_mean);
    if (!result->complete)
        return CLI_CLUSTER;
    if (result->hit_count > 0)
        return CLI_DONE;
    cli_say(cli, result->total > 0 ? "there are no more hits" : "nothing found in collection %s",
            cli->collection);
    return CLI_NO;
}

/* The operands with a space between: a query needs no quotes in the shell. malloc'd. */
static char *join_words(const struct cli *cli)
{
    struct buf text = {0};

    for (int i = 0; i < cli->operand_count; i++) {
        if (i > 0)
            buf_append_u8(&text, ' ');
        buf_append_str(&text, cli->operands[i]);
    }
    buf_append_u8(&text, 0);
    return (char *)buf_steal(&text, NULL);
}

int cmd_search(const struct cli_command *command, int argc, char **argv)
{
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result = NULL;
    struct cli_texts categories = {.count = 0};
    uint64_t limit = 10, facets = 0, total_limit = 0;
    bool exact = false;
    struct cli cli;
    const struct cli_option options[] = {{"limit", 'n', CLI_NUMBER, &limit, 1, QUIRE_MAX_HITS},
                                         {"all", 'a', CLI_FLAG, &request.all, 0, 0},
                                         {"category", 0, CLI_TEXTS, &categories, 0, 0},
                                         {"cursor", 0, CLI_TEXT, &request.cursor, 0, 0},
                                         {"complete", 0, CLI_FLAG, &request.complete, 0, 0},
                                         {"strict", 0, CLI_FLAG, &request.strict, 0, 0},
                                         {"facets", 0, CLI_NUMBER, &facets, 1, QUIRE_MAX_FACETS},
                                         {"total-limit", 0, CLI_NUMBER, &total_limit, 1, INT64_MAX},
                                         {"exact-total", 0, CLI_FLAG, &exact, 0, 0},
                                         {"trace", 0, CLI_FLAG, &request.trace, 0, 0},
                                         CLI_REPLICA(cli)};
    char *query;
    int exit, status;

    if (!cli_parse(&cli, command, argc, argv, options, 11, 1, -1, &exit))
        return exit;
    query = join_words(&cli);
    if (!cli_connect(&cli, &exit))
        goto done;
    request.collection = cli.collection;
    request.query = query;
    request.limit = (uint32_t)limit;
    request.facet_limit = (uint32_t)facets;
    request.total_limit = exact ? QUIRE_TOTAL_EXACT : total_limit;
    request.categories = categories.texts;
    request.category_count = categories.count;
    request.timeout_ms = cli.timeout_ms;
    status = quire_search_wait(cli.client, &request, &result);
    if (status == QUIRE_OK) {
        exit = tell_answer(&cli, query, result);
    } else {
        cli.retry_after_ms = quire_result_retry_after_ms(result);
        cli_trace(result, cli.trace);
        exit = cli_failed(&cli, status, result != NULL ? result->error : NULL,
                          search_json(query, cli.collection, NULL));
    }
done:
    quire_result_free(result);
    free(query);
    return cli_end(&cli, exit);
}
