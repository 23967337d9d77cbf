#!/usr/bin/env python3
"""Every replica of a range that has all of it is gone for good: nothing happens by itself; `quire recover` tells what
is known and what would be lost, and does it only when it is told to. Once with a replica that was behind, once empty."""
import json, os, shutil, time

from cluster import check, equal, free_ports
from test_coordinators import Three


class Shards(Three):
    """One coordinator, three shards, two replicas."""

    def __init__(self):
        super().__init__()
        self.shard_ports = [free_ports(1) for _ in range(3)]
        self.urls = self.urls[:1]
        self.env['QUIRE_CONNECT'] = self.urls[0]

    def up(self):
        self.start_coordinator(0)
        for i in range(3):
            self.start_shard(i)

    def address(self, i):
        return f'tcp://127.0.0.1:{self.shard_ports[i]}'

    def status(self):
        done = self.run('status', '--json', ok=None)
        return json.loads(done.out) if done.out else {'nodes': [], 'ranges': []}

    def shard_of(self, node):
        """The number of a shard by its node id."""
        address = next(n['address'] for n in self.status()['nodes'] if n['id'] == node)
        return next(i for i in range(3) if self.address(i) == address)

    def the_range(self, collection):
        return next(r for r in self.status()['ranges'] if r['collection'] == collection)

    def put(self, collection, *headwords):
        path = os.path.join(self.dir, 'entries.jsonl')
        with open(path, 'w') as file:
            for word in headwords:
                file.write(json.dumps({'headword': word, 'body': f'about {word}'}) + '\n')
        self.until(f'write {headwords}', lambda: True if
                   self.run('import', '-c', collection, '--replicas', '2', path, ok=None).code == 0 else None)

    def has(self, collection, headword):
        return self.run('get', '-c', collection, headword, ok=None).code == 0

    def in_sync(self, collection, count):
        return self.until(f'{count} replicas in sync', lambda: r if
                          len((r := self.the_range(collection))['in_sync']) == count and r['state'] == 'serving' else None)

    def lost(self):
        """What `quire recover` lists, once it says that something is lost."""
        def attempt():
            done = self.run('recover', ok=None)
            return done.out.decode() if done.code == 1 and b'none of the replicas' in done.out else None
        return self.until('a lost range is listed', attempt)


def with_a_replica_that_was_behind(cluster):
    cluster.put('words', 'early')
    now = cluster.in_sync('words', 2)
    primary = cluster.shard_of(now['primary'])
    other = cluster.shard_of(next(n for n in now['in_sync'] if n != now['primary']))
    refused = cluster.run('recover', '--range', str(now['id']), '--empty', '--force', ok=None)
    check(refused.code != 0 and b'nothing has to be given up' in refused.err, refused.err)
    cluster.kill(f'shard{other}')
    cluster.put('words', 'late')  # without it, which becomes a learner
    behind = next(r['node'] for r in cluster.the_range('words')['replicas'] if r['node'] != now['primary'])
    cluster.kill(f'shard{primary}')
    shutil.rmtree(os.path.join(cluster.data, f'shard{primary}'))
    cluster.start_shard(other)
    told = cluster.lost()
    check('in sync: gone' in told, told)
    told = cluster.until('the learner is open', lambda: t if f'--node {behind}' in (t := cluster.lost()) else None)
    check(not cluster.has('words', 'early'), 'a replica that is not in sync answers')
    words = ['recover', '--range', str(now['id']), '--node', behind]
    told = cluster.run(*words, ok=(1,))
    check(b'lost: ' in told.out and b'nothing was changed' in told.err, told.out, told.err)
    check(not cluster.has('words', 'early'), 'it was only to be told')
    done = cluster.run(*words, '--force')
    check(b'done' in done.out, done.out)
    cluster.until('what the replica had is there', lambda: cluster.has('words', 'early') or None)
    check(not cluster.has('words', 'late'), 'what was lost is there')
    cluster.put('words', 'later')
    cluster.in_sync('words', 2)  # made anew on the third shard
    check(cluster.has('words', 'early') and cluster.has('words', 'later'), 'entries afterwards')
    cluster.start_shard(primary)  # on an empty folder: another node
    cluster.until('the new shard is there', lambda: True if
                  sum(n['alive'] for n in cluster.status()['nodes']) == 3 else None)


def empty(cluster):
    cluster.put('other', 'entry 0')  # first, so that the rest stays in one range
    cluster.put('other', *[f'entry {i}' for i in range(1, 20)])
    now = cluster.in_sync('other', 2)
    cluster.until('the replicas have told of all', lambda: True if
                  all(r['committed_seq'] >= 20 for r in cluster.the_range('other')['replicas']) else None)
    gone = [cluster.shard_of(n) for n in now['in_sync']]
    for i in gone:
        cluster.kill(f'shard{i}')
    told = cluster.lost()
    check(f"range {now['id']} of collection other" in told and '--empty' in told, told)
    told = cluster.run('recover', '--range', str(now['id']), '--empty', ok=(1,)).out.decode()
    check('lost: all entries of the range, 20 when they were last told' in told, told)
    cluster.run('recover', '--range', str(now['id']), '--empty', '--force')
    cluster.put('other', 'new')
    check(cluster.has('other', 'new') and not cluster.has('other', 'entry 3'), 'the range did not begin empty')
    for i in gone:  # they come back after all: what they have of it is dropped
        cluster.start_shard(i)
    cluster.in_sync('other', 2)
    check(cluster.has('other', 'new') and not cluster.has('other', 'entry 3'), 'what was given up came back')
    equal(cluster.run('verify', '-c', 'other', ok=None).code, 0, 'verify')


def main():
    with Shards() as cluster:
        cluster.until('three shards', lambda: True if
                      sum(n['alive'] for n in cluster.status()['nodes']) == 3 else None)
        equal(cluster.run('recover').code, 0, 'nothing to recover')
        with_a_replica_that_was_behind(cluster)
        empty(cluster)
    print('ok')


if __name__ == '__main__':
    main()
