"""A network of namespaces: one for each node, joined by a bridge, inside namespaces of the test's own.

enter() starts the program anew under `unshare`, with its own network, mounts and process numbers. Whatever happens to
it, the kernel then takes away everything that it made: interfaces, mounts, processes. Nothing of the host's network is
seen or touched. Root is needed for that.

Links are cut by the address of a neighbour: a node that sends to an Ethernet address which nobody has loses the frame
without a word, as on a broken cable, in that direction only. That needs neither a firewall nor traffic control (a
blackhole route would be noticed at once by the sender). Slow links are a token bucket (`tc tbf`).
"""
import os, subprocess, sys

SUBNET = '10.77.0'
NOBODY = '02:00:00:00:ff:ff'


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f'{" ".join(words)}: {done.stderr.strip() or done.returncode}')
    return done.stdout


def why_not():
    """What this machine lacks for these tests; None: nothing."""
    if os.geteuid() != 0:
        return 'network namespaces need root'
    for tool in ('ip', 'unshare', 'nsenter', 'tc', 'mount'):
        if subprocess.run(['which', tool], capture_output=True).returncode != 0:
            return f'no `{tool}` here (packages iproute2, util-linux)'
    done = subprocess.run(['unshare', '--net', '--mount', 'sh', '-c', 'ip link add bridge0 type bridge && ip link add port0 type veth'],
                          capture_output=True, text=True)
    return None if done.returncode == 0 else f'no namespaces with a bridge here: {done.stderr.strip()}'


def enter():
    """Returns inside the namespaces; the process that was called waits outside."""
    if os.environ.get('QUIRE_FAULT_INSIDE') == str(os.getppid()):
        command('mount', '-t', 'tmpfs', 'tmpfs', '/run')  # `ip netns` keeps its names there
        return
    words = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
    # Inside, the parent has no number of this process space: 0.
    os.environ['QUIRE_FAULT_INSIDE'] = '0'
    os.execvp(words[0], words + [sys.executable, *sys.argv])


class Network:
    def __init__(self, subnet=SUBNET):
        self.subnet = subnet  # of 24 bits
        self.number = {}  # by name of a node, from 1: the last part of its address
        self.port = {}  # its end at the bridge
        self.cut_now = set()  # (from, to)
        command('ip', 'link', 'set', 'lo', 'up')
        command('ip', 'link', 'add', 'bridge0', 'type', 'bridge')
        command('ip', 'link', 'set', 'bridge0', 'up')

    def inside(self, name):
        """The beginning of a command line that runs in the namespace of a node."""
        return ['nsenter', f'--net=/run/netns/{name}']

    def address(self, name):
        return f'{self.subnet}.{self.number[name]}'

    def hardware(self, name):
        return f'02:00:00:00:00:{self.number[name]:02x}'

    def add(self, name):
        self.number[name] = n = max(self.number.values(), default=0) + 1
        self.port[name] = n
        command('ip', 'netns', 'add', name)
        command('ip', 'link', 'add', f'port{n}', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
        command('ip', 'link', 'set', f'port{n}', 'master', 'bridge0', 'up')
        command('ip', '-n', name, 'link', 'set', 'lo', 'up')
        self._take_address(name)

    def readdress(self, name):
        """Another address from now on; connections to the old one are lost without a word."""
        self.number[name] = max(self.number.values()) + 1
        command('ip', '-n', name, 'addr', 'flush', 'dev', 'eth0')
        self._take_address(name)

    def _take_address(self, name):
        command('ip', '-n', name, 'link', 'set', 'eth0', 'address', self.hardware(name), 'up')
        command('ip', '-n', name, 'addr', 'add', f'{self.address(name)}/24', 'dev', 'eth0')
        for other in self.number:
            if other != name:
                self.mend(name, other)
                self.mend(other, name)

    def remove(self, name):
        """Nobody of this name, and of its address, any more."""
        command('ip', 'link', 'del', f'port{self.port.pop(name)}')
        command('ip', 'netns', 'del', name)
        del self.number[name]

    def close(self):
        """For another network in the same process."""
        for name in list(self.number):
            self.remove(name)
        command('ip', 'link', 'del', 'bridge0')

    def _neighbour(self, name, other, hardware):
        command('ip', '-n', name, 'neigh', 'replace', self.address(other), 'lladdr', hardware, 'dev', 'eth0', 'nud', 'permanent')

    def cut(self, name, other):
        """What `name` sends to `other` is lost from now on."""
        self._neighbour(name, other, NOBODY)
        self.cut_now.add((name, other))

    def mend(self, name, other):
        self._neighbour(name, other, self.hardware(other))
        self.cut_now.discard((name, other))

    def isolate(self, name, sends=True, receives=True, others=None):
        """Cuts a node off from the others (all, or those named): what it sends, what it is sent, or both."""
        for other in others or [o for o in self.number if o != name]:
            if sends:
                self.cut(name, other)
            if receives:
                self.cut(other, name)

    def slow(self, name, rate='100kbit', latency='400ms'):
        """What a node sends leaves at `rate`; what waits longer than `latency` is dropped."""
        command('tc', '-n', name, 'qdisc', 'replace', 'dev', 'eth0', 'root', 'tbf', 'rate', rate, 'burst', '16kb', 'latency', latency)

    def heal(self):
        for name, other in list(self.cut_now):
            self.mend(name, other)
        for name in self.number:
            subprocess.run(['tc', '-n', name, 'qdisc', 'del', 'dev', 'eth0', 'root'], capture_output=True)
