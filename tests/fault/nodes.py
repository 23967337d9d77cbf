"""A Quire cluster over a network of namespaces (network.py): each process a node of its own, with ways to hurt it."""
import contextlib, json, os, random, shutil, signal, subprocess, sys, tempfile, time

from network import Network, command

BUILD = os.environ.get('QUIRE_BUILD') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '.build', 'release')
QUIRE = os.path.join(BUILD, 'client', 'quire')
RECORDER = os.path.join(BUILD, 'tests', 'quire_recorder')
PROGRAM = {'c': os.path.join(BUILD, 'coordinator', 'quire-coordinator'), 's': os.path.join(BUILD, 'shard', 'quire-shard')}
COORDINATOR_PORT, SHARD_PORT = 7400, 7401
QUERIES = ['river', 'stone harbour', '+lantern meadow', '"copper bridge"', 'winter OR thunder', 'har*', 'violet +garden -river']


class Failed(Exception):
    pass


def check(condition, *words):
    if not condition:
        raise Failed(' '.join(map(str, words)))


class Nodes:
    """Coordinators c1, c2, ..., shards s1, s2, ..., and `client`, where everything that asks runs."""

    def __init__(self, coordinators=3, shards=3, replicas=2, disk=None):
        self.dir = tempfile.mkdtemp(prefix='quire-fault.')
        self.coordinators = [f'c{i + 1}' for i in range(coordinators)]
        self.shards = [f's{i + 1}' for i in range(shards)]
        self.names = self.coordinators + self.shards
        self.replicas = replicas
        self.process = {}
        self.paused = set()
        self.drained = set()
        self.struck = set()  # may have ended: killed, asked to end, or its disk was filled
        self.network = Network()
        for name in [*self.names, 'client']:
            self.network.add(name)
            os.makedirs(self.data(name))
        self.disk = disk
        if disk:  # {name: size}: these have a file system of their own, to be filled
            for name, size in disk.items():
                command('mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', self.data(name))

    def __enter__(self):
        try:
            for name in self.names:
                self.start(name)
            self.until('all processes are up', lambda: all(self.status(c) for c in self.coordinators))
            self.until('all shards are known', lambda: len(self.alive()) == len(self.shards))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show_logs()
        for process in self.process.values():
            process.kill()
            process.wait()
        for name in self.disk or {}:
            subprocess.run(['umount', '--lazy', self.data(name)])
        if kind is None or not os.environ.get('QUIRE_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print('kept:', self.dir, flush=True)

    def data(self, name):
        return os.path.join(self.dir, name)

    def url(self, name):
        return f'tcp://{self.network.address(name)}:{COORDINATOR_PORT if name[0] == "c" else SHARD_PORT}'

    def urls(self):
        return ','.join(map(self.url, self.coordinators))

    def show_logs(self):
        for name in self.names:
            with contextlib.suppress(OSError):
                lines = open(os.path.join(self.dir, name + '.log'), errors='replace').read().splitlines()
                print(f'--- {name} (last lines)', *lines[-12:], sep='\n', file=sys.stderr, flush=True)

    # ---- processes ----

    def start(self, name):
        words = [PROGRAM[name[0]], '--dir', self.data(name), '--listen', self.url(name)]
        if name[0] == 's':
            words += ['--coordinators', self.urls(), '--threads', '2', '--cache-bytes', '32M', '--memory-bytes', '32M']
        elif name != self.coordinators[0]:
            words += ['--join', self.url(self.coordinators[0])]
        self.struck.discard(name)
        with open(os.path.join(self.dir, name + '.log'), 'ab') as log:
            self.process[name] = subprocess.Popen(self.network.inside(name) + words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def running(self, name):
        return name in self.process and self.process[name].poll() is None

    def signal(self, name, number):
        self.process[name].send_signal(number)

    def kill(self, *names):
        """All at once."""
        self.struck.update(names)
        for name in names:
            self.signal(name, signal.SIGKILL)
        for name in names:
            self.process[name].wait()

    def terminate(self, name, timeout=30):
        """SIGTERM; how long it took to end. It has to end by itself, with success."""
        began = time.monotonic()
        self.struck.add(name)
        self.signal(name, signal.SIGTERM)
        try:
            code = self.process[name].wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f'{name} did not end within {timeout} s of SIGTERM') from None
        check(code == 0, f'{name} ended with {code} after SIGTERM')
        return time.monotonic() - began

    def pause(self, name):
        self.signal(name, signal.SIGSTOP)
        self.paused.add(name)

    def resume(self, name):
        self.signal(name, signal.SIGCONT)
        self.paused.discard(name)

    def fill(self, name):
        """Leaves no byte on the disk of a node."""
        self.struck.add(name)
        with contextlib.suppress(OSError), open(os.path.join(self.data(name), 'ballast'), 'wb', buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def drain(self, name, wait=True):
        done = self.run('node', 'drain', *([] if wait else ['--no-wait']), self.url(name), timeout=120)
        check(done.returncode == 0, f'drain {name}:', done.stderr)
        self.drained.add(name)

    def undrain(self):
        for name in list(self.drained):
            self.until(f'{name} is wanted again', lambda: self.run('node', 'undrain', self.url(name)).returncode == 0)
            self.drained.discard(name)

    def move(self, range, name):
        """Until it has moved."""
        done = self.run('range', 'move', '--range', str(range), '--from', self.url(name))
        check(done.returncode == 0, f'move range {range} from {name}:', done.stderr)
        self.until('it has moved', lambda: all(name not in r['in_sync'] for r in self.ranges('live') if r['id'] == range))

    def reshape(self, what, range, wait=True):
        """Splits a range, or merges it with its neighbour; begins to, at least."""
        words = ['range', what, '--range', str(range)] + ([] if wait else ['--no-wait'])
        done = [None]

        def attempt():
            done[0] = self.run(*words)
            return done[0].returncode == 0 or 'given up' in done[0].stderr

        self.until(f'{what} of range {range} begins', attempt, 20)
        check(done[0].returncode == 0, f'{what} of range {range}:', done[0].stderr)
        return done[0].stdout.strip()

    def heal(self):
        """Undoes every fault. A process that is not there is started; one that ended by itself is a failure."""
        self.network.heal()
        for name in list(self.paused):
            self.resume(name)
        for name in self.disk or {}:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.data(name), 'ballast'))
        unexpected = []
        for name in self.names:
            if not self.running(name):
                if name not in self.struck:
                    unexpected.append(f'{name} ended by itself (exit code {self.process[name].returncode})')
                self.start(name)
        self.struck.clear()
        self.undrain()
        check(not unexpected, *unexpected)

    # ---- asking ----

    def run(self, *words, at=None, timeout=60):
        """A command of `quire` in the client's namespace, at one coordinator or at any."""
        connect = self.url(at) if at else self.urls()
        return subprocess.run(self.network.inside('client') + [QUIRE, words[0], '--connect', connect, '--timeout', '10000', *words[1:]],
                              capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)

    def json(self, *words, **options):
        done = self.run(words[0], '--json', *words[1:], **options)
        check(done.returncode == 0, f'quire {" ".join(words)}: exit {done.returncode}: {done.stderr.strip()}')
        return json.loads(done.stdout)

    def status(self, at=None):
        done = self.run('status', '--json', at=at)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def alive(self):
        return [n['id'] for n in (self.status() or {'nodes': []})['nodes'] if n['alive']]

    def name_of(self, node, status):
        address = next(n['address'] for n in status['coordinators'] + status['nodes'] if n['id'] == node)
        return next(name for name in self.names if self.url(name) == address)

    def leader(self):
        return self.until('a leader', lambda: (s := self.status()) and s['leader'] and self.name_of(s['leader'], s))

    def follower(self):
        leader = self.leader()
        return random.choice([c for c in self.coordinators if c != leader])

    def ranges(self, collection):
        status = self.status()
        return [dict(r, primary=self.name_of(r['primary'], status), in_sync=[self.name_of(n, status) for n in r['in_sync']])
                for r in status['ranges'] if r['collection'] == collection]

    def primary(self, collection='live'):
        return random.choice(self.ranges(collection))['primary']

    def until(self, what, attempt, seconds=90):
        """Repeats an attempt until it gives something; the bound only ends a test that hangs."""
        limit = time.monotonic() + seconds
        while True:
            with contextlib.suppress(StopIteration):  # a name that is not there yet
                if done := attempt():
                    return done
            check(time.monotonic() < limit, f'did not happen within {seconds} s:', what, '; status:',
                  self.run('status').stdout)
            time.sleep(0.2)

    def why_not_in_sync(self):
        seen = {c: self.status(at=c) for c in self.coordinators}
        for name, status in seen.items():
            if why := self.why_not_in_sync_at(status):
                return f'{name}: {why}'
        epochs = {name: status['map_epoch'] for name, status in seen.items()}
        return None if len(set(epochs.values())) == 1 else f'the maps differ: {epochs}'

    def why_not_in_sync_at(self, status):
        if not status:
            return 'no status'
        if sum(n['alive'] for n in status['nodes']) < len(self.shards) or sum(n['alive'] for n in status['coordinators']) < len(self.coordinators):
            return 'nodes are missing'
        for r in status['ranges']:
            states = [(p['role'], p['state']) for p in r['replicas']]
            if r['state'] != 'serving' or len(r['in_sync']) != r['replicas_wanted'] or r['learners'] or r['leaving'] or r['reshape'] or any(s != 'serving' for _, s in states):
                return f'range {r["id"]} ({r["state"]}, {len(r["in_sync"])} of {r["replicas_wanted"]} in sync): {states}'
        return None

    def wait_in_sync(self, seconds=90):
        """Everything is there and as it should be; how long that took."""
        began = time.monotonic()
        why = ['']

        def attempt():
            why[0] = self.why_not_in_sync()
            return why[0] is None

        try:
            self.until('all in sync', attempt, seconds)
        except Failed as e:
            raise Failed(f'{e}; {why[0]}') from None
        return time.monotonic() - began

    def create(self, collection, entries):
        path = os.path.join(self.dir, 'import.jsonl')
        with open(path, 'w') as file:
            file.writelines(json.dumps(e) + '\n' for e in entries)
        done = self.json('import', '-c', collection, '--language', 'none', '--replicas', str(self.replicas), path)
        check(done['failed'] == 0, 'import:', done)

    def answers(self, at, collection='still'):
        """What a coordinator says to the fixed queries: hits and scores."""
        out = []
        for query in QUERIES:
            found = self.json('search', '-c', collection, '--complete', '--exact-total', '--', query, at=at)
            out.append((found['total'], [(h['headword'], h['score']) for h in found['hits']]))
        return out

    def export(self, collection, at):
        done = self.run('export', '-c', collection, '--versions', at=at)
        check(done.returncode == 0, f'export at {at}: exit {done.returncode}: {done.stderr.strip()}')
        return done.stdout.splitlines()

    def verify(self):
        done = self.json('verify')
        check(not done['problems'], 'quire verify:', done['problems'])

    def record(self, collection, path, rate, seed):
        words = [RECORDER, '--connect', self.urls(), '--collection', collection, '--history', path, '--seconds', '86400',
                 '--rate', str(rate), '--seed', str(seed)]
        return subprocess.Popen(self.network.inside('client') + words)
