"use strict";

// The worked examples: inputs to change, and beneath each the gradient by backward and by a finite difference.

const option = (value) => {
  if (Array.isArray(value)) return value.map(option);
  if (Array.isArray(value?.slice)) return new Slice(...value.slice);
  return value?.ellipsis ? ELLIPSIS : value;
};
const revive = ({ shape, data }) => new NDArray(shape, Float64Array.from(data));
const options = (record) => Object.fromEntries(Object.entries(record.options).map(([name, value]) => [name, option(value)]));

/** Return result and gradients of an op, as Python's forward and backward have them. */
function evaluate(name, inputs, given, cotangent) {
  const [result, saved] = OPS[name].forward(inputs, given);
  return { result, gradients: OPS[name].backward(saved, cotangent, inputs.map(() => true)).map(array) };
}

/** The slope of Σ result · cotangent in one entry of one input, from values alone: a central difference of fourth order. */
function slope(name, inputs, given, cotangent, which, entry) {
  const loss = (step) => {
    const moved = inputs.map((input, i) => (i === which ? new NDArray(input.shape, input.data.slice()) : input));
    moved[which].data[entry] += step;
    return OPS[name].forward(moved, given)[0].data.reduce((sum, value, i) => sum + value * cotangent.data[i], 0);
  };
  const h = 2 ** -9;
  return (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h);
}

/** Return the largest difference between two lists of arrays, relative to the largest number. */
function distance(ours, theirs) {
  let worst = 0, largest = 1e-300;
  ours.forEach((a, i) => a.data.forEach((value, j) => {
    worst = Math.max(worst, Math.abs(value - theirs[i].data[j]));
    largest = Math.max(largest, Math.abs(theirs[i].data[j]));
  }));
  return worst / largest;
}

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const digits = (value) => String(+value.toPrecision(6)).replace("-", "−");

/** A table of an array's entries: fields where `editable`, and room beneath each for what belongs to it. */
function grid(title, values, editable) {
  const width = values.shape.at(-1) ?? 1, rows = [];
  const cells = Array.from(values.data, (value, i) => {
    const index = indices(i, values.shape).join(", ");
    const shown = editable
      ? make("input", { type: "number", step: "any", value, className: "entry", ariaLabel: `${title} ${index}` })
      : make("output", { textContent: digits(value) });
    const cell = { shown, below: make("small") };
    if (i % width === 0) rows.push(make("tr"));
    rows.at(-1).append(make("td", {}, shown, cell.below));
    return cell;
  });
  const table = make("table", { className: "grid" }, make("caption", { textContent: title }), ...rows);
  return { cells, element: make("div", { className: "scroll" }, table) };
}

function work(place, record) {
  const given = options(record), names = Object.keys(record.inputs);
  const inputs = names.map((name) => revive(record.inputs[name])), cotangent = revive(record.cotangent);
  const grids = names.map((name, i) => grid(name, inputs[i], true));
  const out = grid("result", revive(record.result), false);
  const weights = grid("g = ∂L/∂result", cotangent, true);
  const verdict = make("p", { className: "note" });

  const python = [revive(record.result), ...names.map((name) => revive(record.gradients[name]))];
  const first = evaluate(record.name, inputs, given, cotangent);
  const difference = distance([first.result, ...first.gradients], python);
  const agrees = difference < 1e-6;
  verdict.textContent = agrees ? `Agrees with Python's numbers to ${difference.toExponential(0)}.` : "DIFFERS from Python's numbers.";

  function show() {
    const { result, gradients } = evaluate(record.name, inputs, given, cotangent);
    out.cells.forEach((cell, i) => { cell.shown.textContent = digits(result.data[i]); });
    grids.forEach(({ cells }, which) => cells.forEach((cell, entry) => {
      const numeric = slope(record.name, inputs, given, cotangent, which, entry);
      cell.below.textContent = `∂ ${digits(gradients[which].data[entry])}`;
      cell.below.title = `by a finite difference ${digits(numeric)}`;
      const close = Math.abs(numeric - gradients[which].data[entry]) < 1e-5 * (1 + Math.abs(numeric));
      cell.below.className = close ? "pass" : "wrong";
    }));
  }
  [...grids, weights].forEach(({ cells }, which) => cells.forEach((cell, entry) => cell.shown.addEventListener("input", () => {
    if (cell.shown.value === "" || !Number.isFinite(+cell.shown.value)) return;
    (inputs[which] ?? cotangent).data[entry] = +cell.shown.value;
    show();
  })));
  const key = make("p", { className: "note", textContent: "∂: the gradient by backward; green where a finite difference agrees." });
  place.append(make("div", { className: "grids" }, ...grids.map((g) => g.element), out.element, weights.element), key, verdict);
  show();
}

const examples = JSON.parse(document.getElementById("examples")?.textContent ?? "[]");
for (const record of examples) {
  const place = document.querySelector(`.worked[data-op="${record.name}"]`);
  if (place) work(place, record);
}
