"use strict";

// One latent vector z, and many ways to move it.  Whatever moves it calls moveTo, and moveTo shows it everywhere.

const state = {
  z: new Float64Array(latentDim),
  source: "", // the small picture that z was taken from, if it was
  label: 0,
  center: 0, // of the draws, a test example
  draw: -1, // the seed of the chosen one, or -1 for the mean
  from: 0, // test examples
  to: Math.min(1, nExamples - 1),
};

const decimal = (value) => value.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−");

function moveTo(z, source = "") {
  state.z.set(z);
  state.source = source;
  drawDecoded(byId("picture"), state.z);
  drawMap();
  for (const { index } of model.dimensions) {
    const slider = byId(`z${index}`);
    slider.value = state.z[index];
    slider.nextElementSibling.value = decimal(state.z[index]);
  }
  for (const button of document.querySelectorAll(".strip button")) button.ariaPressed = button.source === source;
}

function addSliders() {
  const strongest = model.dimensions[0].strength || 1;
  byId("measure").textContent = `By falling strength; the bar is the ${model.measure}.`;
  for (const { index, name, strength } of model.dimensions) {
    const label = document.createElement("label");
    label.className = "slider";
    label.innerHTML = `<span>${name}</span><input type="range" id="z${index}" step="0.01"><output></output><i><b></b></i>`;
    label.querySelector("i").title = `${strength.toFixed(2)} (${model.measure})`;
    label.querySelector("b").style.width = `${(100 * strength) / strongest}%`;
    const slider = label.querySelector("input");
    Object.assign(slider, { min: -reach, max: reach, ariaLabel: `${name}, ${model.measure}: ${strength.toFixed(2)}` });
    slider.addEventListener("input", (event) => {
      const z = state.z.slice();
      z[index] = event.target.valueAsNumber;
      moveTo(z);
    });
    byId("sliders").append(label);
  }
}

function addLabels() {
  if (!model.conditional) return;
  byId("labels").hidden = false;
  model.classes.forEach((text, i) => {
    const label = document.createElement("label");
    label.innerHTML = `<input type="radio" name="label" value="${i}"><span></span>`;
    label.querySelector("span").textContent = text;
    label.querySelector("input").addEventListener("change", () => chooseLabel(i));
    byId("labels").append(label);
  });
}

function chooseLabel(i) {
  state.label = Math.max(0, i);
  if (model.conditional) byId("labels").querySelector(`[value="${state.label}"]`).checked = true;
  showDraws();
  showSteps();
  moveTo(state.z, state.source);
}

/** Return a draw from p(z): from N(0, I), or one of those that the page carries from a prior that is learned. */
function fromPrior() {
  if (!model.prior) return state.z.map(normal);
  const draws = floats(model.prior);
  return Array.from(row(draws, Math.floor((Math.random() * draws.length) / latentDim), latentDim));
}

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

byId("run").textContent = `${model.run} · latent explorer`;
byId("title").textContent = model.title;
byId("plane").hidden = latentDim < 2;
addSliders();
addLabels();
addLegend();
addStrips();

byId("prior").addEventListener("click", () => moveTo(fromPrior()));
byId("origin").addEventListener("click", () => moveTo(state.z.map(() => 0)));
byId("tau").addEventListener("input", () => chooseDraw(Math.max(0, state.draw)));
byId("t").addEventListener("input", () => chooseStep(byId("t").valueAsNumber));
byId("path").addEventListener("change", () => chooseStep(byId("t").valueAsNumber));
byId("center").addEventListener("click", () => openPicker(chooseCenter));
byId("from").addEventListener("click", () => openPicker((i) => chooseEnd("from", i)));
byId("to").addEventListener("click", () => openPicker((i) => chooseEnd("to", i)));
for (const type of ["pointerdown", "pointermove"]) map.addEventListener(type, dragPoint);
map.addEventListener("keydown", steerPoint);
new ResizeObserver(drawMap).observe(map);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chooseLabel(state.label)); // draws everything anew

const labels = model.examples.label;
if (labels) state.to = Math.max(0, labels.findIndex((label) => label !== labels[0]));
showSteps();
chooseCenter(0);

const difference = largestDifference(decoder, model.proof, model.n_features);
const agrees = difference <= 1e-5 * Math.max(1, Math.abs(low), Math.abs(high));
byId("proof").textContent =
  `The decoder in this page ${agrees ? "agrees with" : "DIFFERS from"} Python's: ${difference.toExponential(1)} apart at most, ` +
  "on points drawn from N(0, I). Nothing here needs a network.";
