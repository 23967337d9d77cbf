#!/usr/bin/env python3
"""The same query gives the same hits, scores, totals and order from every replica and every coordinator: at rest, while
other entries are written, while a shard is killed -9, and after it came back. Each range is asked of a chosen replica
(`--replica`), so nothing is left to chance; answers are compared as text. What the replicas hold differs on purpose in
everything that must not matter: a third of the entries was replaced, a tenth deleted, and each replica merges and
flushes on its own. QUIRE_REPLICAS: 2 and 3 by default."""
import contextlib, glob, json, os, random, signal, subprocess, threading, time

from cluster import BUILD, LINES, Cluster, check, corpus, equal, free_ports

SHARDS, COORDINATORS = 3, 3
QUERIES = ['estimator', 'gradient descent', '"neural network"', '"learning data"~4', '+model -neural', 'bayesian AND (prior OR posterior)',
           'data NOT learning', 'regress*', 'algoritm~', 'estim* variance^3 bias', 'headword:function', 'category:statistics test',
           'the of and', 'probability distribution random variable', 'neurol netwrok', 'zzzzqqqq', 'a* model~ "machine learning"']


def requests():
    """Every kind of query through quire_lines; then look-ups."""
    out = [dict(op='search', query=q, limit=limit, **more) for q in QUERIES
           for limit, more in ((10, {}), (1000, dict(total_limit=1 << 62, facets=20)), (25, dict(all=True)))]
    out += [dict(op='search', query=q, limit=20, category='statistics') for q in QUERIES[:6]]
    words = ('estimator', 'Neural Network', 'bias', 'no such word', 'accuracy', 'zero-shot learning')
    return out + [dict(op='define', term=w) for w in words] + [dict(op='get', headword=w) for w in words]


COMMANDS = [['browse'], ['browse', '--letter', 'M', '--per-page', '200'], ['browse', '--from', 'network', '--page', '2'],
            ['match', '--strategy', 'substring', 'gradient'], ['match', '--strategy', 'fuzzy', '--distance', '2', 'eigenvecter'],
            ['match', '--strategy', 'prefix', 'mod'], ['suggest', 'mod'], ['suggest', '-n', '5', 'quant'],
            ['explain', 'estimator bias', 'estimator'], ['search', 'variance', '-n', '30']]


