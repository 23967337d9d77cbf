#!/usr/bin/env python3
"""Backup and restore: into a cluster of another shape with the same answers to the last bit; under load, with all that was
acknowledged before; the second one shares files with the first; a flipped bit is found and nothing is half restored;
kill -9 of `quire backup`, and of a shard while it runs."""
import glob, json, os, random, shutil, signal, subprocess, threading, time

from cluster import Cluster, LINES, QUIRE, check, equal, main

SEED = int(os.environ.get('QUIRE_SEED', str(random.randrange(1 << 31))))
WORDS = ('anchor bridge candle desert engine forest garden harbor island jungle kettle ladder meadow needle orchid '
         'pepper quarry ribbon saddle temple umbrella valley window yellow zephyr').split()
QUERIES = [dict(op='search', query=q, limit=30, facets=30, total_limit=100000) for q in
           ('anchor bridge', '"garden harbor"', '+kettle -ladder', 'zeph*', 'candel~', 'headword:desert engine',
            'category:forest island', '(anchor OR valley) AND window', '"meadow orchid"~4')]
QUERIES += [dict(op='define', term='alias 77'), dict(op='define', term='unicode name')]
COMMANDS = [('browse', '--letter', 'J', '--per-page', '20', '--page', '2'), ('suggest', 'jun'), ('match', '--strategy', 'fuzzy', 'alias 7'),
            ('search', '--facets', '9', '+anchor'), ('explain', 'bridge anchor', 'first')]


def entry(i, rng, size=60):
    return dict(headword=f'{rng.choice(WORDS)} {rng.choice(WORDS)} {i}', sense='second' if i % 17 == 0 else '',
                terms=[f'alias {i}'] + (['Ünïcode – näme'] if i % 50 == 0 else []), categories=[rng.choice(WORDS) for _ in range(i % 3)],
                body=f'**{i}**\n' + ' '.join(rng.choice(WORDS) for _ in range(rng.randrange(5, size))) + ' "quoted" \\ \t \u2028',
                source=f'page {i % 9}', **(dict(attributes={'z': '1', 'a': 'x\ny'}) if i % 5 == 0 else {}))


def answers(c, collection):
    """What a cluster says, without what belongs to it alone: times, signatures, versions."""
    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in ('took_us', 'cursor', 'version', 'collection')}
        return [strip(v) for v in value] if isinstance(value, list) else value
    said = [strip(r) for r in c.lines(QUERIES, '--collection', collection)]
    check(sum(r['total'] > 0 for r in said if 'total' in r) > 6, 'queries that find something', said)
    return json.dumps(said + [strip(c.json(*words, '-c', collection)) for words in COMMANDS], sort_keys=True)


def exported(c, collection):
    return c.run('export', '-c', collection).out


def folder(c):
    return os.path.join(c.dir, 'backups')


def names(c):
    return [x['name'] for x in c.json('collection', 'list')['collections']]


def fill(c, count, size=60, long=0, language='de'):
    rng = random.Random(SEED)
    c.run('collection', 'create', 'words', '--language', language, '--order', 'category', '--replicas', '2')
    c.import_entries([dict(headword='first', body='anchor and bridge')] + [dict(headword='long', body='A long one. ' * 100000)] * long +
                     [entry(i, rng, size) for i in range(1, count)],
                     collection='words')


def another_shape():
    with Cluster(shards=3) as c, Cluster(shards=1) as other:
        fill(c, 1500, long=1)
        c.run('collection', 'create', 'hollow')
        c.import_entries([dict(headword='#', body='sign')], collection='signs')
        before, all_before = answers(c, 'words'), exported(c, 'words')
        made = c.json('backup', folder(c))
        equal((made['backup'], made['entries'], made['new_files']), (1, 1502, made['files']), 'the first one')
        equal({x['name']: x['entries'] for x in made['collections']}, dict(words=1501, hollow=0, signs=1), 'collections')
        equal(other.json('restore', folder(c))['entries'], 1502, 'restored')
        equal(sorted(names(other)), ['hollow', 'signs', 'words'], 'collections there')
        equal(answers(other, 'words'), before, 'answers of another shape')
        equal(exported(other, 'words'), all_before, 'entries of another shape')
        equal(other.json('verify')['problems'], [], 'verify')
        settings = [[{k: v for k, v in x.items() if k not in ('ranges', 'replicas')} for x in k.json('collection', 'list')['collections']]
                    for k in (c, other)]
        equal(settings[1], settings[0], 'settings')

        # A name that is taken, another name, in the place of one.
        failed = other.run('restore', '-c', 'words', folder(c), ok=(1,))
        check(b'already' in failed.err, failed.err)
        other.run('put', '-c', 'words', input=b'{"headword":"later"}')
        equal(other.json('restore', '-c', 'words', '--as', 'copy', folder(c))['collections'][0]['name'], 'copy')
        equal(answers(other, 'copy'), before, 'under another name')
        other.run('restore', '-c', 'words', '--replace', folder(c))
        equal(exported(other, 'words'), all_before, 'in the place of another')
        shutil.rmtree(folder(c))  # nothing there, and something else there
        equal(c.run('restore', folder(c), ok=None).code, 1, 'no backups')
        os.mkdir(folder(c))
        open(os.path.join(folder(c), 'letter'), 'w').close()
        check(b'something else' in c.run('backup', folder(c), ok=(1,)).err, 'a folder of something else')


