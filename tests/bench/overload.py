#!/usr/bin/env python3
"""Three times too much: finds the knee of a local cluster under open-loop load, then sends three times that.

    QUIRE_BUILD=.build/release python3 tests/bench/overload.py [--mix search=1] [--seconds 20] [--entries 20000]

One coordinator and three shards share one core, `quire-load` has another one, so that the two do not compete (with
fewer than two cores it says so and stops). The knee is the highest of the rates tried (each a fifth
above the one before) at which no more than one request in a hundred is refused. The last line says whether, at three times the
knee, p99 of what is accepted is within twice the p99 at the knee, everything else was refused (no errors, no wrong
answers), and every process stayed below its memory limit (a cgroup's, where there are cgroups that we may make).
"""
import argparse, json, os, signal, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
from cluster import BUILD, documents, free_ports
from test_http import Seen

LOAD = os.path.join(BUILD, 'client', 'quire-load')
LIMIT_MIB = {'coordinator': 256, 'shard': 384}


def group_root():
    """(folder to make memory groups in, name of the limit, name of the peak); None: there is none that we may use."""
    for root, limit, peak in (('/sys/fs/cgroup/memory', 'memory.limit_in_bytes', 'memory.max_usage_in_bytes'),
                              ('/sys/fs/cgroup', 'memory.max', 'memory.peak')):
        path = os.path.join(root, f'quire-overload-{os.getpid()}')
        try:
            os.mkdir(path)
        except OSError:
            continue
        usable = os.path.exists(os.path.join(path, limit))
        os.rmdir(path)
        if usable:
            return root, limit, peak
    return None


