"use strict";

// Figures that move: a few sliders, a picture, and a line of numbers beneath.  Values and slopes come from the ops' own code.

const SVG = "http://www.w3.org/2000/svg";
const svg = (name, attributes = {}, text = "") => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
};
const scalar = (value) => new NDArray([1], Float64Array.of(value));
const number = (value) => (Math.abs(value) < 1e-12 ? "0" : String(+value.toPrecision(4)).replace("-", "−"));
const WIDTH = 560, HEIGHT = 300, MARGIN = 40;

/** A plane with axes: functions from values to places, and the element to draw into. */
function plane([left, right], [bottom, top], across, up) {
  const x = (value) => MARGIN + (WIDTH - MARGIN - 12) * (value - left) / (right - left);
  const y = (value) => HEIGHT - MARGIN + (HEIGHT - MARGIN - 14) * (bottom - value) / (top - bottom);
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${up} over ${across}` });
  for (let i = 0; i <= 4; i++) {
    const u = left + (right - left) * i / 4, v = bottom + (top - bottom) * i / 4;
    element.append(svg("line", { x1: x(left), x2: x(right), y1: y(v), y2: y(v), class: "grid-line" }));
    element.append(svg("text", { x: x(u), y: HEIGHT - MARGIN + 18, "text-anchor": "middle" }, number(u)));
    element.append(svg("text", { x: MARGIN - 6, y: y(v) + 4, "text-anchor": "end" }, number(v)));
  }
  element.append(svg("text", { x: x(right), y: HEIGHT - 4, "text-anchor": "end", class: "axis" }, across));
  element.append(svg("text", { x: x(left) + 6, y: 12, class: "axis" }, up));
  const draw = {
    element, x, y,
    curve: (points, kind) => {
      const places = points.filter(([, v]) => v >= bottom && v <= top).map(([u, v]) => `${x(u)},${y(v)}`);
      element.append(svg("polyline", { points: places.join(" "), class: `curve ${kind}` }));
    },
    dot: (u, v, kind = "") => element.append(svg("circle", { cx: x(u), cy: y(v), r: 6, class: `dot ${kind}` })),
    line: (u, v, u2, v2, kind) => element.append(svg("line", { x1: x(u), y1: y(v), x2: x(u2), y2: y(v2), class: kind })),
  };
  return draw;
}
const range = (from, to, n) => Array.from({ length: n }, (_, i) => from + (to - from) * i / (n - 1));
const data = (name) => JSON.parse(document.getElementById(name).textContent);

function reparameterised({ μ, s, ε }) {
  const { result, gradients } = evaluate("reparameterize", [scalar(μ), scalar(s), scalar(ε)], {}, scalar(1));
  const σ = gradients[2].data[0], z = result.data[0], p = plane([-6, 6], [0, 1], "z", "q(z|x)");
  p.curve(range(-6, 6, 241).map((u) => [u, Math.exp(-0.5 * ((u - μ) / σ) ** 2) / (σ * Math.sqrt(2 * Math.PI))]), "main");
  p.line(μ, 0, μ, 1, "mark");
  p.line(μ, 0.06, z, 0.06, "arrow");
  p.dot(z, 0.06);
  const [a, b, c] = gradients.map((g) => number(g.data[0]));
  return [p.element, `σ = ${number(σ)}, z = μ + σ ε = ${number(z)}.  Of a gradient of 1 at z arrive: ${a} at μ, ${b} at log σ², ${c} at ε.`];
}

function divergence({ μ, s }) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 112, height: 112, className: "surface", role: "img" });
  canvas.ariaLabel = "KL over the mean, left to right, and the log-variance, bottom to top";
  const paint = canvas.getContext("2d"), image = paint.createImageData(112, 112);
  const at = (i) => -4 + 8 * (i + 0.5) / 112;
  const means = new NDArray([112, 1], Float64Array.from(range(0, 111, 112), at));
  const logs = new NDArray([112, 1, 1], Float64Array.from(range(111, 0, 112), at));
  const grid = OPS.kl_standard_normal.forward([means, logs], {})[0].data;
  grid.forEach((kl, i) => {
    const shade = 255 * Math.min(1, Math.log1p(kl) / Math.log1p(30)), band = Math.floor(2 * Math.log1p(kl)) % 2 ? 14 : 0;
    image.data.set([30 + 0.75 * shade, 70 + 0.65 * shade - band, 110 + 0.5 * shade, 255], 4 * i);
  });
  paint.putImageData(image, 0, 0);
  const { result, gradients } = evaluate("kl_standard_normal", [scalar(μ), scalar(s)], {}, new NDArray([], Float64Array.of(1)));
  const [dμ, ds] = gradients.map((g) => g.data[0]), size = 0.9 * Math.hypot(dμ, ds) || 1;
  const over = svg("svg", { viewBox: "-4 -4 8 8", class: "over" });
  over.append(svg("line", { x1: μ, y1: -s, x2: μ - dμ / size, y2: -s + ds / size, class: "pull" }), svg("circle", { cx: μ, cy: -s, r: 0.14, class: "dot" }));
  over.append(svg("text", { x: 3.9, y: 3.8, "text-anchor": "end" }, "μ from −4 to 4 →"), svg("text", { x: -3.9, y: -3.6 }, "↑ log σ² from −4 to 4"));
  const box = document.createElement("div");
  box.className = "stack";
  box.append(canvas, over);
  return [box, `KL = ${number(result.data[0])} nats; ∂KL/∂μ = ${number(dμ)}, ∂KL/∂log σ² = ${number(ds)}.  σ = ${number(Math.exp(s / 2))}.`];
}

function clipped({ x, l, c }) {
  const exact = (logit) => evaluate("bernoulli_nll", [scalar(x), scalar(logit)], {}, new NDArray([], Float64Array.of(1)));
  const floor = 10 ** c;
  const wrong = (logit) => {
    const p = Math.min(1 - floor, Math.max(floor, 1 / (1 + Math.exp(-logit))));
    return -x * Math.log(p) - (1 - x) * Math.log(1 - p);
  };
  const p = plane([-30, 30], [0, 30], "logit ℓ", "−log p(x|z), nats"), places = range(-30, 30, 121);
  p.curve(places.map((u) => [u, wrong(u)]), "wrong");
  p.curve(places.map((u) => [u, exact(u).result.data[0]]), "main");
  const here = exact(l), slope = (wrong(l + 1e-4) - wrong(l - 1e-4)) / 2e-4;
  p.dot(l, Math.min(30, here.result.data[0]));
  return [p.element, `At ℓ = ${number(l)}: ${number(here.result.data[0])} nats, slope ${number(here.gradients[1].data[0])}.  ` +
    `With probabilities clipped at ${floor.toExponential(0)} (red): ${number(wrong(l))} nats, slope ${number(slope)}` +
    (Math.abs(slope) < 1e-9 && Math.abs(here.gradients[1].data[0]) > 1e-3 ? ": the worst mistakes teach nothing." : ".")];
}

function hidden({ e, d, v }) {
  const loss = (s) => OPS.gaussian_nll.forward([scalar(Math.sqrt(e)), scalar(0), new NDArray([], Float64Array.of(Math.log(s)))], {})[0].data[0];
  const p = plane([-4, 4], [-2, 6], "log₁₀ σ² that is assumed", "nats per pixel"), s = 10 ** v;
  p.curve(range(-4, 4, 161).map((u) => [u, loss(10 ** u)]), "main");
  p.line(Math.log10(e), -2, Math.log10(e), 6, "mark");
  p.line(Math.log10(d / 2), -2, Math.log10(d / 2), 6, "mark wrong");
  p.dot(v, Math.min(6, loss(s)));
  return [p.element, `σ² = ${number(s)} costs ${number(loss(s))} nats per pixel; the least is at σ² = ${number(e)}, the squared error itself.  ` +
    `The mean of the squares over ${d} pixels + KL is σ² = d/2 = ${number(d / 2)} (red): an effective β of ${number(d / 2 / e)} beside the best variance.`];
}

function weighted({ i }) {
  const runs = data("betas"), it = runs[i], p = plane([-1, 1], [0, 30], "log₁₀ β", "nats per example");
  for (const [key, kind] of [["reconstruction", "main"], ["kl", "other"]]) {
    p.curve(runs.map((run) => [Math.log10(run.beta), run[key]]), kind);
    p.dot(Math.log10(it.beta), it[key], kind);
  }
  const strip = make("div", { className: "digits" }, ...[data("originals"), it.reconstructions].map((row) => make("div", {}, ...row.map(digit))));
  const terms = `reconstruction ${number(it.reconstruction)}, KL ${number(it.kl)} (orange), ELBO ${number(it.elbo)} nats`;
  const text = `β = ${it.beta}: ${terms}, ${it.active} active units.  Above the digits, below what comes back.`;
  return [make("div", {}, p.element, strip), text];
}

function digit(pixels) {
  const side = Math.sqrt(pixels.length), canvas = make("canvas", { width: side, height: side, className: "pixels" });
  const image = new ImageData(side, side);
  pixels.forEach((value, i) => image.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function tightened({ i }) {
  const found = data("bounds"), values = found.map(([, value]) => value), [k, value, error] = found[i];
  const low = Math.min(...values), high = Math.max(...values), pad = 0.2 * (high - low) || 1;
  const p = plane([0, 3], [low - pad, high + pad], "log₁₀ k", "bound on log p(x), nats");
  p.curve(found.map(([n, v]) => [Math.log10(n), v]), "main");
  p.dot(Math.log10(k), value);
  return [p.element, `k = ${k}: ${value.toFixed(3)} ± ${error.toFixed(3)} nats; the largest k is ${(values.at(-1) - value).toFixed(3)} above it.`];
}

// Name → what draws it, and its sliders: key, label, least, most, step, first value.
const GAUSSIAN = [["μ", "μ", -4, 4, 0.05, 1], ["s", "log σ²", -4, 3, 0.05, -1], ["ε", "ε", -3, 3, 0.05, 1.2]];
const SURFACE = [["μ", "μ", -4, 4, 0.05, 2], ["s", "log σ²", -4, 4, 0.05, 1.5]];
const MOVING = {
  "R.1": [reparameterised, GAUSSIAN], "R.2": [reparameterised, GAUSSIAN], "K.1": [divergence, SURFACE], "K.2": [divergence, SURFACE],
  "L.1": [clipped, [["x", "pixel x", 0, 1, 0.05, 1], ["l", "logit ℓ", -30, 30, 0.5, -22], ["c", "log₁₀ clip", -15, -1, 0.5, -3]]],
  "L.5": [hidden, [["e", "squared error", 0.005, 0.3, 0.005, 0.05], ["d", "pixels d", 16, 1024, 16, 784], ["v", "log₁₀ σ²", -4, 4, 0.05, 0]]],
  "M.5": [weighted, [["i", "β", 0, 5, 1, 2]]],
  "M.6": [tightened, [["i", "k", 0, 7, 1, 0]]],
};

for (const place of document.querySelectorAll(".moving")) {
  const [draw, sliders] = MOVING[place.dataset.figure], values = {};
  const stage = make("div"), said = make("p", { className: "said", ariaLive: "polite" }), controls = make("div", { className: "sliders" });
  const show = () => {
    const [picture, text] = draw(values);
    stage.replaceChildren(picture);
    said.textContent = text;
  };
  for (const [key, label, min, max, step, value] of sliders) {
    values[key] = value;
    const input = make("input", { type: "range", min, max, step, value, ariaLabel: label });
    input.addEventListener("input", () => { values[key] = +input.value; show(); });
    controls.append(make("label", {}, make("span", { textContent: label }), input));
  }
  place.append(controls, stage, said);
  show();
}
