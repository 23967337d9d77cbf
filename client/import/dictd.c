/* dictd databases, as Debian's dict-* packages install them.
 *
 * NAME.index is text, one line a word: `word TAB offset TAB size [TAB original word]`. Offset and
 * size are numbers in base 64 (A-Z a-z 0-9 + /, the most significant digit first) and say where in
 * NAME.dict the article lies. NAME.dict is plain, or NAME.dict.dz: dictzip, which any gzip decoder
 * reads. Words that begin with "00-" or "00database" name articles about the database itself and
 * are skipped.
 *
 * Lines that point to the same article are the names of one entry. We sort the index by offset and
 * read the articles in one pass, so memory holds the index and one article. The index has its words
 * folded ("'s gravenhage"); the article's first line has them as they are written:
 *
 *   'hood                                    WordNet: the word alone; the line is dropped
 *       n 1: (slang) a neighborhood
 *   Abandon \A*ban"don\ (...), v. t.         GCIDE: the word and its grammar; the line is kept
 *   Atari ST%%%Atari%%%ST                    FOLDOC: all the names, possibly on several lines;
 * dropped
 *
 * The headword is the longest index word that begins the first line, as it is written there; else
 * the fourth column; else the first index word. The rest of the article loses the white space that
 * all its lines begin with. Articles whose headwords share a key are homographs: the second gets
 * the sense "2", the third "3", in the order of the file. Databases older than UTF-8 are ISO
 * 8859-1: an article that is not valid UTF-8 is read as that.
 */
#include "client/import/reader.h"
#include "proto/text/key.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct word {
    uint64_t offset, size;            /* of its article */
    uint32_t text, text_size;         /* in the index */
    uint32_t original, original_size; /* 0: none */
    uint32_t line;
};

struct bad_line {
    uint32_t line;
    const char *reason; /* a literal */
};

struct dictd {
    struct import_reader reader;
    struct input *dict;
    struct buf index;
    struct word *words; /* by (offset, size, line) */
    size_t word_count;
    size_t at; /* word to look at next */
    struct bad_line *bad;
    size_t bad_count, bad_at;
    struct seen *homographs;
    struct buf window; /* articles from window_offset on */
    uint64_t window_offset;
    bool dict_end;
    bool failed;
    struct err index_failed; /* the index was cut off: to be reported at the end */
    char source[256];
};

/* ---- the index ---- */

static bool decode_number(struct bytes digits, uint64_t *value)
{
    static const char alphabet[64 + 1] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    *value = 0;
    if (digits.size == 0 || digits.size > 8) /* 48 bits */
        return false;
    for (size_t i = 0; i < digits.size; i++) {
        const char *digit = memchr(alphabet, digits.data[i], sizeof alphabet - 1);
        if (digit == NULL)
            return false;
        *value = *value << 6 | (uint64_t)(digit - alphabet);
    }
    return true;
}

static bool is_about_database(struct bytes word)
{
    return bytes_has_prefix(word, bytes_str("00-")) ||
           bytes_has_prefix(word, bytes_str("00database"));
}

/* NULL, or what is wrong with the line. */
static const char *parse_index_line(const struct dictd *dictd, struct bytes line, struct word *word)
{
    struct bytes field[4] = {0};
    const uint8_t *at = line.data;
    const uint8_t *end = line.data + line.size;
    size_t count = 0;

    while (count < 4) {
        const uint8_t *tab = memchr(at, '\t', (size_t)(end - at));
        field[count++] = bytes_of(at, (size_t)((tab != NULL ? tab : end) - at));
        if (tab == NULL)
            break;
        at = tab + 1;
    }
    if (count < 3)
        return "the index line has fewer than three columns";
    if (import_trim(field[0]).size == 0)
        return "the index line has no word";
    if (!decode_number(field[1], &word->offset) || !decode_number(field[2], &word->size))
        return "offset or size in the index line is not a base-64 number";
    if (word->size > LIMIT_ENTRY_BYTES)
        return "the article is larger than an entry may be (8 MiB)";
    word->text = (uint32_t)(field[0].data - dictd->index.data);
    word->text_size = (uint32_t)field[0].size;
    if (count == 4) {
        word->original = (uint32_t)(field[3].data - dictd->index.data);
        word->original_size = (uint32_t)field[3].size;
    }
    return NULL;
}

