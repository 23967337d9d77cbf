#!/usr/bin/env python3
"""The manifests for Kubernetes: every overlay is rendered and held against two schemas, faults in it are found, what refers to something
finds it; and the pods of three-nodes are started with their very arguments, files, user and read-only root, each in a network of its own under the
name that Kubernetes would give it: killed, made anew with other addresses, and robbed of a volume, under load.
Not shown here, for want of a Kubernetes: scheduling, the network policy, probes as the kubelet runs them (their pages are asked)."""
import contextlib, glob, json, os, shutil, subprocess, sys, time

from tree import Copy, SOURCE, WORK, check, kept, machine, missing, packages, run, until, why_no_tree
from load import Load, whole
from manifest import OVERLAYS, documents, named, pods, rendered
from network import Network, enter
from test_machines import entries


# ---- schemas ----

def schemas():
    why = missing('kubectl', 'npm', 'node')
    if why:
        print(f'SKIP: schemas: {why}')
        return
    work = os.path.join(WORK, 'schema')
    shutil.copytree(os.path.join(SOURCE, 'tests', 'deploy', 'schema'), work, dirs_exist_ok=True)
    if not os.path.isdir(os.path.join(work, 'node_modules', 'typescript')):
        done = run('npm', 'install', '--no-audit', '--no-fund', '--silent', ok=False, cwd=work)
        if done.returncode != 0:
            print(f'SKIP: schemas: npm install: {done.stderr.strip()[-300:]}')
            return

    def judge(text):
        with open(os.path.join(work, 'one.yaml'), 'w') as file:
            file.write(text)
        return run('node', 'check.mjs', 'one.yaml', ok=False, cwd=work)

    for overlay in OVERLAYS:
        text = rendered(overlay)
        done = judge(text)
        check(done.returncode == 0, overlay, done.stdout, done.stderr)
        print(f'  {overlay}: {done.stdout.strip()}', flush=True)
    for right, bad in (('serviceName: quire-shard', 'servceName: quire-shard'), ('minReadySeconds: 10', 'minReadySeconds: "ten"'),
                       ('terminationGracePeriodSeconds', 'terminationGraceSeconds'), ('publishNotReadyAddresses: true', 'publishNotReadyAddresses: 7')):
        check(right in text, right)
        check(judge(text.replace(right, bad)).returncode == 1, f'"{bad}" is not found')


def references():
    """What one object says of another is there: selectors, services, ports, accounts of user and group."""
    for overlay in OVERLAYS:
        docs = documents(overlay)
        check(all(d['metadata'].get('namespace') == 'quire' or d['kind'] == 'Namespace' for d in docs), 'all in one namespace')
        templates = [s['spec']['template'] for s in named(docs, 'StatefulSet')]
        check(len(templates) == 2, 'two StatefulSets')

        def chosen(selector):
            return [t for t in templates if all(t['metadata']['labels'].get(k) == v for k, v in selector['matchLabels'].items())]

        for s in named(docs, 'StatefulSet'):
            check(chosen(s['spec']['selector']) == [s['spec']['template']], s['metadata']['name'])
            service, = named(docs, 'Service', s['spec']['serviceName'])
            check(service['spec']['clusterIP'] == 'None' and service['spec']['publishNotReadyAddresses'], 'found before it is ready')
        for kind, path in (('PodDisruptionBudget', 'selector'), ('NetworkPolicy', 'podSelector')):
            check(len(named(docs, kind)) == 2 and all(len(chosen(d['spec'][path])) == 1 for d in named(docs, kind)), kind)
        for service in named(docs, 'Service'):
            template, = chosen({'matchLabels': service['spec']['selector']})
            ports = {p['name']: p['containerPort'] for p in template['spec']['containers'][0]['ports']}
            for port in service['spec']['ports']:
                check(ports.get(port.get('targetPort', port['name'])) == port['port'], service['metadata']['name'], port)
        for pod in pods(overlay):
            check(pod.spec['securityContext']['runAsUser'] == 7400 and f'--uid {7400}' in open(os.path.join(SOURCE, 'deploy', 'Containerfile')).read(), 'the user')
        print(f'  {overlay}: {len(docs)} objects', flush=True)


# ---- running them ----

def make_image(path):
    run('cp', '-a', machine(), path)
    os.makedirs(path + '/debs')
    for name in ('quire-server', 'quire-client', 'libquire0'):
        shutil.copy(packages()[name], path + '/debs')
    run('chroot', path, 'groupadd', '--system', '--gid', '7400', 'quire')
    run('chroot', path, 'useradd', '--system', '--uid', '7400', '--gid', '7400', '--no-create-home', '--home-dir', '/var/lib/quire', 'quire')
    run('chroot', path, 'sh', '-c', 'dpkg -i /debs/*.deb && rm -r /debs && install -d -o quire -g quire -m 700 /var/lib/quire')


