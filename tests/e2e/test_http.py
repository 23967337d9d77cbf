#!/usr/bin/env python3
"""Seeing inside: /metrics, /healthz and /readyz of real processes. What /metrics says is read by a parser of its own,
which knows nothing of how it was written but the rules of the text format; counters are compared with the requests
that were sent."""
import glob, http.client, json, math, os, re, signal, socket, subprocess, time

from cluster import BUILD, check, equal
from test_coordinators import Three

NAME = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SUFFIXES = {'histogram': ('_bucket', '_sum', '_count'), 'counter': ('',), 'gauge': ('',)}


# ---- the text format, https://prometheus.io/docs/instrumenting/exposition_formats/ ----

def parse_sample(line):
    """(name, labels as a sorted tuple of pairs, value)"""
    m = NAME.match(line)
    check(m, 'not a sample:', line)
    name, rest, labels = m.group(), line[m.end():], []
    if rest.startswith('{'):
        rest = rest[1:]
        while not rest.startswith('}'):
            m = LABEL.match(rest)
            check(m, 'not a label:', line)
            labels.append((m.group(1), m.group(2)))
            rest = rest[m.end():]
            check(rest[:1] in (',', '}'), 'labels:', line)
            rest = rest[1:] if rest[0] == ',' else rest
        rest = rest[1:]
    check(re.fullmatch(r' \S+', rest), 'not one value, without a time:', line)
    check(len({k for k, _ in labels}) == len(labels), 'a label twice:', line)
    return name, tuple(sorted(labels)), float(rest)


class Metrics:
    """families: name -> (type, {(sample name, labels): value})"""

    def __init__(self, text):
        self.families = {}
        check(text.endswith('\n'), 'the last line has no end')
        helped = typed = None
        for line in text[:-1].split('\n'):
            if line.startswith('# HELP '):
                helped = line.split(' ', 3)[2]
                check(len(line.split(' ', 3)) == 4 and len(line.split(' ', 3)[3]) > 5, 'no help:', line)
                check(helped not in self.families, 'a family in two places:', helped)
            elif line.startswith('# TYPE '):
                _, _, typed, kind = line.split(' ')
                check(typed == helped and kind in SUFFIXES, 'TYPE without its HELP before it:', line)
                check(typed not in self.families, 'TYPE twice:', line)
                self.families[typed] = (kind, {})
            else:
                name, labels, value = parse_sample(line)
                kind, samples = self.families.get(typed, (None, None))
                check(kind and name in [typed + s for s in SUFFIXES[kind]], 'a sample outside of its family:', line)
                check((name, labels) not in samples, 'a sample twice:', line)
                samples[name, labels] = value
        for family, (kind, samples) in self.families.items():
            self.check_family(family, kind, samples)

    def check_family(self, family, kind, samples):
        check(samples, 'a family without samples:', family)
        for (name, labels), value in samples.items():
            check(math.isfinite(value), 'value of', name, value)
            check(kind == 'gauge' or value >= 0, 'below 0:', name, value)
        check((kind == 'counter') == family.endswith('_total'), f'a {kind} of this name:', family)
        check(not re.search(r'_(us|ms|kib|mib)(_|$)', family), 'not a base unit:', family)
        if kind == 'histogram':
            check(family.endswith('_seconds'), 'the unit of', family)
            series = {}
            for (name, labels), value in samples.items():
                if name == family + '_bucket':
                    le = float(dict(labels)['le'])
                    series.setdefault(tuple(p for p in labels if p[0] != 'le'), []).append((le, value))
            check(series, 'no buckets:', family)
            for labels, buckets in series.items():
                limits, counts = [le for le, _ in buckets], [n for _, n in buckets]
                check(limits == sorted(set(limits)) and limits[-1] == math.inf, 'limits of', family, labels)
                check(counts == sorted(counts), 'not cumulative:', family, labels)
                equal(counts[-1], samples[family + '_count', labels], f'+Inf and the count of {family}{labels}')
                total = samples[family + '_sum', labels]
                least = sum(low * (b - a) for low, a, b in zip([0] + limits, [0] + counts, counts) if b > a)
                check(least <= total + 1e-6, 'the sum is less than the buckets say:', family, labels, total, least)

    def get(self, name, **labels):
        for family in (name, re.sub('_(sum|count)$', '', name)):
            if family in self.families:
                samples = self.families[family][1]
                key = (name, tuple(sorted(labels.items())))
                check(key in samples, 'no sample', name, labels)
                return samples[key]
        check(False, 'no metric', name)

    def sum(self, name, **labels):
        """Of all samples that have these labels."""
        return sum(v for (_, have), v in self.families[name][1].items() if set(labels.items()) <= set(have))

    def operations(self, name):
        return {dict(labels)['operation'] for _, labels in self.families[name][1]}


