"""What is done to the cluster while it is read and written: each a generator of a fault that hurts at once, and holds
until the caller goes on; Nodes.heal() undoes it. Each says which node it chose."""
import random, time


def kill_shard(nodes):
    victim = nodes.primary()
    nodes.kill(victim)
    return victim


def kill_leader(nodes):
    victim = nodes.leader()
    nodes.kill(victim)
    return victim


def kill_follower(nodes):
    victim = nodes.follower()
    nodes.kill(victim)
    return victim


def pause_shard(nodes):
    victim = nodes.primary()
    nodes.pause(victim)
    return victim


def pause_leader(nodes):
    victim = nodes.leader()
    nodes.pause(victim)
    return victim


def pause_follower(nodes):
    victim = nodes.follower()
    nodes.pause(victim)
    return victim


def cut(choose, **how):
    def fault(nodes):
        victim = choose(nodes)
        nodes.network.isolate(victim, **how)
        return victim
    return fault


def primary(nodes):
    return nodes.primary()


def leader(nodes):
    return nodes.leader()


def follower(nodes):
    return nodes.follower()


def cut_from_shards(nodes):
    """A primary that coordinators reach and its secondaries do not."""
    victim = nodes.primary()
    nodes.network.isolate(victim, others=[s for s in nodes.shards if s != victim])
    return victim


def cut_from_coordinators(nodes):
    """A primary that its secondaries reach and no coordinator does."""
    victim = nodes.primary()
    nodes.network.isolate(victim, others=nodes.coordinators)
    return victim


def cut_from_client(nodes):
    victim = random.choice(nodes.coordinators)
    nodes.network.isolate(victim, others=['client'])
    return victim


def full_disk(nodes):
    victim = next(iter(nodes.disk))
    nodes.fill(victim)
    return victim


def slow_link(nodes):
    victim = nodes.primary()
    nodes.network.slow(victim)
    return victim


def kill_majority(nodes):
    """Two of three coordinators: reads go on."""
    victims = random.sample(nodes.coordinators, len(nodes.coordinators) // 2 + 1)
    nodes.kill(*victims)
    return ' and '.join(victims)


def kill_all(nodes):
    """The whole cluster loses its power."""
    nodes.kill(*nodes.names)
    return 'everything'


def restart_all(nodes):
    """Every process in turn is asked to end, is started again, and the next one's turn comes when all is in sync."""
    slowest = 0
    for name in nodes.names:
        slowest = max(slowest, nodes.terminate(name))
        nodes.start(name)
        nodes.wait_in_sync()
        time.sleep(0.5)
    return f'everything in turn; the slowest took {slowest:.1f} s to end'


def drain_shard(nodes):
    """A shard that leads is emptied; it is wanted again when the fault is over."""
    victim = nodes.primary()
    nodes.drain(victim)
    return victim


def move_range(nodes):
    """The replica that leads a range moves to a shard that has none of it."""
    moved = nodes.ranges('live')[0]
    nodes.move(moved['id'], moved['primary'])
    return f'range {moved["id"]} from {moved["primary"]}'


def kill_during_drain(nodes):
    """While a shard is emptied another one, or a coordinator, is killed."""
    victim = nodes.primary()
    nodes.drain(victim, wait=False)
    other = random.choice([n for n in nodes.names if n != victim])
    time.sleep(random.random())
    nodes.kill(other)
    return f'{victim} is drained, {other} is killed'


def reshape(nodes, wait=True):
    """A range is split; or, once there are more than four, two neighbours are merged."""
    ranges = nodes.ranges('live')
    what = 'split' if len(ranges) < 4 else 'merge'
    chosen = random.choice(ranges if what == 'split' else ranges[:-1])
    return f'{what} of range {chosen["id"]}: {nodes.reshape(what, chosen["id"], wait)}'


def split_and_merge(nodes):
    return '; '.join(reshape(nodes) for _ in range(4))


def kill_during_split(nodes):
    """While a range is split or merged a shard, or a coordinator, is killed."""
    told = reshape(nodes, wait=False)
    other = random.choice(nodes.names)
    time.sleep(random.random() / 2)
    nodes.kill(other)
    return f'{told}, {other} is killed'


def storm(nodes):
    """Two faults, one on top of the other."""
    return '; '.join(f'{name}: {FAULTS[name][0](nodes)}' for name in random.sample(SINGLE, 2))


# name -> (fault, seconds that it holds, what may be seen: 'none' no failed read or write; 'reads' no failed read;
# 'any' failures are told, not judged). What is lost or wrong is judged always.
FAULTS = {
    'kill-shard': (kill_shard, 4, 'none'),
    'kill-leader': (kill_leader, 4, 'none'),
    'kill-follower': (kill_follower, 4, 'none'),
    'pause-shard': (pause_shard, 10, 'none'),
    'pause-leader': (pause_leader, 10, 'none'),
    'pause-follower': (pause_follower, 10, 'none'),
    'cut-shard': (cut(primary), 8, 'none'),
    'cut-shard-sends': (cut(primary, receives=False), 8, 'none'),
    'cut-shard-receives': (cut(primary, sends=False), 8, 'none'),
    'cut-leader': (cut(leader), 8, 'none'),
    'cut-leader-sends': (cut(leader, receives=False), 8, 'none'),
    'cut-leader-receives': (cut(leader, sends=False), 8, 'none'),
    'cut-follower': (cut(follower), 8, 'none'),
    'cut-from-shards': (cut_from_shards, 8, 'none'),
    'cut-from-coordinators': (cut_from_coordinators, 8, 'none'),
    'cut-from-client': (cut_from_client, 8, 'none'),
    'full-disk': (full_disk, 6, 'reads'),
    'slow-link': (slow_link, 8, 'any'),
    'kill-majority': (kill_majority, 5, 'any'),
    'kill-all': (kill_all, 1, 'any'),
    'restart-all': (restart_all, 0, 'none'),
    'drain-shard': (drain_shard, 1, 'none'),
    'move-range': (move_range, 1, 'none'),
    'kill-during-drain': (kill_during_drain, 5, 'none'),
    'split-merge': (split_and_merge, 1, 'none'),
    'kill-during-split': (kill_during_split, 5, 'none'),
    'storm': (storm, 6, 'any'),
}
SINGLE = [name for name, (_, _, allowed) in FAULTS.items() if allowed != 'any' and name not in ('restart-all', 'full-disk') and 'drain' not in name and 'split' not in name and name != 'move-range']