class Cluster:
    """The kubelet's and the DNS's part."""

    def __init__(self, overlay, image, stack):
        self.network = Network()
        stack.callback(self.network.close)
        self.image, self.stack = image, stack
        self.pods = {p.name: p for p in pods(overlay)}
        self.roots, self.processes = {}, {}
        self.hosts = os.path.join(WORK, f'hosts-{os.getpid()}')
        open(self.hosts, 'w').close()
        stack.callback(os.unlink, self.hosts)
        stack.callback(self.stop)
        for name in [*self.pods, 'client']:
            self.network.add(name)
            self.roots[name] = self.root(name)
        self.tell_names()
        for name in self.pods:
            self.start(name)

    def root(self, name):
        root = self.stack.enter_context(Copy(self.image, name))
        self.stack.callback(run, 'umount', '-R', '--lazy', root, ok=False)
        run('mount', '--bind', self.hosts, root + '/etc/hosts')
        if name == 'client':
            return root
        pod = self.pods[name]
        for mount in pod.container['volumeMounts']:
            path = root + mount['mountPath']
            os.makedirs(path, exist_ok=True)
            if mount['name'] in pod.claims:
                self.empty(name)
                run('mount', '--bind', self.volume(name), path)
                continue
            files = os.path.join(os.path.dirname(root), mount['name'])
            os.makedirs(files)
            for key, text in pod.config[mount['name']].items():
                with open(os.path.join(files, key), 'w') as file:
                    file.write(text)
            run('mount', '--bind', files, path)
            run('mount', '-o', 'remount,bind,ro', path)
        run('mount', '-t', 'proc', 'proc', root + '/proc')
        if pod.container['securityContext']['readOnlyRootFilesystem']:
            run('mount', '-o', 'remount,ro', root)
        return root

    def volume(self, name):
        return os.path.join(WORK, 'copies', f'{os.getpid()}-{name}', 'volume')

    def empty(self, name):
        run('sh', '-c', f'mkdir -p "$1" && find "$1" -mindepth 1 -delete && chown 7400:7400 "$1"', 'sh', self.volume(name))

    def tell_names(self):
        with open(self.hosts, 'w') as file:  # the same file: it is mounted in each root
            file.write('127.0.0.1 localhost\n')
            for name, pod in self.pods.items():
                file.write(' '.join([self.network.address(name), *pod.names]) + '\n')

    def inside(self, name, user='7400:7400'):
        return [*self.network.inside(name), 'chroot', f'--userspec={user}', self.roots[name]]

    def start(self, name):
        log = open(os.path.join(WORK, f'{name}.log'), 'ab')
        self.processes[name] = subprocess.Popen(self.inside(name) + self.pods[name].command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def kill(self, name):
        """The container's process dies: the kubelet starts another one in the same pod."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)

    def make_anew(self, name, warning=True, volume=True):
        """The pod is deleted and made anew: another address, the same name and volume. Without a warning its node has died."""
        if warning:
            hook = self.pods[name].container.get('lifecycle', {}).get('preStop')
            if hook:
                run(*self.inside(name), *hook['exec']['command'])
            self.processes[name].terminate()
            check(self.processes[name].wait(self.pods[name].spec['terminationGracePeriodSeconds']) == 0, f'{name} ends in its time')
        else:
            self.processes[name].kill()
            self.processes[name].wait()
        self.network.readdress(name)
        self.tell_names()
        if not volume:
            self.empty(name)
        self.start(name)

    def probe(self, name, which):
        port, path = self.pods[name].probe(which)
        script = f'import urllib.request as u; print(u.urlopen("http://{self.network.address(name)}:{port}{path}", timeout=3).status)'
        return run(*self.network.inside('client'), sys.executable, '-c', script, ok=False).stdout.strip() == '200'

    def ready(self, *names):
        for name in names or self.pods:
            until(f'{name} is ready', lambda: self.probe(name, 'readinessProbe') and self.probe(name, 'livenessProbe'))

    def quire(self, *words, ok=True):
        names = ','.join(f'tcp://{p.names[0]}:7400' for p in self.pods.values() if p.kind == 'quire-coordinator')
        return run(*self.inside('client'), 'quire', words[0], '--connect', names, *words[1:], ok=ok)

    def json(self, *words):
        return json.loads(self.quire(*words, '--json').stdout)


def one_node(image):
    with contextlib.ExitStack() as stack:
        c = Cluster('one-node', image, stack)
        c.ready()
        check(len(c.json('coordinator', 'list')['coordinators']) == 1 and len(c.json('node', 'list')['nodes']) == 1, 'one of each')
        with open(os.path.join(c.roots['client'], 'one.jsonl'), 'w') as file:
            file.write('{"headword": "anchor", "body": "What holds a ship."}\n')
        c.quire('import', '/one.jsonl')
        for name in c.pods:
            c.make_anew(name)
            c.ready(name)
        check('holds a ship' in c.quire('define', 'anchor').stdout, 'what was acknowledged')


def three_nodes(image):
    with contextlib.ExitStack() as stack:
        c = Cluster('three-nodes', image, stack)
        try:
            run_three(c)
        except BaseException:
            for name in c.pods:
                print(f'--- {name}', *open(os.path.join(WORK, f'{name}.log'), errors='replace').read().splitlines()[-15:], sep='\n', file=sys.stderr, flush=True)
            raise


def run_three(c):
    c.ready()
    check(len(c.json('coordinator', 'list')['coordinators']) == 3, 'three coordinators')
    check({n['zone'] for n in c.json('node', 'list')['nodes']} == {'node-0', 'node-1', 'node-2'}, 'zones')
    with open(os.path.join(c.roots['client'], 'glossary.jsonl'), 'w') as file:
        file.writelines(json.dumps(entry) + '\n' for entry in entries())
    c.quire('import', '/glossary.jsonl')
    until('two replicas of each range', lambda: whole(c))
    names = ','.join(f'tcp://{p.names[0]}:7400' for p in c.pods.values() if p.kind == 'quire-coordinator')
    load = Load([*c.inside('client'), 'quire-load', '--connect', names])
    for what, name, options in (('kill', 'quire-shard-0', None), ('kill', 'quire-coordinator-0', None), ('deleted', 'quire-shard-1', {}),
                                ('deleted', 'quire-coordinator-1', {}), ('node died', 'quire-shard-2', dict(warning=False)),
                                ('node died', 'quire-coordinator-2', dict(warning=False)), ('node died', 'quire-coordinator-0', dict(warning=False))):
        began = time.monotonic()
        if options is None:
            c.kill(name)
        else:
            c.make_anew(name, **options)
        c.ready(name)
        until('all is whole again', lambda: whole(c))
        print(f'  {what}: {name}: ready again after {time.monotonic() - began:.1f} s', flush=True)
    sent = load.end('kills and new addresses')
    print(f'  {sent} requests, none answered wrongly or not at all', flush=True)

    # The first of the list, which begins clusters, loses its volume: it begins no other one.
    old = next(n for n in c.json('coordinator', 'list')['coordinators'] if 'coordinator-0' in n['url'])
    cluster = c.json('status')['cluster_id']
    c.make_anew('quire-coordinator-0', warning=False, volume=False)
    until('it asks to be taken in', lambda: 'not taken in yet' in open(os.path.join(WORK, 'quire-coordinator-0.log')).read())
    check(not c.probe('quire-coordinator-0', 'readinessProbe'), 'it is not ready')
    c.quire('coordinator', 'remove', old['id'])
    c.ready('quire-coordinator-0')
    now = next(n for n in c.json('coordinator', 'list')['coordinators'] if 'coordinator-0' in n['url'])
    check(now['id'] != old['id'] and c.json('status')['cluster_id'] == cluster, 'the same cluster')
    check('all is well' in c.quire('verify', '--replicas').stdout, 'all is well')


def main():
    why = missing('kubectl', 'debootstrap', 'dpkg-buildpackage', 'ip', 'unshare', 'nsenter') or why_no_tree()
    if os.environ.get('QUIRE_FAULT_INSIDE') is None:
        if shutil.which('kubectl'):
            schemas()
            references()
        if why:
            print(f'SKIP: {why}')
            return
    stamp = open(os.path.join(os.path.dirname(packages()['quire-server']), 'of')).read()[:12]
    for old in glob.glob(os.path.join(WORK, 'image-*')):
        if not old.endswith(stamp):
            run('rm', '-rf', '--one-file-system', old)
    image = kept(f'image-{stamp}', make_image)
    enter()
    for test in (one_node, three_nodes):
        print(f'{test.__name__} ...', flush=True)
        test(image)
        print(f'{test.__name__}: ok', flush=True)
    print('ok')


if __name__ == '__main__':
    main()
