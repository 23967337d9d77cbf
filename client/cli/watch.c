#include "client/cli/watch.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define HOME_AND_ERASE "\033[H\033[J"

bool watch_seconds(const char *text, uint64_t *seconds)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *seconds = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *seconds >= 1 && *seconds <= WATCH_SECONDS_MAX;
}

static void on_interrupt(int number)
{
    (void)number;
    _exit(CLI_DONE);
}

/* SIGINT is blocked but while the main thread waits: libquire's threads are started with it
 * blocked, and never get it. */
static void let_interrupt(bool may)
{
    sigset_t interrupt;

    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(may ? SIG_UNBLOCK : SIG_BLOCK, &interrupt, NULL);
}

static void print_head(const struct watch *watch)
{
    char now[32];
    time_t seconds = time(NULL);
    struct tm local;

    localtime_r(&seconds, &local);
    strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S", &local);
    fputs(watch->terminal ? HOME_AND_ERASE : watch->views > 0 ? "\n" : "", stdout);
    printf("%s, every %u s%s\n", now, watch->seconds, watch->terminal ? ", until Ctrl-C" : "");
}

void watch_prints(struct watch *watch, struct cli *cli)
{
    if (watch == NULL)
        return;
    let_interrupt(false);
    cli->printed = false;
    if (!cli->json)
        print_head(watch);
    watch->views++;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    const struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

int watch_run(struct cli *cli, unsigned seconds, int (*show)(struct cli *cli, struct watch *watch))
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    struct watch watch = {.terminal = isatty(STDOUT_FILENO), .seconds = seconds};
    int exit = CLI_CLUSTER;

    let_interrupt(false);
    sigaction(SIGINT, &action, NULL);
    if (!cli_connect(cli, &exit))
        return exit;
    for (;;) {
        uint64_t next = now_ns() + (uint64_t)seconds * 1000000000;
        let_interrupt(true);
        (void)show(cli, &watch);
        if (fflush(stdout) != 0 || ferror(stdout)) /* the reader went away */
            return cli_end(cli, CLI_CLUSTER);
        let_interrupt(true);
        sleep_until(next);
    }
}
