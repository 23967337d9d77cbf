/* Input: the bytes of a file, of standard input or of memory, with gzip and zstd undone on the way.
 *
 * Compression is recognised by the first bytes, never by the name. Memory is bounded by one buffer,
 * one decoder window (zstd: 128 MiB at most) and one line. One thread at a time.
 */
#ifndef QUIRE_IMPORT_INPUT_H
#define QUIRE_IMPORT_INPUT_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input;

/* Opens `path`; "-" is standard input. ERR_NOT_FOUND, ERR_INVALID (a directory) or ERR_IO with a
 * sentence. */
int input_open(const char *path, struct input **out, struct err *err);

/* Reads from memory that must outlive the input. */
int input_open_memory(struct bytes memory, struct input **out, struct err *err);

void input_close(struct input *input);

/* Reads up to `size` bytes into `to`; *got is 0 only at the end. ERR_IO, or ERR_CORRUPT when
 * compressed data is damaged or ends too early; the same error again on later calls. */
int input_read(struct input *input, void *to, size_t size, size_t *got, struct err *err);

/* Shows the next bytes without consuming them: at least `least` of them unless the input ends
 * first. `least` is at most INPUT_PEEK_MAX. The slice is valid until the next call. */
#define INPUT_PEEK_MAX 65536
int input_peek(struct input *input, size_t least, struct bytes *out, struct err *err);

enum input_line {
    INPUT_LINE,      /* a line; without its line feed, and without a carriage return before that */
    INPUT_LINE_LONG, /* a line longer than `max`, skipped */
    INPUT_LINE_END,  /* no more lines */
};

/* Replaces the contents of `line` by the next line. 0 or the errors of input_read(). */
int input_line(struct input *input, size_t max, struct buf *line, enum input_line *what,
               struct err *err);

/* Bytes of the underlying file consumed so far, and its size (0 when that is not known), for
 * progress. */
void input_progress(const struct input *input, uint64_t *done, uint64_t *size);

#endif
