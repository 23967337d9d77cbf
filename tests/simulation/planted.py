#!/usr/bin/env python3
"""Plants one fault after another into a copy of the source, and looks whether the simulator finds it.

A fault is a change of one place of one file (the old text must be there exactly once); where a second check would refuse
what comes of it, that is taken away as well. What is changed is compiled and linked into a program of its own, by the
commands of the build that is there, and runs seeds from 1 on until a promise is violated. A fault that is not found within
its number of seeds fails the test: then the simulator is not worth much.

usage: planted.py [--build DIR] [--list] [--quick] [NAME...]
"""
import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = "tests/quire-simulation"

PRIMARY, SECONDARY = "shard/replication_primary.c", "shard/replication_secondary.c"
CORE, RANGE = "shard/replication.c", "coordinator/controller_range.c"
CONTROLLER, PLAN = "coordinator/controller.c", "coordinator/controller_plan.c"
RESHAPE, MAP_RESHAPE = "coordinator/controller_reshape.c", "coordinator/map_reshape.c"
MAP = "coordinator/map.c"
# What shards do for splits and merges is done in the product by threads and files (shard/reshape*.c), which the simulator has
# a model of: that the model does it right is as necessary.
MODEL = "tests/simulation/reshape.c"

# Second checks: what stands behind another one, and refuses what that let through.
NO_COVER = (MAP, "!bytes_equal(map_range_hi(before), map_range_lo(range))", "false")
NO_SEAL = (MAP_RESHAPE, "||\n        reshape->n_sources != finish->n_sources || !reshape->sealed)",
           "||\n        reshape->n_sources != finish->n_sources)")
NO_SOURCES = (MAP_RESHAPE, "rc = validate_sources(message, i, err);", "rc = 0;")

