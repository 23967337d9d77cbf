#!/usr/bin/env python3
"""Too many requests: some are refused early, with an error that says when to come back; every answer that is given is
right; what is counted is what was refused; afterwards all is well."""
import json, os, signal, subprocess

from cluster import BUILD, check, equal, main
from test_http import Seen
from test_load import ENTRIES

LOAD = os.path.join(BUILD, 'client', 'quire-load')


class Small(Seen):
    """One coordinator and one shard, with queues that are soon full."""

    def __init__(self, coordinator, shard):
        super().__init__()
        self.coordinator, self.shard = coordinator, shard
        self.urls = self.urls[:1]
        self.env['QUIRE_CONNECT'] = self.urls[0]

    def up(self):
        super().up()
        self.start('coordinator0', 'coordinator/quire-coordinator', '--listen', self.urls[0], *self.coordinator)
        self.start_shard_with(*self.shard)
        self.until_page('shard0', '/readyz', 200)
        self.import_entries(ENTRIES)

    def start_shard_with(self, *words):
        self.start('shard0', 'shard/quire-shard', '--listen', f'tcp://127.0.0.1:{self.shard_ports[0]}', '--coordinators',
                   self.urls[0], '--memory-bytes', '8M', *words)

    def start_load(self, *arguments):
        return subprocess.Popen([LOAD, '--connect', self.urls[0], '--quiet', '--json', '-', '--mix', 'search=1', '--no-retry',
                                 '--seed', '1', *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def refused(self, name, **labels):
        metrics = self.metrics(name)
        prefix = 'quire_coordinator_' if name.startswith('coordinator') else 'quire_shard_'
        return sum(metrics.get(prefix + 'refusals_total', **{'class': kind, 'reason': reason})
                   for kind in ('cheap', 'search', 'heavy', 'write')
                   for reason in ('queue_full', 'delay', 'deadline', 'memory', 'elsewhere'))


def finish(process):
    out, err = process.communicate(timeout=120)
    equal(process.returncode, 0, err + out[-2000:])
    return json.loads(out)


def all_is_well(c):
    found = c.json('search', 'anchor')
    check(found['complete'] and found['total']['value'] == 43, 'search afterwards', found['total'])
    for name in ('coordinator0', 'shard0'):
        c.until_metric(name, ('quire_coordinator_' if name[0] == 'c' else 'quire_shard_') + 'requests_waiting', 0,
                       **{'class': 'search'})


def the_coordinator_refuses():
    with Small(['--searches', '1', '--queue-limit', '1'], []) as c:
        # More than one at a time can do; and what comes at random comes in bursts, on any machine.
        process = c.start_load('--rate', 5000, '--duration', 4)
        refusal = None
        while refusal is None and process.poll() is None:
            done = c.run('search', '--json', '--timeout', '150', 'bridge', ok=(0, 3))
            if done.code == 3 and done.json['error']['code'] == 'overloaded':
                refusal = done
        report = finish(process)
        search = report['kinds']['search']
        check(search['ok'] > 0, 'some were answered', search)
        check(search['refused'] > 0, 'some were refused', search)
        equal(search['ok'] + search['refused'], search['sent'], 'each is one of both')
        equal(sum(report['faults'].values()), 0, report['examples'])
        check(refusal is not None, 'the command line was refused once')
        check(refusal.json['error']['retry_after_ms'] >= 20, 'the hint', refusal.json)
        check(b'overloaded' in refusal.err and b'try again in' in refusal.err, 'a sentence', refusal.err)
        refused = c.until('the refusals are counted', lambda: n if
                          (n := c.refused('coordinator0')) >= search['refused'] + 1 else None)
        check(c.json('status')['reads']['refused'] >= refused, 'in status, too')
        all_is_well(c)


def the_shard_refuses():
    with Small([], ['--threads', '1', '--queue-limit', '1', '--queue-target-ms', '0']) as c:
        report = finish(c.start_load('--rate', 5000, '--duration', 2))
        search = report['kinds']['search']
        check(search['ok'] > 0 and search['refused'] > 0, 'some were answered, some refused', search)
        equal(search['ok'] + search['refused'], search['sent'], 'each is one of both')
        equal(sum(report['faults'].values()), 0, report['examples'])
        c.until('the shard has refused some', lambda: True if c.refused('shard0') > 0 else None)
        c.until('the coordinator lets fewer through', lambda: True if
                c.metrics('coordinator0').get('quire_coordinator_searches_limit') < 64 else None)
        all_is_well(c)


def near_the_memory_limit():
    with Small([], []) as c:
        want = c.json('search', 'anchor')['hits']
        entry = c.json('get', 'anchor anchor')
        stored = c.run('export').out
        c.kill('shard0', signal.SIGTERM)
        c.start_shard_with('--memory-limit', '1M')  # any process has more than that
        c.until_page('shard0', '/readyz', 200)
        c.until_metric('shard0', 'quire_shard_memory_pressure', 2)
        for words in (['put'], ['verify']):
            done = c.run(*words, '--json', '--timeout', '300', input=b'{"headword": "new"}', ok=(1, 3))
            check(b'near its memory limit' in done.out + done.err, words, done.out, done.err)
        equal(c.json('search', 'anchor')['hits'], want, 'searches go on')
        equal(c.json('get', 'anchor anchor'), entry, 'look-ups go on')
        c.kill('shard0', signal.SIGTERM)
        c.start_shard_with()
        c.until_page('shard0', '/readyz', 200)
        equal(c.run('export').out, stored, 'nothing was lost or added')
        c.run('put', input=b'{"headword": "new"}')


def options():
    for program, words in (('coordinator/quire-coordinator', ['--searches', '0']),
                           ('coordinator/quire-coordinator', ['--queue-limit', 'many']),
                           ('coordinator/quire-coordinator', ['--queue-target-ms', '-1']),
                           ('coordinator/quire-coordinator', ['--memory-limit', '0']),
                           ('shard/quire-shard', ['--memory-limit', 'much']),
                           ('shard/quire-shard', ['--queue-limit', '0']),
                           ('shard/quire-shard', ['--queue-target-ms', '60001'])):
        run = subprocess.run([os.path.join(BUILD, program), '--dir', '/nowhere', *words], capture_output=True, text=True)
        equal(run.returncode, 2, words)
        check(words[0] in run.stderr, run.stderr)


if __name__ == '__main__':
    main([the_coordinator_refuses, the_shard_refuses, near_the_memory_limit, options])
