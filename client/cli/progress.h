/* A progress bar on standard error, when that is a terminal; else nothing. One thread at a time. */
#ifndef QUIRE_CLI_PROGRESS_H
#define QUIRE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown;        /* there is a terminal */
    const char *doing; /* "importing" */
    uint64_t size;     /* bytes in all; 0: not known, then there is no bar */
    uint64_t began_ms;
    uint64_t drawn_ms;
};

void progress_start(struct progress *progress, const char *doing, uint64_t size);
/* Redraws, at most ten times a second. */
void progress_update(struct progress *progress, uint64_t done, uint64_t entries);
/* Removes the bar. */
void progress_stop(struct progress *progress);

#endif
