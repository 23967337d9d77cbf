/* A TCP proxy that does to connections what networks, crashes and strangers do: resets them, closes
 * one side, flips a byte, adds garbage, cuts in the middle of a frame, or stops to move anything.
 * One thread, plain sockets, nothing of nng. Used by test_rpc_stress.c.
 */
#ifndef QUIRE_TESTS_CHAOS_PROXY_H
#define QUIRE_TESTS_CHAOS_PROXY_H

#include "proto/base/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROXY_LINKS 256
#define PROXY_TARGETS 4
#define PROXY_BUFFER 32768
#define PROXY_STALL_MS 4000

enum fate { FATE_NONE, FATE_RESET, FATE_CLOSE, FATE_FLIP, FATE_GARBAGE, FATE_STALL, FATES };

struct proxy_link {
    int fd[2];                       /* the client's, the server's; -1 = free */
    uint8_t buffer[2][PROXY_BUFFER]; /* read from fd[i], not yet written to the other */
    size_t have[2];
    enum fate fate;
    int64_t fuse;        /* bytes until it is met */
    uint64_t stalled_ms; /* since when; 0 = not */
};

struct proxy {
    pthread_t thread;
    int targets;
    int listener[PROXY_TARGETS];
    int port[PROXY_TARGETS];
    int target[PROXY_TARGETS]; /* port of the server */
    uint64_t random;
    atomic_bool calm, stop;
    atomic_int met[FATES];
    struct proxy_link link[PROXY_LINKS];
};

static inline uint32_t chaos_random(uint64_t *random, uint32_t below)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (uint32_t)((*random >> 32) % below);
}

