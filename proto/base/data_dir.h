/* The data folder of a process: locked while the process runs, with small text files that are
 * replaced whole. Any thread; one writer for each file.
 */
#ifndef QUIRE_BASE_DATA_DIR_H
#define QUIRE_BASE_DATA_DIR_H

#include "proto/base/err.h"
#include "proto/base/uuid.h"

#include <stddef.h>
#include <stdint.h>

#define DATA_DIR_LOCK_MS 3000 /* a process that was just killed takes a moment to be gone */
#define DATA_DIR_TEXT_MAX 256 /* bytes of a text, its newline included */

/* Creates `dir` (mode 0700; its parent exists) when it is missing, and takes DIR/lock, waiting up
 * to DATA_DIR_LOCK_MS for its last holder. The lock is held until *lock, a file descriptor, is
 * closed or the process ends. ERR_IO; ERR_EXISTS when another process keeps it. */
int data_dir_lock(const char *dir, int *lock, struct err *err);

/* The text of DIR/name, without its newline. What one damaged byte changed is told in the log and
 * mended: then it writes, as data_dir_write() does, so it is for the file's writer only.
 * ERR_CORRUPT: neither copy can be relied upon. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE. */
int data_dir_read(const char *dir, const char *name, char *out, size_t size, struct err *err);

/* Replaces DIR/name by `text` (one line), twice, and its checksum: after a crash it holds the old
 * text or the new one. ERR_IO. */
int data_dir_write(const char *dir, const char *name, const char *text, struct err *err);

/* The same for a number, with a checksum: one that a flipped bit made larger could never be mended.
 * ERR_CORRUPT: the file holds no number, or it does not fit its checksum. */
int data_dir_read_number(const char *dir, const char *name, uint64_t *out, struct err *err);
int data_dir_write_number(const char *dir, const char *name, uint64_t number, struct err *err);

/* Removes DIR/name, durably; one that is not there is fine. ERR_IO. */
int data_dir_remove(const char *dir, const char *name, struct err *err);

/* Who this process is, whatever its address: DIR/node-id, made on the first call. ERR_CORRUPT when
 * the file does not hold a UUID, ERR_IO. */
int data_dir_node_id(const char *dir, char out[UUID_TEXT_SIZE], struct err *err);

#endif
