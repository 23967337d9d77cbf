#!/usr/bin/env python3
"""quire up --coordinators: several of them, all known to the command line, and all stopped by quire down."""
import json, os, signal, time

from cluster import Cluster, Failed, check, equal, free_ports


class Several(Cluster):
    def __init__(self, coordinators):
        super().__init__(shards=1)
        self.coordinators = coordinators
        del self.env['QUIRE_CONNECT']
        self.env['XDG_DATA_HOME'] = self.dir  # the default folder is ours: nobody says where the cluster is

    @property
    def data(self):
        return os.path.join(self.dir, 'quire')

    def up(self, *words):
        for _ in range(20):
            done = self.run('up', '--json', '--shards', '1', '--port', str(self.port), *words, ok=None)
            if b'is taken' not in done.err:
                break
            self.port = free_ports(2)
        return done


def settled(cluster, count, gone=()):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = cluster.run('coordinator', 'list', '--json', ok=None)
        if found.code == 0:
            found = found.json['coordinators']
            alive = [c for c in found if c['alive']]
            if len(found) == count and len(alive) == count - len(gone) and sum(c['leader'] for c in alive) == 1:
                return found
        time.sleep(0.1)
    raise Failed(f'no {count} coordinators')


def main():
    cluster = Several(3)
    try:
        equal(cluster.up('--coordinators', '2').code, 2, 'an even number')
        check(not cluster.processes(), 'something was started')
        done = cluster.up('--coordinators', '3')
        equal(done.code, 0, done.err)
        equal(done.json['coordinators'], 3, 'coordinators')
        equal(len(done.json['connect'].split(',')), 3, 'urls')
        equal(sorted(cluster.processes()), ['coordinator', 'coordinator-2', 'coordinator-3', 'shard-1'], 'processes')
        settled(cluster, 3)
        cluster.run('collection', 'create', 'words')
        # The first one dies: the command line asks another one, without being told of any.
        os.kill(cluster.processes()['coordinator'], signal.SIGKILL)
        equal([c['name'] for c in cluster.run('collection', 'list', '--json').json['collections']], ['words'], 'collections')
        cluster.run('collection', 'create', 'more')
        settled(cluster, 3, gone=[0])
        equal(cluster.up().json['started'], 1, 'started again')
        settled(cluster, 3)
        check(b'quire down' in cluster.up('--coordinators', '5').err, 'more while it runs')
        equal(cluster.up('--coordinators', '1').code, 2, 'fewer')
        cluster.run('down')
        check(not cluster.processes(), 'processes left:', cluster.processes())
        equal(cluster.up('--coordinators', '5').json['coordinators'], 5, 'grown')
        equal(sorted(c['name'] for c in cluster.run('collection', 'list', '--json').json['collections']), ['more', 'words'], '')
        settled(cluster, 5)
    finally:
        cluster.__exit__(None, None, None)
    print('ok')


if __name__ == '__main__':
    main()
