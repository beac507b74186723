"""The commands that need no run, or look at one in their own way: checks, lessons, data, features, anomalies."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from support.command import is_complaint

import minivae as mv
from minivae.command.cli import COMMANDS
from minivae.command.parser import build_parser
from minivae.proof import verify

pytestmark = pytest.mark.slow  # whole commands


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
    x = np.random.default_rng(0).random((40, 6))
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(40) % 3)
    _, out, _ = cli("data", "mine.npz", "--json")
    record = json.loads(out)
    assert (record["n_train"], record["n_test"], record["n_features"], record["classes"]) == (32, 8, 6, 3)
    assert record["range"] == [x[:32].min(), x[:32].max()]
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


def test_evaluation_on_known_factors_has_the_disentanglement_scores(cli):
    settings = ("--latent-dim", 3, "--hidden-dims", 20, "--epochs", 1, "--eval-examples", 20, "--eval-samples", 2)
    code, out, _ = cli("train", "--data", "sprites", *settings, "--json")
    figures = json.loads(out.splitlines()[-1])
    assert code == 0
    assert 0 <= figures["mig"] <= 1  # (G.7)
    assert 0 <= figures["higgins"] <= 1
