"""The command line's contract: names, flags, JSON, exit codes, as scripts rely on them."""
import json, os, pty, re, signal, subprocess

from cluster import Cluster, QUIRE, check, equal, main

ENTRIES = [
    dict(headword='Cramér–Rao bound', terms=['information inequality'], categories=['statistics'],
         body='A **lower bound** on the variance of an [unbiased](http://x.example/link) estimator.\n\n$$\\operatorname{var}(\\hat\\theta) \\ge \\frac{1}{I(\\theta)}$$'),
    dict(headword='estimator', categories=['statistics'], body='A rule that computes an estimate. `mean(x)` is one.'),
    dict(headword='estimator', sense='of cost', categories=['building'], body='A person who estimates the cost of building.'),
    dict(headword='variance', terms=['second central moment', 'var'], categories=['statistics', 'measure'], body='How far values lie from their mean; the estimator of it divides by n - 1.'),
    dict(headword='C++', categories=['language'], body='A programming language. See also C#.'),
    dict(headword='zebra', categories=['animal'], body='| a | b |\n|---|---|\n| stripes | horse |'),
    dict(headword='#', body='The number sign.'),
] + [dict(headword=f'filler {i:03d}', categories=['filler'], body=f'padding text number {i} about nothing') for i in range(120)]

HIT = {'collection', 'headword', 'sense', 'score', 'categories', 'snippet'}


def contract():
    with Cluster(shards=3) as c:
        equal(c.run('search', 'x', ok=(1,)).code, 1, 'no collection yet')
        r = c.import_entries(ENTRIES)
        equal({k: r[k] for k in ('read', 'new', 'changed', 'unchanged', 'failed')},
              dict(read=len(ENTRIES), new=len(ENTRIES), changed=0, unchanged=0, failed=0), 'import')
        names = [x['name'] for x in c.json('collection', 'list')['collections']]
        equal(names, ['default'], 'collections')
        search(c)
        lookup(c)
        writes(c)
        pages(c)
        collections(c)
        watch(c)
        life(c)


def search(c):
    equal(c.json('search', 'estimator variance')['facets']['category'], [], 'no facets unless asked for')
    r = c.json('search', '--facets', '20', 'estimator variance')
    check(set(r) >= {'query', 'total', 'hits', 'facets', 'cursor', 'complete', 'missing', 'took_us'}, 'names of search', sorted(r))
    check(all(set(h) >= HIT for h in r['hits']), 'names of a hit', r['hits'][:1])
    equal((r['complete'], r['missing'], r['query']), (True, [], 'estimator variance'), 'coverage')
    equal(r['total'], dict(value=4, relation='eq'), 'total')
    scores = [h['score'] for h in r['hits']]
    equal(scores, sorted(scores, reverse=True), 'by score')
    equal({f['value']: f['count'] for f in r['facets']['category']}, dict(statistics=3, building=1, measure=1), 'facets')
    equal({h['headword'] for h in c.json('search', '--all', 'estimator variance')['hits']}, {'Cramér–Rao bound', 'variance'}, 'all words')
    equal([h['sense'] for h in c.json('search', '--category', 'building', 'estimator')['hits']], ['of cost'], 'category')
    equal(len(c.json('search', '-n', '2', 'estimator')['hits']), 2, '-n')
    equal([h['headword'] for h in c.json('search', '"lower bound"')['hits']], ['Cramér–Rao bound'], 'phrase')
    equal(c.run('search', '--json', '"bound lower"', ok=(1,)).json['hits'], [], 'phrase in the other order')
    equal([h['headword'] for h in c.json('search', '+estimator -variance -rule')['hits']], ['estimator'], 'must and must not')
    equal([h['headword'] for h in c.json('search', 'strip*')['hits']], ['zebra'], 'prefix')
    equal([h['headword'] for h in c.json('search', 'zebar~')['hits']], ['zebra'], 'near spelling')
    equal([h['headword'] for h in c.json('search', 'headword:variance')['hits']], ['variance'], 'field')
    equal([h['headword'] for h in c.json('search', 'category:"building"')['hits']], ['estimator'], 'category in the query')
    equal([h['headword'] for h in c.json('search', 'c++')['hits']], ['C++'], 'c++ is a word')
    equal(c.run('search', 'qqqqq', ok=(1,)).code, 1, 'nothing found')
    check('unbiased' in (s := c.json('search', 'unbiased')['hits'][0]['snippet']), s)
    for mark in ('**', '](', '`', '|', 'http:'):
        for h in c.json('search', '-n', '50', 'bound estimator mean stripes')['hits']:
            check(mark not in h['snippet'], 'Markdown in a snippet:', h['snippet'])
    check('«unbiased»' in s, 'the matched word is marked', s)
    e = c.json('explain', 'estimator variance', 'variance')
    hit = next(h for h in c.json('search', 'estimator variance')['hits'] if h['headword'] == 'variance')
    equal(e['score'], hit['score'], 'explained score')
    check(abs(sum(t['contribution'] for t in e['terms']) - e['score']) < 1e-9, 'contributions add up', e)
    equal(c.run('explain', 'estimator', 'zebra', ok=(0, 1)).code, 1, 'not matched')
    seen, cursor = [], None
    while True:
        r = c.json('search', '-n', '7', *(['--cursor', cursor] if cursor else []), 'padding nothing')
        seen += [h['headword'] for h in r['hits']]
        equal(r['total']['value'], 120, 'total on every page')
        cursor = r['cursor']
        if not cursor or not r['hits']:
            break
    equal(seen, [h['headword'] for h in c.json('search', '-n', '200', 'padding nothing')['hits']], 'pages add up to the whole')
    check(c.run('search', '--cursor', 'AAAA' + 'B' * 40, 'x', ok=None).code == 2, 'a forged cursor')
    for page in (c.json('search', '-n', '7', 'padding nothing')['cursor'],):
        check(c.run('search', '-n', '7', '--cursor', page, 'another query', ok=None).code == 2, "another query's cursor")


