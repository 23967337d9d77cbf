#include "client/backup/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define PATH_SIZE 4096
#define LEVEL 3 /* of zstd: 200 MB/s and more; higher ones gain little on text of this size */
#define MARK "quire-backups"

static const char about[] =
    "Backups of a Quire cluster, made by `quire backup`; `quire restore` reads them.\n"
    "backups/N says what backup N consists of. Each file in files/ holds entries as JSON\n"
    "lines: `zstdcat files/*/*` shows all that there are, of all backups.\n";

/* ---- files ---- */

/* 0, or ERR_TOO_LARGE. */
static int path_of(const struct backup_store *store, char path[PATH_SIZE], struct err *err,
                   const char *format, const char *a, const char *b)
{
    int size = snprintf(path, PATH_SIZE, "%s/", store->dir);
    if (size < PATH_SIZE)
        size += snprintf(path + size, PATH_SIZE - (size_t)size, format, a, b);
    return size < PATH_SIZE ? 0 : err_set(err, ERR_TOO_LARGE, "the name of the folder is too long");
}

static int failed(struct err *err, const char *doing, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_FULL
               : errno == ENOENT                  ? ERR_NOT_FOUND
                                                  : ERR_IO;
    return err_set(err, code, "%s %s: %s", doing, path, strerror(errno));
}

static int make_folder(const char *path, struct err *err)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : failed(err, "create", path);
}

static int sync_folder(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(err, "open", path);
    int code = fsync(fd) == 0 ? 0 : failed(err, "sync", path);
    close(fd);
    return code;
}

