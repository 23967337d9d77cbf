#include "proto/base/data_dir.h"

#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_PAUSE_US 20000

static int fail(struct err *err, const char *path)
{
    return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static int path_of(char path[PATH_MAX], const char *dir, const char *name, struct err *err)
{
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX - 8) /* room for ".new" */
        return 0;
    return err_set(err, ERR_TOO_LARGE, "the name of the folder is too long");
}

int data_dir_lock(const char *dir, int *lock, struct err *err)
{
    char path[PATH_MAX];
    *lock = -1;
    int code = path_of(path, dir, "lock", err);
    if (code != 0)
        return code;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return fail(err, dir);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return fail(err, path);
    uint64_t until = clock_ms() + DATA_DIR_LOCK_MS;
    while (flock(file, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            fail(err, path);
            close(file);
            return ERR_IO;
        }
        if (clock_ms() >= until) {
            close(file);
            return err_set(err, ERR_EXISTS, "%s is in use by another process", dir);
        }
        usleep(LOCK_PAUSE_US);
    }
    *lock = file;
    return 0;
}

/* A small file is the text, the text again, and its checksum, a line each. One damaged byte leaves
 * two of the three in accord; their places follow from the size, since a newline may be the damaged
 * one. A file of one line is of before there were copies. */
#define SUM_SIZE 9 /* eight digits, newline */
#define FILE_MAX (2 * DATA_DIR_TEXT_MAX + SUM_SIZE)

static void sum_of(const char *text, size_t length, char out[SUM_SIZE])
{
    snprintf(out, SUM_SIZE, "%08x", (unsigned)checksum32(text, length));
}

static bool has_copies(const char *file, size_t size)
{
    size_t lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += file[i] == '\n';
    return lines > 1;
}

/* NULL: none of it can be relied upon. */
static char *find_sound(char *file, size_t size, size_t *length, bool *whole)
{
    if (size < SUM_SIZE + 2 || (size - SUM_SIZE) % 2 != 0)
        return NULL;
    size_t line = (size - SUM_SIZE) / 2;
    char *copy = file + line, *sum = copy + line, first[SUM_SIZE], second[SUM_SIZE];
    *length = line - 1;
    sum_of(file, *length, first);
    sum_of(copy, *length, second);
    bool fits = memcmp(first, sum, SUM_SIZE - 1) == 0;
    bool copy_fits = memcmp(second, sum, SUM_SIZE - 1) == 0;
    *whole = fits && copy_fits && file[*length] == '\n' && copy[*length] == '\n' &&
             sum[SUM_SIZE - 1] == '\n';
    if (fits || memcmp(file, copy, *length) == 0)
        return file;
    return copy_fits ? copy : NULL;
}

static void mend(const char *dir, const char *name, const char *text)
{
    struct err err;
    if (data_dir_write(dir, name, text, &err) == 0)
        log_event(LOG_WARN, "a damaged file was mended from its copy", LOG_STR("folder", dir),
                  LOG_STR("file", name));
    else
        log_event(LOG_WARN, "a damaged file cannot be mended", LOG_STR("error", err.text));
}

int data_dir_read(const char *dir, const char *name, char *out, size_t size, struct err *err)
{
    char path[PATH_MAX], bytes[FILE_MAX + 1];
    int code = path_of(path, dir, name, err);
    if (code != 0)
        return code;
    FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "%s does not exist", path);
    if (file == NULL)
        return fail(err, path);
    size_t got = fread(bytes, 1, sizeof bytes, file);
    bool bad = ferror(file) != 0, whole = true;
    fclose(file);
    if (bad)
        return err_set(err, ERR_IO, "%s cannot be read", path);
    char *text = bytes;
    size_t length = got > 0 && bytes[got - 1] == '\n' ? got - 1 : got;
    if (got > FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s is too long", path);
    if (has_copies(bytes, got))
        text = find_sound(bytes, got, &length, &whole);
    if (text == NULL)
        return err_set(err, ERR_CORRUPT, "%s is damaged", path);
    if (length >= size)
        return err_set(err, ERR_TOO_LARGE, "%s is too long", path);
    memcpy(out, text, length);
    out[length] = '\0';
    if (!whole)
        mend(dir, name, out);
    return 0;
}

int data_dir_write(const char *dir, const char *name, const char *text, struct err *err)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    int code = path_of(path, dir, name, err);
    if (code != 0)
        return code;
    strcpy(stpcpy(fresh, path), ".new"); /* path_of() left room */
    FILE *file = fopen(fresh, "we");
    if (file == NULL)
        return fail(err, fresh);
    char sum[SUM_SIZE];
    sum_of(text, strlen(text), sum);
    bool good = fprintf(file, "%s\n%s\n%s\n", text, text, sum) > 0 && fflush(file) == 0 &&
                fsync(fileno(file)) == 0;
    if (!good)
        fail(err, fresh);
    if (fclose(file) != 0 && good) {
        fail(err, fresh);
        good = false;
    }
    if (good && rename(fresh, path) != 0) {
        fail(err, path);
        good = false;
    }
    int folder = good ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (folder >= 0) {
        if (fsync(folder) != 0) {
            fail(err, dir);
            good = false;
        }
        close(folder);
    }
    return good ? 0 : ERR_IO;
}

#define NUMBER_TEXT_MAX 40

static void number_text(uint64_t number, char text[NUMBER_TEXT_MAX])
{
    int size = snprintf(text, NUMBER_TEXT_MAX, "%llu", (unsigned long long)number);
    snprintf(text + size, NUMBER_TEXT_MAX - (size_t)size, " %08x",
             (unsigned)checksum32(text, (size_t)size));
}

int data_dir_read_number(const char *dir, const char *name, uint64_t *out, struct err *err)
{
    char text[NUMBER_TEXT_MAX + 1], right[NUMBER_TEXT_MAX];
    int code = data_dir_read(dir, name, text, sizeof text, err);
    if (code == ERR_TOO_LARGE)
        return err_set(err, ERR_CORRUPT, "%s/%s is damaged", dir, name);
    if (code != 0)
        return code;
    *out = strtoull(text, NULL, 10);
    number_text(*out, right);
    return strcmp(text, right) == 0 ? 0 : err_set(err, ERR_CORRUPT, "%s/%s is damaged", dir, name);
}

int data_dir_write_number(const char *dir, const char *name, uint64_t number, struct err *err)
{
    char text[NUMBER_TEXT_MAX];
    number_text(number, text);
    return data_dir_write(dir, name, text, err);
}

int data_dir_remove(const char *dir, const char *name, struct err *err)
{
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return err_set(err, ERR_IO, "%s: %s", dir, strerror(errno));
    int code = 0;
    if ((unlinkat(folder, name, 0) != 0 && errno != ENOENT) || fsync(folder) != 0)
        code = err_set(err, ERR_IO, "remove %s/%s: %s", dir, name, strerror(errno));
    close(folder);
    return code;
}

int data_dir_node_id(const char *dir, char out[UUID_TEXT_SIZE], struct err *err)
{
    char text[DATA_DIR_TEXT_MAX];
    int code = data_dir_read(dir, "node-id", text, sizeof text, err);
    if (code == ERR_NOT_FOUND) {
        uuid_generate_text(out);
        return data_dir_write(dir, "node-id", out, err);
    }
    if (code != 0)
        return code;
    if (!uuid_valid(text))
        return err_set(err, ERR_CORRUPT, "%s/node-id does not hold a node id", dir);
    memcpy(out, text, UUID_TEXT_SIZE); /* a valid one is just as long */
    return 0;
}
