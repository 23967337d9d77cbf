/* Watch: a command's answer again and again, until Ctrl-C.
 *
 * On a terminal each view takes the place of the one before; elsewhere they follow one another,
 * with an empty line between, or, with --json, as one document a line. A view that could not be had
 * is a sentence on standard error, and the next one is tried for all the same.
 *
 * Ctrl-C (SIGINT) ends the process with status 0, at once while it waits or asks, and after the
 * view while it prints one, so that no view is cut short.
 */
#ifndef QUIRE_CLI_WATCH_H
#define QUIRE_CLI_WATCH_H

#include "client/cli/cli.h"

#define WATCH_SECONDS 2 /* unless it is told otherwise */
#define WATCH_SECONDS_MAX 3600

/* "1" to WATCH_SECONDS_MAX. */
bool watch_seconds(const char *text, uint64_t *seconds);
struct watch {
    bool terminal; /* standard output is one */
    unsigned seconds;
    uint64_t views; /* so far */
};

/* Connects, and calls `show` every so many seconds: it asks, calls watch_prints(), and prints; what
 * it returns does not matter. Ends the client. Returns only when nothing can be shown: CLI_CLUSTER
 * when standard output is gone. */
int watch_run(struct cli *cli, unsigned seconds, int (*show)(struct cli *cli, struct watch *watch));
/* What follows is printed. NULL, when nobody watches: nothing. */
void watch_prints(struct watch *watch, struct cli *cli);

#endif
