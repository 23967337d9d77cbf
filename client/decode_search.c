/* Replies about pages, names and searches into results. */
#include "client/decoder.h"
#include "proto/text/analysis.h"

#define SCORE_UNIT 1048576.0 /* scores travel in units of 2^-20 */

/* ---- browsing and names ---- */

static void head_of(struct decoder *d, const Quire__EntryHead *in, struct quire_head *out)
{
    out->headword = text(d, in->headword);
    out->sense = text(d, in->sense);
    out->terms = texts(d, in->terms, in->n_terms);
    out->term_count = in->n_terms;
    out->categories = texts(d, in->categories, in->n_categories);
    out->category_count = in->n_categories;
    out->key = text_of(d, in->has_key, in->key);
}

static int decode_browse(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_browse_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__BrowseReply *in = UNPACK(browse_reply, box, payload);
    struct quire_letter **letters;
    struct quire_head **heads;
    if (in == NULL)
        return unreadable(err);
    letters = LIST(&d, struct quire_letter, in->n_letters);
    for (size_t i = 0; i < in->n_letters; i++) {
        letters[i]->letter = text(&d, in->letters[i]->letter);
        letters[i]->count = in->letters[i]->count;
    }
    heads = LIST(&d, struct quire_head, in->n_entries);
    for (size_t i = 0; i < in->n_entries; i++)
        head_of(&d, in->entries[i], heads[i]);
    result->page = in->page;
    result->pages = in->pages;
    result->total = in->total;
    result->letters = (const struct quire_letter *const *)letters;
    result->letter_count = in->n_letters;
    result->entries = (const struct quire_head *const *)heads;
    result->entry_count = in->n_entries;
    return finish(&d, err);
}

static int decode_match(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_match_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__MatchReply *in = UNPACK(match_reply, box, payload);
    struct quire_name **names;
    if (in == NULL)
        return unreadable(err);
    names = LIST(&d, struct quire_name, in->n_names);
    for (size_t i = 0; i < in->n_names; i++) {
        names[i]->name = text(&d, in->names[i]->name);
        names[i]->key = text_of(&d, true, in->names[i]->key);
        names[i]->distance = in->names[i]->distance;
        names[i]->entries = in->names[i]->entries;
    }
    result->names = (const struct quire_name *const *)names;
    result->name_count = in->n_names;
    result->limited = in->limited;
    return finish(&d, err);
}

/* ---- search ---- */

static void hit_of(struct decoder *d, const Quire__Hit *in, struct quire_hit *out)
{
    size_t size, kept = 0;
    struct quire_highlight *highlights = take(d, in->n_highlights, sizeof(*highlights));
    out->headword = text(d, in->headword);
    out->sense = text(d, in->sense);
    out->score = (double)in->score / SCORE_UNIT;
    out->score_fixed = in->score;
    out->categories = texts(d, in->categories, in->n_categories);
    out->category_count = in->n_categories;
    out->snippet = text(d, in->snippet);
    size = strlen(out->snippet);
    for (size_t i = 0; i < in->n_highlights; i++) {
        /* Programs cut the snippet by these: one that lies outside is left out. */
        struct quire_highlight h = {in->highlights[i]->offset, in->highlights[i]->length};
        if (h.offset <= size && h.length <= size - h.offset)
            highlights[kept++] = h;
    }
    out->highlights = highlights;
    out->highlight_count = kept;
    out->key = text_of(d, in->has_key, in->key);
}

static void missing_of(struct decoder *d, const Quire__MissingRange *in, struct quire_missing *out)
{
    out->lo = text_of(d, in->has_lo, in->lo);
    out->hi = text_of(d, in->has_hi, in->hi);
    out->reason = text(d, in->reason);
}

static const struct quire_span *const *spans_of(struct decoder *d, const Quire__SearchReply *in)
{
    struct quire_span **spans = LIST(d, struct quire_span, in->n_spans);
    for (size_t i = 0; i < in->n_spans; i++) {
        const Quire__TraceSpan *from = in->spans[i];
        /* Within one that came before, so that what follows the parents ends. */
        *spans[i] = (struct quire_span){.name = text(d, from->name),
                                        .parent = from->parent <= i ? from->parent : 0,
                                        .start_us = from->start_us,
                                        .took_us = from->took_us,
                                        .shard = text(d, from->shard),
                                        .ranges = from->ranges,
                                        .answered = from->has_worked_us,
                                        .waited_us = from->waited_us,
                                        .worked_us = from->worked_us,
                                        .note = text(d, from->note)};
    }
    return (const struct quire_span *const *)spans;
}

