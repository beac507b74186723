"""Published experiments that were repeated: their weights are runs that commands find by name, and what they print was measured."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support.helpers import MNIST, complaint, needs_mnist
from support.tables import rows_of

from minivae.checks import DataFileError
from minivae.command.cli import main
from minivae.runs import run as runs
from minivae.runs.run import CONFIG, EXPERIMENTS, MODEL, Run, experiments

RESULTS = EXPERIMENTS.parent
EXPERIMENT = {
    "source": "a paper",
    "published": "NLL 20.5",
    "measure": "NLL",
    "trained": 21.25,
    "standard_error": 0.125,
    "rounding": -2e-5,
    "n_samples": 7,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a tiny run.  Shared: look, don't touch."""
    folder = tmp_path_factory.mktemp("runs")
    options = ["--latent-dim", "2", "--hidden-dims", "5", "--epochs", "1", "--device", "cpu", "--quiet"]
    assert main(["train", *options, "--runs-dir", str(folder), "--name", "card"]) == 0
    return folder / "card"


@pytest.fixture
def repeated(trained, tmp_path, monkeypatch):
    """Return a function that puts a copy of that run among the experiments, with a record, and returns its folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkout"
    shutil.copytree(trained, folder / "card")
    monkeypatch.setattr(runs, "EXPERIMENTS", folder)

    def put(**changes):
        config = json.loads((folder / "card" / CONFIG).read_text(encoding="utf-8"))
        config["experiment"] = EXPERIMENT | changes
        (folder / "card" / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        return folder / "card"

    return put


@pytest.mark.slow
def test_evaluate_prints_the_published_the_repeated_and_the_figure_measured_now(repeated, capsys):
    repeated()
    assert main(["evaluate", "card", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["n_samples"], found["n_evaluated"]) == (7, 360)  # the experiment's own samples, and the whole test set
    assert found["experiment"] == EXPERIMENT
    words = " ".join(err.split())
    assert "published NLL 20.5 a paper" in words
    assert "repeated 21.25 ± 0.12 NLL at the end of the training" in words
    assert f"measured now {-found['log_likelihood']:.2f} NLL from these weights; rounding them changed it by -2e-05" in words
    assert main(["evaluate", "card", "--n-samples", "3", "--n-examples", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_samples"], found["n_evaluated"]) == (3, 50)
    assert main(["evaluate", "card", "--data", "digits", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "published" not in err  # a figure of other data is not compared with it
    assert (json.loads(out)["n_evaluated"], "experiment" in json.loads(out)) == (360, False)
    repeated(n_samples=5000)
    assert main(["evaluate", "card", "--json"]) == 0  # in a minute, on all images, with fewer samples: and it says so
    out, err = capsys.readouterr()
    assert json.loads(out)["n_samples"] == 500
    assert "NLL from these weights, with 500 samples instead of 5000, a looser bound" in " ".join(err.split())
    repeated(measure="test loss", published="test loss 30")
    assert main(["evaluate", "card", "--json"]) == 0
    out, err = capsys.readouterr()
    assert f"measured now {json.loads(out)['test_loss']:.2f} test loss from these weights" in " ".join(err.split())


@pytest.mark.slow
def test_what_commands_make_of_an_experiment_is_not_written_into_the_checkout(repeated, tmp_path):
    folder = repeated()
    before = sorted(folder.iterdir())
    shutil.copytree(folder, tmp_path / "runs" / "own")
    for command in (["sample", "card"], ["explore", "card"], ["report", "card"], ["compare", "card", "own"]):
        assert main([*command, "--quiet"]) == 0
    assert sorted(folder.iterdir()) == before
    made = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert made == {"card-sample.png", "card-explore.html", "card-report.html", "card-compare.png"}
    shutil.copytree(folder, tmp_path / "runs" / "card")  # a run of one's own goes before it
    assert main(["sample", "card", "--quiet"]) == 0
    assert (tmp_path / "runs" / "card" / "sample.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"measure": "bits"}, {"trained": "21"}, {"n_samples": 0}, {"rounding": None}])
def test_damaged_records_are_refused(repeated, change):
    assert "the settings of a run as JSON" in complaint(DataFileError, Run, str(repeated(**change)))


def test_unknown_names_are_told_which_experiments_there_are_or_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"a published experiment ({', '.join(experiments())})" in complaint(DataFileError, Run, "nothing")
    monkeypatch.setattr(runs, "EXPERIMENTS", tmp_path / "site-packages")
    assert "(whose weights come with a checkout of minivae, and not here)" in complaint(DataFileError, Run, "pytorch-example")


# -- the weights in the repository ---------------------------------------------------------------------------------------


def row_of(name):
    """Return the last row of the table for a card's first seed."""
    rows = [row for row in rows_of(RESULTS / "papers.csv") if (row["card"], row["seed"]) == (name, "0")]
    return max(rows, key=lambda row: int(row["stage"]))


def test_weights_are_light():
    assert "pytorch-example" in experiments()
    assert sum(path.stat().st_size for path in EXPERIMENTS.rglob("*")) < 10e6


@pytest.mark.parametrize("name", experiments())
def test_weights_are_those_of_the_row_in_the_table(name):
    run, row = Run(name), row_of(name)
    experiment = run.config["experiment"]
    assert experiment["trained"] == pytest.approx(float(row["figure"]), abs=0.02)  # the same noise, on perhaps another machine
    assert experiment["standard_error"] == pytest.approx(float(row["± s.e."]), abs=0.01)
    assert experiment["n_samples"] == int(row["samples"])
    assert abs(experiment["rounding"]) < 0.005  # the table has two decimals
    assert run.model("cpu").history_["epoch"][-1] == int(row["epochs"])
    assert run.source.data_dir is None
    assert (EXPERIMENTS / name / MODEL).is_file()


@pytest.mark.slow
@needs_mnist
@pytest.mark.parametrize("name", experiments())
def test_weights_score_what_their_record_says(name):
    """On the first images of the test set, with the samples of the experiment: within five standard errors of a part's mean."""
    run = Run(name)
    experiment, model, x = run.config["experiment"], run.model("cpu"), run.data(data_dir=str(MNIST))[1].values[:1000]
    of_loss = experiment["measure"] == "test loss"
    values = -(model.elbo(x) if of_loss else model.log_likelihood(x, n_samples=experiment["n_samples"]))
    error = np.hypot(values.std() / np.sqrt(len(values)), experiment["standard_error"])
    assert abs(values.mean() - experiment["trained"]) < 5 * error
