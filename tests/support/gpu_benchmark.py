"""What the tests of ``python -m benchmarks gpu`` share: a network of next to nothing, few calls, and no process of its own."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import timing
from benchmarks.cpu.workloads import Workload
from benchmarks.gpu import contenders, gpu, ops
from minivae import backend

TINY = Workload("tiny", 13, (5,), 2, 4, "relu")


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    return parser.parse_args(["--quick", *given])


@pytest.fixture
def short(monkeypatch):
    """Few calls: what counts here is that everything runs."""
    for module, name in ((ops, "WARM_UP"), (ops, "CALLS"), (contenders, "ROUNDS")):
        monkeypatch.setattr(module, name, 1)
    for name in ("WARM_UP", "TIMED"):
        monkeypatch.setattr(contenders, name, 4)
    monkeypatch.setattr(contenders.OneLaunch, "in_launch", 2)


@pytest.fixture
def here(monkeypatch):
    """What a benchmark does in a process of its own is done in this one, where the stand-in is."""

    def in_child(function, *args, timeout=None):
        value = function(*json.loads(json.dumps(args)))
        return timing.Outcome(json.loads(json.dumps(value)), 0.0, 0.0)

    monkeypatch.setattr(timing, "in_child", in_child)
    monkeypatch.setattr(gpu, "probe_cuda", lambda: backend.probe_cuda())
