/* quire-simulation: many schedules, each from its seed. */
#include "tests/simulation/simulation.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct totals {
    uint64_t seeds, failed, writes, reads, partials, failovers, installs, moves, splits, merges,
        aborts, seconds;
};

struct options {
    uint64_t first, last;
    unsigned jobs, seconds;
    bool trace, all;
};

static bool run_seed(uint64_t seed, bool trace, struct totals *totals)
{
    struct world *world = calloc(1, sizeof *world);
    if (world == NULL)
        abort();
    world->seed = seed;
    world->trace = trace;
    world_run(world);
    bool good = world->violation[0] == '\0';
    if (!good)
        printf("seed %llu: %s\n", (unsigned long long)seed, world->violation);
    if (trace)
        printf("trace %016llx\n", (unsigned long long)world->trace_hash);
    totals->seeds++;
    totals->failed += !good;
    totals->writes += world->writes;
    totals->reads += world->reads;
    totals->partials += world->partials;
    totals->failovers += world->failovers;
    totals->installs += world->installs;
    totals->moves += world->moves;
    totals->splits += world->splits;
    totals->merges += world->merges;
    totals->aborts += world->aborts;
    totals->seconds += world->now / (1000 * MS);
    world_finish(world);
    free(world);
    return good;
}

/* An assertion of the product that fails is a violation, too: which seed it was has to be told. */
static volatile uint64_t seed_of_now;

static void aborted(int number)
{
    char text[64];
    int size = snprintf(text, sizeof text, "seed %llu: aborted\n", (unsigned long long)seed_of_now);
    if (write(STDOUT_FILENO, text, (size_t)size) != size)
        _exit(2);
    signal(number, SIG_DFL);
    raise(number);
}

static void work(const struct options *options, unsigned job, int out)
{
    struct totals totals = {0};
    time_t begun = time(NULL);
    signal(SIGABRT, aborted);
    for (uint64_t seed = options->first + job; seed <= options->last; seed += options->jobs) {
        seed_of_now = seed;
        bool good = run_seed(seed, options->trace, &totals);
        fflush(stdout);
        if ((!good && !options->all) ||
            (options->seconds != 0 && time(NULL) - begun >= (time_t)options->seconds))
            break;
    }
    if (write(out, &totals, sizeof totals) != (ssize_t)sizeof totals)
        _exit(2);
}

static void add(struct totals *all, const struct totals *one)
{
    all->seeds += one->seeds;
    all->failed += one->failed;
    all->writes += one->writes;
    all->reads += one->reads;
    all->partials += one->partials;
    all->failovers += one->failovers;
    all->installs += one->installs;
    all->moves += one->moves;
    all->splits += one->splits;
    all->merges += one->merges;
    all->aborts += one->aborts;
    all->seconds += one->seconds;
}

static void report(const struct totals *all)
{
    printf(
        "%llu schedules (%llu s of their time), %llu violated a promise; %llu writes, %llu reads, "
        "%llu incomplete ones, %llu failovers, %llu checkpoints, %llu moves, %llu splits, %llu "
        "merges, %llu of either given up\n",
        (unsigned long long)all->seeds, (unsigned long long)all->seconds,
        (unsigned long long)all->failed, (unsigned long long)all->writes,
        (unsigned long long)all->reads, (unsigned long long)all->partials,
        (unsigned long long)all->failovers, (unsigned long long)all->installs,
        (unsigned long long)all->moves, (unsigned long long)all->splits,
        (unsigned long long)all->merges, (unsigned long long)all->aborts);
}

static int run_jobs(const struct options *options)
{
    struct totals all = {0}, one;
    int fds[2], status;
    bool broken = false;
    if (pipe(fds) != 0)
        return 2;
    for (unsigned job = 0; job < options->jobs; job++) {
        pid_t pid = fork();
        if (pid < 0)
            return 2;
        if (pid == 0) {
            work(options, job, fds[1]);
            exit(0);
        }
    }
    close(fds[1]);
    while (read(fds[0], &one, sizeof one) == (ssize_t)sizeof one)
        add(&all, &one);
    while (wait(&status) > 0)
        broken |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (broken)
        printf("a job ended before its time\n");
    report(&all);
    return broken || all.failed > 0;
}

static const char *const HELP =
    "usage: quire-simulation [--seeds FIRST..LAST] [--seconds N] [--jobs N] [--all]\n"
    "       quire-simulation --seed N [--trace]\n"
    "\n"
    "Runs a cluster in virtual time, one schedule of faults for each seed, and checks what it\n"
    "promises. A seed that violates a promise is printed and ends its job.\n"
    "\n"
    "  --seeds FIRST..LAST  these (default 1..2000)\n"
    "  --seconds N          no new one after so many seconds\n"
    "  --jobs N             processes (default 2)\n"
    "  --all                go on after a violation\n"
    "  --seed N             only this one; the same binary does the same again\n"
    "  --trace              say what happens\n"
    "\n"
    "Exit status: 0 all held, 1 something was violated, 2 usage.\n";

static int usage(const char *what)
{
    fprintf(stderr, "quire-simulation: %s\n%s", what, HELP);
    return 2;
}

/* The value of an option; false: it is none. */
static bool take_value(struct options *options, const char *name, const char *value)
{
    char *end = NULL;
    unsigned long long number = strtoull(value, &end, 10), last = number;
    if (end == value)
        return false;
    if (strcmp(name, "--seeds") == 0 && strncmp(end, "..", 2) == 0)
        last = strtoull(end + 2, &end, 10);
    if (*end != '\0')
        return false;
    if (strcmp(name, "--seeds") == 0 || strcmp(name, "--seed") == 0) {
        options->first = number;
        options->last = last;
        if (number == last)
            options->jobs = 1;
    } else if (strcmp(name, "--seconds") == 0) {
        options->seconds = (unsigned)number;
    } else if (strcmp(name, "--jobs") == 0 && number > 0 && number <= 256) {
        options->jobs = (unsigned)number;
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.first = 1, .last = 2000, .jobs = 2};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(HELP, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--trace") == 0)
            options.trace = true;
        else if (strcmp(argv[i], "--all") == 0)
            options.all = true;
        else if (i + 1 == argc || !take_value(&options, argv[i], argv[i + 1]))
            return usage("an unknown option, or one without its number");
        else
            i++;
    }
    return run_jobs(&options);
}
