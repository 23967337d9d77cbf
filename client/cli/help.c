/* What every command is called, what it says about itself, and who runs it. */
#include "client/cli/commands.h"

#define COMMON                                                                                     \
    "\nand what every command takes: -c NAME (collection), --json, --connect URL,...,\n"           \
    "--timeout MS, --help.\n"
#define REPLICA "  --replica K     ask replica K of each range and no other: 0 is the primary\n"

static const char up_help[] =
    "usage: quire up [--dir DIR] [--shards N] [--port P] [--memory MIB] [--replicas R]\n"
    "                [--coordinators C] [--foreground]\n\n"
    "Starts a local cluster, coordinators and N shards, and returns when it serves.\n"
    "What runs already is left alone; what is missing is started.\n\n"
    "  --dir DIR       data folder (default: $XDG_DATA_HOME/quire or ~/.local/share/quire)\n"
    "  --shards N      shard processes (default 3, or as before); may grow later\n"
    "  --port P        the coordinator's port (default 7400); the shards take the next ones,\n"
    "                  further coordinators P + 65 on; each coordinator also 10000 above its own\n"
    "  --coordinators C  1, 3 or 5 (default 1, or as before): with 3, one may die; may grow later\n"
    "  --memory MIB    for caches and unflushed data of all shards together (default: half of\n"
    "                  the machine's)\n"
    "  --replicas R    shards that hold each range of a collection, unless the collection says\n"
    "                  another number, 1 to 5 (default 2, or as before): with 2, one may die\n"
    "  --foreground    stay, show the logs, restart what dies, stop all on Ctrl-C\n" COMMON
    "\nexamples:\n"
    "  quire up\n"
    "  quire up --dir /tmp/quire-demo --port 7500 --shards 2\n";

static const char down_help[] =
    "usage: quire down [--dir DIR]\n\n"
    "Stops the local cluster in DIR cleanly. Its data stays; 'quire up' starts it again.\n\n"
    "  --dir DIR       data folder (default: $XDG_DATA_HOME/quire or ~/.local/share/quire)\n" COMMON
    "\nexamples:\n"
    "  quire down\n"
    "  quire down --dir /tmp/quire-demo\n";

static const char collection_create_help[] =
    "usage: quire collection create NAME [--language LANGUAGE] [--order ORDER]\n"
    "       [--replicas R]\n\n"
    "Creates a collection. NAME: small letters, digits, '-' and '_', at most 64.\n\n"
    "  --language L    how words are stemmed: en (default), de, fr, ... or none\n"
    "  --order ORDER   of entries in the index: arrival (default); category, for quicker searches\n"
    "                  that require one, as in '+category:history +treaty'\n"
    "  --replicas R    shards that hold each range, 1 (default) to 5\n" COMMON "\nexamples:\n"
    "  quire collection create computing\n"
    "  quire collection create woerter --language de\n";

static const char collection_list_help[] =
    "usage: quire collection list\n\n"
    "Lists the collections with their languages, entries and ranges.\n" COMMON "\nexamples:\n"
    "  quire collection list\n"
    "  quire collection list --json\n";

static const char collection_drop_help[] =
    "usage: quire collection drop NAME\n\n"
    "Drops a collection with all its entries. There is no way back.\n" COMMON "\nexamples:\n"
    "  quire collection drop computing\n";

static const char import_help[] =
    "usage: quire import [--format FORMAT] [--language L] [--replicas R]\n"
    "       [--dry-run] FILE...\n\n"
    "Writes the entries of files into a collection, which is created when it is missing.\n"
    "An entry that is there already with the same contents is counted as unchanged. Exit\n"
    "code 1 when an entry failed; each is told with its file, line and reason.\n\n"
    "  --format F      auto (default), glossary, jsonl, dictd or tsv\n"
    "  --language L    stemming language of a collection that is created\n"
    "  --replicas R    shards that hold each range of a collection that is created, 1 to 5\n"
    "  --dry-run       only read: counts, and what is wrong with the files\n\n"
    "Formats; gzip and zstd are undone, and '-' is standard input:\n"
    "  glossary  page dumps of a web glossary: a header line 'headword, part...', its body\n"
    "  jsonl     an object a line: "
    "{\"headword\",\"sense\",\"terms\":[],\"categories\":[],\"body\"}\n"
    "            or {\"id\",\"terms\":[headword, other names...],\"category\":[],\"body\"}\n"
    "  dictd     NAME.index with NAME.dict or NAME.dict.dz (either may be named)\n"
    "  tsv       headword<TAB>body, or headword<TAB>name|name<TAB>category|...<TAB>body,\n"
    "            or with a first line of column names\n" COMMON "\nexamples:\n"
    "  quire import page-*.txt\n"
    "  quire import -c foldoc /usr/share/dictd/foldoc.index\n"
    "  quire export | quire import -c copy -\n";

