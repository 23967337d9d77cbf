"""Promise P3: with every replica of a range stopped, a search that asks for all of the collection fails and says which
terms are out of reach, one that takes what there is answers and says the same, and lookups elsewhere go on. All of it
for each coordinator-side kind of read, with two replicas of each range on four shards."""
import os, re, signal, time

from cluster import Cluster, check, equal, main

WORDS = [f'{a}{b}{c}word' for a in 'abcdefghijklmnopqrstuvwxyz' for b in 'aeiou' for c in 'lnr']


def ranges_of(c):
    return c.json('status')['ranges']


def node_names(c):
    """Node id -> name of its process, by the port."""
    return {n['id']: f'shard-{int(n["address"].rsplit(":", 1)[1]) - c.port}' for n in c.json('status')['nodes']
            if int(n['address'].rsplit(':', 1)[1]) != c.port}


def all_replicas_of_a_range_stop():
    with Cluster(shards=4) as c:
        c.import_entries([dict(headword=w, body=f'common text of {w}') for w in WORDS])
        ranges = ranges_of(c)
        check(len(ranges) == 4 and all(len(r['in_sync']) == 2 for r in ranges), ranges)
        names = node_names(c)
        victim = next(r for r in ranges if r['lo'] and r['hi'])
        stopped = set(victim['in_sync'])
        gone = [r for r in ranges if set(r['in_sync']) <= stopped]
        there = [r for r in ranges if not set(r['in_sync']) <= stopped]
        check(there, 'some range has a replica elsewhere', ranges)
        for node in stopped:
            os.kill(c.processes()[names[node]], signal.SIGKILL)

        def within(word, some):
            return any((not r['lo'] or r['lo'] <= word) and (not r['hi'] or word < r['hi']) for r in some)

        lost = [w for w in WORDS if within(w, gone)]
        kept = [w for w in WORDS if not within(w, gone)]
        # Lookups elsewhere are untouched, at once: no entry of theirs is in a range that is gone.
        for word in kept[::7]:
            equal([e['headword'] for e in c.json('get', word)['entries']], [word], 'a lookup elsewhere')
        began = time.monotonic()
        complete = c.run('search', '--complete', 'common', ok=(3, 1, 4), timeout=60)
        check(complete.code != 0, 'a complete search fails')
        says = complete.err.decode()
        bounds = [b for r in gone for b in (r['lo'], r['hi']) if b]
        check(any(f'"{b}"' in says for b in bounds), 'it names the range', says, bounds)
        partial = c.json('search', '-n', '1000', 'common', ok=(3,))
        equal(partial['complete'], False, 'partial')
        check(partial['missing'], 'what is missing is named', partial)
        found = {h['headword'] for h in partial['hits']}
        equal(found, set(kept), 'all that is there is found')
        for part in partial['missing']:
            check(all(not ((not part['lo'] or part['lo'] <= w) and (not part['hi'] or w < part['hi'])) for w in kept),
                  'nothing is missing that was found', part)
            check(part['reason'], 'with a reason', part)
        check(all(any((not p['lo'] or p['lo'] <= w) and (not p['hi'] or w < p['hi']) for p in partial['missing'])
                  for w in lost), 'all that is gone is named', partial['missing'])
        failed = c.run('get', lost[0], ok=None, timeout=60)
        check(failed.code != 0 and re.search('cannot be reached|unavailable|down', failed.err.decode()), failed.err)
        check(time.monotonic() - began < 50, 'no request waited for its whole time and another')
        # They come back, and nothing was lost.
        c.up()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            again = c.json('search', '-n', '1000', 'common', ok=(0, 3))
            if again['complete']:
                break
            time.sleep(0.2)
        equal({h['headword'] for h in again['hits']}, set(WORDS), 'everything again')


main([all_replicas_of_a_range_stop])