static int compare_words(const void *a, const void *b)
{
    const struct word *left = a, *right = b;

    if (left->offset != right->offset)
        return left->offset < right->offset ? -1 : 1;
    if (left->size != right->size)
        return left->size < right->size ? -1 : 1;
    return left->line < right->line ? -1 : left->line > right->line;
}

static void parse_index(struct dictd *dictd)
{
    size_t lines = 1;
    uint32_t number = 0;

    for (size_t i = 0; i < dictd->index.size; i++)
        lines += dictd->index.data[i] == '\n';
    dictd->words = calloc(lines, sizeof *dictd->words);
    dictd->bad = calloc(lines, sizeof *dictd->bad);
    if (dictd->words == NULL || dictd->bad == NULL)
        abort();
    for (size_t offset = 0; offset < dictd->index.size;) {
        const uint8_t *start = dictd->index.data + offset;
        const uint8_t *end = memchr(start, '\n', dictd->index.size - offset);
        struct bytes line =
            bytes_of(start, end != NULL ? (size_t)(end - start) : dictd->index.size - offset);
        struct word word = {.line = ++number};
        const char *reason;

        offset += line.size + 1;
        if (line.size > 0 && line.data[line.size - 1] == '\r')
            line.size--;
        if (line.size == 0 || is_about_database(line))
            continue;
        reason = parse_index_line(dictd, line, &word);
        if (reason == NULL)
            dictd->words[dictd->word_count++] = word;
        else
            dictd->bad[dictd->bad_count++] = (struct bad_line){number, reason};
    }
    qsort(dictd->words, dictd->word_count, sizeof *dictd->words, compare_words);
}

static int read_index(struct dictd *dictd, struct input *index, struct err *err)
{
    size_t got = 0;

    do {
        uint8_t *to;
        if (dictd->index.size > IMPORT_INDEX_MAX)
            return err_set(err, ERR_TOO_LARGE, "its index is larger than %zu MiB",
                           IMPORT_INDEX_MAX >> 20);
        to = buf_extend(&dictd->index, 65536);
        if (input_read(index, to, 65536, &got, &dictd->index_failed) != 0)
            got = 0;
        dictd->index.size -= 65536 - got;
    } while (got > 0);
    return 0;
}

/* ---- articles ---- */

/* Makes the window begin at `offset` and hold `size` bytes, or as many as there are. Offsets never
 * fall. */
static int read_article(struct dictd *dictd, uint64_t offset, size_t size, struct bytes *article,
                        struct err *err)
{
    struct buf *window = &dictd->window;

    *article = bytes_of(NULL, 0);
    for (;;) {
        uint64_t drop = offset - dictd->window_offset;
        size_t got;
        uint8_t *to;
        int status;

        if (drop > window->size)
            drop = window->size;
        if (drop > 0)
            memmove(window->data, window->data + drop, window->size - (size_t)drop);
        window->size -= (size_t)drop;
        dictd->window_offset += drop;
        if (dictd->window_offset == offset && window->size >= size)
            break;
        if (dictd->dict_end)
            return err_set(err, ERR_INVALID, "the article lies beyond the end of the .dict file");
        to = buf_extend(window, 65536);
        status = input_read(dictd->dict, to, 65536, &got, err);
        window->size -= 65536 - (status == 0 ? got : 0);
        if (status != 0)
            return status;
        dictd->dict_end = got == 0;
    }
    *article = bytes_of(window->data, size);
    return 0;
}

/* The text itself when it is valid UTF-8, else as ISO 8859-1. */
static struct bytes as_utf8(struct import_entry *entry, struct bytes text)
{
    uint8_t *wide;
    size_t size = 0;

    if (text_valid(text, NULL))
        return text;
    wide = import_entry_array(entry, 2 * text.size, 1);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c < 0x80) {
            wide[size++] = c;
        } else {
            wide[size++] = (uint8_t)(0xc0 | c >> 6);
            wide[size++] = (uint8_t)(0x80 | (c & 0x3f));
        }
    }
    return bytes_of(wide, size);
}

static struct bytes first_line(struct bytes text, struct bytes *rest)
{
    const uint8_t *end = text.size > 0 ? memchr(text.data, '\n', text.size) : NULL;

