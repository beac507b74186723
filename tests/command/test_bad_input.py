"""Bad input to everything that is public: the package's own exception in one line, and no traceback for who types a command.

``CALLS`` has one row for each public function, with good arguments.  Each argument is in turn replaced by each of the values that
``BAD`` has for its kind; ``test_every_public_function_has_a_row`` keeps the table whole.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.helpers import complaint

import minivae as mv
from minivae.checks import InputError, MinivaeError
from minivae.command.cli import main
from minivae.evaluation import disentanglement
from minivae.models.generative import Generative
from minivae.models.settings import Settings
from minivae.training import keeper

X = np.random.default_rng(0).random((24, 6)).astype(np.float32)
Y = np.arange(24) % 3
SMALL = {"latent_dim": 2, "hidden_dims": (5,), "epochs": 1, "batch_size": 8, "device": "cpu"}


class Hostile:
    """An object of which every use goes wrong."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def __repr__(self) -> str:
        return "hostile"


OBJECTS = [None, object(), Hostile(), {}, {1, 2}, b"bytes", 1j, lambda: 0, Ellipsis, type]
NOT_NUMBERS = [*OBJECTS, "1", "", [], (1,), np.zeros(2), math.nan, math.inf, -math.inf, True, np.bool_(True), np.nan]
TEXTS = ["", " ", "\0", "\n", "ä", "\ud800", "x" * 10_000, "__class__", "../..", "%s%n", "\x1b[31m", "٣", "RELU"]
PATHS = ["\0", "a\0b", "/", ".", "/proc/self/mem", "/dev/null/x", "x" * 5000, "nowhere/at/all", "\ud800/x", "\n/\n", ""]

SHAPES = [np.zeros(6), np.zeros((2, 3, 6)), np.zeros(()), np.zeros((0, 6)), np.zeros((24, 0))]
STRANGE = [
    *OBJECTS,
    *(0, 1.5, "x", "1", [], [[]], [[1, 2], [3]], [["a"]], math.nan),
    *(X.astype(complex), X.astype(str), X.astype("S"), np.zeros((24, 6), "datetime64[s]")),
    *(np.full((24, 6), value, object) for value in (None, "a", 1j, math.nan)),  # objects that are all finite numbers are accepted
    np.zeros((24, 6), [("a", int)]),
    *(np.where(np.arange(6) == 4, value, X) for value in (math.nan, math.inf, -math.inf)),
]
BAD: dict[str, list[Any]] = {
    "whole": [*NOT_NUMBERS, 1.0, 0.5, -1, -(10**30), np.float32(2), "٣"],
    "seed": [*NOT_NUMBERS[1:], 1.0, 0.5, -1, -(10**30), np.float32(2), "٣"],
    "positive whole": [*NOT_NUMBERS, 1.0, 0, -1, np.int64(-3)],
    "real": [*NOT_NUMBERS, -1.0, -1e-300, -(10**400), 10**400],
    "any real": [*NOT_NUMBERS, 10**400],
    "choice": [*OBJECTS, 0, 1.5, True, *TEXTS, ["relu"], ("relu",), np.str_("rleu"), np.zeros(2)],
    "flag": [*OBJECTS, 0, 1.5, *TEXTS, np.zeros(2)],
    "name": TEXTS,
    "path": [*OBJECTS, 0, 1.5, True, [], np.zeros(2), *PATHS],
    "matrix": [*STRANGE, *SHAPES, X[:, :5], np.ones((24, 7))],
    "new matrix": [*STRANGE, *SHAPES],
    "test matrix": [*STRANGE[1:], *SHAPES, X[:, :5], np.ones((24, 7))],
    "labels": [
        *(*OBJECTS, 1.5, "a", math.nan, [7], [0, 1], [[0]] * 24, [None] * 24),
        *(Y[:-1], Y + 0.5, np.full(24, 9), np.zeros((24, 3))),
    ],
    "new labels": [
        *(*OBJECTS, math.nan, [], [[0]] * 3, [None] * 24, [0, "a"] * 12),
        *(Y[:-1], Y + 0.5, np.zeros((24, 2, 2)), np.full((24, 2), math.nan)),
    ],
    "code": [
        *(*OBJECTS, 0, "x", []),
        *(np.zeros(2), np.zeros((3, 3)), np.zeros((0, 2)), np.full((3, 2), math.nan), np.array([["a", "b"]])),
    ],
    "one example": [
        *(*OBJECTS, "x", 1.5, []),
        *(np.zeros(5), np.zeros(7), np.zeros((2, 6)), np.full(6, math.nan), np.array(["a"] * 6)),
    ],
    "widths": [*OBJECTS, 0, 5, 1.5, "5", (0,), (-1,), (1.5,), ("5",), ((5,),), (None,), (True,), np.array([5]), (10**30,)],
}


