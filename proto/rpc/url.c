#include "proto/rpc/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *after_tcp(const char *url)
{
    static const char *const schemes[] = {"tcp://", "tcp4://", "tcp6://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
            return url + strlen(schemes[i]);
    return NULL;
}

static bool parse_port(const char *text, int *out)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    *out = (int)port;
    return isdigit((unsigned char)text[0]) && *end == '\0' && port <= 65535;
}

bool url_split(const char *url, char *host, size_t size, int *port)
{
    const char *address = after_tcp(url);
    if (address == NULL)
        return false;
    bool brackets = address[0] == '[';
    size_t length = strcspn(address + brackets, brackets ? "]" : ":");
    const char *rest = address + brackets + length;
    if (brackets && *rest == ']')
        rest++;
    if (length == 0 || length >= size || *rest != ':' || !parse_port(rest + 1, port))
        return false;
    memcpy(host, address + brackets, length);
    host[length] = '\0';
    return strpbrk(host, "/ \t@?#,") == NULL;
}

bool url_valid(const char *text)
{
    char host[URL_MAX + 1];
    int port;
    if (strlen(text) > URL_MAX)
        return false;
    if (strncmp(text, "ipc://", 6) == 0)
        return text[6] != '\0';
    return url_split(text, host, sizeof host, &port);
}

bool urls_valid(const char *list)
{
    char one[URL_MAX + 1];
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        if (length >= sizeof one)
            return false;
        memcpy(one, at, length);
        one[length] = '\0';
        if (!url_valid(one))
            return false;
        at += length;
        if (*at == '\0')
            return true;
    }
}

size_t urls_split(char *list, const char **out, size_t most)
{
    size_t count = 0;
    for (char *rest = list, *one; (one = strsep(&rest, ",")) != NULL && count < most;)
        if (one[0] != '\0')
            out[count++] = one;
    return count;
}
