/* The page dumps of a web glossary.
 *
 * Two layouts are met. A *page* keeps the blank lines of the site, and mostly its header block:
 *
 *     <- Back to ...                      mobilenetv2, computer vision
 *     AI Factory Glossary                                                 (blank)
 *     982 technical terms ...             **MobileNetV2** is the second generation ...   (the body,
 * one long line) Showing page 12 of 20 ...                                           (blank)
 *
 * A *flat* dump has neither: a header line, at once its body of many lines (Markdown with tables,
 * code fences and formulas), at once the next header line. Nothing marks a header line but its
 * looks: `headword, part, part...`. With exactly two parts the second is the category; with more
 * they are other names. The sense of an entry is the rest of its header line; where entries share
 * headword and sense but not the body, a running number tells them apart.
 *
 * Which lines are header lines? Prose ("1. Design query distribution (uniform random, ..."), code
 * ("for x, y in data:") and formulas ("V_{DS,sat} = ...") look alike, so no single rule decides.
 * Three things do together:
 *
 *   1. Looks. glossary_header.c weighs a line and its neighbours: short parts, no marks of
 * Markdown, code or formulas, a small first letter, commas without a space behind them, a next line
 * that speaks of the headword in bold, a line before it that ends something. Lines within $$ blocks
 * never count, lines within code fences hardly ever: only when a fence that somebody forgot to
 * close has swallowed them.
 *   2. Structure. In a page a header line stands alone between blank lines; in a flat dump its body
 * follows at once; two header lines never follow each other.
 *   3. Order. The site sorts its pages by header line. When the hardly doubtful header lines of a
 * file are sorted, a doubtful one that breaks the order is most likely none.
 *
 * So we look for the chain of candidates with the largest sum of weights, where each break of the
 * order costs: a small dynamic programme over the candidates, each linked to one of the
 * CHAIN_WINDOW candidates before it.
 */
#include "client/import/glossary_header.h"
#include "client/import/reader.h"
#include "proto/text/key.h"

#include <stdlib.h>
#include <string.h>

#define CHAIN_WINDOW 128
#define ORDER_PENALTY_SORTED                                                                       \
    9 /* more than a line whose commas are followed by spaces, as in prose, can weigh */
#define ORDER_PENALTY_UNSORTED 3
#define FORMULA_LINES_MAX 80 /* a $$ block longer than this was never closed */
#define SITE_BLOCK_LINES 60  /* within these stands "Showing page ..." */
#define LINE_MAX_PARTS 256   /* of a header line; it has at most 512 bytes */

struct line {
    uint32_t offset;
    uint32_t size;
    bool blank;
    bool enclosed; /* in a code fence */
    bool formula;  /* in a $$ block */
};

struct candidate {
    size_t line;
    int score;
    bool alone;
    int64_t best; /* weight of the best chain that ends here */
    size_t from;  /* its previous candidate, or SIZE_MAX */
};

struct glossary {
    struct import_reader reader;
    struct import_run *run;
    uint8_t *text;
    size_t text_size;
    struct line *lines;
    size_t line_count;
    size_t first; /* line behind the site's header block */
    bool site_block;
    struct candidate *candidates;
    size_t candidate_count;
    bool page;       /* header lines stand alone between blank lines */
    size_t *headers; /* lines of the header lines found, in order */
    size_t header_count;
    size_t at; /* header to hand out next */
    bool said_preamble;
    struct err failed; /* a read error, to be reported once */
};

static struct bytes line_text(const struct glossary *glossary, size_t line)
{
    return bytes_of(glossary->text + glossary->lines[line].offset, glossary->lines[line].size);
}

/* ---- lines ---- */

static bool is_blank(struct bytes text)
{
    return import_trim(text).size == 0;
}

