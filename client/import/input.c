#include "client/import/input.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define RAW_SIZE 65536                  /* bytes of the file as it is */
#define PLAIN_SIZE (2 * INPUT_PEEK_MAX) /* bytes with the compression undone */
#define ZSTD_WINDOW_LOG_MAX 27          /* 128 MiB; a frame that asks for more is refused */

enum coding { CODING_UNKNOWN, CODING_PLAIN, CODING_GZIP, CODING_ZSTD };

struct input {
    int fd;              /* -1: memory */
    struct bytes memory; /* what is left of it */
    uint64_t done, size;

    enum coding coding;
    z_stream gzip;
    bool gzip_open;
    ZSTD_DStream *zstd;
    bool inside; /* of a gzip member or a zstd frame: the end of the file would be too early */

    uint8_t *raw; /* raw[raw_at .. raw_end) is not decoded yet */
    size_t raw_at, raw_end;
    bool raw_eof;

    uint8_t *plain; /* plain[plain_at .. plain_end) is not consumed yet */
    size_t plain_at, plain_end;
    bool eof;

    struct err failed; /* code 0 while all is well */
};

static struct input *input_create(void)
{
    struct input *input = calloc(1, sizeof *input);

    if (input == NULL)
        return NULL;
    input->fd = -1;
    input->raw = malloc(RAW_SIZE);
    input->plain = malloc(PLAIN_SIZE);
    if (input->raw == NULL || input->plain == NULL) {
        input_close(input);
        return NULL;
    }
    return input;
}

int input_open(const char *path, struct input **out, struct err *err)
{
    struct input *input = NULL;
    struct stat status;
    int code = 0;

    *out = NULL;
    input = input_create();
    if (input == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    input->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0) {
        code = errno == ENOENT ? err_set(err, ERR_NOT_FOUND, "there is no such file")
                               : err_set(err, ERR_IO, "cannot open it: %s", strerror(errno));
        goto failed;
    }
    if (fstat(input->fd, &status) != 0) {
        code = err_set(err, ERR_IO, "cannot stat it: %s", strerror(errno));
        goto failed;
    }
    if (S_ISDIR(status.st_mode)) {
        code = err_set(err, ERR_INVALID, "it is a directory");
        goto failed;
    }
    if (S_ISREG(status.st_mode))
        input->size = (uint64_t)status.st_size;
    *out = input;
    return 0;
failed:
    input_close(input);
    return code;
}