static const char export_help[] =
    "usage: quire export [--versions]\n\n"
    "Writes every entry of a collection as JSON lines, in key order. Importing them again\n"
    "changes nothing. With --json: one document, {\"entries\":[...]}.\n\n"
    "  --versions      with the version of each entry\n" REPLICA COMMON "\nexamples:\n"
    "  quire export > backup.jsonl\n"
    "  quire export -c foldoc | zstd > foldoc.jsonl.zst\n";

static const char backup_help[] =
    "usage: quire backup DIR [-c NAME] [--keep N]\n"
    "       quire backup --list DIR\n"
    "       quire backup --verify DIR [--backup N]\n\n"
    "Copies every entry, and the settings of the collections, to a folder of this machine, while\n"
    "the cluster is read and written. Each range is copied as it is at one moment; everything\n"
    "that was acknowledged before the command began is in it. Of all collections, or with -c of\n"
    "one. Into a folder that has backups only what is new is written; each of them can be\n"
    "restored. What is interrupted leaves no backup, and the next one goes on from its files.\n\n"
    "  --keep N        afterwards remove all backups but the newest N, of whatever collections,\n"
    "                  and files that none has\n"
    "  --list          say which backups there are; asks no cluster\n"
    "  --verify        read and check every file of all backups, or of one; asks no cluster\n"
    "  --backup N      that one\n\n"
    "Exit code 1 when something is damaged or missing.\n" COMMON "\nexamples:\n"
    "  quire backup /var/backups/quire --keep 7\n"
    "  quire backup --verify /var/backups/quire\n"
    "  zstdcat /var/backups/quire/files/*/* | head -1   # entries are JSON lines\n";

static const char restore_help[] =
    "usage: quire restore DIR [--backup N] [-c NAME] [--as NAME] [--replace] [--replicas R]\n\n"
    "Makes the collections of a backup anew, with their settings and all entries, in a cluster of\n"
    "any number of shards. Searches answer as they did. Every file is checked before anything is\n"
    "changed; a collection that cannot be restored whole is dropped again. Versions of entries\n"
    "are not kept: they count from the start, as after an import.\n\n"
    "  --backup N      that backup (default: the newest)\n"
    "  -c NAME         only this collection (default: all of the backup)\n"
    "  --as NAME       under this name\n"
    "  --replace       drop collections of these names that there are (default: refuse)\n"
    "  --replicas R    shards that hold each range, 1 to 5 (default: as before, as far as there\n"
    "                  are shards)\n" COMMON "\nexamples:\n"
    "  quire restore /var/backups/quire\n"
    "  quire restore /var/backups/quire --backup 3 -c computing --as computing-then\n";

static const char get_help[] =
    "usage: quire get HEADWORD [--sense S]\n\n"
    "Shows the entries of a headword; case, accents and punctuation do not matter.\n\n"
    "  --sense S       only this sense ('' is the empty one)\n" REPLICA COMMON "\nexamples:\n"
    "  quire get estimator\n"
    "  quire get \"model card\" --sense documentation --json\n";

static const char put_help[] =
    "usage: quire put [--if-version N] < ENTRY\n\n"
    "Writes one entry, a JSON object on standard input, replacing what has its headword and\n"
    "sense. When it returns the entry is on disk and the next search sees it.\n\n"
    "  --if-version N  only if the stored version is N (0: only if there is none)\n" COMMON
    "\nexamples:\n"
    "  echo '{\"headword\":\"quokka\",\"body\":\"a small marsupial\"}' | quire put\n"
    "  quire get quokka --json | jq '.entries[0]' | quire put -c copy\n";

static const char delete_help[] =
    "usage: quire delete HEADWORD [--sense S | --all-senses]\n\n"
    "Deletes an entry. Exit code 1 when there was none.\n\n"
    "  --sense S       this sense (default: the empty one)\n"
    "  --all-senses    every entry of that headword\n" COMMON "\nexamples:\n"
    "  quire delete quokka\n"
    "  quire delete estimator --sense \"of cost\"\n";