class Call(NamedTuple):
    """A public function, good arguments, and the kind of bad values for each argument that is tried."""

    function: Callable[..., Any]
    good: dict[str, Any]
    kinds: dict[str, str]


MODEL = mv.VAE(**SMALL).fit(X)
CONDITIONAL = mv.ConditionalVAE(**SMALL).fit(X, Y)
CLASSIFIER = mv.SemiSupervisedVAE(**SMALL).fit(X, Y)
DENOISING = mv.DenoisingAutoencoder(**SMALL).fit(X)
Z = np.zeros((3, 2), np.float32)
ESTIMATE = {"x": "matrix", "n_samples": "positive whole", "seed": "seed"}
CODES, FACTORS = np.random.default_rng(1).standard_normal((24, 3)), np.stack([Y, np.arange(24) % 2], axis=1)
BAD["codes"] = [
    *(*OBJECTS, 1.5, "x", []),
    *(np.zeros(24), np.zeros((24, 2, 2)), np.full((24, 3), math.nan), np.zeros((23, 3)), np.zeros((24, 0))),
]
BAD["factors"] = [
    *(*OBJECTS, 1.5, "x", []),
    *(Y, FACTORS[:-1], FACTORS + 0.5, FACTORS - 1, np.full((24, 2), "a"), np.zeros((24, 0), int)),
]

