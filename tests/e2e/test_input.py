"""Bad input: each gets one clear sentence and the right exit code, nothing crashes, nothing is half done."""
import gzip, json, os, random, socket, struct, subprocess

from cluster import Cluster, check, equal, main


def sentence(result, code, *words):
    text = result.err.decode(errors='replace').strip()
    check(result.code == code, f'exit {result.code}, want {code}: {text[:300]}')
    check(text and len(text) < 2000, 'a sentence on standard error, got', repr(text[:300]))
    for w in words:
        check(w.lower() in text.lower(), f'{w!r} is not in: {text[:400]}')


def alive(c):
    equal(len(c.processes()), c.shards + 1, 'processes alive')
    check(c.json('search', 'goodword')['hits'], 'the good entry is still found')


def write(c, name, data):
    path = os.path.join(c.dir, name)
    with open(path, 'wb') as f:
        f.write(data)
    return path


def files():
    rng = random.Random(3)
    with Cluster(shards=2) as c:
        good = json.dumps(dict(headword='good entry', body='goodword')).encode()
        c.run('import', write(c, 'good.jsonl', good + b'\n'))
        sentence(c.run('import', os.path.join(c.dir, 'absent.jsonl'), ok=None), 1, 'absent.jsonl')
        sentence(c.run('import', c.dir, ok=None), 1, 'directory')
        sentence(c.run('import', '--format', 'nonsense', write(c, 'x.jsonl', good), ok=None), 2, 'nonsense')

        mixed = [good, b'{"headword": "cut off', b'{"headword": 5}', b'[1,2]', b'{"headword":"ok two","body":"goodword"}',
                 b'{"headword":"bad \xff\xfe utf8"}', b'{"headword":"nul \\u0000 inside"}', b'{"body":"no headword"}',
                 b'{"headword":""}', b'{"headword":"' + b'x' * 5000 + b'"}', b'{"headword":"deep","attributes":' + b'[' * 5000 + b']' * 5000 + b'}']
        r = c.run('import', '--json', write(c, 'mixed.jsonl', b'\n'.join(mixed)), ok=(1,))
        report = r.json
        equal((report['read'], report['new'], report['unchanged'], report['failed']), (len(mixed), 1, 1, len(mixed) - 2), 'mixed')
        failures = report['failures']
        equal([f['line'] for f in failures], [2, 3, 4, 6, 7, 8, 9, 10, 11], 'lines of the failed')
        check(all(f['file'].endswith('mixed.jsonl') and f['reason'] for f in failures), 'file and reason')

        huge = dict(headword='huge', body='x' * (20 << 20))
        r = c.run('import', '--json', write(c, 'huge.jsonl', json.dumps(huge).encode() + b'\n' + good), ok=(1,)).json
        equal((r['failed'], r['unchanged']), (1, 1), 'an entry of 20 MB fails alone')
        sentence(c.run('put', input=json.dumps(huge).encode(), ok=None), 1, 'MiB')
        large = dict(headword='large', body='word ' * (6 << 18))
        equal(c.run('put', input=json.dumps(large).encode()).code, 0, 'an entry of 7.5 MB goes in')
        equal(c.json('get', 'large')['entries'][0]['body'], large['body'], 'and comes out')

        packed = gzip.compress(good * 2000)
        for name, data in {'cut.jsonl.gz': packed[:len(packed) // 2], 'cut.jsonl.zst': b'\x28\xb5\x2f\xfd' + b'\x04' * 40,
                           'noise.jsonl': rng.randbytes(200_000), 'noise.tsv': rng.randbytes(200_000), 'noise.txt': rng.randbytes(200_000),
                           'zeros.jsonl': b'\0' * 100_000, 'utf16.jsonl': good.decode().encode('utf-16'), 'cut.index': b'word\tA\n',
                           'noise.index': rng.randbytes(5000)}.items():
            r = c.run('import', write(c, name, data), ok=None)
            check(r.code == 1, f'{name}: exit {r.code}', r.err[:200])
            check(name in r.err.decode(errors='replace'), f'{name} is not named:', r.err[:300])
        equal(c.run('import', write(c, 'empty.jsonl', b'')).code, 0, 'an empty file has no entries')
        alive(c)


def requests():
    with Cluster(shards=2) as c:
        c.run('put', input=b'{"headword":"good entry","body":"goodword (a+b)","categories":["one"]}')
        for text in (b'', b'{', b'[]', b'{"headword":1}', b'\xff\xfe', b'{"headword":"x","terms":"y"}', b'{"headword":"x"} trailing'):
            r = c.run('put', input=text, ok=None)
            check(r.code in (1, 2) and r.err.strip(), f'put {text!r}: exit {r.code}')
        sentence(c.run('search', '--json', 'q' * (1 << 16), 'x' * (1 << 16), ok=None), 2)
        for query in ('goodword' * 12000, 'goodword (' + '(' * 5000, '"' * 999, 'goodword ' + ') ' * 100, 'AND OR NOT', '+', '-', '-goodword', '^^^',
                      'goodword^999999', 'field:', 'nofield:goodword', '"goodword', '*', '~', 'goodword~9', 'a' * 60000 + '*', '\\', '::', '()', ' '):
            r = c.run('search', '--json', query, ok=None, timeout=60)
            check(r.code in (0, 1, 2), f'search {query[:40]!r}: exit {r.code}', r.err[:300])
            check(r.code != 2 or r.err.strip(), 'a sentence')
            json.loads(r.out)
        million = 'goodword ' * 120000
        r = c.lines([dict(op='search', query=million)])[0]
        check(r['status'] != 0 and '65536' in r['error'], 'a query of 1 MB names the limit:', str(r)[:200])
        for query in ('good\udcff', 'good\udced\udca0\udc80'):
            r = c.lines([dict(op='search', query_hex=query.encode('utf-8', 'surrogateescape').hex())])[0]
            check(r['status'] != 0 and r['error'], f'{query!r} is refused', r)
        for cursor in ('nonsense', 'AAAA', 'x' * 10000):
            sentence(c.run('search', '--cursor', cursor, 'goodword', ok=None), 2, 'cursor')
        for words in (['search'], ['search', '-n', '0', 'x'], ['search', '-n', '1000000', 'x'], ['search', '-n', 'ten', 'x'], ['browse', '--page', '0'],
                      ['browse', '--page', '-1'], ['browse', '--per-page', '100000'], ['match', '--strategy', 'nonsense', 'x'], ['match', '--distance', '3', '--strategy', 'fuzzy', 'x'],
                      ['nonsense'], [], ['--nonsense'], ['collection'], ['collection', 'create'], ['collection', 'create', 'Bad Name!'],
                      ['collection', 'create', 'x', '--language', 'klingon'], ['collection', 'create', 'x', '--order', 'size'], ['get'], ['delete'], ['define'], ['up', '--shards', '0'],
                      ['up', '--port', '99999'], ['up', '--shards', '1', '--replicas', '2', '--dir', os.path.join(c.dir, 'other')]):
            r = c.run(*words, ok=None)
            sentence(r, 2)
        for words in (['search', '-c', 'absent', 'x'], ['browse', '-c', 'absent'], ['collection', 'drop', 'absent']):
            sentence(c.run(*words, ok=None), 1, 'absent')
        c.env['QUIRE_CONNECT'] = 'tcp://127.0.0.1:1'
        sentence(c.run('search', '--timeout', '500', 'x', ok=None), 3, '127.0.0.1:1')
        c.env['QUIRE_CONNECT'] = 'http://nonsense'
        sentence(c.run('search', 'x', ok=None), 2)
        c.env['QUIRE_CONNECT'] = f'tcp://127.0.0.1:{c.port}'
        alive(c)


def bytes_on_the_wire():
    rng = random.Random(5)
    with Cluster(shards=2) as c:
        c.run('put', input=b'{"headword":"good entry","body":"goodword"}')
        for port in range(c.port, c.port + 3):
            for _ in range(40):
                s = socket.create_connection(('127.0.0.1', port), timeout=5)
                kind = rng.randrange(4)
                data = rng.randbytes(rng.choice((1, 7, 40, 4000, 100000)))
                if kind == 1:
                    data = struct.pack('<I', 0xffffffff) + data
                elif kind == 2:
                    data = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
                try:
                    s.sendall(data)
                    if kind == 3:
                        s.settimeout(0.05)
                        s.recv(100)
                except OSError:
                    pass
                s.close()
        alive(c)


main([files, requests, bytes_on_the_wire])
