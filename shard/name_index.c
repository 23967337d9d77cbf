/* For each first letter that was asked for: a dictionary of its names as the store showed them when
 * it was made, and the names written since, as they came. Those are compared one by one, and when
 * they become many, merged into a new dictionary. Names that lost their rows stay in it; who finds
 * too many of them says so (name_index_forget). Letters that nobody asks for cost nothing.
 *
 * No name is missed: a letter is in the table before its rows are read, and `writing` keeps a batch
 * from being written between the moment when it looks in the table and the one when it is in the
 * store. So a batch is either before the snapshot that is read or notes its names.
 *
 * When what was written since outgrows the dictionary by far (an import of which nobody asks
 * anything), the letter goes, and is read from the store again when it is asked for.
 */
#include "shard/name_index.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LETTER_BYTES 4
#define RECENT_MIN 1024      /* names that are compared one by one at any rate */
#define RECENT_SHARE 32      /* and this part of the dictionary's */
#define KEEP_MIN (256 << 10) /* bytes of names written since, before a letter goes */
#define KEEP_SHARE 4

struct name_letter {
    uint8_t letter[LETTER_BYTES];
    uint8_t size;
    struct dictionary *dictionary; /* NULL: being made */
    struct buf recent;             /* be16 size, bytes */
    uint32_t recent_count;
};

struct name_index {
    struct store *store;
    /* In the order in which they are taken: */
    pthread_mutex_t building; /* one letter at a time */
    pthread_mutex_t writing;
    pthread_mutex_t lock;        /* the table */
    struct name_letter *letters; /* sorted */
    size_t count, capacity;
};

struct name_index *name_index_create(struct store *store)
{
    struct name_index *index = calloc(1, sizeof *index);
    if (index == NULL)
        abort();
    index->store = store;
    pthread_mutex_init(&index->building, NULL);
    pthread_mutex_init(&index->writing, NULL);
    pthread_mutex_init(&index->lock, NULL);
    return index;
}

static void letter_deinit(struct name_letter *letter)
{
    dictionary_unref(letter->dictionary);
    buf_deinit(&letter->recent);
}

void name_index_destroy(struct name_index *index)
{
    if (index == NULL)
        return;
    for (size_t i = 0; i < index->count; i++)
        letter_deinit(&index->letters[i]);
    free(index->letters);
    pthread_mutex_destroy(&index->building);
    pthread_mutex_destroy(&index->writing);
    pthread_mutex_destroy(&index->lock);
    free(index);
}

struct store *name_index_store(struct name_index *index)
{
    return index->store;
}

size_t name_index_bytes(struct name_index *index)
{
    pthread_mutex_lock(&index->lock);
    size_t bytes = index->capacity * sizeof index->letters[0];
    for (size_t i = 0; i < index->count; i++) {
        const struct name_letter *letter = &index->letters[i];
        bytes += letter->recent.capacity;
        bytes += letter->dictionary ? dictionary_bytes(letter->dictionary) : 0;
    }
    pthread_mutex_unlock(&index->lock);
    return bytes;
}

/* ---- the table; holder of `lock` ---- */

