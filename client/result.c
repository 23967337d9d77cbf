#include "client/result.h"

#include "quire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BOX_MAGIC 0x51424f58u

/* Every public result begins with these. */
static struct quire_result *head_of(struct box *box)
{
    return (struct quire_result *)box->result;
}

struct box *box_create(const struct result_type *type)
{
    struct box *box = calloc(1, sizeof(*box) + type->size);
    if (box == NULL)
        return NULL;
    box->magic = BOX_MAGIC;
    atomic_init(&box->holds, 1);
    arena_init(&box->arena, 0);
    head_of(box)->error = "";
    if (type->init != NULL)
        type->init(box->result);
    return box;
}

void box_fail(struct box *box, int status, const char *text)
{
    char *copy;
    if (text == NULL || text[0] == '\0')
        text = quire_strerror(status);
    copy = arena_strdup(&box->arena, text);
    head_of(box)->status = status;
    head_of(box)->error = copy ? copy : quire_strerror(status);
}

struct box *box_failed(const struct result_type *type, int status, const char *text)
{
    struct box *box = box_create(type);
    if (box == NULL)
        return NULL;
    box_fail(box, status, text);
    return box;
}

struct box *box_of(const void *result)
{
    struct box *box = (struct box *)((char *)(uintptr_t)result - offsetof(struct box, result));
    assert(box->magic == BOX_MAGIC && "this is no result of libquire, or it was freed already");
    return box;
}

void box_release(struct box *box)
{
    if (box == NULL || atomic_fetch_sub_explicit(&box->holds, 1, memory_order_acq_rel) != 1)
        return;
    box->magic = 0;
    arena_deinit(&box->arena);
    free(box);
}

const void *quire_result_keep(const void *result)
{
    if (result != NULL)
        atomic_fetch_add_explicit(&box_of(result)->holds, 1, memory_order_relaxed);
    return result;
}

void quire_result_free(const void *result)
{
    if (result != NULL)
        box_release(box_of(result));
}

uint32_t quire_result_retry_after_ms(const void *result)
{
    return result != NULL ? box_of(result)->retry_after_ms : 0;
}

uint64_t quire_result_trace(const void *result)
{
    return result != NULL ? box_of(result)->trace : 0;
}
