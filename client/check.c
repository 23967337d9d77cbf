/* What a request must be like before it is sent. The servers check again: this is for the sentence,
 * which arrives sooner and names the member of the struct. */
#include "client/encode.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A text of `size` bytes; NULL counts as empty. */
static int check_bytes(const char *what, const char *text, size_t size, size_t limit,
                       struct err *err)
{
    size_t offset;
    if (size > limit)
        return err_set(err, ERR_TOO_LARGE, "%s: %zu bytes are too many, the limit is %zu", what,
                       size, limit);
    if (size > 0 && !text_valid(bytes_of(text, size), &offset)) {
        if (memchr(text, 0, size) != NULL && text[offset] == '\0')
            return err_set(err, ERR_INVALID, "%s: there is a NUL at byte %zu", what, offset);
        return err_set(err, ERR_INVALID, "%s: not UTF-8 at byte %zu", what, offset);
    }
    return 0;
}

int check_text(const char *what, const char *text, size_t limit, struct err *err)
{
    return check_bytes(what, text, text ? strlen(text) : 0, limit, err);
}

int check_required(const char *what, const char *text, size_t limit, struct err *err)
{
    if (text == NULL || text[0] == '\0')
        return err_set(err, ERR_INVALID, "%s: missing", what);
    return check_text(what, text, limit, err);
}

int check_collection(const char *name, struct err *err)
{
    size_t size = strlen(name);
    if (size == 0)
        return err_set(err, ERR_INVALID, "collection: the name is empty");
    if (size > LIMIT_COLLECTION_NAME)
        return err_set(err, ERR_TOO_LARGE, "collection: the name has %zu bytes, the limit is %d",
                       size, LIMIT_COLLECTION_NAME);
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              (i > 0 && (c == '_' || c == '-'))))
            return err_set(err, ERR_INVALID,
                           "collection: a name is made of a-z, 0-9, _ and -, and begins with a "
                           "letter or a digit");
    }
    return 0;
}

int check_number(const char *what, uint64_t value, uint64_t most, struct err *err)
{
    if (value > most)
        return err_set(err, ERR_INVALID, "%s: %" PRIu64 " is too large, the limit is %" PRIu64,
                       what, value, most);
    return 0;
}

static int check_list(const char *what, const char *const *list, size_t count, size_t most,
                      size_t *bytes, struct err *err)
{
    if (count > most)
        return err_set(err, ERR_TOO_LARGE, "%s: %zu are too many, the limit is %zu", what, count,
                       most);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%s[%zu]", what, i);
        if (check_required(name, list[i], LIMIT_HEADWORD_BYTES, err) != 0)
            return err->code;
        *bytes += strlen(list[i]);
    }
    return 0;
}

static int check_attributes(const struct quire_entry *entry, size_t *bytes, struct err *err)
{
    if (entry->attribute_count > LIMIT_ATTRIBUTES)
        return err_set(err, ERR_TOO_LARGE, "attributes: %zu are too many, the limit is %d",
                       entry->attribute_count, LIMIT_ATTRIBUTES);
    for (size_t i = 0; i < entry->attribute_count; i++) {
        const struct quire_attribute *attribute = &entry->attributes[i];
        char name[64];
        snprintf(name, sizeof(name), "attributes[%zu]: name", i);
        if (check_required(name, attribute->name, LIMIT_ATTRIBUTE_BYTES, err) != 0)
            return err->code;
        snprintf(name, sizeof(name), "attributes[%zu]: value", i);
        if (check_text(name, attribute->value, LIMIT_ATTRIBUTE_BYTES, err) != 0)
            return err->code;
        *bytes += strlen(attribute->name) + (attribute->value ? strlen(attribute->value) : 0);
    }
    return 0;
}

int check_entry(const struct quire_entry *entry, size_t *bytes, struct err *err)
{
    size_t body = entry->body_size ? entry->body_size : entry->body ? strlen(entry->body) : 0;
    size_t sum = body;
    if (body > 0 && entry->body == NULL)
        return err_set(err, ERR_INVALID, "body: missing, although body_size is %zu", body);
    if (check_required("headword", entry->headword, LIMIT_HEADWORD_BYTES, err) != 0 ||
        check_text("sense", entry->sense, LIMIT_SENSE_BYTES, err) != 0 ||
        check_text("source", entry->source, LIMIT_SOURCE_BYTES, err) != 0 ||
        check_list("terms", entry->terms, entry->term_count, LIMIT_TERMS, &sum, err) != 0 ||
        check_list("categories", entry->categories, entry->category_count, LIMIT_CATEGORIES, &sum,
                   err) != 0 ||
        check_attributes(entry, &sum, err) != 0 ||
        check_bytes("body", entry->body, body, LIMIT_ENTRY_BYTES, err) != 0)
        return err->code;
    sum += strlen(entry->headword) + (entry->sense ? strlen(entry->sense) : 0) +
           (entry->source ? strlen(entry->source) : 0);
    if (sum > LIMIT_ENTRY_BYTES)
        return err_set(err, ERR_TOO_LARGE, "entry: %zu bytes are too many, the limit is %u", sum,
                       LIMIT_ENTRY_BYTES);
    *bytes = sum;
    return 0;
}
