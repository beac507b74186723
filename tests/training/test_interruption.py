"""Signals, kill -9 at random moments, full disks and read-only folders: nothing is lost but the work since the last checkpoint."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import DataFileError
from minivae.command.cli import main
from minivae.training import checkpoint
from minivae.training.keeper import Keeper

pytestmark = pytest.mark.slow  # real processes are killed and resumed

ROOT = Path(mv.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
KILLS, KILLS_WITHIN_A_SAVE = 32, 24

# A real training that is killed by real signals.  It writes each step's number to standard output, and "save" and "saved" around
# each save.  Saves are made slow in the middle, at the moments between which a crash differs: file made, written, forced to the
# disk, read back, renamed.
SCRIPT = """
import os, sys, time
import numpy as np
import minivae as mv
from minivae.training import checkpoint
from minivae.training.keeper import Keeper

path, slow = sys.argv[1], float(sys.argv[2])
say = lambda text: os.write(1, f"{text}\\n".encode())
for name in ("fsync", "replace"):
    def delayed(*args, call=getattr(os, name)):
        time.sleep(slow)
        call(*args)
        time.sleep(slow)
    if slow:
        setattr(os, name, delayed)

class Loud(Keeper):
    def save(self, trainer):
        say(f"save {trainer.step}")
        super().save(trainer)
        say(f"saved {trainer.step}")

x = np.random.default_rng(0).random((103, 7)).astype("float32")
keeper = Loud(path, sys.argv[3])
def on_step(trainer):
    say(trainer.step)
    time.sleep(0.0005)
    keeper.on_step(trainer)
def on_start(trainer):
    keeper.on_start(trainer)
    say(f"start {trainer.step}")
vae = mv.VAE(latent_dim=3, hidden_dims=(11,), epochs=40, batch_size=20, seed=5, device="cpu")
vae.fit(x, on_start=on_start, on_step=on_step, on_epoch=keeper.on_epoch)
say("end")
"""
SETTINGS = {"latent_dim": 3, "hidden_dims": (11,), "epochs": 40, "batch_size": 20, "seed": 5, "device": "cpu"}
X = np.random.default_rng(0).random((103, 7)).astype("float32")
STEPS = 240


@pytest.fixture(scope="module")
def server():
    """A process that has imported everything and forks one training after the other: starting Python anew costs a second each."""
    code = f"""
import os, sys
import numpy, minivae, minivae.models, minivae.training.keeper, safetensors.numpy
script = compile({SCRIPT!r}, "script", "exec")
for line in sys.stdin:
    arguments = line.split()
    child = os.fork()
    if child == 0:
        output = os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        sys.argv = ["script", *arguments[1:]]
        try:
            exec(script, {{"__name__": "__main__"}})
        finally:
            os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="module")
def straight() -> mv.VAE:
    return mv.VAE(**SETTINGS).fit(X)


def part(server, folder: Path, slow: float, every: str, kill) -> tuple[list[str], bool]:
    """Run one part of the training and kill it when ``kill(lines)`` says so; return what it wrote, and whether it was killed."""
    log = folder / "log"
    log.write_bytes(b"")
    server.stdin.write(f"{log} {folder / 'file'} {slow} {every}\n")
    child = int(server.stdout.readline())
    deadline = time.monotonic() + 60
    while True:
        lines = log.read_text().splitlines()
        if "end" in lines:
            break
        if kill(lines):
            os.kill(child, signal.SIGKILL)
            break
        assert time.monotonic() < deadline, lines[-3:]
        time.sleep(0.0005)
    status = int(server.stdout.readline())
    return log.read_text().splitlines(), os.WIFSIGNALED(status)


def check_after_kill(lines: list[str], folder: Path, last_saved: int) -> int:
    """Assert that what was saved last is there and readable; return its step."""
    steps = {word: [int(line.split()[1]) for line in lines if line.startswith(word)] for word in ("save ", "saved ")}
    begun, saved = max(steps["save "], default=0), max(steps["saved "], default=last_saved)
    if not (folder / "file").exists():
        assert saved == 0
        return 0
    _, record = checkpoint.load(folder / "file")
    step = record["training"]["step"]
    assert step in (saved, begun)  # the new one may be complete although nobody had heard of it
    assert step >= saved
    start = next(int(line.split()[1]) for line in lines if line.startswith("start"))
    assert start == last_saved
    return step


