"""Debian trees for the tests of deploy/: a bare one, made once by debootstrap from where this machine gets its packages, and one with
Quire's own packages installed; both kept in .build/deploy. What runs in them runs in copies (overlays) that are gone afterwards."""
import glob, os, re, shutil, subprocess, sys, time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(SOURCE, '.build', 'deploy')
PACKAGES = os.path.join(SOURCE, '.build', 'packages')
OURS = ['quire-server', 'quire-client', 'libquire0', 'libquire-dev']
sys.path[:0] = [os.path.join(SOURCE, 'tests', 'fault'), os.path.join(SOURCE, 'tests', 'e2e')]


class Failed(Exception):
    pass


def check(condition, *words):
    if not condition:
        raise Failed(' '.join(map(str, words)))


def run(*words, ok=True, **options):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    check(not ok or done.returncode == 0, f'{" ".join(map(str, words))}: exit {done.returncode}:', (done.stdout + done.stderr)[-1500:])
    return done


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f'not within {seconds} s: {what}')
        time.sleep(0.2)


def missing(*tools):
    """A sentence that says what this machine lacks for such a test; None: nothing."""
    if os.geteuid() != 0:
        return 'trees and machines need root'
    for tool in tools:
        if shutil.which(tool) is None:
            return f'no `{tool}` here'
    return None


def main(tests, *tools):
    """Runs them in order, each a function of no arguments; exits."""
    why = missing(*tools)
    if why is None:
        why = why_no_tree()
    if why is not None:
        print(f'SKIP: {why}')
        sys.exit(0)
    for test in tests:
        print(f'{test.__name__} ...', flush=True)
        test()
        print(f'{test.__name__}: ok', flush=True)
    print('ok')


def block(name):
    """The commands of deploy/README.md that follow the mark <!-- name -->."""
    text = open(os.path.join(SOURCE, 'deploy', 'README.md')).read()
    found = re.search(rf'<!-- {re.escape(name)} -->\n```sh\n(.*?)```', text, re.S)
    check(found, f'deploy/README.md has no block {name}')
    return found.group(1)


# ---- packages ----

def packages():
    """Builds Quire's packages of this tree, unless that was done: {name: file}."""
    stamp = os.path.join(PACKAGES, 'of')
    head = run('git', '-C', SOURCE, 'rev-parse', 'HEAD').stdout if os.path.exists(os.path.join(SOURCE, '.git')) else ''
    if not head or not os.path.exists(stamp) or open(stamp).read() != head:
        run('sh', '-eu', '-c', block('build'), cwd=SOURCE)
        with open(stamp, 'w') as file:
            file.write(head)
    return {name: one(os.path.join(PACKAGES, f'{name}_*.deb')) for name in OURS}


def one(pattern):
    found = glob.glob(pattern)
    check(len(found) == 1, f'{pattern}: {len(found)} files')
    return found[0]


# ---- trees ----

def archive():
    """Where this machine's apt gets Debian 12 from."""
    for line in run('apt-get', 'indextargets', '--format', '$(SITE) $(CODENAME) $(COMPONENT)').stdout.splitlines():
        site, *suite = line.split()  # of a flat archive there is no suite
        if suite == ['bookworm', 'main']:
            return site
    return None


def why_no_tree():
    try:
        return None if archive() else "this machine's apt knows no archive of Debian 12"
    except (Failed, OSError) as problem:
        return str(problem)


def lend_apt(tree):
    """The tree gets packages as this machine does."""
    for path in ['/etc/resolv.conf', '/etc/hosts', *glob.glob('/etc/apt/sources.list.d/*debian*'), *glob.glob('/etc/apt/apt.conf.d/99*')]:
        if os.path.exists(path):
            shutil.copy(path, tree + path)


def apt(tree, *words, ok=True):
    return run('chroot', tree, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', *words, ok=ok)


def kept(name, make):
    """A tree that is made once: half of one is never kept."""
    path = os.path.join(WORK, name)
    if not os.path.isdir(path):
        os.makedirs(WORK, exist_ok=True)
        half = path + '.half'
        run('rm', '-rf', half)
        print(f'  making {name}', flush=True)
        make(half)
        os.rename(half, path)
    return path


def bare():
    return kept('bare', lambda path: run('debootstrap', '--variant=minbase', '--include=ca-certificates', 'bookworm', path, archive()))


def make_machine(path):
    run('cp', '-a', bare(), path)
    lend_apt(path)
    apt(path, 'update')
    # What a machine has before Quire comes, and what Quire's packages want: they themselves are installed by the tests.
    apt(path, 'install', '-y', '--no-install-recommends', 'systemd-sysv', 'dbus', 'iproute2', 'procps', 'gawk')
    server = packages()
    os.makedirs(path + '/packages')
    for name in ('quire-server', 'quire-client', 'libquire0'):
        shutil.copy(server[name], path + '/packages')
    names = run('chroot', path, 'sh', '-c', 'apt-get install -s --no-install-recommends /packages/*.deb').stdout
    wanted = [w for w in re.findall(r'^Inst (\S+)', names, re.M) if not w.startswith(('quire', 'libquire'))]
    apt(path, 'install', '-y', '--no-install-recommends', *wanted)
    run('rm', '-rf', path + '/packages')


def machine():
    return kept('machine', make_machine)


class Copy:
    """A tree of its own over one that is kept."""

    def __init__(self, lower, name):
        self.dir = os.path.join(WORK, 'copies', f'{os.getpid()}-{name}')
        for part in ('upper', 'work', 'root'):
            os.makedirs(os.path.join(self.dir, part))
        self.root = os.path.join(self.dir, 'root')
        done = run('mount', '-t', 'overlay', 'overlay', '-o', f'lowerdir={lower},upperdir={self.dir}/upper,workdir={self.dir}/work', self.root, ok=False)
        self.mounted = done.returncode == 0
        if not self.mounted:  # a file system that cannot be the upper one
            os.rmdir(self.root)
            run('cp', '-a', lower, self.root)

    def __enter__(self):
        return self.root

    def __exit__(self, *what):
        if self.mounted:
            run('umount', self.root, ok=False)
        run('rm', '-rf', '--one-file-system', self.dir)
