"""Pruning changes nothing: the same hits and scores whether a search may leave out what cannot be among the best, or
scores every match; and whether documents are numbered by arrival or by category.

    QUIRE_BUILD=.build/release python3 tests/bench/same_top.py [--whole]

Asks quire-engine (compare) the queries of arxiv-mix, search-benchmark-game and msmarco-passage-dev, over abstracts in several
segments, over the same with every third one deleted, and after merging these to one segment. Then the same of a range that merged by
category, and there also with a category required or as a filter: the hits are those of the first. Without --whole: 20,000 abstracts
and every fourth query.
"""
import os, re, subprocess, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
from cluster import BUILD, corpus, documents

ENGINE = os.path.join(BUILD, 'tests', 'quire-engine')
WORD = re.compile(r'[^\W_]+')
SPACE = re.compile(r'[\x00-\x20\x7f\x85\u2028\u2029]+')
SAMPLE_DOCUMENTS, SAMPLE_EVERY = 20000, 4
LIMITS = '1', '10', '100'
CATEGORIES = 'physics.atom-ph', 'cond-mat.other', 'quant-ph', 'cond-mat.mtrl-sci', 'nlin.CD', 'hep-th', 'math.AG', 'cs.LG'


def words(text):
    return WORD.findall(text.lower())


def normal_operand(sign, quoted, word):
    found = words(quoted or word)
    if len(found) > 1 or quoted:
        return sign + '"' + ' '.join(found) + '"'
    return sign + found[0] if found else ''


def normal_query(text):
    """Signs and quotes stay, words become lower-case letters and digits (as tools/queries.py of the peers' harness does)."""
    return ' '.join(filter(None, (normal_operand(*part) for part in re.findall(r'([+-]?)(?:"([^"]*)"|(\S+))', text))))


def queries(name, normal):
    path = corpus('queries', name + '.tsv')
    if path is None:
        return []
    with open(path, encoding='utf-8') as file:
        return [q for q in (normal(line.rstrip('\n').split('\t', 1)[1]) for line in file) if q]


def engine(*arguments, lines=None):
    run = subprocess.run([ENGINE, *arguments], input=lines, stdout=subprocess.PIPE, text=True)
    print('$ quire-engine', *arguments[:-1 if 'index' in arguments else None])
    print(run.stdout.rstrip('\n'), flush=True)
    if run.returncode:
        sys.exit('failed')


def write_documents(path, entries):
    """What `quire-engine index` reads."""
    with open(path, 'w', encoding='utf-8') as file:
        for number, entry in enumerate(entries, 1):
            text = '\n'.join([*entry['terms'][:1], entry['body']])
            fields = str(number), SPACE.sub('_', entry['id']), SPACE.sub(' ', text).strip(), '|'.join(entry['category'])
            file.write('\t'.join(fields) + '\n')


def hits(index, lines):
    """For each line: the exact count, and the best ten as line numbers of the documents."""
    run = subprocess.run([ENGINE, 'query', index, 'exact'], input=lines, stdout=subprocess.PIPE, text=True, env={**os.environ, 'PEERS_IDS': '1'})
    if run.returncode:
        sys.exit('failed')
    return [(count, *best) for count, _, *best in (line.split('\t') for line in run.stdout.splitlines())]


def with_categories(asked):
    """Each query as it is, or with one of some categories as a filter, or with one required."""
    for number, query in enumerate(asked):
        category = CATEGORIES[number // 3 % len(CATEGORIES)]
        yield (query, query + '\t' + category, '+category:"%s" +(%s)' % (category, query))[number % 3]


def compare_orders(folder, index, text, memory, asked):
    other = os.path.join(folder, 'by-category')
    engine('--order', 'category', '--memory-bytes', memory, 'index', other, text)
    engine('delete', other, '3')
    for change in (False, True):
        if change:
            engine('--order', 'category', 'merge', other)
        lines = '\n'.join(with_categories(asked)) + '\n'
        for query, one, two in zip(lines.splitlines(), hits(index, lines), hits(other, lines), strict=True):
            if one != two:
                sys.exit('%s: by arrival %s, by category %s' % (query, one, two))
    print('%d queries: the same hits in both orders' % len(asked))


def main():
    whole = '--whole' in sys.argv
    asked = queries('arxiv-mix', str) + queries('search-benchmark-game', normal_query)
    asked += queries('msmarco-passage-dev', lambda text: ' '.join(words(text)))
    asked = asked[::1 if whole else SAMPLE_EVERY]
    lines, memory = '\n'.join(asked) + '\n', '64M' if whole else '6M'
    entries = documents('arxiv200k')
    if not asked or entries is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        index, text = os.path.join(folder, 'range'), os.path.join(folder, 'docs.tsv')
        write_documents(text, entries if whole else entries[:SAMPLE_DOCUMENTS])
        engine('--memory-bytes', memory, 'index', index, text)
        for change in (None, ['delete', index, '3'], ['merge', index]):
            if change:
                engine(*change)
            for limit in LIMITS:
                engine('--limit', limit, 'compare', index, lines=lines)
        compare_orders(folder, index, text, memory, asked)


if __name__ == '__main__':
    main()
