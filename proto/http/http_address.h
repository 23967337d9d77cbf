/* HOST:PORT, where pages are served: an IPv4 address or a name that has one, and a port from 0 (the
 * kernel picks one) to 65535. */
#ifndef QUIRE_HTTP_ADDRESS_H
#define QUIRE_HTTP_ADDRESS_H

#include "proto/base/err.h"

#include <stdbool.h>

#define HTTP_ADDRESS_MAX 255 /* bytes of HOST */
#define HTTP_ADDRESS_MEANING "HOST:PORT, with an IPv4 address or a name, and a port from 0 to 65535"

/* Whether it has the form; whether the name is known shows when it is listened on. */
bool http_address_valid(const char *text);
/* A socket that listens there (not blocking, closed on exec) and its port. Looks the name up, which
 * may take as long as the system's resolver takes. ERR_INVALID, ERR_IO: says which address. */
int http_address_listen(const char *text, int *fd, int *port, struct err *err);

#endif