def lookup(c):
    d = c.json('define', 'CRAMER rao  Bound')['entries']
    equal([(e['headword'], e['terms'], e['categories']) for e in d], [('Cramér–Rao bound', ['information inequality'], ['statistics'])], 'define')
    equal(d[0]['body'], ENTRIES[0]['body'], 'body byte for byte')
    check(set(d[0]) >= {'collection', 'headword', 'sense', 'terms', 'categories', 'body', 'version'}, 'names of an entry')
    equal([e['headword'] for e in c.json('define', 'Second Central-Moment')['entries']], ['variance'], 'by other name')
    equal([e['headword'] for e in c.json('define', '#')['entries']], ['#'], 'a headword of punctuation')
    equal(sorted(e['sense'] for e in c.json('get', 'estimator')['entries']), ['', 'of cost'], 'all senses')
    equal([e['sense'] for e in c.json('get', 'estimator', '--sense', 'of cost')['entries']], ['of cost'], 'one sense')
    equal(c.run('get', 'no such', ok=(1,)).code, 1, 'get nothing')
    names = lambda *words: [n['name'] for n in c.json('match', '--strategy', *words)['names']]
    equal(names('exact', 'VAR'), ['var'], 'exact')
    equal(names('prefix', 'var'), ['var', 'variance'], 'prefix')
    equal(names('substring', 'central'), ['second central moment'], 'substring')
    equal(names('fuzzy', 'varaince'), ['variance'], 'fuzzy, a transposition is one')
    equal(names('fuzzy', '--distance', '2', 'varanc'), ['variance'], 'fuzzy 2')
    equal(c.run('match', '--strategy', 'exact', 'nothing like it', ok=(1,)).code, 1, 'no match')
    suggested = c.json('suggest', 'es')
    equal([s['name'] if isinstance(s, dict) else s for s in suggested.get('names', suggested.get('suggestions'))], ['estimator'], 'suggest, deduplicated')


