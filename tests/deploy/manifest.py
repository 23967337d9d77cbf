"""The manifests as Kubernetes would see them: what `kubectl kustomize` makes of an overlay, as Python's own values."""
import json, os, re

from tree import SOURCE, check, run

OVERLAYS = ['one-node', 'three-nodes']


def rendered(overlay):
    done = run('kubectl', 'kustomize', os.path.join(SOURCE, 'deploy', 'k8s', 'overlays', overlay))
    check(not done.stderr.strip(), f'{overlay}:', done.stderr)
    return done.stdout


def documents(overlay):
    # Debian's own Python, which has the package python3-yaml.
    script = 'import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)'
    done = run('/bin/sh', '-c', f"printf %s \"$1\" | /usr/bin/python3 -c '{script}'", 'sh', rendered(overlay))
    return json.loads(done.stdout)


def named(docs, kind, name=None):
    return [d for d in docs if d['kind'] == kind and name in (None, d['metadata']['name'])]


class Pod:
    """One of a StatefulSet's, as its controller would make it."""

    def __init__(self, docs, set_, ordinal):
        spec = set_['spec']
        self.kind = set_['metadata']['name']
        self.name = f'{self.kind}-{ordinal}'
        self.names = [f'{self.name}.{spec["serviceName"]}', self.name]  # in the DNS of its namespace
        self.spec = spec['template']['spec']
        self.container, = self.spec['containers']
        fields = {'metadata.name': self.name, 'spec.nodeName': f'node-{ordinal}'}
        self.environment = {e['name']: fields[e['valueFrom']['fieldRef']['fieldPath']] for e in self.container['env']}
        self.command = [self.expand(word) for word in self.container['command'] + self.container['args']]
        self.claims = {c['metadata']['name'] for c in spec['volumeClaimTemplates']}
        self.config = {}
        for volume in self.spec['volumes']:
            maps = named(docs, 'ConfigMap', volume['configMap']['name'])
            check(len(maps) == 1, f'no ConfigMap {volume["configMap"]["name"]}')
            self.config[volume['name']] = maps[0]['data']
        for mount in self.container['volumeMounts']:
            check(mount['name'] in self.claims or mount['name'] in self.config, f'{self.name}: nothing to mount as {mount["name"]}')

    def expand(self, word):
        def value(match):
            check(match.group(1) in self.environment, f'{self.name}: $({match.group(1)}) is not in its environment')
            return self.environment[match.group(1)]
        return re.sub(r'\$\((\w+)\)', value, word)

    def probe(self, which):
        """Port and path."""
        get = self.container[which]['httpGet']
        port = next(p['containerPort'] for p in self.container['ports'] if p['name'] == get['port'])
        return port, get['path']


def pods(overlay):
    docs = documents(overlay)
    return [Pod(docs, s, i) for s in named(docs, 'StatefulSet') for i in range(s['spec']['replicas'])]
