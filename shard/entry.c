/* What an entry may be, and when two are the same. */
#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/document.h"

#include <string.h>

static int text_check(const char *field, const char *text, size_t limit, size_t *total,
                      struct err *err)
{
    size_t size = strlen(text), offset = 0;

    if (size > limit)
        return err_set(err, ERR_TOO_LARGE, "%s: %zu bytes, at most %zu are allowed", field, size,
                       limit);
    if (!text_valid(bytes_of(text, size), &offset))
        return err_set(err, ERR_INVALID, "%s: not UTF-8 at byte %zu", field, offset);
    *total += size;
    return 0;
}

static int list_check(const char *field, char *const *texts, size_t count, size_t limit,
                      size_t *total, struct err *err)
{
    if (count > limit)
        return err_set(err, ERR_TOO_LARGE, "%s: %zu of them, at most %zu are allowed", field, count,
                       limit);
    for (size_t i = 0; i < count; i++) {
        int code = text_check(field, texts[i], LIMIT_HEADWORD_BYTES, total, err);

        if (code != 0)
            return code;
        if (texts[i][0] == '\0')
            return err_set(err, ERR_INVALID, "%s: number %zu is empty", field, i + 1);
    }
    return 0;
}

static int attributes_check(const Quire__Entry *entry, size_t *total, struct err *err)
{
    int code;

    if (entry->n_attributes > LIMIT_ATTRIBUTES)
        return err_set(err, ERR_TOO_LARGE, "attributes: %zu of them, at most %d are allowed",
                       entry->n_attributes, LIMIT_ATTRIBUTES);
    for (size_t i = 0; i < entry->n_attributes; i++) {
        const Quire__Attribute *attribute = entry->attributes[i];

        code = text_check("attribute name", attribute->name, LIMIT_ATTRIBUTE_BYTES, total, err);
        if (code == 0)
            code =
                text_check("attribute value", attribute->value, LIMIT_ATTRIBUTE_BYTES, total, err);
        if (code != 0)
            return code;
    }
    return 0;
}

int entry_validate(const Quire__Entry *entry, struct err *err)
{
    size_t total = 0;
    int code;

    if (entry->headword == NULL || entry->headword[0] == '\0')
        return err_set(err, ERR_INVALID, "headword: empty");
    code = text_check("headword", entry->headword, LIMIT_HEADWORD_BYTES, &total, err);
    if (code == 0 && entry->sense != NULL)
        code = text_check("sense", entry->sense, LIMIT_SENSE_BYTES, &total, err);
    if (code == 0)
        code = list_check("terms", entry->terms, entry->n_terms, LIMIT_TERMS, &total, err);
    if (code == 0)
        code = list_check("categories", entry->categories, entry->n_categories, LIMIT_CATEGORIES,
                          &total, err);
    if (code == 0 && entry->source != NULL)
        code = text_check("source", entry->source, LIMIT_SOURCE_BYTES, &total, err);
    if (code == 0)
        code = attributes_check(entry, &total, err);
    if (code == 0 && entry->body != NULL)
        code = text_check("body", entry->body, LIMIT_ENTRY_BYTES, &total, err);
    if (code == 0 && total > LIMIT_ENTRY_BYTES)
        code = err_set(err, ERR_TOO_LARGE, "entry: %zu bytes of text, at most %u are allowed",
                       total, LIMIT_ENTRY_BYTES);
    return code;
}

/* An absent text is an empty one. */
static bool text_equal(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

static bool texts_equal(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!text_equal(a[i], b[i]))
            return false;
    return true;
}

bool entry_equal(const Quire__Entry *a, const Quire__Entry *b)
{
    if (!text_equal(a->headword, b->headword) || !text_equal(a->sense, b->sense) ||
        !texts_equal(a->terms, a->n_terms, b->terms, b->n_terms) ||
        !texts_equal(a->categories, a->n_categories, b->categories, b->n_categories) ||
        !text_equal(a->body, b->body) || !text_equal(a->source, b->source) ||
        a->n_attributes != b->n_attributes)
        return false;
    for (size_t i = 0; i < a->n_attributes; i++)
        if (!text_equal(a->attributes[i]->name, b->attributes[i]->name) ||
            !text_equal(a->attributes[i]->value, b->attributes[i]->value))
            return false;
    return true;
}

void entry_key(const char *headword, const char *sense, struct buf *out)
{
    text_key(bytes_str(headword), out);
    buf_append_u8(out, 0);
    if (sense != NULL)
        buf_append_str(out, sense);
}
