"""The outermost edge: streams that take no letters or nothing at all, unreadable places, names in no encoding, no docstrings."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.helpers import complaint
from support.limits import in_child

import minivae as mv
from minivae.checks import DataFileError
from minivae.command.cli import main

pytestmark = pytest.mark.slow  # processes of their own

X = np.random.default_rng(0).random((60, 6)).astype(np.float32)
TINY = ["--latent-dim", "2", "--hidden-dims", "5", "--epochs", "1", "--batch-size", "8", "--eval-samples", "2", "--device", "cpu"]
STRANGE = "donn\udce9es"  # a name in latin-1, as Python has it


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    np.savez("it.npz", x=X, y=np.arange(60) % 3)


def shell(script: str, **environment: str) -> tuple[int, str, str]:
    """Run a script in which ``minivae`` is the command; its output is buffered, as by default, whatever runs the tests."""
    home = str(Path(mv.__file__).parents[1])
    text = f'minivae() {{ "{sys.executable}" $FLAGS -m minivae "$@"; }}\n{script}'
    variables = os.environ | {"PYTHONPATH": home, "FLAGS": "", "PYTHONUNBUFFERED": ""} | environment
    done = subprocess.run(["bash", "-c", text], env=variables, capture_output=True, timeout=200, check=False)
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert "Traceback" not in out + err, err[-2000:]
    assert "Exception ignored" not in err
    return done.returncode, out, err


TRAIN = "minivae train --data it.npz --name it --quiet " + " ".join(TINY)
STREAMS = {
    "full": (TRAIN.replace("--quiet", "") + " > /dev/full", 2),
    "closed": (TRAIN.replace("--quiet", "") + " >&-", 0),
    "gone": (TRAIN.replace("--quiet", "") + ' | true; exit "${PIPESTATUS[0]}"', 141),
    "both gone": (TRAIN.replace("--quiet", "") + ' 2>&1 | true; exit "${PIPESTATUS[0]}"', 141),
    "errors to a full disk": (TRAIN.replace("--quiet", "") + " 2> /dev/full", 0),
    "errors closed": (TRAIN.replace("--quiet", "--json") + " 2>&-", 0),
}


@pytest.mark.parametrize("case", STREAMS)
def test_output_that_cannot_be_written_costs_no_training(case):
    script, code = STREAMS[case]
    returned, _, err = shell(script)
    assert returned == code or ("gone" in case and returned == 0)  # all was in the pipe before its reader went
    if case == "full":
        assert err.splitlines()[-1] == "minivae: output: expected a place that can be written, got No space left on device"
    assert mv.load("runs/it/model.safetensors").latent_dim == 2
    assert {"config.json", "history.csv", "curves.png"} <= set(os.listdir("runs/it"))


@pytest.mark.parametrize("command", ["--help", "--version", "train --help", "info"])
def test_help_that_cannot_be_written_is_no_success(command):
    code, _, err = shell(f"minivae {command} > /dev/full")
    assert (code, err) == (2, "minivae: output: expected a place that can be written, got No space left on device\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437"])
def test_letters_that_a_stream_does_not_know_are_escaped(encoding):
    code, out, err = shell(f"{TRAIN.replace('--quiet', '')} && minivae explain kl_standard_normal", PYTHONIOENCODING=encoding)
    assert code == 0, err
    assert "test ELBO" in out


def test_locale_c_without_utf8():
    code, out, _ = shell(f"{TRAIN.replace('--quiet', '--json')}", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert code == 0
    assert json.loads(out)["run"] == "runs/it"


def test_python_without_docstrings():
    """python -OO: what is made of docstrings is short, nothing fails."""
    for line in (TRAIN, "minivae explain kl_standard_normal", "minivae explain", "minivae --help", "minivae train --help"):
        assert shell(line, FLAGS="-OO")[0] == 0, line


def test_names_in_no_encoding(capfdbinary):
    """Data, run and folder; each command works with them, and a training is resumed by them."""
    os.rename("it.npz", f"{STRANGE}.npz")
    strange = ["--strange", f"{STRANGE}.npz"]
    folder = f"--runs-dir={STRANGE}"
    assert main(["train", "--data", f"{STRANGE}.npz", "--name", STRANGE, folder, *TINY, "--json"]) == 0
    assert main(["train", "--resume", STRANGE, folder, "--epochs", "2", "--quiet"]) == 0
    for command in (["evaluate", "--n-samples", "2"], ["sample"], ["report"], ["explore"], ["transform"], ["anomaly", *strange]):
        assert main([command[0], STRANGE, folder, *command[1:]]) == 0, command
    assert main(["data", f"{STRANGE}.npz"]) == 0
    out, err = capfdbinary.readouterr()
    assert b"Traceback" not in out + err
    assert json.loads(out.splitlines()[0])["run"] == f"{STRANGE}/{STRANGE}"
    assert json.loads(Path(f"{STRANGE}/{STRANGE}/config.json").read_text())["data"]["source"].endswith(f"{STRANGE}.npz")


@pytest.mark.parametrize("name", ["a$\\frac$b", "数据", "\x1b[31mred\x07", "rtl\u202e", "<b>&amp;"])
def test_names_mean_nothing_to_terminals_pictures_and_pages(name, capfd):
    """No formula, no colour, no markup: a name is shown as it is, or escaped where a terminal would act on it."""
    os.rename("it.npz", f"{name}.npz")
    for command in (
        ["train", "--data", f"{name}.npz", "--name", name, *TINY],
        ["anomaly", name, "--strange", f"{name}.npz"],
        ["runs"],
        *([command, name] for command in ("report", "explore", "transform", "sample")),
    ):
        assert main(command) == 0, command
    out, err = capfd.readouterr()
    assert not set("\x1b\x07\u202e") & set(out + err)
    assert "Warning" not in err


def test_infinitely_strange_examples_are_drawn_at_the_edge():
    """Numbers so far out that they overflow are the strangest there are, and no failure."""
    np.savez("far.npz", x=np.where(np.arange(60)[:, None] % 2, X * 1e30, X))
    assert main(["train", "--data", "it.npz", "--likelihood", "gaussian", "--name", "it", "--quiet", *TINY]) == 0
    for arguments in (["--strange", "far.npz"], ["--strange", "it.npz", "--data", "far.npz"]):
        assert main(["anomaly", "it", *arguments]) == 0
        assert Path("runs/it/anomaly.png").stat().st_size > 5000
        Path("runs/it/anomaly.png").unlink()


@pytest.mark.parametrize("name", ["t:warning:1 [bold]'s $HOME", f'"{STRANGE}\\ \n\t'])
def test_printed_commands_are_ones_that_the_shell_takes(name):
    """Whatever the run is called: what is printed can be typed, also where the name is in no encoding."""
    code, out, err = shell(f"{TRAIN.replace('--quiet', '').replace('--name it', '')} --name {shlex.quote(name)}")
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("next: ")]
    command = line.removeprefix("next: ").partition("   (")[0]
    code, _, err = shell(command)
    assert code == 0, err
    assert Path("runs", name, "report.html").is_file()


def test_a_working_folder_that_is_gone_is_no_traceback():
    model = mv.VAE(latent_dim=2, hidden_dims=(5,), epochs=1, batch_size=8, device="cpu").fit(X)
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")
    for call in (model.save, mv.load):
        assert "No such file or directory" in complaint(DataFileError, call, "it")


def test_unreadable_places_are_called_so():
    """As an ordinary user, whom permissions stop; the reason is that, and not that nothing is there."""
    if os.getuid() != 0:
        pytest.skip("another user's files are needed, which root alone can make")
    assert main(["train", "--data", "it.npz", "--name", "it", "--quiet", *TINY]) == 0
    for path in (Path.cwd(), *Path.cwd().parents[:2]):
        os.chmod(path, 0o755)
    os.makedirs("closed/runs", 0o700)
    os.chmod("closed", 0o700)
    os.chmod("it.npz", 0)
    for file in ("config.json", "model.safetensors", "checkpoint.safetensors"):
        Path("runs", file.partition(".")[0]).mkdir()
        for name in ("config.json", "model.safetensors", "checkpoint.safetensors"):
            copy = Path("runs", file.partition(".")[0], name)
            copy.write_bytes(Path("runs/it", name).read_bytes())
            os.chmod(copy, 0o000 if name == file else 0o644)
    train = ["train", *TINY, "--quiet"]
    lines = [
        [*train, "--data", "it.npz"],
        [*train, "--data", "closed/x.npy"],
        [*train, "--data", "mnist", "--data-dir", "closed/mnist"],
        [*train, "--name", "x"],
        [*train, "--runs-dir", "closed/runs"],
        [*train, "--runs-dir", "closed/runs", "--name", "x"],
        ["train", "--resume", "closed/runs/it"],
        ["train", "--resume", "it", "--runs-dir", "closed/runs"],
        ["train", "--resume", "checkpoint"],
        ["sample", "closed/it"],
        ["sample", "config"],
        ["sample", "model"],
        ["report", "it"],
        ["sample", "it", "--out", "closed/x.png"],
        ["data", "it.npz"],
        ["data", "closed/x.npz"],
    ]

    def work() -> str:
        os.setgid(65534)
        os.setuid(65534)
        errors = os.open("/tmp", os.O_TMPFILE | os.O_RDWR)
        os.dup2(errors, 2)
        sys.stderr = os.fdopen(os.dup(2), "w")
        answers = []
        for line in lines:
            os.ftruncate(errors, 0)
            code = main(line)
            sys.stderr.flush()
            text = os.pread(errors, 10_000, 0).decode().strip("\0")
            answers.append((line, code, text))
        for line, code, text in answers:
            assert code == 2, (line, text)
            assert text.count("\n") == 1, (line, text)
            assert "ermission denied" in text, (line, text)
        return f"{len(answers)} unreadable places tried, all called so"

    print(in_child(work))


OVERSIZED = {
    "latent_dim": [10**9, 10**30],
    "hidden_dims": [(10**9,), (10**6, 10**6), (10**30,)],
    "classifier_hidden_dims": [(10**10,)],
    "n_samples": [10**9, 10**30],
    "n_importance_samples": [10**9],
    "n_categories": [10**9],
    "n_codes": [10**9],
    "code_dim": [10**9],
    "batch_size": [10**9],
}


def test_settings_beyond_the_memory_are_refused_before_it_is_asked_for():
    def work() -> str:
        tried = 0
        for kind in mv.MODELS.values():
            for field, values in OVERSIZED.items():
                for value in values if field in kind().get_params() else ():
                    model = kind(**{"device": "cpu", "batch_size": 8} | {field: value})
                    with pytest.raises(mv.InputError, match=field):
                        model.fit(X, np.arange(60) % 3)
                    tried += 1
        return f"{tried} oversized settings tried, all refused"

    print(in_child(work))
