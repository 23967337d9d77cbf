"""What the order of documents is worth: size, merging and queries of a range by arrival and by category.

    QUIRE_BUILD=.build/release python3 tests/bench/order.py [--passes N]

Fills three ranges with the abstracts of arxiv200k: as the corpus comes, which is partly sorted by category already; shuffled; and
shuffled, but merged by category (quire-engine --order category). Prints sizes and the CPU seconds of merging, both while filling and then
down to one segment. Then asks the queries of arxiv-mix of the single segments: as they are, with a category as a filter, and with one
that is required (+category:"cs.LG"); the categories are the hundred most frequent ones in turn. Slices of the queries go to the three in
turn; the microseconds are the minimum of the passes, averaged over a class.
"""
import argparse, collections, os, random, re, subprocess, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
from cluster import corpus, documents
from same_top import ENGINE, write_documents

RANGES = ('as it comes', 'file', 'arrival'), ('shuffled', 'shuffled', 'arrival'), ('by category', 'shuffled', 'category')
SLICE, CATEGORIES = 100, 100
KINDS = 'plain', 'filter', 'required'


def engine(*arguments):
    return subprocess.run([ENGINE, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def number(pattern, text):
    return float(re.search(pattern, text).group(1))


def fill(folder, name, text, order):
    """Sizes in MB and CPU seconds by name."""
    path = os.path.join(folder, name)
    filled = engine('--order', order, 'index', path, text)
    merged = engine('--order', order, 'merge', path)
    row = {part: number(r' %s +([\d.]+) MB' % part, merged) for part in ('term', 'post', 'pos', 'doc')}
    row['merge'] = number(r'merge ([\d.]+),', filled)
    row['to one'] = number(r'merge +([\d.]+) CPU', merged)
    return row


def queries(categories):
    """(class, {kind: line}) for each."""
    with open(corpus('queries', 'arxiv-mix.tsv'), encoding='utf-8') as file:
        for at, line in enumerate(file):
            what, query = line.rstrip('\n').split('\t')
            category = categories[at * 7919 % len(categories)]
            yield what, {'plain': query, 'filter': query + '\t' + category, 'required': '+category:"%s" +(%s)' % (category, query)}


def ask(process, lines):
    """The microseconds of each."""
    times = []
    for line in lines:
        process.stdin.write(line + '\n')
        process.stdin.flush()
        times.append(float(process.stdout.readline().split('\t')[1]))
    return times


def measure(folder, lines, passes):
    """The minimum of each query by range."""
    names = [name for name, _, _ in RANGES]
    running = {name: subprocess.Popen([ENGINE, 'query', os.path.join(folder, name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in names}
    best = {name: ask(running[name], lines) for name in names}
    for turn in range(passes):
        for start in range(0, len(lines), SLICE):
            first = (start // SLICE + turn) % len(names)
            for name in names[first:] + names[:first]:
                for at, took in enumerate(ask(running[name], lines[start:start + SLICE]), start):
                    best[name][at] = min(best[name][at], took)
    for process in running.values():
        process.stdin.close()
        process.wait()
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--passes', type=int, default=3)
    options = parser.parse_args()
    entries = documents('arxiv200k')
    if entries is None:
        return
    counts = collections.Counter(category for entry in entries for category in entry['category'])
    asked = list(queries([category for category, _ in counts.most_common(CATEGORIES)]))
    with tempfile.TemporaryDirectory() as folder:
        texts = {name: os.path.join(folder, name + '.tsv') for name in ('file', 'shuffled')}
        write_documents(texts['file'], entries)
        random.Random(1).shuffle(entries)
        write_documents(texts['shuffled'], entries)
        rows = {name: fill(folder, name, texts[text], order) for name, text, order in RANGES}
        print('%-16s' % 'MB, CPU s', *('%12s' % name for name in rows))
        for part in rows['shuffled']:
            print('%-16s' % part, *('%12.2f' % row[part] for row in rows.values()), flush=True)
        for kind in KINDS:
            best = measure(folder, [lines[kind] for _, lines in asked], options.passes)
            print('\n%-16s' % (kind + ', us'), *('%12s' % name for name in best))
            for what in [*dict.fromkeys(name for name, _ in asked), 'all']:
                chosen = [at for at, (name, _) in enumerate(asked) if what in (name, 'all')]
                print('%-16s' % what, *('%12.1f' % (sum(times[at] for at in chosen) / len(chosen)) for times in best.values()), flush=True)


main()
