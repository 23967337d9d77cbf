/* Raft's dialling.
 *
 *   look up, connect, within RAFT_DIAL_MS -> write the handshake -> hand the stream to raft
 *
 * The handshake is what raft's listener reads (uv_tcp_listen.c of libraft 0.15), in le64: its
 * version, the id of who dials, the size of his address; then the address, with zeros up to a
 * multiple of 8.
 *
 * A dial ends once, with ended(); its handles are closed then (but for the stream, when raft gets
 * it), and raft is told after the last one.
 */
#include "coordinator/raft_dial.h"

#include "proto/base/bytes.h"

#include <assert.h>
#include <ctype.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HANDSHAKE_VERSION 1

struct dial {
    struct list link;
    struct raft_dialer *dialer;
    struct raft_uv_connect *request;
    uv_tcp_t *tcp; /* raft frees it, in the end */
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
    uv_write_t write;
    uv_timer_t timeout;
    struct buf handshake;
    int handles; /* to be closed before raft is told */
    bool ended;
    int status;
};

static void close_if_done(struct raft_dialer *dialer)
{
    if (dialer->closed && list_empty(&dialer->dials))
        dialer->on_closed(&dialer->transport);
}

static void handle_closed(struct dial *dial)
{
    if (--dial->handles > 0)
        return;
    struct raft_dialer *dialer = dial->dialer;
    uv_stream_t *stream = dial->status == 0 ? (uv_stream_t *)dial->tcp : NULL;
    if (stream == NULL)
        raft_free(dial->tcp);
    list_remove(&dial->link);
    dial->request->cb(dial->request, stream, dial->status);
    buf_deinit(&dial->handshake);
    free(dial);
    close_if_done(dialer);
}