static const char define_help[] =
    "usage: quire define TERM\n\n"
    "Shows the entries that bear TERM as headword or as other name; case, accents and\n"
    "punctuation do not matter.\n\n" REPLICA COMMON "\nexamples:\n"
    "  quire define \"cramer rao bound\"\n"
    "  quire define foobar -c foldoc --json\n";

static const char browse_help[] =
    "usage: quire browse [--letter M | --from TERM] [--page P] [--per-page N]\n\n"
    "A page of a collection in key order, with the letters and their counts.\n\n"
    "  --letter M      only entries under this letter\n"
    "  --from TERM     pages begin at this term\n"
    "  --page P        which page, from 1\n"
    "  --per-page N    entries a page, 1 to 1000 (default 50)\n" REPLICA COMMON "\nexamples:\n"
    "  quire browse --letter M\n"
    "  quire browse --from model --per-page 20 --page 2\n";

static const char match_help[] =
    "usage: quire match [--strategy S] [--distance D] [-n NUMBER] WORD\n\n"
    "Finds headwords and other names by their spelling.\n\n"
    "  --strategy S    exact (default), prefix, substring or fuzzy\n"
    "  --distance D    fuzzy: at most 1 (default) or 2 letters wrong, missing, or swapped\n"
    "  -n NUMBER       at most so many names (default 50)\n" REPLICA COMMON "\nexamples:\n"
    "  quire match --strategy substring gradient\n"
    "  quire match --strategy fuzzy --distance 2 eigenvecter\n";

static const char suggest_help[] =
    "usage: quire suggest [-n NUMBER] PREFIX\n\n"
    "Headwords and other names that begin with PREFIX, each once: what a search box offers.\n\n"
    "  -n NUMBER       at most so many (default 10)\n" REPLICA COMMON "\nexamples:\n"
    "  quire suggest mod\n"
    "  quire suggest -n 5 --json quant\n";

static const char search_help[] =
    "usage: quire search [-n K] [--all] [--category C]... [--cursor X] [--trace] QUERY...\n\n"
    "Ranked full-text search over headwords, other names, categories and bodies.\n\n"
    "  -n K            at most K hits, 1 to 1000 (default 10)\n"
    "  --all           entries with all of the words (default: any of them)\n"
    "  --category C    only entries of this category; again: or of that one\n"
    "  --cursor X      go on where an earlier answer ended\n"
    "  --complete      fail (exit code 3) rather than answer with a part missing\n"
    "  --strict        a query that is not well-formed is an error, not a guess\n"
    "  --facets N      show the N most frequent categories of all hits\n"
    "  --total-limit N count hits up to N, and say \"at least\" beyond (default 1000)\n"
    "  --exact-total   count all of them, however many\n"
    "  --trace         show where the time went: rounds, calls to shards, their waits\n" REPLICA
    "\n"
    "In a query: \"a phrase\", \"near words\"~3, +must, -not, AND OR NOT, ( ), pre*, speling~,\n"
    "word^2, headword:word, category:\"computer vision\". A query that begins with '-' goes\n"
    "behind '--'. Exit code 1 when nothing was found, 3 when a part of the cluster did not\n"
    "answer.\n" COMMON "\nexamples:\n"
    "  quire search gradient descent\n"
    "  quire search --all -n 3 'bayesian \"random variable\"'\n"
    "  quire search --category statistics 'estim* -bias' --json\n";

static const char explain_help[] =
    "usage: quire explain QUERY HEADWORD [--sense S] [--all]\n\n"
    "Shows how the score of an entry came about: what each word of the query adds, and why.\n"
    "Exit code 1 when the query does not match the entry.\n\n"
    "  --sense S       which entry of that headword\n"
    "  --all           as in 'quire search --all'\n" REPLICA COMMON "\nexamples:\n"
    "  quire explain \"gradient descent\" backpropagation\n"
    "  quire explain --json estimator variance\n";

static const char status_help[] =
    "usage: quire status [--watch [SECONDS]]\n\n"
    "Shows coordinators, shards, and every range with its bounds, entries and bytes; and how\n"
    "many calls reads took, retries and second calls beside slow ones included. Exit code 3\n"
    "when a range is not served.\n\n"
    "  -w, --watch     again every SECONDS (1 to 3600, default 2), until Ctrl-C: on a terminal in\n"
    "                  the place of the last view, elsewhere (and with --json, a document a\n"
    "                  line) after it\n" COMMON "\nexamples:\n"
    "  quire status\n"
    "  quire status --watch\n"
    "  quire status --json --watch 10 >> status.jsonl\n"
    "  quire status --json | jq '.ranges[] | {lo, hi, entries}'\n";

