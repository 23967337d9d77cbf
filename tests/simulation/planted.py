#!/usr/bin/env python3
"""Plants one fault after another into a copy of the source, and looks whether the simulator finds it.

A fault is a change of one place of one file (the old text must be there exactly once). The changed file is compiled and
linked into a program of its own, by the commands of the build that is there, and runs seeds from 1 on until a promise is
violated. A fault that is not found within its number of seeds fails the test: then the simulator is not worth much.

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

# name, file, what is there, what is planted, seeds within which it has to be found
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
    ("deposed, back, and no new epoch", RANGE, "if (plan->track->deposed == old)", "if (false)", 20000),
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
    """The planted object stands before the archives, which therefore do not give theirs."""
    parts = words(lines[-1])
    parts[parts.index("-o") + 1] = str(to)
    first = next(i for i, p in enumerate(parts) if p.endswith(".o"))
    subprocess.run([*parts[:first], str(planted), *parts[first:]], cwd=build, check=True)


def plant(build, lines, fault, folder):
    name, file, old, new, _ = fault
    text = (ROOT / file).read_text()
    if text.count(old) != 1:
        sys.exit(f"planted.py: {name}: the place is {text.count(old)} times in {file}")
    source, planted, program = folder / "planted.c", folder / "planted.o", folder / "planted"
    source.write_text(text.replace(old, new))
    compile_planted(build, lines, file, source, planted)
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
        for name, file, _, _, seeds in chosen:
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
