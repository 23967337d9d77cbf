#!/usr/bin/env python3
"""Judges a history that quire_recorder wrote (see the head of recorder.c for its lines) against what is promised.

    check.py HISTORY [FINAL.jsonl...]

FINAL: what `quire export --versions` printed after everything was healed, one file for each coordinator. Pure: no
cluster, no clock. What it looks for, and the promise behind it (DESIGN, section 1):

  never-written   a read returns a value that no write put there, before that write began, or whose write surely failed
  own-write       a read does not show what its own session had been acknowledged before it began (P1)
  backwards       versions of a register do not follow the order of its writes: one that was acknowledged before another
                  began has the higher version; or a read of an own session is older than its own write
  stale           a client that reads from the primaries misses what anybody had been acknowledged, or had read there,
                  before it began; or a write that began after such a read has the lower version. With the order of the
                  versions this is linearizability of each register
  version         two writes of a register were acknowledged with one version, or a version has two values
  condition       a write on condition was acknowledged although another write lay between
  lost            an acknowledged write, or one that a read has shown, is not in the final state, and nothing newer is
  resurrected     the final state holds what no write can have left there
  gap             an answer that claims to be complete lacks members, or an incomplete one names nothing (P3)
  still           the same query on data that nobody writes has other hits, scores or total (P2)
  differ          the final states of two coordinators differ

Reads of a session may miss what others wrote: that is promised to those who read from the primaries only. Outcomes
"unknown" may have happened or not, at any time after they began.
"""
import collections, json, sys

FIELDS = 'start end client view kind key value version expect outcome complete status'.split()
Operation = collections.namedtuple('Operation', FIELDS)
WRITES, REGISTER_READS = ('put', 'cas'), ('get', 'define')
FOREVER = float('inf')


class Violation(collections.namedtuple('Violation', 'kind text')):
    def __str__(self):
        return f'{self.kind}: {self.text}'


def parse(lines):
    """Operations in the order of their starts. A line cut off at the end of a file is an error: the recorder ends cleanly."""
    done = []
    for number, line in enumerate(lines, 1):
        parts = line.rstrip('\n').split('\t', len(FIELDS) - 1)
        if len(parts) != len(FIELDS):
            raise ValueError(f'line {number} of the history is no operation: {line!r}')
        start, end, client, view, kind, key, value, version, expect, outcome, complete, status = parts
        done.append(Operation(int(start), int(end), int(client), view, kind, key, value, int(version), int(expect), outcome,
                              complete == '1', status))
    return sorted(done)


def told(op):
    return f'{op.kind} {op.key!r} = {op.value} (version {op.version}) by client {op.client} at {op.start / 1e6:.3f}..{op.end / 1e6:.3f} s'


class Register:
    """The writes of one register, and what may be said about a value of it."""

    def __init__(self, writes):
        self.writes = writes
        self.by_value = {w.value: w for w in writes}
        self.acknowledged = sorted((w for w in writes if w.outcome == 'ok'), key=lambda w: w.end)
        # best[i]: of the first i + 1 acknowledged (by their ends) that with the highest version.
        self.best = []
        for write in self.acknowledged:
            self.best.append(write if not self.best or write.version > self.best[-1].version else self.best[-1])

    def newest_before(self, moment):
        """The acknowledged write with the highest version of those that ended before a moment."""
        low, high = 0, len(self.acknowledged)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.acknowledged[middle].end < moment else (low, middle)
        return self.best[low - 1] if low else None


def registers_of(history):
    writes = collections.defaultdict(list)
    for op in history:
        if op.kind in WRITES:
            writes[op.key].append(op)
    return collections.defaultdict(lambda: Register([]), {key: Register(ops) for key, ops in writes.items()})