static inline int chaos_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    assert(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* With a reset instead of an orderly end. */
static inline void chaos_reset(int fd)
{
    struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

static void proxy_drop(struct proxy_link *link, bool reset)
{
    for (int i = 0; i < 2; i++) {
        if (reset)
            chaos_reset(link->fd[i]);
        else
            close(link->fd[i]);
        link->fd[i] = -1;
    }
}

static void proxy_accept(struct proxy *proxy, int target)
{
    int fd = accept4(proxy->listener[target], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct proxy_link *link = proxy->link;
    while (link < proxy->link + PROXY_LINKS && link->fd[0] >= 0)
        link++;
    int other = link < proxy->link + PROXY_LINKS ? chaos_connect(proxy->target[target]) : -1;
    if (other < 0) {
        close(fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    link->fd[0] = fd;
    link->fd[1] = other;
    link->have[0] = link->have[1] = 0;
    link->stalled_ms = 0;
    /* Stalls take seconds to be noticed, so they are rarer than the rest. */
    link->fate = chaos_random(&proxy->random, 12) == 0
                     ? FATE_STALL
                     : (enum fate)chaos_random(&proxy->random, FATE_STALL);
    /* Some in the middle of Hello, most under load. */
    link->fuse = chaos_random(&proxy->random, chaos_random(&proxy->random, 4) ? 200000 : 150);
}

/* `data` has just been read from side `from`. False when the link is gone. */
static bool proxy_meet_fate(struct proxy *proxy, struct proxy_link *link, int from, size_t count)
{
    link->fuse -= (int64_t)count;
    if (link->fuse > 0 || link->fate == FATE_NONE || atomic_load(&proxy->calm))
        return true;
    uint8_t *data = link->buffer[from];
    size_t *have = &link->have[from];
    enum fate fate = link->fate;
    link->fate = FATE_NONE;
    atomic_fetch_add(&proxy->met[fate], 1);
    switch (fate) {
    case FATE_RESET:
        proxy_drop(link, true);
        return false;
    case FATE_CLOSE: /* what goes out is cut anywhere, mostly inside a frame */
        if (*have && send(link->fd[!from], data, *have / 2 + 1, MSG_NOSIGNAL) < 0)
            *have = 0;
        proxy_drop(link, false);
        return false;
    case FATE_FLIP:
        data[chaos_random(&proxy->random, (uint32_t)*have)] ^=
            (uint8_t)(1 << chaos_random(&proxy->random, 8));
        return true;
    case FATE_GARBAGE:
        for (size_t i = chaos_random(&proxy->random, (uint32_t)*have); i < *have; i++)
            data[i] = (uint8_t)chaos_random(&proxy->random, 256);
        return true;
    case FATE_STALL:
        link->stalled_ms = clock_ms();
        return true;
    default:
        return true;
    }
}

/* Reads what there is room for, and writes what there is. False when the link is gone. */
static bool proxy_move(struct proxy *proxy, struct proxy_link *link, int from)
{
    if (!link->have[from]) {
        ssize_t count = recv(link->fd[from], link->buffer[from], PROXY_BUFFER, 0);
        if (count == 0 || (count < 0 && errno != EAGAIN)) {
            proxy_drop(link, count < 0);
            return false;
        }
        if (count < 0)
            return true;
        link->have[from] = (size_t)count;
        if (!proxy_meet_fate(proxy, link, from, (size_t)count))
            return false;
        if (link->stalled_ms)
            return true;
    }
    ssize_t count = send(link->fd[!from], link->buffer[from], link->have[from], MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
        proxy_drop(link, true);
        return false;
    }
    if (count > 0) {
        link->have[from] -= (size_t)count;
        memmove(link->buffer[from], link->buffer[from] + count, link->have[from]);
    }
    return true;
}

static void proxy_turn(struct proxy *proxy)
{
    static struct pollfd polls[PROXY_TARGETS + 2 * PROXY_LINKS];
    static struct proxy_link *owner[PROXY_TARGETS + 2 * PROXY_LINKS];
    nfds_t count = 0;
    for (int i = 0; i < proxy->targets; i++)
        polls[count++] = (struct pollfd){.fd = proxy->listener[i], .events = POLLIN};
    for (struct proxy_link *link = proxy->link; link < proxy->link + PROXY_LINKS; link++) {
        if (link->fd[0] < 0)
            continue;
        if (link->stalled_ms) {
            if (clock_ms() > link->stalled_ms + PROXY_STALL_MS)
                proxy_drop(link, false);
            continue;
        }
        for (int i = 0; i < 2; i++) {
            short events = 0;
            if (!link->have[i])
                events |= POLLIN;
            if (link->have[!i])
                events |= POLLOUT;
            owner[count] = link;
            polls[count++] = (struct pollfd){.fd = link->fd[i], .events = events};
        }
    }
    poll(polls, count, 20);
    for (nfds_t i = (nfds_t)proxy->targets; i < count; i += 2) {
        if (!polls[i].revents && !polls[i + 1].revents)
            continue;
        if (proxy_move(proxy, owner[i], 0) && !owner[i]->stalled_ms)
            proxy_move(proxy, owner[i], 1);
    }
    for (int i = 0; i < proxy->targets; i++)
        if (polls[i].revents)
            proxy_accept(proxy, i);
}

static void *proxy_main(void *data)
{
    struct proxy *proxy = data;
    while (!atomic_load(&proxy->stop))
        proxy_turn(proxy);
    for (struct proxy_link *link = proxy->link; link < proxy->link + PROXY_LINKS; link++)
        if (link->fd[0] >= 0)
            proxy_drop(link, false);
    return NULL;
}

/* Returns the port to dial instead of `target`. Before proxy_start(). */
static inline int proxy_add(struct proxy *proxy, int target)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert(proxy->targets < PROXY_TARGETS);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int status = bind(fd, (struct sockaddr *)&address, sizeof address);
    assert(fd >= 0 && status == 0);
    status = listen(fd, 128) | getsockname(fd, (struct sockaddr *)&address, &size);
    assert(status == 0);
    proxy->listener[proxy->targets] = fd;
    proxy->target[proxy->targets] = target;
    return proxy->port[proxy->targets++] = ntohs(address.sin_port);
}

static inline void proxy_start(struct proxy *proxy, uint64_t seed)
{
    proxy->random = seed | 1;
    for (int i = 0; i < PROXY_LINKS; i++)
        proxy->link[i].fd[0] = proxy->link[i].fd[1] = -1;
    int status = pthread_create(&proxy->thread, NULL, proxy_main, proxy);
    assert(status == 0);
}

static inline void proxy_stop(struct proxy *proxy)
{
    atomic_store(&proxy->stop, true);
    pthread_join(proxy->thread, NULL);
    for (int i = 0; i < proxy->targets; i++)
        close(proxy->listener[i]);
}

#endif