static size_t lower_bound(const struct name_index *index, struct bytes text)
{
    size_t low = 0, high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct name_letter *letter = &index->letters[middle];
        if (bytes_compare(bytes_of(letter->letter, letter->size), text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct name_letter *find(const struct name_index *index, struct bytes text)
{
    size_t at = lower_bound(index, text);
    if (at == index->count)
        return NULL;
    struct name_letter *letter = &index->letters[at];
    return bytes_equal(bytes_of(letter->letter, letter->size), text) ? letter : NULL;
}

static void insert(struct name_index *index, struct bytes text)
{
    size_t at = lower_bound(index, text);
    if (index->count == index->capacity) {
        index->capacity = index->capacity ? 2 * index->capacity : 32;
        index->letters = realloc(index->letters, index->capacity * sizeof index->letters[0]);
        if (index->letters == NULL)
            abort();
    }
    struct name_letter *letter = &index->letters[at];
    memmove(letter + 1, letter, (index->count - at) * sizeof *letter);
    *letter = (struct name_letter){.size = (uint8_t)text.size};
    memcpy(letter->letter, text.data, text.size);
    index->count++;
}

static void drop(struct name_index *index, struct name_letter *letter)
{
    letter_deinit(letter);
    index->count--;
    memmove(letter, letter + 1, (size_t)(&index->letters[index->count] - letter) * sizeof *letter);
}

/* ---- writing ---- */

void name_index_note(struct buf *names, struct bytes key)
{
    buf_append_be16(names, (uint16_t)key.size);
    buf_append_bytes(names, key);
}

static void note_name(struct name_index *index, struct bytes name)
{
    struct name_letter *letter = find(index, distance_first_letter(name));
    if (letter == NULL)
        return;
    name_index_note(&letter->recent, name);
    letter->recent_count++;
    if (letter->dictionary == NULL || letter->recent.size < KEEP_MIN ||
        letter->recent.size < dictionary_bytes(letter->dictionary) / KEEP_SHARE)
        return;
    drop(index, letter);
}

static bool next_name(struct reader *reader, struct bytes *name)
{
    uint16_t size;
    return reader_be16(reader, &size) && reader_bytes(reader, size, name);
}

int name_index_write(struct name_index *index, struct store_batch *batch, struct buf *names,
                     struct err *err)
{
    struct reader reader;
    struct bytes name;
    pthread_mutex_lock(&index->writing);
    pthread_mutex_lock(&index->lock);
    reader_init(&reader, buf_bytes(names));
    while (index->count > 0 && next_name(&reader, &name))
        note_name(index, name);
    pthread_mutex_unlock(&index->lock);
    int status = store_write(index->store, batch, err);
    pthread_mutex_unlock(&index->writing);
    buf_clear(names);
    return status;
}

/* ---- making dictionaries ---- */

static int read_rows(struct store_iterator *it, struct bytes letter,
                     struct dictionary_builder *builder, struct err *err)
{
    for (; store_iterator_valid(it); store_iterator_next(it)) {
        struct bytes row = store_iterator_key(it);
        const uint8_t *end = row.size ? memchr(row.data, 0, row.size) : NULL;
        struct bytes name = bytes_of(row.data, end ? (size_t)(end - row.data) : row.size);
        if (!bytes_has_prefix(name, letter))
            break;
        dictionary_add(builder, name, 0);
    }
    return store_iterator_status(it, err);
}

/* Holder of `building`. */
static int build(struct name_index *index, struct bytes text, struct err *err)
{
    struct dictionary_builder builder = {0};
    pthread_mutex_lock(&index->lock);
    insert(index, text);
    pthread_mutex_unlock(&index->lock);
    pthread_mutex_lock(&index->writing);
    struct store_iterator *it = store_iterate(index->store, STORE_NAME, text, bytes_of(NULL, 0));
    pthread_mutex_unlock(&index->writing);
    int status = read_rows(it, text, &builder, err);
    store_iterator_close(it);
    struct dictionary *dictionary = dictionary_finish(&builder);
    pthread_mutex_lock(&index->lock);
    struct name_letter *letter = find(index, text);
    letter->dictionary = dictionary;
    if (status)
        drop(index, letter);
    pthread_mutex_unlock(&index->lock);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Takes the recent names into a new dictionary. Holder of `lock`. */
static void merge_recent(struct name_letter *letter)
{
    struct bytes *recent = malloc((letter->recent_count + 1) * sizeof *recent), text;
    struct dictionary_builder builder = {0};
    struct dictionary_reader old = {.dictionary = letter->dictionary};
    struct reader reader;
    uint32_t count = 0, next = 0;
    if (recent == NULL)
        abort();
    reader_init(&reader, buf_bytes(&letter->recent));
    while (next_name(&reader, &recent[count]))
        count++;
    qsort(recent, count, sizeof *recent, compare_names);
    while (dictionary_read(&old, &text)) {
        for (; next < count && bytes_compare(recent[next], text) < 0; next++)
            dictionary_add(&builder, recent[next], 0);
        dictionary_add(&builder, text, 0);
    }
    for (; next < count; next++)
        dictionary_add(&builder, recent[next], 0);
    dictionary_reader_deinit(&old);
    dictionary_unref(letter->dictionary);
    letter->dictionary = dictionary_finish(&builder);
    buf_deinit(&letter->recent);
    letter->recent_count = 0;
    free(recent);
}

/* ---- looking ---- */

/* The letter's dictionary, with a reference; NULL when there is none. Copies the recent names. */
static struct dictionary *take(struct name_index *index, struct bytes text, struct buf *recent)
{
    struct dictionary *dictionary = NULL;
    pthread_mutex_lock(&index->lock);
    struct name_letter *letter = find(index, text);
    if (letter != NULL && letter->dictionary != NULL) {
        if (letter->recent_count > RECENT_MIN + dictionary_count(letter->dictionary) / RECENT_SHARE)
            merge_recent(letter);
        dictionary = letter->dictionary;
        dictionary_ref(dictionary);
        buf_append_bytes(recent, buf_bytes(&letter->recent));
    }
    pthread_mutex_unlock(&index->lock);
    return dictionary;
}

static int obtain(struct name_index *index, struct bytes text, struct dictionary **out,
                  struct buf *recent, struct err *err)
{
    int status = 0;
    *out = take(index, text, recent);
    if (*out != NULL)
        return 0;
    pthread_mutex_lock(&index->building);
    /* Somebody else may have been first; a writer may have dropped what was just made. */
    while (!status && (*out = take(index, text, recent)) == NULL)
        status = build(index, text, err);
    pthread_mutex_unlock(&index->building);
    return status;
}

int name_index_near(struct name_index *index, struct bytes letter, struct distance_walks *walks,
                    dictionary_visit *visit, void *data, struct err *err)
{
    struct dictionary *dictionary;
    struct buf recent = {0};
    struct reader reader;
    struct bytes name;
    int status = obtain(index, letter, &dictionary, &recent, err);
    if (!status) {
        dictionary_near(dictionary, walks, visit, data);
        reader_init(&reader, buf_bytes(&recent));
        while (next_name(&reader, &name)) {
            uint32_t distance = distance_walks_to(walks, 0, name, &name);
            if (distance <= walks->limit)
                visit(data, name, distance, 0);
        }
        dictionary_unref(dictionary);
    }
    buf_deinit(&recent);
    return status;
}

void name_index_forget(struct name_index *index, struct bytes letter)
{
    pthread_mutex_lock(&index->lock);
    struct name_letter *found = find(index, letter);
    if (found != NULL && found->dictionary != NULL)
        drop(index, found);
    pthread_mutex_unlock(&index->lock);
}
