/* The learner's side, first half: the files of a checkpoint, chunk by chunk, into
 * DIR/checkpoints/in-RANGE.
 *
 * One chunk is asked for at a time. A fetch that is not answered, or whose chunk comes damaged, is
 * tried again for some seconds: a connection may be lost and come back, and what was fetched is not
 * thrown away for that. When the primary has forgotten the checkpoint, or is primary no longer, the
 * pull ends, and the learner will be told by the next primary that it needs one.
 *
 * What came is opened once and its manifest read before anything that is here is given up for it.
 */
#include "shard/checkpoint_internal.h"

#include "proto/base/log.h"
#include "shard/folder.h"
#include "shard/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pull {
    const struct checkpoint_order *order;
    const struct checkpoint_source *source;
    char path[CHECKPOINT_PATH_MAX];
    Quire__ReplicaFiles *files;
};

static int ask(const struct pull *pull, uint16_t kind, const ProtobufCMessage *request,
               struct buf *reply, struct err *err)
{
    struct buf packed = {0};
    protobuf_c_message_pack(request,
                            buf_extend(&packed, protobuf_c_message_get_packed_size(request)));
    buf_clear(reply);
    int code = pull->source->ask(pull->source->data, kind, buf_bytes(&packed), reply, err);
    buf_deinit(&packed);
    return code;
}

/* ---- which files ---- */

static bool name_is_plain(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= NAME_MAX && name[0] != '.' && strchr(name, '/') == NULL;
}

static int check_files(const struct pull *pull, struct err *err)
{
    const Quire__ReplicaFiles *files = pull->files;
    uint64_t total = 0;
    if (files->n_files == 0 || files->n_files > CHECKPOINT_FILES_MAX)
        return err_set(err, ERR_PROTOCOL, "%zu files", files->n_files);
    for (size_t i = 0; i < files->n_files; i++) {
        if (!name_is_plain(files->files[i]->name))
            return err_set(err, ERR_PROTOCOL, "a file is called \"%.*s\"", NAME_MAX,
                           files->files[i]->name);
        if (files->files[i]->size > INT64_MAX - total)
            return err_set(err, ERR_PROTOCOL, "file %s is too large", files->files[i]->name);
        total += files->files[i]->size;
    }
    return folder_check_room(pull->path, total, pull->order->disk_left_bytes, err);
}

static int ask_for_files(struct pull *pull, struct arena *arena, struct err *err)
{
    Quire__ReplicaCheckpoint request = QUIRE__REPLICA_CHECKPOINT__INIT;
    struct buf reply = {0};
    request.range = pull->order->range;
    request.epoch = pull->order->epoch;
    request.from = (char *)pull->order->node_id;
    int code = ask(pull, QUIRE__KIND__KIND_REPLICA_CHECKPOINT, &request.base, &reply, err);
    if (code == 0) {
        pull->files = quire__replica_files__unpack(arena_protobuf(arena), reply.size, reply.data);
        code = pull->files == NULL ? err_set(err, ERR_PROTOCOL, "a malformed list of files")
                                   : check_files(pull, err);
    }
    buf_deinit(&reply);
    return code;
}

/* ---- their content ---- */