static void search_init(void *result)
{
    ((struct quire_search_result *)result)->cursor = "";
    ((struct quire_search_result *)result)->did_you_mean = "";
}

static int decode_search(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_search_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__SearchReply *in = UNPACK(search_reply, box, payload);
    struct quire_hit **hits;
    struct quire_missing **missing;
    struct quire_facet **facets;
    if (in == NULL)
        return unreadable(err);
    hits = LIST(&d, struct quire_hit, in->n_hits);
    for (size_t i = 0; i < in->n_hits; i++)
        hit_of(&d, in->hits[i], hits[i]);
    missing = LIST(&d, struct quire_missing, in->n_missing);
    for (size_t i = 0; i < in->n_missing; i++)
        missing_of(&d, in->missing[i], missing[i]);
    facets = LIST(&d, struct quire_facet, in->n_categories);
    for (size_t i = 0; i < in->n_categories; i++) {
        facets[i]->value = text(&d, in->categories[i]->value);
        facets[i]->count = in->categories[i]->count;
    }
    result->hits = (const struct quire_hit *const *)hits;
    result->hit_count = in->n_hits;
    result->missing = (const struct quire_missing *const *)missing;
    result->missing_count = in->n_missing;
    result->categories = (const struct quire_facet *const *)facets;
    result->category_count = in->n_categories;
    result->warnings = texts(&d, in->warnings, in->n_warnings);
    result->warning_count = in->n_warnings;
    result->total = in->total;
    result->total_is_lower_bound = in->total_is_lower_bound;
    result->complete = in->complete;
    result->expansion_limited = in->expansion_limited;
    result->cursor = text(&d, in->cursor);
    result->did_you_mean = text(&d, in->did_you_mean);
    result->took_us = in->took_us;
    result->spans = spans_of(&d, in);
    result->span_count = in->n_spans;
    return finish(&d, err);
}

static const char *field_name(uint32_t field)
{
    switch (field) {
    case TEXT_FIELD_ALL:
        return "text";
    case TEXT_FIELD_HEADWORD:
        return "headword";
    case TEXT_FIELD_TERMS:
        return "terms";
    case TEXT_FIELD_CATEGORY:
        return "category";
    case TEXT_FIELD_BODY:
        return "body";
    default:
        return "unknown";
    }
}

static void explain_init(void *result)
{
    ((struct quire_explain_result *)result)->headword = "";
    ((struct quire_explain_result *)result)->sense = "";
}

static int decode_explain(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_explain_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__ExplainReply *in = UNPACK(explain_reply, box, payload);
    struct quire_explain_term **terms;
    if (in == NULL)
        return unreadable(err);
    terms = LIST(&d, struct quire_explain_term, in->n_terms);
    for (size_t i = 0; i < in->n_terms; i++) {
        const Quire__ExplainTerm *from = in->terms[i];
        terms[i]->token = text(&d, from->token);
        terms[i]->field = field_name(from->field);
        terms[i]->document_frequency = from->document_frequency;
        terms[i]->idf = from->idf;
        terms[i]->frequency = from->frequency;
        terms[i]->boost = from->boost;
        terms[i]->contribution = (double)from->contribution / SCORE_UNIT;
        terms[i]->contribution_fixed = from->contribution;
    }
    result->matched = in->matched;
    result->headword = text(&d, in->headword);
    result->sense = text(&d, in->sense);
    result->score = (double)in->score / SCORE_UNIT;
    result->score_fixed = in->score;
    result->terms = (const struct quire_explain_term *const *)terms;
    result->term_count = in->n_terms;
    result->documents = in->documents;
    result->average_length = in->average_length;
    result->length = in->length;
    result->k1 = in->k1;
    result->b = in->b;
    return finish(&d, err);
}

const struct result_type result_browse = {sizeof(struct quire_browse_result), NULL, decode_browse};
const struct result_type result_match = {sizeof(struct quire_match_result), NULL, decode_match};
const struct result_type result_search = {sizeof(struct quire_search_result), search_init,
                                          decode_search};
const struct result_type result_explain = {sizeof(struct quire_explain_result), explain_init,
                                           decode_explain};
