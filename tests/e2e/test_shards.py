"""Promise P2: one shard against four, and both against a brute-force scorer written here, independently, from the
formula in shard/score.h: same hits, same order, same scores to the last bit; also after a third of the entries was
deleted and a third replaced. Texts are reduced to lower-case words first (and the collection's language is `none`), so that this
compares ranking; analysis has its own tests. QUIRE_SAMPLE: how many arxiv documents (0 = all; default 20000)."""
import json, math, os, random, re, struct, time
from collections import Counter, defaultdict

from cluster import Cluster, check, corpus, documents, equal, main

WEIGHTS = dict(headword=3, terms=2, categories=1, body=1)  # coordinator/defaults.h
ONE = 1 << 20


def words(text):
    return re.findall(r'[a-z0-9]+', text)


def plain(text):
    return ' '.join(re.findall(r'[a-z0-9]+', text.lower()))


def norm(n):
    """norm_decode(norm_encode(n)): exact to 40, then four significant bits above 24 (Lucene's intToByte4)."""
    if n < 24:
        return n
    n -= 24
    bits = n.bit_length()
    if bits < 4:
        return 24 + n
    shift = bits - 4
    return 24 + (n >> shift << shift)


def f32(x):
    return struct.unpack('f', struct.pack('f', x))[0]


class BruteForce:
    """Every entry scored for every query, straight from the formula."""

    def __init__(self, entries, vocabulary, k1, b):
        self.k1, self.b = k1, b
        self.docs, total = [], 0
        for e in entries.values():
            fields = dict(headword=words(e['headword']), terms=[w for t in e['terms'] for w in words(t)],
                          categories=[w for t in e['categories'] for w in words(t)], body=words(e['body']))
            freq, length = Counter(), 0
            for name, tokens in fields.items():
                length += WEIGHTS[name] * len(tokens)
                for w in tokens:
                    if w in vocabulary:
                        freq[w] += WEIGHTS[name]
            length = norm(length)
            total += length
            self.docs.append((e['headword'], e['sense'], freq, length, set(e['categories'])))
        self.postings = defaultdict(list)
        for i, d in enumerate(self.docs):
            for w in d[2]:
                self.postings[w].append(i)
        self.n, self.average = len(self.docs), total / max(1, len(self.docs))
        self.total_length = total

    def norm_part(self, length):
        return f32(self.k1 * (1 - self.b + self.b * length / self.average))

    def search(self, query, every, k):
        tokens = words(query)
        score, matched = defaultdict(int), defaultdict(int)
        for t in tokens:
            df = len(self.postings[t])
            if df == 0:
                continue
            weight = math.log(1 + (self.n - df + 0.5) / (df + 0.5)) * ONE
            for i in self.postings[t]:
                f = float(self.docs[i][2][t])
                score[i] += int(weight * (f / (f + self.norm_part(self.docs[i][3]))) + 0.5)
                matched[i] += 1
        if every:
            hits = [i for i in score if matched[i] == len(tokens)]
        else:
            hits = list(score)
        order = sorted(hits, key=lambda i: (-score[i], self.docs[i][0].encode() + b'\0' + self.docs[i][1].encode()))
        facets = Counter(c for i in hits for c in self.docs[i][4])
        return [(self.docs[i][0], self.docs[i][1], score[i]) for i in order[:k]], len(hits), facets


def answers(cluster, queries, k=10):
    requests = [dict(op='search', query=q, all=every, limit=k, facets=1000) for q, every in queries]
    out = []
    for r in cluster.lines(requests):
        check(r['status'] == 0 and r['complete'], 'search failed', r)
        equal(r['total_relation'], 'eq', 'total is exact')
        out.append(([(h['headword'], h['sense'], h['score']) for h in r['hits']], r['total'],
                    {f['value']: f['count'] for f in r['facets']}))
    return out


def bounded_total(brute, query, every, total, limit, hits):
    """What is said of the number of hits when they are counted up to a limit only."""
    frequencies = [len(brute.postings[t]) for t in words(query)]
    if len(frequencies) == 1 or total <= limit:
        return total, 'eq'
    return max([limit, hits] + ([] if every else frequencies)), 'gte'


def compare_totals(name, brute, queries, expected, clusters):
    """Without facets, which count everything: the same hits; totals as far as the limit goes."""
    for limit in (0, 3, 100):
        asked = [dict(op='search', query=q, all=every, total_limit=limit) for q, every in queries]
        for cluster in clusters:
            for (q, every), (want, total, _), r in zip(queries, expected, cluster.lines(asked)):
                hits = [(h['headword'], h['sense'], h['score']) for h in r['hits']]
                equal(hits, want, f'{name}: hits of {q!r} (all={every}) with total limit {limit}')
                equal((r['total'], r['total_relation']), bounded_total(brute, q, every, total, limit or 1000, len(hits)),
                      f'{name}: total of {q!r} (all={every}) with total limit {limit}')


