#!/usr/bin/env python3
"""Real processes in network namespaces, real faults, and a judged history of what a client saw. See README.md.

    run.py --short                      every fault once with two replicas, a few with three (some minutes)
    run.py --long --minutes N           faults at random, one after another
    run.py --table N [NAME...]          N repetitions of each fault of one process, or of these; a table of the worst cases
    run.py NAME...                      these faults (--list names them)
    options: --replicas R, --shards N, --seed N, --rate OPERATIONS, --keep DIR (histories)
"""
import argparse, contextlib, json, os, random, shutil, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check as checker
import faults, network
from nodes import Failed, Nodes, check

WORDS = 'river stone harbour lantern meadow copper bridge winter thunder violet garden amber orchard tide compass'.split()
TABLE = ['kill-shard', 'kill-leader', 'kill-follower', 'pause-shard', 'pause-leader', 'cut-shard', 'cut-leader', 'restart-all',
         'drain-shard', 'move-range', 'kill-during-drain', 'split-merge', 'kill-during-split']


def still_entries():
    rng = random.Random(7)
    return [dict(headword=f'{chr(97 + i % 26)} thing {i}', body=' '.join(rng.choice(WORDS) for _ in range(rng.randrange(4, 40))))
            for i in range(600)]


def live_entries():
    return [dict(headword=f'{chr(97 + i % 26)} base {i}', body='what the ranges are cut by') for i in range(104)]


class Run:
    def __init__(self, nodes, options):
        self.nodes, self.options, self.number = nodes, options, 0
        nodes.create('still', still_entries())
        nodes.wait_in_sync()
        self.still = nodes.answers(nodes.coordinators[0])

    def judge(self, name, history, allowed, window):
        """Checks a history; the figures of the time from the fault until the end."""
        nodes = self.nodes
        finals = {c: checker.final_state(nodes.export('live', c)) for c in nodes.coordinators}
        found = checker.check(history, finals)
        figures = checker.figures(history, since=window)
        line = f'{name}: {len(history)} operations, {len(found)} violation(s)'
        for kind, f in figures.items():
            line += f'; {kind}: {f["failed"]} of {f["count"]} failed, gap {f["gap"]:.2f} s, longest {f["longest"]:.2f} s'
        print('   ', line, flush=True)
        for kind, f in figures.items():
            if f['why'] or f['incomplete']:
                print(f'      {kind}: {f["incomplete"]} incomplete; failed: {f["why"]}', flush=True)
        check(not found, f'{len(found)} violation(s):', *[f'\n      {v}' for v in found[:8]])
        judged = {'none': ['reads', 'writes'], 'reads': ['reads'], 'any': []}[allowed if nodes.replicas > 1 else 'any']
        bad = [k for k in judged if figures[k]['failed']]
        check(not bad, 'failed with one fault:', *[f'{figures[k]["failed"]} {k} ({figures[k]["why"]})' for k in bad])
        return figures

    def one(self, name):
        """One fault under load: before, during, after; then everything is compared. The figures."""
        nodes = self.nodes
        fault, seconds, allowed = faults.FAULTS[name]
        self.number += 1
        nodes.create('live', live_entries())
        nodes.wait_in_sync()
        path = os.path.join(nodes.dir, f'history-{self.number}-{name}.tsv')
        recorder = nodes.record('live', path, self.options.rate, self.number)
        try:
            time.sleep(2)
            window = time.monotonic_ns() // 1000
            victim = fault(nodes)
            print(f'  {name}: {victim}', flush=True)
            time.sleep(seconds)
            healed = time.monotonic_ns() // 1000
            nodes.heal()
            took = nodes.wait_in_sync()
            time.sleep(1)
            print(f'    in sync {took:.1f} s after it ended', flush=True)
        finally:
            recorder.terminate()
            recorder.wait(60)
            if self.options.keep:
                shutil.copy(path, self.options.keep)
        check(recorder.returncode == 0, 'the recorder ended with', recorder.returncode)
        figures = self.judge(name, checker.parse(open(path)), allowed, window)
        self.compare()
        done = nodes.run('collection', 'drop', 'live')
        check(done.returncode == 0, 'drop:', done.stderr)
        return dict(figures, seconds=(healed - window) / 1e6, sync=took)

    def compare(self):
        """Every coordinator gives the answers of the beginning, and the data is whole."""
        for coordinator in self.nodes.coordinators:
            for _ in range(2):
                check(self.nodes.answers(coordinator) == self.still, f'{coordinator} answers otherwise than before')
        self.nodes.verify()

    def range_gone(self):
        """All replicas of a range are stopped: what needs it says so, the rest goes on."""
        nodes = self.nodes
        gone = nodes.ranges('still')[0]
        nodes.kill(*gone['in_sync'])
        lo, hi = gone['lo'], gone['hi']
        nodes.until('the lost range is known', lambda: nodes.run('search', '-c', 'still', '--complete', 'river').returncode == 3)
        others = [r for r in nodes.ranges('still') if any(nodes.running(n) for n in r['in_sync'])]
        check(others, 'no range is left')
        for coordinator in nodes.coordinators:
            done = nodes.run('search', '-c', 'still', '--complete', 'river', at=coordinator)
            check(done.returncode == 3, f'a complete search without a range: exit {done.returncode}: {done.stdout}')
            check((hi or lo) in done.stderr, f'the sentence does not name the range {lo!r}..{hi!r}: {done.stderr!r}')

            def partial():
                found = nodes.run('search', '--json', '-c', 'still', 'river', at=coordinator)
                answer = json.loads(found.stdout)
                missing = [(m['lo'], m['hi']) for m in answer['missing']]
                return answer['hits'] and not answer['complete'] and missing == [(lo, hi)]
            nodes.until(f'a partial answer names only {lo!r}..{hi!r}', partial)
            for entry in still_entries()[:52]:
                word = entry['headword']
                if any(r['lo'] <= word and (not r['hi'] or word < r['hi']) for r in others):
                    check(nodes.run('get', '-c', 'still', word, at=coordinator).returncode == 0, 'a lookup elsewhere failed:', word)
        nodes.heal()
        nodes.wait_in_sync()
        self.compare()
        print(f'  range-gone: {lo!r}..{hi!r} of {" and ".join(gone["in_sync"])}', flush=True)


