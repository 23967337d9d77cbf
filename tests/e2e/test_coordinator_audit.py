#!/usr/bin/env python3
"""What was acknowledged is there: three coordinators under a stream of changes of the map, of which the one that leads
(mostly) is killed again and again, two at a time now and then, and whose disks fill up. Afterwards every coordinator
has every change that was acknowledged, and no other order: what one client was told later has a higher id.

    test_coordinator_audit.py [--long] [--kills N] [--seed S]

8 kills; --long: 100. Full disks need to mount a tmpfs, and are left out where that is not allowed.
"""
import argparse, json, os, random, subprocess, sys, threading, time

from cluster import Failed, check, equal
from test_coordinators import Three

TMPFS_MIB = 120  # the coordinator wants 64 MiB free for a change


class Writer(threading.Thread):
    """Creates and drops collections, one after the other. A change that failed may have happened or not: it is
    repeated until it is known."""

    def __init__(self, cluster, name, seed):
        super().__init__()
        self.cluster, self.name_, self.random = cluster, name, random.Random(seed)
        self.stop, self.wrong = False, None
        self.present, self.dropped, self.retried, self.acknowledged = [], [], 0, 0

    def change(self, *words, done):
        """`done`: what it says of a repeated change that had happened before."""
        again = False
        until = time.monotonic() + 120
        while True:
            result = self.cluster.run('collection', *words, ok=None)
            if result.code == 0:
                return
            check(not (done in result.err and not again), 'a first attempt was answered with:', result.err)
            if done in result.err:
                return
            check(time.monotonic() < until, 'no change for 120 s:', result.err)
            again = True
            self.retried += 1

    def run(self):
        try:
            number = 0
            while not self.stop:
                if len(self.present) > 12:
                    name = self.present.pop(self.random.randrange(len(self.present)))
                    self.dropped.append(name)
                    self.change('drop', name, done=b'there is no collection')
                else:
                    name = f'{self.name_}-{number}'
                    number += 1
                    self.change('create', name, done=b'exists already')
                    self.present.append(name)
                self.acknowledged += 1
        except Exception as e:
            self.wrong = e


class Audit(Three):
    def __init__(self, seed):
        super().__init__()
        self.random, self.kills, self.mounts = random.Random(seed), 0, []

    def __exit__(self, kind, value, trace):
        try:
            for name in list(self.started):
                self.kill(name)
        finally:
            for path in self.mounts:
                subprocess.run(['umount', '-l', path])
            super().__exit__(kind, value, trace)

    def leader(self):
        for i in self.random.sample(range(3), 3):
            if f'coordinator{i}' not in self.started:
                continue
            done = self.at(i, 'coordinator', 'list', '--json', ok=None)
            for one in json.loads(done.out)['coordinators'] if done.code == 0 else []:
                if one['leader']:
                    return self.urls.index(one['url'])
        return None

    def kill_and_restart(self):
        leader = self.until('a leader', self.leader)
        victims = [leader if self.random.random() < 0.8 else self.random.randrange(3)]
        if self.random.random() < 0.15:
            victims.append((victims[0] + 1) % 3)
        for i in victims:
            self.kill(f'coordinator{i}')
            self.kills += 1
        time.sleep(self.random.choice([0, 0.2, 1.0]))
        for i in victims:
            self.start_coordinator(i)
        time.sleep(self.random.choice([0.2, 0.6, 1.5]))

    def collections(self, i):
        """Each with the id of its only range: ids are given in the order of the changes."""
        done = self.at(i, 'status', '--json', ok=None)
        return {r['collection']: r['id'] for r in json.loads(done.out)['ranges']} if done.out else None

    def audit(self, writers):
        """Once the writers rest: every coordinator has the same, and that is what they were told."""
        want = sorted(name for w in writers for name in w.present)
        for i in range(3):
            found = self.until(f'coordinator {i} has all that was acknowledged',
                               lambda: c if (c := self.collections(i)) is not None and sorted(c) == want else None)
            for w in writers:
                ids = [found[name] for name in sorted(w.present, key=lambda n: int(n.rsplit('-', 1)[1]))]
                equal(ids, sorted(ids), f'order of the changes of {w.name_} at coordinator {i}')

    def fill(self, path):
        """Fills a small disk to the last byte; the file that does it."""
        ballast = os.path.join(path, 'ballast')
        with open(ballast, 'wb', buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
        return ballast

    def full_disk(self):
        """The disk of one after the other is full for a while; it may end of it, but it loses nothing."""
        for i in range(3):
            name = f'coordinator{i}'
            ballast = self.fill(os.path.join(self.data, name))
            time.sleep(1.5)
            os.unlink(ballast)
            if name in self.started and self.started[name].poll() is not None:
                print(f'{name} ended with its disk full')
                self.started.pop(name)
                self.start_coordinator(i)
            self.until('a leader after a full disk', self.leader)


def mount(cluster):
    for i in range(3):
        path = os.path.join(cluster.data, f'coordinator{i}')
        os.makedirs(path)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={TMPFS_MIB}m', 'tmpfs', path],
                          capture_output=True).returncode != 0:
            return False
        cluster.mounts.append(path)
    return True


def phase(cluster, seed, work):
    """Runs work() under a stream of changes, then audits."""
    writers = [Writer(cluster, f'{seed}-{w}', f'{seed}-{w}') for w in range(2)]
    for w in writers:
        w.start()
    try:
        work(writers)
    finally:
        for w in writers:
            w.stop = True
        for w in writers:
            w.join()
    for w in writers:
        if w.wrong is not None:
            raise w.wrong
    cluster.audit(writers)
    for w in writers:
        for name in w.present:
            cluster.until(f'drop {name}',
                          lambda: True if cluster.run('collection', 'drop', name, ok=None).code == 0 or
                          name not in (cluster.collections(0) or [name]) else None)
    acknowledged, retried = sum(w.acknowledged for w in writers), sum(w.retried for w in writers)
    print(f'{cluster.kills} kills; {acknowledged} changes acknowledged, {retried} attempts repeated: all there', flush=True)
    check(acknowledged > 0, 'nothing was acknowledged')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--long', action='store_true')
    parser.add_argument('--kills', type=int)
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    kills = options.kills or (100 if options.long else 8)
    print(f'seed {options.seed}')
    cluster = Audit(options.seed)
    with_disks = mount(cluster)
    if not with_disks:
        print('no tmpfs can be mounted here: full disks are left out')
    with cluster:
        cluster.until('it serves', lambda: cluster.collections(0) is not None or None)
        cluster.create(0, 'first')
        cluster.run('collection', 'drop', 'first')

        def some_kills(writers):
            goal = cluster.kills + min(10, kills - cluster.kills)
            while cluster.kills < goal and not any(w.wrong for w in writers):
                cluster.kill_and_restart()

        while cluster.kills < kills:
            phase(cluster, f'k{cluster.kills}', some_kills)
        if with_disks:
            phase(cluster, 'disk', lambda writers: cluster.full_disk())
    print('ok')


if __name__ == '__main__':
    main()