class Grid(Cluster):
    """Three coordinators and three shards, each its own process."""

    def __init__(self):
        super().__init__(shards=SHARDS)
        self.urls = [f'tcp://127.0.0.1:{free_ports(1)}' for _ in range(COORDINATORS)]
        self.shard_urls = [f'tcp://127.0.0.1:{free_ports(1)}' for _ in range(SHARDS)]
        self.started = {}
        self.env['QUIRE_CONNECT'] = ','.join(self.urls)
        os.makedirs(os.path.join(self.data, 'log'))

    def start(self, name, program, *words):
        with open(os.path.join(self.data, 'log', name + '.log'), 'ab') as log:
            self.started[name] = subprocess.Popen([os.path.join(BUILD, program), '--dir', os.path.join(self.data, name), *words],
                                                  stdout=log, stderr=log)

    def start_shard(self, i):
        self.start(f'shard{i}', 'shard/quire-shard', '--listen', self.shard_urls[i], '--coordinators', ','.join(self.urls))

    def up(self):
        for i, url in enumerate(self.urls):
            self.start(f'coordinator{i}', 'coordinator/quire-coordinator', '--listen', url, *(['--join', self.urls[0]] if i else []))
            self.until('a coordinator more', lambda: sum(c['alive'] for c in self.status()['coordinators']) == i + 1)
        for i in range(SHARDS):
            self.start_shard(i)
        self.until('all shards', lambda: sum(n['alive'] for n in self.status()['nodes']) == SHARDS)

    def kill(self, name, number=signal.SIGKILL):
        process = self.started.pop(name)
        process.send_signal(number)
        process.wait()

    def __exit__(self, kind, value, trace):
        for name in list(self.started):
            self.kill(name, signal.SIGTERM if kind is None else signal.SIGKILL)
        super().__exit__(kind, value, trace)

    def status(self, at=None):
        found = self.run('status', '--json', *(['--connect', self.urls[at]] if at is not None else []), ok=None)
        with contextlib.suppress(ValueError):
            if 'nodes' in (status := found.json):
                return status
        return dict(coordinators=[], nodes=[], ranges=[], map_epoch=-1)

    def until(self, what, attempt, seconds=90):
        """The bound only ends a test that hangs."""
        limit = time.monotonic() + seconds
        while not attempt():
            check(time.monotonic() < limit, 'did not happen:', what)
            time.sleep(0.1)

    def in_sync(self, replicas):
        """Every coordinator has the same map, and every range all its replicas."""
        seen = [self.status(c) for c in range(COORDINATORS)]
        return len({s['map_epoch'] for s in seen}) == 1 and all(
            s['ranges'] and all(r['state'] == 'serving' and len(r['in_sync']) == r['replicas_wanted'] == replicas for r in s['ranges']) for s in seen)

    def ask(self, coordinator, replica, asked):
        """The replies, each as text; None for one that is no whole answer. What it took is left out."""
        env = dict(self.env, QUIRE_CONNECT=self.urls[coordinator])
        words = [LINES, '--collection', 'glossary'] + ([] if replica is None else ['--replica', str(replica)])
        done = subprocess.run(words, input=''.join(json.dumps(r) + '\n' for r in asked).encode(), capture_output=True, env=env, timeout=600)
        check(done.returncode == 0, 'quire_lines:', done.stderr)
        out = []
        for line in done.stdout.splitlines():
            reply = json.loads(line)
            reply.pop('took_us', None)
            out.append(json.dumps(reply) if reply['status'] == 0 and reply.get('complete', True) else None)
            if out[-1] is None:
                self.why = reply
        equal(len(out), len(asked), 'replies')
        return out

    def command(self, coordinator, replica, words):
        chosen = [] if replica is None else ['--replica', str(replica)]
        done = self.run(words[0], '--json', '--connect', self.urls[coordinator], '-c', 'glossary', *chosen, *words[1:], ok=(0, 1))
        answer = done.json
        answer.pop('took_us', None)
        answer.pop('took_ms', None)
        return json.dumps(answer)

    def export(self, replica):
        return self.run('export', '-c', 'glossary', '--versions', '--replica', str(replica)).out


def differ(what, asked, got, want):
    """Compares answer by answer, as text; how many were compared."""
    for request, a, b in zip(asked, got, want):
        check(a == b, f'{what}: {request} is answered\n{a}\nand not\n{b}')
    return len(got)


def compare(cluster, replicas, want=None):
    """Every replica at every coordinator, and any replica; all must be answered. The answers and how many there were."""
    asked, count = requests(), 0
    want = want or (cluster.ask(0, 0, asked), [cluster.command(0, 0, c) for c in COMMANDS])
    check(None not in want[0], 'not answered:', asked[want[0].index(None)] if None in want[0] else '')
    for c in range(COORDINATORS):
        for k in [*range(replicas), None]:
            count += differ(f'coordinator {c}, replica {k}', asked, cluster.ask(c, k, asked), want[0])
            count += differ(f'coordinator {c}, replica {k}', COMMANDS, [cluster.command(c, k, w) for w in COMMANDS], want[1])
    return want, count


