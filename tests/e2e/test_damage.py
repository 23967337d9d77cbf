"""What is wrong on a disk is noticed and named, never served: one flipped bit in any file of a stopped shard, a range's
folder that is gone, a log that is gone. QUIRE_FLIPS sets how many bits are tried, one after another (default 24)."""
import contextlib, json, os, random, re, shutil, signal, subprocess, time

from cluster import Cluster, check, equal, main

FLIPS = int(os.environ.get('QUIRE_FLIPS', '24'))
SEED = int(os.environ.get('QUIRE_SEED', str(random.randrange(1 << 31))))
QUESTIONS = ['fence', 'token', 'body0', 'body1', '"norm corpus"', 'stem*']
WORDS = 'index shard range epoch lease posting norm segment replica quorum fence arena token stem corpus'.split()
# Names and options: RocksDB writes them for people, and reads none of it.
MENDED = re.compile('range is damaged here|range to be copied from its primary')
IGNORED = re.compile(r'(^lock|/LOCK|/LOG.*|/IDENTITY|OPTIONS-.*)$')


def entry(i, generation, rng):
    body = ' '.join(rng.choice(WORDS) for _ in range(rng.randrange(5, 150)))
    return dict(headword=f'entry {i:05d}', terms=[f'name {i}'], categories=[f'c{i % 7}'], body=f'body{generation} {body}')


class Shard:
    """The only shard of a cluster, taken over from `quire up` to be stopped and started by itself."""

    def __init__(self, cluster):
        self.cluster = cluster
        (self.name, self.pid), = [(n, p) for n, p in cluster.processes().items() if n.startswith('shard')]
        self.words = open(f'/proc/{self.pid}/cmdline', 'rb').read().split(b'\0')[:-1]
        self.dir = os.path.join(cluster.data, self.name)
        self.log = os.path.join(cluster.data, 'log', 'damaged.log')

    def stop(self, sign=signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sign)
        deadline = time.monotonic() + 30
        while self.name in self.cluster.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        check(self.name not in self.cluster.processes(), 'the shard does not stop')

    def start(self):
        """True when it runs and has said how its range is; False when it has refused to start, with a sentence."""
        with open(self.log, 'wb') as log:
            process = subprocess.Popen(self.words, stdout=log, stderr=log)
        self.pid = process.pid
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if (code := process.poll()) is not None:
                equal(code, 1, f'exit of the shard: {open(self.log).read()[-500:]}')
                return False
            text = open(self.log).read()
            if 'range opened' in text or 'range cannot be opened' in text or 'another cluster' in text:
                return True
            time.sleep(0.02)
        return True


def ask(cluster):
    """Each answer as it has to be, or None for an error or an answer that says it is not complete."""
    answers = []
    for q in QUESTIONS:
        r = cluster.run('search', '--json', '-n', '50', q, ok=None)
        found = r.json if r.out else {}
        answers.append([(h['headword'], h['score'], h['snippet']) for h in found['hits']] if found.get('complete') else None)
    for words in (['get', 'entry 00300'], ['browse', '--per-page', '1000', '--page', '2'], ['define', 'name 77']):
        r = cluster.run(words[0], '--json', *words[1:], ok=None)
        answers.append(r.json if r.code == 0 else None)
    return answers


def load(cluster, rng):
    cluster.import_entries([entry(i, 0, rng) for i in range(2000)])
    cluster.import_entries([entry(i, 1, rng) for i in range(0, 2000, 3)])


def restore(shard, backup):
    shutil.rmtree(shard.dir)
    shutil.copytree(backup, shard.dir)


def flip(path, rng):
    at = rng.randrange(os.path.getsize(path))
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << rng.randrange(8)]))
    return at