static const char verify_help[] =
    "usage: quire verify [--replicas]\n\n"
    "Checks every range, or those of one collection (-c): index against entries, checksums,\n"
    "statistics. A replica that is damaged is made anew of another one by itself. Exit code 1\n"
    "when something is wrong.\n\n"
    "  --replicas      every replica of each range, not one; and that all have the same "
    "entries\n" COMMON "\nexamples:\n"
    "  quire verify --replicas\n"
    "  quire verify -c foldoc --json\n";

static const char coordinator_list_help[] =
    "usage: quire coordinator list\n\n"
    "Lists the coordinators: which one leads, and which are alive. With --json: id, url, leader,\n"
    "alive.\n" COMMON "\nexamples:\n"
    "  quire coordinator list\n";

static const char coordinator_remove_help[] =
    "usage: quire coordinator remove ID|URL\n\n"
    "Takes a coordinator out of the cluster for ever, alive or not; one that leads hands over\n"
    "first. It stops by itself. Refused when those that remain would be no majority. To replace\n"
    "one: remove it, then start 'quire-coordinator --join URL' with an empty folder.\n" COMMON
    "\nexamples:\n"
    "  quire coordinator remove tcp://10.0.0.3:7400\n";

static const char node_list_help[] =
    "usage: quire node list\n\n"
    "Lists the shards: whether each is up, its zone, how many ranges it leads, how many it has a\n"
    "replica of. With --json: id, url, zone, alive, draining, primaries, replicas.\n" COMMON
    "\nexamples:\n"
    "  quire node list\n";

static const char node_drain_help[] =
    "usage: quire node drain ID|URL [--no-wait]\n\n"
    "Takes every replica off a shard: it leads nothing from then on, and its ranges are moved to\n"
    "others, a few at a time, while they are read and written. Waits until it has none; what\n"
    "was asked for goes on when that is interrupted. While no other shard has room for a range,\n"
    "its replica stays. The shard can then be stopped, and removed.\n\n"
    "  --no-wait       only ask\n" COMMON "\nexamples:\n"
    "  quire node drain tcp://10.0.0.5:7401\n";

static const char node_undrain_help[] =
    "usage: quire node undrain ID|URL\n\n"
    "Takes back a drain: the shard is given replicas again as the shards are evened out.\n" COMMON
    "\nexamples:\n"
    "  quire node undrain tcp://10.0.0.5:7401\n";

static const char node_remove_help[] =
    "usage: quire node remove ID|URL\n\n"
    "Makes the cluster forget a shard that was stopped and has no replica any more. One that is\n"
    "started again with its folder is a member again.\n" COMMON "\nexamples:\n"
    "  quire node remove tcp://10.0.0.5:7401\n";

static const char range_list_help[] =
    "usage: quire range list\n\n"
    "Lists the ranges, or those of one collection (-c), with every replica: which shard, its\n"
    "role, its state, and whether it is on the move.\n" COMMON "\nexamples:\n"
    "  quire range list\n"
    "  quire range list -c foldoc --json\n";

static const char range_move_help[] =
    "usage: quire range move --range ID --from ID|URL [--to ID|URL]\n\n"
    "Begins to move a replica from one shard to another; 'quire range list' shows how far it is.\n"
    "Refused while a replica of the range is being made or moved.\n\n"
    "  --range ID      the range\n"
    "  --from ID|URL   a shard that has a replica of it\n"
    "  --to ID|URL     one that has none (default: the emptiest)\n" COMMON "\nexamples:\n"
    "  quire range move --range 7 --from tcp://10.0.0.5:7401\n";

static const char range_split_help[] =
    "usage: quire range split --range ID [--at TERM] [--no-wait]\n\n"
    "Splits a range in two, while it is read and written: writes to it pause for a moment at the\n"
    "end. Waits until it is done; what was asked for goes on when that is interrupted. It is\n"
    "given up when a replica cannot build its half.\n\n"
    "  --range ID      the range\n"
    "  --at TERM       where the right half begins (default: the middle of its entries)\n"
    "  --no-wait       only ask\n" COMMON "\nexamples:\n"
    "  quire range split --range 7\n"
    "  quire range split --range 7 --at mod\n";

