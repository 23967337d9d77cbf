/* The file: be32 checksum of the rest | the packed ClusterMap. */
#include "coordinator/map_cache.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define SIZE_MAX_READ                                                                              \
    (256u << 20) /* far above what LIMIT_RANGES_PER_COLLECTION allows in practice */

static int path_of(char path[PATH_MAX], const char *dir, const char *suffix, struct err *err)
{
    if (snprintf(path, PATH_MAX, "%s/" MAP_CACHE_FILE "%s", dir, suffix) >= PATH_MAX)
        return err_set(err, ERR_IO, "the path of the data folder is too long");
    return 0;
}

static int write_file(const char *path, struct bytes bytes, struct err *err)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    bool good = fwrite(bytes.data, 1, bytes.size, file) == bytes.size;
    good = fclose(file) == 0 && good;
    return good ? 0 : err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

int map_cache_write(const char *dir, const struct map *map, struct err *err)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    int rc = path_of(path, dir, "", err);
    if (rc == 0)
        rc = path_of(fresh, dir, ".new", err);
    if (rc != 0)
        return rc;
    struct buf packed, file;
    buf_init(&packed);
    buf_init(&file);
    map_pack(map, &packed);
    buf_append_be32(&file, checksum32(packed.data, packed.size));
    buf_append_bytes(&file, buf_bytes(&packed));
    rc = write_file(fresh, buf_bytes(&file), err);
    if (rc == 0 && rename(fresh, path) != 0)
        rc = err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    buf_deinit(&packed);
    buf_deinit(&file);
    return rc;
}

static int read_file(const char *path, struct buf *out, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    char part[65536];
    size_t got;
    while (out->size < SIZE_MAX_READ && (got = fread(part, 1, sizeof part, file)) > 0)
        buf_append(out, part, got);
    bool bad = ferror(file) != 0;
    fclose(file);
    return bad ? err_set(err, ERR_IO, "%s cannot be read", path) : 0;
}

int map_cache_read(const char *dir, struct map **out, struct err *err)
{
    char path[PATH_MAX];
    *out = NULL;
    int rc = path_of(path, dir, "", err);
    if (rc != 0)
        return rc;
    struct buf file;
    struct reader reader;
    uint32_t checksum;
    struct bytes packed;
    buf_init(&file);
    rc = read_file(path, &file, err);
    if (rc != 0)
        goto done;
    reader_init(&reader, buf_bytes(&file));
    if (!reader_be32(&reader, &checksum) || !reader_bytes(&reader, reader_left(&reader), &packed) ||
        checksum32(packed.data, packed.size) != checksum)
        rc = err_set(err, ERR_CORRUPT, "%s is damaged", path);
    else
        rc = map_unpack(packed, out, err);
done:
    buf_deinit(&file);
    return rc;
}
