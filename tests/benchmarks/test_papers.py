"""Protocol cards: several sittings make what one makes, the best epoch is kept at the end alone, verdicts are the figures'."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest

from benchmarks.papers import in_torch as papers_torch
from benchmarks.papers.cards import CARDS, EXAMPLE, PYTHAE
from benchmarks.papers.papers import COLUMNS, Log, Sitting, parts, show, verdicts
from minivae.datasets import Dataset

rng = np.random.default_rng(0)
TRAIN, TEST = (Dataset(rng.integers(0, 256, (n, 9), dtype=np.uint8), None, "noise", (3, 3)) for n in (60, 30))
SMALL = {"latent_dim": 2, "hidden_dims": (5,), "batch_size": 7, "device": "cpu"}


def little(card, **changes):
    """Return a card with its protocol in small: the same stages in epochs, 60 rows."""
    stages = ((3, 1e-2), (2, 3e-3), (2, 1e-3))[: len(card.stages)]
    held_out = 20 if card.validation else 0
    return dataclasses.replace(
        card, settings=card.settings | SMALL, stages=stages, validation=held_out, samples=3, final_samples=5, **changes
    )


CARD = {name: little(CARDS[name]) for name in ("pytorch-example", "pythae-vae", "burda-vae-k5-code", "burda-iwae-k5-paper")}


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


def test_best_epoch_is_put_back_at_the_end_and_not_before(tmp_path):
    card = dataclasses.replace(CARD["pythae-vae"], stages=((3, 1e-2), (2, 3.0), (1, 1e-3)))  # the second ruins the first's work
    sitting = Sitting(card, 0, TRAIN, TEST, tmp_path, Log(tmp_path / "papers.csv"))
    trainer = sitting.trainer
    sitting.go_on(math.inf, 2)
    assert trainer.best_epoch <= 3
    assert (trainer.model.parameters_.values != trainer.best_values).any()
    sitting.go_on(math.inf, 3)
    np.testing.assert_array_equal(trainer.model.parameters_.values, trainer.best_values)


def test_the_card_in_torch_is_trained_and_scored(capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed (pip install -e '.[bench]')")
    card = dataclasses.replace(CARD["pythae-vae"], stages=((30, 1e-2), (10, 1e-3)))
    papers_torch.run(card, *parts(card, TRAIN, TEST))
    lines = " ".join(capsys.readouterr().out.split()).replace("epoch ", "\nepoch ").splitlines()
    first, *_, last = (float(line.rpartition("loss ")[2].partition(",")[0]) for line in lines if "loss" in line)
    assert last < first < 9 * 1.1  # nats of nine even pixels, and what an untrained model loses beside them
    scores = [float(text.split(" ±")[0]) for text in " ".join(lines).split("NLL ")[1:]]
    assert len(scores) == 2
    assert all(0 < score < first for score in scores)


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


def test_verdicts_are_of_the_last_stage_of_each_seed():
    reached = (("0", "2", "89.8"), ("0", "3", "90.3"), ("1", "2", "1.0"))
    rows = [{"seed": seed, "stage": stage, "figure": figure} for seed, stage, figure in reached]
    assert verdicts(PYTHAE, rows) == ["not reproduced: outside 89.28 ... 90.28", "unfinished: stage 2 of 3"]
    assert PYTHAE.verdict(3, 89.8) == "reproduced"


def test_every_cards_tolerance_holds_its_published_figure():
    for card in CARDS.values():
        others = [other for other in CARDS.values() if other.settings.get("latent_dim") == 50 and other.model != card.model]
        if card.model == "IWAE":  # its best rivals must not pass for it
            assert card.high < min(float(other.published.split()[1]) for other in others)
        for figure in card.published.partition("NLL ")[2].split()[:1] or card.published.split("loss ")[1].split(" / "):
            assert card.low < float(figure) < card.high


def test_card_is_printed_whole_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [dict.fromkeys(COLUMNS, "0") | {"card": PYTHAE.name, "stage": "3", "figure": "92.82", "samples": "200"}]
    show(PYTHAE, rows)
    out = capsys.readouterr().out
    assert "not reproduced: outside 89.28 ... 90.28" in " ".join(out.split())
    assert "core hours" in out
    assert max(map(len, out.splitlines())) <= 80
