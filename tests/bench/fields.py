"""How the fields of an entry make one score: BM25F against a sum of BM25 by field, on the judged collections.

    QUIRE_BUILD=.build/release python3 tests/bench/fields.py [cranfield|scifact|medquad...] [WEIGHTS:K1:B...]

BM25F (what the index does: frequencies and lengths weighted and added up, then one saturation) has one list a word. The sum (a
saturation for each field, then weighted) would need one a field. Both are computed here by brute force over the words that
the analyzer makes (quire-engine tokens), first with the defaults, then each with the best of a few settings, or of those given, like 15/8/1/1:6:0.75.
"""
import heapq, math, os, re, subprocess, sys
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from judged import PLAIN_BM25, average_precision, ndcg, read_tsv
from cluster import BUILD, corpus, documents

ENGINE = os.path.join(BUILD, 'tests', 'quire-engine')
WEIGHTS = (3, 2, 1, 1)  # headword, other names, categories, body: coordinator/defaults.h
DEFAULT = WEIGHTS, 2.0, 0.75
SETTINGS = [(w, *k) for w in ((1, 1, 1, 1), (2, 1, 1, 1), WEIGHTS, (5, 3, 1, 1)) for k in ((0.9, 0.4), (1.2, 0.75), (2.0, 0.75))]


def tokens(texts, mode):
    lines = '\n'.join(re.sub(r'[\n\r]', '\x1f', text) for text in texts) + '\n'
    out = subprocess.run([ENGINE, 'tokens', mode], input=lines, stdout=subprocess.PIPE, check=True, text=True).stdout
    return [line.split() for line in out.split('\n')[:len(texts)]]


def norm(length):
    """What the index keeps of a length (segment.c): exact to 40, then four significant bits."""
    if length < 40:
        return length
    shift = max(0, (length - 24).bit_length() - 4)
    return 24 + ((length - 24) >> shift << shift)


class Collection:
    def __init__(self, name):
        entries = documents(name)
        self.ids = [e['id'] for e in entries]
        fields = ([e['terms'][:1] for e in entries], [e['terms'][1:] for e in entries], [e['category'] for e in entries])
        counted = [tokens(['\x1f'.join(texts) for texts in field], 'plain') for field in fields]
        counted.append(tokens([e['body'] for e in entries], 'markdown'))
        self.lengths = list(zip(*([len(words) for words in field] for field in counted)))
        grades = {}
        for qid, doc, grade in read_tsv(os.path.join(corpus(name), 'qrels.tsv')):
            grades.setdefault(qid, {})[doc] = int(grade)
        asked = [(q, re.sub(r'[^\w\s]', ' ', t)) for q, t in read_tsv(os.path.join(corpus(name), 'queries.tsv'))
                 if any(g > 0 for g in grades.get(q, {}).values())]
        self.queries = list(zip(tokens([t for _, t in asked], 'plain'), (grades[q] for q, _ in asked)))
        wanted = {word for words, _ in self.queries for word in words}
        self.postings = {}  # word -> [(document, frequencies by field)]
        for doc, words_by_field in enumerate(zip(*counted)):
            counts = [Counter(word for word in words if word in wanted) for words in words_by_field]
            for word in set().union(*counts):
                self.postings.setdefault(word, []).append((doc, tuple(c[word] for c in counts)))

    def idf(self, word):
        df = len(self.postings[word])
        return math.log(1 + (len(self.ids) - df + .5) / (df + .5))

    def judge(self, score):
        """`score(word)` -> [(document, part)]. Mean average precision and nDCG@10."""
        parts, aps, ndcgs = {}, [], []
        for words, grades in self.queries:
            sums = Counter()
            for word in words:
                if word in self.postings:
                    if word not in parts:
                        parts[word] = score(word)
                    for doc, part in parts[word]:
                        sums[doc] += part
            ranked = [self.ids[doc] for doc in heapq.nsmallest(1000, sums, key=lambda doc: (-sums[doc], self.ids[doc]))]
            aps.append(average_precision(ranked, grades))
            ndcgs.append(ndcg(ranked, grades))
        return sum(aps) / len(aps), sum(ndcgs) / len(ndcgs)


def bm25f(c, weights, k1, b):
    """One saturation over weighted frequencies, as the index has it."""
    lengths = [norm(sum(w * n for w, n in zip(weights, by_field))) for by_field in c.lengths]
    average = sum(lengths) / len(lengths)
    norms = [k1 * (1 - b + b * n / average) for n in lengths]

    def score(word):
        idf, out = c.idf(word), []
        for doc, freqs in c.postings[word]:
            freq = sum(w * f for w, f in zip(weights, freqs))
            out.append((doc, idf * freq / (freq + norms[doc])))
        return out
    return score


def by_field(c, weights, k1, b):
    """A saturation for each field with its own length, then weighted."""
    averages = [sum(n) / len(n) or 1 for n in zip(*c.lengths)]

    def score(word):
        idf, out = c.idf(word), []
        for doc, freqs in c.postings[word]:
            part = sum(w * f / (f + k1 * (1 - b + b * n / a)) for w, f, n, a in zip(weights, freqs, c.lengths[doc], averages) if f)
            out.append((doc, idf * part))
        return out
    return score


def setting(text):
    weights, k1, b = text.split(':')
    return tuple(int(w) for w in weights.split('/')), float(k1), float(b)


def main():
    settings = [setting(a) for a in sys.argv[1:] if ':' in a] or SETTINGS
    settings += [] if DEFAULT in settings else [DEFAULT]
    print('%-10s %-26s %-22s %7s %8s' % ('collection', 'scoring', 'weights k1 b', 'MAP', 'nDCG@10'))
    for name in [a for a in sys.argv[1:] if ':' not in a] or list(PLAIN_BM25):
        if corpus(name) is None:
            continue
        c = Collection(name)
        for title, scoring in ('BM25F', bm25f), ('sum by field', by_field):
            results = [(c.judge(scoring(c, *s)), s) for s in settings]
            chosen = next(r for r in results if r[1] == DEFAULT)
            for what, (quality, (weights, k1, b)) in ('defaults', chosen), ('best of %d' % len(settings), max(results)):
                print('%-10s %-26s %-22s %7.4f %8.4f' % (name, title + ', ' + what, '%s %g %g' % ('/'.join(map(str, weights)), k1, b), *quality), flush=True)


main()
