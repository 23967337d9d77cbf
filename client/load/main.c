/* quire-load: puts a cluster under load, checks every answer, and says how long they took. */
#include "client/load/load.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EXIT_FAULTS = 1, EXIT_USAGE = 2, EXIT_CLUSTER = 3 };

static void usage(FILE *to)
{
    fputs(
        "Usage: quire-load [options]\n"
        "\n"
        "Sends requests to a cluster at a stated rate, whether or not those before were answered,\n"
        "checks every answer, and prints how long they took, from when each was due.\n"
        "\n"
        "  --connect URL,...    coordinators (default: $QUIRE_CONNECT, or tcp://127.0.0.1:7400)\n"
        "  -c, --collection C   whose headwords and words are asked for (default \"default\"); "
        "nobody\n"
        "                       is to write to it meanwhile\n"
        "  --rate N             requests a second, arriving at random (default 200)\n"
        "  --duration S         seconds (default 10)\n"
        "  --mix KIND=N,...     how often, of lookup, search, browse, match and write\n"
        "                       (default lookup=40,search=30,browse=5,match=5,write=20)\n"
        "  --zipf S             exponent of the law by which headwords are drawn (default 0.9)\n"
        "  --clients N          connections, each with a session of its own (default 4)\n"
        "  --keys N             entries that are written and deleted, in the collection\n"
        "                       \"quire-load\" (default 500)\n"
        "  --timeout MS         of a request (default 10000)\n"
        "  --seed N             of all that is drawn (default: the time)\n"
        "  --json FILE          the figures, second by second too; - is standard output\n"
        "  --keep               do not drop the collection \"quire-load\" at the end\n"
        "  --no-errors          a request that failed counts as a fault\n"
        "  --no-retry           what an overloaded cluster refuses is not sent again\n"
        "  --quiet              no line each second\n"
        "  --help, --version\n"
        "\n"
        "SIGINT or SIGTERM ends it before its time: what is under way is waited for, and all is\n"
        "reported.\n"
        "\n"
        "Exit status: 0 all answers were right; 1 some were lost, stale, duplicate, wrong or\n"
        "incomplete (or failed, with --no-errors); 2 usage; 3 the cluster cannot be reached.\n"
        "\n"
        "Example: quire-load --rate 1000 --duration 60 --mix search=90,write=10\n",
        to);
}

static int complain(const char *what, const char *text)
{
    fprintf(stderr, "quire-load: %s, not \"%s\"\nTry 'quire-load --help'.\n", what, text);
    return EXIT_USAGE;
}

static bool parse_number(const char *text, double least, double most, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*out) && *out >= least && *out <= most;
}

/* A number without a sign. */
static bool parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *out >= least &&
           *out <= most;
}

static int kind_named(const char *name, size_t size)
{
    for (int i = 0; i < LOAD_KINDS; i++)
        if (strlen(load_kind_names[i]) == size && memcmp(load_kind_names[i], name, size) == 0)
            return i;
    return -1;
}

static bool parse_mix(const char *text, struct load_options *options)
{
    unsigned total = 0;
    memset(options->mix, 0, sizeof options->mix);
    for (const char *at = text;;) {
        size_t size = strcspn(at, ",");
        const char *equals = memchr(at, '=', size);
        int kind = equals == NULL ? -1 : kind_named(at, (size_t)(equals - at));
        char number[16] = "";
        uint64_t share;
        size_t digits = equals == NULL ? 0 : (size_t)(at + size - equals - 1);
        if (kind < 0 || digits >= sizeof number)
            return false;
        memcpy(number, equals + 1, digits);
        if (!parse_count(number, 0, 1000000, &share))
            return false;
        options->mix[kind] = (unsigned)share;
        total += (unsigned)share;
        if (at[size] == '\0')
            return total > 0;
        at += size + 1;
    }
}

enum {
    CONNECT = 256,
    RATE,
    DURATION,
    MIX,
    ZIPF,
    CLIENTS,
    KEYS,
    TIMEOUT,
    SEED,
    JSON,
    KEEP,
    NO_ERRORS,
    NO_RETRY,
    QUIET,
    HELP,
    VERSION
};