def check_writes(registers):
    """Versions follow the order of the writes, no two share one, conditions held."""
    for key, register in registers.items():
        by_version = {}
        for write in register.acknowledged:
            if write.version in by_version:
                yield Violation('version', f'{told(write)} and {told(by_version[write.version])}')
            by_version[write.version] = write
            before = register.newest_before(write.start)
            if before and before.version > write.version:
                yield Violation('backwards', f'{told(write)} was acknowledged after {told(before)}')
        for write in register.acknowledged:
            if write.kind != 'cas':
                continue
            for other in register.acknowledged:
                if write.expect < other.version < write.version:
                    yield Violation('condition', f'{told(write)} expected {write.expect}, but between was {told(other)}')
                    break


def check_value(op, register, versions):
    """What holds for any read of a register, also for the final state: the value was written, under one version."""
    if op.value == '-':
        return
    write = register.by_value.get(op.value)
    if write is None or write.outcome == 'fail' or write.start > op.end:
        why = 'nobody wrote it' if write is None else f'its write: {told(write)}: {write.status}'
        yield Violation('never-written', f'{told(op)}: {why}')
    elif write.outcome == 'ok' and write.version != op.version:
        yield Violation('version', f'{told(op)}: written by {told(write)}')
    other = versions.setdefault((op.key, op.version), op.value)
    if other != op.value:
        yield Violation('version', f'{told(op)}: another read had {other} under this version')


def check_reads(history, registers):
    """Values are real; a session sees its own writes."""
    writes = collections.defaultdict(list)
    for op in history:
        if op.kind in WRITES:
            writes[op.client, op.key].append(op)
    own = {pair: Register(ops) for pair, ops in writes.items()}  # of one client
    versions = {}
    for op in history:
        if op.kind not in REGISTER_READS or op.outcome != 'ok':
            continue
        yield from check_value(op, registers[op.key], versions)
        mine = (op.client, op.key) in own and own[op.client, op.key].newest_before(op.start)
        if mine and op.version < mine.version:
            yield Violation('own-write', f'{told(op)} after its own {told(mine)}')


def check_primary(history):
    """Registers are linearizable for those who read from the primaries: what has ended is seen by what begins then."""
    ends = collections.defaultdict(list)  # by register: reads and acknowledged writes
    for op in history:
        if op.outcome == 'ok' and (op.kind in WRITES or op.kind in REGISTER_READS and op.view == 'primary'):
            ends[op.key].append(op)
    for key, ops in ends.items():
        known = Register(ops)
        for op in ops:
            before = known.newest_before(op.start)
            writes = op.kind in WRITES and before and before.kind in WRITES  # told as "backwards"
            if before and before.version > op.version and not writes:
                yield Violation('stale', f'{told(op)} began after {told(before)}')


def check_members(history):
    """Own members are found by full text, and counted: acknowledged before the search began <= counted <= ever begun.
    A part of the key space may be missing from an answer that says so."""
    adds = collections.defaultdict(list)
    for op in history:
        if op.kind == 'add':
            adds[op.client].append(op)
    keys = {op.key: op for ops in adds.values() for op in ops}
    for op in history:
        if op.outcome != 'ok' or op.kind not in ('find', 'count', 'still'):
            continue
        if op.value.endswith('?'):
            yield Violation('gap', f'{told(op)} is incomplete and names nothing that is missing')
            continue
        if op.kind == 'find':
            add = keys.get(op.key)
            most = 1 if add and add.start < op.end and add.outcome != 'fail' else 0
            least = 1 if add and add.outcome == 'ok' and add.end < op.start else 0
        elif op.kind == 'count':
            least = sum(1 for a in adds[op.client] if a.outcome == 'ok' and a.end < op.start)
            most = sum(1 for a in adds[op.client] if a.outcome != 'fail' and a.start < op.end)
        else:
            continue
        count = int(op.value)
        if count > most:
            yield Violation('never-written', f'{told(op)}: at most {most} can be there')
        elif op.complete and count < least:
            yield Violation('gap', f'{told(op)}: at least {least} had been acknowledged to this session')


def check_still(history):
    """A query on data that nobody writes has one answer, whoever gives it."""
    answers = {}
    for op in history:
        if op.kind != 'still' or op.outcome != 'ok' or not op.complete:
            continue
        first = answers.setdefault(op.key, op)
        if op.value != first.value:
            yield Violation('still', f'{told(op)}: before it was {told(first)}')


