/* Notify: tells systemd how the process is, as sd_notify(3) has it; nothing without NOTIFY_SOCKET
 * in the environment, or when it was built without libsystemd. One thread. Each call is a datagram
 * at most. The observer beats every OBSERVER_MS: the WatchdogSec of a unit is 2 s at least.
 */
#ifndef QUIRE_HTTP_NOTIFY_H
#define QUIRE_HTTP_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify {
    bool told_ready;
    uint64_t watchdog_us; /* silence that the supervisor bears; 0: any */
    char status[256];     /* as it was told last */
};

/* Whether anybody listens; reads the environment. */
bool notify_init(struct notify *notify);
/* How it is now. The first time that it is ready ends what `systemctl start` waits for; `why` (used
 * when it is not) is the unit's status. */
void notify_set_ready(struct notify *notify, bool ready, const char *why);
/* The loop has turned: what the watchdog waits for. */
void notify_beat(struct notify *notify);
void notify_stopping(struct notify *notify);

#endif