CALLS = {
    "fit": Call(mv.VAE(**SMALL).fit, {"x": X, "x_test": X}, {"x": "new matrix", "x_test": "test matrix"}),
    "fit, conditional": Call(mv.ConditionalVAE(**SMALL).fit, {"x": X, "y": Y}, {"y": "new labels"}),
    "fit, labels": Call(mv.VAEClassifier(**SMALL).fit, {"x": X, "y": Y}, {"y": "new labels"}),
    "save": Call(MODEL.save, {"path": "it", "half": True}, {"path": "path", "half": "flag"}),
    "load": Call(mv.load, {"path": "saved", "device": "cpu"}, {"path": "path", "device": "choice"}),
    "set_params": Call(lambda name: mv.VAE().set_params(**{name: 1}), {"name": "seed"}, {"name": "name"}),
    "encode": Call(MODEL.encode, {"x": X}, {"x": "matrix"}),
    "transform": Call(MODEL.transform, {"x": X}, {"x": "matrix"}),
    "fit_transform": Call(mv.VAE(**SMALL).fit_transform, {"x": X}, {"x": "new matrix"}),
    "decode": Call(MODEL.decode, {"z": Z}, {"z": "code"}),
    "inverse_transform": Call(MODEL.inverse_transform, {"z": Z}, {"z": "code"}),
    "sample": Call(
        MODEL.sample, {"n": 3, "seed": 1, "pixels": "mean"}, {"n": "positive whole", "seed": "seed", "pixels": "choice"}
    ),
    "reconstruct": Call(
        MODEL.reconstruct, {"x": X, "temperature": 1.0, "seed": 1}, {"x": "matrix", "temperature": "real", "seed": "seed"}
    ),
    "interpolate": Call(
        MODEL.interpolate,
        {"a": X[0], "b": X[1], "n": 3, "path": "linear"},
        {"a": "one example", "b": "one example", "n": "positive whole", "path": "choice"},
    ),
    "traverse": Call(
        MODEL.traverse,
        {"x": X[0], "dim": 1, "n": 3, "span": 2.0},
        {"x": "one example", "dim": "whole", "n": "positive whole", "span": "any real"},
    ),
    "elbo": Call(MODEL.elbo, {"x": X, "n_samples": 2, "seed": 1}, ESTIMATE),
    "log_likelihood": Call(MODEL.log_likelihood, {"x": X, "n_samples": 2, "seed": 1}, ESTIMATE),
    "importance_estimate": Call(MODEL.importance_estimate, {"x": X, "n_samples": 2, "seed": 1}, ESTIMATE),
    "certificate": Call(
        MODEL.certificate,
        {"n": 2, "n_chains": 2, "n_steps": 3, "seed": 1},
        {"n": "positive whole", "n_chains": "positive whole", "n_steps": "positive whole", "seed": "seed"},
    ),
    "score_samples": Call(MODEL.score_samples, {"x": X}, {"x": "matrix"}),
    "score": Call(MODEL.score, {"x": X}, {"x": "matrix"}),
    "anomaly_score": Call(MODEL.anomaly_score, {"x": X}, {"x": "matrix"}),
    "encode, conditional": Call(CONDITIONAL.encode, {"x": X, "y": Y}, {"y": "labels"}),
    "decode, conditional": Call(CONDITIONAL.decode, {"z": Z, "y": 1}, {"y": "labels"}),
    "sample, conditional": Call(CONDITIONAL.sample, {"n": 3, "y": 1}, {"y": "labels"}),
    "change_condition": Call(
        CONDITIONAL.change_condition,
        {"x": X, "y": Y, "new_y": 1},
        {"x": "matrix", "y": "labels", "new_y": "labels"},
    ),
    "predict": Call(CLASSIFIER.predict, {"x": X}, {"x": "matrix"}),
    "predict_proba": Call(CLASSIFIER.predict_proba, {"x": X}, {"x": "matrix"}),
    "predict_log_proba": Call(CLASSIFIER.predict_log_proba, {"x": X}, {"x": "matrix"}),
    "class score": Call(CLASSIFIER.score, {"x": X, "y": Y}, {"x": "matrix", "y": "labels"}),
    "corrupt": Call(DENOISING.corrupt, {"x": X, "seed": 1}, {"x": "matrix", "seed": "seed"}),
    "datasets.load": Call(mv.datasets.load, {"name": "digits"}, {"name": "path"}),
    "datasets.load, mnist": Call(mv.datasets.load, {"name": "mnist", "data_dir": "."}, {"data_dir": "path"}),
    "datasets.read_idx": Call(mv.datasets.read_idx, {"path": "it"}, {"path": "path"}),
    "Keeper": Call(keeper.Keeper, {"path": "it", "every": "5s"}, {"every": "choice"}),
    "mutual_information": Call(
        disentanglement.mutual_information,
        {"codes": CODES, "factors": FACTORS, "n_bins": 5},
        {"codes": "codes", "factors": "factors", "n_bins": "positive whole"},
    ),
    "mutual_information_gap": Call(
        disentanglement.mutual_information_gap, {"codes": CODES, "factors": FACTORS}, {"codes": "codes", "factors": "factors"}
    ),
}
# Those that raise nothing of their own, or are another's under a second name; and those with tests of bad input in their own files.
ELSEWHERE = {"get_params", "posterior", "terms", "loss", "summarize", "code_statistics", "record", "evaluate", "encoder", "decoder"}
ELSEWHERE |= {"class_log_probabilities", "code", "encoder_input", "penalties", "strengths", "get_feature_names_out", "set_output"}
# What ``fit`` and the estimates call, for who extends a model: their arguments were checked before.
ELSEWHERE |= {"bound_terms", "check_settings", "code_width", "condition_width", "couples_examples", "encode_condition", "energy"}
ELSEWHERE |= {"begin_epoch", "draw_prior", "end_step", "latent_width", "logits", "temperature_now", "terms_of_test"}
ELSEWHERE |= {"draw", "fill_labels", "heads", "learn_condition", "log_variance", "make_layers", "make_prior", "pool"}
ELSEWHERE |= {"whole_obstacle"}
ENGINE = {"ops", "backward", "no_grad", "gradcheck"}  # with tests of bad input in their own files
CASES = [(name, argument) for name, call in CALLS.items() for argument in call.kinds]


