/* Near spellings among the tokens of a segment.
 *
 * A segment on disk never changes, so what was read of it once can be kept: for each field and
 * first letter that is asked for, a dictionary of the tokens and their document frequencies, made
 * by the first who asks, so that no list is looked up for a word that is only near. A segment
 * in memory has its tokens at hand in order, and they are walked.
 */
#include "shard/segment.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LETTER_BYTES 4

struct word_list {
    uint8_t field, size;
    uint8_t letter[LETTER_BYTES];
    struct dictionary *dictionary;
};

struct segment_words {
    pthread_mutex_t building; /* one dictionary at a time; before `lock` */
    pthread_mutex_t lock;
    struct word_list *lists; /* sorted; they only become more */
    size_t count, capacity;
};

struct segment_words *segment_words_create(void)
{
    struct segment_words *words = calloc(1, sizeof *words);
    if (words == NULL)
        abort();
    pthread_mutex_init(&words->building, NULL);
    pthread_mutex_init(&words->lock, NULL);
    return words;
}

void segment_words_destroy(struct segment_words *words)
{
    if (words == NULL)
        return;
    for (size_t i = 0; i < words->count; i++)
        dictionary_unref(words->lists[i].dictionary);
    free(words->lists);
    pthread_mutex_destroy(&words->building);
    pthread_mutex_destroy(&words->lock);
    free(words);
}

size_t segment_words_bytes(struct segment_words *words)
{
    size_t bytes = 0;
    if (words == NULL)
        return 0;
    pthread_mutex_lock(&words->lock);
    for (size_t i = 0; i < words->count; i++)
        bytes += sizeof words->lists[i] + dictionary_bytes(words->lists[i].dictionary);
    pthread_mutex_unlock(&words->lock);
    return bytes;
}

static int compare(const struct word_list *list, struct segment_token token)
{
    if (list->field != token.field)
        return list->field < token.field ? -1 : 1;
    return bytes_compare(bytes_of(list->letter, list->size), token.text);
}

/* Where the list is or belongs. Holder of `lock`. */
static size_t find(const struct segment_words *words, struct segment_token letter, bool *found)
{
    size_t low = 0, high = words->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&words->lists[middle], letter) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < words->count && compare(&words->lists[low], letter) == 0;
    return low;
}

static struct dictionary *look_up(struct segment_words *words, struct segment_token letter)
{
    bool found;
    pthread_mutex_lock(&words->lock);
    size_t at = find(words, letter, &found);
    struct dictionary *dictionary = found ? words->lists[at].dictionary : NULL;
    pthread_mutex_unlock(&words->lock);
    return dictionary;
}

static void keep(struct segment_words *words, struct segment_token letter,
                 struct dictionary *dictionary)
{
    bool found;
    pthread_mutex_lock(&words->lock);
    size_t at = find(words, letter, &found);
    if (words->count == words->capacity) {
        words->capacity = words->capacity ? 2 * words->capacity : 32;
        words->lists = realloc(words->lists, words->capacity * sizeof words->lists[0]);
        if (words->lists == NULL)
            abort();
    }
    struct word_list *list = &words->lists[at];
    memmove(list + 1, list, (words->count - at) * sizeof *list);
    *list = (struct word_list){
        .field = letter.field, .size = (uint8_t)letter.text.size, .dictionary = dictionary};
    memcpy(list->letter, letter.text.data, letter.text.size);
    words->count++;
    pthread_mutex_unlock(&words->lock);
}

static int build(struct segment *segment, struct segment_token letter, struct dictionary **out,
                 struct err *err)
{
    struct dictionary_builder builder = {0};
    struct segment_terms *terms;
    int status = segment->ops->terms(segment, &letter, &terms, err);
    if (status)
        return status;
    while (!status && terms->ops->valid(terms)) {
        dictionary_add(&builder, terms->ops->token(terms).text, terms->ops->frequency(terms));
        status = terms->ops->next(terms, err);
    }
    terms->ops->close(terms);
    *out = dictionary_finish(&builder);
    if (!status)
        return 0;
    dictionary_unref(*out);
    return status;
}

static int dictionary_of(struct segment *segment, struct segment_token letter,
                         struct dictionary **out, struct err *err)
{
    struct segment_words *words = segment->words;
    int status = 0;
    *out = look_up(words, letter);
    if (*out)
        return 0;
    pthread_mutex_lock(&words->building);
    *out = look_up(words, letter);
    if (!*out)
        status = build(segment, letter, out, err);
    if (!status && !look_up(words, letter))
        keep(words, letter, *out);
    pthread_mutex_unlock(&words->building);
    return status;
}

static int walk_terms(struct segment *segment, struct segment_token letter,
                      struct distance_walks *walks, dictionary_visit *visit, void *data,
                      struct err *err)
{
    struct segment_terms *terms;
    struct bytes last = {0};
    int status = segment->ops->terms(segment, &letter, &terms, err);
    if (status)
        return status;
    while (!status && terms->ops->valid(terms)) {
        struct bytes token = terms->ops->token(terms).text; /* in memory: stays where it is */
        uint32_t shared = 0;
        while (shared < last.size && shared < token.size && last.data[shared] == token.data[shared])
            shared++;
        last = token;
        if (shared < walks->dead) {
            struct bytes rest = bytes_of(token.data + shared, token.size - shared), text;
            uint32_t distance = distance_walks_to(walks, shared, rest, &text);
            if (distance <= walks->limit)
                visit(data, token, distance, 0);
        }
        status = terms->ops->next(terms, err);
    }
    terms->ops->close(terms);
    return status;
}

int segment_near(struct segment *segment, uint8_t field, struct bytes letter,
                 struct distance_walks *walks, dictionary_visit *visit, void *data, struct err *err)
{
    struct segment_token within = {field, letter};
    struct dictionary *dictionary;
    if (segment->words == NULL)
        return walk_terms(segment, within, walks, visit, data, err);
    int status = dictionary_of(segment, within, &dictionary, err);
    if (!status)
        dictionary_near(dictionary, walks, visit, data);
    return status;
}
