#include "proto/http/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef QUIRE_SYSTEMD
#include <systemd/sd-daemon.h>

static void tell(const char *state)
{
    sd_notify(0, state);
}

static uint64_t watchdog(void)
{
    uint64_t us;
    return sd_watchdog_enabled(0, &us) > 0 ? us : 0;
}

static bool listens(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}
#else
static void tell(const char *state)
{
    (void)state;
}

static uint64_t watchdog(void)
{
    return 0;
}

static bool listens(void)
{
    return false;
}
#endif

bool notify_init(struct notify *notify)
{
    *notify = (struct notify){.watchdog_us = watchdog()};
    return listens();
}

void notify_set_ready(struct notify *notify, bool ready, const char *why)
{
    char state[sizeof notify->status + 32];
    const char *status = ready ? "ready" : why;
    if (strncmp(notify->status, status, sizeof notify->status - 1) == 0)
        return;
    snprintf(notify->status, sizeof notify->status, "%s", status);
    snprintf(state, sizeof state, "%sSTATUS=%s", ready && !notify->told_ready ? "READY=1\n" : "",
             notify->status);
    notify->told_ready |= ready;
    tell(state);
}

void notify_beat(struct notify *notify)
{
    if (notify->watchdog_us > 0)
        tell("WATCHDOG=1");
}

void notify_stopping(struct notify *notify)
{
    (void)notify;
    tell("STOPPING=1");
}
