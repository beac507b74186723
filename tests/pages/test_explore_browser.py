"""The explorer in a real browser: what it shows is what Python computes, with a mouse, from the keyboard, on a phone, at night."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from support.browser import PHONE, WIDE, canvas, needs_browser, pixels, quiet, show
from support.pages import run_of, small_model, small_test_set

from minivae.nn import ACTIVATIONS
from minivae.pages.explore import explorer
from minivae.pages.report import report

pytestmark = [pytest.mark.slow, needs_browser]

# Decoded values are compared at 1e-5: float32 sums in Python beside float64 ones in the page.  A pixel is one of 256 levels.
TOLERANCE, GREY = 1e-5, 1


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    """Write a page and return its address."""

    def write(text: str) -> str:
        path = Path(tmp_path_factory.mktemp("page")) / "page.html"
        path.write_text(text, encoding="utf-8")
        return path.as_uri()

    return write


@pytest.fixture(scope="module")
def test():
    return small_test_set()


@pytest.fixture(scope="module")
def model():
    return small_model(epochs=100, beta=0.3)


@pytest.fixture(scope="module")
def address(model, test, page_of) -> str:
    return page_of(explorer(run_of(model, test), model, test))


@pytest.fixture
def opened(browser, address):
    show(browser, address)
    return browser


def z_of(browser) -> np.ndarray:
    return np.array(browser.execute_script("return Array.from(state.z)"))


def assert_shows(browser, x: np.ndarray, selector: str = "#picture") -> None:
    """The canvas shows the values x, to one grey level."""
    levels = 255 * np.clip(np.ravel(x), 0, 1)
    assert np.abs(pixels(browser, selector) - levels).max() <= GREY
    assert np.ptp(levels) > 50, "a picture without contrast would prove nothing"


def press(browser, selector: str, *keys: str) -> None:
    from selenium.webdriver.common.keys import Keys

    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].focus()", element)
    for key in keys:
        element.send_keys(getattr(Keys, key, key))


def test_opens_with_the_first_test_example(opened, model, test):
    assert opened.title == "Explore vae-1"
    assert opened.find_element("id", "title").text == "VAE on digits"
    alone = model.transform(test.x[:1])[0]  # the page has it from a larger batch, whose products round otherwise
    np.testing.assert_allclose(z_of(opened), alone, rtol=0, atol=TOLERANCE)
    assert_shows(opened, model.reconstruct(test.x[:1]))
    assert_shows(opened, test.x[0], "#center canvas")
    assert "agrees with Python's" in opened.find_element("id", "proof").text


LIKELIHOODS = ("bernoulli", "gaussian", "gaussian_shared", "gaussian_fixed")
CASES = [*((activation, "bernoulli") for activation in ACTIVATIONS), *(("relu", likelihood) for likelihood in LIKELIHOODS[1:])]


@pytest.mark.parametrize(("activation", "likelihood"), CASES)
def test_decoder_is_pythons(browser, page_of, test, activation, likelihood):
    model = small_model(activation=activation, likelihood=likelihood, hidden_dims=(19, 13))
    show(browser, page_of(explorer(run_of(model, test), model, test)))
    z = 2 * np.random.default_rng(0).standard_normal((20, model.latent_dim)).astype("float32")
    decoded = browser.execute_script("return arguments[0].map(z => Array.from(decode(Float64Array.from(z))))", z.tolist())
    np.testing.assert_allclose(decoded, model.decode(z), rtol=0, atol=TOLERANCE)


def test_a_decoder_that_differs_is_denounced(browser, page_of, model, test, monkeypatch):
    """The page checks itself: with one of Python's values moved by 2e-5 it says so."""
    from minivae.pages import explore

    true_proof = explore.proof

    def false_proof(model):
        record = true_proof(model)
        means = np.frombuffer(base64.b64decode(record["means"]), dtype="<f4").copy()
        means[77] += 2e-5
        return record | {"means": explore.floats(means)}

    monkeypatch.setattr(explore, "proof", false_proof)
    show(browser, page_of(explorer(run_of(model, test), model, test)))
    assert "DIFFERS from Python's" in browser.find_element("id", "proof").text


def test_a_slider_moves_the_picture_from_the_keyboard(opened, model):
    strongest = opened.execute_script("return model.dimensions[0].index")
    before, z = pixels(opened), z_of(opened)
    press(opened, f"#z{strongest}", *["ARROW_RIGHT"] * 30)
    assert np.abs(pixels(opened) - before).max() > 10
    after = z_of(opened)
    assert after[strongest] == pytest.approx(z[strongest] + 0.3, abs=0.02)  # a step is 0.01, and the first may round z
    others = np.arange(model.latent_dim) != strongest
    np.testing.assert_array_equal(after[others], z[others])
    assert_shows(opened, model.decode(after.astype("float32")[None]))
    label = opened.find_element("id", f"z{strongest}").get_attribute("aria-label")
    assert f"z{'₀₁₂₃'[strongest]}, KL, nats: " in label
    assert quiet(opened)


