"""What the explorer's page carries: read back with nothing but the standard library and NumPy, it is the trained model."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from support.pages import run_of, small_model, small_test_set

from minivae.pages.explore import DRAWS, EXAMPLES, PRIOR_DRAWS, PROOFS, explorer, record_of
from minivae.runs.selection import code_of, spread

CASES = {
    "relu, Bernoulli": ("VAE", {}),
    "two layers, own variances": ("VAE", {"hidden_dims": (13, 11), "activation": "elu", "likelihood": "gaussian"}),
    "affine": ("VAE", {"hidden_dims": (), "likelihood": "gaussian_shared"}),
    "conditional": ("ConditionalVAE", {"activation": "softplus"}),
    "semi-supervised": ("SemiSupervisedVAE", {"activation": "sigmoid"}),
    "tied": ("Autoencoder", {"tied": True, "activation": "leaky_relu"}),
}
ACTIVATIONS = {
    "identity": lambda a: a,
    "relu": lambda a: np.where(a > 0, a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "elu": lambda a: np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "softplus": lambda a: np.log(1 + np.exp(a)),
}


def floats(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(*shape).astype(np.float64)


def record_in(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="model">(.*?)</script>', page)[1])


@pytest.fixture(scope="module", params=CASES)
def case(request):
    kind, settings = CASES[request.param]
    model, test = small_model(kind, **settings), small_test_set()
    return model, test, record_in(explorer(run_of(model, test), model, test))


def plain_decoder(record: dict, x: np.ndarray) -> np.ndarray:
    """Decode with the weights of the page alone, in float64."""
    *hidden, last = record["decoder"]["layers"]
    for layer in hidden:
        x = x @ floats(layer["weight"], x.shape[1], -1) + floats(layer["bias"], -1)
        x = ACTIVATIONS[record["decoder"]["activation"]](x)
    x = x @ floats(last["weight"], x.shape[1], -1) + floats(last["bias"], -1)
    return ACTIVATIONS["sigmoid"](x) if record["decoder"]["likelihood"] == "bernoulli" else x[:, : record["n_features"]]


def test_the_strongest_dimensions_are_those_of_the_report(monkeypatch):
    """Both ask all test examples, also where the page carries only some of them."""
    monkeypatch.setattr("minivae.pages.explore.EXAMPLES", 5)
    model, test = small_model(), small_test_set()
    record = record_of(run_of(model, test), model, test)
    code = code_of(model, test.x, test.y)
    assert [dimension["index"] for dimension in record["dimensions"]] == code.order.tolist()
    np.testing.assert_allclose([d["strength"] for d in record["dimensions"]], code.strength[code.order], rtol=1e-6)


def test_embedded_decoder_is_the_models(case):
    model, _, record = case
    z = np.random.default_rng(0).standard_normal((13, model.latent_dim))
    y = np.resize(model.classes_, 13) if record["conditional"] else None
    inputs = np.hstack([z, np.eye(10)[y]]) if record["conditional"] else z
    # float32 sums of 17 terms beside float64 ones: a few units in the last place, on values of the size of 1
    np.testing.assert_allclose(plain_decoder(record, inputs), model.decode(z.astype("float32"), y), rtol=1e-5, atol=1e-5)


def test_draws_from_a_learned_prior_are_in_the_page(case):
    assert case[2]["prior"] is None  # N(0, I), from which the page draws itself
    model, test = small_model("TwoLayerVAE"), small_test_set()
    draws = floats(record_of(run_of(model, test), model, test)["prior"], PRIOR_DRAWS, model.latent_dim)
    np.testing.assert_allclose(draws, model.prior_.draw(PRIOR_DRAWS, model._generator("sample", 0)), rtol=1e-6)


def test_proof_is_what_python_decodes(case):
    model, _, record = case
    inputs = floats(record["proof"]["inputs"], PROOFS, -1)
    means = floats(record["proof"]["means"], PROOFS, record["n_features"])
    assert inputs.shape[1] == model.latent_dim + 10 * record["conditional"]
    np.testing.assert_allclose(plain_decoder(record, inputs), means, rtol=1e-5, atol=1e-5)
    assert np.ptp(means, axis=0).max() > 1e-3, "the points have to differ, or they prove nothing"


def test_examples_are_those_of_the_test_set(case):
    model, test, record = case
    examples, n, k = record["examples"], len(test), model.latent_dim
    assert examples["row"] == list(range(n))
    mean, log_var = model.encode(test.x, test.y)
    np.testing.assert_array_equal(floats(examples["mean"], n, k), mean)
    np.testing.assert_allclose(floats(examples["std"], n, k), np.exp(0.5 * log_var), rtol=1e-6)
    assert [record["classes"][label] for label in examples["label"]] == [str(label) for label in test.y]
    pixels = np.frombuffer(base64.b64decode(examples["grey"]), dtype=np.uint8).reshape(n, -1) / 255
    np.testing.assert_allclose(pixels, test.x, atol=0.5001 / 255)


def test_noise_is_that_of_reconstruct(case):
    model, test, record = case
    noise = floats(record["noise"], DRAWS, model.latent_dim)
    mean = floats(record["examples"]["mean"], len(test), model.latent_dim)
    std = floats(record["examples"]["std"], len(test), model.latent_dim)
    for seed in (0, DRAWS - 1):
        y = None if test.y is None else test.y[5:6]
        expected = model.reconstruct(test.x[5:6], 1.5, seed, y)
        z = (mean[5:6] + 1.5 * std[5:6] * noise[seed]).astype("float32")
        np.testing.assert_allclose(model.decode(z, y), expected, rtol=1e-5, atol=1e-5)


def test_dimensions_come_strongest_first(case):
    model, _, record = case
    strengths = [dimension["strength"] for dimension in record["dimensions"]]
    assert strengths == sorted(strengths, reverse=True)
    assert sorted(dimension["index"] for dimension in record["dimensions"]) == list(range(model.latent_dim))


def test_everything_shown_is_within_reach(case):
    model, test, record = case
    mean = np.abs(floats(record["examples"]["mean"], len(test), model.latent_dim))
    plane = [dimension["index"] for dimension in record["dimensions"][:2]]
    assert record["reach"] >= max(3, mean.max())
    assert record["reach"] >= record["map_reach"] >= max(3, mean[:, plane].max())


def test_a_large_test_set_is_thinned_out_evenly():
    model = small_model()
    test = small_test_set().subset(np.resize(np.arange(60), 5 * EXAMPLES))
    rows = record_of(run_of(model, test), model, test)["examples"]["row"]
    assert rows == spread(5 * EXAMPLES, EXAMPLES).tolist()
    assert len(rows) == EXAMPLES
    assert rows[-1] == 5 * EXAMPLES - 1


def test_unlabelled_data_and_hostile_names():
    model, test = small_model(), small_test_set().subset(slice(20))
    test = type(test)(test.values, None, None, "</script><b>")
    page = explorer(run_of(model, test, "</script><i>"), model, test)
    record = record_in(page)
    assert record["title"] == "VAE on </script><b>"
    assert record["examples"]["label"] is None
    assert record["classes"] == []
    assert page.count("</script>") == 6  # the data and five scripts
    assert not re.search(r"https?:|url\(|@import|\bfetch\b|XMLHttpRequest|import\(", page)
