"""Promise P1, visibility: a client that puts and at once searches always sees its entry; four clients at a time, each
with its own words, while flushes and merges go on underneath. QUIRE_ROUNDS: writes for each client (default 300)."""
import os, threading

from cluster import Cluster, check, equal, main

ROUNDS = int(os.environ.get('QUIRE_ROUNDS', '300'))


def put_then_search():
    with Cluster(shards=3) as c:
        c.import_entries([dict(headword=f'{a}{b} seed', body='seed') for a in 'abcdefghijklmnopqrstuvwxyz' for b in 'aeiou'])
        problems = []

        def client(n):
            requests = []
            for i in range(ROUNDS):
                word = f'zq{n}x{i}'
                entry = dict(headword=f'{"aghmrtz"[i % 7]}{word}', body=f'unique{word} body', categories=['live'])
                requests += [dict(op='put', entry=entry), dict(op='search', query=f'unique{word}', limit=5),
                             dict(op='define', term=entry['headword']),
                             dict(op='put', entry=dict(entry, body=f'other{word} body')),
                             dict(op='search', query=f'unique{word} other{word}', limit=5)]
                if i % 3 == 0:
                    requests += [dict(op='delete', headword=entry['headword']), dict(op='search', query=f'other{word}', limit=5)]
            try:
                for request, reply in zip(requests, c.lines(requests)):
                    check(reply['status'] == 0, request, reply)
                    if request['op'] == 'search':
                        gone = request['query'].startswith('other')
                        equal(len(reply['hits']), 0 if gone else 1, f'hits of {request["query"]}')
                        check(reply['complete'], 'complete')
                    elif request['op'] == 'define':
                        equal(len(reply['entries']), 1, 'define')
            except Exception as e:  # noqa: reported below, from the main thread
                problems.append(f'client {n}: {e}')

        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check(not problems, *problems)
        equal(c.run('verify').code, 0, 'verify')


main([put_then_search])
