/* Why an entry has its score: the query's own iterators, put on that entry's document. */
#include "shard/search_iter.h"

#include <string.h>

struct explainer {
    struct search_context *context;
    uint32_t doc;
    Quire__ExplainReply *out;
    bool failed; /* no memory */
};

/* The live document of an entry. Entry keys are not indexed by segment, and the entry's place row
 * belongs to the range as it is now, not to this view: so look at all of them, newest first. */
static bool find_document(const struct view *view, struct bytes key, uint32_t *segment,
                          uint32_t *doc)
{
    for (uint32_t i = view->segment_count; i-- > 0;) {
        const struct view_segment *in = &view->segments[i];
        for (uint32_t d = in->doc_limit; d-- > 0;) {
            if (bytes_equal(in->segment->ops->entry_key(in->segment, d), key) && view_live(in, d)) {
                *segment = i;
                *doc = d;
                return true;
            }
        }
    }
    return false;
}

static char *join_tokens(const struct plan_node *node, struct arena *arena)
{
    size_t size = 0;
    for (uint32_t i = 0; i < node->token_count; i++)
        size += node->tokens[i].size + 1;
    char *text = arena_alloc(arena, size + 1);
    if (!text)
        return NULL;
    size = 0;
    for (uint32_t i = 0; i < node->token_count; i++) {
        if (i)
            text[size++] = ' ';
        memcpy(text + size, node->tokens[i].data, node->tokens[i].size);
        size += node->tokens[i].size;
    }
    text[size] = 0;
    return text;
}

/* A word by itself, whatever the rest of the query makes of the document. */
static int measure_leaf(struct search_context *context, const struct plan_node *node, uint32_t doc,
                        Quire__ExplainTerm *term)
{
    int status = search_context_init(context);
    struct iter *it = status ? NULL : iter_leaf(context, node);
    if (it && iter_seek(it, doc) == doc && iter_matches(it)) {
        term->frequency = iter_leaf_frequency(it);
        term->contribution = iter_score(it);
    }
    search_context_deinit(context);
    return context->status;
}

static void explain_leaf(struct explainer *explainer, const struct plan_node *node, bool counts)
{
    struct arena *arena = explainer->context->arena;
    Quire__ExplainTerm *term = arena_alloc(arena, sizeof *term);
    if (!term) {
        explainer->failed = true;
        return;
    }
    quire__explain_term__init(term);
    term->token = join_tokens(node, arena);
    term->has_field = 1;
    term->field = node->field;
    term->document_frequency = node->df;
    term->idf = node->idf;
    term->boost = node->boost;
    struct search_context alone = *explainer->context;
    int status = measure_leaf(&alone, node, explainer->doc, term);
    if (status)
        explainer->context->status = status;
    if (!counts)
        term->contribution = 0;
    explainer->failed |= !term->token;
    explainer->out->terms[explainer->out->n_terms++] = term;
}

/* `counts`: every group above matches, and so adds up the scores of its children. */
static void explain_node(struct explainer *explainer, uint32_t index, bool counts)
{
    const struct search_plan *plan = explainer->context->plan;
    const struct plan_node *node = &plan->nodes[index];
    bool root = index + 1 == plan->node_count;
    if (!root && (node->occur == QUIRE__QUERY_NODE__OCCUR__MUST_NOT ||
                  node->occur == QUIRE__QUERY_NODE__OCCUR__FILTER))
        return;
    if (node->op == QUIRE__QUERY_NODE__OP__TERM || node->op == QUIRE__QUERY_NODE__OP__PHRASE) {
        explain_leaf(explainer, node, counts);
        return;
    }
    struct iter *it = explainer->context->iters[index];
    counts = counts && iter_seek(it, explainer->doc) == explainer->doc && iter_matches(it);
    for (uint32_t i = 0; i < node->count; i++)
        explain_node(explainer, plan->children[node->first + i], counts);
}

static int explain_document(struct search_context *context, uint32_t doc, Quire__ExplainReply *out)
{
    struct iter *root = search_compile(context);
    if (!root)
        return context->status;
    out->matched = iter_seek(root, doc) == doc && iter_matches(root);
    out->score = out->matched ? iter_score(root) : 0;
    out->has_length = 1;
    out->length = norm_decode(search_norm(context, doc));
    out->terms = search_alloc(context, context->plan->node_count, sizeof *out->terms);
    if (!out->terms)
        return context->status;
    struct explainer explainer = {.context = context, .doc = doc, .out = out};
    explain_node(&explainer, context->plan->node_count - 1, out->matched);
    if (explainer.failed && !context->status)
        context->status = err_set(context->err, ERR_NOMEM, "out of memory for an explanation");
    return context->status;
}

static struct bytes wanted_key(const Quire__ShardExplain *request, struct buf *buf)
{
    buf_append(buf, request->key.data, request->key.len);
    buf_append_u8(buf, 0);
    if (request->sense)
        buf_append_str(buf, request->sense);
    return buf_bytes(buf);
}

int search_explain(struct view *view, const Quire__ShardExplain *request, struct arena *arena,
                   Quire__ExplainReply *out, struct err *err)
{
    quire__explain_reply__init(out);
    struct search_plan *plan;
    int status = search_plan_build(request->search, arena, &plan, err);
    if (status)
        return status;
    struct buf key = {0};
    uint32_t segment, doc;
    bool found = find_document(view, wanted_key(request, &key), &segment, &doc);
    buf_deinit(&key);
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "no such entry");
    out->has_documents = out->has_average_length = out->has_k1 = out->has_b = 1;
    out->documents = plan->collection.documents;
    if (out->documents)
        out->average_length = (double)plan->collection.total_length / (double)out->documents;
    out->k1 = plan->collection.k1;
    out->b = plan->collection.b;
    struct search_context context = {
        .plan = plan, .view = &view->segments[segment], .arena = arena, .err = err};
    status = search_context_init(&context);
    if (!status)
        status = explain_document(&context, doc, out);
    search_context_deinit(&context);
    return status;
}
