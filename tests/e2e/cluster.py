"""A local cluster for the end-to-end tests: started by `quire up` in a temporary folder on free ports, driven through
the command line and `quire_lines` (tests/e2e/quire_lines.c), torn down with a check that nothing is left running.

QUIRE_BUILD names the build folder. Nothing here imports anything but Python's own library.
"""
import contextlib, json, os, random, re, shutil, signal, socket, subprocess, sys, tempfile, time

BUILD = os.environ.get('QUIRE_BUILD') or sys.exit('QUIRE_BUILD must name the build folder')
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORPUS = os.environ.get('QUIRE_CORPUS') or os.path.join(SOURCE, '..', 'shared', 'corpus')
QUIRE = os.path.join(BUILD, 'client', 'quire')
LINES = os.path.join(BUILD, 'tests', 'quire_lines')


class Failed(Exception):
    pass


def check(condition, *words):
    if not condition:
        raise Failed(' '.join(str(w) for w in words) or 'check failed')


def equal(got, want, what=''):
    check(got == want, f'{what}: got {got!r}, want {want!r}')


def corpus(*parts):
    """The path of a corpus file, or None with a message when this machine has not got it."""
    path = os.path.join(CORPUS, *parts)
    if os.path.exists(path):
        return path
    print(f'SKIP: no {os.path.join(*parts)} (set QUIRE_CORPUS to the folder of corpora)')
    return None


def documents(name):
    """The documents of a corpus: dicts with id, terms, category, body."""
    path = corpus(name, 'docs.jsonl.zst')
    if path is None:
        return None
    text = subprocess.run(['zstd', '-dcq', path], check=True, capture_output=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def free_ports(count):
    """A base port P such that P .. P + count - 1, and P + 10000 (consensus), are free now. Below the range from
    which the kernel takes the local ports of outgoing connections, so that none of those can sit on them."""
    for _ in range(200):
        base = random.randrange(11000, 21000)
        try:
            with contextlib.ExitStack() as stack:
                for port in [*range(base, base + count), base + 10000]:
                    s = stack.enter_context(socket.socket())
                    s.bind(('127.0.0.1', port))
            return base
        except OSError:
            continue
    raise Failed('no free ports')


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        return json.loads(self.out)


class Cluster:
    def __init__(self, shards=3, keep=False, memory=None):
        self.dir = tempfile.mkdtemp(prefix='quire-e2e.')
        self.shards, self.keep, self.memory = shards, keep, memory
        self.port = free_ports(shards + 1)
        self.env = dict(os.environ, QUIRE_CONNECT=f'tcp://127.0.0.1:{self.port}')

    def __enter__(self):
        try:
            self.up()
        except BaseException:  # what was started is stopped all the same
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        left = []
        try:
            self.run('down', '--dir', self.data, ok=(0, 1))
            deadline = time.monotonic() + 5
            while (left := self.processes()) and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            for pid in self.processes().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if kind is not None:
                self.show_logs()
            if not self.keep:
                shutil.rmtree(self.dir, ignore_errors=True)
        if kind is None:
            check(not left, 'processes left after `quire down`:', left)
            reports = self.sanitizer_reports
            check(not reports, 'sanitizer reports:', reports)

    @property
    def data(self):
        return os.path.join(self.dir, 'data')

    def up(self):
        r = self.run('up', '--dir', self.data, '--shards', str(self.shards), '--port', str(self.port),
                     *(['--memory', str(self.memory)] if self.memory else []), ok=None)
        if r.code != 0:
            self.show_logs()
            raise Failed(f'quire up: exit {r.code}: {r.err.decode()}')

    def down(self):
        self.sanitizer_reports = getattr(self, 'sanitizer_reports', []) + self.find_reports()
        return self.run('down', '--dir', self.data)

    def processes(self):
        """Name -> pid of the processes of this cluster that run now, from the process table itself."""
        found = {}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                words = open(f'/proc/{pid}/cmdline', 'rb').read().split(b'\0')
                state = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[0]
                if state == 'Z' or not any(w.startswith(self.data.encode()) for w in words):
                    continue
                name = os.path.basename(words[0].decode())
                if name in ('quire-coordinator', 'quire-shard'):
                    where = next(w for w in words if w.startswith(self.data.encode())).decode()
                    found[os.path.basename(where.rstrip('/'))] = int(pid)
        return found

    def logs(self):
        folder = os.path.join(self.data, 'log')
        return [os.path.join(folder, f) for f in sorted(os.listdir(folder))] if os.path.isdir(folder) else []

    def find_reports(self):
        words = re.compile(rb'ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion')
        return [f'{os.path.basename(p)}: {m.group().decode()}' for p in self.logs()
                if (m := words.search(open(p, 'rb').read()))]

    @property
    def sanitizer_reports(self):
        return self._reports + self.find_reports()

    @sanitizer_reports.setter
    def sanitizer_reports(self, value):
        self._reports = value

    _reports = []

    def show_logs(self):
        for path in self.logs():
            text = open(path, errors='replace').read().splitlines()
            print(f'--- {os.path.basename(path)} (last lines)', *text[-8:], sep='\n', file=sys.stderr)

    def run(self, *words, input=None, ok=(0,), timeout=300):
        done = subprocess.run([QUIRE, *words], input=input, capture_output=True, env=self.env, timeout=timeout)
        if ok is not None and done.returncode not in ok:
            raise Failed(f'quire {" ".join(words)[:200]}: exit {done.returncode}\n'
                         f'{done.stdout.decode(errors="replace")[:2000]}{done.stderr.decode(errors="replace")[:2000]}')
        return Result(done)

    def json(self, *words, **options):
        return self.run(words[0], '--json', *words[1:], **options).json

    def lines(self, requests, *options, timeout=600):
        """Sends requests (dicts, see quire_lines.c) one by one over one connection; the replies in order."""
        text = ''.join(json.dumps(r) + '\n' for r in requests)
        done = subprocess.run([LINES, *options], input=text.encode(), capture_output=True, env=self.env, timeout=timeout)
        check(done.returncode == 0, 'quire_lines:', done.stderr.decode(errors='replace')[:2000])
        replies = [json.loads(line) for line in done.stdout.splitlines()]
        equal(len(replies), len(requests), 'replies')
        return replies

    def import_entries(self, entries, *options, collection='default'):
        """Imports entries given as dicts; the counts."""
        path = os.path.join(self.dir, 'import.jsonl')
        with open(path, 'w') as f:
            for e in entries:
                f.write(json.dumps(e) + '\n')
        return self.json('import', '-c', collection, *options, path)


def main(tests):
    """Runs the named tests (all without names); prints a line each, and cmocka's kind of closing line."""
    wanted, failed = sys.argv[1:], []
    chosen = [t for t in tests if not wanted or t.__name__ in wanted]
    for test in chosen:
        print(f'[ RUN      ] {test.__name__}', flush=True)
        began = time.monotonic()
        try:
            test()
            print(f'[       OK ] {test.__name__} ({time.monotonic() - began:.1f} s)', flush=True)
        except Exception as e:  # whatever it is, the other tests run
            failed.append(test.__name__)
            print(f'[  FAILED  ] {test.__name__}: {type(e).__name__}: {e}', flush=True)
    print(f'[  PASSED  ] {len(chosen) - len(failed)} test(s).')
    if failed:
        print(f'[  FAILED  ] {len(failed)} test(s): {" ".join(failed)}')
    sys.exit(1 if failed or not chosen else 0)