def shares_files():
    with Cluster(shards=3) as c:
        fill(c, 4000, size=200)
        first = c.json('backup', folder(c))
        second = c.json('backup', folder(c))
        equal((second['new_files'], second['unchanged_parts']), (0, second['parts']), 'nothing was written between')
        rng = random.Random(SEED)
        kept = exported(c, 'words')
        lines = kept.splitlines()
        for line in rng.sample(lines, 5):
            e = json.loads(line)
            e['body'] += ' changed'
            c.run('put', '-c', 'words', input=json.dumps(e).encode())
        third = c.json('backup', folder(c))
        check(0 < third['new_file_bytes'] < first['file_bytes'] / 2, 'new', third['new_file_bytes'], 'of', first['file_bytes'])
        check(third['new_files'] <= 15, 'new files', third['new_files'])
        equal([b['backup'] for b in c.json('backup', '--list', folder(c))['backups']], [1, 2, 3], 'list')
        c.run('restore', '--backup', '2', '--as', 'then', folder(c))
        equal(exported(c, 'then'), kept, 'an older one')
        last = c.json('backup', '--keep', '1', folder(c), '-c', 'words')
        equal((last['backup'], last['removed']['backups']), (4, 3), 'kept')
        check(last['removed']['files'] > 0, 'removed', last['removed'])
        equal(c.json('backup', '--verify', folder(c))['problems'], [], 'verify')
        have = {os.path.basename(p) for p in glob.glob(folder(c) + '/files/*/*')}
        equal(len(have), last['files'], 'files that are left')


