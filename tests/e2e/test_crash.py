"""kill -9 of any process at any moment during imports: after restart every acknowledged entry is there, `verify` is
clean, and running the import again completes the rest. QUIRE_KILLS sets how many kills (default 100)."""
import json, os, random, signal, subprocess, time

from cluster import Cluster, LINES, check, equal, main

KILLS = int(os.environ.get('QUIRE_KILLS', '100'))
SEED = int(os.environ.get('QUIRE_SEED', str(random.randrange(1 << 31))))
WORDS = 'index shard range epoch lease posting norm segment replica quorum fence arena token stem corpus'.split()


def entry(i, generation, rng):
    body = ' '.join(rng.choice(WORDS) for _ in range(rng.randrange(5, 600)))
    return dict(headword=f'{rng.choice(WORDS)[:3]} entry {i:05d}', terms=[f'name {i}'], categories=[f'c{i % 7}'],
                body=f'generation {generation} {body}')


def kills():
    rng = random.Random(SEED)
    print(f'seed {SEED}, {KILLS} kills', flush=True)
    with Cluster(shards=3, memory=24) as c:  # so little that flushes and merges go on all the time
        # A base load from which the ranges are cut, so that all three shards hold some of it.
        base = [entry(i, 0, rng) for i in range(600)]
        c.import_entries(base)
        acknowledged = {e['headword']: e for e in base}
        history = {}  # of each headword: the writes that were answered, were not, and were made again
        killed = serial = lost_connection = 0
        victims = {}
        while killed < KILLS:
            words = list(acknowledged)
            batch, chosen = [], set()  # each entry once: writes in flight together have no order
            for _ in range(rng.randrange(200, 1200)):
                word = rng.choice(words)
                if rng.random() < 0.3 and word not in chosen:
                    chosen.add(word)
                    old = acknowledged[word]
                    batch.append(dict(old, body=f'{old["body"]} again {serial}'))
                else:
                    batch.append(entry(1000 + serial, serial, rng))
                serial += 1
            # One entry after another, with up to 64 in flight; what was acknowledged is printed as it happens.
            writer = subprocess.Popen([LINES, '--pipeline', '64', '--timeout', '20000'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, env=c.env)
            data = ''.join(json.dumps(dict(op='put', id=i, entry=e)) + '\n' for i, e in enumerate(batch)).encode()
            os.set_blocking(writer.stdout.fileno(), True)
            feeder = os.fork()
            if feeder == 0:
                try:
                    writer.stdin.write(data)
                    writer.stdin.close()
                except BrokenPipeError:
                    pass
                os._exit(0)
            writer.stdin.close()
            time.sleep(rng.random() ** 2 * 0.4)
            running = c.processes()
            for name in rng.sample(sorted(running), 1 if rng.random() < 0.8 else 2):
                os.kill(running[name], signal.SIGKILL)
                victims[name.split('-')[0]] = victims.get(name.split('-')[0], 0) + 1
                killed += 1
            time.sleep(rng.random() * 0.1)
            writer.terminate()  # what it has not printed may or may not have been written
            uncertain = {}
            answered = set()
            for line in writer.stdout:
                if not line.endswith(b'\n'):
                    break
                reply = json.loads(line)
                answered.add(reply['id'])
                e = batch[reply['id']]
                history.setdefault(e['headword'], []).append((killed, 'status', reply['status'], e['body'][-20:]))
                if reply['status'] == 0:
                    acknowledged[e['headword']] = e
                    uncertain.pop(e['headword'], None)
                else:
                    lost_connection += 1
                    uncertain.setdefault(e['headword'], []).append(e)
            writer.wait()
            os.waitpid(feeder, 0)
            for i, e in enumerate(batch):
                if i not in answered:
                    history.setdefault(e['headword'], []).append((killed, 'not answered', e['body'][-20:]))
                    uncertain.setdefault(e['headword'], []).append(e)
            c.up()  # starts what is missing
            if rng.random() < 0.15 or killed >= KILLS:
                compare(c, acknowledged, uncertain, history)
            for word, versions in uncertain.items():  # complete the rest: write them again
                acknowledged[word] = versions[-1]
                history[word].append((killed, 'imported', versions[-1]['body'][-20:]))
            if uncertain:
                r = c.import_entries([acknowledged[w] for w in uncertain])
                equal(r['failed'], 0, 'entries that failed when the import was run again')
        compare(c, acknowledged, {}, history)
        print(f'{killed} kills {victims}, {len(acknowledged)} entries, {lost_connection} unacknowledged writes', flush=True)


def compare(c, acknowledged, uncertain, history):
    verify = c.run('verify', '--json', ok=None)
    check(verify.code == 0, 'verify after a kill:', verify.out.decode()[:2000], verify.err.decode()[:500])
    stored = {}
    for line in c.run('export').out.splitlines():
        e = json.loads(line)
        stored[e['headword']] = e
    for word, e in acknowledged.items():
        got = stored.pop(word, None)
        check(got is not None, 'an acknowledged entry is lost:', word, history.get(word))
        allowed = [e['body']] + [u['body'] for u in uncertain.get(word, [])]
        check(got['body'] in allowed, 'an acknowledged entry went back:', word, 'stored:', got['body'][-20:],
              'allowed:', [a[-20:] for a in allowed], 'history:', history.get(word))
    unexpected = set(stored) - set(uncertain)
    check(not unexpected, 'entries nobody wrote:', sorted(unexpected)[:5])


main([kills])
