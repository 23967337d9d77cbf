/* How raft dials the other coordinators: a transport like that of raft_uv_tcp_init(), which it uses
 * to listen, with connections that do not outlive a network that was cut.
 *
 * An address to dial is HOST:PORT with a name or an IPv4 address. A name is looked up at each dial,
 * so that a coordinator that comes back with another address under its name is found.
 *
 * TCP tries again after ever longer pauses what was not acknowledged: a coordinator that was cut
 * off for a minute gets the next packet of its leader up to a minute after the network is whole. So
 * a connection is given up when what it sent was not acknowledged for RAFT_DIAL_MS, an attempt to
 * connect after as long, and raft dials again.
 */
#ifndef QUIRE_COORDINATOR_RAFT_DIAL_H
#define QUIRE_COORDINATOR_RAFT_DIAL_H

#include "proto/base/list.h"

#include <raft.h>
#include <raft/uv.h>

#define RAFT_DIAL_MS 1000
#define RAFT_DIAL_RETRY_MS 200 /* for raft_uv_set_connect_retry_delay() */

struct raft_dialer {
    struct raft_uv_transport transport; /* for raft_uv_init() */
    struct raft_uv_transport tcp;       /* what listens */
    uv_loop_t *loop;
    const char *listen; /* HOST:PORT, an IPv4 address; NULL: its own address */
    raft_id id;         /* of this coordinator, as the other side is told; and: */
    const char *address;
    struct list dials; /* under way */
    bool closing, closed;
    raft_uv_accept_cb on_accepted;
    raft_uv_transport_close_cb on_closed;
};

/* HOST and PORT (0 to 65535) of HOST:PORT; HOST is not empty, and not looked at. */
bool raft_address_split(const char *address, char *host, size_t size, int *port);

/* `listen` is kept. 0, or as raft_uv_tcp_init() says. */
int raft_dial_init(struct raft_dialer *dialer, uv_loop_t *loop, const char *listen);
/* After raft has closed the transport, or never had it. */
void raft_dial_deinit(struct raft_dialer *dialer);

#endif