def flipped_bits():
    rng = random.Random(SEED)
    print(f'seed {SEED}, {FLIPS} flips', flush=True)
    with Cluster(shards=1, memory=24) as c:
        load(c, rng)
        good, shard = ask(c), Shard(c)
        check(None not in good, 'a sound cluster does not answer')
        shard.stop(signal.SIGKILL if SEED % 2 else signal.SIGTERM)
        backup = os.path.join(c.dir, 'backup')
        shutil.copytree(shard.dir, backup)
        files = [os.path.relpath(os.path.join(d, f), backup) for d, _, names in os.walk(backup) for f in names]
        files = [f for f in files if not IGNORED.search(f) and os.path.getsize(os.path.join(backup, f)) > 0]
        noticed = 0
        for _ in range(FLIPS):
            restore(shard, backup)
            file = rng.choice(files)
            where = f'{file}, byte {flip(os.path.join(shard.dir, file), rng)}'
            if not shard.start():
                noticed += 1
                continue
            answers = ask(c)
            verified = c.run('verify', ok=None)
            for q, a, b in zip(QUESTIONS + ['get', 'browse', 'define'], good, answers):
                check(b is None or a == b, f'{where}: another answer to {q}')
            check(shard.name in c.processes(), f'{where}: the shard has died:', open(shard.log).read()[-500:])
            # A bit that nothing reads (in a footer's padding, say) may stay unnoticed: then nothing is missing.
            check(verified.code != 0 or None not in answers, f'{where}: answers are missing, but verify is content')
            noticed += verified.code != 0 or 'was mended' in open(shard.log).read()
            shard.stop()
        print(f'{noticed} of {FLIPS} noticed', flush=True)
        check(noticed > FLIPS / 3, 'hardly any was noticed')
        restore(shard, backup)
        shard.start()
        equal(ask(c), good, 'the sound copy')
        equal(c.run('verify', ok=None).code, 0, 'verify of the sound copy')
        shard.stop()


def lost_folders():
    rng = random.Random(SEED)
    with Cluster(shards=1, memory=24) as c:
        load(c, rng)
        shard = Shard(c)
        shard.stop()
        backup = os.path.join(c.dir, 'backup')
        shutil.copytree(shard.dir, backup)
        for what, starts in (('ranges', True), ('log', False)):
            restore(shard, backup)
            shutil.rmtree(os.path.join(shard.dir, what))
            equal(shard.start(), starts, f'a shard without its {what} starts')
            time.sleep(1.5)  # what was said before it went down no longer counts
            equal([a for a in ask(c) if a is not None], [], f'answers without {what}')
            check(c.run('verify', ok=None).code != 0, f'verify is content without {what}')
            check('is lost' in open(shard.log).read(), f'nobody says that {what} is lost')
            shard.stop()
        restore(shard, backup)
        check(shard.start(), 'the sound copy starts')
        check(None not in ask(c), 'the sound copy answers')
        shard.stop()


def repaired():
    """With two replicas: bits of one shard's indexes are flipped while it runs. Nothing wrong is ever answered, and it is
    made anew of the other replicas by itself."""
    rng = random.Random(SEED)
    with Cluster(shards=3) as c:
        load(c, rng)
        c.lines([dict(op='search', query='fence')])
        good = ask(c)
        check(None not in good, 'a sound cluster does not answer')
        equal(c.run('verify', '--replicas').code, 0)
        c.run('placement', 'frozen')
        for sign in (signal.SIGTERM, None):  # stopped meanwhile; running
            name = rng.choice([n for n in c.processes() if n.startswith('shard')])
            words = open(f'/proc/{c.processes()[name]}/cmdline', 'rb').read().split(b'\0')[:-1]
            folder = os.path.join(c.data, name, 'ranges')
            if sign:
                os.kill(c.processes()[name], sign)
                until('it has ended', lambda: name not in c.processes())
            files = [os.path.join(d, f) for d, _, names in os.walk(folder) for f in names if f.endswith('.sst')]
            check(files, 'no files of an index')
            for file in files:
                for _ in range(8):
                    flip(file, rng)
            before = sum(len(MENDED.findall(open(p, errors='replace').read())) for p in c.logs())
            if sign:
                with open(os.path.join(c.data, 'log', name + '-again.log'), 'wb') as log:
                    started = subprocess.Popen(words, stdout=log, stderr=log)
            for _ in range(3):
                for q, a, b in zip(QUESTIONS + ['get', 'browse', 'define'], good, ask(c)):
                    check(b is None or a == b, f'another answer to {q}')
                c.run('verify', '--replicas', ok=None)
            until(f'the {len(files)} files of {name} are noticed', lambda: before < sum(
                len(MENDED.findall(open(p, errors='replace').read())) for p in c.logs()))
            until('it is made anew', lambda: whole(c))
            equal(c.json('verify', '--replicas')['problems'], [], 'verify')
            equal(ask(c), good, 'the answers after the repair')
        started.terminate()
        started.wait(30)


def until(what, attempt):
    limit = time.monotonic() + 60
    while not attempt():
        check(time.monotonic() < limit, what, ': did not happen')
        time.sleep(0.1)


def whole(c):
    done = c.run('range', 'list', '--json', ok=None)
    return done.code == 0 and all(len(r['replicas']) == r['replicas_wanted'] and
                                  all(p['state'] == 'serving' and p['role'] != 'learner' for p in r['replicas'])
                                  for r in done.json['ranges'])


if __name__ == '__main__':
    main([flipped_bits, lost_folders, repaired])