# name, file, what is there, what is planted, seeds within which it has to be found; and the second checks that are taken
# away with it
FAULTS = [
    ("epoch ignored", SECONDARY, "if (prepare->epoch < replication->epoch)", "if (false)", 4000),
    ("acknowledged before it is durable there", SECONDARY, ": log->durable,", ": replication->agreed,", 2000),
    ("committed before it is durable here", PRIMARY,
     "uint64_t seq = replication->log.durable;", "uint64_t seq = replication->log.last;", 2000),
    ("lease not honoured by commits", PRIMARY,
     "    if (!has_lease(replication, now_ms))\n        return;\n", "", 2000),
    ("lease not honoured by reads", CORE,
     "    if (!has_lease(replication, now_ms))\n        return no_lease(replication, err);\n    return 0;",
     "    return 0;", 10000),
    ("truncation forgotten", SECONDARY, "    if (cut != 0)\n        log_cut(log, cut);\n", "    cut = 0;\n", 2000),
    ("truncated without conflict", SECONDARY,
     "        if (end > log->last || log_epoch_at(log, record->first_seq) != record->epoch)",
     "        if (prepare->epoch > 0)", 2000),
    ("one in-sync replica not waited for", PRIMARY,
     "    for (size_t i = 0; i < replication->member_count; i++) {\n"
     "        const struct member *member = &replication->member[i];\n        if ((member->in_sync",
     "    for (size_t i = 1; i < replication->member_count; i++) {\n"
     "        const struct member *member = &replication->member[i];\n        if ((member->in_sync", 2000),
    ("joining learner not waited for", PRIMARY,
     "(member->in_sync || member->joining) && member->acked", "member->in_sync && member->acked", 1000),
    ("learner asked for without what is committed", PRIMARY,
     "member->joining && member->acked >= replication->committed", "member->joining", 2000),
    ("leads under an epoch of its former life", CORE,
     "return may_lead ? REPLICATION_RECONCILING : REPLICATION_NONE;", "return REPLICATION_RECONCILING;", 1000),
    ("promoted without reconciliation", PRIMARY,
     "if (replication->committed >= replication->inherited)", "if (true)", 1000),
    ("commit point of unknown agreement", SECONDARY,
     "    if (seq > replication->agreed)\n        seq = replication->agreed;\n", "", 1000),
    ("previous record not compared", SECONDARY,
     "log_epoch_at(&replication->log, prev->seq) == prev->epoch", "true", 1000),
    ("agreement outlives its epoch", SECONDARY, "    replication->agreed = replication->committed;\n", "", 1000),
    ("acks of another epoch count", PRIMARY,
     "    if (!of_now && ack->status != REPLICATION_BEHIND)\n"
     "        return; /* to a message of another epoch */\n", "    (void)of_now;\n", 60000),
    ("log cut off too early", CORE,
     "        if (follows && member->durable < seq)\n            seq = member->durable;\n", "        (void)follows;\n", 1000),
    ("checkpoint takes back what was acknowledged", SECONDARY,
     "(replication->empty || replication->agreed < seq)", "(replication->empty || seq > 0)", 20000),
    ("slow replica never dropped", PRIMARY,
     "        if (!good)\n            edge->request(edge->data, replication->epoch, member->id, false);\n        return;",
     "        return;", 1000),
    ("dead before the lease is over", CONTROLLER,
     "if (node->state == CONTROLLER_DEAD || watched_may_have_lease(controller, node, now_ms))",
     "if (node->state == CONTROLLER_DEAD)", 1000),
    ("leases of the leader before forgotten", CONTROLLER,
     "        node->granted_ms = now_ms + CONTROLLER_DEPOSED_MS;\n", "", 20000),
    ("silent for ever", CONTROLLER,
     "    if (!node->lost && now_ms < node->heard_ms + CONTROLLER_GRACE_MS)\n        return;\n",
     "    if (!node->lost)\n        return;\n", 1000),
    ("learner promoted", RANGE,
     "    for (size_t i = 0; i < plan->in_sync_count; i++) {\n        struct watched *node = plan->in_sync[i];\n"
     "        if (node == plan->primary ||",
     "    for (size_t i = 0; i < plan->in_sync_count + plan->learner_count; i++) {\n"
     "        struct watched *node = i < plan->in_sync_count ? plan->in_sync[i]\n"
     "                                                       : plan->learners[i - plan->in_sync_count];\n"
     "        if (i >= plan->in_sync_count && may_lead(node, plan->range->id)) {\n"
     "            promote(plan, node);\n            return node;\n        }\n"
     "        if (node == plan->primary ||", 1000),
    ("learner in sync unasked", RANGE, "        if (wish == NULL)\n            continue;\n        if (!wish->in_sync)",
     "        if (wish == NULL) {\n            if (ready(node, plan->range->id))\n"
     "                promote(plan, node);\n            continue;\n        }\n        if (!wish->in_sync)", 1000),
    ("a wish of another epoch granted", RANGE, "wish->epoch == plan->range->epoch &&", "wish->epoch > 0 &&", 4000),
    ("incarnation not told apart", CONTROLLER,
     "return node->known != NULL && node->incarnation == node->known->incarnation;",
     "return node->known != NULL;", 1000),
    ("compare-and-set left out", "coordinator/map_change.c",
     "range->epoch != old->epoch + 1", "range->epoch <= old->epoch - 1", 10000),
    ("lease for one that was deposed", CONTROLLER, " || is_deposed(controller, node))", ")", 10000),
    ("one that resigned leads on", CORE, "    replication->resigned = true;\n", "", 2000),
    ("a new life without new epochs", PLAN, "i < controller->track_count && !watched_is_known(node); i++",
     "i < controller->track_count && false; i++", 1000),
    ("deposed, back, and no new epoch", RANGE, "if (plan->track->deposed == old)", "if (false)", 200000),
    ("an epoch that came too early is not replaced", RANGE,
     "    else if (does_not_lead(plan))\n        plan->changed = true;\n", "", 20000),
    ("what is in the log taken for durable in the index", PRIMARY, "member->durable = ack->durable_seq;",
     "member->durable = ack->last;", 1000),
    ("how far logs may be cut off outlives its epoch", SECONDARY, "    replication->told_retain = 0;\n", "", 4000),
    ("moved away before the new one is in sync", RANGE,
     "        staying(plan, plan->in_sync, plan->in_sync_count) < wanted)\n        return;",
     "        plan->in_sync_count < wanted)\n        return;", 1000),
    ("moves forgotten by the next change", RANGE, "if (map_range_leaves(range, map_range_member(range, i)))",
     "if (false)", 2000),
    ("dropped while it may lead yet", RANGE, "node != plan->primary && !may_lead_yet(plan, controller, node, now_ms) &&\n"
     "            (plan->leaving_count", "node != plan->primary &&\n            (plan->leaving_count", 20000),
    ("a leaving primary leads for ever", RANGE, "should_hand_over(plan) || has_one_that_stays(plan)",
     "should_hand_over(plan)", 2000),
    ("moves to a drained shard", RANGE, "!node->disk_short &&\n           !watched_is_draining(node)", "!node->disk_short", 2000),
    ("a new life is not drained", "coordinator/map_change.c",
     "put->draining = put->has_draining && next->nodes[at]->draining;", "put->draining = false;", 2000),
    ("writes under way outlive a cut", "shard/replication_log.c", "            *write_at(log, i) = seq - 1;\n",
     "            (void)log;\n", 20000),

    # Splits and merges: when they are finished. Not here, since each has another check before or behind it that is enough:
    # that the primary is drained (all have derived its last seq under the sealed epoch, and it takes no writes under it); that
    # a former life said it (ready is durable, and a primary that is a new life has a new epoch); that map_apply() compares the
    # members and the seal (the controller has, and the compare-and-set is on the same epochs); what a merge of replicas on
    # different shards would do (who does not hold both sources in sync builds nothing).
    ("finished before all have everything", RESHAPE, "    return all_derived(plan, *seq);", "    return true;", 4000),
    ("finished one operation short", RESHAPE, "    return all_derived(plan, *seq);",
     "    return all_derived(plan, *seq > 0 ? *seq - 1 : 0);", 4000),
    ("finished when the first one has everything", RESHAPE,
     "    for (size_t i = 0; i < plan->in_sync_count; i++) {\n"
     "        const struct replica_report *report = report_now(plan, plan->in_sync[i]);\n"
     "        if (report == NULL || !report->derived ||",
     "    for (size_t i = 0; i < 1; i++) {\n"
     "        const struct replica_report *report = report_now(plan, plan->in_sync[i]);\n"
     "        if (report == NULL || !report->derived ||", 4000),
    ("what was said under former epochs counts", RESHAPE, "report != NULL && report->epoch == plan->range->epoch",
     "report != NULL", 4000),
    ("finished without a seal", RESHAPE, "    if (it->reshape->sealed)\n", "    if (near)\n", 4000,
     [(RESHAPE, " || !primary->drained)", ")"), NO_SEAL]),
    ("finish not compared with the epochs", MAP_RESHAPE, " || range->epoch != finish->sources[i]->epoch)", ")", 20000),
    ("the seal raises no epoch", MAP_RESHAPE, "    if (reshape == NULL)\n        return 0;\n    if (old->reshape",
     "    if (reshape != NULL && reshape->sealed)\n        ((Quire__Range *)range)->epoch = old->epoch;\n"
     "    if (reshape == NULL)\n        return 0;\n    if (old->reshape", 4000),

    # What takes the places.
    ("begins where the last source ends", RESHAPE, "seq = end > seq ? end : seq;", "seq = end;", 4000),
    ("has the epoch of the first source", MAP_RESHAPE, "range->epoch = other->epoch > range->epoch ? other->epoch : range->epoch;",
     "(void)other;", 4000),
    ("has the epoch of its sources", MAP_RESHAPE, "range->origin_epoch = range->epoch++;", "range->origin_epoch = range->epoch;", 4000),
    ("targets overlap", MAP_RESHAPE, "    range->lo = target->lo;\n", "", 4000,
     [NO_COVER, (MAP, "before != NULL && map_range_order(before, range) >= 0", "false")]),
    ("a gap between targets", MAP_RESHAPE, "    range->lo = target->lo;\n",
     "    range->lo = target->lo;\n    if (index > 0) {\n"
     "        range->lo.data = arena_calloc(scratch, target->lo.len + 1, 1);\n"
     "        memcpy(range->lo.data, target->lo.data, target->lo.len);\n        range->lo.len++;\n    }\n", 4000, [NO_COVER]),
    ("targets overlap, and that is refused", MAP_RESHAPE, "    range->lo = target->lo;\n", "", 4000),
    ("the last source stays", MAP_RESHAPE, "for (size_t i = first + reshape->n_sources; i < next->n_ranges; i++)",
     "for (size_t i = first + reshape->n_sources - 1; i < next->n_ranges; i++)", 4000,
     [NO_COVER, (MAP, "before != NULL && map_range_order(before, range) >= 0", "false"),
      (MAP, "last != (range->hi.len == 0)", "false"), NO_SOURCES,
      (MAP_RESHAPE, "rc = validate_targets(message, i, err);", "rc = 0;")]),
    ("the right source goes alone", MAP_RESHAPE, "first + reshape->n_sources; i < next->n_ranges", "first + 1; i < next->n_ranges", 4000),
    ("nothing is gathered for a merge", RESHAPE, "    bool together = same_members(it);", "    bool together = true;", 4000),
    ("ids are given twice", MAP_RESHAPE, "if (target < first_new_id)", "if (false)", 20000),
    ("ids are not taken", MAP_RESHAPE, "        if (target >= next->next_id)\n            next->next_id = target + 1;\n",
     "", 4000),

    # When they are given up.
    ("given up in one of two sources", RESHAPE, "        plan.reshape = reshape;\n",
     "        plan.reshape = reshape != NULL || i == 0 ? reshape : plan.reshape;\n", 4000, [NO_SOURCES]),
    ("goes on though a replica cannot build", RESHAPE, "if (report != NULL && report->derive_failed)", "if (false)", 4000),
    ("sealed for ever", RESHAPE, "now_ms >= since + CONTROLLER_SEALED_MS ?", "since == UINT64_MAX ?", 4000),
    ("begun again and again", RESHAPE, "if (proposed_ms != 0 && now_ms < proposed_ms + CONTROLLER_SETTLE_MS)", "if (false)", 4000),

    # Who reads what is gone.
    ("lease for who is behind in what is gone", CONTROLLER, "    return gone > 0;\n", "    return false;\n", 60000),

    # What shards do.
    ("ready before it is durable", MODEL, "reshape->sealed ? &derived->kept : &derived->memory;",
     "reshape->sealed && derived->kept.there ? &derived->kept : &derived->memory;", 4000),
    ("what is ready is taken back", MODEL, "if (kept && (image.seq[0] <", "if (false && (image.seq[0] <", 60000),
    ("ready under another epoch", MODEL, "if (image->epoch[i] != range_in(", "if (image->epoch[i] == 0 && range_in(", 20000),
    ("writes although it is sealed", MODEL, "return reshape != NULL && reshape->sealed;", "return false;", 4000),
    ("says the furthest of its targets", MODEL, "seq < report.seq ? seq : report.seq;", "report.seq == UINT64_MAX || seq > report.seq ? seq : report.seq;", 4000),
    ("installs what ends elsewhere", MODEL, "highest(kept->epoch) != range->origin_epoch ||\n"
     "        highest(kept->seq) != range->origin_seq)", "false)", 60000),
    ("sessions do not go along", MODEL, "        image->state.batch[i] = from->batch[i];\n", "", 4000),
    ("the other source's sessions are forgotten", MODEL,
     "        if (from->batch[i] <= image->state.batch[i])\n            continue;\n", "", 4000),
]


