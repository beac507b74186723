"""Work in a child process under limits that the system enforces."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

GIGABYTE = 2**30


def data_bytes() -> int:
    """Return how much memory this process has asked for (its own, writable; mapped files not counted)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmData"].split()[0]) * 1024


def limit_memory(size: int) -> None:
    """Let this process ask for ``size`` bytes beyond what it has, and no more."""
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + size, resource.RLIM_INFINITY))


def in_child(work: Callable[[], object], memory: int = GIGABYTE, seconds: int = 300) -> str:
    """Return ``str(work())`` of a forked process, which may ask for so much more memory and take so long; its failure is ours."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            signal.alarm(seconds)
            limit_memory(memory)
            answer = str(work())
            code = 0
        except BaseException:
            answer = traceback.format_exc()
        os.write(writing, answer.encode()[-60_000:])
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"ended with {status} (-14 is a hang)\n{answer}"
    return answer
