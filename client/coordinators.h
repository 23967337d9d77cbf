/* The coordinators of a `connect` text. */
#ifndef QUIRE_CLIENT_COORDINATORS_H
#define QUIRE_CLIENT_COORDINATORS_H

#include "proto/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define COORDINATORS_MAX 16
#define COORDINATOR_URL_MAX 256

struct quire_client;
struct rpc_peer;

struct coordinator {
    struct quire_client *client;
    char url[COORDINATOR_URL_MAX];
    struct rpc_peer *peer; /* NULL until dialed */
    bool connected;
};

struct coordinators {
    struct coordinator list[COORDINATORS_MAX];
    size_t count;
    size_t dialed;    /* the first so many have been */
    size_t preferred; /* requests go to this one while it is connected */
};

/* Parses "tcp://host:port, host:port, host, [::1]:7400, ipc:///path" into urls. ERR_INVALID names
 * the part that is no address. NULL: QUIRE_CONNECT, else the default. */
int coordinators_parse(const char *connect, struct coordinators *out, struct err *err);

/* Their urls, for messages: "tcp://a:7400, tcp://b:7400". */
void coordinators_text(const struct coordinators *coordinators, char *out, size_t size);

#endif