/* 0, or what to exit with. */
static int take_number(struct load_options *options, int which, const char *text)
{
    uint64_t count;
    switch (which) {
    case RATE:
        return parse_number(text, 0.001, 1000000, &options->rate)
                   ? 0
                   : complain("--rate is a number up to 1000000", text);
    case DURATION:
        return parse_number(text, 0.1, 1e7, &options->duration)
                   ? 0
                   : complain("--duration is a number of seconds from 0.1", text);
    case ZIPF:
        return parse_number(text, 0, 10, &options->zipf)
                   ? 0
                   : complain("--zipf is a number from 0 to 10", text);
    case CLIENTS:
        if (!parse_count(text, 1, 1000, &count))
            return complain("--clients is a number from 1 to 1000", text);
        options->clients = (unsigned)count;
        return 0;
    case KEYS:
        if (!parse_count(text, 1, 1000000, &count))
            return complain("--keys is a number from 1 to 1000000", text);
        options->keys = (unsigned)count;
        return 0;
    case TIMEOUT:
        if (!parse_count(text, 1, 3600000, &count))
            return complain("--timeout is a number of milliseconds up to 3600000", text);
        options->timeout_ms = (uint32_t)count;
        return 0;
    default:
        return parse_count(text, 0, UINT64_MAX, &options->seed)
                   ? 0
                   : complain("--seed is a number", text);
    }
}

/* -1: go on; else what to exit with. */
static int take_option(struct load_options *options, int which)
{
    switch (which) {
    case CONNECT:
        options->connect = optarg;
        return -1;
    case 'c':
        options->collection = optarg;
        return -1;
    case MIX:
        if (!parse_mix(optarg, options))
            return complain("--mix is like search=90,write=10", optarg);
        return -1;
    case JSON:
        options->json = optarg;
        return -1;
    case KEEP:
        options->keep = true;
        return -1;
    case NO_ERRORS:
        options->no_errors = true;
        return -1;
    case NO_RETRY:
        options->no_retry = true;
        return -1;
    case QUIET:
        options->quiet = true;
        return -1;
    case HELP:
        usage(stdout);
        return EXIT_SUCCESS;
    case VERSION:
        printf("quire-load %s\n", quire_version());
        return EXIT_SUCCESS;
    case '?':
        fputs("Try 'quire-load --help'.\n", stderr);
        return EXIT_USAGE;
    default: {
        int code = take_number(options, which, optarg);
        return code == 0 ? -1 : code;
    }
    }
}

static int parse_options(int argc, char **argv, struct load_options *options)
{
    static const struct option known[] = {{"connect", required_argument, NULL, CONNECT},
                                          {"collection", required_argument, NULL, 'c'},
                                          {"rate", required_argument, NULL, RATE},
                                          {"duration", required_argument, NULL, DURATION},
                                          {"mix", required_argument, NULL, MIX},
                                          {"zipf", required_argument, NULL, ZIPF},
                                          {"clients", required_argument, NULL, CLIENTS},
                                          {"keys", required_argument, NULL, KEYS},
                                          {"timeout", required_argument, NULL, TIMEOUT},
                                          {"seed", required_argument, NULL, SEED},
                                          {"json", required_argument, NULL, JSON},
                                          {"keep", no_argument, NULL, KEEP},
                                          {"no-errors", no_argument, NULL, NO_ERRORS},
                                          {"no-retry", no_argument, NULL, NO_RETRY},
                                          {"quiet", no_argument, NULL, QUIET},
                                          {"help", no_argument, NULL, HELP},
                                          {"version", no_argument, NULL, VERSION},
                                          {NULL, 0, NULL, 0}};
    int which;
    while ((which = getopt_long(argc, argv, "c:", known, NULL)) != -1) {
        int code = take_option(options, which);
        if (code >= 0)
            return code;
    }
    return optind < argc ? complain("no argument is taken", argv[optind]) : -1;
}

int main(int argc, char **argv)
{
    struct load_options options = {.collection = QUIRE_DEFAULT_COLLECTION,
                                   .rate = 200,
                                   .duration = 10,
                                   .zipf = 0.9,
                                   .mix = {40, 30, 5, 5, 20},
                                   .clients = 4,
                                   .keys = 500,
                                   .timeout_ms = 10000,
                                   .seed = (uint64_t)time(NULL)};
    int code = parse_options(argc, argv, &options);
    if (code >= 0)
        return code;
    signal(SIGPIPE, SIG_IGN);
    struct corpus corpus;
    struct figures *figures = calloc(1, sizeof *figures);
    if (figures == NULL)
        abort();
    bool good = corpus_read(&options, &corpus) && load_run(&options, &corpus, figures);
    if (good) {
        if (options.json == NULL || strcmp(options.json, "-") != 0)
            report_end(&options, figures);
        good = report_json(&options, figures);
    }
    code = !good                                              ? EXIT_CLUSTER
           : figures_faults(figures) > 0                      ? EXIT_FAULTS
           : options.no_errors && figures_errors(figures) > 0 ? EXIT_FAULTS
                                                              : EXIT_SUCCESS;
    corpus_free(&corpus);
    figures_free(figures);
    free(figures);
    return code;
}
