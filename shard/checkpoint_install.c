/* The learner's side, second half: what was pulled becomes the range. So does what was built of
 * other ranges (reshape.h).
 *
 *   1  DIR/checkpoints/in-RANGE is renamed to DIR/ranges/RANGE.new-EPOCH-SEQ, durably
 *   2  DIR/ranges/RANGE is removed, if there is one
 *   3  the log of the range, whatever there was, is begun anew after (EPOCH, SEQ), durably
 *   4  RANGE.new-EPOCH-SEQ is renamed to RANGE, durably
 *
 * Before 1 nothing has happened: DIR/checkpoints is emptied at every start. From 1 on the new index
 * is whole and its name says where its log has to begin, so that whoever comes next can complete
 * it: 2 to 4 may be done again. After 4 there is nothing to complete, and the log may grow.
 *
 * That the log is begun anew only then matters: until the new files are here, the old ones are the
 * best that this node has of the range, and may be all that is left of it anywhere.
 */
#include "shard/checkpoint_internal.h"

#include "proto/base/log.h"
#include "shard/folder.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* RANGE.new-EPOCH-SEQ */
static bool parse_name(const char *name, uint64_t *range, struct replication_position *at)
{
    unsigned long long numbers[3];
    int length = 0;
    if (sscanf(name, "%llu.new-%llu-%llu%n", &numbers[0], &numbers[1], &numbers[2], &length) != 3 ||
        name[length] != 0)
        return false;
    *range = numbers[0];
    *at = (struct replication_position){numbers[1], numbers[2]};
    return true;
}

static int move(const char *from, const char *to, struct err *err)
{
    return rename(from, to) == 0
               ? 0
               : err_set(err, ERR_IO, "rename %s to %s: %s", from, to, strerror(errno));
}

/* 2 to 4. `path` is that of RANGE.new-EPOCH-SEQ. */
static int complete(const struct checkpoints *checkpoints, const char *path, uint64_t range,
                    struct replication_position at, struct err *err)
{
    char folder[CHECKPOINT_PATH_MAX], index[CHECKPOINT_PATH_MAX + 32];
    snprintf(folder, sizeof folder, "%s/ranges", checkpoints->dir);
    snprintf(index, sizeof index, "%s/%llu", folder, (unsigned long long)range);
    int code = folder_remove(index, err);
    if (code == 0)
        code = log_store_begin(checkpoints->log, range, at, err);
    if (code == 0)
        code = move(path, index, err);
    if (code == 0)
        code = folder_sync(folder, err);
    if (code != 0)
        return err_prefix(err, "install a checkpoint of range %llu", (unsigned long long)range);
    log_event(LOG_INFO, "checkpoint installed", LOG_U64("range", range), LOG_U64("seq", at.seq),
              LOG_U64("log_epoch", at.epoch));
    return 0;
}

static int complete_item(void *data, const char *name, struct err *err)
{
    const struct checkpoints *checkpoints = data;
    char path[CHECKPOINT_PATH_MAX];
    struct replication_position at;
    uint64_t range;
    if (!parse_name(name, &range, &at))
        return 0;
    snprintf(path, sizeof path, "%s/ranges/%s", checkpoints->dir, name);
    return complete(checkpoints, path, range, at, err);
}

int checkpoint_complete(const struct checkpoints *checkpoints, struct err *err)
{
    char folder[CHECKPOINT_PATH_MAX];
    snprintf(folder, sizeof folder, "%s/ranges", checkpoints->dir);
    return folder_each(folder, complete_item, (void *)checkpoints, err);
}

struct sweep {
    const char *folder;
    uint64_t range;
};

/* One that could not be completed, for an error, and is replaced. */
static int remove_older(void *data, const char *name, struct err *err)
{
    const struct sweep *sweep = data;
    char path[CHECKPOINT_PATH_MAX + NAME_MAX + 2];
    struct replication_position at;
    uint64_t range;
    if (!parse_name(name, &range, &at) || range != sweep->range)
        return 0;
    snprintf(path, sizeof path, "%s/%s", sweep->folder, name);
    return folder_remove(path, err);
}

int checkpoints_install(struct checkpoints *checkpoints, uint64_t range,
                        struct replication_position at, struct err *err)
{
    char incoming[CHECKPOINT_PATH_MAX];
    checkpoint_incoming(checkpoints, range, incoming);
    return checkpoints_adopt(checkpoints, incoming, range, at, err);
}

int checkpoints_adopt(struct checkpoints *checkpoints, const char *incoming, uint64_t range,
                      struct replication_position at, struct err *err)
{
    char folder[CHECKPOINT_PATH_MAX];
    char path[CHECKPOINT_PATH_MAX + 96];
    struct sweep sweep = {folder, range};
    snprintf(folder, sizeof folder, "%s/ranges", checkpoints->dir);
    snprintf(path, sizeof path, "%s/%llu.new-%llu-%llu", folder, (unsigned long long)range,
             (unsigned long long)at.epoch, (unsigned long long)at.seq);
    int code = store_make_folder(folder, err);
    if (code == 0)
        code = folder_each(folder, remove_older, &sweep, err);
    if (code == 0)
        code = move(incoming, path, err);
    if (code == 0)
        code = folder_sync(folder, err);
    return code == 0 ? complete(checkpoints, path, range, at, err) : code;
}