static int write_all(int fd, struct bytes bytes)
{
    while (bytes.size > 0) {
        ssize_t put = write(fd, bytes.data, bytes.size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        bytes = bytes_of(bytes.data + put, bytes.size - (size_t)put);
    }
    return 0;
}

/* A whole file aside, synced if it is to be, then under its name. */
static int write_file(const char *aside, const char *path, struct bytes bytes, bool sync,
                      struct err *err)
{
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return failed(err, "create", aside);
    int code =
        write_all(fd, bytes) == 0 && (!sync || fsync(fd) == 0) ? 0 : failed(err, "write", aside);
    if (close(fd) != 0 && code == 0)
        code = failed(err, "write", aside);
    if (code == 0 && rename(aside, path) != 0)
        code = failed(err, "rename to", path);
    if (code != 0)
        unlink(aside);
    return code;
}

/* Replaces `out`. ERR_NOT_FOUND, ERR_TOO_LARGE, ERR_IO. */
static int read_file(const char *path, uint64_t most, struct buf *out, struct err *err)
{
    struct stat info;
    int code = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    buf_clear(out);
    if (fd < 0)
        return failed(err, "open", path);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        code = err_set(err, ERR_IO, "read %s: it is no file", path);
    else if ((uint64_t)info.st_size > most)
        code = err_set(err, ERR_TOO_LARGE, "read %s: it has %lld bytes", path,
                       (long long)info.st_size);
    size_t size = code == 0 ? (size_t)info.st_size : 0;
    uint8_t *to = buf_extend(out, size + 1);
    size_t got = 0;
    while (code == 0 && got < size) {
        ssize_t part = read(fd, to + got, size - got);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            code = failed(err, "read", path);
        if (part <= 0)
            break;
        got += (size_t)part;
    }
    out->size = got;
    close(fd);
    return code;
}

/* ---- opening ---- */

static int take_lock(struct backup_store *store, const char *path, bool exclusive, struct err *err)
{
    store->lock = open(path, exclusive ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0666);
    if (store->lock < 0)
        return exclusive ? failed(err, "open", path) : 0;
    if (flock(store->lock, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_CONFLICT, "another process %s in %s now",
                       exclusive ? "writes or reads backups" : "writes a backup", store->dir);
    return failed(err, "lock", path);
}

static bool is_empty(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *item;
    bool empty = folder != NULL;
    while (folder != NULL && (item = readdir(folder)) != NULL)
        empty &= strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0;
    if (folder != NULL)
        closedir(folder);
    return empty;
}

static void empty_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *item;
    while (folder != NULL && (item = readdir(folder)) != NULL)
        if (item->d_name[0] != '.')
            unlinkat(dirfd(folder), item->d_name, 0);
    if (folder != NULL)
        closedir(folder);
}

static int sync_parent(const char *dir, struct err *err)
{
    char path[PATH_SIZE];
    if (snprintf(path, sizeof path, "%s/..", dir) >= PATH_SIZE)
        return err_set(err, ERR_TOO_LARGE, "the name of the folder is too long");
    return sync_folder(path, err);
}

static int make_all(struct backup_store *store, struct err *err)
{
    static const char *const folders[] = {"backups", "files", "tmp"};
    char path[PATH_SIZE], aside[PATH_SIZE];
    int code = 0;
    for (size_t i = 0; i < 3 && code == 0; i++) {
        code = path_of(store, path, err, "%s", folders[i], "");
        if (code == 0)
            code = make_folder(path, err);
    }
    if (code != 0)
        return code;
    empty_folder(path);
    code = path_of(store, aside, err, "tmp/%s", MARK, "");
    if (code == 0)
        code = path_of(store, path, err, "%s", MARK, "");
    if (code == 0 && access(path, F_OK) != 0)
        code = write_file(aside, path, bytes_str(about), true, err);
    if (code == 0)
        code = sync_folder(store->dir, err);
    return code == 0 ? sync_parent(store->dir, err) : code;
}

int backup_store_create(const char *dir, struct backup_store *out, struct err *err)
{
    char path[PATH_SIZE];
    *out = (struct backup_store){.dir = strdup(dir), .lock = -1};
    if (out->dir == NULL)
        abort();
    int code = make_folder(dir, err);
    if (code == 0)
        code = path_of(out, path, err, "%s", MARK, "");
    if (code == 0 && access(path, F_OK) != 0) {
        code = path_of(out, path, err, "%s", "lock", "");
        /* A first backup that was killed early has left a lock and no more. */
        if (code == 0 && access(path, F_OK) != 0 && !is_empty(dir))
            code = err_set(err, ERR_EXISTS, "%s holds something else than backups", dir);
    }
    if (code == 0)
        code = path_of(out, path, err, "%s", "lock", "");
    if (code == 0)
        code = take_lock(out, path, true, err);
    if (code == 0)
        code = make_all(out, err);
    if (code != 0)
        backup_store_close(out);
    return code;
}

int backup_store_open(const char *dir, struct backup_store *out, struct err *err)
{
    char path[PATH_SIZE];
    *out = (struct backup_store){.dir = strdup(dir), .lock = -1};
    if (out->dir == NULL)
        abort();
    int code = path_of(out, path, err, "%s", "backups", "");
    if (code == 0 && access(path, F_OK) != 0)
        code = err_set(err, ERR_NOT_FOUND, "%s: %s", dir,
                       errno == ENOENT ? "there are no backups" : strerror(errno));
    if (code == 0)
        code = path_of(out, path, err, "%s", "lock", "");
    if (code == 0)
        code = take_lock(out, path, false, err);
    if (code != 0)
        backup_store_close(out);
    return code;
}

void backup_store_close(struct backup_store *store)
{
    if (store->lock >= 0)
        close(store->lock);
    store->lock = -1;
    free(store->dir);
    store->dir = NULL;
}

/* ---- manifests ---- */

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int backup_store_list(const struct backup_store *store, uint64_t **numbers, size_t *count,
                      struct err *err)
{
    char path[PATH_SIZE];
    struct dirent *item;
    size_t capacity = 0;
    *numbers = NULL;
    *count = 0;
    if (path_of(store, path, err, "%s", "backups", "") != 0)
        return err->code;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return failed(err, "open", path);
    while ((item = readdir(folder)) != NULL) {
        char *end;
        if (item->d_name[0] < '1' || item->d_name[0] > '9')
            continue;
        uint64_t number = strtoull(item->d_name, &end, 10);
        if (*end != '\0')
            continue;
        if (*count == capacity) {
            capacity = 2 * capacity + 16;
            *numbers = realloc(*numbers, capacity * sizeof **numbers);
            if (*numbers == NULL)
                abort();
        }
        (*numbers)[(*count)++] = number;
    }
    closedir(folder);
    if (*count > 0)
        qsort(*numbers, *count, sizeof **numbers, compare_numbers);
    return 0;
}

static int manifest_path(const struct backup_store *store, uint64_t number, char path[PATH_SIZE],
                         struct err *err)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    return path_of(store, path, err, "backups/%s", text, "");
}

int backup_store_manifest(const struct backup_store *store, uint64_t number, struct arena *arena,
                          struct backup_manifest *out, struct err *err)
{
    char path[PATH_SIZE];
    struct buf text = {0};
    int code = manifest_path(store, number, path, err);
    if (code == 0)
        code = read_file(path, BACKUP_MANIFEST_MAX, &text, err);
    if (code == 0) {
        code = backup_manifest_read(buf_bytes(&text), arena, out, err);
        if (code == 0 && out->number != number)
            code = err_set(err, ERR_CORRUPT, "the manifest is of backup %" PRIu64, out->number);
        if (code != 0)
            err_prefix(err, "%s", path);
    } else if (code == ERR_NOT_FOUND) {
        err_set(err, ERR_NOT_FOUND, "there is no backup %" PRIu64 " in %s", number, store->dir);
    }
    buf_deinit(&text);
    return code;
}

