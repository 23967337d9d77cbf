#!/usr/bin/env python3
"""Who takes part: coordinators are listed, removed (the leader too, and one that is down), replaced, and refused when
they would be no majority; one that is started with another --join or --raft-listen is told what to do."""
import json, os, shutil, subprocess, time

from cluster import BUILD, check, equal, free_ports
from test_coordinators import Three, everywhere

COORDINATOR = os.path.join(BUILD, 'coordinator/quire-coordinator')


def listed(cluster, at):
    done = cluster.at(at, 'coordinator', 'list', '--json', ok=None)
    return None if done.code != 0 else json.loads(done.out)['coordinators']


def settled(cluster, at, urls):
    """The coordinators by url, once those and no others are there, alive, and one leads."""
    def attempt():
        found = {c['url']: c for c in listed(cluster, at) or []}
        good = set(found) == set(urls) and all(c['alive'] for c in found.values())
        return found if good and sum(c['leader'] for c in found.values()) == 1 else None
    return cluster.until(f'coordinator {at} lists {urls}', attempt)


def log_of(cluster, i):
    return open(os.path.join(cluster.data, 'log', f'coordinator{i}.log')).read()


def ends(cluster, i, code, *words):
    """A coordinator ends by itself, and says why."""
    process = cluster.started.pop(f'coordinator{i}')
    equal(process.wait(timeout=60), code, f'exit code of coordinator {i}')
    for word in words:
        check(word in log_of(cluster, i), f'coordinator {i} does not say "{word}"')


def fresh(cluster, i):
    shutil.rmtree(os.path.join(cluster.data, f'coordinator{i}'))


def recover_alone(cluster, i, *words):
    return subprocess.run([COORDINATOR, '--recover-alone', '--dir',
                           os.path.join(cluster.data, f'coordinator{i}'), '--listen', cluster.urls[i], *words],
                          capture_output=True, timeout=60)


def majority_gone():
    """Two of three are gone for good: the third one goes on alone, when it is told to, and others join it anew."""
    with Three() as cluster:
        settled(cluster, 0, cluster.urls)
        for i in range(3):
            cluster.create(i, f'made-{i}')
        everywhere(cluster, [f'made-{i}' for i in range(3)])
        check(recover_alone(cluster, 2).returncode != 0, 'a running coordinator was recovered')
        for i in range(3):
            cluster.kill(f'coordinator{i}')
        told = recover_alone(cluster, 2)
        equal(told.returncode, 1, 'exit code when it only tells')
        for words in (b'Nothing was changed', b'3 collections', b'lost: ', b'takes part no more'):
            check(words in told.stdout, f'it does not tell {words}:', told.stdout)
        cluster.start_coordinator(2)
        cluster.until('it serves as before', lambda: True if len(cluster.names(2)) == 3 else None)
        check(cluster.at(2, 'collection', 'create', 'no', ok=None).code != 0, 'a change without a majority')
        cluster.kill('coordinator2')
        equal(recover_alone(cluster, 2, '--force').returncode, 0, 'exit code of the recovery')
        cluster.start_coordinator(2)
        cluster.create(2, 'afterwards')
        equal(sorted(cluster.names(2)), ['afterwards', 'made-0', 'made-1', 'made-2'], 'collections')
        settled(cluster, 2, [cluster.urls[2]])
        for i in range(2):
            fresh(cluster, i)
            cluster.start_coordinator(i, join=2)
            settled(cluster, 2, cluster.urls[:i + 1] + [cluster.urls[2]])
        cluster.kill('coordinator2')
        cluster.create(0, 'three-again')
        everywhere(cluster, ['afterwards', 'three-again'], (0, 1))
        nowhere = subprocess.run([COORDINATOR, '--recover-alone', '--force',
                                  '--dir', os.path.join(cluster.data, 'nothing')], capture_output=True, timeout=60)
        check(nowhere.returncode == 1 and b'No such file' in nowhere.stderr, nowhere.stderr)


