/* quire explain: how the score of one entry came about */
#include "client/cli/commands.h"

#include <stdio.h>

static json_t *explain_json(const char *query, const char *headword,
                            const struct quire_explain_result *result)
{
    json_t *terms = json_array();

    for (size_t i = 0; result != NULL && i < result->term_count; i++) {
        const struct quire_explain_term *term = result->terms[i];
        json_array_append_new(terms,
                              json_pack("{s:o,s:o,s:I,s:f,s:i,s:f,s:f}", "token",
                                        cli_text(term->token), "field", cli_text(term->field),
                                        "document_frequency", (json_int_t)term->document_frequency,
                                        "idf", term->idf, "frequency", (int)term->frequency,
                                        "boost", term->boost, "contribution", term->contribution));
    }
    if (result == NULL)
        return json_pack("{s:o,s:o,s:b,s:f,s:o}", "query", cli_text(query), "headword",
                         cli_text(headword), "matched", 0, "score", 0.0, "terms", terms);
    return json_pack("{s:o,s:o,s:o,s:b,s:f,s:o,s:I,s:f,s:i,s:f,s:f}", "query", cli_text(query),
                     "headword", cli_text(result->headword), "sense", cli_text(result->sense),
                     "matched", (int)result->matched, "score", result->score, "terms", terms,
                     "documents", (json_int_t)result->documents, "average_length",
                     result->average_length, "length", (int)result->length, "k1", result->k1, "b",
                     result->b);
}

static void print_terms(const struct quire_explain_result *result)
{
    static const char *const heads[] = {"word", "field", "in entries", "rarity",
                                        "here", "boost", "adds"};
    struct cli_table *table = cli_table_create(7);
    char cell[32];

    for (size_t i = 0; i < 7; i++) {
        cli_table_add(table, heads[i]);
        if (i >= 2)
            cli_table_right(table, i);
    }
    for (size_t i = 0; i < result->term_count; i++) {
        const struct quire_explain_term *term = result->terms[i];
        cli_table_add(table, term->token);
        cli_table_add(table, term->field);
        cli_table_add(table, cli_count(term->document_frequency, cell));
        snprintf(cell, sizeof cell, "%.4f", term->idf);
        cli_table_add(table, cell);
        cli_table_add(table, cli_count(term->frequency, cell));
        snprintf(cell, sizeof cell, "%g", term->boost);
        cli_table_add(table, cell);
        snprintf(cell, sizeof cell, "%.6f", term->contribution);
        cli_table_add(table, cell);
    }
    cli_table_print(table);
}

static void print_explanation(const struct quire_explain_result *result)
{
    char number[32];

    cli_put_bold(result->headword);
    if (result->sense[0] != '\0') {
        fputs("  [", stdout);
        cli_put(result->sense);
        putchar(']');
    }
    printf("  %.6f\n\n", result->score);
    print_terms(result);
    printf("\nlength %u (average %.2f of %s entries), k1 %g, b %g\n", result->length,
           result->average_length, cli_count(result->documents, number), result->k1, result->b);
    printf("adds = rarity * boost * here / (here + k1 * (1 - b + b * length / average))\n");
}

int cmd_explain(const struct cli_command *command, int argc, char **argv)
{
    struct quire_explain_request request = QUIRE_EXPLAIN_INIT;
    const struct quire_explain_result *result = NULL;
    struct cli cli;
    const struct cli_option options[] = {{"sense", 's', CLI_TEXT, &request.sense, 0, 0},
                                         {"all", 'a', CLI_FLAG, &request.all, 0, 0},
                                         CLI_REPLICA(cli)};
    int exit, status;

    if (!cli_parse(&cli, command, argc, argv, options, 3, 2, 2, &exit) || !cli_connect(&cli, &exit))
        return exit;
    request.collection = cli.collection;
    request.query = cli.operands[0];
    request.headword = cli.operands[1];
    request.timeout_ms = cli.timeout_ms;
    status = quire_explain_wait(cli.client, &request, &result);
    if (status != QUIRE_OK) {
        exit = cli_failed(&cli, status, result != NULL ? result->error : NULL,
                          explain_json(cli.operands[0], cli.operands[1], NULL));
    } else {
        if (cli.json)
            cli_print_json(&cli, explain_json(cli.operands[0], cli.operands[1], result));
        else if (result->matched)
            print_explanation(result);
        if (!result->matched) {
            cli_say(&cli, "the query does not match that entry");
            exit = CLI_NO;
        }
    }
    quire_result_free(result);
    return cli_end(&cli, exit);
}