def commands(build, target):
    said = subprocess.run(["ninja", "-C", build, "-t", "commands", target], check=True, text=True, stdout=subprocess.PIPE)
    return [line for line in said.stdout.splitlines() if line]


def words(command):
    """ninja wraps a link in `: && ... && :`."""
    return [w for w in shlex.split(command) if w not in (":", "&&", "ccache") and not w.endswith("/ccache")]


def compile_planted(build, lines, file, source, to):
    """By the command that compiled `file`, with another source and another object."""
    for line in lines:
        parts = words(line)
        if "-c" in parts and parts[parts.index("-c") + 1].endswith("/" + file):
            parts[parts.index("-c") + 1] = str(source)
            parts[parts.index("-o") + 1] = str(to)
            clean = [p for i, p in enumerate(parts) if p not in ("-MD", "-MT", "-MF") and parts[i - 1] not in ("-MT", "-MF")]
            subprocess.run([*clean, f"-I{ROOT}/{os.path.dirname(file)}", "-w"], cwd=build, check=True)
            return
    sys.exit(f"planted.py: nothing in {build} compiles {file}")


def link_planted(build, lines, planted, to):
    """The planted objects stand before the archives, which therefore do not give theirs, or in the simulator's own places."""
    parts = words(lines[-1])
    parts[parts.index("-o") + 1] = str(to)
    parts = [p for p in parts if not (p.endswith(".c.o") and any(p.endswith("/" + f.split("/", 1)[1] + ".o") for f in planted))]
    first = next(i for i, p in enumerate(parts) if p.endswith(".o"))
    subprocess.run([*parts[:first], *map(str, planted.values()), *parts[first:]], cwd=build, check=True)