static void split_lines(struct glossary *glossary)
{
    size_t capacity = 1;
    size_t offset = 0;

    for (size_t i = 0; i < glossary->text_size; i++)
        capacity += glossary->text[i] == '\n';
    glossary->lines = calloc(capacity, sizeof *glossary->lines);
    if (glossary->lines == NULL)
        abort();
    while (offset < glossary->text_size) {
        const uint8_t *start = glossary->text + offset;
        const uint8_t *end = memchr(start, '\n', glossary->text_size - offset);
        size_t size = end != NULL ? (size_t)(end - start) : glossary->text_size - offset;
        struct line *line = &glossary->lines[glossary->line_count++];

        line->offset = (uint32_t)offset;
        line->size = (uint32_t)size;
        line->blank = is_blank(bytes_of(start, size));
        offset += size + 1;
    }
}

static bool is_formula_mark(struct bytes text)
{
    return bytes_equal(import_trim(text), bytes_str("$$"));
}

static void mark_enclosures(struct glossary *glossary)
{
    bool fence = false;

    for (size_t i = 0; i < glossary->line_count; i++) {
        struct bytes text = import_trim(line_text(glossary, i));
        struct line *line = &glossary->lines[i];

        if (bytes_has_prefix(text, bytes_str("```"))) {
            /* A fence that names a language opens, also when an earlier one was never closed. */
            fence = text.size > 3 ? memmem(text.data + 3, text.size - 3, "```", 3) == NULL : !fence;
            line->enclosed = true;
            continue;
        }
        line->enclosed = fence;
        if (!fence && is_formula_mark(text)) {
            size_t end = i + 1;
            while (end < glossary->line_count && end - i <= FORMULA_LINES_MAX &&
                   !is_formula_mark(line_text(glossary, end)))
                end++;
            line->formula = true;
            if (end == glossary->line_count || end - i > FORMULA_LINES_MAX)
                continue;
            for (; i < end; i++)
                glossary->lines[i].formula = true;
            glossary->lines[end].formula = true;
        }
    }
}

static void skip_site_block(struct glossary *glossary)
{
    for (size_t i = 0; i < glossary->line_count && i < SITE_BLOCK_LINES; i++)
        if (bytes_has_prefix(import_trim(line_text(glossary, i)), bytes_str("Showing page "))) {
            glossary->first = i + 1;
            glossary->site_block = true;
        }
}

/* ---- candidates ---- */

static void find_candidates(struct glossary *glossary)
{
    const struct line *lines = glossary->lines;
    size_t previous = SIZE_MAX; /* the last line that was not blank */
    size_t next = glossary->first;

    glossary->candidates = calloc(glossary->line_count + 1, sizeof *glossary->candidates);
    if (glossary->candidates == NULL)
        abort();
    for (size_t i = glossary->first; i < glossary->line_count; i++) {
        struct header_context context = {0};
        struct candidate candidate = {.line = i};

        if (lines[i].blank)
            continue;
        if (next <= i)
            next = i + 1;
        while (next < glossary->line_count && lines[next].blank)
            next++;
        if (previous != SIZE_MAX)
            context.previous = line_text(glossary, previous);
        if (next < glossary->line_count)
            context.next = line_text(glossary, next);
        context.alone = (i == glossary->first || lines[i - 1].blank) &&
                        i + 1 < glossary->line_count && lines[i + 1].blank;
        context.enclosed = lines[i].enclosed;
        candidate.alone = context.alone;
        candidate.score = lines[i].formula ? 0 : header_score(line_text(glossary, i), &context);
        if (candidate.score >= HEADER_SCORE_LEAST)
            glossary->candidates[glossary->candidate_count++] = candidate;
        previous = i;
    }
}