def test_kill_at_any_moment_loses_at_most_the_work_since_the_last_checkpoint(server, tmp_path, straight):
    rng = random.Random(0)
    kills = resumed = 0
    trial = 0
    while kills < KILLS:
        folder = tmp_path / str(trial)
        folder.mkdir()
        trial += 1
        saved = 0
        while True:
            wait = rng.uniform(0, 0.12) if kills < KILLS else float("inf")
            moment = []

            def kill(lines, wait=wait, moment=moment):
                if any(line.startswith("start") for line in lines) and not moment:
                    moment.append(time.monotonic() + wait)
                return moment and time.monotonic() >= moment[0]

            lines, killed = part(server, folder, 0, "0.01s", kill)
            if not killed:
                break
            kills += 1
            saved = check_after_kill(lines, folder, saved)
            resumed += saved > 0
        model = mv.load(folder / "file", "cpu")
        assert model.parameters_.values.tobytes() == straight.parameters_.values.tobytes()
        assert model.history_["train_loss"] == straight.history_["train_loss"]
    print(f"{kills} kills at random moments survived in {trial} trainings, {resumed} resumed from a checkpoint")
    assert resumed > KILLS // 2


def test_kill_within_a_save_leaves_a_readable_checkpoint(server, tmp_path, straight):
    rng = random.Random(1)
    within = parts = last = 0
    left = set()
    while within < KILLS_WITHIN_A_SAVE:
        nth, wait, moment = rng.randint(1, 2), rng.uniform(0, 0.06), []

        def kill(lines, nth=nth, wait=wait, moment=moment):
            if sum(line.startswith("save ") for line in lines) >= nth and not moment:
                moment.append(time.monotonic() + wait)
            return moment and time.monotonic() >= moment[0]

        lines, killed = part(server, tmp_path, 0.01, "0.002s", kill)
        if not killed:
            (tmp_path / "file").unlink()
            last = 0
            continue
        parts += 1
        last_line = next(line for line in reversed(lines) if not line.isdigit())
        within += last_line.startswith("save ")
        left.add(len([name for name in os.listdir(tmp_path) if name.startswith(".")]))
        for name in os.listdir(tmp_path):
            if name.startswith("."):
                (tmp_path / name).unlink()
        last = check_after_kill(lines, tmp_path, last)
    lines, killed = part(server, tmp_path, 0, "1", lambda lines: False)
    assert not killed
    model = mv.load(tmp_path / "file", "cpu")
    assert model.parameters_.values.tobytes() == straight.parameters_.values.tobytes()
    assert left >= {0, 1}  # both before and after the rename
    print(f"{within} kills within a save survived, {parts} kills in all")


# Signals that can be heeded ------------------------------------------------------------------------------------------------