class Pinned(Seen):
    """Every server on one core, each in a memory group of its own."""

    def __init__(self, shards, core):
        super().__init__()
        self.shard_ports = [free_ports(1) for _ in range(shards)]
        self.urls = self.urls[:1]
        self.env['QUIRE_CONNECT'] = self.urls[0]
        self.core, self.groups, self.root = core, {}, group_root()

    def limit_of(self, name):
        return LIMIT_MIB[name.rstrip('0123456789')] << 20

    def start(self, name, program, *words):
        super().start(name, program, *words)
        pid = self.started[name].pid
        for thread in os.listdir(f'/proc/{pid}/task'):
            os.sched_setaffinity(int(thread), {self.core})
        os.sched_setaffinity(pid, {self.core})
        if self.root is not None:
            group = os.path.join(self.root[0], f'quire-overload-{os.getpid()}-{name}')
            os.makedirs(group, exist_ok=True)
            self.groups[name] = group
            with open(os.path.join(group, self.root[1]), 'w') as file:
                file.write(str(self.limit_of(name)))
            with open(os.path.join(group, 'cgroup.procs'), 'w') as file:
                file.write(str(pid))

    def up(self):
        super().up()
        os.sched_setaffinity(0, {self.core})  # what is started takes it over, threads and all
        try:
            self.start('coordinator0', 'coordinator/quire-coordinator', '--queue-target-ms', '20', '--listen', self.urls[0])
            for i, port in enumerate(self.shard_ports):
                self.start(f'shard{i}', 'shard/quire-shard', '--queue-target-ms', '20', '--listen', f'tcp://127.0.0.1:{port}', '--coordinators',
                           self.urls[0], '--memory-bytes', '24M', '--cache-bytes', '64M')
        finally:
            os.sched_setaffinity(0, range(os.cpu_count()))
        for i in range(len(self.shard_ports)):
            self.until_page(f'shard{i}', '/readyz', 200)

    def memory_of(self, name):
        """(the most that it had of its own, the peak of its group), bytes; the latter with the page cache, or None."""
        with open(f'/proc/{self.started[name].pid}/status') as file:
            own = next(int(line.split()[1]) << 10 for line in file if line.startswith('VmHWM'))
        group = self.groups.get(name)
        path = group and os.path.join(group, self.root[2])
        return own, int(open(path).read()) if path and os.path.exists(path) else None

    def __exit__(self, kind, value, trace):
        try:
            super().__exit__(kind, value, trace)
        finally:
            for group in self.groups.values():
                for _ in range(50):
                    try:
                        os.rmdir(group)
                        break
                    except OSError:
                        time.sleep(0.1)

    def load(self, core, rate, seconds, mix, seed=1):
        command = [LOAD, '--connect', self.urls[0], '--quiet', '--json', '-', '--no-retry', '--mix', mix, '--rate', str(rate),
                   '--duration', str(seconds), '--seed', str(seed), '--clients', '16', '--timeout', '10000']
        done = subprocess.run(command, capture_output=True, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        if done.returncode not in (0, 1):
            sys.exit(done.stderr)
        return json.loads(done.stdout)


class Figures:
    """What one run says, of all kinds together; the p99 of the worst kind."""

    def __init__(self, rate, report):
        kinds = [k for k in report['kinds'].values() if k['sent'] > 0]
        self.rate, self.took = rate, report['took_s']
        self.sent, self.ok, self.refused, self.errors = (sum(k[w] for k in kinds) for w in ('sent', 'ok', 'refused', 'errors'))
        self.p50, self.p99 = (max(k[w] for k in kinds) / 1000 for w in ('p50_us', 'p99_us'))
        self.refusal = max(k['refused_p99_us'] for k in kinds) / 1000
        self.faults, self.not_sent = sum(report['faults'].values()), report['not_sent']
        self.examples = report['examples']

    def row(self, name):
        return (f'| {name} | {self.rate:.0f} | {self.sent / self.took:.0f} | {self.ok / self.took:.0f} | '
                f'{100 * self.refused / max(1, self.sent):.1f} % | {self.errors} | {self.faults} | {self.p50:.1f} | {self.p99:.1f} | '
                f'{self.refusal:.1f} |')


def refusals(cluster, names):
    """(process kind, class, reason) -> number."""
    found = {}
    for name in names:
        kind = name.rstrip('0123456789')
        samples, metrics = f'quire_{kind}_refusals_total', cluster.metrics(name)
        for (_, pairs), value in metrics.families[samples][1].items():
            labels = dict(pairs)
            key = (kind, labels['class'], labels['reason'])
            found[key] = found.get(key, 0) + value
    return {k: v for k, v in found.items() if v > 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--mix', default='search=1')
    parser.add_argument('--seconds', type=float, default=20)
    parser.add_argument('--step', type=float, default=6, help='seconds of each rate on the way to the knee')
    parser.add_argument('--first', type=float, default=200)
    parser.add_argument('--entries', type=int, default=20000)
    parser.add_argument('--shards', type=int, default=3)
    options = parser.parse_args()
    if os.cpu_count() < 2:
        sys.exit('this needs two cores: one for the servers, one for the load')
    entries = documents('arxiv200k')
    if entries is None:
        return 0
    entries = [dict(headword=e['terms'][0], sense=e['id'], categories=e['category'], body=e['body'])
               for e in entries[:options.entries]]
    with Pinned(options.shards, 0) as cluster:
        names = ['coordinator0'] + [f'shard{i}' for i in range(options.shards)]
        cluster.import_entries(entries)
        cluster.load(1, options.first, 3, options.mix)  # caches
        print('| | asked/s | sent/s | ok/s | refused | errors | wrong | p50 ms | p99 ms | told of a refusal, p99 ms |')
        print('|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|')
        rate, knee = options.first, None
        while True:
            it = Figures(rate, cluster.load(1, rate, options.step, options.mix))
            print(it.row('on the way'), flush=True)
            if it.refused > 0.01 * it.sent or it.errors or it.ok < 0.98 * rate * it.took * 0.97:
                break
            knee, rate = it, rate * 1.2
        if knee is None:
            sys.exit('the first rate is beyond the knee: give a lower --first')
        time.sleep(1)
        while True:  # a longer run may refuse more than the short one did
            again = Figures(knee.rate, cluster.load(1, knee.rate, options.seconds, options.mix, seed=2))
            good = again.refused <= 0.01 * again.sent
            print(again.row('the knee' if good else 'above it'), flush=True)
            if good:
                break
            knee.rate /= 1.2
        before = refusals(cluster, names)
        much = Figures(3 * knee.rate, cluster.load(1, 3 * knee.rate, options.seconds, options.mix, seed=3))
        print(much.row('three times'), flush=True)
        time.sleep(1.5)
        after = refusals(cluster, names)
        calm = Figures(knee.rate / 2, cluster.load(1, knee.rate / 2, options.step, options.mix, seed=4))
        print(calm.row('half, afterwards'))
        print('\nrefused during the third, as /metrics count them:',
              ', '.join(f'{" ".join(k)} {v - before.get(k, 0):.0f}' for k, v in sorted(after.items()) if v > before.get(k, 0)))
        good = True
        for name in names:
            own, group = cluster.memory_of(name)
            limit = cluster.limit_of(name)
            good &= own < limit
            print(f'{name}: {own >> 20} MiB of its own at most, limit {limit >> 20} MiB' +
                  (f', its group {group >> 20} with the page cache' if group is not None else ', no group'))
        ratio = much.p99 / again.p99
        good &= ratio <= 2 and much.errors == 0 and much.faults == 0 and calm.refused <= 0.01 * calm.sent
        print(f'p99 of what was accepted at three times the knee: {ratio:.2f} times that at the knee; '
              f'{much.ok / much.took / (again.ok / again.took):.2f} times as many answers a second')
        for example in much.examples[:3]:
            print(' ', example)
        print('good' if good else 'NOT good')
        print(f'load average of the machine: {open("/proc/loadavg").read().split()[0]}')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
