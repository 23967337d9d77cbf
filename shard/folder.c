#include "shard/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DEPTH_MAX 4 /* ours are one or two deep */

static int failed(struct err *err, const char *doing, const char *path)
{
    return err_set(err, ERR_IO, "%s %s: %s", doing, path, strerror(errno));
}

int folder_each(const char *path, int (*visit)(void *data, const char *name, struct err *err),
                void *data, struct err *err)
{
    DIR *folder = opendir(path);
    struct dirent *item;
    int code = 0;
    if (folder == NULL)
        return errno == ENOENT ? 0 : failed(err, "read folder", path);
    while (code == 0 && (errno = 0, item = readdir(folder)) != NULL)
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
            code = visit(data, item->d_name, err);
    if (code == 0 && errno != 0)
        code = failed(err, "read folder", path);
    closedir(folder);
    return code;
}

struct removal {
    const char *path;
    int depth;
};

static int remove_depth(const char *path, int depth, struct err *err);

static int remove_item(void *data, const char *name, struct err *err)
{
    const struct removal *removal = data;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", removal->path, name) >= (int)sizeof path)
        return err_set(err, ERR_IO, "remove %s/%s: the name is too long", removal->path, name);
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return failed(err, "remove", path);
    return remove_depth(path, removal->depth + 1, err);
}

static int remove_depth(const char *path, int depth, struct err *err)
{
    struct removal removal = {path, depth};
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_IO, "remove %s: too many folders in each other", path);
    int code = folder_each(path, remove_item, &removal, err);
    if (code == 0 && rmdir(path) != 0 && errno != ENOENT)
        code = failed(err, "remove", path);
    return code;
}

int folder_remove(const char *path, struct err *err)
{
    return remove_depth(path, 0, err);
}

int folder_sync(const char *path, struct err *err)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = folder >= 0 && fsync(folder) == 0 ? 0 : failed(err, "sync folder", path);
    if (folder >= 0)
        close(folder);
    return code;
}

int folder_check_room(const char *path, uint64_t bytes, uint64_t left, struct err *err)
{
    struct statvfs disk;
    if (statvfs(path, &disk) != 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    uint64_t unused = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (unused < bytes || unused - bytes < left)
        return err_set(err, ERR_FULL,
                       "the disk has %llu MiB free, the index has %llu MiB and %llu MiB have to "
                       "stay free",
                       (unsigned long long)(unused >> 20), (unsigned long long)(bytes >> 20),
                       (unsigned long long)(left >> 20));
    return 0;
}
