"""How often "did you mean" is right: the misspelt headwords of wnwords against what was meant.

    QUIRE_BUILD=.build/release python3 tests/bench/misspelt.py

Prints the share of the misspelt queries for which the suggestion is the headword that was meant (folded), of those with
another suggestion, of those that are words by themselves (or have the stem of one), and of those with nothing near.
"""
import json, os, re, subprocess, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
from cluster import Cluster, corpus, equal


def read_tsv(path):
    return [line.rstrip('\n').split('\t') for line in open(path, encoding='utf-8')]


def fold(text):
    return ' '.join(re.findall(r'[a-z0-9]+', text.lower()))


def main():
    path = corpus('wnwords')
    docs = subprocess.run(['zstdcat', os.path.join(path, 'docs.jsonl.zst')], capture_output=True, check=True).stdout
    names = {d['id']: d['terms'][0] for d in map(json.loads, docs.splitlines())}
    wanted = {q: doc for q, doc, _ in read_tsv(os.path.join(path, 'qrels_misspelt.tsv'))}
    queries = read_tsv(os.path.join(path, 'queries_misspelt.tsv'))
    with Cluster(shards=3) as c:
        equal(c.json('import', os.path.join(path, 'docs.jsonl.zst'))['failed'], 0, 'failed entries')
        replies = c.lines([dict(op='search', query=text, limit=1) for _, text in queries])
        meant = [r['did_you_mean'] for r in replies]
    right = sum(fold(m) == fold(names[wanted[q]]) for m, (q, _) in zip(meant, queries))
    given = sum(m != '' for m in meant)
    known = sum(m == '' and r['total'] > 0 for m, r in zip(meant, replies))
    n = len(queries)
    print(f'{n} misspelt: suggestion right {right / n:.1%}, another {(given - right) / n:.1%}, '
          f'none as it is a known word {known / n:.1%}, none near {(n - given - known) / n:.1%}')


main()
