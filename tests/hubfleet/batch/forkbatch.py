"""Runs with the Python of a client's own environment: `kbatch` as a process of its own for each command.

The client takes a second to import the Kubernetes models, and the tests start it a hundred times. So it is
imported once, unmodified, and every command runs in a fork of that. Reads one JSON object a line: `args`,
`env`, `cwd`, `stdout` and `stderr` (paths); writes a line with the exit status of each.
"""

import json
import os
import sys

from kbatch.cli import cli


def run(command):
    pid = os.fork()
    if pid == 0:
        os.environ.clear()
        os.environ.update(command["env"])
        os.chdir(command["cwd"])
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(command[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
        sys.argv = ["kbatch", *command["args"]]
        try:
            sys.exit(cli())
        except SystemExit as e:
            if isinstance(e.code, str):
                print(e.code, file=sys.stderr)
            code = 0 if e.code is None else e.code if isinstance(e.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        print(run(json.loads(line)), flush=True)
