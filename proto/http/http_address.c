#include "proto/http/http_address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64

struct address {
    char host[HTTP_ADDRESS_MAX + 1];
    char port[8];
};

static bool parse(const char *text, struct address *out)
{
    const char *colon = strrchr(text, ':');
    size_t host = colon != NULL ? (size_t)(colon - text) : 0;
    if (host == 0 || host > HTTP_ADDRESS_MAX || memchr(text, ':', host) != NULL ||
        strpbrk(text, " /[]") != NULL)
        return false;
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] != '\0' ||
        strtol(colon + 1, NULL, 10) > 65535)
        return false;
    memcpy(out->host, text, host);
    out->host[host] = '\0';
    memcpy(out->port, colon + 1, digits + 1);
    return true;
}

bool http_address_valid(const char *text)
{
    struct address address;
    return parse(text, &address);
}

static int listen_on(int fd, const struct addrinfo *info, int *port)
{
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    int yes = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &size) != 0)
        return errno;
    *port = ntohs(bound.sin_port);
    return 0;
}

int http_address_listen(const char *text, int *fd, int *port, struct err *err)
{
    struct address address;
    struct addrinfo *info = NULL;
    *fd = -1;
    if (!parse(text, &address))
        return err_set(err, ERR_INVALID,
                       "listen for http on \"%.300s\": an address is HOST:PORT, with an IPv4 "
                       "address or a name, and a port from 0 to 65535",
                       text);
    const struct addrinfo hints = {
        .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int status = getaddrinfo(address.host, address.port, &hints, &info);
    if (status != 0)
        return err_set(err, ERR_INVALID, "listen for http on %.300s: %s", text,
                       gai_strerror(status));
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    status = *fd < 0 ? errno : listen_on(*fd, info, port);
    freeaddrinfo(info);
    if (status == 0)
        return 0;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return err_set(err, ERR_IO, "listen for http on %.300s: %s", text, strerror(status));
}
