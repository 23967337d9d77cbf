"""quire-load beside a test: not one answer may be wrong, stale, missing or an error; and what a cluster at rest looks like."""
import json, subprocess, time

from tree import check


def whole(one):
    """Each range has all its replicas, in sync, and none is on its way. `one` has a quire() that runs the command."""
    done = one.quire('range', 'list', '--json', ok=False)
    if done.returncode != 0:
        return False
    return all(len(r['replicas']) == r['replicas_wanted'] and all(p['role'] != 'learner' and p['state'] == 'serving' and not p['leaving'] for p in r['replicas'])
               for r in json.loads(done.stdout)['ranges'])


class Load:
    def __init__(self, words, stop=None, collection='default', rate=100, seconds=600):
        """`words`: the command line that runs quire-load where it is to run; stop(): ends it there, where a signal to what runs here does not."""
        self.process = subprocess.Popen([*words, '--quiet', '--json', '-', '--no-errors', '--rate', str(rate), '--duration', str(seconds), '--seed', '5',
                                         '-c', collection], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.stop = stop or self.process.terminate
        time.sleep(5)  # it has made its own collection, and asks
        check(self.process.poll() is None, 'quire-load has ended:', self.process.poll() is not None and self.process.communicate())

    def end(self, what):
        """How many requests it sent, all of them answered rightly."""
        check(self.process.poll() is None, f'{what}: quire-load has ended before its time')
        self.stop()
        out, err = self.process.communicate(timeout=120)
        check(out.startswith('{'), f'{what}: quire-load:', err[-2000:])
        report = json.loads(out)
        check(self.process.returncode == 0, f'{what}: exit {self.process.returncode}:', json.dumps(report)[:1500], err[-1500:])
        return sum(kind['sent'] for kind in report['kinds'].values())