static void on_handle_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static void ended(struct dial *dial, int status)
{
    if (dial->ended)
        return;
    dial->ended = true;
    dial->status = status;
    uv_close((uv_handle_t *)&dial->timeout, on_handle_closed);
    if (status != 0) {
        dial->handles++;
        uv_close((uv_handle_t *)dial->tcp, on_handle_closed);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    ended(timer->data, RAFT_NOCONNECTION);
}

static void on_written(uv_write_t *write, int status)
{
    ended(write->data, status == 0 ? 0 : RAFT_NOCONNECTION);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct dial *dial = connect->data;
    if (dial->ended)
        return;
    uv_buf_t buf = uv_buf_init((char *)dial->handshake.data, (unsigned)dial->handshake.size);
    dial->write.data = dial;
    if (status != 0 || uv_write(&dial->write, (uv_stream_t *)dial->tcp, &buf, 1, on_written) != 0)
        ended(dial, RAFT_NOCONNECTION);
}

static void make_handshake(const struct raft_dialer *dialer, struct buf *out)
{
    static const char zeros[8];
    size_t size = strlen(dialer->address) + 1;
    size_t padding = (8 - size % 8) % 8;
    buf_init(out);
    buf_append_le64(out, HANDSHAKE_VERSION);
    buf_append_le64(out, dialer->id);
    buf_append_le64(out, size + padding);
    buf_append(out, dialer->address, size);
    buf_append(out, zeros, padding);
}

bool raft_address_split(const char *address, char *host, size_t size, int *port)
{
    const char *colon = strrchr(address, ':');
    char *end;
    if (colon == NULL || colon == address || (size_t)(colon - address) >= size)
        return false;
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    unsigned long number = strtoul(colon + 1, &end, 10);
    *port = (int)number;
    return isdigit((unsigned char)colon[1]) && *end == '\0' && number <= 65535;
}

static void on_looked_up(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct dial *dial = lookup->data;
    if (!dial->ended &&
        (status != 0 || uv_tcp_connect(&dial->connect, dial->tcp, found->ai_addr, on_connected)))
        ended(dial, RAFT_NOCONNECTION);
    uv_freeaddrinfo(found);
    handle_closed(dial);
}

/* 0, or an error of libuv: then nothing is under way. A lookup counts as a handle: it goes on when
 * the dial has ended, for as long as the system's resolver takes. */
static int find_and_connect(struct dial *dial, const char *address)
{
    static const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    char host[256], service[8];
    int port;
    struct sockaddr_in numeric;
    if (!raft_address_split(address, host, sizeof host, &port))
        return UV_EINVAL;
    if (uv_ip4_addr(host, port, &numeric) == 0)
        return uv_tcp_connect(&dial->connect, dial->tcp, (struct sockaddr *)&numeric, on_connected);
    snprintf(service, sizeof service, "%d", port);
    dial->lookup.data = dial;
    int rc = uv_getaddrinfo(dial->dialer->loop, &dial->lookup, on_looked_up, host, service, &hints);
    dial->handles += rc == 0;
    return rc;
}

/* The socket is there before it is connected, so that its options hold from the first packet on. */
static int open_socket(struct dial *dial)
{
    unsigned timeout_ms = RAFT_DIAL_MS;
    uv_os_fd_t socket;
    if (uv_tcp_init_ex(dial->dialer->loop, dial->tcp, AF_INET) != 0)
        return -1;
    dial->tcp->data = dial;
    if (uv_fileno((uv_handle_t *)dial->tcp, &socket) == 0)
        setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    return 0;
}

static int dial_start(struct raft_uv_transport *transport, struct raft_uv_connect *request,
                      raft_id id, const char *address, raft_uv_connect_cb cb)
{
    struct raft_dialer *dialer = transport->impl;
    (void)id;
    assert(!dialer->closing);
    struct dial *dial = calloc(1, sizeof *dial);
    uv_tcp_t *tcp = raft_malloc(sizeof *tcp);
    if (dial == NULL || tcp == NULL) {
        free(dial);
        raft_free(tcp);
        return RAFT_NOMEM;
    }
    dial->dialer = dialer;
    dial->request = request;
    dial->tcp = tcp;
    if (open_socket(dial) != 0) {
        free(dial);
        raft_free(tcp);
        return RAFT_NOCONNECTION;
    }
    request->cb = cb;
    make_handshake(dialer, &dial->handshake);
    uv_timer_init(dialer->loop, &dial->timeout);
    dial->timeout.data = dial->connect.data = dial;
    dial->handles = 1;
    list_push(&dialer->dials, &dial->link);
    uv_timer_start(&dial->timeout, on_timeout, RAFT_DIAL_MS, 0);
    if (find_and_connect(dial, address) != 0)
        ended(dial, RAFT_NOCONNECTION); /* raft is told later, as it expects */
    return 0;
}

/* ---- the rest of the transport ---- */

static int start(struct raft_uv_transport *transport, raft_id id, const char *address)
{
    struct raft_dialer *dialer = transport->impl;
    dialer->id = id;
    dialer->address = address; /* raft's own, there until after the close */
    return dialer->tcp.init(&dialer->tcp, id, dialer->listen != NULL ? dialer->listen : address);
}

static void on_accepted(struct raft_uv_transport *tcp, raft_id id, const char *address,
                        uv_stream_t *stream)
{
    struct raft_dialer *dialer = tcp->data;
    dialer->on_accepted(&dialer->transport, id, address, stream);
}

static int start_listening(struct raft_uv_transport *transport, raft_uv_accept_cb accepted)
{
    struct raft_dialer *dialer = transport->impl;
    dialer->on_accepted = accepted;
    int rc = dialer->tcp.listen(&dialer->tcp, on_accepted);
    if (rc != 0)
        memcpy(transport->errmsg, dialer->tcp.errmsg, sizeof transport->errmsg);
    return rc;
}

static void on_tcp_closed(struct raft_uv_transport *tcp)
{
    struct raft_dialer *dialer = tcp->data;
    dialer->closed = true;
    close_if_done(dialer);
}

static void close_all(struct raft_uv_transport *transport, raft_uv_transport_close_cb closed)
{
    struct raft_dialer *dialer = transport->impl;
    dialer->closing = true;
    dialer->on_closed = closed;
    for (struct list *link = dialer->dials.next; link != &dialer->dials; link = link->next)
        ended(list_entry(link, struct dial, link), RAFT_CANCELED);
    dialer->tcp.close(&dialer->tcp, on_tcp_closed);
}

int raft_dial_init(struct raft_dialer *dialer, uv_loop_t *loop, const char *listen)
{
    *dialer = (struct raft_dialer){.loop = loop,
                                   .listen = listen,
                                   .transport = {.impl = dialer,
                                                 .init = start,
                                                 .listen = start_listening,
                                                 .connect = dial_start,
                                                 .close = close_all}};
    list_init(&dialer->dials);
    int rc = raft_uv_tcp_init(&dialer->tcp, loop);
    dialer->tcp.data = dialer;
    return rc;
}

void raft_dial_deinit(struct raft_dialer *dialer)
{
    raft_uv_tcp_close(&dialer->tcp);
}
