"""Ranking quality on the judged collections, with the cluster's default settings.

    QUIRE_BUILD=.build/release python3 tests/bench/judged.py [--check] [cranfield|scifact|medquad...]

Prints mean average precision (depth 1,000) and nDCG@10 (linear gain), as trec_eval defines them, beside those of a plain
BM25 (k1 0.9, b 0.4, English stemming). --check: exit 1 when one of them is below. Queries go through the cluster as
any client's do.
"""
import math, os, re, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
from cluster import Cluster, check, corpus, equal

PLAIN_BM25 = dict(cranfield=(.398, .519), scifact=(.630, .667), medquad=(.473, .482))  # MAP, nDCG@10: the corpora's README


def read_tsv(path):
    return [line.rstrip('\n').split('\t') for line in open(path, encoding='utf-8')]


def average_precision(ranked, grades):
    relevant = sum(g > 0 for g in grades.values())
    found, total = 0, 0.0
    for rank, doc in enumerate(ranked[:1000], 1):
        if grades.get(doc, 0) > 0:
            found += 1
            total += found / rank
    return total / relevant if relevant else None


def ndcg(ranked, grades, k=10):
    gain = lambda gs: sum(g / math.log2(i + 2) for i, g in enumerate(gs[:k]))
    ideal = gain(sorted((g for g in grades.values() if g > 0), reverse=True))
    return gain([max(0, grades.get(d, 0)) for d in ranked]) / ideal if ideal else None


def judge(name):
    path = corpus(name)
    if path is None:
        return None
    grades = {}
    for qid, doc, grade in read_tsv(os.path.join(path, 'qrels.tsv')):
        grades.setdefault(qid, {})[doc] = int(grade)
    queries = [(q, text) for q, text in read_tsv(os.path.join(path, 'queries.tsv')) if any(g > 0 for g in grades.get(q, {}).values())]
    with Cluster(shards=3) as c:
        r = c.json('import', os.path.join(path, 'docs.jsonl.zst'))
        equal(r['failed'], 0, 'failed entries')
        # Words only: the questions hold operators of the query language by accident (?, -, quotes).
        replies = c.lines([dict(op='search', query=re.sub(r'[^\w\s]', ' ', text), limit=1000) for _, text in queries])
    aps, ndcgs = [], []
    for (qid, text), reply in zip(queries, replies):
        check(reply['status'] == 0 and reply['complete'], text, reply)
        ranked = [h['sense'] for h in reply['hits']]
        aps.append(average_precision(ranked, grades[qid]))
        ndcgs.append(ndcg(ranked, grades[qid]))
    return len(queries), sum(aps) / len(aps), sum(ndcgs) / len(ndcgs)


def main():
    names = [a for a in sys.argv[1:] if not a.startswith('-')] or list(PLAIN_BM25)
    below = False
    print(f'{"collection":12} {"queries":>7} {"MAP":>7} {"plain":>7} {"nDCG@10":>8} {"plain":>7}')
    for name in names:
        result = judge(name)
        if result:
            n, ap, nd = result
            plain = PLAIN_BM25[name]
            low = round(ap, 3) < plain[0] or round(nd, 3) < plain[1]
            below |= low
            print(f'{name:12} {n:7} {ap:7.4f} {plain[0]:7.3f} {nd:8.4f} {plain[1]:7.3f}{"   below" if low else ""}', flush=True)
    sys.exit(1 if below and '--check' in sys.argv else 0)


if __name__ == '__main__':
    main()