def check_final(history, registers, final, name):
    """The final state, {headword: (value, version)}, as one coordinator gave it when all was healed."""
    moment = max((op.end for op in history), default=0)
    seen = collections.defaultdict(list)
    for op in history:
        if op.kind in REGISTER_READS and op.outcome == 'ok':
            seen[op.key].append(op)
    for key, register in registers.items():
        value, version = final.get(key, ('-', 0))
        op = Operation(moment, FOREVER, name, 'primary', 'final', key, value, version, 0, 'ok', True, '')
        newest = max([*register.acknowledged, *seen[key]], key=lambda o: o.version, default=None)
        if newest and version < newest.version:
            yield Violation('lost', f'{told(newest)}; at the end {name} has {value} (version {version})')
        for violation in check_value(op, register, {}):
            yield Violation('resurrected' if violation.kind == 'never-written' else violation.kind, violation.text)
    members = {value: headword for headword, (value, _) in final.items() if ' member ' in headword}
    adds = {op.key: op for op in history if op.kind == 'add'}
    for key, op in adds.items():
        if op.outcome == 'ok' and key not in members:
            yield Violation('lost', f'{told(op)} is not in the final state of {name}')
    for key in members:
        if key not in adds or adds[key].outcome == 'fail':
            yield Violation('resurrected', f'{key} is in the final state of {name}; nobody added it')


def check(history, finals=None):
    """All violations. `finals`: name -> {headword: (value, version)}."""
    registers = registers_of(history)
    found = [*check_writes(registers), *check_reads(history, registers), *check_primary(history), *check_members(history), *check_still(history)]
    finals = finals or {}
    for name, final in finals.items():
        found += check_final(history, registers, final, name)
    names = list(finals)
    for name in names[1:]:
        if finals[name] != finals[names[0]]:
            keys = [k for k in finals[name].keys() | finals[names[0]].keys() if finals[name].get(k) != finals[names[0]].get(k)]
            found.append(Violation('differ', f'{names[0]} and {name} at {sorted(keys)[:3]} ({len(keys)} in all)'))
    return found


def figures(history, since=None, until=None):
    """How available it was: for reads and writes the count, those that failed (by status), the longest span without a
    success and the longest answer, in seconds. A write that its condition refused is an answer. Of operations that
    began in [since, until) (microseconds)."""
    out = {}
    chosen = [op for op in history if (since is None or op.start >= since) and (until is None or op.start < until)]
    for name, kinds in (('reads', ('get', 'define', 'find', 'count', 'still')), ('writes', ('put', 'cas', 'add'))):
        ops = [op for op in chosen if op.kind in kinds]
        good = sorted(op.end for op in ops if op.outcome != 'unknown')
        marks = sorted(([ops[0].start] if ops else []) + good)
        out[name] = dict(count=len(ops), failed=len(ops) - len(good),
                         incomplete=sum(1 for op in ops if op.outcome == 'ok' and not op.complete),
                         gap=max((b - a for a, b in zip(marks, marks[1:])), default=0) / 1e6,
                         longest=max((op.end - op.start for op in ops if op.outcome != 'unknown'), default=0) / 1e6,
                         why=dict(collections.Counter(op.status for op in ops if op.outcome == 'unknown').most_common(5)))
    return out


def final_state(lines):
    """{headword: (first word of the body, version)} of `quire export --versions`."""
    out = {}
    for line in lines:
        entry = json.loads(line)
        out[entry['headword']] = ((entry['body'].split() or ['-'])[0], entry['version'])
    return out


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.splitlines()[2].strip())
    history = parse(open(sys.argv[1], encoding='utf-8', errors='replace'))
    finals = {path: final_state(open(path)) for path in sys.argv[2:]}
    found = check(history, finals)
    print(json.dumps(figures(history), indent=1))
    print(*found[:50], sep='\n')
    print(f'{len(history)} operations, {len(found)} violation(s)')
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