def test_sliders_come_by_falling_divergence(opened, model, test):
    mean, log_var = (array.astype("float64") for array in model.encode(test.x))
    kl = (mean**2 + np.exp(log_var) - 1 - log_var).mean(axis=0)
    ids = opened.execute_script("return [...document.querySelectorAll('#sliders input')].map(input => input.id)")
    assert ids == [f"z{j}" for j in np.argsort(-kl)]


def test_point_is_dragged_and_steered(opened, model):
    from selenium.webdriver import ActionChains

    first, second = (d["index"] for d in opened.execute_script("return model.dimensions.slice(0, 2)"))
    z = z_of(opened)
    plane = opened.find_element("id", "map")
    unit = opened.execute_script("return mapScale / devicePixelRatio")
    ActionChains(opened).move_to_element(plane).click_and_hold().move_by_offset(60, -90).release().perform()
    moved = z_of(opened)
    assert moved[[first, second]] == pytest.approx([60 / unit, 90 / unit], abs=1.5 / unit)
    ActionChains(opened).move_by_offset(-200, 10).perform()  # released: the point stays
    np.testing.assert_array_equal(z_of(opened), moved)
    press(opened, "#map", "ARROW_LEFT", "ARROW_DOWN", "ARROW_DOWN")
    expected = moved.copy()
    expected[[first, second]] += [-0.1, -0.2]
    np.testing.assert_allclose(z_of(opened), expected, atol=1e-12)
    others = ~np.isin(np.arange(model.latent_dim), [first, second])
    np.testing.assert_array_equal(expected[others], z[others])
    assert_shows(opened, model.decode(expected.astype("float32")[None]))
    assert plane.get_attribute("aria-label").startswith("z")
    assert quiet(opened)


def test_test_set_lies_behind_the_point_in_the_colours_of_its_classes(opened, model, test):
    scale, first, second = opened.execute_script("return [mapScale, across, up]")
    picture = canvas(opened, "#map")[..., :3]
    mean = model.transform(test.x)
    places = np.rint(len(picture) / 2 + scale * mean[:, [second, first]] * (-1, 1)).astype(int)  # row, column
    dots = picture[tuple(places.T)]
    styles = opened.execute_script("return model.classes.map((_, i) => classColour(i))")
    palette = np.array([[int(style.strip()[i : i + 2], 16) for i in (1, 3, 5)] for style in styles])
    # The canvas is transparent, so a dot has its colour unmixed; but where two overlap, another class's may have the upper hand.
    nearest = np.abs(dots[:, None] - palette).sum(axis=2).argmin(axis=1)
    assert (nearest == test.y).mean() > 0.8


def test_temperature_around_a_chosen_example(opened, model, test):
    choose(opened, "#center", 7)
    press(opened, "#tau", "END")  # τ = 3
    press(opened, "#draws button:nth-child(4)", "ENTER")  # after the mean: seeds 0, 1, 2
    expected = model.reconstruct(test.x[7:8], 3.0, seed=2)
    assert_shows(opened, expected)
    assert_shows(opened, expected, "#draws button:nth-child(4) canvas")
    assert_shows(opened, model.reconstruct(test.x[7:8]), "#draws button:nth-child(1) canvas")
    assert opened.find_element("css selector", "#draws button:nth-child(4)").get_attribute("aria-pressed") == "true"
    press(opened, "#tau", "HOME")  # τ = 0 is the mean, whatever the seed
    assert_shows(opened, model.reconstruct(test.x[7:8]))
    assert quiet(opened)


def choose(browser, well: str, example: int) -> None:
    """Open the shelf from a well, and take an example, with the keyboard."""
    press(browser, well, "ENTER")
    assert browser.find_element("id", "picker").is_displayed()
    labels = browser.execute_script("return [...document.querySelectorAll('.shelf button')].map(button => button.ariaLabel)")
    place = next(i for i, label in enumerate(labels, 1) if label.startswith(f"test {example},"))
    press(browser, f".shelf button:nth-child({place})", "ENTER")
    assert not browser.find_element("id", "picker").is_displayed()


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_interpolation_between_two_picked_examples(opened, model, test, path):
    choose(opened, "#from", 3)
    choose(opened, "#to", 11)
    opened.execute_script("document.querySelector(`[value=${arguments[0]}]`).click()", path)
    expected = model.interpolate(test.x[3], test.x[11], 10, path)
    for i in (0, 4, 9):
        assert_shows(opened, expected[i], f"#steps button:nth-child({i + 1}) canvas")
    press(opened, "#steps button:nth-child(5)", "ENTER")
    middle = model.interpolate(test.x[3], test.x[11], 201, path)[round(4 / 9 * 200)]
    assert_shows(opened, middle)  # the slider has steps of 1/200
    assert quiet(opened)


