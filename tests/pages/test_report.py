"""The report: one file, complete, true to the model, and asking nobody for anything."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from support.pages import run_of, small_model, small_test_set

from minivae import MODELS
from minivae.pages.markup import VOID
from minivae.pages.report import report
from minivae.pages.trained import objective_of
from minivae.runs.selection import code_of

pytestmark = pytest.mark.slow  # whole pages


class Reader(HTMLParser):
    """Checks that elements are closed in order, and notes headings, text and whatever could load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data", "poster")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self.open[-1:] != ["style"]:
            self.text.append(data)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def page(model) -> str:
    test = small_test_set()
    return report(run_of(model, test), model, test)


def test_report_has_all_its_parts_and_is_well_formed(page):
    reader = Reader(page)
    parts = ["Training", "Reconstructions", "Samples from the prior", "Around test examples", "Latent space", "Traversals"]
    assert reader.headings == [*parts, "Objective", "Configuration"]
    assert "script" not in reader.tags
    assert reader.sources
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"url\(|@import|https?:", page)


def test_report_says_what_was_trained_and_measured(page, model):
    text = " ".join(Reader(page).text)
    for part in ("loss = reconstruction + β KL", "minivae/models/objectives.py:", "bernoulli_nll", "minivae/ops/likelihood.py:"):
        assert part in text
    assert "minivae train --name vae-1" in text
    test = small_test_set()
    assert f"−{abs(run_of(model, test).config['figures']['test_elbo']):.2f}" in text
    assert re.search(r"<b>4</b>", page), "a setting that is not the default is bold"
    assert "<b>bernoulli</b>" not in page


def test_pictures_are_as_many_as_announced(page):
    # 12 inputs and outputs, 36 samples in both modes, 10 inputs and their decodings at 4 temperatures, 9 stops of 4 dimensions
    assert Reader(page).tags.count("img") == 2 * 12 + 2 * 36 + 10 * 5 + 9 * 4


def test_gradient_check_is_of_the_very_objective_and_passes(page, model):
    test = small_test_set()
    objective = objective_of(model, test)
    n = len(model.parameters_.parameters)
    assert f"{n} of {n} parameters pass" in page
    for name, parameter in objective.model.parameters_.parameters.items():
        assert parameter.dtype == np.float64
        np.testing.assert_array_equal(parameter.data, model.parameters_.parameters[name].data)
    assert objective().item() == objective().item()
    batch = objective.batch
    expected = -float(model.elbo(batch.values, n_samples=400, y=batch.y).mean())
    assert objective().item() == pytest.approx(expected, abs=2.0)  # one draw of the noise, beside the mean of 400


def test_gradient_check_would_tell_a_wrong_objective(model, monkeypatch):
    """Half a gradient in one op turns up as "wrong" in the parameters behind it."""
    objective = objective_of(model, small_test_set())
    relu = next(op for op in objective.ops() if op.name == "relu")
    right = relu.backward
    monkeypatch.setitem(relu.__dict__, "backward", lambda xp, saved, g, needs: (0.5 * right(xp, saved, g, needs)[0],))
    verdicts = {row.argument: row.verdict for row in objective.check()}
    assert verdicts["encoder.0.weight"] == "wrong"
    assert verdicts["decoder.1.weight"] == "pass"


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_has_a_report(kind):
    model, test = small_model(kind, latent_dim=3), small_test_set()
    reader = Reader(report(run_of(model, test), model, test))
    text = " ".join(reader.text)
    surrogates = objective_of(model, test).surrogates()
    assert ("parameters pass" in text) != bool(surrogates)
    if surrogates:
        assert f"the backward pass of {', '.join(surrogates)} is on purpose not the derivative" in text
    else:
        passed, n = map(int, re.search(r"(\d+) of (\d+) parameters pass", text).groups())
        assert passed == n


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_shared"])
def test_data_that_are_neither_images_nor_labelled(likelihood):
    test = dataclasses.replace(small_test_set(), image_shape=None, y=None)
    model = small_model(likelihood=likelihood, latent_dim=1)
    reader = Reader(report(run_of(model, test), model, test))
    assert "img" not in reader.tags
    assert "polyline" in reader.tags


def test_names_are_text_and_never_markup():
    model, test = small_model(), dataclasses.replace(small_test_set(), name="<b>&")
    page = report(run_of(model, test, "<script>alert(1)</script>"), model, test)
    assert "<script" not in page
    assert "&lt;b&gt;&amp;" in page


def test_dimensions_are_sorted_by_their_divergence(model, page):
    test = small_test_set()
    code = code_of(model, test.x, test.y)
    mean, log_var = model.encode(test.x)
    kl = 0.5 * (mean.astype("float64") ** 2 + np.exp(log_var.astype("float64")) - 1 - log_var).mean(axis=0)
    np.testing.assert_allclose(code.strength, kl, rtol=1e-6)
    assert (np.diff(kl[code.order]) <= 0).all()
    shown = [float(value) for value in re.findall(r"%\"></i><span>([\d.]+)</span>", page)]
    assert shown == pytest.approx(sorted(kl, reverse=True), abs=0.0051)


def test_a_code_without_posterior_is_sorted_by_its_variance():
    model, test = small_model("Autoencoder"), small_test_set()
    code = code_of(model, test.x, test.y)
    assert code.measure == "variance of the code"
    np.testing.assert_allclose(code.strength, np.var(model.transform(test.x), axis=0), rtol=1e-5)