/* Blocks and the folders that name them: one call for all of them, since a sync of each would take
 * longer than all the rest of a backup. */
static int sync_all(const struct backup_store *store, struct err *err)
{
    int fd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(err, "open", store->dir);
    int code = syncfs(fd) == 0 ? 0 : failed(err, "sync", store->dir);
    close(fd);
    return code;
}

int backup_store_publish(struct backup_store *store, const struct backup_manifest *manifest,
                         struct err *err)
{
    char path[PATH_SIZE], aside[PATH_SIZE];
    struct buf text = {0};
    int code = sync_all(store, err);
    backup_manifest_write(manifest, &text);
    if (code == 0)
        code = path_of(store, aside, err, "tmp/%s", "manifest", "");
    if (code == 0)
        code = manifest_path(store, manifest->number, path, err);
    if (code == 0)
        code = write_file(aside, path, buf_bytes(&text), true, err);
    if (code == 0)
        code = path_of(store, path, err, "%s", "backups", "");
    if (code == 0)
        code = sync_folder(path, err);
    buf_deinit(&text);
    return code;
}

/* ---- blocks ---- */

static int block_path(const struct backup_store *store, const char *name, char path[PATH_SIZE],
                      struct err *err)
{
    char folder[3] = {name[0], name[1], '\0'};
    return path_of(store, path, err, "files/%s/%s", folder, name);
}

/* Whether the file is there as it should be. */
static int is_there(const char *path, struct bytes wanted, const char *name, bool *there,
                    struct err *err)
{
    char checksum[BACKUP_NAME_SIZE];
    struct buf has = {0};
    struct err why = {0};
    int code = read_file(path, UINT64_MAX, &has, &why);
    *there = code == 0 && bytes_equal(buf_bytes(&has), wanted);
    backup_checksum(buf_bytes(&has), checksum);
    bool collides = code == 0 && !*there && strcmp(checksum, name) == 0;
    buf_deinit(&has);
    return collides
               ? err_set(err, ERR_INTERNAL,
                         "%s holds something else of the same checksum: use another folder", path)
               : 0;
}

static int store_block(struct backup_store *store, struct bytes file, const char *name, bool *fresh,
                       struct err *err)
{
    char path[PATH_SIZE], aside[PATH_SIZE], text[32], folder[PATH_SIZE];
    bool there = false;
    int code = block_path(store, name, path, err);
    if (code == 0)
        code = is_there(path, file, name, &there, err);
    *fresh = !there;
    if (code != 0 || there)
        return code;
    snprintf(text, sizeof text, "%u", atomic_fetch_add(&store->tmp, 1));
    code = path_of(store, aside, err, "tmp/%s", text, "");
    if (code != 0)
        return code;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    code = make_folder(folder, err);
    if (code == 0)
        code = write_file(aside, path, file, false, err);
    return code;
}

int backup_store_put(struct backup_store *store, struct bytes lines, uint64_t entries,
                     struct backup_block *out, bool *fresh, struct err *err)
{
    size_t room = ZSTD_compressBound(lines.size);
    uint8_t *file = malloc(room);
    if (file == NULL)
        abort(); /* as buf does: a block is bounded */
    size_t size = ZSTD_compress(file, room, lines.data, lines.size, LEVEL);
    if (ZSTD_isError(size)) {
        free(file);
        return err_set(err, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(size));
    }
    *out = (struct backup_block){.size = size, .bytes = lines.size, .entries = entries};
    backup_checksum(bytes_of(file, size), out->name);
    int code = store_block(store, bytes_of(file, size), out->name, fresh, err);
    free(file);
    return code;
}

static int unpack(const struct buf *file, const struct backup_block *block, struct buf *lines,
                  struct err *err)
{
    uint64_t count = 0;
    if (block->bytes > BACKUP_BLOCK_MAX ||
        ZSTD_getFrameContentSize(file->data, file->size) != block->bytes)
        return err_set(err, ERR_CORRUPT, "it is not the block that the manifest names");
    buf_clear(lines);
    size_t size =
        ZSTD_decompress(buf_extend(lines, block->bytes), block->bytes, file->data, file->size);
    if (ZSTD_isError(size) || size != block->bytes)
        return err_set(err, ERR_CORRUPT, "it cannot be decompressed");
    for (size_t i = 0; i < lines->size; i++)
        count += lines->data[i] == '\n';
    if (count != block->entries || (size > 0 && lines->data[size - 1] != '\n'))
        return err_set(err, ERR_CORRUPT, "it has %" PRIu64 " entries, the manifest says %" PRIu64,
                       count, block->entries);
    return 0;
}

