/* A store in a folder of its own, as setup and teardown of a test. Everything is static. */
#ifndef QUIRE_TESTS_STORE_FIXTURE_H
#define QUIRE_TESTS_STORE_FIXTURE_H

#include "shard/index_store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct disk {
    char path[64];
    struct store *store;
};

static int open_disk(void **state)
{
    struct disk *disk = calloc(1, sizeof *disk);
    struct err err;
    assert_non_null(disk);
    strcpy(disk->path, "/tmp/quire-store-XXXXXX");
    assert_non_null(mkdtemp(disk->path));
    if (store_open(disk->path, NULL, &disk->store, &err))
        fail_msg("%s", err.text);
    *state = disk;
    return 0;
}

static int close_disk(void **state)
{
    struct disk *disk = *state;
    store_close(disk->store);
    store_destroy_files(disk->path, NULL);
    rmdir(disk->path);
    free(disk);
    return 0;
}

#endif
