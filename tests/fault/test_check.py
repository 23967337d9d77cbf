#!/usr/bin/env python3
"""The checker of histories finds each kind of wrong history, and nothing in right ones."""
import os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check


def line(start, end, client, kind, key, value, version=0, expect=0, outcome='ok', complete=1, status='ok'):
    return '\t'.join(map(str, (start, end, client, 'primary' if client == 9 else 'session', kind, key, value, version, expect, outcome, complete, status)))


GOOD = [
    line(10, 20, 0, 'put', 'r', 'va', 1),
    line(12, 22, 1, 'put', 'r', 'vb', 2),
    line(30, 31, 2, 'get', 'r', 'va', 1),  # old, by a session that wrote nothing
    line(30, 31, 1, 'get', 'r', 'vb', 2),
    line(32, 40, 0, 'cas', 'r', 'vc', 3, 2),
    line(41, 42, 0, 'cas', 'r', 'vd', 0, 2, 'fail', status='conflict'),
    line(43, 90, 1, 'put', 'r', 've', 0, outcome='unknown'),
    line(60, 61, 2, 'define', 'r', 've', 4),  # it has happened before its client gave up
    line(5, 9, 2, 'get', 'r', '-', 0),
    line(21, 33, 9, 'get', 'r', 'va', 1),  # from the primary, while the next write was under way
    line(34, 35, 9, 'get', 'r', 'vb', 2),
    line(10, 20, 0, 'add', 'ma', 'ma', 1),
    line(30, 95, 0, 'add', 'mb', 'mb', 0, outcome='unknown'),
    line(21, 25, 0, 'find', 'ma', '1'),
    line(21, 25, 0, 'count', 'crowda', '1'),
    line(40, 45, 0, 'count', 'crowda', '2'),
    line(40, 45, 0, 'count', 'crowda', '0', complete=0),
    line(1, 2, 0, 'still', 'river', 'd1/5'),
    line(3, 4, 1, 'still', 'river', 'd0/3', complete=0),
    line(5, 6, 2, 'still', 'river', 'd1/5'),
]
FINAL = {'r': ('ve', 4), 'a member ma': ('ma', 1)}

# What to add to the good history (lines; or a final state), and the kind of violation that has to be found.
PLANTED = [
    ('never-written', [line(50, 51, 2, 'get', 'r', 'vz', 9)]),
    ('never-written', [line(50, 51, 2, 'get', 'r', 'vd', 9)]),  # its condition did not hold
    ('never-written', [line(1, 5, 2, 'get', 'r', 'va', 1)]),  # before its write began
    ('never-written', [line(70, 75, 0, 'count', 'crowda', '3')]),
    ('never-written', [line(21, 25, 1, 'find', 'mx', '1')]),
    ('never-written', [line(1, 5, 0, 'find', 'ma', '1')]),
    ('own-write', [line(30, 31, 1, 'get', 'r', 'va', 1)]),
    ('own-write', [line(30, 31, 1, 'get', 'r', '-', 0)]),
    ('backwards', [line(100, 110, 2, 'put', 'r', 'vf', 2)]),
    ('version', [line(100, 110, 2, 'put', 'r', 'vf', 3)]),
    ('version', [line(50, 51, 2, 'get', 'r', 'vb', 1)]),
    ('version', [line(61, 62, 2, 'get', 'r', 've', 5), line(63, 64, 2, 'get', 'r', 've', 5), line(64, 65, 1, 'put', 'r', 'vg', 0, outcome='unknown'),
                 line(66, 67, 2, 'get', 'r', 'vg', 5)]),
    ('stale', [line(30, 31, 9, 'get', 'r', 'va', 1)]),
    ('stale', [line(62, 63, 9, 'get', 'r', 've', 4), line(64, 65, 9, 'get', 'r', 'vc', 3)]),
    ('stale', [line(52, 53, 9, 'get', 'r', 've', 4), line(70, 72, 9, 'put', 'r', 'vf', 3)]),
    ('condition', [line(100, 110, 2, 'cas', 'r', 'vf', 5, 2)]),
    ('gap', [line(21, 25, 0, 'find', 'ma', '0')]),
    ('gap', [line(21, 25, 0, 'count', 'crowda', '0')]),
    ('gap', [line(40, 45, 0, 'count', 'crowda', '1?', complete=0)]),
    ('still', [line(7, 8, 1, 'still', 'river', 'd2/5')]),
]
PLANTED_FINALS = [
    ('lost', {'r': ('va', 1), 'a member ma': ('ma', 1)}),
    ('lost', {'a member ma': ('ma', 1)}),
    ('lost', {'r': ('vc', 3), 'a member ma': ('ma', 1)}),  # the next was not acknowledged, but a read showed it
    ('lost', {'r': ('ve', 4)}),
    ('resurrected', {'r': ('vd', 5), 'a member ma': ('ma', 1)}),
    ('resurrected', dict(FINAL, **{'b member mz': ('mz', 7)})),
    ('version', {'r': ('vc', 7), 'a member ma': ('ma', 1)}),
]


def kinds(lines, finals):
    return {violation.kind for violation in check.check(check.parse(lines), finals)}


def expect(condition, *words):
    if not condition:
        sys.exit(' '.join(map(str, ('[  FAILED  ]', *words))))


def main():
    count = 0
    for finals in ({}, {'a': FINAL}, {'a': FINAL, 'b': dict(FINAL)}, {'a': dict(FINAL, **{'b member mb': ('mb', 9)})}):
        found = kinds(GOOD, finals)
        expect(not found, 'a right history is blamed:', found)
        count += 1
    for wanted, lines in PLANTED:
        found = kinds(GOOD + lines, {'a': FINAL} if wanted != 'condition' else {})
        expect(wanted in found, 'not found:', wanted, lines, 'but', found)
        count += 1
    for wanted, final in PLANTED_FINALS:
        found = kinds(GOOD, {'a': final})
        expect(wanted in found, 'not found:', wanted, final, 'but', found)
        count += 1
    expect('differ' in kinds(GOOD, {'a': FINAL, 'b': dict(FINAL, r=('vc', 3))}), 'different final states pass')
    try:
        check.parse(['1\t2\t3'])
        expect(False, 'half a line is taken for an operation')
    except ValueError:
        pass
    f = check.figures(check.parse([line(0, 1000000, 0, 'add', 'm', 'm', 1), line(500000, 9000000, 0, 'add', 'n', 'n', 0, outcome='unknown', status='deadline passed'),
                                   line(2000000, 4000000, 0, 'add', 'o', 'o', 3), line(2000000, 2100000, 0, 'get', 'r', '-', 0, complete=1)]))
    expect(f['writes']['gap'] == 3 and f['writes']['failed'] == 1 and f['writes']['longest'] == 2 and f['reads']['failed'] == 0, 'figures:', f)
    print(f'[  PASSED  ] {count + 3} test(s).')


if __name__ == '__main__':
    main()
