"""Runs a command, and prints what it took: a process of its own, and small.

A process starts with the peak memory of the one that made it, so a command that is started by the
benchmarks themselves would seem to need what they need. Arguments: the command.
"""

import json
import os
import sys
import time

if __name__ == "__main__":
    to_nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    start = time.perf_counter()
    pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[to_nowhere])
    _, status, usage = os.wait4(pid, 0)
    record = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        # Linux counts in KiB, macOS in bytes.
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    print(json.dumps(record))