def change(name, texts, file, old, new):
    text = texts.get(file) or (ROOT / file).read_text()
    if text.count(old) != 1:
        sys.exit(f"planted.py: {name}: the place is {text.count(old)} times in {file}")
    texts[file] = text.replace(old, new)


def plant(build, lines, fault, folder):
    name, file, old, new, _, *others = fault
    texts, planted, program = {}, {}, folder / "planted"
    change(name, texts, file, old, new)
    for place in others[0] if others else []:
        change(name, texts, *place)
    for i, (file, text) in enumerate(texts.items()):
        source, planted[file] = folder / f"planted{i}.c", folder / f"planted{i}.o"
        source.write_text(text)
        compile_planted(build, lines, file, source, planted[file])
    link_planted(build, lines, planted, program)
    return program


def find(program, seeds):
    """The first seed that shows it, and what it shows; 0 when none does."""
    step = 250
    for first in range(1, seeds + 1, step):
        seeds_now = f"{first}..{min(first + step - 1, seeds)}"
        try:
            done = subprocess.run([program, "--jobs", "1", "--seeds", seeds_now], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return first, "does not come to an end"
        found = re.search(r"^seed (\d+): (.*)$", done.stdout, re.M)
        if found:
            return int(found[1]), found[2]
        if done.returncode != 0:
            return first, f"ended with {done.returncode}"
    return 0, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (a part of the name is enough)")
    parser.add_argument("--build", default=os.environ.get("QUIRE_BUILD", ROOT / ".build/release"), help="a build folder")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--quick", action="store_true", help="only those with a limit of at most 20,000 seeds")
    args = parser.parse_args()
    chosen = [f for f in FAULTS if (not args.names or any(n in f[0] for n in args.names)) and
              not (args.quick and f[4] > 20000)]
    if args.list:
        for name, file, _, _, seeds, *_ in chosen:
            print(f"{name:46} {file:34} {seeds:6} seeds")
        return
    build = pathlib.Path(args.build).resolve()
    lines = commands(build, TARGET)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="quire-planted-") as temporary:
        for fault in chosen:
            program = plant(build, lines, fault, pathlib.Path(temporary))
            seed, what = find(program, fault[4])
            missed += seed == 0
            said = f"seed {seed:5}  {what[:100]}" if seed else f"NOT FOUND in {fault[4]} seeds"
            print(f"{fault[0]:46} {said}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted faults found")
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