int input_open_memory(struct bytes memory, struct input **out, struct err *err)
{
    *out = input_create();
    if (*out == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    (*out)->memory = memory;
    (*out)->size = memory.size;
    return 0;
}

void input_close(struct input *input)
{
    if (input == NULL)
        return;
    if (input->gzip_open)
        inflateEnd(&input->gzip);
    ZSTD_freeDStream(input->zstd);
    if (input->fd >= 0)
        close(input->fd);
    free(input->raw);
    free(input->plain);
    free(input);
}

/* Refills the raw buffer once it is empty. */
static int fill_raw(struct input *input)
{
    ssize_t got;

    if (input->raw_at < input->raw_end || input->raw_eof)
        return 0;
    if (input->fd < 0) {
        got = (ssize_t)(input->memory.size < RAW_SIZE ? input->memory.size : RAW_SIZE);
        if (got > 0)
            memcpy(input->raw, input->memory.data, (size_t)got);
        input->memory.data += got;
        input->memory.size -= (size_t)got;
    } else {
        do
            got = read(input->fd, input->raw, RAW_SIZE);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return err_set(&input->failed, ERR_IO, "cannot read it: %s", strerror(errno));
    }
    input->raw_at = 0;
    input->raw_end = (size_t)got;
    input->raw_eof = got == 0;
    input->done += (uint64_t)got;
    return 0;
}

/* Looks at the first bytes. A pipe may deliver them one by one, hence the loop. */
static int find_coding(struct input *input)
{
    static const uint8_t gzip_magic[2] = {0x1f, 0x8b};
    static const uint8_t zstd_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    int status = fill_raw(input);

    while (status == 0 && input->fd >= 0 && input->raw_end < 4 && input->raw_end > 0) {
        ssize_t got = read(input->fd, input->raw + input->raw_end, RAW_SIZE - input->raw_end);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        input->raw_end += (size_t)got;
        input->done += (uint64_t)got;
    }
    if (status != 0)
        return status;
    input->coding = CODING_PLAIN;
    if (input->raw_end >= 2 && memcmp(input->raw, gzip_magic, 2) == 0) {
        if (inflateInit2(&input->gzip, 15 + 16) != Z_OK)
            return err_set(&input->failed, ERR_NOMEM, "out of memory");
        input->gzip_open = true;
        input->coding = CODING_GZIP;
    } else if (input->raw_end >= 4 && memcmp(input->raw, zstd_magic, 4) == 0) {
        input->zstd = ZSTD_createDStream();
        if (input->zstd == NULL)
            return err_set(&input->failed, ERR_NOMEM, "out of memory");
        ZSTD_DCtx_setParameter(input->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
        input->coding = CODING_ZSTD;
    }
    return 0;
}

static int decode_gzip(struct input *input, uint8_t *to, size_t room, size_t *made)
{
    z_stream *gzip = &input->gzip;
    int status;

    gzip->next_in = input->raw + input->raw_at;
    gzip->avail_in = (uInt)(input->raw_end - input->raw_at);
    gzip->next_out = to;
    gzip->avail_out = (uInt)room;
    status = inflate(gzip, Z_NO_FLUSH);
    input->raw_at = input->raw_end - gzip->avail_in;
    *made = room - gzip->avail_out;
    input->inside = true;
    if (status == Z_STREAM_END) { /* another member may follow */
        input->inside = false;
        inflateReset(gzip);
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
        return err_set(&input->failed, ERR_CORRUPT, "its gzip data is damaged: %s",
                       gzip->msg != NULL ? gzip->msg : "unknown reason");
    }
    return 0;
}

static int decode_zstd(struct input *input, uint8_t *to, size_t room, size_t *made)
{
    ZSTD_inBuffer in = {input->raw + input->raw_at, input->raw_end - input->raw_at, 0};
    ZSTD_outBuffer out = {to, room, 0};
    size_t left = ZSTD_decompressStream(input->zstd, &out, &in);

    input->raw_at += in.pos;
    *made = out.pos;
    if (ZSTD_isError(left))
        return err_set(&input->failed, ERR_CORRUPT, "its zstd data is damaged: %s",
                       ZSTD_getErrorName(left));
    input->inside = left != 0;
    return 0;
}

/* Appends at least one byte to the plain buffer, or sets eof. */
static int fill_plain(struct input *input)
{
    int status = 0;

    assert(input->plain_end < PLAIN_SIZE);
    if (input->coding == CODING_UNKNOWN)
        status = find_coding(input);
    for (size_t made = 0; status == 0 && made == 0 && !input->eof;) {
        uint8_t *to = input->plain + input->plain_end;
        size_t room = PLAIN_SIZE - input->plain_end;

        status = fill_raw(input);
        if (status != 0)
            break;
        if (input->coding == CODING_PLAIN) {
            made = input->raw_end - input->raw_at;
            if (made > room)
                made = room;
            memcpy(to, input->raw + input->raw_at, made);
            input->raw_at += made;
        } else if (!input->raw_eof || input->inside) {
            status = input->coding == CODING_GZIP ? decode_gzip(input, to, room, &made)
                                                  : decode_zstd(input, to, room, &made);
        }
        if (status == 0 && made == 0 && input->raw_eof) {
            if (input->inside)
                status = err_set(&input->failed, ERR_CORRUPT,
                                 "it is cut off: its %s data ends too early",
                                 input->coding == CODING_GZIP ? "gzip" : "zstd");
            input->eof = true;
        }
        input->plain_end += made;
    }
    return status;
}

static int report(const struct input *input, struct err *err)
{
    if (err != NULL)
        *err = input->failed;
    return input->failed.code;
}

int input_peek(struct input *input, size_t least, struct bytes *out, struct err *err)
{
    assert(least <= INPUT_PEEK_MAX);
    *out = bytes_of(NULL, 0);
    if (input->failed.code != 0 && input->plain_at == input->plain_end)
        return report(input, err);
    if (input->plain_at > 0 && PLAIN_SIZE - input->plain_at < INPUT_PEEK_MAX) {
        memmove(input->plain, input->plain + input->plain_at, input->plain_end - input->plain_at);
        input->plain_end -= input->plain_at;
        input->plain_at = 0;
    }
    /* What was decoded before an error is still handed out; the error comes when that is used up.
     */
    while (input->plain_end - input->plain_at < least && !input->eof && input->failed.code == 0)
        if (fill_plain(input) != 0 && input->plain_at == input->plain_end)
            return report(input, err);
    *out = bytes_of(input->plain + input->plain_at, input->plain_end - input->plain_at);
    return 0;
}

static void consume(struct input *input, size_t size)
{
    input->plain_at += size;
    assert(input->plain_at <= input->plain_end);
    if (input->plain_at == input->plain_end)
        input->plain_at = input->plain_end = 0;
}

int input_read(struct input *input, void *to, size_t size, size_t *got, struct err *err)
{
    struct bytes next;
    int status = input_peek(input, 1, &next, err);

    *got = 0;
    if (status != 0)
        return status;
    if (next.size > size)
        next.size = size;
    if (next.size > 0)
        memcpy(to, next.data, next.size);
    consume(input, next.size);
    *got = next.size;
    return 0;
}

int input_line(struct input *input, size_t max, struct buf *line, enum input_line *what,
               struct err *err)
{
    bool any = false;

    *what = INPUT_LINE;
    buf_clear(line);
    for (;;) {
        struct bytes next;
        const uint8_t *end;
        size_t size;
        int status = input_peek(input, 1, &next, err);

        if (status != 0)
            return status;
        if (next.size == 0)
            break;
        any = true;
        end = memchr(next.data, '\n', next.size);
        size = end != NULL ? (size_t)(end - next.data) : next.size;
        if (line->size + size > max) {
            *what = INPUT_LINE_LONG;
            buf_clear(line);
        }
        if (*what == INPUT_LINE)
            buf_append(line, next.data, size);
        consume(input, end != NULL ? size + 1 : size);
        if (end != NULL)
            break;
    }
    if (!any)
        *what = INPUT_LINE_END;
    if (line->size > 0 && line->data[line->size - 1] == '\r')
        line->size--;
    return 0;
}

void input_progress(const struct input *input, uint64_t *done, uint64_t *size)
{
    *done = input->done - (input->raw_end - input->raw_at);
    *size = input->size;
}