def test_prior_and_origin(opened, model):
    press(opened, "#origin", "ENTER")
    assert not z_of(opened).any()
    assert_shows(opened, model.decode(np.zeros((1, model.latent_dim), dtype="float32")))
    draws = []
    for _ in range(200):
        opened.execute_script("document.getElementById('prior').click()")
        draws.append(z_of(opened))
    n = np.size(draws)
    assert abs(np.mean(draws)) < 5 / np.sqrt(n)
    assert np.var(draws) == pytest.approx(1, abs=5 * np.sqrt(2 / n))


def test_draws_from_a_learned_prior(browser, page_of, test):
    """The page draws where the prior is, not from N(0, I)."""
    model = small_model("LearnedPriorVAE", prior="mixture", n_components=2)
    model.prior_.means.data[...] = 4
    show(browser, page_of(explorer(run_of(model, test), model, test)))
    draws = []
    for _ in range(50):
        browser.execute_script("document.getElementById('prior').click()")
        draws.append(z_of(browser))
    assert len(np.unique(draws, axis=0)) > 40
    assert abs(np.mean(draws) - 4) < 0.5
    assert_shows(browser, model.decode(np.float32(draws[-1:])))


def test_label_switch_of_the_conditional_model(browser, page_of, test):
    model = small_model("ConditionalVAE", epochs=100)
    show(browser, page_of(explorer(run_of(model, test), model, test)))
    choose(browser, "#center", 12)
    own = int(test.y[12])
    assert browser.execute_script("return state.label") == own
    assert_shows(browser, model.reconstruct(test.x[12:13], y=test.y[12:13]))
    other = (own + 5) % 10
    browser.execute_script("document.querySelector(`[name=label][value='${arguments[0]}']`).click()", other)
    changed = model.change_condition(test.x[12:13], test.y[12:13], np.array([other]))
    assert_shows(browser, changed)
    assert_shows(browser, changed, "#draws button:nth-child(1) canvas")
    assert np.abs(changed - model.reconstruct(test.x[12:13], y=test.y[12:13])).max() > 0.2
    assert quiet(browser)


def test_shelf_closes_by_escape_and_changes_nothing(opened):
    z = z_of(opened)
    press(opened, "#from", "ENTER")
    press(opened, "#picker button", "ESCAPE")
    assert not opened.find_element("id", "picker").is_displayed()
    np.testing.assert_array_equal(z_of(opened), z)


def test_every_control_has_a_name_and_is_reached_by_tab(opened):
    script = "return [...document.querySelectorAll('main button, main input, main canvas[tabindex]')]"
    script += ".filter(e => e.checkVisibility()).map(e => [e.tabIndex, e.ariaLabel || e.textContent || e.labels?.[0]?.textContent])"
    controls = opened.execute_script(script)
    assert len(controls) > 30
    for index, name in controls:
        assert index == 0
        assert (name or "").strip()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_fit_the_screen_and_the_hour(browser, page_of, address, model, test, size, dark):
    for page in (address, page_of(report(run_of(model, test), model, test))):
        show(browser, page, size, dark)
        style = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color, parseFloat(s.fontSize)]"
        background, ink, font_size = browser.execute_script(style)
        brightness = [np.mean([int(part) for part in colour[4:-1].split(",")]) for colour in (background, ink)]
        assert (brightness[0] < 60 < 200 < brightness[1]) if dark else (brightness[1] < 60 < 200 < brightness[0])
        assert font_size >= 16


def test_picture_stays_in_sight_on_a_phone(browser, address):
    show(browser, address, PHONE)
    browser.execute_script("document.getElementById('steps').scrollIntoView()")
    box = browser.execute_script("const r = document.getElementById('picture').getBoundingClientRect(); return [r.top, r.bottom]")
    assert 0 <= box[0] < box[1] <= PHONE[1]


def test_data_that_are_no_images(browser, page_of):
    model, test = small_model(latent_dim=1, likelihood="gaussian_shared"), small_test_set()
    test = type(test)(test.values, None, None, "signals")
    show(browser, page_of(explorer(run_of(model, test), model, test)))
    assert not browser.find_element("id", "plane").is_displayed()
    before = browser.execute_script("return document.getElementById('picture').toDataURL()")
    press(browser, "#z0", "END")
    assert browser.execute_script("return document.getElementById('picture').toDataURL()") != before
    assert quiet(browser)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_figures_of_the_report_stay_in_their_cards(browser, page_of, model, test, size):
    run = run_of(model, test)
    run.config["figures"] |= {"log_likelihood": -1234567.89, "standard_error": 12345.67, "n_evaluated": 1000, "n_samples": 100}
    show(browser, page_of(report(run, model, test)), size)
    wide = "return [...document.querySelectorAll('.tiles strong')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    assert browser.execute_script(wide) == []
