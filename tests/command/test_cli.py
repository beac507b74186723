"""The commands as a user types them: what they print, what they write, and what they leave behind when they refuse."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.helpers import MNIST, needs_mnist

import minivae as mv
from minivae.command.cli import COMMANDS, main
from minivae.command.parser import build_parser
from minivae.proof import verify

pytestmark = pytest.mark.slow  # whole commands

TINY = ["--latent-dim", "2", "--hidden-dims", "13", "--epochs", "3", "--device", "cpu"]
PNG = b"\x89PNG\r\n\x1a\n"
RUN_FILES = {"model.safetensors", "config.json", "history.csv", "checkpoint.safetensors"}
PICTURES = {"curves.png", "reconstructions.png", "samples.png", "manifold.png", "latent_map.png"}


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Return a function that runs a command in an empty folder and returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse's own way out
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run directory of a tiny VAE.  Shared: look, don't touch."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", *TINY, "--name", "tiny", "--runs-dir", str(folder), "--quiet"]) == 0
    return folder / "tiny"


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of that run directory to write into."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "tiny"))


def is_complaint(result: tuple[int, str, str], *words: str) -> bool:
    """Assert that a command refused: exit 2, nothing on standard output, and one line with these words on standard error."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("minivae")
    assert all(word in err for word in words), err
    return True


# train ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_train_writes_a_run_and_ends_with_one_json_line(cli, tmp_path):
    code, out, err = cli("train", *TINY, "--name", "first", "--json")
    assert code == 0
    assert out.count("\n") == 1
    figures = json.loads(out)
    assert figures["run"] == str(Path("runs", "first"))
    folder = tmp_path / "runs" / "first"
    assert {path.name for path in folder.iterdir()} == RUN_FILES | PICTURES
    assert os.listdir(tmp_path / "runs") == ["first"]  # the folder it was written in is gone
    assert all(path.read_bytes().startswith(PNG) for path in folder.glob("*.png"))
    assert "test log p(x)" in err  # people's part is aside
    assert "epoch 3/3" in err

    model, (_, test) = mv.load(folder / "model.safetensors"), mv.datasets.load("digits")
    assert figures["test_loss"] == pytest.approx(-model.elbo(test.x).mean(), rel=1e-6)
    assert figures["test_loss"] == -figures["test_elbo"]
    assert figures["test_loss"] == pytest.approx(figures["reconstruction"] + figures["kl"])
    assert figures["log_likelihood"] == pytest.approx(model.log_likelihood(test.x).mean(), rel=1e-6)
    assert figures["log_likelihood"] > figures["test_elbo"]
    assert 0 < figures["monte_carlo_error"] < figures["standard_error"] < 1
    assert 0 < figures["seconds"] < 60
    assert {"active_units", "latent_dim", "n_test", "entropy_floor"} <= figures.keys()

    config = json.loads((folder / "config.json").read_text())
    assert config["command"] == ["minivae", "train", *TINY, "--name", "first", "--json"]
    assert config["settings"] == json.loads(json.dumps(model.get_params() | {"device": "cpu"}))
    assert config["data"] == {
        "source": "digits",
        "data_dir": None,
        "name": "digits",
        "n_train": 1437,
        "n_test": 360,
        "image_shape": [8, 8],
    }
    assert config["versions"]["minivae"] == mv.__version__
    assert config["figures"].items() <= figures.items()

    header, *rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 3
    last = dict(zip(header.split(","), rows[-1].split(",")))
    assert float(last["test_elbo"]) == model.history_["test_elbo"][-1] == figures["test_elbo"]
    assert float(last["kl_per_dimension_1"]) == model.history_["kl_per_dimension"][-1][1]


