/* Dead documents: a bitmap in pages of 32,768 documents (4 KiB), where a page without a dead
 * document is absent. A new bitmap copies the table of pages and those pages that change; the
 * others are shared by count of reference, so that killing a handful of documents in a segment of
 * millions costs a few kilobytes.
 *
 * Image:
 *     u8      version, 1
 *     le32    checksum of what follows
 *     varint  number of pages present
 *     for each, rising:
 *         varint  page number, minus that of the one before it, minus 1 (the first: as it is)
 *         varint  number n of dead documents in it, 1 to 32,768
 *         n <= 2,048: n varints, document within the page, each minus the one before it, minus 1
 *         else:       the page as 512 little-endian 64-bit words
 */
#include "shard/live.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_DOCS 32768u
#define PAGE_WORDS (PAGE_DOCS / 64)
#define PAGE_SPARSE 2048u
#define LIVE_VERSION 1
#define PAGES_MAX (UINT32_MAX / PAGE_DOCS + 1)

struct page {
    _Atomic int refs;
    uint32_t dead;
    uint64_t words[PAGE_WORDS];
};

struct live {
    _Atomic int refs;
    uint32_t dead;
    uint32_t page_count;
    struct page *pages[];
};

static void *live_allocate(size_t size)
{
    void *memory = calloc(1, size);

    if (memory == NULL)
        abort(); /* a few kilobytes: there is nothing sensible left to do */
    return memory;
}

static struct page *page_create(const struct page *from)
{
    struct page *page = live_allocate(sizeof(*page));

    if (from != NULL) {
        page->dead = from->dead;
        memcpy(page->words, from->words, sizeof(page->words));
    }
    atomic_init(&page->refs, 1);
    return page;
}

static void page_unref(struct page *page)
{
    if (page != NULL && atomic_fetch_sub_explicit(&page->refs, 1, memory_order_acq_rel) == 1)
        free(page);
}

static bool page_has(const struct page *page, uint32_t at)
{
    return (page->words[at / 64] >> (at % 64)) & 1;
}

static void page_set(struct page *page, uint32_t at)
{
    page->dead += !page_has(page, at);
    page->words[at / 64] |= UINT64_C(1) << (at % 64);
}

static struct live *live_create(uint32_t page_count)
{
    struct live *live = live_allocate(sizeof(*live) + page_count * sizeof(struct page *));

    atomic_init(&live->refs, 1);
    live->page_count = page_count;
    return live;
}

/* The page to write to: a copy when it is shared with another bitmap. */
static struct page *live_own_page(struct live *live, uint32_t number)
{
    struct page **slot = &live->pages[number];

    if (*slot == NULL) {
        *slot = page_create(NULL);
    } else if (atomic_load_explicit(&(*slot)->refs, memory_order_acquire) > 1) {
        struct page *copy = page_create(*slot);

        page_unref(*slot);
        *slot = copy;
    }
    return *slot;
}

struct live *live_with(const struct live *base, const uint32_t *docs, size_t count)
{
    uint32_t pages = base == NULL ? 0 : base->page_count;
    struct live *live;

