#!/usr/bin/env python3
"""Three coordinators: any of them answers, a change of the map may be sent to any of them, one of them may be killed,
and without a majority queries go on while changes fail with a clear sentence. What was acknowledged is there after
everything was killed and started anew."""
import json, os, signal, subprocess, time

from cluster import BUILD, Cluster, Failed, check, equal, free_ports


class Three(Cluster):
    """Processes started one by one, since `quire up` starts one coordinator."""

    def __init__(self):
        super().__init__(shards=2)
        self.ports = [free_ports(1) for _ in range(3)]
        self.shard_ports = [free_ports(1) for _ in range(2)]
        self.started = {}
        self.urls = [f'tcp://127.0.0.1:{port}' for port in self.ports]
        self.env['QUIRE_CONNECT'] = ','.join(self.urls)
        os.makedirs(os.path.join(self.data, 'log'))

    def start(self, name, program, *words):
        log = open(os.path.join(self.data, 'log', name + '.log'), 'ab')
        self.started[name] = subprocess.Popen([os.path.join(BUILD, program), '--dir', os.path.join(self.data, name), *words],
                                              stdout=log, stderr=log)

    def start_coordinator(self, i, join=None):
        words = ['--listen', self.urls[i]] + (['--join', self.urls[join]] if join is not None else [])
        self.start(f'coordinator{i}', 'coordinator/quire-coordinator', *words)

    def start_shard(self, i):
        self.start(f'shard{i}', 'shard/quire-shard', '--listen', f'tcp://127.0.0.1:{self.shard_ports[i]}',
                   '--coordinators', ','.join(self.urls))

    def kill(self, name, number=signal.SIGKILL):
        process = self.started.pop(name)
        process.send_signal(number)
        process.wait()

    def up(self):
        self.start_coordinator(0)
        self.start_coordinator(1, join=0)
        self.start_coordinator(2, join=1)  # by a follower, maybe
        for i in range(2):
            self.start_shard(i)

    def __exit__(self, kind, value, trace):
        for name in list(self.started):
            self.kill(name, signal.SIGTERM if kind is None else signal.SIGKILL)
        super().__exit__(kind, value, trace)

    def at(self, i, *words, ok=(0,)):
        return self.run('--connect', self.urls[i], *words, ok=ok)

    def until(self, what, attempt):
        """Repeats an attempt that may fail for a while; the bound only ends a test that hangs."""
        until = time.monotonic() + 60
        while True:
            done = attempt()
            if done is not None:
                return done
            if time.monotonic() > until:
                raise Failed(f'{what}: did not happen')
            time.sleep(0.1)

    def create(self, i, name):
        self.until(f'create {name} at coordinator {i}',
                   lambda: True if self.at(i, 'collection', 'create', name, ok=None).code == 0 else
                   (True if name in self.names(i) else None))

    def names(self, i):
        done = self.at(i, 'collection', 'list', '--json', ok=None)
        return [] if done.code != 0 else [c['name'] for c in json.loads(done.out)['collections']]


def everywhere(cluster, names, who=(0, 1, 2)):
    for i in who:
        cluster.until(f'coordinator {i} has {names}',
                      lambda: True if set(names) <= set(cluster.names(i)) else None)


def own_changes(cluster):
    """Whoever hands a change on to the leader knows of it before he says that it was made."""
    for n in range(30):
        i = n % 3
        cluster.at(i, 'collection', 'create', 'for-a-moment')
        check('for-a-moment' in cluster.names(i), f'coordinator {i} does not know what it was told to create')
        cluster.at(i, 'collection', 'drop', 'for-a-moment')
        check('for-a-moment' not in cluster.names(i), f'coordinator {i} does not know what it was told to drop')


def main():
    with Three() as cluster:
        entries = os.path.join(cluster.dir, 'entries.jsonl')
        with open(entries, 'w') as file:
            for i in range(200):
                file.write(json.dumps({'headword': f'entry {i}', 'body': f'letter number {i}'}) + '\n')
        for i in range(3):
            cluster.until(f'coordinator {i} serves', lambda: True if cluster.at(i, 'status', ok=None).code == 0 else None)
            cluster.create(i, f'made-by-{i}')
        everywhere(cluster, [f'made-by-{i}' for i in range(3)])
        own_changes(cluster)
        done = cluster.run('import', '-c', 'made-by-1', '--json', entries)
        equal(json.loads(done.out)['failed'], 0, 'failed entries')

        def answers(i):
            done = cluster.at(i, 'search', '-c', 'made-by-1', '--json', 'letter 7', ok=None)
            if done.code != 0:
                return None
            found = json.loads(done.out)
            return [(hit['headword'], hit['score']) for hit in found['hits']]

        same = [cluster.until(f'search at {i}', lambda: answers(i)) for i in range(3)]
        check(len(same[0]) > 1, 'no hits')
        check(same[0] == same[1] == same[2], 'coordinators answer differently:', same)

        # Each in turn is killed; the others take changes, and it has them when it is back.
        for i in range(3):
            cluster.kill(f'coordinator{i}')
            others = [j for j in range(3) if j != i]
            for j in others:
                cluster.create(j, f'without-{i}-at-{j}')
                equal(cluster.until('search', lambda: answers(j)), same[0], f'without coordinator {i}, at {j}')
            cluster.start_coordinator(i)
            everywhere(cluster, [f'without-{i}-at-{j}' for j in others])

        # Without a majority: queries go on, changes are refused.
        cluster.kill('coordinator0')
        cluster.kill('coordinator1')

        def refused():
            done = cluster.at(2, 'collection', 'create', 'never', ok=None)
            check(done.code != 0, 'a change without a majority was taken')
            return True if b'without a majority of the coordinators' in done.err else None

        cluster.until('a clear refusal', refused)
        equal(answers(2), same[0], 'search without a majority')
        # Nor does a start need one: the map of the last run is there.
        known = sorted(cluster.names(2))
        cluster.kill('coordinator2')
        cluster.start_coordinator(2)
        cluster.until('an answer without a majority after a restart', lambda: True if answers(2) == same[0] else None)
        equal(sorted(cluster.names(2)), known, 'the collections without a majority')
        cluster.until('a clear refusal', refused)
        cluster.start_coordinator(0)
        cluster.create(0, 'again')
        cluster.start_coordinator(1)
        everywhere(cluster, ['again'])
        check('never' not in cluster.names(0), 'a change that was refused has happened')

        # Everything at once.
        before = sorted(cluster.names(0))
        for name in list(cluster.started):
            cluster.kill(name)
        for i in range(3):
            cluster.start_coordinator(i)
        for i in range(2):
            cluster.start_shard(i)
        for i in range(3):
            cluster.until(f'coordinator {i} is back', lambda: True if sorted(cluster.names(i)) == before else None)
            cluster.until(f'search at {i}', lambda: True if answers(i) == same[0] else None)
    print('ok')


if __name__ == '__main__':
    main()
