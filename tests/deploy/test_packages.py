#!/usr/bin/env python3
"""The Debian packages: lintian, installation into a bare Debian 12, upgrade with a changed configuration file, removal, purge; the units as
systemd reads them."""
import os, re, shutil

from tree import Copy, apt, bare, block, check, lend_apt, main, packages, run


def lintian():
    files = [path for path in packages().values()]
    done = run('lintian', '--allow-root', '--tag-display-limit', '0', *files, ok=False)
    errors = [line for line in done.stdout.splitlines() if line.startswith('E:')]
    check(not errors, 'lintian:', *errors)
    check(done.returncode == 0, done.stdout, done.stderr)
    print('  ' + '\n  '.join(done.stdout.splitlines() or ['nothing to say']))


def newer(folder):
    """The same packages with a higher version and another default configuration."""
    os.makedirs(folder)
    for name, path in packages().items():
        work = os.path.join(folder, name)
        run('dpkg-deb', '-R', path, work)
        control = os.path.join(work, 'DEBIAN', 'control')
        text = open(control).read()
        version = re.search(r'^Version: (.*)$', text, re.M).group(1)
        with open(control, 'w') as file:
            file.write(text.replace(version, version + '+1'))
        conf = os.path.join(work, 'etc', 'quire', 'coordinator.conf')
        if os.path.exists(conf):
            with open(conf, 'a') as file:
                file.write('# a newer default\n')
        run('dpkg-deb', '--root-owner-group', '-b', work, os.path.join(folder, f'{name}_new.deb'))
        shutil.rmtree(work)


def in_tree(root, *words, ok=True):
    return run('chroot', root, *words, ok=ok)


def life():
    """Installed by the README's command, upgraded, removed, purged."""
    with Copy(bare(), 'packages') as root:
        lend_apt(root)
        os.makedirs(root + '/packages')
        for path in packages().values():
            shutil.copy(path, root + '/packages')
        before = set(in_tree(root, 'sh', '-c', 'dpkg-query -W -f "\\${Package}\\n"').stdout.split())
        in_tree(root, 'sh', '-euc', 'cd /packages; ' + block('install'))
        apt(root, 'install', '-y', '/packages/' + os.path.basename(packages()['libquire-dev']))
        for command in ('quire --version', 'quire-load --version', 'quire-shard --version', 'quire-coordinator --version'):
            check(in_tree(root, *command.split()).stdout.startswith(command.split()[0]), command)
        check(in_tree(root, 'quire', 'status', ok=False).returncode != 0, 'nobody is started by the installation')
        check('uid=' in in_tree(root, 'id', 'quire').stdout, 'the user')
        for program, conf in (('quire-shard', 'shard-1'), ('quire-coordinator', 'coordinator')):
            done = in_tree(root, program, '--check-config', '--config', f'/etc/quire/{conf}.conf', '--dir', '/var/lib/quire')
            check(done.stdout == f'{program}: the configuration is good\n', done.stdout)
        for part in ('usr/include/quire.h', 'usr/share/man/man8/quire-shard.8.gz', 'usr/share/man/man1/quire.1.gz'):
            check(os.path.exists(f'{root}/{part}'), part, 'is missing')
        units(root)

        with open(root + '/etc/quire/coordinator.conf', 'a') as file:
            file.write('replicas = 2\n')
        mine = open(root + '/etc/quire/coordinator.conf').read()
        shutil.rmtree(root + '/packages')
        newer(root + '/packages')
        apt(root, '-o', 'Dpkg::Options::=--force-confdef', '-o', 'Dpkg::Options::=--force-confold', 'install', '-y',
            *[f'/packages/{name}_new.deb' for name in packages()])
        versions = in_tree(root, 'sh', '-c', 'dpkg-query -W -f "\\${Package} \\${Version} \\${Status}\\n" "*quire*"').stdout
        check(len(re.findall(r'\+1 install ok installed', versions)) == 4, 'upgraded:', versions)
        check(open(root + '/etc/quire/coordinator.conf').read() == mine, 'a changed configuration file is kept')

        os.makedirs(root + '/var/lib/quire/shard-1')
        apt(root, 'remove', '-y', 'quire-server')
        check(os.path.exists(root + '/etc/quire/coordinator.conf'), 'removal keeps the configuration')
        done = apt(root, 'purge', '-y', 'quire-server', 'quire-client', 'libquire0', 'libquire-dev')
        check(not os.path.exists(root + '/etc/quire'), 'purge takes the configuration away')
        check(os.path.exists(root + '/var/lib/quire/shard-1'), 'and never the data')
        check('stays in /var/lib/quire' in done.stdout + done.stderr, 'and says so:', done.stdout, done.stderr)
        left = in_tree(root, 'sh', '-c', 'find / -xdev -iname "*quire*" -not -path "/packages*" -not -path "/proc/*" -not -path "/var/lib/quire*"').stdout.split()
        check(not [path for path in left if not path.startswith(('/var/cache/apt', '/var/lib/apt', '/var/log'))], 'left behind:', left)
        apt(root, 'autoremove', '-y', '--purge')
        after = set(in_tree(root, 'sh', '-c', 'dpkg-query -W -f "\\${Package}\\n"').stdout.split())
        check('librocksdb7.8' not in after and before <= after, after - before)


def units(root):
    names = ['quire-coordinator.service', 'quire-shard@1.service', 'quire.target']
    done = run('systemd-analyze', 'verify', '--man=no', f'--root={root}', *names, ok=False)
    said = [line for line in done.stderr.splitlines() if 'quire' in line]
    check(done.returncode == 0 and not said, 'systemd-analyze verify:', done.stderr)
    for name in names[:2]:
        path = f'{root}/lib/systemd/system/{name.replace("@1", "@")}'
        done = run('systemd-analyze', 'security', '--offline=true', path)
        line = done.stdout.splitlines()[-1]
        exposure = float(re.search(r'exposure level for \S+: ([0-9.]+)', line).group(1))
        print(f'  {name}: exposure {exposure}')
        check(exposure < 2.5, line)


if __name__ == '__main__':
    main([lintian, life], 'debootstrap', 'lintian', 'dpkg-buildpackage', 'systemd-analyze', 'unshare')