    for (size_t i = 0; i < count; i++)
        if (docs[i] / PAGE_DOCS >= pages)
            pages = docs[i] / PAGE_DOCS + 1;
    live = live_create(pages);
    if (base != NULL) {
        live->dead = base->dead;
        for (uint32_t i = 0; i < base->page_count; i++) {
            live->pages[i] = base->pages[i];
            if (live->pages[i] != NULL)
                atomic_fetch_add_explicit(&live->pages[i]->refs, 1, memory_order_relaxed);
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct page *page;

        if (live_is_dead(live, docs[i]))
            continue;
        page = live_own_page(live, docs[i] / PAGE_DOCS);
        page_set(page, docs[i] % PAGE_DOCS);
        live->dead++;
    }
    return live;
}

void live_ref(struct live *live)
{
    atomic_fetch_add_explicit(&live->refs, 1, memory_order_relaxed);
}

void live_unref(struct live *live)
{
    if (live == NULL || atomic_fetch_sub_explicit(&live->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < live->page_count; i++)
        page_unref(live->pages[i]);
    free(live);
}

bool live_is_dead(const struct live *live, uint32_t doc)
{
    const struct page *page;

    if (live == NULL || doc / PAGE_DOCS >= live->page_count)
        return false;
    page = live->pages[doc / PAGE_DOCS];
    return page != NULL && page_has(page, doc % PAGE_DOCS);
}

uint32_t live_dead_count(const struct live *live)
{
    return live == NULL ? 0 : live->dead;
}

static void page_encode(const struct page *page, struct buf *out)
{
    uint32_t next = 0;

    buf_append_varint(out, page->dead);
    if (page->dead > PAGE_SPARSE) {
        for (uint32_t i = 0; i < PAGE_WORDS; i++)
            buf_append_le64(out, page->words[i]);
        return;
    }
    for (uint32_t i = 0; i < PAGE_DOCS; i++) {
        if (!page_has(page, i))
            continue;
        buf_append_varint(out, i - next);
        next = i + 1;
    }
}

void live_encode(const struct live *live, struct buf *out)
{
    struct buf body = {0};
    uint32_t present = 0, next = 0;

    for (uint32_t i = 0; i < live->page_count; i++)
        present += live->pages[i] != NULL;
    buf_append_varint(&body, present);
    for (uint32_t i = 0; i < live->page_count; i++) {
        if (live->pages[i] == NULL)
            continue;
        buf_append_varint(&body, i - next);
        next = i + 1;
        page_encode(live->pages[i], &body);
    }
    buf_append_u8(out, LIVE_VERSION);
    buf_append_le32(out, checksum32(body.data, body.size));
    buf_append_bytes(out, buf_bytes(&body));
    buf_deinit(&body);
}

static bool page_decode(struct reader *reader, struct page *page)
{
    uint64_t dead, gap, next = 0;

    if (!reader_varint(reader, &dead) || dead == 0 || dead > PAGE_DOCS)
        return false;
    if (dead <= PAGE_SPARSE) {
        for (uint64_t i = 0; i < dead; i++) {
            if (!reader_varint(reader, &gap) || gap >= PAGE_DOCS || next + gap >= PAGE_DOCS)
                return false;
            page_set(page, (uint32_t)(next + gap));
            next += gap + 1;
        }
        return true;
    }
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        if (!reader_le64(reader, &page->words[i]))
            return false;
        page->dead += (uint32_t)__builtin_popcountll(page->words[i]);
    }
    return page->dead == dead;
}

/* The table grows with the pages that are read: an image cannot ask for more memory than it has
 * pages, but for the table itself (1 MiB at most). */
static bool live_decode_pages(struct reader *reader, struct live **live)
{
    uint64_t present, gap, next = 0;

    if (!reader_varint(reader, &present) || present > PAGES_MAX)
        return false;
    for (uint64_t i = 0; i < present; i++) {
        if (!reader_varint(reader, &gap) || gap >= PAGES_MAX || next + gap >= PAGES_MAX)
            return false;
        next += gap + 1;
        if (next > (*live)->page_count) {
            uint32_t pages = (uint32_t)next;
            struct live *wider = realloc(*live, sizeof(**live) + pages * sizeof(struct page *));

            if (wider == NULL)
                abort();
            memset(&wider->pages[wider->page_count], 0,
                   (pages - wider->page_count) * sizeof(struct page *));
            wider->page_count = pages;
            *live = wider;
        }
        (*live)->pages[next - 1] = page_create(NULL);
        if (!page_decode(reader, (*live)->pages[next - 1]))
            return false;
        (*live)->dead += (*live)->pages[next - 1]->dead;
    }
    return reader_left(reader) == 0;
}

int live_decode(struct bytes image, struct live **out, struct err *err)
{
    struct reader reader;
    struct live *live;
    uint32_t checksum;
    uint8_t version;

    *out = NULL;
    reader_init(&reader, image);
    if (!reader_u8(&reader, &version) || version != LIVE_VERSION)
        return err_set(err, ERR_CORRUPT, "dead documents: unknown version or empty");
    if (!reader_le32(&reader, &checksum) || checksum != checksum32(reader.at, reader_left(&reader)))
        return err_set(err, ERR_CORRUPT, "dead documents: checksum mismatch");
    live = live_create(0);
    if (!live_decode_pages(&reader, &live)) {
        live_unref(live);
        return err_set(err, ERR_CORRUPT, "dead documents: malformed page");
    }
    *out = live;
    return 0;
}
