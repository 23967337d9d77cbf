/* Addresses of processes: tcp://HOST:PORT (tcp4, tcp6: of one family only) and ipc://PATH. HOST is
 * a name, an IPv4 address, an IPv6 address in brackets, or * for all of the machine's own; PORT is
 * a number from 0 (to listen where the kernel picks) to 65535. Any thread. */
#ifndef QUIRE_RPC_URL_H
#define QUIRE_RPC_URL_H

#include <stdbool.h>
#include <stddef.h>

#define URL_MAX 255 /* bytes */
#define URL_MEANING "an address of the form tcp://HOST:PORT"
#define URLS_MEANING "one or more addresses of the form tcp://HOST:PORT, with commas between them"

/* Whether it has the form; whether the name is known shows when it is used. */
bool url_valid(const char *text);
/* The same of a list with commas between, which has at least one. */
bool urls_valid(const char *list);
/* The HOST of a tcp url without brackets, and its PORT. False: it is none, or HOST is too long. */
bool url_split(const char *url, char *host, size_t size, int *port);
/* Cuts a list in place: at most `most` pieces into `out`, empty ones left out. How many. */
size_t urls_split(char *list, const char **out, size_t most);

#endif
