#!/usr/bin/env python3
"""Machines that boot systemd, each in a network of its own, set up with the commands of deploy/README.md as they are written there: a
cluster of three, grown by a fourth, under load; processes killed, stopped, hung and configured wrongly; upgraded, backed up, restored; a
machine lost for good and replaced; two of three lost for good.

usage: test_machines.py [PART...]: only these, after `deploy`"""
import contextlib, glob, json, os, re, shutil, signal, subprocess, sys, time

from tree import Copy, Failed, OURS, SOURCE, WORK, block, check, machine, missing, packages, run, until, why_no_tree
from load import Load, whole
from network import Network, enter
import test_packages

WORDS = 'anchor bridge candle desert engine forest garden harbor island jungle kettle ladder meadow needle orchid'.split()


class Machine:
    def __init__(self, network, name, stack):
        self.network, self.name = network, name
        network.add(name)
        self.root = stack.enter_context(Copy(machine(), name))
        stack.callback(self.off)
        self.process = None
        with open(self.root + '/etc/hostname', 'w') as file:
            file.write(name + '\n')
        shutil.copytree(os.path.dirname(packages()['quire-server']), self.root + '/root/debs', ignore=shutil.ignore_patterns('*dbgsym*', 'build.log', 'of'))
        self.boot()

    def boot(self):
        self.log = open(os.path.join(WORK, f'{self.name}.log'), 'ab')
        self.process = subprocess.Popen(['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', '--link-journal=no', '--resolv-conf=off',
                                         f'--network-namespace-path=/run/netns/{self.name}', f'--machine={self.name}', '-D', self.root, '-b'],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until(f'{self.name} has booted', self.booted)

    def leader(self):
        for path in glob.glob('/proc/[0-9]*/stat'):
            with contextlib.suppress(OSError):
                fields = open(path).read().rsplit(')', 1)[1].split()
                if fields[1] == str(self.process.pid):
                    return path.split('/')[2]
        return None

    def booted(self):
        check(self.process.poll() is None, f'{self.name} does not boot: see {self.log.name}')
        return self.leader() and run(*self.inside(), 'systemctl', 'is-system-running', ok=False).stdout.strip() in ('running', 'degraded')

    def inside(self):
        return ['nsenter', '-t', self.leader(), '-m', '-u', '-i', '-n', '-p', 'sh', '-c', 'cd /root/debs && exec "$@"', 'sh']

    def run(self, *words, ok=True):
        return run(*self.inside(), *words, ok=ok)

    def block(self, name, ok=True, environment='QUIRE_CONNECT=tcp://10.0.0.1:7400,tcp://10.0.0.2:7400,tcp://10.0.0.3:7400'):
        """The commands of the README, as root types them."""
        return self.run('env', environment, 'bash', '-euo', 'pipefail', '-c', block(name), ok=ok)

    def quire(self, *words, ok=True):
        return self.run('quire', words[0], '--connect', 'tcp://10.0.0.1:7400,tcp://10.0.0.2:7400,tcp://10.0.0.3:7400', *words[1:], ok=ok)

    def json(self, *words):
        return json.loads(self.quire(words[0], *words[1:], '--json').stdout)

    def show(self, unit, *properties):
        lines = self.run('systemctl', 'show', unit, *[f'-p{p}' for p in properties]).stdout.splitlines()
        return dict(line.split('=', 1) for line in lines)

    def pid(self, unit):
        return self.show(unit, 'MainPID')['MainPID']

    def kill(self, unit, number):
        """As the kernel would; the process's number in its machine."""
        self.run('kill', f'-{int(number)}', self.pid(unit))

    def restarts(self, unit):
        return int(self.show(unit, 'NRestarts')['NRestarts'])

    def off(self):
        """As when the power fails."""
        if self.process is None:
            return
        leader = self.leader()
        if leader:
            os.kill(int(leader), signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process = None
        self.log.close()


def why_no_boot(network):
    """What is in the way of machines here, of whom Quire is no part; None: nothing."""
    with contextlib.ExitStack() as stack:
        try:
            Machine(network, 'probe', stack)
        except Failed as problem:
            return f'no machine boots here: {problem}'
    network.remove('probe')
    network.number.clear()
    return None


def entries():
    return [dict(headword=f'{a} {b}', body=f'{a} of {b} and {WORDS[(i + j) % 15]}', categories=[WORDS[(3 * i + j) % 15]])
            for i, a in enumerate(WORDS) for j, b in enumerate(WORDS)]


def with_load(one, what, act):
    # nsenter does not pass signals on to what it runs in another process space: it has a number of its own there.
    load = Load([*one.inside(), 'quire-load', '--connect', 'tcp://10.0.0.1:7400,tcp://10.0.0.2:7400,tcp://10.0.0.3:7400'],
                stop=lambda: one.run('pkill', '-TERM', 'quire-load'))
    began = time.monotonic()
    act()
    time.sleep(3)
    sent = load.end(what)
    print(f'  {what}: {time.monotonic() - began:.1f} s, {sent} requests, none answered wrongly or not at all', flush=True)


def exact_arguments(machine):
    """What runs is what the units say."""
    for unit, name in (('quire-coordinator.service', ''), ('quire-shard@1.service', '1')):
        text = open(os.path.join(SOURCE, 'deploy', 'systemd', unit.replace('@1', '@'))).read()
        wanted = re.search(r'^ExecStart=(.*)$', text, re.M).group(1).replace('%S', '/var/lib').replace('%i', name)
        got = machine.run('cat', f'/proc/{machine.pid(unit)}/cmdline').stdout.replace('\0', ' ').strip()
        check(got == wanted, 'runs', got, 'where the unit says', wanted)
        check(machine.run('ps', '-o', 'user=', '-p', machine.pid(unit)).stdout.strip() == 'quire', 'the user')
        check(machine.show(unit, 'StatusText')['StatusText'] == 'ready', 'the status')


def deploy(machines):
    for m in machines:
        m.block('install')
    waiting = [subprocess.Popen([*m.inside(), 'bash', '-euo', 'pipefail', '-c', block('configure')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, stdin=subprocess.DEVNULL) for m in machines]
    for m, process in zip(machines, waiting):
        out, _ = process.communicate(timeout=120)
        check(process.returncode == 0, m.name, out)
        check(out.count('the configuration is good') == 2, out)
        exact_arguments(m)
    first = machines[0]
    with open(first.root + '/root/debs/glossary.jsonl', 'w') as file:
        file.writelines(json.dumps(entry) + '\n' for entry in entries())
    until('three coordinators and three shards', lambda: len(first.json('coordinator', 'list')['coordinators']) == 3 and
          sum(n['alive'] for n in first.json('node', 'list')['nodes']) == 3)
    done = first.block('use')
    check('anchor' in done.stdout and '225' in done.stdout, done.stdout)
    until('two replicas of each range', lambda: whole(first))
    zones = {n['zone'] for n in first.json('node', 'list')['nodes']}
    check(zones == {'m1', 'm2', 'm3'}, zones)


def killed(machines):
    """kill -9 of a shard and of each coordinator: systemd starts them again."""
    first, second, third = machines[:3]

    def act():
        for m, unit in ((second, 'quire-shard@1'), (third, 'quire-coordinator'), (first, 'quire-shard@1'), (second, 'quire-coordinator')):
            before = m.restarts(unit)
            m.kill(unit, signal.SIGKILL)
            until(f'{unit} of {m.name} is started again', lambda: m.restarts(unit) == before + 1 and m.show(unit, 'ActiveState')['ActiveState'] == 'active')
            until('all is whole again', lambda: whole(third))

    with_load(third, 'two shards and two coordinators killed', act)


def stopped(machines):
    """Stop hands over; start comes back when it serves."""
    second = machines[1]

    def act():
        for unit in ('quire-shard@1', 'quire-coordinator'):
            second.run('systemctl', 'stop', unit)
            check(second.show(unit, 'Result')['Result'] == 'success', 'a clean stop')
            second.run('systemctl', 'start', unit)
            check(second.show(unit, 'StatusText')['StatusText'] == 'ready', 'started is ready')
            until('all is whole again', lambda: whole(second))
        second.run('systemctl', 'restart', 'quire.target')
        until('all is whole again', lambda: whole(second))

    with_load(machines[0], 'stopped and started', act)


def hung(machines):
    """A process that stands still is found by the watchdog, after 30 s."""
    third = machines[2]
    before = third.restarts('quire-shard@1')
    third.kill('quire-shard@1', signal.SIGSTOP)
    until('the watchdog has struck', lambda: third.restarts('quire-shard@1') == before + 1, 120)
    until('all is whole again', lambda: whole(third))


def wrong(machines):
    """A wrong configuration is told, and not tried again and again."""
    second = machines[1]
    path = second.root + '/etc/quire/shard-1.conf'
    good = second.run('cat', '/etc/quire/shard-1.conf').stdout
    second.run('sh', '-c', 'echo "treads = 8" >> /etc/quire/shard-1.conf')
    done = second.run('systemctl', 'restart', 'quire-shard@1', ok=False)
    check(done.returncode != 0, 'systemctl says that it did not start')
    time.sleep(3)
    state = second.show('quire-shard@1', 'ActiveState', 'ExecMainStatus')
    check(state == {'ActiveState': 'failed', 'ExecMainStatus': '2'}, state)
    check('/etc/quire/shard-1.conf:5: there is no setting "treads"' in second.run('journalctl', '-u', 'quire-shard@1', '-o', 'cat').stdout, 'the sentence')
    second.run('sh', '-c', f'printf %s "$1" > /etc/quire/shard-1.conf', 'sh', good)
    second.run('systemctl', 'start', 'quire-shard@1')
    second.block('memory')
    until('all is whole again', lambda: whole(second))


def power(machines):
    """A machine that loses its power comes back with all it had acknowledged."""
    first, third = machines[0], machines[2]

    def act():
        third.off()
        time.sleep(4)
        third.boot()
        until('it is back', lambda: third.show('quire-shard@1', 'StatusText')['StatusText'] == 'ready')
        until('all is whole again', lambda: whole(first))

    with_load(first, 'a machine without power', act)


def grow(machines, network, stack):
    first = machines[0]
    fourth = Machine(network, 'm4', stack)

    def act():
        fourth.block('install')
        fourth.block('grow')
        until('it holds a replica', lambda: any(n['url'] == 'tcp://10.0.0.4:7401' and n['replicas'] > 0 for n in first.json('node', 'list')['nodes']))
        until('all is whole again', lambda: whole(first))
        first.block('shrink')
        check(all(n['replicas'] == 0 for n in first.json('node', 'list')['nodes'] if n['url'] == 'tcp://10.0.0.4:7401'), 'it is empty')
        fourth.block('stop')
        until('the shard is gone', lambda: first.block('forget', ok=False).returncode == 0)

    with_load(first, 'grown by a machine and back', act)
    check(len(first.json('node', 'list')['nodes']) == 3, 'three shards')
    fourth.off()
    network.remove('m4')


def backup(machines):
    first = machines[0]
    first.block('backup')
    first.block('restore')
    both = [first.quire('search', '--json', '-c', c, 'anchor bridge').stdout for c in ('default', 'default-as-it-was')]
    check(len({json.dumps([(h['headword'], h['score']) for h in json.loads(text)['hits']]) for text in both}) == 1, 'the same answers', *both)
    first.quire('collection', 'drop', 'default-as-it-was')


def upgrade(machines, folder):
    """One after another, under load."""
    def act():
        for m in machines:
            for path in glob.glob(m.root + '/root/debs/*.deb'):
                m.run('rm', '/root/debs/' + os.path.basename(path))
            for name in OURS:
                text = open(os.path.join(folder, f'{name}_new.deb'), 'rb').read()
                done = subprocess.run([*m.inside(), 'sh', '-c', f'cat > /root/debs/{name}_new.deb'], input=text, capture_output=True)
                check(done.returncode == 0, done.stderr)
            pids = [m.pid(unit) for unit in ('quire-coordinator', 'quire-shard@1')]
            m.block('upgrade')
            check('all is well' in m.quire('verify', '--replicas').stdout, 'all is well')
            check(not set(pids) & {m.pid(unit) for unit in ('quire-coordinator', 'quire-shard@1')}, 'what ran was restarted')
            check('+1' in m.run('dpkg-query', '-W', '-f', '${Version}', 'quire-server').stdout, 'the newer one')
            until('all is whole again', lambda: whole(m))

    with_load(machines[0], 'upgraded', act)


def gone(machines, network, stack):
    """A machine that is gone for good; another one takes its place, and its address."""
    first, second, third = machines
    third.off()
    until('what it held is made anew elsewhere', lambda: whole(first) and not any(
        n['replicas'] for n in first.json('node', 'list')['nodes'] if n['url'] == 'tcp://10.0.0.3:7401'), 120)
    first.block('gone')
    check(len(first.json('coordinator', 'list')['coordinators']) == 2, 'two coordinators')
    first.quire('node', 'remove', 'tcp://10.0.0.3:7401')
    network.remove('m3')  # the next one has the next number: its own
    machines[2] = new = Machine(network, 'm5', stack)
    check(network.address('m5') == '10.0.0.3', 'the address of the one that is gone')
    new.block('install')
    new.block('configure')
    until('three coordinators again', lambda: len(first.json('coordinator', 'list')['coordinators']) == 3)
    until('it holds a replica', lambda: any(n['url'] == 'tcp://10.0.0.3:7401' and n['replicas'] > 0 for n in first.json('node', 'list')['nodes']), 120)
    until('all is whole again', lambda: whole(first))
    check('all is well' in first.quire('verify', '--replicas').stdout, 'all is well')
    check('225' in first.block('use').stdout, 'all entries are there')
    check(first.block('recover').returncode == 0, 'nothing to recover')


def majority(machines):
    """Two of three machines are gone for good."""
    first = machines[0]
    for m in machines[1:]:
        m.off()
    until('nobody leads', lambda: first.quire('collection', 'create', 'new', ok=False).returncode != 0)
    check('anchor' in first.quire('search', 'anchor', ok=False).stdout, 'queries go on')
    done = first.block('alone', ok=False)
    check(done.returncode == 1 and 'Nothing was changed' in done.stdout, done.stdout, done.stderr)
    check('Done.' in first.block('force').stdout, 'it is done')
    until('it leads alone', lambda: len(first.json('coordinator', 'list')['coordinators']) == 1)
    first.quire('collection', 'create', 'newer')
    # With two replicas on three machines some ranges had both on the two; they are listed, and nothing is given up.
    lost = [r for r in first.json('range', 'list')['ranges'] if not any(p['state'] == 'serving' for p in r['replicas'])]
    done = first.block('recover', ok=False)
    check(done.returncode == (1 if lost else 0) and all(str(r['id']) in done.stdout for r in lost), done.stdout, done.stderr)


def main():
    tools = 'debootstrap', 'dpkg-buildpackage', 'systemd-nspawn', 'ip', 'unshare', 'nsenter'
    why = missing(*tools) or why_no_tree()
    if why:
        print(f'SKIP: {why}')
        return
    machine()  # made outside, where the network is
    folder = os.path.join(WORK, 'newer')
    shutil.rmtree(folder, ignore_errors=True)
    test_packages.newer(folder)
    enter()
    began = time.monotonic()
    network = Network('10.0.0')
    why = why_no_boot(network)
    if why:
        print(f'SKIP: {why}')
        return
    with contextlib.ExitStack() as stack:
        machines = [Machine(network, f'm{i}', stack) for i in (1, 2, 3)]
        print(f'three machines: {time.monotonic() - began:.0f} s', flush=True)
        try:
            for name, test in (('deploy', deploy), ('killed', killed), ('stopped', stopped), ('wrong', wrong), ('hung', hung), ('power', power),
                               ('grow', lambda m: grow(m, network, stack)), ('backup', backup), ('upgrade', lambda m: upgrade(m, folder)),
                               ('gone', lambda m: gone(m, network, stack)), ('majority', majority)):
                if len(sys.argv) > 1 and name not in ('deploy', *sys.argv[1:]):
                    continue
                print(f'{name} ...', flush=True)
                began = time.monotonic()
                test(machines)
                print(f'{name}: ok ({time.monotonic() - began:.1f} s)', flush=True)
        except BaseException:
            for m in machines:
                with contextlib.suppress(Exception):
                    print(f'--- {m.name}', m.run('journalctl', '-o', 'cat', '-n', '25', '-u', 'quire*', ok=False).stdout, sep='\n', file=sys.stderr, flush=True)
            raise
    print('ok')


if __name__ == '__main__':
    main()
