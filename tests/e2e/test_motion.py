#!/usr/bin/env python3
"""Replicas on the move: a cluster that grows from two shards to five and is drained back to two, and moves by request,
all under load whose every answer is checked; what operators are told; the placement switch."""
import json, os, subprocess, time

from cluster import BUILD, check, equal, free_ports, main
from test_coordinators import Three

LOAD = os.path.join(BUILD, 'client', 'quire-load')
WORDS = 'anchor bridge candle desert engine forest garden harbor island jungle kettle ladder meadow needle orchid'.split()
ENTRIES = [dict(headword=f'{a} {b}', body=f'{a} of {b} and {WORDS[(i + j) % 15]}', categories=[WORDS[(3 * i + j) % 15]])
           for i, a in enumerate(WORDS) for j, b in enumerate(WORDS)]
SAME = [dict(op='search', query='anchor bridge', limit=20), dict(op='search', query='"garden and"', limit=50),
        dict(op='define', term='garden needle'), dict(op='search', query='category:desert harbor', limit=10)]


class Growing(Three):
    """Three coordinators, two shards; more of them on request."""

    def __init__(self):
        super().__init__()
        self.shard_ports += [free_ports(1) for _ in range(3)]

    def up(self):
        super().up()
        self.until('two shards are there', lambda: True if len(self.nodes()) == 2 else None)

    def url(self, i):
        return f'tcp://127.0.0.1:{self.shard_ports[i]}'

    def nodes(self):
        done = self.run('node', 'list', '--json', ok=None)
        return json.loads(done.out)['nodes'] if done.code == 0 else []

    def node(self, i):
        return next((n for n in self.nodes() if n['url'] == self.url(i)), None)

    def ranges(self):
        return json.loads(self.run('range', 'list', '--json').out)['ranges']

    def first(self):
        return next(r for r in self.ranges() if r['collection'] == 'words')

    def on(self, i):
        """How many replicas a shard has."""
        node = self.node(i)
        return node['replicas'] if node else 0

    def at_rest(self):
        """As many replicas of each range as are wanted, in sync, none on the move."""
        return all(len(r['replicas']) == r['replicas_wanted'] and all(p['role'] != 'learner' and p['state'] == 'serving' and not p['leaving']
                                                   for p in r['replicas']) for r in self.ranges())

    def load(self, seconds):
        before = len(self.ranges())
        process = subprocess.Popen([LOAD, '--connect', self.env['QUIRE_CONNECT'], '--quiet', '--json', '-', '--no-errors',
                                 '--rate', '150', '--duration', str(seconds), '--seed', '5', '-c', 'words'],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.until('the load has made its own collection', lambda: True if len(self.ranges()) > before else None)
        return process

    def answers(self):
        replies = self.lines(SAME, '--collection', 'words')
        for reply in replies:
            reply.pop('took_us', None)
        return json.dumps(replies, sort_keys=True)


def same(c, before):
    """Hits, scores, order, totals and cursors to the last bit."""
    now = c.answers()
    at = next((i for i, (a, b) in enumerate(zip(now, before)) if a != b), None)
    check(now == before, 'other answers than before:', now[at:][:300] if at is not None else '')


def clean(process):
    """Ends the load; not one answer may have been wrong, stale, missing or an error."""
    process.terminate()
    out, err = process.communicate(timeout=120)
    report = json.loads(out)
    equal(report['faults'], dict(lost=0, stale=0, duplicate=0, wrong=0, incomplete=0), report['examples'])
    equal(report['errors'], 0, report['examples'])
    check(sum(k['ok'] for k in report['kinds'].values()) > 300, 'answered', report['kinds'])
    return report


def filled(c):
    c.run('collection', 'create', 'words', '--replicas', '2')
    c.import_entries(ENTRIES, collection='words')
    c.run('collection', 'create', 'hollow', '--replicas', '2')  # without an entry: its range moves as well
    c.until('every range is in sync', lambda: True if c.at_rest() else None)


def grow_and_shrink():
    with Growing() as c:
        filled(c)
        c.run('placement', 'lively')
        before = c.answers()
        load = c.load(600)
        for i in (2, 3, 4):
            c.start_shard(i)
        c.until('the new shards are given ranges',
                lambda: True if all(c.on(i) > 0 for i in range(5)) and c.at_rest() else None)
        same(c, before)
        for i in (0, 2, 4):
            c.run('node', 'drain', c.url(i))
            equal(c.on(i), 0, 'replicas on a drained shard')
        c.until('two shards have all', lambda: True if c.at_rest() else None)
        same(c, before)
        for i in (0, 2, 4):  # they may go: nobody misses them
            equal(c.run('node', 'remove', c.url(i), ok=None).code, 1, 'one that runs is not removed')
            c.kill(f'shard{i}')
        for i in (0, 2, 4):
            c.until('the cluster forgets it', lambda: True if c.run('node', 'remove', c.url(i), ok=None).code == 0 else None)
        clean(load)
        equal(sorted(n['url'] for n in c.nodes()), sorted([c.url(1), c.url(3)]), 'shards')
        same(c, before)
        equal(c.json('verify')['problems'], [], 'verify')


def move_by_request():
    with Growing() as c:
        filled(c)
        c.run('placement', 'frozen')
        equal(json.loads(c.run('placement', '--json').out), dict(placement='frozen'))
        before = c.answers()
        load = c.load(600)
        c.start_shard(2)
        c.until('it is there', lambda: c.node(2))
        time.sleep(1)
        equal(c.on(2), 0, 'nothing moves by itself')
        first = c.first()
        for replica in first['replicas']:  # the primary first; then the other one back to where that was
            c.run('range', 'move', '--range', str(first['id']), '--from', replica['node'])
            c.until('it has moved', lambda: True if c.at_rest() and
                    replica['node'] not in [r['node'] for r in c.first()['replicas']] else None)
            same(c, before)
        clean(load)
        for words, sentence in ((['--range', '999', '--from', c.url(0)], 'there is no range 999'),
                                (['--range', str(first['id']), '--from', 'tcp://10.9.9.9:1'], 'the cluster has no shard'),
                                (['--range', str(first['id'])], '--from')):
            failed = c.run('range', 'move', *words, ok=(1, 2))
            check(sentence in failed.err.decode(), words, failed.err)
        equal(c.run('placement', 'sideways', ok=None).code, 2, 'usage')
        equal(c.run('node', 'drain', 'tcp://10.9.9.9:1', ok=None).code, 1, 'unknown shard')


def drain_waits_for_room():
    with Growing() as c:
        filled(c)
        c.run('node', 'drain', '--no-wait', c.url(0))
        c.until('it leads nothing', lambda: True if c.node(0)['primaries'] == 0 else None)
        equal(c.on(0), len(c.ranges()), 'with nowhere to go, replicas stay')
        c.start_shard(2)
        c.run('node', 'drain', c.url(0))
        equal(c.on(0), 0, 'replicas')
        c.run('collection', 'create', 'late', '--replicas', '2')
        equal(c.on(0), 0, 'new ranges go elsewhere')
        c.run('node', 'undrain', c.url(0))
        equal(c.node(0)['draining'], False, 'undrained')


if __name__ == '__main__':
    main([grow_and_shrink, move_by_request, drain_waits_for_room])
