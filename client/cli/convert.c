#include "client/cli/convert.h"

void cli_convert(struct import_entry *from, struct quire_entry *to)
{
    struct quire_attribute *attributes =
        import_entry_array(from, from->attribute_count, sizeof *attributes);

    for (size_t i = 0; i < from->attribute_count; i++)
        attributes[i] =
            (struct quire_attribute){from->attributes[i].name, from->attributes[i].value};
    *to = (struct quire_entry)QUIRE_ENTRY_INIT;
    to->headword = from->headword;
    to->sense = from->sense;
    to->terms = from->terms;
    to->term_count = from->term_count;
    to->categories = from->categories;
    to->category_count = from->category_count;
    to->body = from->body;
    to->body_size = from->body_size;
    to->source = from->source;
    to->attributes = attributes;
    to->attribute_count = from->attribute_count;
}
