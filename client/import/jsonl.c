/* JSON lines: one object a line. Two shapes are read:
 *
 *   {"headword":"...", "sense":"...", "terms":[...], "categories":[...], "body":"...",
 * "source":"...", "attributes":{"name":"value"}}
 *
 * which is what `quire export` writes ("collection" and "version" are ignored), and the shape of
 * test corpora
 *
 *   {"id":"...", "terms":["headword", "other name"...], "category":[...], "body":"..."}
 *
 * where titles may repeat under different ids, so the id becomes the sense; an entry without a
 * title is called by its id. Everything but the name is optional.
 * Unknown members are ignored.
 */
#include "client/import/reader.h"
#include "proto/text/key.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct jsonl {
    struct import_reader reader;
    struct input *input;
    struct buf line;
    size_t number;
    bool failed;
};

/* The text of a member; "" when it is absent or null. */
static int get_text(struct import_entry *entry, const json_t *object, const char *name,
                    const char **out, struct err *err)
{
    const json_t *value = json_object_get(object, name);

    *out = "";
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return err_set(err, ERR_INVALID, "\"%s\" is not a string", name);
    *out = import_entry_text(entry, bytes_of(json_string_value(value), json_string_length(value)));
    return 0;
}

/* The texts of a member that is a list. */
static int get_list(struct import_entry *entry, const json_t *object, const char *name,
                    const char ***out, size_t *count, struct err *err)
{
    const json_t *list = json_object_get(object, name);
    size_t size = json_array_size(list);

    *out = NULL;
    *count = 0;
    if (list == NULL || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(err, ERR_INVALID, "\"%s\" is not a list", name);
    *out = import_entry_array(entry, size, sizeof **out);
    for (size_t i = 0; i < size; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item))
            return err_set(err, ERR_INVALID, "\"%s\" holds something that is not a string", name);
        (*out)[(*count)++] =
            import_entry_text(entry, bytes_of(json_string_value(item), json_string_length(item)));
    }
    return 0;
}

static int get_attributes(struct import_entry *entry, json_t *object, struct err *err)
{
    json_t *attributes = json_object_get(object, "attributes");
    const char *name;
    json_t *value;

    if (attributes == NULL || json_is_null(attributes))
        return 0;
    if (!json_is_object(attributes))
        return err_set(err, ERR_INVALID, "\"attributes\" is not an object");
    entry->attributes =
        import_entry_array(entry, json_object_size(attributes), sizeof *entry->attributes);
    json_object_foreach(attributes, name, value)
    {
        struct import_attribute *attribute = &entry->attributes[entry->attribute_count];
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "attribute \"%.64s\" is not a string", name);
        attribute->name = import_entry_text(entry, bytes_str(name));
        attribute->value =
            import_entry_text(entry, bytes_of(json_string_value(value), json_string_length(value)));
        entry->attribute_count++;
    }
    return 0;
}

/* The shape of test corpora: the headword is the first of the terms, the sense is the id. */
static int name_by_terms(struct import_entry *entry, const json_t *object, struct err *err)
{
    int status = get_text(entry, object, "id", &entry->sense, err);

    if (status != 0)
        return status;
    if (entry->term_count > 0) {
        entry->headword = entry->terms[0];
        entry->terms++;
        entry->term_count--;
    }
    if (import_trim(bytes_str(entry->headword)).size == 0)
        entry->headword = entry->sense;
    if (entry->headword[0] == '\0')
        return err_set(err, ERR_INVALID, "the object has no \"headword\"");
    return 0;
}

static int convert(struct import_entry *entry, json_t *object, struct err *err)
{
    const char *body = "";
    int status;

    if (!json_is_object(object))
        return err_set(err, ERR_INVALID, "the line is not a JSON object");
    status = get_list(entry, object, "terms", &entry->terms, &entry->term_count, err);
    if (status == 0)
        status = get_list(entry, object,
                          json_object_get(object, "categories") != NULL ? "categories" : "category",
                          &entry->categories, &entry->category_count, err);
    if (status == 0)
        status = get_text(entry, object, "body", &body, err);
    if (status == 0)
        status = get_text(entry, object, "source", &entry->source, err);
    if (status == 0)
        status = get_attributes(entry, object, err);
    if (status == 0 && json_object_get(object, "headword") != NULL) {
        status = get_text(entry, object, "headword", &entry->headword, err);
        if (status == 0)
            status = get_text(entry, object, "sense", &entry->sense, err);
    } else if (status == 0) {
        status = name_by_terms(entry, object, err);
    }
    entry->body = body;
    entry->body_size = strlen(body);
    return status;
}