/* Keeps the candidates that fit the layout of most of the hardly doubtful ones. */
static void keep_one_layout(struct glossary *glossary)
{
    size_t alone = 0, attached = 0, kept = 0;

    for (size_t i = 0; i < glossary->candidate_count; i++)
        if (glossary->candidates[i].score >= HEADER_SCORE_STRONG)
            *(glossary->candidates[i].alone ? &alone : &attached) += 1;
    glossary->page = alone >= attached && alone > 0;
    for (size_t i = 0; i < glossary->candidate_count; i++) {
        const struct candidate *candidate = &glossary->candidates[i];
        bool body_at_once = !glossary->lines[candidate->line + 1].blank;
        if (glossary->page ? candidate->alone : body_at_once)
            glossary->candidates[kept++] = *candidate;
    }
    glossary->candidate_count = kept;
}

static struct bytes candidate_text(const struct glossary *glossary, size_t i)
{
    return import_trim(line_text(glossary, glossary->candidates[i].line));
}

/* ---- the chain ---- */

/* What a break of the order costs: much in a flat dump whose hardly doubtful header lines are
 * sorted. In a page the blank lines say more than the order does. */
static int order_penalty(const struct glossary *glossary)
{
    size_t pairs = 0, sorted = 0, last = SIZE_MAX;

    for (size_t i = 0; i < glossary->candidate_count; i++) {
        if (glossary->candidates[i].score < HEADER_SCORE_STRONG)
            continue;
        if (last != SIZE_MAX) {
            pairs++;
            sorted += header_in_order(candidate_text(glossary, last), candidate_text(glossary, i));
        }
        last = i;
    }
    return !glossary->page && pairs > 0 && sorted * 10 >= pairs * 9 ? ORDER_PENALTY_SORTED
                                                                    : ORDER_PENALTY_UNSORTED;
}

/* True when something that is not blank stands between two candidates. */
static bool has_body_between(const struct glossary *glossary, size_t from, size_t to)
{
    for (size_t i = glossary->candidates[from].line + 1; i < glossary->candidates[to].line; i++)
        if (!glossary->lines[i].blank)
            return true;
    return false;
}

static void link_candidate(struct glossary *glossary, size_t i, int penalty)
{
    struct candidate *candidate = &glossary->candidates[i];
    struct bytes text = candidate_text(glossary, i);
    int64_t most = 0;

    candidate->from = SIZE_MAX;
    for (size_t back = 1; back <= CHAIN_WINDOW && back <= i; back++) {
        const struct candidate *before = &glossary->candidates[i - back];
        int64_t weight = before->best;

        if (weight <= most)
            continue;
        if (!header_in_order(candidate_text(glossary, i - back), text))
            weight -= penalty;
        if (weight > most && has_body_between(glossary, i - back, i)) {
            most = weight;
            candidate->from = i - back;
        }
    }
    candidate->best = most + candidate->score - (HEADER_SCORE_LEAST - 1);
}

static void find_chain(struct glossary *glossary)
{
    int penalty = order_penalty(glossary);
    size_t last = SIZE_MAX;

    for (size_t i = 0; i < glossary->candidate_count; i++) {
        link_candidate(glossary, i, penalty);
        if (last == SIZE_MAX || glossary->candidates[i].best >= glossary->candidates[last].best)
            last = i;
    }
    for (size_t i = last; i != SIZE_MAX; i = glossary->candidates[i].from)
        glossary->header_count++;
    glossary->headers = calloc(glossary->header_count + 1, sizeof *glossary->headers);
    if (glossary->headers == NULL)
        abort();
    for (size_t i = last, n = glossary->header_count; i != SIZE_MAX;
         i = glossary->candidates[i].from)
        glossary->headers[--n] = glossary->candidates[i].line;
}

/* ---- entries ---- */

