"""Real dictionaries straight from Debian's dictd databases, and 200,000 abstracts: no failed entry, everything there
afterwards. Counts are taken from the database files here, not from the importer. Prints entries a second."""
import gzip, json, os, random

from cluster import Cluster, check, corpus, equal, main

DICTD = '/usr/share/dictd'
ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'


def number(text):
    n = 0
    for c in text:
        n = n * 64 + ALPHABET.index(c)
    return n


def database(name):
    """[(index word, body)] of a dictd database, by an independent reader; None when it is not installed."""
    index = os.path.join(DICTD, name + '.index')
    if not os.path.exists(index):
        print(f'SKIP: {index} is not installed (package dict-{name})')
        return None
    text = gzip.open(os.path.join(DICTD, name + '.dict.dz')).read()
    rows, about = [], set()
    for line in open(index, 'rb').read().splitlines():
        word, start, size = line.split(b'\t')[:3]
        at, length = number(start.decode()), number(size.decode())
        if word.startswith((b'00-database', b'00database')):
            about.add((at, length))  # what the database says of itself, under other words too
        rows.append((word, (at, length, text[at:at + length])))
    return [(word, place) for word, place in rows if place[:2] not in about]


def report(name, r):
    print(f'{name}: read {r["read"]}, {r.get("entries_per_second", 0):.0f} entries/s', flush=True)


def dictd():
    rng = random.Random(11)
    with Cluster(shards=3) as c:
        for name, expect in (('wn', 147306), ('gcide', 126236), ('foldoc', None)):
            rows = database(name)
            if rows is None:
                continue
            bodies = {place[:2] for _, place in rows}
            r = c.json('import', '-c', name, os.path.join(DICTD, name + '.index'), timeout=900)
            report(name, r)
            equal((r['read'], r['failed']), (len(bodies), 0), name)
            check(expect is None or r['read'] == expect, f'{name}: {r["read"]} entries, the package has {expect}')
            stored = sum(1 for _ in c.run('export', '-c', name).out.splitlines())
            equal(stored, r['new'], f'{name}: exported')
            for word, (_, _, body) in rng.sample(rows, 60):
                word = word.decode()
                if not any(ch.isalnum() for ch in word):
                    continue
                found = c.run('define', '--json', '-c', name, word, ok=None)
                check(found.code == 0, f'{name}: define {word!r}: exit {found.code}')
                lines = body.decode('utf-8', 'replace').strip().split('\n')
                tail = ' '.join(' '.join(lines[1:] or lines).split())[-30:]  # the first line is the headword's
                check(any(tail in ' '.join(e['body'].split()) for e in found.json['entries']), f'{name}: {word!r} has another body')
            equal(c.json('import', '-c', name, os.path.join(DICTD, name + '.index'), timeout=900)['new'], 0, f'{name} again')
        equal(c.run('verify', timeout=900).code, 0, 'verify')


def arxiv():
    path = corpus('arxiv200k', 'docs.jsonl.zst')
    if path:
        with Cluster(shards=3) as c:
            r = c.json('import', path, timeout=900)
            report('arxiv200k', r)
            equal((r['read'], r['failed']), (200000, 0), 'arxiv200k')
            status = c.json('status')
            equal(sum(x['entries'] for x in status['ranges']), r['new'], 'entries in status')
            sizes = sorted(x['entries'] for x in status['ranges'])
            check(len(sizes) == 3 and sizes[-1] < 2 * sizes[0], 'ranges are cut by the data:', sizes)
            hits = c.json('search', '-n', '3', 'graph neural network')['hits']
            equal(len(hits), 3, 'hits')


main([dictd, arxiv])
