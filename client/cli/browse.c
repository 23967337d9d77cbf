/* quire browse: pages of a collection in key order */
#include "client/cli/commands.h"

#include <stdio.h>

static json_t *browse_json(const struct quire_browse_result *result, uint64_t page)
{
    json_t *letters = json_array(), *entries = json_array();

    for (size_t i = 0; result != NULL && i < result->letter_count; i++)
        json_array_append_new(letters,
                              json_pack("{s:o,s:I}", "letter", cli_text(result->letters[i]->letter),
                                        "count", (json_int_t)result->letters[i]->count));
    for (size_t i = 0; result != NULL && i < result->entry_count; i++) {
        const struct quire_head *head = result->entries[i];
        json_array_append_new(entries,
                              json_pack("{s:o,s:o,s:o,s:o}", "headword", cli_text(head->headword),
                                        "sense", cli_text(head->sense), "terms",
                                        cli_texts(head->terms, head->term_count), "categories",
                                        cli_texts(head->categories, head->category_count)));
    }
    return json_pack(
        "{s:I,s:I,s:I,s:o,s:o}", "page", (json_int_t)(result != NULL ? result->page : page),
        "pages", (json_int_t)(result != NULL ? result->pages : 0), "total",
        (json_int_t)(result != NULL ? result->total : 0), "letters", letters, "entries", entries);
}

static void print_page(const struct quire_browse_result *result)
{
    char number[32];

    for (size_t i = 0; i < result->letter_count; i++) {
        fputs(i > 0 ? "  " : "", stdout);
        cli_put_bold(result->letters[i]->letter);
        printf(" %s", cli_count(result->letters[i]->count, number));
    }
    fputs("\n\n", stdout);
    for (size_t i = 0; i < result->entry_count; i++) {
        const struct quire_head *head = result->entries[i];
        cli_put_bold(head->headword);
        if (head->term_count > 0) {
            fputs("  = ", stdout);
            cli_put_list(head->terms, head->term_count, ", ");
        }
        if (head->category_count > 0) {
            fputs("  (", stdout);
            cli_put_list(head->categories, head->category_count, ", ");
            putchar(')');
        }
        if (head->term_count == 0 && head->category_count == 0 && head->sense[0] != '\0') {
            fputs("  [", stdout);
            cli_put(head->sense);
            putchar(']');
        }
        putchar('\n');
    }
    printf("\npage %s of ", cli_count(result->page, number));
    printf("%s, ", cli_count(result->pages, number));
    printf("%s entries\n", cli_count(result->total, number));
}

int cmd_browse(const struct cli_command *command, int argc, char **argv)
{
    struct quire_browse_request request = QUIRE_BROWSE_INIT;
    const struct quire_browse_result *result = NULL;
    const char *letter = NULL, *from = NULL;
    uint64_t page = 1, per_page = 50;
    struct cli cli;
    const struct cli_option options[] = {
        {"letter", 0, CLI_TEXT, &letter, 0, 0},
        {"from", 0, CLI_TEXT, &from, 0, 0},
        {"page", 'p', CLI_NUMBER, &page, 1, UINT32_MAX},
        {"per-page", 0, CLI_NUMBER, &per_page, 1, QUIRE_MAX_PER_PAGE},
        CLI_REPLICA(cli)};
    int exit, status;

    if (!cli_parse(&cli, command, argc, argv, options, 5, 0, 0, &exit))
        return exit;
    if (letter != NULL && from != NULL)
        return cli_usage(&cli, "--letter and --from exclude each other");
    if (!cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection;
    request.letter = letter;
    request.from = from;
    request.page = page;
    request.per_page = (uint32_t)per_page;
    request.timeout_ms = cli.timeout_ms;
    status = quire_browse_wait(cli.client, &request, &result);
    if (status != QUIRE_OK) {
        exit = cli_failed(&cli, status, result != NULL ? result->error : NULL,
                          browse_json(NULL, page));
    } else {
        if (cli.json)
            cli_print_json(&cli, browse_json(result, page));
        else if (result->entry_count > 0)
            print_page(result);
        if (result->entry_count == 0) {
            cli_say(&cli, "there is no entry on this page");
            exit = CLI_NO;
        }
    }
    quire_result_free(result);
    return cli_end(&cli, exit);
}
