"""The four glossary pages: what the issue states of them, checked through the command line against the files."""
import glob, json, os, re

from cluster import Cluster, check, corpus, equal, main

STRUCTURED = 'model card,documentation,transparency'


def pages():
    folder = corpus('ai-glossary')
    return sorted(glob.glob(os.path.join(folder, 'page-*.txt'))) if folder else None


def counts(report):
    return {k: report[k] for k in ('read', 'new', 'changed', 'unchanged', 'failed')}


def exported(cluster):
    return [json.loads(line) for line in cluster.run('export').out.splitlines()]


def glossary():
    files = pages()
    if files is None:
        return
    text = ''.join(open(f, encoding='utf-8', newline='').read() for f in files)
    with Cluster(shards=3) as c:
        dry = c.json('import', '--dry-run', *files)
        equal((dry['read'], dry['failed']), (200, 0), 'dry run')
        first = c.json('import', *files)
        equal(counts(first), dict(read=200, new=138, changed=0, unchanged=62, failed=0), 'first import')
        equal(counts(c.json('import', *files)), dict(read=200, new=0, changed=0, unchanged=200, failed=0), 'second import')
        equal(counts(c.json('import', *reversed(files)))['new'], 0, 'import in the other order')

        entries = exported(c)
        equal(len(entries), 138, 'entries')
        equal(len({e['headword'] for e in entries}), 116, 'distinct headwords')
        for e in entries:
            check(e['body'] and e['body'] in text, 'body is not in the pages byte for byte:', e['headword'], e['body'][:80])
            check(not e['body'].startswith('\n') and not e['body'].endswith('\n'), 'body is not trimmed', e['headword'])

        cards = [e for e in c.json('get', 'model card')['entries'] if 'documentation' in e.get('sense', '')]
        both = [e for e in cards if set(e['terms']) == {'documentation', 'transparency'}]
        equal(len(both), 2, STRUCTURED)
        check(both[0]['body'] != both[1]['body'], 'the two model cards differ')
        equal(len(c.json('get', 'model merging')['entries']), 5, 'model merging')

        headwords = {e['headword'] for e in entries}
        for word in ('mosfet equations', 'model merging', 'moe', 'molgan'):
            check(word in headwords, 'header line with capitals or repeats missed:', word)
        for line in ('1. Design query distribution (uniform random', 'I_D', 'LLM training is **the foundation of modern AI capabilities**',
                     'for x', 'def extract_model(target_api'):
            check(line not in headwords, 'taken for a header line:', line)

        found = c.json('define', 'int8 int4 quantization')['entries']
        check(found and all('int8 int4 quantization' in e['terms'] for e in found), 'define by other name')
        equal(len(found), sum('int8 int4 quantization' in e.get('terms', []) for e in entries), 'define finds them all')
        equal(c.run('define', '--json', 'no such thing at all', ok=(1,)).json['entries'], [], 'define nothing')

        browse(c, entries)
        again = os.path.join(c.dir, 'again.jsonl')
        open(again, 'wb').write(c.run('export').out)
        equal(counts(c.json('import', again)), dict(read=138, new=0, changed=0, unchanged=138, failed=0), 'export, import')
        verify = c.run('verify', '--json')
        equal(verify.code, 0, 'verify')

        c.down()
        c.up()
        equal(len(exported(c)), 138, 'entries after a restart')
        table = [e for e in entries if re.search(r'^\|---|\|-+\|', e['body'], re.M)]
        fence = [e for e in entries if '```' in e['body']]
        formula = [e for e in entries if '$' in e['body']]
        check(table and fence and formula, 'tables, fences and formulas are among the bodies')


def browse(c, entries):
    got, page = [], 1
    while True:
        b = c.json('browse', '--page', str(page))
        equal((b['total'], b['pages'], b['page']), (138, 3, page), 'browse totals')
        equal(len(b['entries']), 50 if page < 3 else 38, 'entries a page')
        got += b['entries']
        if page == b['pages']:
            break
        page += 1
    key = lambda e: (re.sub(r'[^a-z0-9]+', ' ', e['headword'].lower()).strip(), e.get('sense', '').encode())
    equal([(e['headword'], e['sense']) for e in got],
          [(e['headword'], e.get('sense', '')) for e in sorted(entries, key=key)], 'key order')
    want = {}
    for e in entries:
        letter = e['headword'][0].upper()
        want[letter] = want.get(letter, 0) + 1
    equal({x['letter']: x['count'] for x in b['letters']}, want, 'letters')
    m = c.json('browse', '--letter', 'M', '--per-page', '1000')
    equal(m['total'], want['M'], 'letter M')
    start = c.json('browse', '--from', 'mol', '--per-page', '5')['entries']
    check(all(e['headword'] >= 'mol' for e in start) and start[0]['headword'].startswith('mol'), 'from', start)
    past = c.run('browse', '--json', '--page', '99', ok=(0, 1)).json
    equal(past['entries'], [], 'a page past the end')


main([glossary])