static const char range_merge_help[] =
    "usage: quire range merge --range ID [--no-wait]\n\n"
    "Merges a range with its neighbour on the right, while both are read and written; where their\n"
    "replicas are on different shards, those of the neighbour are moved first. Meant for small\n"
    "ranges: the neighbour's entries are indexed anew. Waits until it is done.\n\n"
    "  --range ID      the range\n"
    "  --no-wait       only ask\n" COMMON "\nexamples:\n"
    "  quire range merge --range 7\n";

static const char placement_help[] =
    "usage: quire placement [steady|frozen|lively]\n\n"
    "Shows or sets what the cluster may move by itself: 'steady' evens out the shards, two ranges\n"
    "on the move at a time; 'lively', eight; 'frozen' begins no move, and drains wait. A replica\n"
    "that is lost is made anew in any case.\n" COMMON "\nexamples:\n"
    "  quire placement\n"
    "  quire placement frozen\n";

static const char recover_help[] =
    "usage: quire recover [--range ID (--node ID|URL | --empty) [--force]]\n\n"
    "For shards that are gone for good. Without options: lists the ranges that nobody can serve,\n"
    "what is known of each replica, and what may be done. What is chosen is only told, with what\n"
    "would be lost, unless --force is there.\n\n"
    "  --range ID      the range\n"
    "  --node ID|URL   go on with the replica of this shard alone\n"
    "  --empty         give up all its entries; begin it empty on a shard that is alive\n"
    "  --force         do it. There is no way back\n\n"
    "Exit code 1 when there is something to recover and nothing was done, 0 otherwise. A majority\n"
    "of coordinators that is gone: 'quire-coordinator --recover-alone'.\n" COMMON "\nexamples:\n"
    "  quire recover\n"
    "  quire recover --range 7 --empty\n"
    "  quire recover --range 7 --empty --force\n";

const struct cli_command cli_commands[] = {
    {"up", "start a local cluster", up_help, cmd_up},
    {"down", "stop it; its data stays", down_help, cmd_down},
    {"collection create", "create a collection", collection_create_help, cmd_collection_create},
    {"collection list", "list the collections", collection_list_help, cmd_collection_list},
    {"collection drop", "drop a collection with its entries", collection_drop_help,
     cmd_collection_drop},
    {"import", "write the entries of files", import_help, cmd_import},
    {"export", "print every entry as JSON lines", export_help, cmd_export},
    {"backup", "copy all entries to a folder", backup_help, cmd_backup},
    {"restore", "make collections from a backup", restore_help, cmd_restore},
    {"get", "show the entries of a headword", get_help, cmd_get},
    {"put", "write one entry", put_help, cmd_put},
    {"delete", "delete an entry", delete_help, cmd_delete},
    {"define", "what does a term mean: by headword or other name", define_help, cmd_define},
    {"browse", "pages from A to Z", browse_help, cmd_browse},
    {"match", "find names by their spelling", match_help, cmd_match},
    {"suggest", "names that begin with something", suggest_help, cmd_suggest},
    {"search", "ranked full-text search", search_help, cmd_search},
    {"explain", "how a score came about", explain_help, cmd_explain},
    {"status", "the cluster's nodes and ranges", status_help, cmd_status},
    {"coordinator list", "list the coordinators", coordinator_list_help, cmd_coordinator_list},
    {"coordinator remove", "take one out of the cluster", coordinator_remove_help,
     cmd_coordinator_remove},
    {"node list", "list the shards", node_list_help, cmd_node_list},
    {"node drain", "take every replica off a shard", node_drain_help, cmd_node_drain},
    {"node undrain", "take that back", node_undrain_help, cmd_node_undrain},
    {"node remove", "forget a shard that was stopped", node_remove_help, cmd_node_remove},
    {"range list", "list the ranges with their replicas", range_list_help, cmd_range_list},
    {"range move", "move a replica to another shard", range_move_help, cmd_range_move},
    {"range split", "split a range in two", range_split_help, cmd_range_split},
    {"range merge", "merge a range with its right neighbour", range_merge_help, cmd_range_merge},
    {"placement", "what the cluster may move by itself", placement_help, cmd_placement},
    {"recover", "give up what is gone for good", recover_help, cmd_recover},
    {"verify", "check the data of every range", verify_help, cmd_verify},
    {0},
};
