/* Browsing: one page of the entries in key order, with the letters of the whole collection.
 *
 * Two rounds. The first asks every range how many entries it has by letter, and how many before the
 * first key of what is browsed (all, a letter's, or those from a term on); with a letter it is
 * asked once more for the key behind the letter. From the counts follows which range the page
 * begins in, and how far into it. The second walks the ranges from there, one after another, until
 * the page is full: nearly always one or two of them.
 *
 * A range that cannot be counted makes the answer ERR_INCOMPLETE: page numbers would be wrong
 * without it.
 */
#include "coordinator/defaults.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <string.h>

struct stretch { /* of one range: what of it is browsed */
    struct bytes lo;
    uint64_t total;
    uint64_t first; /* entries before what is browsed */
    uint64_t end;   /* entries before what comes behind it */
};

struct browse {
    struct coordinator *coordinator;
    struct rpc_request *request;
    uint64_t collection;
    uint64_t deadline_ms;
    struct scatter_view view;
    uint64_t page;
    uint32_t per_page;
    struct bytes from;   /* key prefix; empty: from the start */
    struct bytes to;     /* exclusive; empty: to the end */
    struct bytes before; /* what the round under way counts up to */
    struct scatter scatter;
    struct stretch *stretches;
    size_t stretch_count;
    size_t at;     /* the stretch that is read */
    uint64_t skip; /* entries of it */
    Quire__BrowseReply reply;
};

static void prepare_scatter(struct browse *browse, uint16_t kind,
                            const ProtobufCMessageDescriptor *reply_type)
{
    struct scatter *scatter = &browse->scatter;
    *scatter = (struct scatter){
        .coordinator = browse->coordinator,
        .request = browse->request,
        .collection = browse->collection,
        .kind = kind,
        .reply_type = reply_type,
        .deadline_ms = browse->deadline_ms,
        .view = browse->view,
        .data = browse,
    };
}

/* ---- the second round: entries ---- */

static void read_next(struct browse *browse);

static void build_page(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                       struct buf *out)
{
    (void)count;
    struct browse *browse = scatter->data;
    Quire__ShardBrowse message = QUIRE__SHARD_BROWSE__INIT;
    message.range = ranges[0];
    message.has_from = browse->from.size > 0;
    message.from = (ProtobufCBinaryData){browse->from.size, (uint8_t *)browse->from.data};
    message.has_to = browse->to.size > 0;
    message.to = (ProtobufCBinaryData){browse->to.size, (uint8_t *)browse->to.data};
    message.has_skip = message.has_limit = message.has_heads_only = true;
    message.skip = browse->skip;
    message.limit = browse->per_page - (uint32_t)browse->reply.n_entries;
    message.heads_only = true;
    message_pack(&message.base, out);
}

static void on_page(struct scatter *scatter)
{
    struct browse *browse = scatter->data;
    if (!scatter_require_all(scatter))
        return;
    const Quire__ShardEntries *answer = (const Quire__ShardEntries *)scatter->replies[0];
    for (size_t i = 0; i < answer->n_heads && browse->reply.n_entries < browse->per_page; i++)
        browse->reply.entries[browse->reply.n_entries++] = answer->heads[i];
    browse->at++;
    browse->skip = 0;
    read_next(browse);
}

static void read_next(struct browse *browse)
{
    while (browse->at < browse->stretch_count &&
           browse->stretches[browse->at].end == browse->stretches[browse->at].first)
        browse->at++;
    if (browse->at == browse->stretch_count || browse->reply.n_entries == browse->per_page) {
        request_reply(browse->request, &browse->reply.base);
        return;
    }
    prepare_scatter(browse, QUIRE__KIND__KIND_SHARD_BROWSE, &quire__shard_entries__descriptor);
    browse->scatter.whole_replies = true;
    browse->scatter.build = build_page;
    browse->scatter.done = on_page;
    scatter_set_key(&browse->scatter, browse->stretches[browse->at].lo);
    scatter_start(&browse->scatter);
}

static void find_page(struct browse *browse)
{
    uint64_t total = 0;
    for (size_t i = 0; i < browse->stretch_count; i++) {
        struct stretch *stretch = &browse->stretches[i];
        if (stretch->end < stretch->first)
            stretch->end = stretch->first; /* deletes between the two counts */
        total += stretch->end - stretch->first;
    }
    browse->reply.page = browse->page;
    browse->reply.total = total;
    browse->reply.pages = total == 0 ? 1 : (total + browse->per_page - 1) / browse->per_page;
    browse->reply.entries =
        arena_calloc(&browse->request->arena, browse->per_page, sizeof *browse->reply.entries);
    browse->at = 0;
    browse->skip = (browse->page - 1) * browse->per_page;
    if (browse->page > browse->reply.pages)
        browse->at = browse->stretch_count;
    while (browse->at < browse->stretch_count) {
        const struct stretch *stretch = &browse->stretches[browse->at];
        if (browse->skip < stretch->end - stretch->first)
            break;
        browse->skip -= stretch->end - stretch->first;
        browse->at++;
    }
    read_next(browse);
}

/* ---- the first round: counts ---- */

