/* The commands; each lives in a file of its own or with its siblings. */
#ifndef QUIRE_CLI_COMMANDS_H
#define QUIRE_CLI_COMMANDS_H

#include "client/cli/cli.h"

#define CLI_RUN(name) int name(const struct cli_command *command, int argc, char **argv)

CLI_RUN(cmd_up);                /* up.c */
CLI_RUN(cmd_down);              /* down.c */
CLI_RUN(cmd_collection_create); /* collection.c */
CLI_RUN(cmd_collection_list);
CLI_RUN(cmd_collection_drop);
CLI_RUN(cmd_import);  /* import.c */
CLI_RUN(cmd_export);  /* export.c */
CLI_RUN(cmd_backup);  /* backup.c */
CLI_RUN(cmd_restore); /* restore.c */
CLI_RUN(cmd_get);     /* entry.c */
CLI_RUN(cmd_put);
CLI_RUN(cmd_delete);
CLI_RUN(cmd_define);
CLI_RUN(cmd_browse); /* browse.c */
CLI_RUN(cmd_match);  /* match.c */
CLI_RUN(cmd_suggest);
CLI_RUN(cmd_search);  /* search.c */
CLI_RUN(cmd_explain); /* explain.c */
CLI_RUN(cmd_status);  /* status.c */
CLI_RUN(cmd_verify);
CLI_RUN(cmd_coordinator_list); /* coordinator.c */
CLI_RUN(cmd_coordinator_remove);
CLI_RUN(cmd_recover);   /* recover.c */
CLI_RUN(cmd_node_list); /* node.c */
CLI_RUN(cmd_node_drain);
CLI_RUN(cmd_node_undrain);
CLI_RUN(cmd_node_remove);
CLI_RUN(cmd_range_list); /* range.c */
CLI_RUN(cmd_range_move);
CLI_RUN(cmd_range_split);
CLI_RUN(cmd_range_merge);
CLI_RUN(cmd_placement);

#endif