def parser_can_fail():
    good = '# HELP a_total A thing.\n# TYPE a_total counter\na_total{x="1"} 1\na_total{x="2"} 2\n'
    equal(Metrics(good).sum('a_total'), 3, 'sum')
    buckets = '# HELP h_seconds A thing.\n# TYPE h_seconds histogram\nh_seconds_bucket{le="1"} 1\n' \
              'h_seconds_bucket{le="+Inf"} 2\nh_seconds_sum 3\nh_seconds_count 2\n'
    Metrics(buckets)
    for text in (good[:-1], good.replace('# TYPE a_total counter\n', ''), good.replace('"2"', '"1"'), good + good,
                 good.replace(' 2\n', ' NaN\n'), good.replace('counter', 'gauge'), good.replace('a_total{', 'b_total{'),
                 buckets.replace('count 2', 'count 3'), buckets.replace('} 1', '} 3'), buckets.replace('sum 3', 'sum 0.5')):
        try:
            Metrics(text)
        except Exception:
            continue
        check(False, 'the parser takes anything:', text)


# ---- processes with pages ----

class Seen(Three):
    """Nothing is started but what the test starts; all of it with --http on a port that the kernel picks."""

    def up(self):
        self.from_byte = {}

    def log_path(self, name):
        return os.path.join(self.data, 'log', name + '.log')

    def start(self, name, program, *words):
        path = self.log_path(name)
        self.from_byte[name] = os.path.getsize(path) if os.path.exists(path) else 0
        super().start(name, program, '--http', '127.0.0.1:0', *words)

    def start_shard(self, i):
        self.start(f'shard{i}', 'shard/quire-shard', '--listen', f'tcp://127.0.0.1:{self.shard_ports[i]}',
                   '--coordinators', ','.join(self.urls), '--memory-bytes', '8M')

    def log(self, name):
        with open(self.log_path(name), 'rb') as file:
            file.seek(self.from_byte[name])
            return file.read().decode()

    def port_of(self, name):
        return int(self.until(f'{name} logs where its pages are',
                              lambda: (re.findall(r' http=127\.0\.0\.1:(\d+)\n', self.log(name)) or [None])[0]))

    def page(self, name, path):
        """(status, body); (0, '') when nobody answers."""
        link = http.client.HTTPConnection('127.0.0.1', self.port_of(name), timeout=60)
        try:
            link.request('GET', path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ''
        finally:
            link.close()

    def metrics(self, name):
        status, text = self.page(name, '/metrics')
        equal(status, 200, f'/metrics of {name}')
        return Metrics(text)

    def until_page(self, name, path, status, *words):
        def attempt():
            got, text = self.page(name, path)
            return True if got == status and all(w in text for w in words) else None
        return self.until(f'{path} of {name} says {status} {words}', attempt)

    def until_metric(self, name, metric, want, **labels):
        return self.until(f'{metric} of {name} is {want}',
                          lambda: True if self.metrics(name).get(metric, **labels) == want else None)


def ready_when_registered(cluster):
    """From nothing, backwards: a shard without a coordinator, a coordinator without the one to join, then that one."""
    cluster.start_shard(0)
    cluster.until_page('shard0', '/healthz', 200, 'ok')
    cluster.until_page('shard0', '/readyz', 503, 'not registered')
    cluster.start_coordinator(1, join=0)
    cluster.until_page('coordinator1', '/healthz', 200, 'ok')
    cluster.until_page('coordinator1', '/readyz', 503, f'has not joined the cluster of {cluster.urls[0]} yet')
    equal(cluster.metrics('shard0').get('quire_shard_registered'), 0, 'registered')
    equal(cluster.page('shard0', '/readyz')[0], 503, 'a shard without a coordinator')
    cluster.start_coordinator(0)
    for name in ('coordinator0', 'coordinator1', 'shard0'):
        cluster.until_page(name, '/readyz', 200, 'ready')
    cluster.until_metric('shard0', 'quire_shard_registered', 1)
    cluster.until_metric('coordinator0', 'quire_coordinator_shards_up', 1)
    cluster.until_metric('coordinator1', 'quire_coordinator_coordinators_up', 2)
    cluster.until('one of the two leads', lambda: True if sum(
        cluster.metrics(f'coordinator{i}').get('quire_coordinator_leads') for i in (0, 1)) == 1 else None)


def counted(cluster):
    """Each request is counted once, where it was answered, before its sender has the answer."""
    puts, searches, gets, refused = 40, 25, 10, 5
    cluster.create(0, 'counted')
    cluster.until_metric('coordinator0', 'quire_coordinator_ranges', 1)
    cluster.until_page('shard0', '/readyz', 200)
    cluster.env['QUIRE_CONNECT'] = cluster.urls[0]
    coordinator, shard = cluster.metrics('coordinator0'), cluster.metrics('shard0')
    other = cluster.metrics('coordinator1')
    lines = lambda requests, collection='counted': cluster.lines(requests, '--collection', collection)
    done = lines([{'op': 'put', 'entry': {'headword': f'entry {i}', 'body': f'letter number {i}'}} for i in range(puts)])
    done += lines([{'op': 'search', 'query': f'letter {i}'} for i in range(searches)])
    done += lines([{'op': 'get', 'headword': f'entry {i}'} for i in range(gets)])
    check(all(reply['status'] == 0 for reply in done), 'a request failed:', done)
    check(all(r['status'] != 0 for r in lines([{'op': 'search', 'query': 'letter'}] * refused, 'no-such-one')), 'found')

    after = cluster.metrics('coordinator0')
    def grown(name, before=coordinator, now=after, **labels):
        return now.sum(name, **labels) - before.sum(name, **labels)
    requests = 'quire_coordinator_requests_total'
    want = {('write', 'ok'): puts, ('search', 'ok'): searches, ('get', 'ok'): gets, ('search', 'refused'): refused}
    for operation in after.operations(requests) - {'register', 'inquire', 'list'}:
        for outcome in ('ok', 'refused', 'failed'):
            equal(grown(requests, operation=operation, outcome=outcome), want.get((operation, outcome), 0),
                  f'{operation} {outcome}')
    cluster.until('the shard registers all the time', lambda: True if grown(
        requests, now=cluster.metrics('coordinator0'), operation='register', outcome='ok') > 0 else None)
    equal(grown('quire_coordinator_request_seconds', operation='search') > 0, True, 'buckets')
    for metrics, prefix in ((after, 'quire_coordinator'), (cluster.metrics('shard0'), 'quire_shard')):
        for operation in metrics.operations(prefix + '_requests_total') - {'register', 'inquire', 'assign'}:
            equal(metrics.get(prefix + '_request_seconds_count', operation=operation),
                  metrics.sum(prefix + '_requests_total', operation=operation), f'times of {operation}')
    equal(grown(requests, other, cluster.metrics('coordinator1'), operation='search'), 0, 'at the other coordinator')

    # One shard, one range: what the coordinator sent is what the shard got.
    now = cluster.metrics('shard0')
    equal(grown('quire_shard_requests_total', shard, now, operation='write', outcome='ok'), puts, 'writes of the shard')
    equal(now.get('quire_shard_log_append_seconds_count') - shard.get('quire_shard_log_append_seconds_count'), puts,
          'appends: the writes came one after another')
    reads = ('get', 'lookup', 'browse', 'letters', 'match', 'stats', 'search', 'explain')
    def sent_is_got():
        a, b = cluster.metrics('coordinator0'), cluster.metrics('shard0')
        sent = grown('quire_coordinator_shard_calls_total', coordinator, a) + \
            grown('quire_coordinator_shard_retries_total', coordinator, a)
        got = sum(grown('quire_shard_requests_total', shard, b, operation=operation) for operation in reads)
        return True if sent == got >= searches + gets else None
    cluster.until('every call to the shard was counted by both', sent_is_got)
    cluster.until_metric('coordinator0', 'quire_coordinator_searches_total', searches)
    cluster.until_metric('shard0', 'quire_shard_entries', puts)
    cluster.until_metric('shard0', 'quire_shard_ranges', 1, role='primary')

    # The same figures that `quire status` shows.
    cluster.until('status and metrics agree', lambda: agrees_at_rest(cluster))


def agrees_at_rest(cluster):
    """`quire status` itself makes calls (it counts entries), so it is asked first, and the copy in the metrics waited
    for; calls of its own come before or after its figures are taken."""
    told = json.loads(cluster.at(0, 'status', '--json').out)
    time.sleep(0.6)  # a look; when it is later, the next attempt sees it
    seen = cluster.metrics('coordinator0')
    reads = told['reads']
    same = [reads[key] for key in ('again', 'hedges', 'hedges_won', 'given_up')] == [
        seen.get(f'quire_coordinator_shard_{key}_total') for key in ('retries', 'hedges', 'hedges_won', 'calls_cancelled')]
    ranges = len(told['ranges'])
    calls = seen.get('quire_coordinator_shard_calls_total')
    return True if same and reads['calls'] <= calls <= reads['calls'] + ranges and \
        told['map_epoch'] == seen.get('quire_coordinator_map_epoch') else None


def flushed(cluster):
    """More than the memory that a range may take: sooner or later it is flushed, and that is measured."""
    body = ' '.join(f'word{i}' for i in range(5000))
    def attempt():
        entries = [{'op': 'put', 'entry': {'headword': f'large {attempt.n * 20 + i}', 'body': body}} for i in range(20)]
        attempt.n += 1
        cluster.lines(entries, '--collection', 'counted')
        return True if cluster.metrics('shard0').get('quire_shard_flush_seconds_count') > 0 else None
    attempt.n = 0
    cluster.until('a flush is counted', attempt)
    cluster.until('its bytes are on disk', lambda: True if cluster.metrics('shard0').get('quire_shard_disk_bytes') > 0 else None)


def process_figures(cluster):
    """Against what the kernel says."""
    for name, program in (('coordinator0', 'quire-coordinator'), ('shard0', 'quire-shard')):
        pid = cluster.started[name].pid
        # One connection is the question's own; files come and go with background work, so it may take a few attempts.
        cluster.until(f'open files of {name}', lambda: True if abs(cluster.metrics(name).get('process_open_fds') - len(
            os.listdir(f'/proc/{pid}/fd'))) <= 2 else None)
        seen = cluster.metrics(name)
        resident = int(re.search(r'VmRSS:\s+(\d+) kB', open(f'/proc/{pid}/status').read()).group(1)) * 1024
        check(0.5 < seen.get('process_resident_memory_bytes') / resident < 2, 'memory:', resident)
        check(time.time() - 3600 < seen.get('process_start_time_seconds') <= time.time() + 1, 'start')
        version = subprocess.run([os.path.join(BUILD, {'quire-shard': 'shard', 'quire-coordinator': 'coordinator'}[program],
                                               program), '--version'], capture_output=True, text=True).stdout.split()
        equal(seen.get('quire_build_info', program=version[0], version=version[1]), 1, 'build')


def strangers(cluster):
    """Idle and slow connections by the hundred, and the process serves pages and searches."""
    held = []
    for i in range(300):
        held.append(socket.create_connection(('127.0.0.1', cluster.port_of('coordinator0'))))
        try:
            held[-1].send(b'GET /metrics HTT')
        except OSError:
            pass
    equal(cluster.page('coordinator0', '/healthz')[0], 200, '/healthz among strangers')
    cluster.metrics('coordinator0')
    replies = cluster.lines([{'op': 'search', 'query': 'letter'}], '--collection', 'counted')
    equal(replies[0]['status'], 0, 'a search among strangers')
    for s in held:
        s.close()
    link = http.client.HTTPConnection('127.0.0.1', cluster.port_of('shard0'), timeout=60)
    for method, path, status in (('POST', '/metrics', 405), ('GET', '/', 404), ('HEAD', '/metrics', 200)):
        link.request(method, path)
        answer = link.getresponse()
        equal((answer.status, answer.read() if method == 'HEAD' else b''), (status, b''), f'{method} {path}')
        link.close()


def restarted(cluster):
    """A shard that was killed is not ready while it has its ranges to open, and ready again with them."""
    cluster.kill('shard0')
    equal(cluster.page('shard0', '/readyz'), (0, ''), 'a process that is gone')
    cluster.until('the coordinator sees it', lambda: True if cluster.metrics('coordinator0').get(
        'quire_coordinator_ranges_without_primary') == 1 else None)
    equal(cluster.page('coordinator0', '/readyz')[0], 200, 'the coordinator answers, if only with what is missing')
    cluster.start_shard(0)
    cluster.until_page('shard0', '/readyz', 200)
    seen = cluster.metrics('shard0')
    equal((seen.get('quire_shard_replicas', state='open'), seen.get('quire_shard_replicas', state='opening')), (1, 0),
          'ranges of a shard that says that it is ready')
    cluster.until_metric('coordinator0', 'quire_coordinator_ranges_without_primary', 0)
    equal(cluster.lines([{'op': 'get', 'headword': 'entry 1'}], '--collection', 'counted')[0]['status'], 0, 'a get')


def stopping(cluster, name):
    """From the moment it says that it stops it is not ready. Returns what was seen meanwhile."""
    process = cluster.started.pop(name)
    port = cluster.port_of(name)  # noqa: the log is read while it lasts
    process.send_signal(signal.SIGTERM)
    seen = []
    while process.poll() is None:
        began = ' event=stopping ' in cluster.log(name)
        status, text = cluster.page(name, '/readyz')
        if began:
            check(status != 200, f'{name} (port {port}) stops, and says that it is ready')
            seen.append((status, text))
    equal(process.returncode, 0, f'exit code of {name}')
    equal(cluster.page(name, '/readyz'), (0, ''), 'a process that has ended')
    return seen


def stopped(cluster):
    """A shard that others wait for takes its time to go: its coordinators stand still, so nobody takes over."""
    cluster.start_shard(1)
    cluster.until_page('shard1', '/readyz', 200)
    cluster.until_metric('coordinator0', 'quire_coordinator_shards_up', 2)
    cluster.at(0, 'collection', 'create', '--replicas', '2', 'twice')
    cluster.until('both replicas are in sync', lambda: True if cluster.metrics('shard1').get(
        'quire_shard_ranges', role='secondary') + cluster.metrics('shard1').get(
        'quire_shard_ranges', role='primary') >= 1 and cluster.metrics('coordinator0').get(
        'quire_coordinator_ranges_short_of_replicas') == 0 else None)
    for i in (0, 1):
        cluster.started[f'coordinator{i}'].send_signal(signal.SIGSTOP)
    try:
        seen = stopping(cluster, 'shard1')
    finally:
        for i in (0, 1):
            cluster.started[f'coordinator{i}'].send_signal(signal.SIGCONT)
    check(any(status == 503 and 'the shard is stopping' in text for status, text in seen), 'never seen to stop:', seen)
    cluster.until_metric('coordinator0', 'quire_coordinator_shards_up', 1)


def broken_range(cluster):
    """A range that cannot be read keeps its shard from being ready, with the reason; whole again, it is."""
    cluster.kill('shard0')
    path = glob.glob(os.path.join(cluster.data, 'shard0', 'ranges', '*', 'CURRENT'))[0]
    good = open(path, 'rb').read()
    with open(path, 'wb') as file:
        file.write(b'damaged')
    cluster.start_shard(0)
    cluster.until_page('shard0', '/readyz', 503, 'does not open: ')
    equal(cluster.page('shard0', '/healthz')[0], 200, 'a shard with a damaged range lives')
    equal(cluster.metrics('shard0').get('quire_shard_replicas', state='failed'), 1, 'failed replicas')
    cluster.kill('shard0')
    with open(path, 'wb') as file:
        file.write(good)
    cluster.start_shard(0)
    cluster.until_page('shard0', '/readyz', 200)


def incomplete(cluster):
    """Answers with a gap are counted, each once."""
    cluster.start_shard(1)
    cluster.until_metric('coordinator0', 'quire_coordinator_shards_up', 2)
    entries = os.path.join(cluster.dir, 'entries.jsonl')
    with open(entries, 'w') as file:
        for i in range(400):
            file.write(json.dumps({'headword': f'{chr(97 + i % 26)} entry {i}', 'body': f'letter number {i}'}) + '\n')
    cluster.at(0, 'import', '-c', 'halves', entries)
    search = lambda: json.loads(cluster.at(0, 'search', '--json', '-c', 'halves', 'letter', ok=None).out)
    check(search()['complete'], 'a search with both shards')
    before = cluster.metrics('coordinator0').get('quire_coordinator_searches_incomplete_total')
    cluster.kill('shard1')
    cluster.until_metric('coordinator0', 'quire_coordinator_shards_up', 1)
    for _ in range(5):
        check(not search()['complete'], 'a search with one of two shards')
    cluster.until_metric('coordinator0', 'quire_coordinator_searches_incomplete_total', before + 5)


def without_majority(cluster):
    """Queries go on, so it is ready; that nobody leads is in the metrics."""
    cluster.kill('coordinator1')
    cluster.until_metric('coordinator0', 'quire_coordinator_leads', 0)
    cluster.until_metric('coordinator0', 'quire_coordinator_coordinators_up', 1)
    equal(cluster.page('coordinator0', '/readyz')[0], 200, 'a coordinator without a majority')
    stopping(cluster, 'coordinator0')


def options(cluster):
    """One sentence, and the exit code that other options have."""
    taken = f'127.0.0.1:{cluster.port_of("coordinator0")}'
    for program in ('coordinator/quire-coordinator', 'shard/quire-shard'):
        for address, code, words in (('nowhere', 2, '--http is HOST:PORT'), ('127.0.0.1:70000', 2, '--http is HOST:PORT'),
                                     (taken, 1, f'listen for http on {taken}: Address already in use'),
                                     ('no-such-name.invalid:0', 1, 'listen for http on no-such-name.invalid:0: ')):
            done = subprocess.run([os.path.join(BUILD, program), '--dir', os.path.join(cluster.data, 'unused'), '--listen',
                                   'tcp://127.0.0.1:0', '--raft-listen' if 'coord' in program else '--zone', '127.0.0.1:1',
                                   '--http', address], capture_output=True, text=True, timeout=60)
            check(done.returncode == code and words in done.stderr, program, address, done.returncode, done.stderr)


def main():
    parser_can_fail()
    with Seen() as cluster:
        for part in (ready_when_registered, options, counted, flushed, process_figures, strangers, restarted, broken_range,
                     stopped, incomplete, without_majority):
            began = time.monotonic()
            part(cluster)
            print(f'{part.__name__}: ok ({time.monotonic() - began:.1f} s)', flush=True)
    print('ok')


if __name__ == '__main__':
    main()