static void build_letters(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                          struct buf *out)
{
    struct browse *browse = scatter->data;
    Quire__ShardLetters message = QUIRE__SHARD_LETTERS__INIT;
    message.ranges = ranges;
    message.n_ranges = count;
    message.has_before = browse->before.size > 0;
    message.before = (ProtobufCBinaryData){browse->before.size, (uint8_t *)browse->before.data};
    message_pack(&message.base, out);
}

static void count_before(struct browse *browse, struct bytes before,
                         void (*done)(struct scatter *scatter))
{
    browse->before = before;
    prepare_scatter(browse, QUIRE__KIND__KIND_SHARD_LETTERS,
                    &quire__shard_letters_reply__descriptor);
    browse->scatter.piece_per_range = true; /* counts are needed by range, letters in key order */
    browse->scatter.build = build_letters;
    browse->scatter.done = done;
    scatter_start(&browse->scatter);
}

static void on_end_counted(struct scatter *scatter)
{
    struct browse *browse = scatter->data;
    if (!scatter_require_all(scatter))
        return;
    if (scatter->gather.piece_count != browse->stretch_count) {
        request_error(browse->request, ERR_UNAVAILABLE,
                      "the ranges of the collection changed meanwhile: try again");
        return;
    }
    for (size_t i = 0; i < browse->stretch_count; i++)
        browse->stretches[i].end = ((Quire__ShardLettersReply *)scatter->replies[i])->before;
    find_page(browse);
}

static void add_letter(struct browse *browse, Quire__LetterCount *letter)
{
    Quire__BrowseReply *reply = &browse->reply;
    for (size_t i = reply->n_letters; i-- > 0;) {
        if (strcmp(reply->letters[i]->letter, letter->letter) == 0) {
            reply->letters[i]->count += letter->count;
            return;
        }
    }
    reply->letters[reply->n_letters++] = letter;
}

static void on_counted(struct scatter *scatter)
{
    struct browse *browse = scatter->data;
    if (!scatter_require_all(scatter))
        return;
    struct arena *arena = &browse->request->arena;
    size_t count = scatter->gather.piece_count;
    size_t letters = 0;
    for (size_t i = 0; i < count; i++)
        letters += ((Quire__ShardLettersReply *)scatter->replies[i])->n_letters;
    browse->reply.letters = arena_calloc(arena, letters + 1, sizeof *browse->reply.letters);
    browse->stretches = arena_calloc(arena, count, sizeof *browse->stretches);
    browse->stretch_count = count;
    for (size_t i = 0; i < count; i++) {
        Quire__ShardLettersReply *answer = (Quire__ShardLettersReply *)scatter->replies[i];
        struct bytes lo = map_range_lo(scatter->gather.ranges[i].range);
        browse->stretches[i] = (struct stretch){
            .lo = bytes_of(arena_copy(arena, lo.data, lo.size), lo.size),
            .total = answer->total,
            .first = browse->from.size > 0 ? answer->before : 0,
            .end = answer->total,
        };
        for (size_t j = 0; j < answer->n_letters; j++)
            add_letter(browse, answer->letters[j]);
    }
    if (browse->to.size > 0)
        count_before(browse, browse->to, on_end_counted);
    else
        find_page(browse);
}

/* ---- what is asked for ---- */

/* The first code point of the letter's key, and the least string above everything that begins with
 * it. */
static bool set_letter(struct browse *browse, const char *letter)
{
    struct bytes key;
    if (!op_key(browse->request, "letter", letter, &key))
        return false;
    size_t size = 1;
    while (size < key.size && (key.data[size] & 0xc0) == 0x80)
        size++;
    browse->from = bytes_of(key.data, size);
    uint8_t *end = arena_copy(&browse->request->arena, key.data, size);
    end[size - 1]++; /* bytes of UTF-8 are below 0xff */
    browse->to = bytes_of(end, size);
    return true;
}

void op_browse(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__BrowseRequest *message = request_unpack(request, &quire__browse_request__descriptor);
    if (message == NULL)
        return;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    if (found == NULL)
        return;
    uint64_t page = message->has_page ? message->page : 1;
    uint32_t per_page = message->has_per_page ? message->per_page : DEFAULT_PER_PAGE;
    if (per_page < 1 || per_page > LIMIT_PER_PAGE) {
        request_error(request, ERR_INVALID, "a page has 1 to %d entries", LIMIT_PER_PAGE);
        return;
    }
    if (page < 1 || page > UINT32_MAX) {
        request_error(request, ERR_INVALID, "pages are counted from 1");
        return;
    }
    if (message->letter != NULL && message->from != NULL) {
        request_error(request, ERR_INVALID, "browse by a letter or from a term, not both");
        return;
    }
    struct browse *browse = arena_calloc(&request->arena, 1, sizeof *browse);
    browse->coordinator = coordinator;
    browse->request = request;
    browse->collection = found->id;
    browse->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    browse->view = SCATTER_VIEW(message);
    browse->page = page;
    browse->per_page = per_page;
    quire__browse_reply__init(&browse->reply);
    if (message->letter != NULL && !set_letter(browse, message->letter))
        return;
    if (message->from != NULL && !op_key(request, "term", message->from, &browse->from))
        return;
    count_before(browse, browse->from, on_counted);
}