int import_entry_from_json(struct import_entry *entry, struct bytes text, struct err *err)
{
    json_error_t error;
    json_t *object;
    size_t offset;
    int status;

    if (!text_valid(text, &offset))
        return err_set(err, ERR_INVALID, "not valid UTF-8 at byte %zu", offset);
    object = json_loadb((const char *)text.data, text.size, 0, &error);
    if (object == NULL)
        return err_set(err, ERR_INVALID, "not valid JSON at byte %d: %s", error.position,
                       error.text);
    status = convert(entry, object, err);
    json_decref(object);
    return status != 0 ? status : import_entry_check(entry, err);
}

static enum import_step jsonl_skip(struct import_reader *reader)
{
    struct jsonl *jsonl = (struct jsonl *)reader;
    enum input_line what;

    if (jsonl->failed)
        return IMPORT_END;
    do {
        jsonl->number++;
        if (input_line(jsonl->input, IMPORT_LINE_MAX, &jsonl->line, &what, NULL) != 0) {
            jsonl->failed = true;
            return IMPORT_PROBLEM;
        }
        if (what == INPUT_LINE_END)
            return IMPORT_END;
    } while (what == INPUT_LINE && import_trim(buf_bytes(&jsonl->line)).size == 0);
    return what == INPUT_LINE ? IMPORT_ENTRY : IMPORT_PROBLEM;
}

static enum import_step jsonl_next(struct import_reader *reader, struct import_entry *entry,
                                   struct import_problem *problem)
{
    struct jsonl *jsonl = (struct jsonl *)reader;
    struct err err = {0};
    enum input_line what;

    while (!jsonl->failed) {
        struct bytes text;

        jsonl->number++;
        if (input_line(jsonl->input, IMPORT_LINE_MAX, &jsonl->line, &what, &err) != 0) {
            jsonl->failed = true;
            return import_problem_set(problem, jsonl->number, IMPORT_BAD_FILE, "%s", err.text);
        }
        if (what == INPUT_LINE_END)
            break;
        if (what == INPUT_LINE_LONG)
            return import_problem_set(problem, jsonl->number, IMPORT_BAD_ENTRY,
                                      "the line is too long: an entry may have at most %u MiB",
                                      LIMIT_ENTRY_BYTES >> 20);
        text = buf_bytes(&jsonl->line);
        if (jsonl->number == 1)
            text = import_skip_bom(text);
        text = import_trim(text);
        if (text.size == 0)
            continue;
        entry->line = jsonl->number;
        if (import_entry_from_json(entry, text, &err) != 0)
            return import_problem_set(problem, jsonl->number, IMPORT_BAD_ENTRY, "%s", err.text);
        return IMPORT_ENTRY;
    }
    return IMPORT_END;
}

static void jsonl_close(struct import_reader *reader)
{
    struct jsonl *jsonl = (struct jsonl *)reader;

    input_close(jsonl->input);
    buf_deinit(&jsonl->line);
    free(jsonl);
}

static void jsonl_progress(const struct import_reader *reader, uint64_t *done, uint64_t *size)
{
    input_progress(((const struct jsonl *)reader)->input, done, size);
}

int jsonl_open(struct input *input, struct import_reader **out, struct err *err)
{
    struct jsonl *jsonl = calloc(1, sizeof *jsonl);

    *out = NULL;
    if (jsonl == NULL) {
        input_close(input);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    jsonl->reader = (struct import_reader){jsonl_next, jsonl_close, jsonl_progress, jsonl_skip};
    jsonl->input = input;
    *out = &jsonl->reader;
    return 0;
}