def damage():
    with Cluster(shards=2) as c:
        fill(c, 1500)
        c.run('backup', folder(c))
        with open(glob.glob(folder(c) + '/files/*/*')[0], 'ab') as f:
            f.write(b'x')
        check(c.json('backup', folder(c))['unchanged_parts'] > 0, 'parts that are as they were')
        equal(c.json('backup', '--verify', folder(c))['problems'], [], 'a block is mended by the next backup that holds it')
        os.unlink(folder(c) + '/backups/2')
        c.run('collection', 'drop', 'words')
        files = glob.glob(folder(c) + '/files/*/*') + glob.glob(folder(c) + '/backups/*')
        check(len(files) > 3, 'files', files)
        rng = random.Random(SEED)
        for path in files:
            content = open(path, 'rb').read()
            at = rng.randrange(8 * len(content))
            flipped = bytearray(content)
            flipped[at // 8] ^= 1 << at % 8
            for how in (bytes(flipped), content[:-1], None):
                if how is None:
                    os.unlink(path)
                    if '/backups/' in path:
                        continue  # without a manifest it is no backup
                else:
                    open(path, 'wb').write(how)
                bad = c.run('backup', '--verify', '--json', folder(c), ok=(1,))
                equal(len(bad.json['problems']), 1, f'problems of {path}, bit {at}')
                failed = c.run('restore', folder(c), ok=(1,))
                check(path in failed.err.decode() and failed.err.count(b'\n') == 1, failed.err)
                equal(names(c), [], 'nothing is restored')
            open(path, 'wb').write(content)
        equal(c.json('backup', '--verify', folder(c))['problems'], [], 'as it was')
        c.run('restore', folder(c))


def under_load():
    with Cluster(shards=3) as c:
        fill(c, 2000)
        acknowledged, stop = {}, threading.Event()

        def write(lane):
            rng, serial = random.Random(SEED + lane), 0
            while not stop.is_set():
                batch = [dict(op='put', entry=dict(headword=f'{rng.choice(WORDS)} load {lane} {rng.randrange(150)}', body=f'{serial + i}'))
                         for i in range(40)]
                for request, reply in zip(batch, c.lines(batch, '--collection', 'words')):
                    if reply['outcome'] in ('new', 'changed', 'unchanged'):
                        acknowledged[request['entry']['headword']] = int(request['entry']['body'])
                serial += 40
        writers = [threading.Thread(target=write, args=(lane,)) for lane in range(3)]
        for t in writers:
            t.start()
        try:
            for number in (1, 2):
                wanted = len(acknowledged) + 60
                deadline = time.monotonic() + 60
                while len(acknowledged) < min(wanted, 300) and time.monotonic() < deadline:
                    time.sleep(0.02)
                before = dict(acknowledged)
                made = c.json('backup', folder(c))
                equal(made['backup'], number, 'backup')
                check(before, 'writes were acknowledged before')
                c.run('restore', '--backup', str(number), '-c', 'words', '--as', f'then-{number}', folder(c))
                there = {e['headword']: e for e in map(json.loads, exported(c, f'then-{number}').splitlines())}
                missing = [h for h in before if h not in there or int(there[h]['body']) < before[h]]
                equal(missing, [], 'acknowledged before, and not in the backup')
        finally:
            stop.set()
            for t in writers:
                t.join()
        equal(c.json('verify')['problems'], [], 'verify')


def start_backup(c):
    return subprocess.Popen([QUIRE, 'backup', '--json', folder(c)], env=c.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def stopped_in_the_middle(c, had):
    """A backup that is stopped while it writes files; None when it was too quick."""
    process = start_backup(c)
    while process.poll() is None:
        if len(glob.glob(folder(c) + '/files/*/*')) > had:
            process.send_signal(signal.SIGSTOP)
            return process
        time.sleep(0.001)
    process.communicate()
    return None


def shard_of(c):
    return min((name, pid) for name, pid in c.processes().items() if name.startswith('shard'))[1]


def meanwhile(c, what, had):
    """A backup that loses snapshots while it is stopped; again when it had read all by then."""
    for attempt in range(5):
        process = stopped_in_the_middle(c, had)
        check(process is not None, 'the backup was stopped')
        what()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=120)
        equal(process.returncode, 0, err)
        made = json.loads(out)
        equal(made['entries'], 5000, 'entries')
        equal(c.json('backup', '--verify', folder(c))['problems'], [], 'verify')
        if made['taken_again'] > 0:
            return made
        c.up()
        shutil.rmtree(folder(c))
        had = 0
    check(False, 'no snapshot was lost', made)


def kills():
    with Cluster(shards=3) as c:
        fill(c, 5000, size=300, language='none')
        for attempt in range(20):
            process = stopped_in_the_middle(c, 0)
            if process is not None and not os.path.exists(folder(c) + '/backups/1'):
                break
            if process is not None:
                process.kill()
                process.communicate()
            shutil.rmtree(folder(c))
        process.kill()
        process.communicate()
        left = len(glob.glob(folder(c) + '/files/*/*'))
        check(left > 0, 'files of the backup that was killed')
        equal(c.json('backup', '--list', folder(c))['backups'], [], 'no backup')
        equal(c.run('restore', '--as', 'none', folder(c), ok=None).code, 1, 'nothing to restore')

        # Again, and this time a shard dies.
        made = meanwhile(c, lambda: os.kill(shard_of(c), signal.SIGKILL), left)
        check(made['new_files'] < made['files'], 'goes on from files that were there', made['new_files'], made['files'])
        c.up()
        c.run('restore', '--as', 'then', folder(c))
        equal(exported(c, 'then'), exported(c, 'words'), 'entries')
        c.run('collection', 'drop', 'then')

        # Once more, and every range is split before it is read to its end.
        shutil.rmtree(folder(c))
        made = meanwhile(c, lambda: [c.run('range', 'split', '--range', str(r['id'])) for r in c.json('range', 'list')['ranges']], 0)
        check(made['parts'] > 3, 'parts', made)
        c.run('restore', '--as', 'then', folder(c))
        equal(exported(c, 'then'), exported(c, 'words'), 'entries of ranges that were split')

        # A restore that is interrupted leaves nothing; one that is killed leaves a name that is taken.
        for number, left in ((signal.SIGINT, False), (signal.SIGKILL, True)):
            for attempt in range(20):
                process = subprocess.Popen([QUIRE, 'restore', '--as', 'half', folder(c)], env=c.env, stderr=subprocess.PIPE)
                while 'half' not in names(c) and process.poll() is None:
                    pass
                process.send_signal(number)
                process.communicate(timeout=60)
                if process.returncode != 0:
                    break
                c.run('collection', 'drop', 'half')  # it was too quick
            check(process.returncode != 0, 'the restore was interrupted')
            equal('half' in names(c), left, f'a collection after signal {number}')
        check(b'already' in c.run('restore', '--as', 'half', folder(c), ok=(1,)).err, 'the name is taken')
        c.run('restore', '--as', 'half', '--replace', folder(c))
        equal(exported(c, 'half'), exported(c, 'words'), 'whole again')


if __name__ == '__main__':
    print(f'seed {SEED}', flush=True)
    main([another_shape, shares_files, damage, under_load, kills])