@pytest.mark.slow
def test_train_shows_a_table_and_quiet_shows_nothing(cli):
    code, out, err = cli("train", *TINY)
    assert code == 0
    assert err.startswith("VAE on digits: 1437 training and 360 test examples of 8 × 8 pixels, 3 epochs\n")
    for words in ("test ELBO", "±", "100 importance samples", "entropy floor", "of 2"):
        assert words in out
    assert "run: runs/vae-digits-1" in out
    assert "\x1b" not in out + err  # no colour and no movement where nobody looks
    figures = r"reconstruction \d+\.\d\d  KL \d+\.\d\d  ELBO -\d+\.\d\d  active units \d/2"
    assert re.search(rf"\nepoch 1/3  {figures}  [\d,]+ examples/s  \d+:\d\d left\n", err)
    assert cli("train", *TINY, "--quiet") == (0, "", "")
    assert sorted(os.listdir("runs")) == ["vae-digits-1", "vae-digits-2"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history_and_another_seed_another(cli):
    histories = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert cli("train", *TINY, "--latent-dim", 1, "--seed", seed, "--name", name, "--quiet")[0] == 0
        history = mv.load(f"runs/{name}/model.safetensors").history_
        histories.append({name: values for name, values in history.items() if name != "seconds"})
    assert histories[0] == histories[1] != histories[2]


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_shared", "gaussian_fixed"])
def test_train_on_your_own_numbers(cli, tmp_path, likelihood):
    """Data that are no images get line plots; a Gaussian likelihood says which σ it means."""
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((60, 7)))
    arguments = ["--data", "mine.npy", "--likelihood", likelihood, "--variance", 0.25, "--batch-size", 16]
    code, out, err = cli("train", *TINY, *arguments, "--name", "mine")
    assert code == 0
    assert "7 features" in err
    assert "σ of the decoder" in out
    assert "entropy floor" not in out
    assert ("σ² = 0.25," in out) == (likelihood == "gaussian_fixed")
    assert ("effective β" in out) == (likelihood != "gaussian")
    assert {path.name for path in Path("runs/mine").iterdir()} == RUN_FILES | PICTURES
    os.chdir("runs")  # the run knows where its data are, wherever it is asked from
    assert cli("evaluate", "mine", "--runs-dir", ".", "--quiet") == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("model", mv.MODELS)
def test_every_model_trains_and_can_be_asked(cli, model):
    code, out, _ = cli("train", "--model", model, *TINY, "--epochs", 1, "--eval-samples", 3, "--name", "it", "--json")
    assert code == 0
    assert np.isfinite(json.loads(out)["test_loss"])
    trained = mv.load("runs/it/model.safetensors")
    maps = {"latent_map.png"} if trained.latent_width() == 2 else set()
    assert RUN_FILES | {"curves.png", "reconstructions.png"} | maps <= set(os.listdir("runs/it"))
    for command in ("evaluate", "sample", "reconstruct", "transform"):
        assert cli(command, "it", "--quiet") == (0, "", ""), command
    for command in ("interpolate", "traverse", "explore"):
        code, _, err = cli(command, "it", "--quiet")
        assert (code, err == "") == ((0, True) if trained.continuous else (2, False)), command
        if not trained.continuous:
            assert f"{command}: expected a model with points between two latent vectors, got {model}" in err


