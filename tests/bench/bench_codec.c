/* What decoding postings costs, without a store: nanoseconds a posting for documents, frequencies,
 * both, and all positions, and bytes a posting; for lists of random gaps, and for all long lists of
 * arxiv200k when the corpus is there (see QUIRE_CORPUS).
 *
 *     bench_codec [abstracts]
 *
 * Each list is read some times in a row, so that it is in the first-level cache as a rule: decoding
 * is meant, not memory. Each figure is the least of some rounds, in CPU time.
 */
#include "shard/memory_segment.h"
#include "shard/posting_codec.h"

#include "arxiv.h"

#include <time.h>

#define ROUNDS 30
#define IN_A_ROW 16
#define CORPUS_DF 2000 /* real lists below this many postings are left out */

struct list { /* encoded */
    struct buf post, pos;
    uint32_t first_doc;
    struct codec_chunk chunk;
    struct codec_position_chunk positions;
};

struct lists {
    struct list *all;
    uint32_t count;
    uint64_t postings, post_bytes, pos_bytes;
    bool positional;
};

static struct posting_block block;
static uint32_t checksum;

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void lists_add(struct lists *lists, const struct codec_postings *postings)
{
    struct posting_bounds bounds;
    struct list *list;

    lists->all = realloc(lists->all, (lists->count + 1) * sizeof(*lists->all));
    list = &lists->all[lists->count++];
    *list = (struct list){.first_doc = postings->docs[0]};
    codec_put_chunk(&list->post, &list->pos, postings, &bounds);
    lists->postings += postings->count;
    lists->post_bytes += list->post.size;
    lists->pos_bytes += list->pos.size;
    lists->positional = postings->position_counts != NULL;
}

static void lists_open(struct lists *lists)
{
    for (uint32_t i = 0; i < lists->count; i++) {
        struct list *list = &lists->all[i];

        if (!codec_chunk_open(buf_bytes(&list->post), list->first_doc, &list->chunk) ||
            (lists->positional &&
             !codec_position_chunk_open(buf_bytes(&list->pos), list->chunk.block_count,
                                        &list->positions)))
            abort();
    }
}

static void lists_free(struct lists *lists)
{
    for (uint32_t i = 0; i < lists->count; i++) {
        buf_deinit(&lists->all[i].post);
        buf_deinit(&lists->all[i].pos);
    }
    free(lists->all);
}

enum what { DOCS, FREQS, BOTH, POSITIONS, ONE_POSITION, WHATS };

static struct reader block_reader(const struct codec_chunk *chunk, uint32_t number)
{
    struct reader reader;

    reader_init(&reader, bytes_of(chunk->blocks.data + chunk->offset[number],
                                  chunk->offset[number + 1] - chunk->offset[number]));
    return reader;
}

static void read_positions(const struct list *list, uint32_t number, uint32_t step)
{
    static struct codec_positions positions;
    static uint32_t got[1 << 20];

    if (!codec_positions_open(codec_position_chunk_block(&list->positions, number), &block,
                              &positions))
        abort();
    for (uint32_t i = step / 2; i < block.count; i += step) {
        if (codec_positions_count(&positions, i) > sizeof(got) / sizeof(got[0]) ||
            !codec_positions_get(&positions, i, got))
            abort();
        checksum += got[0];
    }
}

static void read_block(const struct list *list, uint32_t number, enum what what)
{
    const struct codec_chunk *chunk = &list->chunk;
    struct reader reader = block_reader(chunk, number);
    uint32_t next_doc = number == 0 ? chunk->first_doc : chunk->last_doc[number - 1] + 1;

    if (!codec_get_docs(&reader, codec_block_count(chunk->count, number), next_doc, &block))
        abort();
    if (what != DOCS && !block.has_freqs && !codec_get_freqs(&reader, &block))
        abort();
    checksum += block.docs[0];
    if (what == POSITIONS)
        read_positions(list, number, 1);
    if (what == ONE_POSITION)
        read_positions(list, number, POSTING_BLOCK);
}

static void read_list(const struct list *list, enum what what)
{
    for (uint32_t i = 0; i < list->chunk.block_count; i++)
        read_block(list, i, what);
}

/* Of all lists, in nanoseconds a posting. */
static double pass(const struct lists *lists, enum what what)
{
    double least = 1e18;

    for (uint32_t round = 0; round < ROUNDS; round++) {
        double start = now_ns(), took;

        for (uint32_t i = 0; i < lists->count; i++)
            for (uint32_t k = 0; k < IN_A_ROW; k++)
                read_list(&lists->all[i], what);
        took = now_ns() - start;
        least = took < least ? took : least;
    }
    return least / IN_A_ROW / (double)lists->postings;
}

static void report(const char *name, struct lists *lists)
{
    double ns[WHATS], both, postings = (double)lists->postings;

    lists_open(lists);
    for (enum what what = DOCS; what < WHATS; what++)
        ns[what] = what < POSITIONS || lists->positional ? pass(lists, what) : 0;
    both = ns[BOTH];
    printf("%-22s %9llu postings %5.2f B   docs %5.2f   freqs %5.2f   both %5.2f ns", name,
           (unsigned long long)lists->postings, (double)lists->post_bytes / postings, ns[DOCS],
           both - ns[DOCS], both);
    if (lists->positional)
        printf("   positions %5.2f B %6.2f ns, of one %4.0f ns",
               (double)lists->pos_bytes / postings, ns[POSITIONS] - both,
               (ns[ONE_POSITION] - both) * POSTING_BLOCK);
    printf("\n");
    lists_free(lists);
}

