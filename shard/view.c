#include "shard/view.h"

#include <stdlib.h>

/* The count of the dead may be ahead of the view, also by documents beyond its doc_limit. */
uint64_t view_live_of(const struct view_segment *segment, struct segment_token token,
                      uint32_t listed)
{
    uint32_t dead = dead_terms_get(segment->dead_terms, token.field, token.text);
    return listed > dead ? listed - dead : 0;
}

int view_segment_frequency(const struct view_segment *segment, struct segment_token token,
                           uint64_t *df, struct err *err)
{
    struct segment *in = segment->segment;
    uint32_t listed = 0;
    int code = in->ops->frequency(in, token, segment->doc_limit, &listed, err);

    *df = code == 0 ? view_live_of(segment, token, listed) : 0;
    return code;
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
