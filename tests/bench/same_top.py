"""Pruning changes nothing: the same hits and scores whether a search may leave out what cannot be among the best, or
scores every match.

    QUIRE_BUILD=.build/release python3 tests/bench/same_top.py [--whole]

Asks quire-engine (compare) the queries of arxiv-mix, search-benchmark-game and msmarco-passage-dev, over abstracts in several
segments, over the same with every third one deleted, and after merging these to one segment. Without --whole: 20,000 abstracts and
every fourth query.
"""
import itertools, os, re, subprocess, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
from cluster import BUILD, corpus, documents

ENGINE = os.path.join(BUILD, 'tests', 'quire-engine')
WORD = re.compile(r'[^\W_]+')
SPACE = re.compile(r'[\x00-\x20\x7f\x85\u2028\u2029]+')
SAMPLE_DOCUMENTS, SAMPLE_EVERY = 20000, 4
LIMITS = '1', '10', '100'


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
    print('$ quire-engine', *arguments[:-1 if arguments[0] == 'index' else None])
    print(run.stdout.rstrip('\n'), flush=True)
    if run.returncode:
        sys.exit('failed')


def write_documents(path, count):
    entries = documents('arxiv200k')
    if entries is None:
        return False
    with open(path, 'w', encoding='utf-8') as file:
        for number, entry in enumerate(itertools.islice(entries, count), 1):
            text = '\n'.join([*entry['terms'][:1], entry['body']])
            file.write('%d\t%s\t%s\n' % (number, SPACE.sub('_', entry['id']), SPACE.sub(' ', text).strip()))
    return True


def main():
    whole = '--whole' in sys.argv
    asked = queries('arxiv-mix', str) + queries('search-benchmark-game', normal_query)
    asked += queries('msmarco-passage-dev', lambda text: ' '.join(words(text)))
    lines = '\n'.join(asked[::1 if whole else SAMPLE_EVERY]) + '\n'
    with tempfile.TemporaryDirectory() as folder:
        index, text = os.path.join(folder, 'range'), os.path.join(folder, 'docs.tsv')
        if not asked or not write_documents(text, None if whole else SAMPLE_DOCUMENTS):
            return
        engine('--memory-bytes', '64M' if whole else '6M', 'index', index, text)
        for change in (None, ['delete', index, '3'], ['merge', index]):
            if change:
                engine(*change)
            for limit in LIMITS:
                engine('--limit', limit, 'compare', index, lines=lines)


main()