def in_turn(run, names):
    failed = 0
    for name in names:
        began = time.monotonic()
        print(f'[ RUN      ] {name} ({run.nodes.replicas} replicas)', flush=True)
        try:
            run.range_gone() if name == 'range-gone' else run.one(name)
            print(f'[       OK ] {name} ({time.monotonic() - began:.1f} s)', flush=True)
        except (Failed, subprocess.TimeoutExpired) as e:
            failed += 1
            print(f'[  FAILED  ] {name}: {e}', flush=True)
            if run.options.stop:
                raise
            recover(run)
    return failed


def recover(run):
    """After a failure: the other faults are tried, too."""
    with contextlib.suppress(Failed):
        run.nodes.heal()
    run.nodes.wait_in_sync()
    run.nodes.run('collection', 'drop', 'live')


def table(run, names, repetitions):
    rows, failed = [], 0
    for name in names:
        done = []
        for i in range(repetitions):
            print(f'{name}, {i + 1} of {repetitions}', flush=True)
            try:
                done.append(run.one(name))
            except (Failed, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f'    FAILED: {e}', flush=True)
                recover(run)
        if not done:
            continue
        worst = lambda kind, what: max(d[kind][what] for d in done)
        rows.append(f'| {name} | {len(done)} of {repetitions} | {worst("reads", "count")} | {sum(d["reads"]["failed"] for d in done)} | {worst("reads", "longest"):.2f} | '
                    f'{sum(d["writes"]["failed"] for d in done)} | {worst("writes", "gap"):.2f} | {worst("writes", "longest"):.2f} | {max(d["sync"] for d in done):.1f} |')
    print('| fault | passed | reads in one, at most | failed reads | slowest read, s | failed writes | longest time without a write, s '
          '| slowest write, s | in sync again after, s |', '|---|---|---|---|---|---|---|---|---|', *rows, sep='\n')
    return failed


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('names', nargs='*')
    p.add_argument('--short', action='store_true')
    p.add_argument('--long', action='store_true')
    p.add_argument('--minutes', type=float, default=60)
    p.add_argument('--table', type=int, metavar='N')
    p.add_argument('--list', action='store_true')
    p.add_argument('--replicas', type=int, default=2)
    p.add_argument('--shards', type=int, default=3)
    p.add_argument('--seed', type=int, default=None)
    p.add_argument('--rate', type=int, default=150)
    p.add_argument('--keep')
    p.add_argument('--stop', action='store_true', help='at the first failure, with the ends of the logs')
    return p.parse_args()


def main():
    options = arguments()
    if options.list:
        print(*faults.FAULTS, 'range-gone', sep='\n')
        return
    if why := network.why_not():
        print(f'SKIP: {why}')
        return
    network.enter()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    random.seed(seed)
    print(f'seed {seed}', flush=True)
    failed = count = 0
    plan = [(options.replicas, options.names)] if options.names else [(2, [*faults.FAULTS, 'range-gone']), (3, ['kill-shard', 'cut-shard', 'restart-all'])]
    if options.long or options.table:  # the names are the table's
        plan = [(options.replicas, [])]
    for replicas, names in plan:
        shards = max(options.shards, replicas)
        with Nodes(shards=shards, replicas=replicas, disk={'s2': '256m'}) as nodes:
            run = Run(nodes, options)
            if options.table:
                repeated = options.names or TABLE
                failed += table(run, repeated, options.table)
                count += len(repeated) * options.table
                continue
            until = time.monotonic() + options.minutes * 60
            while options.long and time.monotonic() < until:
                failed += in_turn(run, [random.choice([*faults.FAULTS, 'range-gone'])])
                count += 1
            failed += in_turn(run, names)
            count += len(names)
    print(f'[  PASSED  ] {count - failed} test(s).')
    if failed:
        print(f'[  FAILED  ] {failed} test(s).')
    sys.exit(1 if failed or not count else 0)


if __name__ == '__main__':
    main()
