/* quire down: stops a local cluster. Its data stays. */
#include "client/cli/commands.h"
#include "client/cli/local.h"

#include "proto/base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define STOP_MS 30000

/* A cluster in the foreground is stopped by its parent, which would start again what we stop. */
static size_t stop_supervisor(const struct local *local)
{
    pid_t pid = local_pid(local, LOCAL_SUPERVISOR);
    uint64_t deadline = clock_ms() + STOP_MS + 5000;

    if (pid == 0)
        return 0;
    kill(pid, SIGTERM);
    while (local_alive(pid) && clock_ms() < deadline)
        usleep(50000);
    return 1;
}

int cmd_down(const struct cli_command *command, int argc, char **argv)
{
    char error[LOCAL_ERROR_SIZE] = "";
    const char *dir = NULL;
    const struct cli_option options[] = {{"dir", 'd', CLI_TEXT, &dir, 0, 0}};
    size_t stopped = 0, killed = 0, foreground = 0;
    struct local local;
    struct cli cli;
    int exit;

    if (!cli_parse(&cli, command, argc, argv, options, 1, 0, 0, &exit))
        return exit;
    if (!local_open(&local, dir, false, error)) {
        exit = cli_failed(&cli, QUIRE_UNAVAILABLE, error, NULL);
        local_close(&local);
        return exit;
    }
    if (local.lock >= 0) {
        foreground = stop_supervisor(&local);
        local_stop(&local, STOP_MS, &stopped, &killed);
    }
    if (cli.json)
        cli_print_json(&cli,
                       json_pack("{s:o,s:I,s:I}", "dir",
                                 local.dir != NULL ? cli_text(local.dir) : json_null(), "stopped",
                                 (json_int_t)stopped, "killed", (json_int_t)killed));
    else if (stopped == 0 && foreground == 0)
        printf("no cluster was up%s%s\n", local.dir != NULL ? " in " : "",
               local.dir != NULL ? local.dir : "");
    else
        printf("the cluster in %s is down; its data stays\n", local.dir);
    if (killed > 0)
        cli_say(&cli, "%zu processes did not stop within %d s and were killed", killed,
                STOP_MS / 1000);
    local_close(&local);
    return cli_end(&cli, CLI_DONE);
}
