"""Protocol cards: several sittings make what one makes, the best epoch is kept at the end alone, verdicts are the figures'."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest
from support.tables import rows_of

from benchmarks import __main__ as command
from benchmarks.papers import in_torch as papers_torch
from benchmarks.papers.burda import BURDA
from benchmarks.papers.cards import CARDS, EXAMPLE, PYTHAE
from benchmarks.papers.log import COLUMNS, Log
from benchmarks.papers.papers import Sitting, parts, with_data
from benchmarks.papers.shown import show, sum_up, verdicts
from benchmarks.papers.weights import export, thinned
from benchmarks.report import RESULTS
from minivae.datasets import Dataset
from minivae.pages.book import questions
from minivae.runs.run import Run

rng = np.random.default_rng(0)
TRAIN, TEST = (Dataset(rng.integers(0, 256, (n, 9), dtype=np.uint8), None, (3, 3), "noise") for n in (60, 30))
SMALL = {"latent_dim": 2, "hidden_dims": (5,), "batch_size": 7, "device": "cpu"}
SMALLER = {"second_latent_dim": 2, "second_hidden_dims": (3,), "n_components": 4, "warm_up_epochs": 1}  # where a card has these


def little(card, **changes):
    """Return a card with its protocol in small: the same stages in epochs, 60 rows."""
    stages = ((3, 1e-2), (2, 3e-3), (2, 1e-3))[: len(card.stages)]
    held_out = 20 if card.validation else 0
    settings = card.settings | SMALL | {name: value for name, value in SMALLER.items() if name in card.settings}
    return dataclasses.replace(card, settings=settings, stages=stages, validation=held_out, samples=3, final_samples=5, **changes)


NAMES = ("pytorch-example", "pythae-vae", "burda-vae-k5-code", "burda-iwae-k5-paper")
CARD = {name: little(CARDS[name]) for name in (*NAMES, "burda-2-layers-vae-k5-paper", "burda-2-layers-iwae-k5-paper", "dreg-k5")}


@pytest.mark.slow
@pytest.mark.parametrize("name", CARD)
def test_sittings_that_are_interrupted_reach_what_one_reaches(name, tmp_path):
    card = CARD[name]

    def sit(where, stages, seconds=math.inf):
        folder = tmp_path / where
        folder.mkdir(exist_ok=True)
        sitting = Sitting(card, 0, TRAIN, TEST, folder, Log(folder / "papers.csv"))
        sitting.go_on(time.monotonic() + seconds, stages)
        return sitting.trainer.model.parameters_.values, Log(folder / "papers.csv").of(card.name)

    whole, rows = sit("one", 99)
    sit("many", 1)
    sit("many", 99, seconds=-1)  # out of time before an epoch is done
    parts, same = sit("many", 99)
    np.testing.assert_array_equal(parts, whole)
    assert [row["figure"] for row in same] == [row["figure"] for row in rows]
    assert [int(row["stage"]) for row in rows] == list(range(1, len(card.stages) + 1))
    assert [int(row["epochs"]) for row in rows] == np.cumsum([epochs for epochs, _ in card.stages]).tolist()


def test_rows_name_every_machine_that_a_run_has_been_on(tmp_path, monkeypatch, capsys):
    card, log = CARD["pythae-vae"], Log(tmp_path / "papers.csv")
    for stages, name in enumerate(("slow", "fast", "slow"), start=1):
        monkeypatch.setattr("benchmarks.papers.papers.machine", lambda name=name: {"date": "today", "processor": name, "rest": "1"})
        Sitting(card, 0, TRAIN, TEST, tmp_path, log).go_on(math.inf, stages)
    machines = [row["machine"] for row in log.of(card.name)]
    assert machines == ["today; slow; 1", *["today; slow; 1 / today; fast; 1"] * 2]
    assert questions._processors(machines[-1]) == "slow / fast"
    capsys.readouterr()
    show(card, log.of(card.name), [])
    assert " ".join(capsys.readouterr().out.split()).count("today; slow; 1") == 1


def test_weights_of_a_finished_card_are_a_run_with_the_figures_of_its_row(tmp_path, capsys):
    """The best epoch's parameters, which the state of a finished sitting holds, rounded; the run is opened as any other."""
    log, folder = Log(tmp_path / "papers.csv"), tmp_path / "weights" / "card"
    card = dataclasses.replace(CARD["pythae-vae"], stages=((3, 1e-2), (2, 3.0), (1, 1e-3)))
    Sitting(card, 0, TRAIN, TEST, tmp_path, log).go_on(math.inf, 99)
    again = Sitting(card, 0, TRAIN, TEST, tmp_path, log)
    export(again, folder)
    run, row = Run(str(folder)), log.of(card.name)[-1]
    experiment, model = run.config["experiment"], run.model("cpu")
    assert f"{experiment['trained']:.2f}" == row["figure"]
    assert f"{experiment['standard_error']:.2f}" == row["± s.e."]
    assert (experiment["published"], experiment["measure"], experiment["n_samples"]) == (card.published, "NLL", card.final_samples)
    np.testing.assert_array_equal(model.parameters_.values, again.trainer.best_values.astype(np.float16).astype(np.float32))
    figure = -float(model.log_likelihood(TEST.values, n_samples=card.final_samples).mean(dtype=float))
    assert figure - experiment["trained"] == pytest.approx(experiment["rounding"], abs=1e-4)
    assert run.config["data"]["data_dir"] is None
    assert (run.config["data"]["n_train"], run.config["settings"]["epochs"]) == (40, 6)
    np.testing.assert_allclose(model.history_["kl_per_dimension"], again.trainer.history["kl_per_dimension"], rtol=0, atol=5.1e-5)
    assert model.history_["epoch"] == [1, 2, 3, 4, 5, 6]