    if (end == NULL) {
        *rest = bytes_of(NULL, 0);
        return text;
    }
    *rest = bytes_of(end + 1, text.size - (size_t)(end + 1 - text.data));
    return bytes_of(text.data, (size_t)(end - text.data));
}

static size_t indent_of(struct bytes line)
{
    size_t indent = 0;

    while (indent < line.size && (line.data[indent] == ' ' || line.data[indent] == '\t'))
        indent++;
    return indent;
}

/* Appends the lines without the white space that all of them begin with, and without blank lines at
 * the ends. */
static void append_dedented(struct buf *out, struct bytes text)
{
    size_t least = SIZE_MAX, start = out->size;
    struct bytes rest = text;

    while (rest.size > 0) {
        struct bytes line = first_line(rest, &rest);
        size_t indent = indent_of(line);
        if (indent < line.size && indent < least)
            least = indent;
    }
    for (rest = text; rest.size > 0;) {
        struct bytes line = first_line(rest, &rest);
        size_t indent = indent_of(line);
        if (indent == line.size)
            line.size = 0;
        else
            line = bytes_of(line.data + least, line.size - least);
        if (line.size == 0 && out->size == start)
            continue;
        buf_append_bytes(out, line);
        buf_append_u8(out, '\n');
    }
    while (out->size > start && out->data[out->size - 1] == '\n')
        out->size--;
}

/* ---- names ---- */

struct names {
    struct import_entry *entry;
    const char **texts; /* the headword first */
    struct buf *keys;
    size_t count;
};

/* Adds a name unless one with its key is there. */
static void add_name(struct names *names, struct bytes text)
{
    struct buf key = {0};

    text = import_trim(text);
    if (text.size == 0 || !text_valid(text, NULL))
        return;
    text_key(text, &key);
    for (size_t i = 0; i < names->count; i++)
        if (bytes_equal(buf_bytes(&names->keys[i]), buf_bytes(&key))) {
            buf_deinit(&key);
            return;
        }
    names->texts[names->count] = import_entry_text(names->entry, text);
    names->keys[names->count++] = key;
}

static bool same_key(struct bytes a, struct bytes b)
{
    struct buf left = {0}, right = {0};
    bool same = false;

    if (text_valid(a, NULL) && text_valid(b, NULL)) {
        text_key(a, &left);
        text_key(b, &right);
        same = bytes_equal(buf_bytes(&left), buf_bytes(&right));
    }
    buf_deinit(&left);
    buf_deinit(&right);
    return same;
}

/* FOLDOC: "A%%%B%%%C", over lines up to a blank one. Returns false when the article does not begin
 * so. */
static bool take_listed_names(struct names *names, struct bytes text, struct bytes *rest)
{
    struct buf list = {0};
    struct bytes line = first_line(text, rest);
    const uint8_t *at, *end;

    buf_append_bytes(&list, line);
    while (rest->size > 0) {
        line = first_line(*rest, rest);
        if (import_trim(line).size == 0)
            break;
        buf_append_u8(&list, ' ');
        buf_append_bytes(&list, import_trim(line));
        if (list.size > 65536)
            break;
    }
    if (list.size == 0 || memmem(list.data, list.size, "%%%", 3) == NULL || list.size > 65536) {
        buf_deinit(&list);
        return false;
    }
    at = list.data;
    end = list.data + list.size;
    while (at < end && names->count < LIMIT_TERMS) {
        const uint8_t *stop = memmem(at, (size_t)(end - at), "%%%", 3);
        add_name(names, bytes_of(at, (size_t)((stop != NULL ? stop : end) - at)));
        if (stop == NULL)
            break;
        at = stop + 3;
    }
    buf_deinit(&list);
    return names->count > 0;
}

/* The headword as the first line writes it: the longest index word that begins the line. */
static struct bytes spelled_headword(const struct dictd *dictd, const struct word *words,
                                     size_t count, struct bytes line)
{
    struct bytes best = {0};

    for (size_t i = 0; i < count; i++) {
        struct bytes word = bytes_of(dictd->index.data + words[i].text, words[i].text_size);
        if (word.size > best.size && word.size <= line.size &&
            strncasecmp((const char *)word.data, (const char *)line.data, word.size) == 0)
            best = bytes_of(line.data, word.size);
    }
    for (size_t i = 0; best.size == 0 && i < count; i++)
        if (same_key(bytes_of(dictd->index.data + words[i].text, words[i].text_size), line))
            best = line;
    return best;
}