class Writer:
    """Writes into another collection all the time; that may fail while a shard is gone, and is not judged here."""

    def __init__(self, cluster):
        self.cluster, self.stop, self.count = cluster, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        rng = random.Random(5)
        while not self.stop.is_set():
            puts = [dict(op='put', entry=dict(headword=f'{chr(97 + rng.randrange(26))} {rng.randrange(3000)}', body='gradient ' * rng.randrange(1, 9)))
                    for _ in range(100)]
            replies = self.cluster.lines(puts, '--pipeline', '16', '--collection', 'live')
            self.count += sum(r['status'] == 0 for r in replies)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def fill(cluster, replicas):
    """The glossary; then a third of it is replaced and a tenth deleted."""
    pages = sorted(glob.glob(os.path.join(corpus('ai-glossary'), '*.txt')))
    done = cluster.run('import', '-c', 'glossary', '--replicas', str(replicas), *pages, ok=(0, 1))
    cluster.run('collection', 'create', 'live', '--replicas', str(replicas))
    cluster.until('all in sync', lambda: cluster.in_sync(replicas))
    entries = [json.loads(line) for line in cluster.run('export', '-c', 'glossary').out.splitlines()]
    check(len(entries) > 100, 'only', len(entries), 'entries:', done.err)
    random.Random(3).shuffle(entries)
    third, tenth = len(entries) // 3, len(entries) // 10
    change = [dict(op='put', entry=dict(e, body=e['body'] + ' It is an estimator of variance.')) for e in entries[:third]]
    change += [dict(op='delete', headword=e['headword'], sense=e.get('sense', '')) for e in entries[-tenth:]]
    outcomes = [r['outcome'] for r in cluster.lines(change, '--pipeline', '8', '--collection', 'glossary')]
    equal([outcomes.count('changed'), outcomes.count('deleted')], [third, tenth], 'changed and deleted')
    settle(cluster, replicas)


def settle(cluster, replicas):
    """A replica may be a moment behind: until all hold the same entries."""
    cluster.until('the same entries everywhere', lambda: len({cluster.export(k) for k in range(replicas)}) == 1)


def kill_one(cluster, replicas, want):
    """A shard dies and comes back while everybody is asked all the time. Who asks any replica gets an answer; a chosen
    one may be the dead one. No answer may be another one than before."""
    asked, whole, gone = requests()[::4], 0, 0
    victim = random.Random(9).randrange(SHARDS)
    cluster.kill(f'shard{victim}')
    for turn in range(6):
        for c in range(COORDINATORS):
            for k in [None, *range(replicas)]:
                got = cluster.ask(c, k, asked)
                check(k is not None or None not in got, 'a read of any replica failed:', getattr(cluster, 'why', ''))
                pairs = [(r, a, b) for r, a, b in zip(asked, got, want[0][::4]) if a is not None]
                whole += differ(f'after kill -9, turn {turn}, coordinator {c}, replica {k}', *zip(*pairs)) if pairs else 0
                gone += got.count(None)
        if turn == 3:
            cluster.start_shard(victim)
    check(gone > 0, 'the dead shard was never asked: no replica was chosen')
    print(f'    a shard killed: {whole} answers were the same, {gone} reads of a chosen replica were not answered', flush=True)
    cluster.until('all in sync', lambda: cluster.in_sync(replicas))


def agree(replicas):
    with Grid() as cluster:
        fill(cluster, replicas)
        want, count = compare(cluster, replicas)
        print(f'    {replicas} replicas, at rest: {count} answers are the same', flush=True)
        refused = cluster.run('search', '-c', 'glossary', '--replica', str(replicas), 'bias', ok=(3,))
        check(f'there is no replica {replicas}' in refused.err.decode(), refused.err)
        with Writer(cluster) as writer:
            _, count = compare(cluster, replicas, want)
            print(f'    while others write: {count} answers are the same', flush=True)
            kill_one(cluster, replicas, want)
            _, count = compare(cluster, replicas, want)
        check(writer.count > 0, 'nothing was written meanwhile')
        print(f'    it is back: {count} answers are the same; {writer.count} writes meanwhile', flush=True)
        # What is written now is found by all of them, with the same scores again.
        cluster.run('put', '-c', 'glossary', input=b'{"headword":"estimator zoo","body":"estimator bias variance gradient"}')
        settle(cluster, replicas)
        after, count = compare(cluster, replicas)
        check(after[0] != want[0], 'the new entry changes nothing')
        print(f'    after another write: {count} answers are the same', flush=True)


def main():
    if corpus('ai-glossary') is None:
        return
    for replicas in map(int, os.environ.get('QUIRE_REPLICAS', '2,3').split(',')):
        agree(replicas)
    print('ok')


if __name__ == '__main__':
    main()