def test_a_long_history_is_thinned_by_the_logarithm_of_the_epoch():
    epochs = np.arange(1, 3281)
    history = {"epoch": epochs.tolist(), "kl_per_dimension": (rng.random((3280, 3)) + epochs[:, None]).tolist()}
    kept = thinned(history, 3001)
    assert 3001 in kept["epoch"]
    assert 3001 not in thinned(history, 3280)["epoch"]
    assert all(type(epoch) is int for epoch in kept["epoch"])
    assert kept["epoch"][:20] == list(range(1, 21))
    assert kept["epoch"][-1] == 3280
    at = np.array(kept["epoch"])
    assert (np.diff(at) <= 1 + 0.017 * at[:-1]).all()  # log(3280) / 499 = 0.0162, and each end is rounded
    shown = np.array(history["kl_per_dimension"])[at - 1]
    np.testing.assert_allclose(kept["kl_per_dimension"], shown, rtol=0, atol=5.1e-5)


def test_only_finished_cards_have_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minivae.datasets.load", lambda name, data_dir: (TRAIN, TEST))
    monkeypatch.setitem(CARDS, "pythae-vae", CARD["pythae-vae"])
    args = ["papers", "--weights", "--card", "pythae-vae", "--state", str(tmp_path), "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["benchmarks", *args])
    command.main()
    assert "pythae-vae: not finished in" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_best_epoch_is_put_back_at_the_end_and_not_before(tmp_path):
    card = dataclasses.replace(CARD["pythae-vae"], stages=((3, 1e-2), (2, 3.0), (1, 1e-3)))  # the second ruins the first's work
    sitting = Sitting(card, 0, TRAIN, TEST, tmp_path, Log(tmp_path / "papers.csv"))
    trainer = sitting.trainer
    sitting.go_on(math.inf, 2)
    assert trainer.best_epoch <= 3
    assert (trainer.model.parameters_.values != trainer.best_values).any()
    sitting.go_on(math.inf, 3)
    np.testing.assert_array_equal(trainer.model.parameters_.values, trainer.best_values)


def test_the_card_in_torch_is_trained_and_scored_by_both_libraries(tmp_path, capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed (pip install -e '.[bench]')")
    card = dataclasses.replace(CARD["pythae-vae"], stages=((30, 1e-2), (10, 1e-3)))
    papers_torch.run(dataclasses.replace(card, final_samples=500), tmp_path, *parts(card, TRAIN, TEST))
    lines = " ".join(capsys.readouterr().out.split()).replace("epoch ", "\nepoch ").splitlines()
    first, *_, last = (float(line.rpartition("loss ")[2].partition(",")[0]) for line in lines if "loss" in line)
    assert last < first < 9 * 1.1  # nats of nine even pixels, and what an untrained model loses beside them
    rows = rows_of(tmp_path / "papers_in_torch.csv")
    assert [row["estimate"] for row in rows] == ["PyTorch", "minivae", "minivae less PyTorch"] * 2
    for theirs, ours, difference in (rows[:3], rows[3:]):
        for row in (theirs, ours):  # what nine even pixels hold; six standard errors
            assert abs(float(row["NLL"]) - 9 * math.log(2)) < 0.5
        assert abs(float(difference["NLL"])) < 5 * float(difference["± s.e."]) < 0.1  # of 30 images, 500 samples each


def test_code_variant_begins_with_a_second_moment_of_one(tmp_path):
    """Beside the sum over a batch of 20, which the authors differentiate: a 400th beside the mean."""
    for name, second_moment, eps, beta1 in (("burda-vae-k5-code", 1 / 400, 5e-6, 0.99), ("burda-iwae-k5-paper", 0.0, 1e-4, 0.9)):
        adam = Sitting(CARD[name], 0, TRAIN, TEST, tmp_path, Log(tmp_path / "papers.csv")).trainer.optimizer
        np.testing.assert_allclose(adam.square_sums * (1 - adam.beta2), second_moment, rtol=1e-6)
        assert (adam.eps, adam.beta1) == (pytest.approx(eps), beta1)


def test_a_stage_that_is_run_again_replaces_its_row(tmp_path):
    log = Log(tmp_path / "papers.csv")
    row = dict.fromkeys(COLUMNS, "1") | {"card": EXAMPLE.name}
    for change in ({}, {"stage": "2"}, {"figure": "3"}):
        log.add(row | change)
    assert [(row["stage"], row["figure"]) for row in log.of(EXAMPLE.name)] == [("1", "3"), ("2", "1")]
    log.add(row | {"card": "one that is no more"})
    log.add(row | {"seed": "2"})  # what is unknown stays, and hides nothing
    assert [row["seed"] for row in log.of(EXAMPLE.name)] == ["1", "1", "2"]


def test_every_kind_of_card_can_be_run(tmp_path):
    """Two stochastic layers have active units of both; a patience that runs out ends a stage before its last epoch."""
    log = Log(tmp_path / "papers.csv")
    for name in ("burda-2-layers-iwae-k5-paper", "burda-2-layers-vae-k5-paper", "dreg-k5", "static-vae", "static-vamp"):
        Sitting(little(CARDS[name]), 0, TRAIN, TEST, tmp_path, log).go_on(math.inf, 1)
        (row,) = log.of(name)
        assert math.isfinite(float(row["figure"]))
        assert row["active"].count(" + ") == name.count("2-layers")
    still = little(CARDS["static-vae"], name="still")
    still = dataclasses.replace(still, stages=((40, 1e-30),), settings=still.settings | {"patience": 2, "warm_up_epochs": 0})
    Sitting(still, 0, TRAIN, TEST, tmp_path, log).go_on(time.monotonic() + 60, 1)
    assert int(log.of("still")[0]["epochs"]) < 40


def test_cards_whose_data_are_not_at_hand_say_so_in_one_line_and_do_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "10000")
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    cards = [CARDS["static-vae"], CARDS["static-vamp"]]
    assert list(with_data(cards, None)) == []
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("not run: static-vae, static-vamp: binarized_mnist_train.amat: expected ")
    monkeypatch.setattr("minivae.datasets.load", lambda name, data_dir: (TRAIN, TEST))
    assert [card for card, *_ in with_data(cards, None)] == cards


def test_table_1_is_whole():
    cards = BURDA[:10]
    published = {(card.model, card.settings.get("n_samples") or card.settings["n_importance_samples"]): card for card in cards}
    assert len(published) == 10
    two = published["TwoLayerIWAE", 50]
    assert two.published == "NLL 82.90 (26 + 7 active units)"
    sizes = [two.settings[name] for name in ("hidden_dims", "latent_dim", "second_hidden_dims", "second_latent_dim")]
    assert sizes == [(200, 200), 100, (100, 100), 50]
    for (model, k), card in published.items():
        assert f"k{k}-" in card.name
        assert sum(epochs for epochs, _ in card.stages) == 3280
        assert model.removeprefix("TwoLayer").lower() in card.name
        for deviation in ("59,600", "rounds the rates", "first 500 training images"):  # which variant a card follows is said on it
            assert deviation in card.data + card.optimisation + card.evaluation


def test_the_summary_is_what_was_recorded_and_says_which_cards_are_not_begun(tmp_path):
    sum_up(Log(RESULTS / "papers.csv"), tmp_path)
    assert (tmp_path / "papers_summary.csv").read_bytes() == (RESULTS / "papers_summary.csv").read_bytes()
    found = {(row["card"], row["seed"]): row for row in rows_of(tmp_path / "papers_summary.csv")}
    assert {card for card, _ in found} == set(CARDS)
    recorded = {(row["card"], row["seed"]): row for row in Log(RESULTS / "papers.csv")._rows()}
    for (card, seed), row in found.items():
        if last := recorded.get((card, seed)):
            assert {name: row[name] for name in COLUMNS} == last
            assert row["verdict"].split()[0] in ("reproduced", "not", "unfinished:", "finished,")
        else:
            assert (seed, row["figure"], row["verdict"]) == ("", "", "not begun")
    assert found["pythae-vae", "0"]["pixels"] == "drawn once"
    assert found["static-vae", ""]["pixels"] == "drawn once (public file)"


def test_verdicts_are_of_the_last_stage_of_each_seed():
    reached = (("0", "2", "89.8"), ("0", "3", "90.3"), ("1", "2", "1.0"))
    rows = [{"seed": seed, "stage": stage, "figure": figure} for seed, stage, figure in reached]
    assert verdicts(PYTHAE, rows, []) == ["not reproduced: above 90.28", "unfinished: stage 2 of 3"]
    assert PYTHAE.verdict(3, 89.8) == "reproduced"
    assert PYTHAE.verdict(3, 89.2) == "not reproduced: below 89.28"


@pytest.mark.parametrize(
    ("other", "stage", "verdict"),
    [
        ("85.50", "8", "reproduced"),
        ("85.23", "8", "not reproduced: above -0.01"),
        ("85.00", "8", "not reproduced: above -0.01"),
        ("85.50", "7", "finished, but burda-iwae-k5-paper is not"),
    ],
)
def test_a_difference_is_judged_by_its_sign_once_both_cards_are_finished(other, stage, verdict):
    card, rows = CARDS["dreg-k5"], [{"seed": "0", "stage": "8", "figure": "85.23"}]
    beside = [{"seed": "0", "stage": stage, "figure": other}]
    assert verdicts(card, rows, beside) == [verdict]
    assert verdicts(card, [rows[0] | {"stage": "6"}], beside) == ["unfinished: stage 6 of 8"]
    beside = [{"seed": "0", "stage": "6", "figure": other}, *beside]
    so_far = f"so far {85.23 - float(other):+.2f} from {card.beside}"
    assert verdicts(card, [rows[0] | {"stage": "6"}], beside) == [f"unfinished: stage 6 of 8, {so_far}"]
    assert card.settings == CARDS[card.beside].settings | {"gradient": "doubly_reparameterized"}


def test_every_cards_tolerance_holds_its_published_figure():
    for card in CARDS.values():
        if card.beside:
            assert card.low < -0.27 < card.high < 0
            continue
        if card.model.endswith("IWAE"):  # its best rivals, of as many layers, must not pass for it
            rivals = [other for other in BURDA if other.model == card.model.replace("IWAE", "VAE")]
            assert card.high < min(float(other.published.split()[1]) for other in rivals)
        for figure in card.published.partition("NLL ")[2].split()[:1] or card.published.split("loss ")[1].split(" / "):
            assert card.low < float(figure) < card.high


def test_card_is_printed_whole_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [dict.fromkeys(COLUMNS, "0") | {"card": PYTHAE.name, "stage": "3", "figure": "92.82", "samples": "200"}]
    show(PYTHAE, rows, [])
    out = capsys.readouterr().out
    assert "not reproduced: above 90.28" in " ".join(out.split())
    assert "core hours" in out
    assert max(map(len, out.splitlines())) <= 80
