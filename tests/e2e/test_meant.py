"""Did you mean: the suggestion for unknown words against a brute-force one over the entries' words, on one shard and on
four, before and after deletes; stems in English; what is left alone; the command line."""
import random
from collections import Counter

from cluster import Cluster, check, equal, main


def distance(a, b):
    """Insertions, deletions, substitutions, swaps of neighbours; no part edited twice."""
    d = [[i + j if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            d[i][j] = min(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                d[i][j] = min(d[i][j], d[i - 2][j - 2] + 1)
    return d[-1][-1]


def frequencies(entries):
    """For headwords, other names and everything: in how many entries a word stands."""
    counts = [Counter(), Counter(), Counter()]
    for e in entries.values():
        fields = [e['headword'].split(), ' '.join(e['terms']).split()]
        fields.append(fields[0] + fields[1] + e['body'].split())
        for count, words in zip(counts, fields):
            count.update(set(words))
    return counts


def meant(word, counts):
    if word in counts[2] or len(word) < 4 or any(c.isdigit() for c in word):
        return word
    limit = 2 if len(word) > 5 else 1
    found = [(d, i == 2, -df, w) for i, count in enumerate(counts) for w, df in count.items()
             if w[0] == word[0] and (d := distance(word, w)) <= limit]
    return min(found)[3] if found else word


def misspell(rng, word):
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(1, len(word))
        word = rng.choice([word[:at] + word[at + 1:], word[:at] + rng.choice('aeiourst') + word[at:],
                           word[:at] + rng.choice('aeiourst') + word[at + 1:], word[:at] + word[at + 1:at + 2] + word[at] + word[at + 2:]])
    return word


def make_entries(rng, words):
    pick = lambda most: [words[int(rng.random() ** 2 * len(words))] for _ in range(rng.randint(0, most))]
    return {f'{rng.choice(words)} {i}': dict(sense='', terms=[' '.join(t) for t in [pick(3), pick(2)] if t], body=' '.join(pick(12)))
            for i in range(500)}


def compare(one, four, entries, queries):
    counts = frequencies(entries)
    asked = [dict(op='search', query=q, limit=1) for q in queries]
    suggested = 0
    for q, a, b in zip(queries, one.lines(asked), four.lines(asked)):
        want = ' '.join(meant(w, counts) for w in q.split())
        want = '' if want == q else want
        suggested += want != ''
        equal((a['did_you_mean'], b['did_you_mean']), (want, want), q)
    check(len(queries) / 4 < suggested < len(queries), suggested, 'of', len(queries), 'queries have a suggestion')


def is_the_nearest_word():
    rng = random.Random(8)
    syllables = ['ba', 'be', 'ri', 'so', 'ta', 'tor', 'net', 'mu', 'lin', 'os']
    words = sorted({''.join(rng.choice(syllables) for _ in range(rng.randint(2, 4))) for _ in range(400)})
    entries = {h: dict(e, headword=h) for h, e in make_entries(rng, words).items()}
    queries = [' '.join(misspell(rng, rng.choice(words)) if rng.random() < .6 else rng.choice(words)
                        for _ in range(rng.randint(1, 3))) for _ in range(300)]
    with Cluster(shards=1) as one, Cluster(shards=4) as four:
        for c in (one, four):
            c.run('collection', 'create', 'default', '--language', 'none')
            equal(c.import_entries(list(entries.values()))['failed'], 0, 'import')
        equal(len(four.json('status')['ranges']), 4, 'ranges over four shards')
        compare(one, four, entries, queries)
        gone = rng.sample(sorted(entries), len(entries) * 3 // 4)
        for c in (one, four):
            replies = c.lines([dict(op='delete', headword=h) for h in gone])
            check(all(r['outcome'] == 'deleted' for r in replies), 'deletes')
        compare(one, four, {h: e for h, e in entries.items() if h not in gone}, queries)


def keeps_the_rest_of_the_query():
    entries = [dict(headword='machine learning', terms=['statistical inference'], body='Algorithms that receive data and classify it.'),
               dict(headword='database', terms=[], body='Organised happiness, 4096 tables, a cat.')]
    examples = {
        'machin lerning': 'machin learning',  # "machin" has the stem of "machine"
        'Recieving +"machine lerning" -datebase': 'receiving +"machine learning" -datebase',
        'headword:databese OR (body:algoritm)': 'headword:database OR (body:algorithm)',
        'terms:infrence learning': 'terms:inference learning',
        'clasify': 'classify',
        'happyness': 'happiness',
        'database': '', 'cet': '', '4097tables': '', 'lern*': '', 'lerning~': '', 'zebra': '', '': '',
        'datbase zebra lerning': 'database zebra learning',
    }
    with Cluster(shards=1) as c:
        c.import_entries(entries)
        replies = c.lines([dict(op='search', query=q) for q in examples])
        for (query, want), reply in zip(examples.items(), replies):
            equal(reply['did_you_mean'], want, query)
        r = c.run('search', 'datbase', ok=(1,))
        check(b'did you mean: database' in r.err, r.err)
        equal(c.run('search', '--json', 'datbase', ok=(1,)).json['did_you_mean'], 'database', '--json')
        check('did_you_mean' not in c.json('search', 'database'), 'a suggestion for a known word')


main([is_the_nearest_word, keeps_the_rest_of_the_query])