/* Headword, other names or category, and the bare sense from a header line. */
static void split_header(struct import_entry *entry, struct bytes line, struct bytes *sense)
{
    const uint8_t *end = line.data + line.size;
    const uint8_t *comma = memchr(line.data, ',', line.size);
    struct bytes parts[LINE_MAX_PARTS];
    size_t count = 0;

    *sense = bytes_of(NULL, 0);
    if (comma == NULL) {
        entry->headword = import_entry_text(entry, line);
        return;
    }
    entry->headword =
        import_entry_text(entry, import_trim(bytes_of(line.data, (size_t)(comma - line.data))));
    *sense = import_trim(bytes_of(comma + 1, (size_t)(end - comma - 1)));
    for (const uint8_t *at = comma + 1; at <= end && count < LINE_MAX_PARTS;) {
        const uint8_t *stop = memchr(at, ',', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        parts[count] = import_trim(bytes_of(at, (size_t)(stop - at)));
        count += parts[count].size > 0;
        at = stop + 1;
    }
    const char **names = import_entry_array(entry, count, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = import_entry_text(entry, parts[i]);
    if (count == 1) {
        entry->categories = names;
        entry->category_count = count;
    } else {
        entry->terms = names;
        entry->term_count = count;
    }
}

/* Hash of a text in which each run of white space counts as one space: the two layouts differ in
 * nothing else. */
static uint64_t hash_loosely(struct bytes text)
{
    struct buf loose = {0};
    uint64_t hash;

    buf_reserve(&loose, text.size);
    for (size_t i = 0; i < text.size; i++) {
        bool space = text.data[i] == ' ' || text.data[i] == '\n' || text.data[i] == '\t';
        if (!space)
            buf_append_u8(&loose, text.data[i]);
        else if (loose.size > 0 && loose.data[loose.size - 1] != ' ')
            buf_append_u8(&loose, ' ');
    }
    hash = hash64(loose.data, loose.size);
    buf_deinit(&loose);
    return hash;
}

/* The running number of this body among those with the same headword and sense: 1 for the first. */
static uint32_t number_of(struct import_run *run, const struct import_entry *entry,
                          struct bytes sense, struct bytes body)
{
    struct buf name = {0};
    uint64_t name_hash, body_hash = hash_loosely(body);
    uint32_t number;

    text_key(bytes_str(entry->headword), &name);
    buf_append_u8(&name, 0);
    buf_append_bytes(&name, sense);
    name_hash = hash64(name.data, name.size);
    buf_deinit(&name);
    number = seen_find(run->glossary, name_hash, body_hash);
    if (number == 0) {
        uint32_t met = seen_find(run->glossary, ~name_hash, 0);
        number = met + 1;
        seen_put(run->glossary, ~name_hash, 0, number);
        seen_put(run->glossary, name_hash, body_hash, number);
    }
    return number;
}

/* The lines between two header lines, without the blank ones at either end. */
static struct bytes body_of(const struct glossary *glossary, size_t from, size_t to)
{
    const struct line *lines = glossary->lines;

    while (from < to && lines[from].blank)
        from++;
    while (from < to && lines[to - 1].blank)
        to--;
    if (from == to)
        return bytes_of(NULL, 0);
    return bytes_of(glossary->text + lines[from].offset,
                    lines[to - 1].offset + lines[to - 1].size - lines[from].offset);
}

static enum import_step glossary_next(struct import_reader *reader, struct import_entry *entry,
                                      struct import_problem *problem)
{
    struct glossary *glossary = (struct glossary *)reader;
    struct bytes header, body, sense;
    size_t line, offset;
    uint32_t number;

    if (!glossary->said_preamble) {
        size_t first = glossary->header_count > 0 ? glossary->headers[0] : glossary->line_count;
        glossary->said_preamble = true;
        if (glossary->header_count == 0 && glossary->failed.code == 0) {
            if (body_of(glossary, 0, glossary->line_count).size == 0)
                return IMPORT_END;
            return import_problem_set(problem, 0, IMPORT_BAD_FILE,
                                      "no header line found: it is not a page of a glossary");
        }
        if (body_of(glossary, glossary->first, first).size > 0 && !glossary->site_block)
            return import_problem_set(problem, glossary->first + 1, IMPORT_WARNING,
                                      "text before the first header line was left out");
    }
    if (glossary->at == glossary->header_count) {
        if (glossary->failed.code == 0)
            return IMPORT_END;
        glossary->failed.code = 0;
        return import_problem_set(problem, glossary->line_count, IMPORT_BAD_FILE, "%s",
                                  glossary->failed.text);
    }
    line = glossary->headers[glossary->at++];
    header = import_trim(line_text(glossary, line));
    body = body_of(glossary, line + 1,
                   glossary->at < glossary->header_count ? glossary->headers[glossary->at]
                                                         : glossary->line_count);
    entry->line = line + 1;
    if (!text_valid(header, &offset))
        return import_problem_set(problem, line + 1, IMPORT_BAD_ENTRY,
                                  "the header line is not valid UTF-8 at byte %zu", offset);
    split_header(entry, header, &sense);
    import_entry_set_body(entry, body);
    number = number_of(glossary->run, entry, sense, body);
    entry->sense = import_entry_text(entry, sense);
    if (number > 1) {
        char *numbered = arena_printf(&entry->arena, "%s%s(%u)", entry->sense,
                                      sense.size > 0 ? " " : "", number);
        entry->sense = numbered;
    }
    return import_checked(entry, problem);
}

static void glossary_close(struct import_reader *reader)
{
    struct glossary *glossary = (struct glossary *)reader;

    free(glossary->headers);
    free(glossary->candidates);
    free(glossary->lines);
    free(glossary->text);
    free(glossary);
}

static void glossary_progress(const struct import_reader *reader, uint64_t *done, uint64_t *size)
{
    const struct glossary *glossary = (const struct glossary *)reader;

    *size = glossary->text_size;
    *done = glossary->at < glossary->header_count
                ? glossary->lines[glossary->headers[glossary->at]].offset
                : glossary->text_size;
}

/* Reads the whole page. What was read before damage is kept, the damage reported at the end. */
static int read_page(struct glossary *glossary, struct input *input, struct err *err)
{
    struct buf text = {0};
    size_t got = 0;

    do {
        uint8_t *to;
        if (text.size > IMPORT_PAGE_MAX) {
            buf_deinit(&text);
            return err_set(err, ERR_TOO_LARGE,
                           "it is larger than %zu MiB, more than a page of a glossary may be",
                           IMPORT_PAGE_MAX >> 20);
        }
        to = buf_extend(&text, 65536);
        if (input_read(input, to, 65536, &got, &glossary->failed) != 0)
            got = 0;
        text.size -= 65536 - got;
    } while (got > 0);
    /* Windows line ends become plain ones, when the file has them throughout. */
    const uint8_t *first = memchr(text.data, '\n', text.size);
    if (first != NULL && first > text.data && first[-1] == '\r') {
        size_t kept = 0;
        for (size_t i = 0; i < text.size; i++)
            if (text.data[i] != '\r' || i + 1 == text.size || text.data[i + 1] != '\n')
                text.data[kept++] = text.data[i];
        text.size = kept;
    }
    struct bytes plain = import_skip_bom(buf_bytes(&text));
    memmove(text.data, plain.data, plain.size);
    glossary->text_size = plain.size;
    glossary->text = text.data;
    return 0;
}

int glossary_open(struct input *input, struct import_run *run, struct import_reader **out,
                  struct err *err)
{
    struct glossary *glossary = calloc(1, sizeof *glossary);
    int status;

    *out = NULL;
    if (glossary == NULL) {
        input_close(input);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    status = read_page(glossary, input, err);
    input_close(input);
    if (status != 0) {
        free(glossary);
        return status;
    }
    split_lines(glossary);
    skip_site_block(glossary);
    mark_enclosures(glossary);
    find_candidates(glossary);
    keep_one_layout(glossary);
    find_chain(glossary);
    glossary->run = run;
    glossary->reader =
        (struct import_reader){glossary_next, glossary_close, glossary_progress, NULL};
    *out = &glossary->reader;
    return 0;
}
