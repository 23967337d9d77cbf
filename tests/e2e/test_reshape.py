#!/usr/bin/env python3
"""Ranges that are split and merged under load whose every answer is checked: the same answers before, during and after, to
the last bit; pages that go on over a split; retries of batches; processes that are killed meanwhile; what operators are told."""
import json, threading, time

from cluster import check, equal, main
from test_motion import ENTRIES, Growing, clean, filled, same


class Reshaping(Growing):
    def words(self):
        return [r for r in self.ranges() if r['collection'] == 'words']

    def calm(self):
        return self.at_rest() and not any(r['reshape'] for r in self.ranges())

    def reshape(self, what, range_id, *words):
        """The leader may hear a moment later than others that all is calm: it says to ask again."""
        done = self.until(f'{what} of range {range_id}', lambda: next(
            (done for done in [self.run('range', what, '--range', str(range_id), *words, ok=None)] if 'ask again' not in str(done.err)), None))
        check(done.code == 0, f'{what} of range {range_id}: exit {done.code}:', done.err)
        return done

    def split(self, range_id, *words):
        return self.reshape('split', range_id, *words)

    def merge(self, range_id, *words):
        return self.reshape('merge', range_id, *words)

    def begins(self, what):
        """With the first range; the leader may hear a moment later than others that all is calm."""
        c = self
        self.until('it begins', lambda: True if c.run('range', what, '--range', str(c.words()[0]['id']), '--no-wait',
                                                      ok=None).code == 0 else None)

    def covers(self):
        """The ranges of the collection cover the key space exactly once, as the cluster tells it."""
        ranges = self.words()
        equal([r['lo'] for r in ranges], [''] + [r['hi'] for r in ranges[:-1]], 'bounds')
        equal(ranges[-1]['hi'], '', 'the last bound')
        return ranges


class Watching:
    """Asks the same again and again: every answer is the one of before."""

    def __init__(self, c, before):
        self.c, self.before, self.count, self.wrong, self.stop = c, before, 0, None, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.stop and self.wrong is None:
                same(self.c, self.before)
                self.count += 1
        except BaseException as failure:  # told by end()
            self.wrong = failure

    def end(self):
        self.stop = True
        self.thread.join()
        if self.wrong is not None:
            raise self.wrong
        check(self.count > 0, 'nothing was asked')


def pages(c, request, cursor=None, most=10 ** 9):
    """The headwords of a search, page by page."""
    found = []
    while most > 0:
        reply = c.lines([dict(request, **(dict(cursor=cursor) if cursor else {}))], '--collection', 'words')[0]
        found += [hit['headword'] for hit in reply['hits']]
        cursor, most = reply['cursor'], most - 1
        if not cursor:
            break
    return found, cursor


def split_move_merge():
    with Reshaping() as c:
        filled(c)
        c.run('placement', 'frozen')
        before = c.answers()
        load = c.load(600)
        watching = Watching(c, before)
        whole = c.words()
        equal(len(whole), 2, 'ranges')  # as many as there are shards
        c.split(whole[0]['id'])
        ranges = c.covers()
        equal(len(ranges), 3, 'ranges')
        check(whole[0]['id'] not in [r['id'] for r in ranges], 'its id is used again')
        check(min(ranges[0]['entries'], ranges[1]['entries']) * 3 > max(ranges[0]['entries'], ranges[1]['entries']), 'halves', ranges)
        c.split(ranges[2]['id'], '--at', 'needle')
        ranges = c.covers()
        check('needle' in [r['lo'] for r in ranges], 'split where it was asked for', ranges)
        c.start_shard(2)
        c.until('it is there', lambda: c.node(2))
        first = c.covers()[0]
        c.run('range', 'move', '--range', str(first['id']), '--from', first['replicas'][0]['node'])
        c.until('it has moved', lambda: True if c.calm() and c.on(2) == 1 else None)
        while len(c.covers()) > 1:  # the moved one first: its neighbour follows it
            c.merge(c.covers()[0]['id'])
        c.until('all replicas are in sync', lambda: True if c.calm() else None)
        watching.end()
        clean(load)
        same(c, before)
        report = c.json('verify', '--replicas')
        equal(report['problems'], [], 'verify')
        c.until('the shards tell of every entry', lambda: True if c.words()[0]['entries'] == len(ENTRIES) else None)


def pages_over_a_split():
    with Reshaping() as c:
        filled(c)
        request = dict(op='search', query='anchor bridge candle', limit=7)
        want, _ = pages(c, request)
        begun, cursor = pages(c, request, most=2)
        browsed = [e['headword'] for e in c.json('browse', '-c', 'words', '--per-page', '100')['entries']]
        c.split(c.words()[0]['id'])
        c.split(c.words()[1]['id'])
        middle, cursor = pages(c, request, cursor, most=2)
        c.merge(c.words()[0]['id'])
        rest, _ = pages(c, request, cursor)
        equal(begun + middle + rest, want, 'pages that go on over splits and a merge')
        equal([e['headword'] for e in c.json('browse', '-c', 'words', '--per-page', '100')['entries']], browsed, 'browsing')


def killed_meanwhile():
    with Reshaping() as c:
        filled(c)
        c.run('placement', 'frozen')
        before = c.answers()
        for victim in (0, 1):
            c.begins('split')
            time.sleep(0.05 * victim)
            c.kill(f'shard{victim}')
            c.until('answers go on', lambda: True if c.run('search', '-c', 'words', 'anchor', ok=None).code == 0 else None)
            c.start_shard(victim)
            c.until('it is done, or given up', lambda: True if c.calm() else None)
            same(c, before)
            c.covers()
        while len(c.words()) > 1:
            c.begins('merge')
            c.kill('shard1')
            c.start_shard(1)
            c.until('it is done, or given up', lambda: True if c.calm() else None)
            same(c, before)
            if len(c.covers()) > 1:
                c.begins('merge')
                c.until('it is done, or given up', lambda: True if c.calm() else None)
        equal(c.json('verify', '--replicas')['problems'], [], 'verify')
        for name in ('shard0', 'shard1'):  # everything at once, with what was cut and joined
            c.kill(name)
        for i in (0, 1):
            c.start_shard(i)
        c.until('all is back', lambda: True if c.calm() else None)
        same(c, before)


def refused():
    with Reshaping() as c:
        filled(c)
        c.run('collection', 'create', 'single')
        c.import_entries([dict(headword='one'), dict(headword='one', sense='two')], collection='single')
        first, last = c.words()[0], c.words()[-1]
        single = next(r for r in c.ranges() if r['collection'] == 'single')
        for words, sentence in ((['split', '--range', '999'], 'there is no range 999'),
                                (['split', '--range', str(last['id']), '--at', 'a'], 'not within its bounds'),
                                (['split', '--range', str(single['id'])], 'entries of one key'),
                                (['split'], '--range'), (['merge'], '--range'),
                                (['merge', '--range', str(last['id'])], 'has no neighbour on the right')):
            failed = c.run('range', *words, ok=(1, 2))
            check(sentence in failed.err.decode(), words, failed.err)
        done = json.loads(c.run('range', 'split', '--range', str(first['id']), '--json').out)
        equal(done, dict(split=first['id'], done=True), 'told')


if __name__ == '__main__':
    main([split_move_merge, pages_over_a_split, killed_meanwhile, refused])