def command(*arguments: str, folder: Path) -> subprocess.Popen:
    line = [sys.executable, "-m", "minivae", *arguments]
    return subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_step_saves_and_says_so_in_one_line(tmp_path, number, code):
    arguments = ["train", "--epochs", "9999", "--hidden-dims", "20", "--device", "cpu", "--quiet", "--checkpoint-every", "1"]
    with command(*arguments, "--name", "mine", folder=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "runs/mine/checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, ""), err
    step = checkpoint.load(tmp_path / "runs/mine/checkpoint.safetensors")[1]["training"]["step"]
    assert err == f"minivae: interrupted, step {step} is saved; go on with: minivae train --resume runs/mine\n"
    assert os.listdir(tmp_path / "runs/mine") == ["checkpoint.safetensors"]
    with command("train", "--resume", "mine", "--epochs", "1", "--quiet", folder=tmp_path) as process:
        assert process.communicate(timeout=60) == ("", "")
    assert (tmp_path / "runs/mine/model.safetensors").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_while_pictures_are_drawn_says_how_to_go_on(tmp_path, number, code):
    arguments = ["--epochs", "1", "--hidden-dims", "20", "--latent-dim", "2", "--device", "cpu", "--quiet", "--name", "mine"]
    with command("train", *arguments, folder=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "runs/mine/history.csv").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (out, err) == ("", "minivae: interrupted, step 12 is saved; go on with: minivae train --resume runs/mine\n")
    assert process.returncode == code
    assert not (tmp_path / "runs/mine/model.safetensors").exists()
    with command("train", "--resume", "runs/mine", "--quiet", folder=tmp_path) as process:
        assert process.communicate(timeout=60) == ("", "")
    assert {"model.safetensors", "curves.png", "manifold.png"} <= set(os.listdir(tmp_path / "runs/mine"))


def test_killed_command_is_resumed_by_its_name_and_leaves_no_rest(tmp_path):
    arguments = ["train", "--epochs", "9999", "--hidden-dims", "20", "--device", "cpu", "--quiet", "--checkpoint-every", "0.001s"]
    with command(*arguments, "--name", "mine", folder=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "runs/mine/checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    (tmp_path / "runs/mine/.checkpoint.safetensors.0123abcd").write_bytes(b"half")  # what it leaves when killed while writing
    with command("train", "--resume", "mine", "--epochs", "2", "--quiet", folder=tmp_path) as process:
        assert process.communicate(timeout=60) == ("", "")
    assert os.listdir(tmp_path / "runs") == ["mine"]
    assert not [name for name in os.listdir(tmp_path / "runs/mine") if name.startswith(".")]


# Places that cannot be written -----------------------------------------------------------------------------------------------


def kept(tmp_path: Path) -> tuple[Keeper, bytes]:
    """Return a keeper whose file holds the state after one epoch, and its content."""
    keeper = Keeper(tmp_path / "file", "1")
    mv.VAE(**SETTINGS | {"epochs": 1}).fit(X, on_start=keeper.on_start, on_epoch=keeper.on_epoch)
    return keeper, (tmp_path / "file").read_bytes()


def go_on(keeper: Keeper) -> None:
    mv.VAE(**SETTINGS).fit(X, on_start=keeper.on_start, on_step=keeper.on_step, on_epoch=keeper.on_epoch)


def test_full_disk_is_named_and_the_last_good_state_kept(tmp_path):
    """A limit on the size of files, which the system enforces in the middle of a write."""
    keeper, before = kept(tmp_path)
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        message = complaint(DataFileError, go_on, keeper)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(tmp_path / "file") in message
    assert "File too large" in message
    assert "make room" in message
    assert (tmp_path / "file").read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("file", ["config.json", "curves.png", "model.safetensors"])
def test_full_disk_after_the_last_step_costs_no_training(file, tmp_path, monkeypatch, capsys):
    """What is written then can be made again from the state, and the message says how."""
    monkeypatch.chdir(tmp_path)
    replace = os.replace

    def full(source, target):
        if Path(target).name == file:
            raise OSError(28, "No space left on device")
        replace(source, target)

    train = ["train", "--epochs", "1", "--hidden-dims", "5", "--latent-dim", "2", "--device", "cpu", "--quiet", "--name", "mine"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert main(train) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert file in err
    assert "No space left on device" in err
    assert err.endswith("; step 12 is saved; go on with: minivae train --resume runs/mine\n")
    assert main(["train", "--resume", "runs/mine", "--quiet"]) == 0
    assert mv.load("runs/mine/model.safetensors").history_["epoch"] == [1]


@pytest.mark.parametrize("call", ["open", "fsync", "close"])
def test_folder_that_cannot_be_synced_is_no_failed_save(call, tmp_path, monkeypatch):
    """CIFS refuses to sync a folder (EINVAL), and Windows to open one; the rename has been made all the same, and counts."""
    number = errno.EACCES if call == "open" else errno.EINVAL
    synced, real = [], getattr(os, call)

    def refuse(what, *args, **kwargs):
        folder = Path(what).is_dir() if call == "open" else stat.S_ISDIR(os.fstat(what).st_mode)
        if folder and (call != "open" or args == (os.O_RDONLY,)):
            synced.append(what)
            if call == "close":
                real(what)
            raise OSError(number, os.strerror(number))
        return real(what, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        for content in (b"first", b"second"):
            checkpoint.write_whole(tmp_path / "file", content)
            assert (tmp_path / "file").read_bytes() == content
        os.unlink(tmp_path / "file")
        keeper, _ = kept(tmp_path)
    assert len(synced) >= 3
    assert keeper.saved_step == 6
    assert checkpoint.load(tmp_path / "file")[1]["training"]["step"] == 6
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB in memory."""
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    done = subprocess.run(mounted, capture_output=True, text=True, check=False) if os.getuid() == 0 else None
    if done is None or done.returncode:
        pytest.skip("a file system cannot be mounted here; the limit on the size of files stands in for it")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_full_file_system(small_disk):
    before = kept(small_disk)[1]
    (small_disk / "other").write_bytes(bytes((64 << 10) - 2 * (-(-len(before) // 4096) * 4096)))
    message = complaint(DataFileError, checkpoint.save, small_disk / "file", {"w": np.zeros(9999)}, {})
    assert "No space left" in message
    assert (small_disk / "file").read_bytes() == before
    assert sorted(os.listdir(small_disk)) == ["file", "other"]


def test_folder_that_is_gone_or_read_only(tmp_path, monkeypatch):
    keeper, before = kept(tmp_path)
    os.rename(tmp_path / "file", tmp_path / "elsewhere")
    keeper.path = tmp_path / "gone" / "file"
    assert str(keeper.path) in complaint(DataFileError, go_on, keeper)
    assert os.listdir(tmp_path) == ["elsewhere"]
    keeper.path = tmp_path / "elsewhere"
    opened = open

    def read_only(path, mode="r", *args, **kwargs):
        if "x" in mode and os.geteuid() == 0:  # whom permissions do not stop
            raise PermissionError(13, "Permission denied")
        return opened(path, mode, *args, **kwargs)

    monkeypatch.setattr("builtins.open", read_only)
    os.chmod(tmp_path, 0o500)
    try:
        assert "Permission denied" in complaint(DataFileError, go_on, keeper)
    finally:
        os.chmod(tmp_path, 0o700)
    assert (tmp_path / "elsewhere").read_bytes() == before
    assert os.listdir(tmp_path) == ["elsewhere"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    """A model saved to a device as root would put a file in the device's place."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    names = ["pipe", "folder"]
    if os.getuid() == 0:
        try:
            os.mknod(tmp_path / "null", 0o666 | 0o020000, os.makedev(1, 3))
            names.append("null")
        except OSError:
            pass  # not allowed in this container; the pipe stands for it
    os.symlink(tmp_path / "pipe", tmp_path / "link")
    vae = mv.VAE(**SETTINGS | {"epochs": 1}).fit(X)

    def kept(name: str) -> tuple[int, ...]:  # not the time of access: to look at a link is to read it
        status = os.lstat(tmp_path / name)
        return status.st_ino, status.st_mode, status.st_rdev, status.st_mtime_ns

    before = {name: kept(name) for name in (*names, "link")}
    for name in before:
        message = complaint(DataFileError, vae.save, tmp_path / name)
        assert "a folder, a pipe or a device" in message
        assert "a folder, a pipe or a device" in complaint(DataFileError, mv.load, tmp_path / name)
    assert {name: kept(name) for name in before} == before
    assert sorted(os.listdir(tmp_path)) == sorted(before)


def test_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    os.symlink(tmp_path / "far" / "file", tmp_path / "link")
    for content in (b"first", b"second"):  # made, and replaced
        checkpoint.write_whole(tmp_path / "link", content)
        assert (tmp_path / "far" / "file").read_bytes() == content
        assert os.readlink(tmp_path / "link") == str(tmp_path / "far" / "file")
