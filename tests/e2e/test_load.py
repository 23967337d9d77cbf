"""quire-load: a clean run against a cluster of two replicas, one through the death of a shard, and that it notices what
is lost, changed or gone behind its back."""
import json, os, signal, subprocess, time

from cluster import BUILD, Cluster, check, equal, main

LOAD = os.path.join(BUILD, 'client', 'quire-load')
WORDS = 'anchor bridge candle desert engine forest garden harbor island jungle kettle ladder meadow needle orchid'.split()
ENTRIES = [dict(headword=f'{a} {b}', body=f'{a} of {b} and {WORDS[(i + j) % 15]}')
           for i, a in enumerate(WORDS) for j, b in enumerate(WORDS)]


def start(c, *arguments):
    return subprocess.Popen([LOAD, '--connect', c.env['QUIRE_CONNECT'], '--quiet', '--json', '-', *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=120)
    check(process.returncode in (0, 1), process.returncode, err)
    return process.returncode, json.loads(out)


def clean_run():
    with Cluster(shards=3) as c:
        c.import_entries(ENTRIES)
        code, report = finish(start(c, '--rate', 300, '--duration', 4, '--seed', 1, '--no-errors'))
        equal(code, 0, report['examples'])
        equal(report['errors'], 0, 'errors')
        sent = sum(k['sent'] for k in report['kinds'].values())
        check(900 < sent < 1500, 'sent', sent)
        equal(sum(k['ok'] for k in report['kinds'].values()), sent, 'answered')
        check(all(k['sent'] > 0 for k in report['kinds'].values()), 'every kind', report['kinds'])
        check(report['audited'] >= 500, 'audited', report['audited'])
        equal(len(report['seconds']), 4, 'seconds')
        listed = json.loads(c.run('collection', 'list', '--json').out)
        check('quire-load' not in json.dumps(listed), 'its collection is dropped', listed)


def a_shard_dies():
    with Cluster(shards=3) as c:
        c.import_entries(ENTRIES)
        process = start(c, '--rate', 200, '--duration', 8, '--seed', 2, '--no-errors')
        time.sleep(3)
        os.kill(c.processes()['shard-1'], signal.SIGKILL)
        code, report = finish(process)
        equal(code, 0, report['examples'])
        equal(report['faults'], dict(lost=0, stale=0, duplicate=0, wrong=0, incomplete=0), 'faults')


def what_is_gone_is_noticed():
    with Cluster(shards=3) as c:
        c.import_entries(ENTRIES)
        process = start(c, '--rate', 300, '--duration', 6, '--seed', 3, '--keep', '--keys', 50)
        time.sleep(3)
        c.lines([dict(op='delete', headword=entry['headword']) for entry in ENTRIES[::3]])
        code, report = finish(process)
        equal(code, 1, 'noticed')
        check(report['faults']['lost'] > 0, 'lost', report['faults'])
        check(report['faults']['wrong'] > 0, 'other answers', report['faults'])


def usage():
    for arguments, words in ((['--rate', '0'], '--rate'), (['--mix', 'lookup'], '--mix'), (['--mix', 'write=0'], '--mix'),
                             (['extra'], 'no argument'), (['--clients', '-1'], '--clients')):
        run = subprocess.run([LOAD, *arguments], capture_output=True, text=True)
        equal(run.returncode, 2, arguments)
        check(words in run.stderr, run.stderr)
    run = subprocess.run([LOAD, '--connect', 'tcp://127.0.0.1:9', '--duration', '1'], capture_output=True, text=True)
    equal(run.returncode, 3, 'no cluster')


if __name__ == '__main__':
    main([clean_run, a_shard_dies, what_is_gone_is_noticed, usage])
