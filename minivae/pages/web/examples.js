"use strict";

// Around one test example, between two, and the shelf to take them from.

const STOPS = 10; // pictures on the way between two examples

/** Return z = μ + τ σ ε of the chosen example (G.2); draw −1 is the mean. */
function drawnAround(seed) {
  const tau = seed < 0 ? 0 : byId("tau").valueAsNumber;
  const mean = row(means, state.center, latentDim), std = row(stds, state.center, latentDim);
  return Float64Array.from(mean, (value, j) => value + (tau && tau * std[j] * noise[seed * latentDim + j]));
}

/** Return the point at t of the way from one example's mean to another's (G.3). */
function between(t) {
  const a = row(means, state.from, latentDim), b = row(means, state.to, latentDim);
  let [weightA, weightB] = [1 - t, t];
  const dot = (u, v) => u.reduce((sum, value, j) => sum + value * v[j], 0);
  if (byId("path").querySelector(":checked").value === "spherical") {
    const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
    const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
    const sine = Math.sin(angle);
    if (sine > 1e-4) [weightA, weightB] = [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
  }
  return Float64Array.from(a, (value, j) => weightA * value + weightB * b[j]);
}

/** Make a row of small pictures to press, each the ``source`` of a z. */
function addStrip(strip, cells) {
  for (const { source, caption, press } of cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.source = source;
    button.innerHTML = '<canvas class="pixels"></canvas><span></span>';
    button.querySelector("span").textContent = caption;
    button.addEventListener("click", press);
    strip.append(button);
  }
}

function addStrips() {
  const seeds = [-1, ...Array(noise.length / latentDim).keys()];
  const stops = Array.from({ length: STOPS }, (_, i) => i / (STOPS - 1));
  addStrip(
    byId("draws"),
    seeds.map((seed) => ({ source: `draw ${seed}`, caption: seed < 0 ? "mean" : `seed ${seed}`, press: () => chooseDraw(seed) })),
  );
  addStrip(
    byId("steps"),
    stops.map((t, i) => ({ source: `step ${i}`, caption: decimal(t), press: () => chooseStep(t) })),
  );
}

function showDraws() {
  const tau = byId("tau");
  tau.nextElementSibling.value = decimal(tau.valueAsNumber);
  fillWell(byId("center"), state.center);
  [...byId("draws").children].forEach((button, i) => drawDecoded(button.firstChild, drawnAround(i - 1)));
}

function chooseDraw(seed) {
  state.draw = seed;
  showDraws();
  moveTo(drawnAround(seed), `draw ${seed}`);
}

function showSteps() {
  const t = byId("t");
  t.nextElementSibling.value = decimal(t.valueAsNumber);
  fillWell(byId("from"), state.from);
  fillWell(byId("to"), state.to);
  [...byId("steps").children].forEach((button, i) => drawDecoded(button.firstChild, between(i / (STOPS - 1))));
}

function chooseStep(t) {
  byId("t").value = t;
  showSteps();
  moveTo(between(byId("t").valueAsNumber), `step ${Math.round(t * (STOPS - 1))}`);
}

function fillWell(button, i) {
  drawExample(button.querySelector("canvas"), i);
  button.querySelector("span").textContent = nameOf(i, "\n");
  button.setAttribute("aria-label", `${nameOf(i)}; choose another`);
}

const picker = byId("picker");
let onPick;

function openPicker(pick) {
  onPick = pick;
  const shelf = picker.querySelector(".shelf");
  if (!shelf.childElementCount) {
    const order = [...Array(nExamples).keys()];
    if (model.examples.label) order.sort((i, j) => model.examples.label[i] - model.examples.label[j]);
    for (const i of order) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(document.createElement("canvas"));
      button.firstChild.className = "pixels";
      button.setAttribute("aria-label", nameOf(i));
      button.title = nameOf(i);
      drawExample(button.firstChild, i);
      button.addEventListener("click", () => {
        picker.close();
        onPick(i);
      });
      shelf.append(button);
    }
  }
  picker.showModal();
}

function chooseCenter(i) {
  state.center = i;
  if (model.examples.label) chooseLabel(model.examples.label[i]);
  chooseDraw(-1);
}

function chooseEnd(name, i) {
  state[name] = i;
  chooseStep(name === "from" ? 0 : 1);
}
