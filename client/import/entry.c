#include "client/import/entry.h"

#include "proto/limits.h"
#include "proto/text/key.h"

#include <assert.h>
#include <string.h>

void import_entry_init(struct import_entry *entry)
{
    memset(entry, 0, sizeof *entry);
    arena_init(&entry->arena, 0);
    import_entry_reset(entry);
}

void import_entry_deinit(struct import_entry *entry)
{
    arena_deinit(&entry->arena);
}

void import_entry_reset(struct import_entry *entry)
{
    arena_deinit(&entry->arena);
    entry->headword = entry->sense = entry->body = entry->source = "";
    entry->terms = entry->categories = NULL;
    entry->attributes = NULL;
    entry->term_count = entry->category_count = entry->attribute_count = 0;
    entry->body_size = 0;
    entry->line = 0;
}

const char *import_entry_text(struct import_entry *entry, struct bytes text)
{
    const char *copy = arena_copy(&entry->arena, text.data, text.size);
    assert(copy != NULL);
    return copy;
}

void *import_entry_array(struct import_entry *entry, size_t count, size_t size)
{
    if (count == 0)
        return NULL;
    void *array = arena_calloc(&entry->arena, count, size);
    assert(array != NULL);
    return array;
}

void import_entry_set_body(struct import_entry *entry, struct bytes body)
{
    entry->body = import_entry_text(entry, body);
    entry->body_size = body.size;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct bytes import_trim(struct bytes text)
{
    while (text.size > 0 && is_space(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && is_space(text.data[text.size - 1]))
        text.size--;
    return text;
}

/* One text against its limit; adds its size to *total. */
static int check_text(const char *what, const char *text, size_t limit, size_t *total,
                      struct err *err)
{
    struct bytes bytes = bytes_str(text);
    size_t offset = 0;

    if (bytes.size > limit)
        return err_set(err, ERR_TOO_LARGE, "the %s has %zu bytes, at most %zu are allowed", what,
                       bytes.size, limit);
    if (!text_valid(bytes, &offset))
        return err_set(err, ERR_INVALID, "the %s is not valid UTF-8 at byte %zu", what, offset);
    *total += bytes.size;
    return 0;
}

static int check_list(const char *what, const char *const *texts, size_t count, size_t limit,
                      size_t *total, struct err *err)
{
    if (count > limit)
        return err_set(err, ERR_TOO_LARGE, "the entry has %zu texts as %s, at most %zu are allowed",
                       count, what, limit);
    for (size_t i = 0; i < count; i++) {
        int status = check_text(what, texts[i], LIMIT_HEADWORD_BYTES, total, err);
        if (status != 0)
            return status;
    }
    return 0;
}

static int check_attributes(const struct import_entry *entry, size_t *total, struct err *err)
{
    if (entry->attribute_count > LIMIT_ATTRIBUTES)
        return err_set(err, ERR_TOO_LARGE, "the entry has %zu attributes, at most %d are allowed",
                       entry->attribute_count, LIMIT_ATTRIBUTES);
    for (size_t i = 0; i < entry->attribute_count; i++) {
        const struct import_attribute *attribute = &entry->attributes[i];
        int status =
            check_text("attribute name", attribute->name, LIMIT_ATTRIBUTE_BYTES, total, err);
        if (status == 0)
            status =
                check_text("attribute value", attribute->value, LIMIT_ATTRIBUTE_BYTES, total, err);
        if (status != 0)
            return status;
    }
    return 0;
}

static int check_body(const struct import_entry *entry, size_t *total, struct err *err)
{
    struct bytes body = bytes_of(entry->body, entry->body_size);
    size_t offset = 0;

    *total += body.size;
    if (*total > LIMIT_ENTRY_BYTES)
        return err_set(err, ERR_TOO_LARGE, "the entry has %zu bytes, at most %u MiB are allowed",
                       *total, LIMIT_ENTRY_BYTES >> 20);
    if (!text_valid(body, &offset))
        return err_set(err, ERR_INVALID, "the body %s at byte %zu",
                       offset < body.size && body.data[offset] == 0 ? "has a NUL character"
                                                                    : "is not valid UTF-8",
                       offset);
    return 0;
}

int import_entry_check(const struct import_entry *entry, struct err *err)
{
    size_t total = 0;
    int status;

    if (import_trim(bytes_str(entry->headword)).size == 0)
        return err_set(err, ERR_INVALID, "the entry has no headword");
    status = check_text("headword", entry->headword, LIMIT_HEADWORD_BYTES, &total, err);
    if (status == 0)
        status = check_text("sense", entry->sense, LIMIT_SENSE_BYTES, &total, err);
    if (status == 0)
        status = check_text("source", entry->source, LIMIT_SOURCE_BYTES, &total, err);
    if (status == 0)
        status =
            check_list("other name", entry->terms, entry->term_count, LIMIT_TERMS, &total, err);
    if (status == 0)
        status = check_list("category", entry->categories, entry->category_count, LIMIT_CATEGORIES,
                            &total, err);
    if (status == 0)
        status = check_attributes(entry, &total, err);
    if (status == 0)
        status = check_body(entry, &total, err);
    return status;
}
