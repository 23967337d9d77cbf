#include "client/backup/lines.h"

#include "client/backup/reading.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static json_t *texts(const char *const *list, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(list[i]));
    return array;
}

static bool names_differ(const struct quire_entry *entry)
{
    for (size_t i = 0; i < entry->attribute_count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(entry->attributes[i].name, entry->attributes[j].name) == 0)
                return false;
    return true;
}

static void write_attributes(const struct quire_entry *entry, json_t *object)
{
    bool plain = names_differ(entry);
    json_t *all = plain ? json_object() : json_array();
    for (size_t i = 0; i < entry->attribute_count; i++) {
        const struct quire_attribute *attribute = &entry->attributes[i];
        if (plain)
            json_object_set_new(all, attribute->name, json_string(attribute->value));
        else
            json_array_append_new(all, json_pack("[s,s]", attribute->name, attribute->value));
    }
    json_object_set_new(object, plain ? "attributes" : "attribute_pairs", all);
}

static int append(const char *text, size_t size, void *out)
{
    buf_append(out, text, size);
    return 0;
}

void backup_line_write(const struct quire_entry *entry, struct buf *out)
{
    json_t *object = json_object();
    json_object_set_new(object, "headword", json_string(entry->headword));
    json_object_set_new(object, "sense", json_string(entry->sense));
    json_object_set_new(object, "terms", texts(entry->terms, entry->term_count));
    json_object_set_new(object, "categories", texts(entry->categories, entry->category_count));
    json_object_set_new(object, "body", json_string(entry->body));
    if (entry->source[0] != '\0')
        json_object_set_new(object, "source", json_string(entry->source));
    if (entry->attribute_count > 0)
        write_attributes(entry, object);
    json_object_set_new(object, "version", json_integer((json_int_t)entry->version));
    if (json_dump_callback(object, append, out, JSON_COMPACT) != 0)
        abort(); /* memory is out */
    buf_append_u8(out, '\n');
    json_decref(object);
}

/* ---- reading ---- */

/* "" for what is not there. */
static const char *text_of(struct reading *it, const json_t *value)
{
    if (value == NULL)
        return "";
    if (!json_is_string(value)) {
        it->bad = true;
        return "";
    }
    const char *copy = arena_copy(it->arena, json_string_value(value), json_string_length(value));
    if (copy == NULL)
        abort();
    return copy;
}

static const char *const *list_of(struct reading *it, const json_t *list, size_t *count)
{
    size_t size = json_array_size(list);
    const char **out = reading_take(it, size, sizeof *out);
    it->bad |= list != NULL && !json_is_array(list);
    for (size_t i = 0; i < size; i++)
        out[i] = text_of(it, json_array_get(list, i));
    *count = size;
    return out;
}

static void read_attributes(struct reading *it, json_t *object, struct quire_entry *out)
{
    json_t *plain = json_object_get(object, "attributes"), *value;
    const json_t *pairs = json_object_get(object, "attribute_pairs");
    size_t room = json_object_size(plain) + json_array_size(pairs);
    struct quire_attribute *attributes = reading_take(it, room, sizeof *attributes);
    const char *name;
    out->attributes = attributes;
    json_object_foreach(plain, name, value)
    {
        struct quire_attribute *attribute = &attributes[out->attribute_count++];
        attribute->name = arena_strdup(it->arena, name);
        attribute->value = text_of(it, value);
    }
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        struct quire_attribute *attribute = &attributes[out->attribute_count++];
        attribute->name = text_of(it, json_array_get(pair, 0));
        attribute->value = text_of(it, json_array_get(pair, 1));
        it->bad |= json_array_size(pair) != 2;
    }
}

int backup_line_read(struct bytes line, struct arena *arena, struct quire_entry *out,
                     struct err *err)
{
    struct reading it = {.arena = arena};
    json_error_t error;
    json_t *object = json_loadb((const char *)line.data, line.size, 0, &error);
    *out = (struct quire_entry)QUIRE_ENTRY_INIT;
    if (object == NULL)
        return err_set(err, ERR_CORRUPT, "a line is not JSON: %s", error.text);
    out->headword = text_of(&it, json_object_get(object, "headword"));
    out->sense = text_of(&it, json_object_get(object, "sense"));
    out->terms = list_of(&it, json_object_get(object, "terms"), &out->term_count);
    out->categories = list_of(&it, json_object_get(object, "categories"), &out->category_count);
    out->body = text_of(&it, json_object_get(object, "body"));
    out->body_size = strlen(out->body);
    out->source = text_of(&it, json_object_get(object, "source"));
    out->version = (uint64_t)json_integer_value(json_object_get(object, "version"));
    read_attributes(&it, object, out);
    json_decref(object);
    if (it.bad || out->headword[0] == '\0')
        return err_set(err, ERR_CORRUPT, "a line is not an entry");
    return 0;
}

char *backup_line_headword(struct bytes line)
{
    json_t *object = json_loadb((const char *)line.data, line.size, 0, NULL);
    const char *headword = json_string_value(json_object_get(object, "headword"));
    char *copy = headword != NULL ? strdup(headword) : NULL;
    json_decref(object);
    return copy;
}