@pytest.mark.slow
def test_epochs_are_many_on_small_data_unless_given(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("minivae.command.fitting.LEAST_STEPS", 30)
    np.save(tmp_path / "few.npy", np.random.default_rng(0).random((10, 3)))
    arguments = ["--data", "few.npy", "--latent-dim", 2, "--hidden-dims", 5, "--batch-size", 8, "--quiet"]
    cli("train", *arguments, "--name", "few")
    assert mv.load("runs/few/model.safetensors").epochs == 30  # 8 rows to train on, so one step in each
    cli("train", *arguments, "--name", "one", "--epochs", 1)
    assert mv.load("runs/one/model.safetensors").epochs == 1


@needs_mnist
def test_data_says_what_is_in_mnist(cli):
    code, out, _ = cli("data", "mnist", "--data-dir", MNIST, "--json")
    record = json.loads(out)
    assert code == 0
    assert (record["n_train"], record["n_test"], record["image_shape"], record["classes"]) == (60000, 10000, [28, 28], 10)
    assert record["entropy_floor"] == pytest.approx(45.53, abs=0.005)  # nats, computed with other software


# Commands on a run ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_repeats_the_figures_of_the_training(cli, run):
    code, out, _ = cli("evaluate", "tiny", "--json")
    figures, trained = json.loads(out), json.loads((run / "config.json").read_text())["figures"]
    assert code == 0
    for name in ("test_elbo", "log_likelihood", "standard_error", "active_units"):
        assert figures[name] == trained[name]
    _, out, _ = cli("evaluate", run, "--n-samples", 2, "--n-examples", 50)
    assert "50 examples, 2 importance samples" in out


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate", "traverse"])
def test_pictures_go_into_the_run_or_where_they_are_asked_to(cli, run, command, tmp_path):
    code, out, _ = cli(command, "tiny")
    assert code == 0
    assert out == f"{Path('runs', 'tiny', command)}.png\n"
    assert (run / f"{command}.png").read_bytes().startswith(PNG)
    code, out, _ = cli(command, run, "--out", "other.png", "--json")
    assert code == 0
    assert json.loads(out) == {"run": str(run), "file": "other.png"}
    assert (tmp_path / "other.png").read_bytes().startswith(PNG)


def test_numbers_are_those_of_the_model(cli, run):
    model, (_, test) = mv.load(run / "model.safetensors"), mv.datasets.load("digits")
    x, y = test.x, test.y

    def numbers(*arguments):
        assert cli(*arguments, "--out", "it.npy")[0] == 0
        return np.load("it.npy")

    np.testing.assert_array_equal(numbers("sample", run, "-n", 5, "--seed", 9, "--pixels", "draw"), model.sample(5, 9, "draw"))
    firsts = [int(np.flatnonzero(y == digit)[0]) for digit in range(4)]  # one of each class
    rows = numbers("reconstruct", run, "-n", 4, "--temperature", 0.5, 2)
    np.testing.assert_array_equal(rows[0], x[firsts])
    for row, temperature in zip(rows[1:], (0, 0.5, 2), strict=True):
        np.testing.assert_array_equal(row, model.reconstruct(x[firsts], temperature))
    path = numbers("interpolate", run, "--from", 3, "--to", 8, "-n", 5, "--path", "spherical")
    np.testing.assert_array_equal(path, model.interpolate(x[3], x[8], 5, "spherical"))
    grid = numbers("traverse", run, "--example", 6, "--span", 2, "-n", 3, "--dims", 1)
    strongest = int(np.argmax(model.history_["kl_per_dimension"][-1]))
    np.testing.assert_array_equal(grid, [model.traverse(x[6], strongest, 3, 2)])


# Bad input ------------------------------------------------------------------------------------------------------------------------

GOOD = np.random.default_rng(0).random((40, 6))


def spoiled(row: int, column: int, value: float) -> np.ndarray:
    x = GOOD.copy()
    x[row, column] = value
    return x


BAD_ARRAYS = {
    "of one axis": (GOOD[0], "(n, d)", "(6,)", "reshape"),
    "of strings": (np.full((3, 2), "a"), "real numbers", "dtype"),
    "empty": (GOOD[:0], "at least one example", "(0, 6)"),
    "with NaN": (spoiled(3, 2, np.nan), "finite numbers", "nan at row 3, column 2", "impute"),
    "with infinity": (spoiled(4, 1, np.inf), "finite numbers", "inf at row 4, column 1"),
    "with NaN among the test rows": (spoiled(39, 0, np.nan), "x_test", "nan at row 7, column 0"),
    "outside the unit interval": (GOOD * 3, "[0, 1]", "Bernoulli", "gaussian"),
    "smaller than a batch": (GOOD, "batch_size", "32 rows", "128", "lower it"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_data_are_refused_in_one_line_and_nothing_is_left_behind(cli, tmp_path, case):
    x, *words = BAD_ARRAYS[case]
    np.save(tmp_path / "bad.npy", x)
    assert is_complaint(cli("train", "--data", "bad.npy"), *words)
    assert os.listdir(tmp_path) == ["bad.npy"]


BAD_COMMANDS = {
    "train --data mnsit": ("data set", "digits, mnist, sprites", "'mnsit'"),
    "train --data none.npy": ("none.npy", "readable", "No such file"),
    "train --data mnist --data-dir nowhere": ("data_dir", "nowhere", "MINIVAE_DATA"),
    "train --model VEA": ("--model", "'VEA'", "VAE"),
    "train --activation rleu": ("activation", "relu", "'rleu'"),
    "train --likelihood normal": ("likelihood", "bernoulli", "'normal'"),
    "train --optimizer adm": ("optimizer", "adam", "'adm'"),
    "train --binarize yes": ("binarize", "dynamic", "'yes'"),
    "train --epochs 0": ("epochs", "at least 1", "0"),
    "train --epochs many": ("--epochs", "whole number", "'many'"),
    "train --learning-rate fast": ("--learning-rate", "number", "'fast'"),
    "train --learning-rate nan": ("learning_rate", "finite number", "nan"),
    "train --hidden-dims 10,x": ("--hidden-dims", "whole number", "'x'"),
    "train --latent-dims 3": ("--latent-dims",),
    "train --sparsity 3": ("--sparsity", "SparseAutoencoder", "VAE", "--model"),
    "train --eval-samples 0": ("--eval-samples", "from 1 to 10000000", "got 0"),
    "train --device tpu": ("device", "cuda", "'tpu'"),
    "train --name a/b": ("--name", "'a/b'", "--runs-dir"),
    "train --name ..": ("--name", "'..'"),
    "evaluate nothing": ("RUN", "'nothing'", "minivae train"),
    "evaluate": ("RUN",),
    "sample tiny -n 0": ("-n", "from 1 to 1000,", "got 0"),
    "sample tiny --out picture.jpg": ("--out", ".png or .npy", "'picture.jpg'"),
    "sample tiny --out nowhere/picture.png": ("nowhere/picture.png", "No such file"),
    "sample tiny --data waves": ("data set", "'waves'"),
    "reconstruct tiny --temperature -1": ("temperature", "at least 0", "-1"),
    "interpolate tiny --from 360": ("--from", "0 to 359", "360"),
    "interpolate tiny --path round": ("--path", "'round'", "spherical"),
    "traverse tiny --example -1": ("--example", "-1"),
    "evaluate tiny --data sprites": ("64 features", "400"),
    "gradcheck --op dens": ("op", "dense", "'dens'"),
    "explain dens": ("op", "dense", "'dens'"),
    "data mnsit": ("data set", "'mnsit'"),
    "paint": ("'paint'", "train"),
    "": ("COMMAND",),
}


@pytest.mark.parametrize("command", BAD_COMMANDS)
def test_bad_arguments_are_refused_in_one_line_and_nothing_is_left_behind(cli, run, command):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert is_complaint(cli(*command.split()), *BAD_COMMANDS[command])
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before
    assert os.listdir("runs") == ["tiny"]


def test_cuda_without_a_device_is_refused_with_the_reason(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("minivae.backend.probe_cuda", lambda: (False, "the driver is on holiday"))
    assert is_complaint(cli("train", *TINY[:-1], "cuda"), "device", "the driver is on holiday", "'cpu'")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_found_before_training(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("minivae.models.base.Model.fit", lambda *_, **__: pytest.fail("it trained"))
    (tmp_path / "file").write_text("in the way")
    assert is_complaint(cli("train", "--runs-dir", "file"), "--runs-dir file", "can be written", "another folder")
    assert is_complaint(cli("train", "--runs-dir", "new/../file/deep"), "can be written")
    assert os.listdir(tmp_path) == ["file"]


def test_an_existing_run_is_never_overwritten(cli, run):
    before = (run / "config.json").read_bytes()
    assert is_complaint(cli("train", *TINY, "--name", "tiny"), "--name", "runs/tiny", "exists", "choose another")
    assert (run / "config.json").read_bytes() == before
    assert os.listdir("runs") == ["tiny"]


@pytest.mark.parametrize(("file", "content"), [("model.safetensors", b"\x10"), ("config.json", b"{"), ("config.json", b"{}")])
def test_a_damaged_run_is_refused(cli, run, file, content):
    (run / file).write_bytes(content)
    assert is_complaint(cli("sample", "tiny"), str(Path("runs", "tiny", file)), "expected")
    assert not (run / "sample.png").exists()


def test_a_truncated_model_file_is_refused(cli, run):
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert is_complaint(cli("evaluate", "tiny"), "runs/tiny/model.safetensors", "expected a model", "not fully covered")


@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_a_damaged_idx_file_is_refused(cli, tmp_path, damage):
    header = bytes.fromhex("00000803 0000ea60 0000001c 0000001c".replace(" ", ""))
    content = gzip.compress(header + bytes(1000)) if damage == "truncated" else b"not gzip at all"
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    assert is_complaint(cli("train", "--data", "mnist", "--data-dir", "."), "train-images-idx3-ubyte", "fresh copy")
    assert os.listdir(tmp_path) == ["train-images-idx3-ubyte.gz"]


def test_debug_lets_the_traceback_through(cli):
    with pytest.raises(mv.InputError, match="data set"):
        cli("data", "mnsit", "--debug")


def test_a_loss_that_explodes_is_one_line_too_and_leaves_nothing(cli, tmp_path):
    np.save(tmp_path / "huge.npy", np.full((9, 2), 1e30))
    arguments = ["--likelihood", "gaussian_fixed", "--batch-size", 4, "--epochs", 2]
    assert is_complaint(cli("train", "--data", "huge.npy", *arguments, "--quiet"), "training", "finite loss", "learning_rate")
    assert os.listdir(tmp_path) == ["huge.npy"]


def test_an_interruption_is_130_and_leaves_nothing(cli, monkeypatch, tmp_path):
    def interrupt(display, trainer):
        assert os.listdir("runs")  # the draft is there
        raise KeyboardInterrupt

    monkeypatch.setattr("minivae.command.console._Plain.on_epoch", interrupt)
    code, out, err = cli("train", *TINY)
    assert (code, out) == (130, "")
    assert err.endswith("\nminivae: interrupted\n")
    assert os.listdir(tmp_path) == []


def test_the_process_ends_as_main_says(tmp_path):
    command = [sys.executable, "-m", "minivae", "train", "--data", "nothing"]
    environment = os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert is_complaint((done.returncode, done.stdout, done.stderr), "data set", "'nothing'")


# The other commands ---------------------------------------------------------------------------------------------------------------


def test_gradcheck_passes_and_says_how_many_and_how_small_an_error_would_show(cli):
    code, out, _ = cli("gradcheck", "--op", "dense", "kl_normal", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["gradients"] == record["pass"] == len(record["rows"])
    assert {row["name"] for row in record["rows"]} == {"dense", "kl_normal"}
    worst = {dtype: max(row["caught"] for row in record["rows"] if row["dtype"] == dtype) for dtype in ("float64", "float32")}
    _, out, _ = cli("gradcheck", "--op", "dense", "kl_normal")
    power = f"in each, one entry that is off by {worst['float64']:.0e} in float64 or {worst['float32']:.0e} in float32 would show"
    assert f"{len(record['rows'])} gradients: {len(record['rows'])} pass, 0 blind, 0 wrong; {power}" in " ".join(out.split())
    assert worst["float64"] < 1e-5


@pytest.mark.slow
def test_gradcheck_has_a_line_for_each_op_and_model_and_with_all_one_for_each_gradient(cli):
    code, out, _ = cli("gradcheck")
    assert code == 0
    for name in {*mv.ops.ALL_OPS, *mv.MODELS} - {"QuantizedAutoencoder", "VQVAE"}:  # whose gradients are no derivatives on purpose
        assert sum(line.split()[:1] == [name] for line in out.splitlines()) == 1, name
    assert len(out.splitlines()) < len(mv.ops.ALL_OPS) + len(mv.MODELS) + 8
    assert ", 0 blind, 0 wrong" in out
    _, out, _ = cli("gradcheck", "--op", "dense", "--all")
    assert len([line for line in out.splitlines() if "pass   " in line]) == 7
    assert all(word in out for word in ("weight", "bias", "result", "float32"))


def test_gradcheck_fails_when_a_gradient_is_wrong(cli, monkeypatch):
    wrong = verify.Row("dense", "bias", "float64", "cpu", "finite differences", 0.5, "wrong", "1.0, backward 1.5 at (2,)", 1e-6)
    passed = verify.Row("dense", "weight", "float64", "cpu", "finite differences", 1e-9, "pass", "", 1e-6)
    monkeypatch.setattr(verify, "check_ops", lambda *_: iter([passed, wrong, passed]))
    code, out, _ = cli("gradcheck", "--op", "dense")
    assert code == 1
    assert "wrong: dense, bias, float64 on cpu: 1.0, backward 1.5 at (2,)" in out
    assert "3 gradients: 2 pass, 0 blind, 1 wrong" in out
    (line,) = (line for line in out.splitlines() if line.startswith("dense"))
    assert line.split() == ["dense", "3", "5e-01", "1e-06", "wrong"]


def test_explain_derives_and_works_an_example(cli):
    code, out, _ = cli("explain", "kl_standard_normal")
    assert code == 0
    assert "(K.2)" in out
    assert "minivae/ops/kl.py:" in out
    _, out, _ = cli("explain", "kl_standard_normal", "--json")
    record = json.loads(out)
    mean, cotangent = np.array(record["inputs"]["mean"]), np.array(record["cotangent"])
    np.testing.assert_allclose(record["gradients"]["mean"], mean * cotangent[:, None], rtol=1e-14)  # (K.2), by hand
    np.testing.assert_allclose(record["slopes"]["mean"], mean * cotangent[:, None], rtol=1e-7)


def test_data_of_your_own_and_of_others(cli, tmp_path):
    np.savez(tmp_path / "mine.npz", x=GOOD, y=np.arange(40) % 3)
    _, out, _ = cli("data", "mine.npz", "--json")
    record = json.loads(out)
    assert (record["n_train"], record["n_test"], record["n_features"], record["classes"]) == (32, 8, 6, 3)
    assert record["range"] == [GOOD[:32].min(), GOOD[:32].max()]
    code, out, _ = cli("data", "sprites")
    assert code == 0
    assert "rotation 8" in out


def test_info_says_what_results_depend_on(cli):
    code, out, _ = cli("info", "--json")
    record = json.loads(out)
    assert code == 0
    assert (record["minivae"], record["numpy"]) == (mv.__version__, np.__version__)
    assert record["cpus"] >= 1
    assert record["cuda"] or record["cuda_reason"]
    code, out, _ = cli("info")
    assert np.__version__ in out


def test_version(cli):
    assert cli("--version") == (0, f"minivae {mv.__version__}\n", "")


def test_every_command_is_explained_and_can_be_run():
    parsers = build_parser()._subparsers._group_actions[0].choices
    assert set(parsers) == set(COMMANDS)
    for name, parser in parsers.items():
        for action in parser._actions:
            assert action.help, f"{name} {action.option_strings or action.dest}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"), [("minivae tra", "train traverse transform"), ("minivae train --lat", "--latent-dim")]
)
def test_completion_in_bash(cli, words, expected):
    _, script, _ = cli("completion")
    ask = f'COMP_WORDS=({words}); COMP_CWORD={words.count(" ")}; _minivae; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected.split()


def test_transform_writes_the_features_and_draws_them_beside_pca(cli, run):
    assert cli("transform", "tiny", "--out", "features.npy", "--quiet")[0] == 0
    model, test = mv.load(run / "model.safetensors"), mv.datasets.load("digits")[1]
    np.testing.assert_array_equal(np.load("features.npy"), model.transform(test.values))  # (G.6)
    assert cli("transform", "tiny", "--quiet")[0] == 0
    assert (run / "transform.png").stat().st_size > 10_000


def test_anomaly_is_what_the_scores_say(cli, run):
    code, out, _ = cli("anomaly", "tiny", "--strange-class", 0, "--false-positive-rate", 0.1, "--json")
    figures = json.loads(out)
    model, test = mv.load(run / "model.safetensors"), mv.datasets.load("digits")[1]
    normal, strange = test.values[test.y != 0], test.values[test.y == 0]
    high, odd = model.anomaly_score(normal[1::2]), model.anomaly_score(strange)
    wins = (odd[:, None] > high).mean() + 0.5 * (odd[:, None] == high).mean()  # (G.5)
    assert code == 0
    assert figures["auroc"] == pytest.approx(wins)
    assert figures["caught"] == (odd > figures["threshold"]).mean()
    assert figures["false_alarms"] == (high > figures["threshold"]).mean()
    assert (model.anomaly_score(normal[::2]) > figures["threshold"]).mean() <= 0.1


def test_anomaly_needs_to_know_what_is_strange(cli, run):
    assert is_complaint(cli("anomaly", "tiny"), "--strange", "--strange-class", "neither")
    assert is_complaint(cli("anomaly", "tiny", "--strange-class", 11), "--strange-class", "digits", "11")


@pytest.mark.slow
def test_evaluation_on_known_factors_has_the_disentanglement_scores(cli):
    settings = ("--latent-dim", 3, "--hidden-dims", 20, "--epochs", 1, "--eval-examples", 20, "--eval-samples", 2)
    code, out, _ = cli("train", "--data", "sprites", *settings, "--json")
    figures = json.loads(out.splitlines()[-1])
    assert code == 0
    assert 0 <= figures["mig"] <= 1  # (G.7)
    assert 0 <= figures["higgins"] <= 1
