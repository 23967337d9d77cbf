#!/usr/bin/env python3
"""The image: built by the command of deploy/README.md on a Debian 12 made by debootstrap, and run: a coordinator and a shard in containers, an
import, a search, a clean stop, and again with the same volumes."""
import os, shutil, subprocess, sys

from tree import Copy, SOURCE, WORK, bare, block, check, lend_apt, missing, packages, run, until, why_no_tree
from network import command, enter

STORE = os.path.join(WORK, 'containers')
RUN = ['podman', 'run', '--runtime', 'runc', '--pull=never', '--no-healthcheck', '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000',
       '--network', 'host', '--read-only', '--rm']


def environment():
    """A store of images of the test's own."""
    os.makedirs(STORE, exist_ok=True)
    conf = os.path.join(STORE, 'storage.conf')
    with open(conf, 'w') as file:
        file.write(f'[storage]\ndriver = "vfs"\ngraphroot = "{STORE}/graph"\nrunroot = "{STORE}/run"\n')
    os.environ.update(CONTAINERS_STORAGE_CONF=conf, BUILDAH_ISOLATION='chroot', STORAGE_DRIVER='vfs')


def import_base():
    with Copy(bare(), 'image') as root:
        lend_apt(root)
        run('sh', '-c', 'tar -C "$1" -c . | podman import - docker.io/library/debian:12-slim', 'sh', root)


def serve():
    command('ip', 'link', 'set', 'lo', 'up')
    volumes = {}
    for what in ('coordinator', 'shard'):
        volumes[what] = os.path.join(STORE, f'volume-{what}')
        shutil.rmtree(volumes[what], ignore_errors=True)
        os.makedirs(volumes[what])
        os.chown(volumes[what], 7400, 7400)
    words = dict(coordinator=[], shard=['quire-shard', '--dir', '/var/lib/quire/shard', '--listen', 'tcp://127.0.0.1:7401'])
    processes = {}

    def start(what):
        processes[what] = subprocess.Popen([*RUN, '--name', what, '--volume', f'{volumes[what]}:/var/lib/quire', 'quire', *words[what]],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def quire(*arguments, ok=True):
        return run('podman', 'exec', 'coordinator', 'quire', *arguments, ok=ok)

    try:
        check(run(*RUN, 'quire', 'quire-shard', '--help').stdout.startswith('Usage: quire-shard'), 'the help')
        check(run(*RUN, 'quire', 'id', '-u').stdout.strip() == '7400', 'its user')
        for round in range(2):
            for what in words:
                start(what)
            until('a shard is up', lambda: '"alive":true' in quire('node', 'list', '--json', ok=False).stdout.replace(' ', ''))
            if round == 0:
                run('podman', 'exec', '-i', 'coordinator', 'sh', '-c', 'printf %s "$1" | quire put', 'sh', '{"headword": "anchor", "body": "What holds a ship."}')
            until('the entry is there', lambda: 'holds a ship' in quire('define', 'anchor', ok=False).stdout)
            for what, process in processes.items():
                run('podman', 'kill', '--signal', 'TERM', what)
                process.wait(timeout=60)
                check(process.returncode == 0, what, 'ends with', process.returncode, process.stdout.read()[-1500:])
    finally:
        for what, process in processes.items():
            if process.poll() is None:
                run('podman', 'kill', what, ok=False)
                print(process.communicate()[0][-1500:], file=sys.stderr)


def main():
    why = missing('buildah', 'podman', 'runc', 'debootstrap', 'dpkg-buildpackage', 'ip', 'unshare') or why_no_tree()
    if why:
        print(f'SKIP: {why}')
        return
    environment()
    if os.environ.get('QUIRE_FAULT_INSIDE') is None:
        packages()
        print('build ...', flush=True)
        shutil.rmtree(os.path.join(STORE, 'graph'), ignore_errors=True)
        import_base()
        done = run(*RUN, 'debian:12-slim', 'true', ok=False)
        if done.returncode != 0:
            print(f'SKIP: no container runs here: {done.stderr.strip()[-300:]}')
            return
        run('sh', '-euc', block('image'), cwd=SOURCE)
    enter()
    print('serve ...', flush=True)
    serve()
    print('ok')


if __name__ == '__main__':
    main()