int backup_store_get(const struct backup_store *store, const struct backup_block *block,
                     struct buf *lines, struct err *err)
{
    char path[PATH_SIZE], checksum[BACKUP_NAME_SIZE];
    struct buf file = {0};
    int code = block_path(store, block->name, path, err);
    if (code == 0)
        code = read_file(path, UINT64_MAX, &file, err);
    if (code == ERR_NOT_FOUND) {
        code = err_set(err, ERR_CORRUPT, "%s is missing", path);
    } else if (code == 0) {
        backup_checksum(buf_bytes(&file), checksum);
        if (file.size != block->size)
            code = err_set(err, ERR_CORRUPT, "it has %zu bytes, the manifest says %" PRIu64,
                           file.size, block->size);
        else if (strcmp(checksum, block->name) != 0)
            code = err_set(err, ERR_CORRUPT, "its checksum is another one");
        else
            code = unpack(&file, block, lines, err);
        if (code != 0)
            err_prefix(err, "%s is damaged", path);
    }
    buf_deinit(&file);
    return code;
}

/* ---- pruning ---- */

/* The blocks that stay, sorted. */
struct names {
    char (*all)[BACKUP_NAME_SIZE];
    size_t count, capacity;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void add_names(struct names *names, const struct backup_part *part)
{
    if (names->count + part->block_count > names->capacity) {
        names->capacity = 2 * names->capacity + part->block_count;
        names->all = realloc(names->all, names->capacity * sizeof names->all[0]);
        if (names->all == NULL)
            abort();
    }
    for (size_t i = 0; i < part->block_count; i++)
        memcpy(names->all[names->count++], part->blocks[i].name, BACKUP_NAME_SIZE);
}

static int add_backup(const struct backup_store *store, uint64_t number, struct names *names,
                      struct err *err)
{
    struct backup_manifest manifest;
    struct arena arena;
    arena_init(&arena, 0);
    int code = backup_store_manifest(store, number, &arena, &manifest, err);
    for (size_t i = 0; code == 0 && i < manifest.collection_count; i++)
        for (size_t j = 0; j < manifest.collections[i].part_count; j++)
            add_names(names, &manifest.collections[i].parts[j]);
    arena_deinit(&arena);
    return code;
}

static void prune_folder(const char *path, const struct names *names, struct backup_pruned *out)
{
    DIR *folder = opendir(path);
    struct dirent *item;
    while (folder != NULL && (item = readdir(folder)) != NULL) {
        struct stat info;
        if (!backup_name_valid(item->d_name) ||
            (names->count > 0 && bsearch(item->d_name, names->all, names->count,
                                         sizeof names->all[0], compare_names) != NULL) ||
            fstatat(dirfd(folder), item->d_name, &info, 0) != 0 ||
            unlinkat(dirfd(folder), item->d_name, 0) != 0)
            continue;
        out->files++;
        out->bytes += (uint64_t)info.st_size;
    }
    if (folder != NULL)
        closedir(folder);
}

static int remove_manifests(struct backup_store *store, const uint64_t *numbers, size_t count,
                            struct backup_pruned *out, struct err *err)
{
    char path[PATH_SIZE];
    int code = 0;
    for (size_t i = 0; i < count && code == 0; i++) {
        code = manifest_path(store, numbers[i], path, err);
        if (code == 0 && unlink(path) != 0)
            code = failed(err, "remove", path);
        out->backups += code == 0;
    }
    if (code == 0)
        code = path_of(store, path, err, "%s", "backups", "");
    return code == 0 ? sync_folder(path, err) : code; /* before what they name goes */
}

int backup_store_prune(struct backup_store *store, uint64_t keep, struct backup_pruned *out,
                       struct err *err)
{
    uint64_t *numbers;
    size_t count;
    struct names names = {0};
    *out = (struct backup_pruned){0};
    int code = backup_store_list(store, &numbers, &count, err);
    size_t gone = code == 0 && count > keep ? count - (size_t)keep : 0;
    for (size_t i = gone; i < count && code == 0; i++)
        code = add_backup(store, numbers[i], &names, err);
    if (code == 0)
        code = remove_manifests(store, numbers, gone, out, err);
    if (code == 0 && names.count > 0)
        qsort(names.all, names.count, sizeof names.all[0], compare_names);
    for (unsigned i = 0; i < 256 && code == 0; i++) {
        char path[PATH_SIZE], name[3];
        snprintf(name, sizeof name, "%02x", i);
        code = path_of(store, path, err, "files/%s", name, "");
        if (code == 0)
            prune_folder(path, &names, out);
    }
    free(names.all);
    free(numbers);
    return code;
}