def compare(name, entries, queries, one, four, settings):
    vocabulary = {w for q, _ in queries for w in words(q)}
    brute = BruteForce(entries, vocabulary, *settings)
    expected = [brute.search(q, every, 10) for q, every in queries]
    before = four.json('status')['searches']
    a, b = answers(one, queries), answers(four, queries)
    for (q, every), (want, total, facets), x, y in zip(queries, expected, a, b):
        equal(x, y, f'{name}: one shard and four differ on {q!r}')
        equal(x[0], want, f'{name}: brute force differs on {q!r} (all={every})')
        equal(x[1], total, f'{name}: total of {q!r}')
        equal(x[2], dict(facets), f'{name}: facets of {q!r}')
    compare_totals(name, brute, queries, expected, (one, four))
    after = four.json('status')['searches']
    searches = {k: after[k] - before[k] for k in ('searches', 'one_round', 'outdated')}
    check(searches['one_round'] >= searches['searches'] // 2, f'{name}: most searches took one round', searches)
    print(f'{name}: {len(queries)} queries over {len(entries)} entries: hits, order, scores, totals and facets identical; '
          f"{searches['one_round']} of {searches['searches']} searches in one round, {searches['outdated']} overtaken", flush=True)


def among_searches(writes, queries):
    """Writes with searches between them: what these find is not looked at, only what they leave in caches."""
    out = []
    for i, write in enumerate(writes):
        out.append(write)
        if i % 3 == 0:
            q, every = queries[i // 3 % len(queries)]
            out.append(dict(op='search', query=q, all=every))
    return out


def both(name, entries, queries, rng):
    """Loads, compares, deletes a third and replaces a third, searching all the while, compares again, restarts, compares a
    third time."""
    with Cluster(shards=1) as one, Cluster(shards=4) as four:
        for c in (one, four):
            c.run('collection', 'create', 'default', '--language', 'none')
            r = c.import_entries(list(entries.values()))
            equal((r['new'], r['failed']), (len(entries), 0), 'import')
        equal(len(four.json('status')['ranges']), 4, 'ranges over four shards')
        settings = (one.json('collection', 'list')['collections'][0][x] for x in ('k1', 'b'))
        settings = tuple(settings)
        compare(name, entries, queries, one, four, settings)
        keys = sorted(entries)
        rng.shuffle(keys)
        third = len(keys) // 3
        gone, other = keys[:third], keys[third:2 * third]
        bodies = [entries[k]['body'] for k in other]
        rng.shuffle(bodies)
        for c in (one, four):
            deletes = [dict(op='delete', headword=entries[k]['headword'], sense=entries[k]['sense']) for k in gone]
            replies = c.lines(among_searches(deletes, queries), '--pipeline', '64')
            check(all(r['status'] == 0 and r.get('outcome', 'deleted') == 'deleted' for r in replies), 'deletes and searches')
            equal(sum('outcome' in r for r in replies), len(gone), 'deletes')
        for k in gone:
            del entries[k]
        for k, body in zip(other, bodies):
            entries[k] = dict(entries[k], body=body)
        for c in (one, four):
            equal(c.import_entries([entries[k] for k in other])['failed'], 0, 'replacing')
        compare(f'{name}, a third deleted and a third replaced', entries, queries, one, four, settings)
        for c in (one, four):
            c.down()
            c.up()
        compare(f'{name}, restarted', entries, queries, one, four, settings)
        for c in (one, four):
            equal(c.run('verify').code, 0, 'verify')


def unique(entries):
    return {(e['headword'], e['sense']): e for e in entries}


def random_corpus():
    seed = int(os.environ.get('QUIRE_SEED', str(random.randrange(1 << 31))))
    print(f'seed {seed}')
    rng = random.Random(seed)
    vocabulary = [f'w{i}' for i in range(400)]
    pick = lambda n: ' '.join(vocabulary[min(399, int(rng.paretovariate(0.6)) - 1)] for _ in range(n))
    entries = unique(dict(headword=pick(rng.randrange(1, 4)), sense=str(i % 3), terms=[pick(2) for _ in range(rng.randrange(3))],
                          categories=sorted({f'cat {rng.randrange(9)}' for _ in range(rng.randrange(3))}), body=pick(rng.randrange(120))) for i in range(3000))
    queries = [(pick(rng.randrange(1, 8)), rng.random() < 0.4) for _ in range(300)]
    both('random', entries, queries, rng)


def from_corpus(name, queries, sample):
    docs = documents(name)
    if docs is None:
        return
    rng = random.Random(7)
    if sample and len(docs) > sample:
        docs = rng.sample(docs, sample)
    entries = unique(dict(headword=plain(d['terms'][0] if d['terms'] else '') or 'untitled', sense=d['id'], terms=[],
                          categories=[plain(c) for c in d.get('category', []) if plain(c)], body=plain(d['body'])) for d in docs)
    for e in entries.values():
        e['categories'] = list(dict.fromkeys(e['categories']))
    both(name, entries, queries, rng)


def cranfield():
    path = corpus('cranfield', 'queries.tsv')
    if path:
        queries = [plain(line.split('\t', 1)[1]) for line in open(path)]
        from_corpus('cranfield', [(q, False) for q in queries] + [(' '.join(q.split()[:2]), True) for q in queries], 0)


def arxiv():
    path = corpus('queries', 'arxiv-mix.tsv')
    if path:
        mix = [line.rstrip('\n').split('\t', 1) for line in open(path)]
        chosen = [(plain(q), kind.startswith('and')) for kind, q in mix if kind in ('term', 'and', 'and3', 'or', 'or3', 'long')]
        from_corpus('arxiv200k', chosen[::4], int(os.environ.get('QUIRE_SAMPLE', '20000')))


main([random_corpus, cranfield, arxiv])
