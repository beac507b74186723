"""``explain`` takes a tag, or a word: derivation and code come from the source, and what is unknown has its neighbours named."""

from __future__ import annotations

import pytest
from support.helpers import complaint

from minivae.checks import InputError
from minivae.command.cli import main
from minivae.ops import ALL_OPS
from minivae.study import guide
from minivae.study.topics import topics


@pytest.mark.parametrize("tag", guide.equations())
def test_every_tag_is_explained_by_its_derivation_and_its_code(tag):
    (it,) = topics(tag)
    equation = guide.equations()[tag]
    assert it.title.startswith(f"{tag}  {equation.text}")
    assert len(it.derivation) > len(equation.text) / 2
    shown = {(listing.file, number) for listing in it.code for number, _ in listing.lines}
    for place in equation.lines:
        file, _, number = place.partition(":")
        assert (file, int(number)) in shown


def test_a_tag_may_be_written_as_it_stands_in_the_code():
    assert topics("k.2") == topics("(K.2)") == topics("K.2")


@pytest.mark.parametrize(
    ("word", "title", "code"),
    [
        ("elbo", "Generative.elbo", "kl_standard_normal"),
        ("adam", "Adam", "sqrt"),
        ("quantize", "quantize", "round"),
        ("interpolate", "interpolate", "linspace"),
        ("ContractiveAutoencoder", "ContractiveAutoencoder", "squared_jacobian_norm"),
    ],
)
def test_a_word_finds_what_goes_by_it(word, title, code):
    found = topics(word)
    assert any(title in it.title for it in found)
    assert any(code in text for it in found for listing in it.code for _, text in listing.lines)


def test_what_nothing_goes_by_has_its_neighbours_named():
    message = complaint(InputError, topics, "kl_standard_norm")
    assert "similar: kl_standard_normal" in message


def test_the_bound_is_derived_and_the_contraction_shows_its_norm():
    (bound,) = topics("M.2")
    for step in ("E_q[ log p(x|z) + log p(z) − log p(z|x) ]", "KL(q(z|x) ‖ p(z|x))", "Jensen"):
        assert step in bound.derivation
    (contraction,) = topics("A.5")
    assert "λ Σ_j ‖∇_x h_j‖²" in contraction.title


@pytest.mark.parametrize("name", ["kl_standard_normal", "dense"])
def test_an_operation_shows_its_code_and_the_sum_that_is_worked(name, capsys):
    assert main(["explain", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: ")
    assert f"def {ALL_OPS[name].forward.__name__}(" in out
    assert f"def {ALL_OPS[name].backward.__name__}(" in out
    assert "loss = Σ result · gradient = " in out


def test_the_command_takes_a_tag_and_a_topic(capsys):
    for word, words in {"K.2": ("def kl_standard_normal_backward", "→", "½"), "adam": ("Adam", "minivae/optim.py")}.items():
        assert main(["explain", word]) == 0
        out = capsys.readouterr().out
        assert all(piece in out for piece in words)
    assert main(["explain", "nothing_like_it"]) == 2
    assert capsys.readouterr().err.startswith("minivae: op: expected an operation, a tag such as K.2")
