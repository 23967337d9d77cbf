"""quire-load beside a test: not one answer may be wrong, stale, missing or an error."""
import json, subprocess, time

from tree import check


class Load:
    def __init__(self, words, collection='default', rate=100, seconds=600):
        """`words`: the command line that runs quire-load where it is to run."""
        self.process = subprocess.Popen([*words, '--quiet', '--json', '-', '--no-errors', '--rate', str(rate), '--duration', str(seconds), '--seed', '5',
                                         '-c', collection], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(5)
        check(self.process.poll() is None, 'quire-load has ended:', self.process.poll() is not None and self.process.communicate())

    def end(self, what):
        """Ends it: what it counted. `words` pass the signal on."""
        check(self.process.poll() is None, f'{what}: quire-load has ended before its time')
        self.process.terminate()
        out, err = self.process.communicate(timeout=120)
        check(out.startswith('{'), f'{what}: quire-load:', err[-2000:])
        report = json.loads(out)
        check(self.process.returncode == 0, f'{what}: exit {self.process.returncode}:', json.dumps(report)[:1500], err[-1500:])
        return report