def main():
    with Three() as cluster:
        all_urls = cluster.urls
        for i in range(3):
            settled(cluster, i, all_urls)
        cluster.create(0, 'before')
        # status shows the same three
        done = json.loads(cluster.at(1, 'status', '--json').out)
        equal(sorted(c['address'] for c in done['coordinators']), sorted(all_urls), 'coordinators in status')
        check(all(c['alive'] for c in done['coordinators']) and done['leader'], 'status: a leader, all alive')

        equal(cluster.at(0, 'coordinator', 'remove', 'tcp://127.0.0.1:1', ok=None).code, 1, 'remove nobody')

        # The leader is removed, by way of a follower; it hands over, says so and stops; and may join anew.
        found = settled(cluster, 0, all_urls)
        leader = next(i for i in range(3) if found[all_urls[i]]['leader'])
        others = [i for i in range(3) if i != leader]
        cluster.at(others[0], 'coordinator', 'remove', all_urls[leader])
        ends(cluster, leader, 0, 'was removed from its cluster')
        settled(cluster, others[0], [all_urls[i] for i in others])
        cluster.create(others[1], 'two-left')
        # Its old folder is of no use.
        cluster.start_coordinator(leader)
        ends(cluster, leader, 0, 'was removed from its cluster')
        fresh(cluster, leader)
        cluster.start_coordinator(leader, join=others[1])
        settled(cluster, others[0], all_urls)
        everywhere(cluster, ['before', 'two-left'])

        # One that is down is removed; when it is started again it notices.
        found = settled(cluster, 0, all_urls)
        gone = next(i for i in range(3) if not found[all_urls[i]]['leader'])
        rest = [i for i in range(3) if i != gone]
        cluster.kill(f'coordinator{gone}')
        def is_gone():
            found = {c['url']: c for c in listed(cluster, rest[0]) or []}
            return True if found and not found[all_urls[gone]]['alive'] else None
        cluster.until('it is known to be gone', is_gone)
        # Without another one, the last that is alive would have no majority.
        refusal = cluster.at(rest[0], 'coordinator', 'remove', all_urls[rest[1]], ok=None)
        check(refusal.code != 0 and b'no majority' in refusal.err, 'a majority was given away:', refusal.err)
        cluster.at(rest[0], 'coordinator', 'remove', found[all_urls[gone]]['id'])
        settled(cluster, rest[0], [all_urls[i] for i in rest])
        cluster.start_coordinator(gone)
        ends(cluster, gone, 0, 'was removed from its cluster')
        # Nor does one take part again that was killed before it knew that it had joined.
        cluster.start_coordinator(gone, join=rest[0])
        ends(cluster, gone, 0, 'was removed from its cluster')
        joining = os.path.join(cluster.data, f'coordinator{gone}', 'joining')
        with open(joining, 'w') as file:
            file.write(all_urls[rest[0]] + '\n')
        cluster.start_coordinator(gone)
        ends(cluster, gone, 0, 'was removed from its cluster')
        equal(set(c['url'] for c in listed(cluster, rest[0])), {all_urls[i] for i in rest}, 'who takes part')

        # --join on a folder that takes part: of the same cluster it goes on; of another one it is refused.
        a, b = rest
        cluster.kill(f'coordinator{a}')
        cluster.start_coordinator(a, join=b)
        settled(cluster, b, [all_urls[i] for i in rest])
        cluster.until('it says so', lambda: True if '--join changes nothing' in log_of(cluster, a) else None)
        fresh(cluster, gone)
        cluster.start_coordinator(gone)  # a cluster of its own
        cluster.until('a cluster of its own', lambda: listed(cluster, gone))
        cluster.kill(f'coordinator{a}')
        cluster.start_coordinator(a, join=gone)
        ends(cluster, a, 1, 'another cluster')

        # Another raft address is refused with a sentence that says how.
        done = subprocess.run([COORDINATOR, '--dir',
                               os.path.join(cluster.data, f'coordinator{a}'), '--listen', all_urls[a],
                               '--raft-listen', '127.0.0.1:1234'], capture_output=True, timeout=60)
        equal(done.returncode, 1, 'exit code with another raft address')
        check(b'start it with --raft-listen 127.0.0.1:' in done.stderr, 'the sentence:', done.stderr)
        cluster.start_coordinator(a)
        settled(cluster, b, [all_urls[i] for i in rest])

        # Two, one, and the last one stays.
        cluster.at(b, 'coordinator', 'remove', all_urls[b])
        ends(cluster, b, 0, 'was removed from its cluster')
        settled(cluster, a, [all_urls[a]])
        last = cluster.at(a, 'coordinator', 'remove', all_urls[a], ok=None)
        check(last.code != 0 and b'the last coordinator cannot be removed' in last.err, last.err)
        cluster.create(a, 'alone')

        # The only one may get another raft address, when it is told to for good.
        cluster.kill(f'coordinator{a}')
        other = f'127.0.0.1:{free_ports(1)}'
        words = ['--dir', os.path.join(cluster.data, f'coordinator{a}'), '--listen', all_urls[a], '--raft-listen', other]
        done = subprocess.run([COORDINATOR, *words], capture_output=True, timeout=60)
        check(done.returncode == 1 and b'--recover-alone --force --raft-listen' in done.stderr, done.stderr)
        done = subprocess.run([COORDINATOR, '--recover-alone', '--force', *words], capture_output=True, timeout=60)
        equal(done.returncode, 0, done.stderr)
        cluster.start(f'coordinator{a}', 'coordinator/quire-coordinator', *words[2:])
        cluster.create(a, 'elsewhere')
    majority_gone()
    print('ok')


if __name__ == '__main__':
    main()
