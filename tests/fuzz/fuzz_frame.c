/* The frame decoder, and the two messages that rpc reads by itself (Hello and Error), on any bytes.
 *
 * What must hold: a complete frame lies inside the input and encodes back to the same bytes, except
 * for the four reserved ones; cutting the input never turns a frame that was not complete into one;
 * the result does not depend on bytes behind the frame; texts from outside come out printable.
 * Since random bytes hardly ever carry a right checksum, each input is also tried with its sum
 * corrected. */
#include "fuzz.h"

#include "proto/quire.pb-c.h"
#include "proto/rpc/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void check_complete(struct bytes in, const struct frame *frame, size_t size)
{
    assert(size >= FRAME_HEADER && size <= in.size);
    assert(frame->payload.data == in.data + FRAME_HEADER);
    assert(frame->payload.size == size - FRAME_HEADER);
    struct frame again;
    assert(frame_read(in.data, &again) == size);
    assert(again.id == frame->id && again.kind == frame->kind && again.flags == frame->flags);
    if (memcmp(in.data + 36, "\0\0\0\0", 4) != 0)
        return;
    struct buf buf = {0};
    frame_append(&buf, frame);
    assert(buf.size == size && memcmp(buf.data, in.data, size) == 0);
    buf_deinit(&buf);
}

static enum frame_status decode(struct bytes in, size_t *size)
{
    struct frame frame;
    struct err err = {0};
    enum frame_status status = frame_decode(in, RPC_FRAME_MAX, &frame, size, &err);
    if (status == FRAME_COMPLETE)
        check_complete(in, &frame, *size);
    else if (status == FRAME_BAD)
        assert(err.code && err.text[0] && strlen(err.text) < ERR_TEXT_MAX);
    else
        assert(*size == 0 ? in.size < FRAME_HEADER : *size > in.size);
    return status;
}

static void check_frames(const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t taken, cut;
        struct bytes rest = bytes_of(data + at, size - at);
        enum frame_status status = decode(rest, &taken);
        if (status != FRAME_COMPLETE)
            return;
        /* Alone in memory of its size, so that a read beyond it is seen. */
        uint8_t *copy = malloc(taken);
        assert(copy);
        memcpy(copy, rest.data, taken);
        assert(decode(bytes_of(copy, taken), &cut) == FRAME_COMPLETE && cut == taken);
        assert(decode(bytes_of(copy, taken - 1), &cut) == FRAME_PARTIAL);
        free(copy);
        at += taken;
    }
}

/* The same input as a frame whose sum is right, so that what lies behind the sum is reached. */
static void check_corrected(const uint8_t *data, size_t size)
{
    if (size < FRAME_HEADER)
        return;
    uint8_t *copy = malloc(size);
    assert(copy);
    memcpy(copy, data, size);
    memcpy(copy, "QRP1", 4);
    uint32_t length = (uint32_t)(size - FRAME_HEADER);
    memcpy(copy + 8, &length, sizeof length);
    uint32_t sum = checksum32(copy + 8, size - 8);
    memcpy(copy + 4, &sum, sizeof sum);
    size_t taken;
    assert(decode(bytes_of(copy, size), &taken) == FRAME_COMPLETE && taken == size);
    free(copy);
}

static void check_printable(const char *text, size_t limit)
{
    size_t length = strlen(text);
    assert(length < limit);
    for (size_t i = 0; i < length; i++)
        assert((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

static void check_messages(struct bytes payload)
{
    static struct rpc rpc = {.role = RPC_ROLE_COORDINATOR, .cluster_id = "cluster-1"};
    struct err err = {0};
    rpc_decode_error(payload, &err);
    assert(err.code != 0);
    check_printable(err.text, ERR_TEXT_MAX);
    enum rpc_role role = 0;
    char node_id[RPC_ID_SIZE] = "";
    err = (struct err){0};
    int status = rpc_check_hello(&rpc, payload, &role, node_id, &err);
    assert(status == err.code);
    check_printable(err.text, ERR_TEXT_MAX);
    check_printable(node_id, RPC_ID_SIZE);
    assert(status ? err.text[0] != 0 : role >= RPC_ROLE_CLIENT && role <= RPC_ROLE_SHARD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_frames(data, size);
    check_corrected(data, size);
    check_messages(bytes_of(data, size));
    if (size > FRAME_HEADER)
        check_messages(bytes_of(data + FRAME_HEADER, size - FRAME_HEADER));
    return 0;
}

/* Hello, Error, an empty Ping, and all three in a row. */
const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static struct fuzz_seed seeds[4];
    static struct buf frames, payload;
    static struct rpc rpc = {.role = RPC_ROLE_SHARD, .node_id = "n", .cluster_id = "cluster-1"};
    size_t bounds[4] = {0};
    buf_clear(&frames);
    for (int i = 0; i < 3; i++) {
        struct frame frame = {.kind = QUIRE__KIND__KIND_PING};
        buf_clear(&payload);
        if (i == 0) {
            rpc_encode_hello(&payload, &rpc);
            frame.kind = QUIRE__KIND__KIND_HELLO;
        } else if (i == 1) {
            struct err err;
            err_set(&err, ERR_STALE, "range 7 has epoch 9");
            rpc_encode_error(&payload, &err);
            frame.kind = QUIRE__KIND__KIND_ERROR;
            frame.flags = FRAME_REPLY;
        }
        frame.payload = buf_bytes(&payload);
        frame_append(&frames, &frame);
        bounds[i + 1] = frames.size;
    }
    for (int i = 0; i < 3; i++)
        seeds[i] = (struct fuzz_seed){frames.data + bounds[i], bounds[i + 1] - bounds[i]};
    seeds[3] = (struct fuzz_seed){frames.data, frames.size};
    *count = 4;
    return seeds;
}
