"""What the statistics cache of the coordinator is worth: searches through libquire with it and without.

    QUIRE_BUILD=.build/release python3 tests/bench/rounds.py [SHARDS [DOCUMENTS]]

One cluster (3 shards, 20,000 abstracts unless told otherwise), whose coordinator is started again with
--stats-cache-bytes 0 and 32M in turn, three times each. Every query is asked once before it is measured: the figures are those
of words that are asked for again. Printed by kind of query: CPU time of all server processes a query, the median time in the
cluster with one query at a time, queries/s with 32 under way; of each the best of three.
"""
import os, signal, statistics, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
from cluster import Cluster, check, corpus, documents

KINDS = ('term', 'or', 'and', 'long')
TICK = os.sysconf('SC_CLK_TCK')


def queries():
    lines = [line.rstrip('\n').split('\t', 1) for line in open(corpus('queries', 'arxiv-mix.tsv'))]
    return {kind: [dict(op='search', query=q, all=kind == 'and') for k, q in lines if k == kind] for kind in KINDS}


def cpu(cluster):
    """Seconds that the servers have used."""
    used = 0
    for pid in cluster.processes().values():
        fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
        used += int(fields[11]) + int(fields[12])
    return used / TICK


def restart_coordinator(cluster, arguments, cache):
    pid = cluster.processes()['coordinator']
    os.kill(pid, signal.SIGTERM)
    while 'coordinator' in cluster.processes():
        time.sleep(0.02)
    process = subprocess.Popen([*arguments, '--stats-cache-bytes', cache], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        r = cluster.run('search', '--json', '--complete', '--timeout', '2000', 'the', ok=None)
        if r.code in (0, 1):
            return process
        time.sleep(0.1)
    check(False, 'the coordinator does not come up')


def ask(cluster, requests, under_way):
    began = time.monotonic()
    replies = cluster.lines(requests, '--pipeline', str(under_way))
    took = time.monotonic() - began
    check(all(r['status'] == 0 and r['complete'] for r in replies), 'searches')
    return took, [r['took_us'] for r in replies]


def measure(cluster, requests):
    ask(cluster, requests, 32)
    used = cpu(cluster)
    times = ask(cluster, requests, 1)[1]
    wall = min(ask(cluster, requests, 32)[0] for _ in range(3))
    used = cpu(cluster) - used
    return used / (4 * len(requests)) * 1e6, statistics.median(times), wall / len(requests)


def main():
    shards = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    asked = queries()
    with Cluster(shards=shards) as cluster:
        docs = documents('arxiv200k')[:count]
        cluster.import_entries([dict(headword=d['terms'][0], sense=d['id'], terms=[], categories=d.get('category', []), body=d['body'])
                                for d in docs])
        arguments = open(f"/proc/{cluster.processes()['coordinator']}/cmdline").read().rstrip('\0').split('\0')
        best = {}
        for _ in range(3):
            for cache in ('0', '32M'):
                process = restart_coordinator(cluster, arguments, cache)
                for kind in KINDS:
                    now = measure(cluster, asked[kind])
                    before = best.get((kind, cache), now)
                    best[kind, cache] = tuple(map(min, before, now))
                print(f'cache {cache}:', cluster.json('status')['searches'], flush=True)
        process.terminate()
        process.wait()
    print(f'{"":6}{"CPU us a query":>20}{"median us in the cluster":>28}{"queries/s, 32 under way":>28}')
    print(f'{"":6}' + f'{"without":>12}{"with":>8}{"":8}' + f'{"without":>12}{"with":>8}{"":8}{"without":>12}{"with":>8}')
    for kind in KINDS:
        (c0, m0, w0), (c1, m1, w1) = best[kind, '0'], best[kind, '32M']
        print(f'{kind:6}{c0:12.0f}{c1:8.0f}{"":8}{m0:12.0f}{m1:8.0f}{"":8}{1 / w0:12.0f}{1 / w1:8.0f}')


main()
