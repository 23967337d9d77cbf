#include "shard/view.h"

#include <stdlib.h>

int view_segment_frequency(const struct view_segment *segment, struct segment_token token,
                           uint64_t *df, struct err *err)
{
    struct segment *in = segment->segment;
    uint32_t listed = 0, dead;
    int code = in->ops->frequency(in, token, segment->doc_limit, &listed, err);

    *df = 0;
    if (code != 0)
        return code;
    /* The count of the dead may be ahead of the view, also by documents beyond its doc_limit. */
    dead = dead_terms_get(segment->dead_terms, token.field, token.text);
    *df = listed > dead ? listed - dead : 0;
    return 0;
}

int view_frequency(const struct view *view, struct segment_token token, uint64_t *df,
                   struct err *err)
{
    *df = 0;
    for (uint32_t i = 0; i < view->segment_count; i++) {
        uint64_t own;
        int code = view_segment_frequency(&view->segments[i], token, &own, err);

        if (code != 0)
            return code;
        *df += own;
    }
    return 0;
}

bool view_live(const struct view_segment *segment, uint32_t doc)
{
    return doc < segment->doc_limit && !live_is_dead(segment->dead, doc);
}

void view_release(struct view *view)
{
    if (view == NULL)
        return;
    for (uint32_t i = 0; i < view->segment_count; i++) {
        live_unref(view->segments[i].dead);
        dead_terms_unref(view->segments[i].dead_terms);
        segment_unref(view->segments[i].segment);
    }
    free(view);
}