/* ---- synthetic ---- */

static uint64_t seed = 88172645463325252u;

static double random_unit(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

/* Each document has the word with probability 1 / spacing. */
static void synthetic(double spacing)
{
    static uint32_t docs[CODEC_CHUNK], freqs[CODEC_CHUNK];
    static uint8_t norms[CODEC_CHUNK];
    struct codec_postings postings = {
        .docs = docs, .freqs = freqs, .norms = norms, .count = CODEC_CHUNK};
    struct lists lists = {0};
    char name[64];

    for (uint32_t list = 0; list < 16; list++) {
        uint32_t doc = 0;

        for (uint32_t i = 0; i < CODEC_CHUNK; i++) {
            while (spacing <= 64 && random_unit() * spacing >= 1)
                doc++;
            if (spacing > 64)
                doc += (uint32_t)(random_unit() * 2 * spacing);
            docs[i] = doc++;
            for (freqs[i] = 1; random_unit() < 0.3; freqs[i]++)
                continue;
            norms[i] = (uint8_t)(random_unit() * 100);
        }
        lists_add(&lists, &postings);
    }
    snprintf(name, sizeof(name), "one document in %.2f", spacing);
    report(name, &lists);
}

/* ---- real ---- */

static struct segment *abstracts(uint64_t most)
{
    static const struct document_settings weights = {3, 2, 1, 1};
    struct segment *segment = memory_segment_create(1);
    struct analyzer *analyzer;
    size_t size;
    char *text = arxiv_load(&size), *at = text, *end;
    struct err err;

    if (text == NULL || analyzer_create("en", &analyzer, &err) != 0)
        return NULL;
    for (; most-- > 0 && (end = memchr(at, '\n', (size_t)(text + size - at))) != NULL;
         at = end + 1) {
        Quire__Entry entry = QUIRE__ENTRY__INIT;
        json_t *json = arxiv_entry(at, (size_t)(end - at), &entry);
        struct document document;
        struct arena arena;
        uint32_t doc;

        arena_init(&arena, 0);
        if (json == NULL ||
            document_analyze(analyzer, &weights, &entry, &arena, &document, &err) != 0 ||
            memory_segment_add(segment, &document, &doc, &err) != 0)
            abort();
        arena_deinit(&arena);
        arxiv_entry_free(json, &entry);
    }
    analyzer_destroy(analyzer);
    free(text);
    return segment;
}

/* The beginning of a list, as much as makes a chunk. */
static void real_list(struct lists *lists, struct segment *segment, struct posting_cursor *cursor)
{
    static uint32_t docs[CODEC_CHUNK_MAX], freqs[CODEC_CHUNK_MAX], counts[CODEC_CHUNK_MAX];
    static uint32_t positions[1 << 22];
    static uint8_t norms[CODEC_CHUNK_MAX];
    struct codec_postings postings = {docs, freqs, norms, 0, counts, positions};
    uint32_t at = 0;

    while (postings.count < CODEC_CHUNK && posting_next(cursor, NULL) == 0 &&
           posting_doc(cursor) != POSTING_END) {
        uint32_t i = postings.count++;
        const uint32_t *got;

        docs[i] = posting_doc(cursor);
        freqs[i] = cursor->block.freqs[cursor->index];
        norms[i] = segment->ops->norm(segment, docs[i]);
        (void)cursor->ops->positions(cursor, cursor->index, &got, &counts[i], NULL);
        memcpy(positions + at, got, counts[i] * sizeof(*got));
        at += counts[i];
    }
    lists_add(lists, &postings);
}

static void real(uint64_t most)
{
    struct segment *segment = abstracts(most);
    struct lists lists = {0};
    struct segment_terms *terms;
    struct segment_token from = {.field = TEXT_FIELD_ALL};

    if (segment == NULL) {
        printf("no arxiv200k in $QUIRE_CORPUS: real lists skipped\n");
        return;
    }
    if (segment->ops->terms(segment, &from, &terms, NULL) != 0)
        abort();
    for (; terms->ops->valid(terms); (void)terms->ops->next(terms, NULL)) {
        struct posting_cursor *cursor;

        if (terms->ops->token(terms).field != TEXT_FIELD_ALL ||
            terms->ops->frequency(terms) < CORPUS_DF)
            continue;
        (void)terms->ops->postings(terms, &cursor, NULL);
        real_list(&lists, segment, cursor);
        posting_close(cursor);
    }
    terms->ops->close(terms);
    report("abstracts", &lists);
    segment_unref(segment);
}

int main(int argc, char **argv)
{
    static const double spacings[] = {1, 1.1, 1.5, 2, 4, 10, 30, 100, 1000, 100000};

    for (size_t i = 0; i < sizeof(spacings) / sizeof(spacings[0]); i++)
        synthetic(spacings[i]);
    real(argc > 1 ? strtoull(argv[1], NULL, 10) : 30000);
    return checksum == 1; /* the decoded is used */
}
