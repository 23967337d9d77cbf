#include "client/cli/cli.h"

#include "proto/text/key.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *cli_text(const char *text)
{
    json_t *value = json_string(text);
    struct buf fixed = {0};

    if (value != NULL)
        return value;
    for (const char *at = text; *at != '\0';) {
        size_t good = 0, size = strlen(at);
        if (text_valid(bytes_of(at, size), &good))
            good = size;
        buf_append(&fixed, at, good);
        at += good;
        if (*at != '\0') {
            buf_append_str(&fixed, "\xef\xbf\xbd");
            at++;
        }
    }
    value = json_stringn((const char *)fixed.data, fixed.size);
    buf_deinit(&fixed);
    return value;
}

json_t *cli_texts(const char *const *texts, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, cli_text(texts[i]));
    return array;
}

json_t *cli_entry(const struct quire_entry *entry, const char *collection, bool version)
{
    json_t *object = json_object();

    if (collection != NULL)
        json_object_set_new(object, "collection", cli_text(collection));
    json_object_set_new(object, "headword", cli_text(entry->headword));
    json_object_set_new(object, "sense", cli_text(entry->sense));
    json_object_set_new(object, "terms", cli_texts(entry->terms, entry->term_count));
    json_object_set_new(object, "categories", cli_texts(entry->categories, entry->category_count));
    json_object_set_new(object, "body", cli_text(entry->body));
    if (entry->source[0] != '\0')
        json_object_set_new(object, "source", cli_text(entry->source));
    if (entry->attribute_count > 0) {
        json_t *attributes = json_object();
        for (size_t i = 0; i < entry->attribute_count; i++)
            json_object_set_new(attributes, entry->attributes[i].name,
                                cli_text(entry->attributes[i].value));
        json_object_set_new(object, "attributes", attributes);
    }
    if (version)
        json_object_set_new(object, "version", json_integer((json_int_t)entry->version));
    return object;
}

char *cli_read_input(size_t most, size_t *size, char *error, size_t error_size)
{
    struct buf text = {0};

    for (;;) {
        void *to = buf_extend(&text, 65536);
        ssize_t got = read(STDIN_FILENO, to, 65536);
        text.size -= 65536 - (got > 0 ? (size_t)got : 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            snprintf(error, error_size, "cannot read standard input: %s", strerror(errno));
            buf_deinit(&text);
            return NULL;
        }
        if (got == 0)
            break;
        if (text.size > most) {
            snprintf(error, error_size, "an entry may have at most %u MiB",
                     QUIRE_MAX_ENTRY_BYTES >> 20);
            buf_deinit(&text);
            return NULL;
        }
    }
    buf_append_u8(&text, 0);
    return (char *)buf_steal(&text, size);
}
