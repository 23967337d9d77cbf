#include "proto/text/utf8.h"

#include "proto/text/key.h"

#include <utf8proc.h>

/* Bytes of the sequence that starts with `lead` and its smallest second byte and largest; the table
 * of well-formed sequences of the Unicode standard (3-7), by which overlong forms and surrogates
 * fall out. */
static int sequence(uint8_t lead, uint8_t *least, uint8_t *most)
{
    *least = 0x80;
    *most = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF) {
        if (lead == 0xE0)
            *least = 0xA0;
        if (lead == 0xED)
            *most = 0x9F;
        return 3;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        if (lead == 0xF0)
            *least = 0x90;
        if (lead == 0xF4)
            *most = 0x8F;
        return 4;
    }
    return 0;
}

bool text_valid(struct bytes text, size_t *offset)
{
    size_t i = 0;
    while (i < text.size) {
        uint8_t lead = text.data[i];
        if (lead - 1u < 0x7F) { /* 0x01..0x7F */
            i++;
            continue;
        }
        uint8_t least, most;
        int size = sequence(lead, &least, &most);
        bool good = size > 0 && text.size - i >= (size_t)size && text.data[i + 1] >= least &&
                    text.data[i + 1] <= most;
        for (int k = 2; good && k < size; k++)
            good = (text.data[i + (size_t)k] & 0xC0) == 0x80;
        if (!good) {
            if (offset)
                *offset = i;
            return false;
        }
        i += (size_t)size;
    }
    return true;
}

int32_t utf8_next(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *p = *at;
    size_t left = (size_t)(end - p);
    uint8_t lead = p[0];
    if (lead < 0x80 || left < 2) {
        *at = p + 1;
        return lead < 0x80 ? lead : 0xFFFD;
    }
    if (lead < 0xE0) {
        *at = p + 2;
        return (lead & 0x1F) << 6 | (p[1] & 0x3F);
    }
    if (left < 3) {
        *at = end;
        return 0xFFFD;
    }
    if (lead < 0xF0) {
        *at = p + 3;
        return (lead & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    }
    if (left < 4) {
        *at = end;
        return 0xFFFD;
    }
    *at = p + 4;
    return (lead & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

void utf8_append(struct buf *out, int32_t point)
{
    uint8_t bytes[4];
    buf_append(out, bytes, (size_t)utf8proc_encode_char(point, bytes));
}

size_t utf8_cut(struct bytes text, size_t size)
{
    if (size >= text.size)
        return text.size;
    while (size > 0 && (text.data[size] & 0xC0) == 0x80)
        size--;
    return size;
}

bool utf8_space(int32_t point)
{
    if (point <= ' ')
        return point == ' ' || (point >= '\t' && point <= '\r');
    if (point < 0x80)
        return false;
    utf8proc_category_t category = utf8proc_category(point);
    return point == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

/* First and last code point of the blocks whose letters are written without spaces between words.
 */
static const struct {
    int32_t first, last;
} bigram_blocks[] = {
    {0x0E01, 0x0E2F},   {0x0E30, 0x0E3A},   {0x0E40, 0x0E4E}, {0x0E81, 0x0ECE}, /* Thai, Lao */
    {0x1000, 0x103F},   {0x1050, 0x108F},                     /* Myanmar without its digits */
    {0x1100, 0x11FF},   {0x1780, 0x17D3},                     /* Hangul jamo, Khmer */
    {0x2F00, 0x2FDF},   {0x3005, 0x3007},   {0x3021, 0x3029}, /* radicals, Han marks and numbers */
    {0x3031, 0x3035},   {0x3038, 0x303C},   {0x3041, 0x3096}, {0x309D, 0x309F}, {0x30A1, 0x30FA},
    {0x30FC, 0x31BF},   {0x31F0, 0x31FF},   {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xA960, 0xA97F},
    {0xAC00, 0xD7FF},   {0xF900, 0xFAFF},   {0xFF66, 0xFF9F}, {0xFFA0, 0xFFDC}, {0x16FE0, 0x18DFF},
    {0x1AFF0, 0x1B2FF}, {0x20000, 0x3FFFD},
};

static bool in_bigram_block(int32_t point)
{
    if (point < bigram_blocks[0].first)
        return false;
    size_t low = 0, high = sizeof bigram_blocks / sizeof *bigram_blocks;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (point > bigram_blocks[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof bigram_blocks / sizeof *bigram_blocks && point >= bigram_blocks[low].first;
}

static enum utf8_class class_by_category(const utf8proc_property_t *property)
{
    switch (property->category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
        return CLASS_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return CLASS_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CLASS_DIGIT;
    default:
        return CLASS_BREAK;
    }
}

enum utf8_class utf8_class(int32_t point)
{
    if (point < 0x80) {
        if ((point | 0x20) >= 'a' && (point | 0x20) <= 'z')
            return CLASS_LETTER;
        if (point >= '0' && point <= '9')
            return CLASS_DIGIT;
        return point == '\'' ? CLASS_APOSTROPHE : CLASS_BREAK;
    }
    if (point == 0x2019 || point == 0x02BC || point == 0xFF07)
        return CLASS_APOSTROPHE;
    const utf8proc_property_t *property = utf8proc_get_property(point);
    if (property->ignorable)
        return CLASS_IGNORED;
    enum utf8_class class = class_by_category(property);
    bool radical = point >= 0x2F00 && point <= 0x2FDF; /* symbols that fold to Han characters */
    if (radical || ((class == CLASS_LETTER || class == CLASS_DIGIT) && in_bigram_block(point)))
        return CLASS_BIGRAM;
    return class;
}