def writes(c):
    put = lambda e, *o, ok=(0,): c.run('put', '--json', *o, input=json.dumps(e).encode(), ok=ok).json
    first = put(dict(headword='quokka', body='a happy animal'))
    equal(first['outcome'], 'new', 'put')
    equal(put(dict(headword='Quokka', body='a happy animal'))['outcome'], 'changed', 'same key, other spelling')
    equal(put(dict(headword='Quokka', body='a happy animal'))['outcome'], 'unchanged', 'same again')
    equal([h['headword'] for h in c.json('search', 'happy')['hits']], ['Quokka'], 'visible')
    equal(c.json('delete', 'quokka')['outcome'], 'deleted', 'delete')
    equal(c.run('delete', 'quokka', ok=(1,)).code, 1, 'delete what is not there')
    equal(c.run('search', 'happy', ok=(1,)).code, 1, 'gone')


def pages(c):
    b = c.json('browse', '--per-page', '50')
    equal((b['total'], b['pages'], b['page'], len(b['entries'])), (127, 3, 1, 50), 'browse')
    equal(b['entries'][0]['headword'], '#', 'key order')
    check(set(b['entries'][1]) >= {'headword', 'sense', 'terms', 'categories'}, 'names')
    equal({x['letter']: x['count'] for x in b['letters']}, {'#': 1, 'C': 2, 'E': 2, 'F': 120, 'V': 1, 'Z': 1}, 'letters')
    equal([e['headword'] for e in c.json('browse', '--letter', 'E')['entries']], ['estimator', 'estimator'], 'letter')
    equal(c.json('browse', '--from', 'filler 1', '--per-page', '3')['entries'][0]['headword'], 'filler 100', 'from')
    equal(c.run('browse', '--letter', 'Q', ok=(0, 1)).code, 1, 'an empty letter')


def collections(c):
    c.run('collection', 'create', 'wörter'.replace('ö', 'oe'), '--language', 'de', '--order', 'category')
    equal([(x['name'], x['order']) for x in c.json('collection', 'list')['collections']], [('default', 'arrival'), ('woerter', 'category')], 'orders')
    equal(c.run('collection', 'create', 'woerter', ok=None).code, 1, 'twice')
    c.run('put', '-c', 'woerter', input='{"headword":"Häuser","body":"Mehrzahl von Haus"}'.encode())
    equal([h['headword'] for h in c.json('search', '-c', 'woerter', 'haus')['hits']], ['Häuser'], 'German stemming')
    equal(c.run('search', 'haus', ok=(1,)).code, 1, 'the other collection does not have it')
    c.run('collection', 'drop', 'woerter')
    equal(c.run('search', '-c', 'woerter', 'haus', ok=(1,)).code, 1, 'dropped')


def life(c):
    s = c.json('status')
    check(set(s) >= {'coordinators', 'nodes', 'ranges'} and len(s['nodes']) == 3, 'status', sorted(s))
    check(all(set(r) >= {'collection', 'lo', 'hi', 'entries', 'bytes'} for r in s['ranges']), 'names of a range', s['ranges'][:1])
    bounds = [(r['lo'], r['hi']) for r in s['ranges']]
    equal((len(bounds), bounds[0][0], bounds[-1][1]), (3, '', ''), 'ranges cover the key space')
    check(all(a[1] == b[0] for a, b in zip(bounds, bounds[1:])), 'ranges meet', bounds)
    v = c.json('verify')
    equal(v['problems'], [], 'verify')
    again = c.run('up', '--dir', c.data)
    check(b'up' in again.out + again.err, 'says that it is up')
    before = c.run('export').out
    c.down()
    equal(c.processes(), {}, 'down stops every process')
    equal(c.run('down', '--dir', c.data).code, 0, 'down again')
    equal(c.run('search', '--timeout', '1000', 'x', ok=None).code, 3, 'unreachable')
    c.up()
    equal(c.run('export').out, before, 'data outlives down')
    running = c.processes()
    os.kill(running['shard-1'], signal.SIGKILL)
    r = c.json('search', '-n', '200', 'padding')
    check(r['complete'] and r['total']['value'] == 120, 'with two replicas one shard may die', r['total'])
    os.kill(running['shard-2'], signal.SIGKILL)  # one of the three ranges was on these two
    r = c.run('search', '--json', '-n', '200', 'padding', ok=None)
    check(r.code in (0, 3) and not r.json['complete'] and r.json['missing'] and r.json['missing'][0]['reason'], 'a gap is named', r.out[:300])
    equal(c.run('define', 'variance', ok=None).code, 3, 'a lookup with a gap says so')
    c.up()
    equal(c.json('search', '-n', '200', 'padding')['total']['value'], 120, 'whole again')