def label(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!a}" if not isinstance(value, Hostile) else "hostile"


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_bad_argument_is_refused(name, argument):
    call = CALLS[name]
    tried = 0
    for value in BAD[call.kinds[argument]]:
        try:
            call.function(**call.good | {argument: value})
        except MinivaeError as error:
            message = str(error)
        except Exception as error:
            pytest.fail(f"{label(value)}: {type(error).__name__}: {error}")
        else:
            pytest.fail(f"{label(value)} was accepted")
        assert ": expected " in message
        assert ", got " in message
        assert "\n" not in message, message
        assert len(message) < 6000
        tried += 1
    print(f"{name}({argument}): {tried} bad inputs tried")


COUNTS = [(name, argument) for name, argument in CASES if CALLS[name].kinds[argument] == "positive whole"]


@pytest.mark.parametrize(("name", "argument"), COUNTS)
def test_a_count_that_nobody_can_mean_is_refused_at_once(name, argument):
    """Not after all memory has been asked for, nor after years: 10⁸ samples or steps are more than anyone waits for."""
    call = CALLS[name]
    for value in (10**12, 10**30):
        message = complaint(InputError, call.function, **call.good | {argument: value})
        assert re.match(r"(n_\w+|n): expected (a whole number from \d to 10000000, got 10|what fits in the )", message), message


def public_methods() -> set[str]:
    classes = [*mv.MODELS.values(), Generative, Settings]
    names = {name for cls in classes for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}
    return names


def test_every_public_function_has_a_row():
    rows = {name.partition(",")[0].removeprefix("class ") for name in CALLS}
    assert public_methods() - ELSEWHERE - rows == set()
    assert {name for name in mv.__all__ if name[0].islower()} - {"load", "datasets", "disentanglement"} - ENGINE - rows == set()
    assert {f"datasets.{name}" for name in ("load", "read_idx")} <= rows


SETTINGS = {
    **dict.fromkeys(("latent_dim", "epochs", "batch_size", "n_samples"), "positive whole"),
    **dict.fromkeys(("activation", "likelihood", "init", "output_bias", "binarize"), "choice"),
    **dict.fromkeys(("optimizer", "noise", "device", "dtype"), "choice"),
    **dict.fromkeys(("variance", "variance_floor", "learning_rate", "beta", "free_bits", "capacity"), "real"),
    **dict.fromkeys(("seed", "warm_up_epochs"), "whole"),
    "hidden_dims": "widths",
    "n_importance_samples": "positive whole",
    "gradient": "choice",
    "code_activation": "choice",
    "tied": "",
    **dict.fromkeys(("l1", "l2", "posterior_std", "sparsity", "contraction", "amount"), "real"),
    **dict.fromkeys(("weight_decay", "classification_weight"), "real"),
    **dict.fromkeys(("penalty", "corruption", "estimator", "kernel", "moments", "posterior_variance"), "choice"),
    **dict.fromkeys(("alpha", "gamma", "kl_weight", "mmd_weight", "diagonal", "off_diagonal"), "real"),
    **dict.fromkeys(("n_flows", "n_categories", "n_codes", "code_dim", "n_components", "second_latent_dim"), "positive whole"),
    **dict.fromkeys(("temperature", "final_temperature", "commitment", "decay"), "real"),
    "annealing_epochs": "whole",
    "codebook": "choice",
    "prior": "choice",
    "target": "real",
    "levels": "positive whole",
    **dict.fromkeys(("classifier_hidden_dims", "second_hidden_dims"), "widths"),
    **dict.fromkeys(("clip_norm", "patience", "verbose"), ""),
    "random_state": "seed",
}


def test_bad_setting_of_any_model_is_refused():
    tried = 0
    own = {"tied": [], "clip_norm": BAD["real"][1:], "patience": BAD["positive whole"][1:]}
    own["verbose"] = [value for value in BAD["whole"] if not isinstance(value, bool)]
    for name, model in mv.MODELS.items():
        for field in model().get_params():
            kind = SETTINGS[field]
            values = BAD[kind] if kind else own[field]
            for value in values:
                if kind == "widths" and value == (10**30,):
                    continue  # refused by the memory, not by a check
                settings = SMALL | {field: value}
                message = complaint(InputError, model(**settings).fit, X, Y)
                assert field in message, (name, field, label(value), message)
                tried += 1
    print(f"{tried} bad settings tried")


