#include "client/cli/progress.h"

#include "client/cli/cli.h"
#include "proto/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 30

void progress_start(struct progress *progress, const char *doing, uint64_t size)
{
    *progress = (struct progress){
        .shown = isatty(STDERR_FILENO), .doing = doing, .size = size, .began_ms = clock_ms()};
}

void progress_update(struct progress *progress, uint64_t done, uint64_t entries)
{
    char bar[BAR_WIDTH + 1], count[32], rate[32];
    uint64_t now = clock_ms();
    uint64_t per_second = entries * 1000 / (now - progress->began_ms + 1);

    if (!progress->shown || now - progress->drawn_ms < 100)
        return;
    progress->drawn_ms = now;
    if (progress->size == 0) {
        fprintf(stderr, "\r%s  %s entries, %s a second\033[K", progress->doing,
                cli_count(entries, count), cli_count(per_second, rate));
    } else {
        uint64_t part = done > progress->size ? progress->size : done;
        size_t full = (size_t)(part * BAR_WIDTH / progress->size);
        memset(bar, '.', BAR_WIDTH);
        memset(bar, '#', full);
        bar[BAR_WIDTH] = '\0';
        fprintf(stderr, "\r%s  [%s] %3d %%  %s entries, %s a second\033[K", progress->doing, bar,
                (int)(part * 100 / progress->size), cli_count(entries, count),
                cli_count(per_second, rate));
    }
    fflush(stderr);
}

void progress_stop(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