def lines_until(read, enough):
    """What is read, once it is enough; each piece comes when it is written."""
    text = b''
    while not enough(text):
        piece = read()
        check(piece, 'it ended after', text[-500:])
        text += piece
    return text


def watched(c, *words, enough, stream='stdout'):
    """Output of a `status --watch` that is ended with SIGINT; it ends with 0, and no view is cut short."""
    process = subprocess.Popen([QUIRE, 'status', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=c.env)
    pipe = getattr(process, stream)
    text = lines_until(lambda: os.read(pipe.fileno(), 65536), enough)
    process.send_signal(signal.SIGINT)
    text += pipe.read()
    equal(process.wait(timeout=60), 0, f'exit code of status {words}')
    return text.decode()


def watch(c):
    """quire status --watch: one block or document an interval; on a terminal in the same place; Ctrl-C ends it."""
    text = watched(c, '--watch', '1', enough=lambda t: t.count(b'\ncluster ') >= 2)
    blocks = re.split(r'\n\n(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, every 1 s\n)', text.rstrip('\n'))
    check(len(blocks) >= 2 and '\033' not in text, 'blocks', text[:500])
    once = c.run('status', ok=(0, 3)).out.decode()  # 3: a range that was just made does not serve yet
    shape = lambda block: [line.split()[0] for line in block.split('\n') if line and line[0].isalpha()]
    for block in blocks:
        equal(shape(block), shape(once), 'a block is what status shows')
    text = watched(c, '--json', '-w', '1', enough=lambda t: t.count(b'\n') >= 2)
    documents = [json.loads(line) for line in text.splitlines()]
    check(len(documents) >= 2 and all(set(d) == set(c.json('status', ok=(0, 3))) for d in documents), 'documents')
    text = watched(c, '--watch', '1', '--connect', 'tcp://127.0.0.1:1', '--timeout', '200', stream='stderr',
                   enough=lambda t: t.count(b'quire status: ') >= 2)
    for words in (['--watch', '0'], ['--watch', '3601'], ['--watch', 'x'], ['--watch', '1', '2'], ['5']):
        equal(c.run('status', *words, ok=None).code, 2, f'status {words}')
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(QUIRE, [QUIRE, 'status', '--watch', '1'], dict(c.env, TERM='xterm'))
    text = lines_until(lambda: os.read(terminal, 65536), lambda t: t.count(b'\033[H\033[J') >= 2 and t.count(b'given up') >= 2)
    os.write(terminal, b'\x03')
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass  # how the other side of a terminal ends
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, 'exit code after Ctrl-C')
    os.close(terminal)
    process = subprocess.Popen([QUIRE, 'status', '--watch', '1'], stdout=subprocess.PIPE, env=c.env)
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    check(process.wait(timeout=60) != 0, 'it goes on although nobody reads')


def help_and_manual():
    text = subprocess.run([QUIRE, '--help'], capture_output=True, check=True).stdout.decode()
    commands = 'up down collection import export get put delete define browse match suggest search explain status verify'.split()
    for command in commands:
        check(re.search(rf'\b{command}\b', text), 'quire --help names', command)
        r = subprocess.run([QUIRE, command, '--help'], capture_output=True)
        check(r.returncode == 0 and b'quire ' + command.encode() in r.stdout and len(r.stdout) > 200, f'quire {command} --help')
    manual = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'client', 'man', 'quire.1')).read()
    for command in commands:
        check(re.search(rf'\b{command}\b', manual), 'quire.1 names', command)
    for words in (['quire-shard'], ['quire-coordinator']):
        folder = os.path.join(os.path.dirname(QUIRE), '..', words[0].split('-')[1])
        r = subprocess.run([os.path.join(folder, words[0]), '--help'], capture_output=True)
        check(r.returncode == 0 and b'--dir' in r.stdout, words[0], '--help')


main([contract, help_and_manual])
