"""quire-engine beside Lucene: the same documents and queries, one thread, interleaved runs.

    PEERS_WORK=DIR QUIRE_BUILD=.build/release python3 tests/bench/against.py [--rebuild] [--cap N] [--passes N] [--classes a,b] [--exact]

Needs the peers' harness beside the checkout (../shared/peers, or QUIRE_PEERS), with Lucene's index of the corpus in
PEERS_WORK (its build.sh). Fills two indexes of our own there: quire-seg as the normal merges leave it, quire-1 forced to
one segment. Prints, by class of queries, the microseconds of a query (minimum of the passes: average, median, 90 and 99 percent) and
the ratio of the sums to Lucene's default; then sizes and CPU seconds of the build. --exact: exact counts of ours too. --rebuild: fills
ours anew. With --cap Lucene is not warm: for trials only. Elsewhere: says why and exits 0.
"""
import argparse, csv, os, re, shutil, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('QUIRE_BUILD', os.path.join(ROOT, '.build', 'release'))
ENGINE = os.path.join(os.path.abspath(BUILD), 'tests', 'quire-engine')
PEERS = os.environ.get('QUIRE_PEERS', os.path.join(ROOT, '..', 'shared', 'peers'))
CORPUS = os.environ.get('QUIRE_CORPUS', os.path.join(ROOT, '..', 'shared', 'corpus'))
BASE = 'lucene-1-t1000'


def skip(why):
    print('SKIP against.py:', why)
    sys.exit(0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--corpus', default='arxiv200k')
    parser.add_argument('--queries', default=os.path.join(CORPUS, 'queries', 'arxiv-mix.tsv'))
    parser.add_argument('--rebuild', action='store_true')
    parser.add_argument('--exact', action='store_true')
    parser.add_argument('--cap', type=int, default=0)
    parser.add_argument('--passes', type=int, default=3)
    parser.add_argument('--classes', default='')
    return parser.parse_args()


def engine(*words):
    """Runs quire-engine; what it printed."""
    run = subprocess.run([ENGINE, *words], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit('quire-engine %s failed' % words[0])
    return run.stdout


def kept(path, make):
    """What `make` printed when it filled the folder `path`; it is kept beside it."""
    note = path + '.txt'
    if not os.path.exists(note):
        shutil.rmtree(path, ignore_errors=True)
        text = make()
        with open(note, 'w', encoding='utf-8') as file:
            file.write(text)
    return open(note, encoding='utf-8').read()


def fill(work, rebuild):
    seg, one = os.path.join(work, 'quire-seg'), os.path.join(work, 'quire-1')
    if rebuild:
        for path in (seg, one):
            if os.path.exists(path + '.txt'):
                os.remove(path + '.txt')

    def merge():
        shutil.copytree(seg, one)
        return engine('merge', one)

    return kept(seg, lambda: engine('index', seg, os.path.join(work, 'docs.tsv'))), kept(one, merge)


def ours(work, exact):
    """Name and command. A folder is one process's: the second gets one of links to the same files."""
    for index in ('quire-seg', 'quire-1'):
        path = os.path.join(work, index)
        yield index + '-top10', '%s query %s top10' % (ENGINE, path)
        if exact:
            shutil.rmtree(path + '-exact', ignore_errors=True)
            shutil.copytree(path, path + '-exact', copy_function=os.link, ignore=shutil.ignore_patterns('LOCK'))
            yield index + '-exact', '%s query %s-exact exact' % (ENGINE, path)


def measure(options, work):
    command = [os.path.join(PEERS, 'run.sh'), options.corpus, options.queries, '--tag=.quire', '--base', BASE,
               '--engines', BASE + ',lucene-1-exact', '--passes', str(options.passes), '--cap', str(options.cap)]
    if options.classes:
        command += ['--classes', options.classes]
    for name, query in ours(work, options.exact):
        command += ['--extra', '%s=%s' % (name, query)]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit('the harness failed: run it by hand to see why')


def results(name):
    folder = os.environ.get('PEERS_RESULTS', os.path.join(PEERS, 'results'))
    with open(os.path.join(folder, name), newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def print_times(options):
    print('%-8s %-18s %6s %9s %9s %9s %9s %7s' % ('class', 'engine', 'n', 'avg us', 'p50', 'p90', 'p99', 'ratio'))
    for row in results('times-%s.quire.csv' % options.corpus):
        if row['stat'] == 'min':
            times = tuple(float(row[k]) for k in ('avg_us', 'p50_us', 'p90_us', 'p99_us'))
            print('%-8s %-18s %6s %9.1f %9.1f %9.1f %9.1f %7.2f' %
                  ((row['class'], row['engine'], row['n']) + times + (float(row['ratio_of_sums']),)))


def number(pattern, text):
    return float(re.search(pattern, text).group(1))


def print_build(options, seg, one):
    lucene = {row['engine']: row for row in results('build.csv') if row['corpus'] == options.corpus}
    cpu = [number(r'CPU +([\d.]+)', seg), number(r'merge +([\d.]+) CPU', one)]
    size = [number(r'([\d.]+) MB without', text) for text in (seg, one)]
    print('\n%-28s %9s %9s %7s' % ('build', 'quire', 'lucene', 'ratio'))
    for i, (name, what) in enumerate((('lucene-seg', 'index'), ('lucene-1', 'merge to one segment'))):
        if name not in lucene:
            continue
        theirs = float(lucene[name]['cpu_s'])
        megabytes = float(lucene[name]['index_bytes']) / 1e6
        print('%-28s %9.1f %9.1f %7.2f' % (what + ', CPU s', cpu[i], theirs, cpu[i] / theirs))
        print('%-28s %9.1f %9.1f %7.2f' % ('  size, MB', size[i], megabytes, size[i] / megabytes))


def main():
    options = arguments()
    if not os.path.exists(os.path.join(PEERS, 'run.sh')):
        skip('no harness in ' + PEERS)
    if not os.environ.get('PEERS_WORK'):
        skip('PEERS_WORK is not set')
    work = os.path.join(os.path.abspath(os.environ['PEERS_WORK']), options.corpus)
    if not os.path.exists(os.path.join(work, 'lucene-1')):
        skip('no index of Lucene in %s: run build.sh of the harness' % work)
    if shutil.which('java') is None:
        skip('no java')
    seg, one = fill(work, options.rebuild)
    measure(options, work)
    print_times(options)
    print_build(options, seg, one)


main()
