/* Notify: tells systemd how the process is, as sd_notify(3) has it; nothing without NOTIFY_SOCKET
 * in the environment, or when it was built without libsystemd. One thread.
 */
#ifndef QUIRE_HTTP_NOTIFY_H
#define QUIRE_HTTP_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify {
    bool told_ready;
    uint64_t watchdog_us; /* how often the supervisor wants to hear; 0: it does not */
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