/* Fills headword, other names and body from an article and the index words that point to it. */
static void convert(struct dictd *dictd, struct import_entry *entry, const struct word *words,
                    size_t count, struct bytes article)
{
    struct names names = {.entry = entry};
    struct bytes rest, line, text = as_utf8(entry, article);
    struct buf body = {0};

    names.texts = import_entry_array(entry, count + LIMIT_TERMS + 2, sizeof *names.texts);
    names.keys = import_entry_array(entry, count + LIMIT_TERMS + 2, sizeof *names.keys);
    line = import_trim(first_line(text, &rest));
    if (!take_listed_names(&names, text, &rest)) {
        struct bytes spelled = spelled_headword(dictd, words, count, line);
        first_line(text, &rest);
        add_name(&names, spelled);
        if (spelled.size != line.size && line.size > 0) {
            buf_append_bytes(&body, line);
            if (rest.size > 0)
                buf_append_u8(&body, '\n');
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct bytes original =
            bytes_of(dictd->index.data + words[i].original, words[i].original_size);
        struct bytes word = bytes_of(dictd->index.data + words[i].text, words[i].text_size);
        add_name(&names, as_utf8(entry, original.size > 0 ? original : word));
    }
    append_dedented(&body, rest);
    import_entry_set_body(entry, import_trim(buf_bytes(&body)));
    buf_deinit(&body);
    if (names.count > 0) {
        entry->headword = names.texts[0];
        entry->terms = names.texts + 1;
        entry->term_count = names.count - 1;
    }
    for (size_t i = 0; i < names.count; i++)
        buf_deinit(&names.keys[i]);
}

/* Homographs after the first get their number as their sense. */
static void set_sense(struct dictd *dictd, struct import_entry *entry)
{
    struct buf key = {0};
    uint64_t name;
    uint32_t number;

    text_key(bytes_str(entry->headword), &key);
    name = hash64(key.data, key.size);
    buf_deinit(&key);
    number = seen_find(dictd->homographs, name, 0) + 1;
    seen_put(dictd->homographs, name, 0, number);
    if (number > 1)
        entry->sense = arena_printf(&entry->arena, "%u", number);
}

static enum import_step dictd_next(struct import_reader *reader, struct import_entry *entry,
                                   struct import_problem *problem)
{
    struct dictd *dictd = (struct dictd *)reader;
    const struct word *words = dictd->words + dictd->at;
    struct bytes article;
    struct err err = {0};
    size_t count = 1;
    int status;

    if (dictd->bad_at < dictd->bad_count) {
        const struct bad_line *bad = &dictd->bad[dictd->bad_at++];
        return import_problem_set(problem, bad->line, IMPORT_BAD_ENTRY, "%s", bad->reason);
    }
    if (dictd->failed || dictd->at == dictd->word_count) {
        if (dictd->index_failed.code == 0)
            return IMPORT_END;
        dictd->index_failed.code = 0;
        return import_problem_set(problem, 0, IMPORT_BAD_FILE, "the index: %s",
                                  dictd->index_failed.text);
    }
    while (dictd->at + count < dictd->word_count && words[count].offset == words->offset &&
           words[count].size == words->size)
        count++;
    dictd->at += count;
    status = read_article(dictd, words->offset, (size_t)words->size, &article, &err);
    if (status != 0) {
        dictd->failed = status != ERR_INVALID;
        if (dictd->failed)
            return import_problem_set(problem, words->line, IMPORT_BAD_FILE,
                                      "%s; %zu index lines from here on were not read", err.text,
                                      dictd->word_count - (dictd->at - count));
        return import_problem_set(problem, words->line, IMPORT_BAD_ENTRY, "%s", err.text);
    }
    entry->line = words->line;
    convert(dictd, entry, words, count, article);
    if (entry->headword[0] == '\0')
        return import_problem_set(problem, words->line, IMPORT_BAD_ENTRY,
                                  "the article has no headword");
    set_sense(dictd, entry);
    entry->source = import_entry_text(entry, bytes_str(dictd->source));
    return import_checked(entry, problem);
}

static void dictd_close(struct import_reader *reader)
{
    struct dictd *dictd = (struct dictd *)reader;

    input_close(dictd->dict);
    buf_deinit(&dictd->index);
    buf_deinit(&dictd->window);
    seen_destroy(dictd->homographs);
    free(dictd->words);
    free(dictd->bad);
    free(dictd);
}

static void dictd_progress(const struct import_reader *reader, uint64_t *done, uint64_t *size)
{
    input_progress(((const struct dictd *)reader)->dict, done, size);
}

int dictd_open(struct input *index, struct input *dict, struct import_reader **out, struct err *err)
{
    struct dictd *dictd = calloc(1, sizeof *dictd);
    int status;

    *out = NULL;
    if (dictd == NULL || (dictd->homographs = seen_create()) == NULL) {
        free(dictd);
        input_close(index);
        input_close(dict);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    dictd->reader = (struct import_reader){dictd_next, dictd_close, dictd_progress, NULL};
    dictd->dict = dict;
    status = read_index(dictd, index, err);
    input_close(index);
    if (status != 0) {
        dictd_close(&dictd->reader);
        return status;
    }
    parse_index(dictd);
    *out = &dictd->reader;
    return 0;
}

/* ---- the two files ---- */

/* The path without .index, .dict or .dict.dz; malloc'd, NULL when it has none of these endings. */
static char *base_path(const char *path)
{
    static const char *const endings[] = {".index", ".dict", ".dict.dz", ".index.dz", ".dict.gz"};
    size_t size = strlen(path);

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (size > ending && strcmp(path + size - ending, endings[i]) == 0)
            return strndup(path, size - ending);
    }
    return NULL;
}

static int open_first(const char *base, const char *const *endings, struct input **out,
                      struct err *err)
{
    int status = ERR_NOT_FOUND;

    *out = NULL;
    for (size_t i = 0; endings[i] != NULL && status == ERR_NOT_FOUND; i++) {
        struct buf path = {0};
        buf_printf(&path, "%s%s", base, endings[i]);
        status = input_open(buf_text(&path), out, err);
        buf_deinit(&path);
    }
    if (status == ERR_NOT_FOUND)
        return err_set(err, status, "a dictd database needs two files, and there is no %s%s", base,
                       endings[0]);
    return status;
}

static bool remember(struct import_run *run, const char *base)
{
    char **grown;

    for (size_t i = 0; i < run->dictionary_count; i++)
        if (strcmp(run->dictionaries[i], base) == 0)
            return false;
    grown = realloc(run->dictionaries, (run->dictionary_count + 1) * sizeof *grown);
    if (grown == NULL)
        abort();
    run->dictionaries = grown;
    run->dictionaries[run->dictionary_count] = strdup(base);
    if (run->dictionaries[run->dictionary_count] == NULL)
        abort();
    run->dictionary_count++;
    return true;
}

int dictd_open_path(const char *path, struct import_run *run, struct import_reader **out,
                    struct err *err)
{
    static const char *const index_endings[] = {".index", ".index.dz", NULL};
    static const char *const dict_endings[] = {".dict", ".dict.dz", ".dict.gz", NULL};
    struct input *index = NULL, *dict = NULL;
    char *base = base_path(path);
    const char *name;
    int status;

    *out = NULL;
    if (base == NULL)
        return err_set(err, ERR_INVALID,
                       "a dictd database is named NAME.index, NAME.dict or NAME.dict.dz");
    status = open_first(base, index_endings, &index, err);
    if (status == 0)
        status = open_first(base, dict_endings, &dict, err);
    if (status != 0) {
        input_close(index);
        goto done;
    }
    if (!remember(run, base)) {
        input_close(index);
        input_close(dict);
        goto done;
    }
    status = dictd_open(index, dict, out, err);
    if (status == 0) {
        struct dictd *dictd = (struct dictd *)*out;
        name = strrchr(base, '/') != NULL ? strrchr(base, '/') + 1 : base;
        strncpy(dictd->source, name, sizeof dictd->source - 1);
    }
done:
    free(base);
    return status;
}
