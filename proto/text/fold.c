#include "proto/text/fold.h"

#include "proto/text/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <utf8proc.h>

void fold_deinit(struct fold *fold)
{
    free(fold->points);
    *fold = (struct fold){0};
}

/* The blocks whose marks spell: from Devanagari to Myanmar, Philippine scripts to Tai Tham,
 * Balinese to Lepcha, the kana voicing marks, the later Indic blocks and those beyond the BMP. */
static bool spelling_mark(int32_t point)
{
    static const struct {
        int32_t first, last;
    } blocks[] = {{0x0900, 0x109F}, {0x1700, 0x17FF}, {0x1900, 0x1AAF},   {0x1B00, 0x1C4F},
                  {0x3099, 0x309A}, {0xA800, 0xABFF}, {0x10A00, 0x10A3F}, {0x11000, 0x11FFF}};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (point >= blocks[i].first && point <= blocks[i].last)
            return true;
    return false;
}

bool fold_strips(int32_t point)
{
    if (point < 0x300)
        return false;
    utf8proc_category_t category = utf8proc_category(point);
    bool mark = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                category == UTF8PROC_CATEGORY_ME;
    return mark && !spelling_mark(point);
}

static void reserve(struct fold *fold, size_t count)
{
    if (count <= fold->capacity)
        return;
    size_t capacity = count < 64 ? 64 : count + count / 2;
    int32_t *points = realloc(fold->points, capacity * sizeof *points);
    if (!points)
        abort();
    fold->points = points;
    fold->capacity = capacity;
}

/* Canonical order again: a mark that was stripped may have stood between two that now meet. */
static void reorder(struct fold *fold)
{
    for (size_t i = 1; i < fold->count; i++) {
        int32_t point = fold->points[i];
        if (point < 0x300)
            continue;
        utf8proc_propval_t class = utf8proc_get_property(point)->combining_class;
        size_t to = i;
        while (class > 0 && to > 0 &&
               utf8proc_get_property(fold->points[to - 1])->combining_class > class) {
            fold->points[to] = fold->points[to - 1];
            to--;
        }
        fold->points[to] = point;
    }
}

void fold_decompose(struct fold *fold, struct bytes text, bool strip)
{
    const utf8proc_option_t options =
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    fold->count = 0;
    if (text.size == 0)
        return;
    reserve(fold, text.size);
    utf8proc_ssize_t count;
    for (;;) {
        count = utf8proc_decompose(text.data, (utf8proc_ssize_t)text.size, fold->points,
                                   (utf8proc_ssize_t)fold->capacity, options);
        if (count < 0) /* not UTF-8: the caller's contract is broken; an empty fold harms nobody */
            return;
        if ((size_t)count <= fold->capacity)
            break;
        reserve(fold, (size_t)count);
    }
    for (size_t i = 0; i < (size_t)count; i++)
        if (!strip || !fold_strips(fold->points[i]))
            fold->points[fold->count++] = fold->points[i];
    if (fold->count < (size_t)count)
        reorder(fold);
}

void fold_compose(struct fold *fold)
{
    if (fold->count == 0)
        return;
    utf8proc_ssize_t count = utf8proc_normalize_utf32(fold->points, (utf8proc_ssize_t)fold->count,
                                                      UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    assert(count >= 0);
    fold->count = (size_t)count;
}

void fold_append(const struct fold *fold, struct buf *out)
{
    for (size_t i = 0; i < fold->count; i++)
        utf8_append(out, fold->points[i]);
}
