/* The two messages that rpc itself reads and writes. What the other side sends is not trusted: ids
 * are bounded, and texts are made printable before they reach a log or a terminal. */
#include "proto/rpc/internal.h"

#include "proto/quire.pb-c.h"

#include <stdio.h>
#include <string.h>

static void pack(struct buf *out, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_extend(out, size));
}

void rpc_encode_hello(struct buf *out, const struct rpc *rpc)
{
    Quire__Hello hello = QUIRE__HELLO__INIT;
    hello.protocol = RPC_PROTOCOL_VERSION;
    hello.role = rpc->role;
    hello.node_id = (char *)rpc->node_id;
    hello.cluster_id = (char *)rpc->cluster_id;
    hello.software = (char *)"quire " QUIRE_VERSION;
    pack(out, &hello.base);
}

void rpc_encode_error(struct buf *out, const struct err *err)
{
    Quire__Error error = QUIRE__ERROR__INIT;
    error.code = (uint32_t)err->code;
    error.text = (char *)(uintptr_t)err->text;
    error.has_retry_after_ms = err->retry_after_ms != 0;
    error.retry_after_ms = err->retry_after_ms;
    pack(out, &error.base);
}

/* Control characters could forge log lines or steer a terminal. */
static void make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < ' ' || *p == 0x7f)
            *p = ' ';
}

void rpc_decode_error(struct bytes payload, struct err *err)
{
    struct arena arena;
    arena_init(&arena, 0);
    Quire__Error *error = quire__error__unpack(arena_protobuf(&arena), payload.size, payload.data);
    if (!error) {
        err_set(err, ERR_PROTOCOL, "the other side sent an error that cannot be read");
    } else {
        int code = error->code && error->code <= INT32_MAX ? (int)error->code : ERR_INTERNAL;
        bool worded = error->text && error->text[0];
        err_set(err, code, "%s", worded ? error->text : err_name(code));
        err->retry_after_ms = error->has_retry_after_ms ? error->retry_after_ms : 0;
        make_printable(err->text);
    }
    arena_deinit(&arena);
}

static const char *role_name(uint32_t role)
{
    switch (role) {
    case RPC_ROLE_CLIENT:
        return "client";
    case RPC_ROLE_COORDINATOR:
        return "coordinator";
    case RPC_ROLE_SHARD:
        return "shard";
    default:
        return "unknown role";
    }
}

static int check(const struct rpc *rpc, const Quire__Hello *hello, struct err *err)
{
    const char *here = role_name(rpc->role), *there = role_name(hello->role);
    /* The version first: with another one nothing else in the message is sure. */
    if (hello->protocol != RPC_PROTOCOL_VERSION)
        return err_set(err, ERR_PROTOCOL,
                       "protocol version %d is spoken here (%s, quire " QUIRE_VERSION
                       "), version %u there (%s)",
                       RPC_PROTOCOL_VERSION, here, hello->protocol, there);
    if (hello->role < RPC_ROLE_CLIENT || hello->role > RPC_ROLE_SHARD)
        return err_set(err, ERR_PROTOCOL, "Hello with unknown role %u", hello->role);
    if ((hello->node_id && strlen(hello->node_id) >= RPC_ID_SIZE) ||
        (hello->cluster_id && strlen(hello->cluster_id) >= RPC_ID_SIZE))
        return err_set(err, ERR_PROTOCOL, "Hello with an id longer than %d bytes", RPC_ID_SIZE - 1);
    const char *cluster = hello->cluster_id ? hello->cluster_id : "";
    if (cluster[0] && rpc->cluster_id[0] && strcmp(cluster, rpc->cluster_id) != 0)
        return err_set(err, ERR_PROTOCOL,
                       "another cluster: %s belongs to cluster %s, %s there to cluster %s", here,
                       rpc->cluster_id, there, cluster);
    return 0;
}

int rpc_check_hello(const struct rpc *rpc, struct bytes payload, enum rpc_role *role,
                    char node_id[RPC_ID_SIZE], struct err *err)
{
    struct arena arena;
    arena_init(&arena, 0);
    Quire__Hello *hello = quire__hello__unpack(arena_protobuf(&arena), payload.size, payload.data);
    int status =
        hello ? check(rpc, hello, err) : err_set(err, ERR_PROTOCOL, "a Hello that cannot be read");
    if (!status) {
        *role = (enum rpc_role)hello->role;
        snprintf(node_id, RPC_ID_SIZE, "%s", hello->node_id ? hello->node_id : "");
        make_printable(node_id);
    }
    if (err)
        make_printable(err->text);
    arena_deinit(&arena);
    return status;
}