static int write_all(int fd, struct bytes bytes, const char *name, struct err *err)
{
    while (bytes.size > 0) {
        ssize_t written = write(fd, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return err_set(err, ERR_IO, "write %s: %s", name, strerror(errno));
        bytes = bytes_of(bytes.data + written, bytes.size - (size_t)written);
    }
    return 0;
}

/* One attempt; appends the chunk to the file and says how large it was. */
static int fetch_once(const struct pull *pull, const Quire__ReplicaFetch *fetch, int fd,
                      struct buf *reply, uint64_t *got, struct err *err)
{
    int code = ask(pull, QUIRE__KIND__KIND_REPLICA_FETCH, &fetch->base, reply, err);
    if (code != 0)
        return code;
    struct arena arena;
    arena_init(&arena, 0);
    Quire__ReplicaChunk *chunk =
        quire__replica_chunk__unpack(arena_protobuf(&arena), reply->size, reply->data);
    if (chunk == NULL || chunk->data.len == 0 || chunk->data.len > fetch->size)
        code = err_set(err, ERR_PROTOCOL, "a malformed chunk");
    else if (chunk->checksum != checksum32(chunk->data.data, chunk->data.len))
        code = err_set(err, ERR_CORRUPT, "a chunk came damaged");
    else
        code = write_all(fd, bytes_of(chunk->data.data, chunk->data.len), fetch->file, err);
    if (code == 0)
        *got = chunk->data.len;
    arena_deinit(&arena);
    return code;
}

static bool may_try_again(int code)
{
    return code == ERR_UNAVAILABLE || code == ERR_DEADLINE || code == ERR_FULL ||
           code == ERR_CORRUPT;
}

static int fetch_chunk(const struct pull *pull, const Quire__ReplicaFetch *fetch, int fd,
                       struct buf *reply, uint64_t *got, struct err *err)
{
    int code = 0;
    for (int attempt = 0; attempt < CHECKPOINT_ATTEMPTS; attempt++) {
        if (attempt > 0)
            usleep(1000 * CHECKPOINT_PAUSE_MS);
        code = fetch_once(pull, fetch, fd, reply, got, err);
        if (!may_try_again(code))
            break;
    }
    return code;
}

static int pull_into(const struct pull *pull, const Quire__ReplicaFile *file, int fd,
                     struct err *err)
{
    Quire__ReplicaFetch request = QUIRE__REPLICA_FETCH__INIT;
    struct buf reply = {0};
    int code = 0;
    request.checkpoint = pull->files->checkpoint;
    request.file = file->name;
    while (code == 0 && request.offset < file->size) {
        uint64_t left = file->size - request.offset, got = 0;
        request.size = left < CHECKPOINT_CHUNK ? (uint32_t)left : CHECKPOINT_CHUNK;
        code = fetch_chunk(pull, &request, fd, &reply, &got, err);
        request.offset += got;
    }
    buf_deinit(&reply);
    return code;
}

static int pull_file(const struct pull *pull, const Quire__ReplicaFile *file, struct err *err)
{
    char path[CHECKPOINT_PATH_MAX + NAME_MAX + 2];
    snprintf(path, sizeof path, "%s/%s", pull->path, file->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set(err, errno == EEXIST ? ERR_PROTOCOL : ERR_IO, "create %s: %s", path,
                       strerror(errno));
    int code = pull_into(pull, file, fd, err);
    if (code == 0 && fsync(fd) != 0)
        code = err_set(err, ERR_IO, "sync %s: %s", path, strerror(errno));
    close(fd);
    return code;
}

/* ---- whether it is what was promised ---- */

static int check_manifest(struct store *store, uint64_t durable_seq, struct err *err)
{
    struct store_value row;
    struct manifest manifest = {0};
    bool found;
    int code = store_get(store, STORE_META, MANIFEST_KEY, &row, &found, err);
    if (code == 0 && found)
        code = manifest_decode(row.bytes, &manifest, err);
    if (code == 0 && manifest.durable_seq != durable_seq)
        code = err_set(err, ERR_CORRUPT, "its index ends at operation %llu, not at %llu",
                       (unsigned long long)manifest.durable_seq, (unsigned long long)durable_seq);
    manifest_deinit(&manifest);
    store_value_release(&row);
    return code;
}

static int check_index(const struct pull *pull, struct err *err)
{
    struct store *store;
    if (!store_exists(pull->path))
        return err_set(err, ERR_PROTOCOL, "there is no index in it");
    int code = store_open(pull->path, NULL, &store, err);
    if (code != 0)
        return code;
    code = check_manifest(store, pull->files->durable_seq, err);
    store_close(store);
    return code;
}

static int pull_all(struct pull *pull, struct arena *arena, struct err *err)
{
    int code = ask_for_files(pull, arena, err);
    for (size_t i = 0; code == 0 && i < pull->files->n_files; i++)
        code = pull_file(pull, pull->files->files[i], err);
    if (code == 0)
        code = check_index(pull, err);
    return code == 0 ? folder_sync(pull->path, err) : code;
}

int checkpoints_pull(struct checkpoints *checkpoints, const struct checkpoint_order *order,
                     const struct checkpoint_source *source, struct replication_position *at,
                     struct err *err)
{
    struct pull pull = {.order = order, .source = source};
    struct arena arena;
    *at = (struct replication_position){0};
    checkpoint_incoming(checkpoints, order->range, pull.path);
    int code = folder_remove(pull.path, err);
    if (code == 0)
        code = store_make_folder(pull.path, err);
    arena_init(&arena, 0);
    if (code == 0)
        code = pull_all(&pull, &arena, err);
    if (code == 0)
        *at = (struct replication_position){pull.files->log_epoch, pull.files->durable_seq};
    else
        (void)folder_remove(pull.path, NULL);
    arena_deinit(&arena);
    return code == 0 ? 0
                     : err_prefix(err, "pull a checkpoint of range %llu",
                                  (unsigned long long)order->range);
}