def test_failed_fit_leaves_a_fitted_model_as_it_was():
    model = mv.VAE(**SMALL).fit(X)
    before = model.parameters_.values.tobytes()
    for value in BAD["new matrix"]:
        complaint(MinivaeError, model.fit, value)
    assert model.parameters_.values.tobytes() == before


def test_model_that_was_not_fitted_is_refused():
    tried = 0
    for name in public_methods() - ELSEWHERE - {"fit", "fit_transform", "set_params"}:
        owners = [cls for cls in mv.MODELS.values() if hasattr(cls, name)]
        for cls in owners:
            good = next(call.good for row, call in CALLS.items() if row.partition(",")[0].removeprefix("class ") == name)
            complaint(mv.NotFittedError, getattr(cls(**SMALL), name), **good)
            tried += 1
    print(f"{tried} uses of a model that was not fitted tried")


# Commands ----------------------------------------------------------------------------------------------------------------------

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.one_of(
    st.sampled_from(["-n", "--out", "--seed", "--data", "--name", "--runs-dir", "--resume", "--checkpoint-every"]),
    st.sampled_from(["0", "-1", "1e9", "nan", "cpu", "x.png", "x.npy", "/", "..", "~", "", "nowhere.npz", "it.npy", "--"]),
    st.sampled_from(["--device", "--model", "VAE", "digits", "--distribute", "--trace"]),
    st.sampled_from(["--epochs", "--latent-dim", "--hidden-dims", "--learning-rate", "--temperature", "--op", "--json", "--quiet"]),
    st.text(alphabet=st.characters(exclude_characters="\0"), max_size=12),
    st.text(alphabet=string.punctuation, max_size=5),
)
COMMANDS = [
    *("train", "evaluate", "sample", "reconstruct", "interpolate", "traverse"),
    *("report", "explore", "data", "gradcheck", "explain", "paint"),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_no_traceback_reaches_the_command_line(command, capfd, monkeypatch):
    """Whatever is typed, the answer is a result, or exit code 2 with one line on standard error and nothing on standard output."""
    monkeypatch.setattr("minivae.command.fitting.LEAST_STEPS", 1)
    monkeypatch.setattr(mv.models.base.Model, "fit", refuse_to_train)
    codes = {0: 0, 2: 0}

    @quick
    @given(st.lists(WORDS, max_size=6))
    def attempt(words):
        try:
            code = main([command, *words])
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        codes[code] += 1
        assert "Traceback" not in out + err
        if code == 2:
            assert out == ""
            assert err.startswith("minivae")
            assert err.count("\n") == 1, (words, err)

    attempt()
    assert codes[2] > 15
    print(f"{command}: {codes[2]} bad command lines tried, {codes[0]} good ones among them")


def refuse_to_train(*args, **kwargs):
    raise InputError("training: expected another test, got this one")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["ä/ö %s", "a\nb", "-x", "\x1b[31m{}"])
def test_hostile_but_possible_paths_work(path, capfd):
    folder = Path(path)
    folder.mkdir(parents=True)
    np.save(folder / "it.npy", X)
    tiny = ["--latent-dim", "2", "--hidden-dims", "3", "--epochs", "1", "--batch-size", "8", "--device", "cpu", "--quiet"]
    assert main(["train", f"--data={folder / 'it.npy'}", f"--runs-dir={folder / 'runs'}", "--eval-samples", "2", *tiny]) == 0
    assert os.listdir(folder / "runs") == ["vae-it-1"]
    assert main(["sample", "vae-it-1", f"--runs-dir={folder / 'runs'}", f"--out={folder / 'x.npy'}", "--quiet"]) == 0
    MODEL.save(folder / "model")
    assert mv.load(folder / "model", "cpu").transform(X).shape == (24, 2)


@pytest.mark.parametrize("path", ["\0", "a\0b", "x" * 5000, "\ud800"])
def test_paths_that_no_file_can_have(path):
    for call in (mv.load, MODEL.save, mv.datasets.read_idx, lambda path: mv.datasets.load(path + ".npy")):
        complaint(MinivaeError, call, path)
