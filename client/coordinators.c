#include "client/coordinators.h"

#include "proto/base/bytes.h"
#include "proto/text/key.h"
#include "quire.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONNECT "tcp://127.0.0.1:7400"

static bool port_valid(const char *text)
{
    char *end;
    long port;
    if (!isdigit((unsigned char)text[0]))
        return false;
    port = strtol(text, &end, 10);
    return *end == '\0' && port >= 1 && port <= 65535;
}

/* Where the colon of host:port is; NULL when there is none. "[::1]:7400" has its colons in
 * brackets. */
static const char *find_port(const char *address)
{
    const char *close = address[0] == '[' ? strchr(address, ']') : NULL;
    return strrchr(close ? close : address, ':');
}

static int parse_tcp(const char *part, const char *scheme, const char *address,
                     struct coordinator *out, struct err *err)
{
    const char *colon = find_port(address);
    size_t host = colon ? (size_t)(colon - address) : strlen(address);
    int written;
    if (host == 0 || strpbrk(address, "/ \t@?#") != NULL ||
        (address[0] != '[' && memchr(address, ':', host) != NULL) ||
        (address[0] == '[' && (host < 3 || address[host - 1] != ']')))
        return err_set(err, ERR_INVALID,
                       "connect: \"%.100s\" is no address of the form tcp://host:port", part);
    if (colon && !port_valid(colon + 1))
        return err_set(err, ERR_INVALID,
                       "connect: \"%.100s\" has no port from 1 to 65535 after the colon", part);
    if (colon)
        written = snprintf(out->url, sizeof(out->url), "%s%s", scheme, address);
    else
        written =
            snprintf(out->url, sizeof(out->url), "%s%s:%d", scheme, address, QUIRE_DEFAULT_PORT);
    if (written >= (int)sizeof(out->url))
        return err_set(err, ERR_INVALID, "connect: the address \"%.40s...\" is too long", part);
    return 0;
}

static int parse_one(const char *part, struct coordinator *out, struct err *err)
{
    if (strncmp(part, "tcp://", 6) == 0)
        return parse_tcp(part, "tcp://", part + 6, out, err);
    if (strncmp(part, "ipc://", 6) == 0) {
        if (part[6] != '/' || strlen(part) >= sizeof(out->url))
            return err_set(err, ERR_INVALID,
                           "connect: \"%.100s\" is no address of the form ipc:///path", part);
        strcpy(out->url, part);
        return 0;
    }
    if (strstr(part, "://") != NULL)
        return err_set(err, ERR_INVALID, "connect: \"%.100s\": only tcp:// and ipc:// are known",
                       part);
    return parse_tcp(part, "tcp://", part, out, err);
}

int coordinators_parse(const char *connect, struct coordinators *out, struct err *err)
{
    memset(out, 0, sizeof(*out));
    if (connect == NULL)
        connect = getenv("QUIRE_CONNECT");
    if (connect == NULL || connect[0] == '\0')
        connect = DEFAULT_CONNECT;
    if (!text_valid(bytes_str(connect), NULL))
        return err_set(err, ERR_INVALID, "connect: not UTF-8");
    for (const char *at = connect;;) {
        char part[COORDINATOR_URL_MAX];
        size_t length = strcspn(at, ",");
        const char *next = at + length;
        while (length > 0 && isspace((unsigned char)at[0]))
            at++, length--;
        while (length > 0 && isspace((unsigned char)at[length - 1]))
            length--;
        if (length == 0)
            return err_set(err, ERR_INVALID, "connect: an address is missing in \"%.100s\"",
                           connect);
        if (length >= sizeof(part))
            return err_set(err, ERR_INVALID, "connect: the address \"%.40s...\" is too long", at);
        if (out->count == COORDINATORS_MAX)
            return err_set(err, ERR_INVALID, "connect: more than %d addresses", COORDINATORS_MAX);
        memcpy(part, at, length);
        part[length] = '\0';
        if (parse_one(part, &out->list[out->count], err) != 0)
            return ERR_INVALID;
        out->count++;
        if (*next == '\0')
            return 0;
        at = next + 1;
    }
}

void coordinators_text(const struct coordinators *coordinators, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < coordinators->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "",
                                 coordinators->list[i].url);
}
