#!/usr/bin/env python3
"""Where the time of a search goes: `quire search --trace`, and the line of the log about a slow one, which are about the
same request."""
import os, re, shlex, signal, subprocess, time

from cluster import QUIRE, check, equal, main
from test_http import Seen
from test_load import ENTRIES

LONG = 'harbor ' * 60


class Traced(Seen):
    """One coordinator, two shards, a collection of a range in each."""

    def __init__(self):
        super().__init__()
        self.urls = self.urls[:1]
        self.env['QUIRE_CONNECT'] = self.urls[0]

    def up(self):
        super().up()
        self.start('coordinator0', 'coordinator/quire-coordinator', '--listen', self.urls[0], '--slow-query-ms', '400')
        for i in range(2):
            self.start_shard(i)
            self.until_page(f'shard{i}', '/readyz', 200)
        self.import_entries(ENTRIES)

    def slow_lines(self):
        """The fields of each line about a slow query."""
        lines = [line for line in self.log('coordinator0').splitlines() if 'event="slow query"' in line]
        return [dict(word.split('=', 1) for word in shlex.split(line)) for line in lines]


def check_spans(found, shards):
    spans = found['trace']['spans']
    check(re.fullmatch('[0-9a-f]{16}', found['trace']['id']), 'id', found['trace']['id'])
    equal([s['name'] for s in spans][:2], ['wait', 'parse'], 'the first ones')
    end = max(s['start_us'] + s['took_us'] for s in spans)
    for number, span in enumerate(spans, 1):
        check(0 <= span['parent'] < number, 'a parent comes before', spans)
        within = spans[span['parent'] - 1] if span['parent'] else dict(start_us=0, took_us=end)
        check(within['start_us'] <= span['start_us'] and
              span['start_us'] + span['took_us'] <= within['start_us'] + within['took_us'], 'within its parent', span, within)
        equal('shard' in span, span['name'] == 'call', span)
    search = [n for n, s in enumerate(spans, 1) if s['name'] == 'search'][-1]
    calls = [s for s in spans if s['parent'] == search]
    equal(sorted(s['shard'] for s in calls), sorted(shards), 'each shard is searched once')
    for call in calls:
        equal(call['ranges'], 1, call)
        check(call['worked_us'] <= call['took_us'], 'worked on within the call', call)
    return [s['name'] for s in spans if s['parent'] == 0]


def trees():
    with Traced() as c:
        shards = [f'tcp://127.0.0.1:{port}' for port in c.shard_ports]
        first = c.json('search', '--trace', 'anchor')
        names = check_spans(first, shards)
        check('statistics' in names and names[-1] == 'merge', names)
        second = c.json('search', '--trace', 'anchor')  # what it needs to know is kept
        names = check_spans(second, shards)
        check('statistics' not in names, names)
        check('kept' in second['trace']['spans'][1]['note'], second['trace']['spans'][1])
        check(first['trace']['id'] != second['trace']['id'], 'every request has its own number')
        equal(second['hits'], first['hits'], 'the same answer')
        check('trace' not in c.json('search', 'anchor'), 'only when it is asked for')
        text = c.run('search', '--trace', 'anchor').out.decode()
        for words in (r'\ntrace [0-9a-f]{16}, ms from', r'\n  parse +at ', r'\n  search +at ', r'\n    tcp://127.0.0.1:\d+ +at .*, 1 range, waited '):
            check(re.search(words, text), words, text)

        # A shard stands still for a while.
        c.started['shard0'].send_signal(signal.SIGSTOP)
        process = subprocess.Popen([QUIRE, 'search', '--json', '--trace', '--replica', '0', LONG], env=c.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1)
        c.started['shard0'].send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
        equal(process.returncode, 0, err)
        id = re.search(rb'"trace":\{"id":"([0-9a-f]{16})"', out).group(1).decode()
        line = c.until('a line about it', lambda: next((s for s in c.slow_lines() if s['trace'] == id), None))
        check(float(line['ms']) >= 400, line)
        equal(line['slowest_shard'], shards[0], line)
        equal((line['collection'], line['outcome'], line['slowest_ranges']), ('default', 'ok', '1'), line)
        check(line['query'].startswith('harbor harbor') and line['query'].endswith('...') and len(line['query']) < 250, line)
        check('statistics' in line['rounds'] and 'search' in line['rounds'], line)
        check(all(float(s['ms']) >= 400 for s in c.slow_lines()), 'only slow ones', c.slow_lines())


def errors_name_the_request():
    with Traced() as c:
        c.started['shard1'].send_signal(signal.SIGSTOP)
        done = c.run('search', '--json', '--complete', '--timeout', '900', '--replica', '0', 'anchor', ok=(3,))
        c.started['shard1'].send_signal(signal.SIGCONT)
        check(re.fullmatch('[0-9a-f]{16}', done.json['error']['trace']), done.json)
        check(f'(trace {done.json["error"]["trace"]})'.encode() in done.err, done.err)


if __name__ == '__main__':
    main([trees, errors_name_the_request])
