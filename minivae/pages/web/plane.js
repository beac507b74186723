"use strict";

// The plane of the two strongest dimensions: test examples, and a point to drag.

const map = byId("map");
const [across, up] = model.dimensions.map(({ index }) => index);
let mapScale = 1; // canvas pixels per unit of z

function drawMap() {
  if (latentDim < 2 || !map.clientWidth) return;
  const side = Math.round(map.clientWidth * devicePixelRatio);
  const unit = devicePixelRatio;
  map.width = map.height = side;
  mapScale = (side / 2 - 14 * unit) / mapReach;
  const x = (value) => side / 2 + mapScale * value;
  const y = (value) => side / 2 - mapScale * value;
  const context = map.getContext("2d");
  const circle = (cx, cy, radius) => {
    context.beginPath();
    context.arc(cx, cy, radius, 0, 2 * Math.PI);
  };

  context.lineWidth = unit;
  context.strokeStyle = colour("--line");
  for (let radius = 1; radius <= 3; radius++) {
    circle(side / 2, side / 2, mapScale * radius);
    context.stroke();
  }
  context.globalAlpha = 0.7;
  const colours = model.classes.map((_, i) => classColour(i)), unlabelled = colour("--soft");
  for (let i = 0; i < nExamples; i++) {
    context.fillStyle = colours[model.examples.label?.[i]] ?? unlabelled;
    circle(x(means[i * latentDim + across]), y(means[i * latentDim + up]), 2.6 * unit);
    context.fill();
  }
  context.globalAlpha = 1;

  context.fillStyle = colour("--soft");
  context.font = `${13 * unit}px system-ui, sans-serif`;
  context.textAlign = "right";
  context.fillText(model.dimensions[0].name, side - 4 * unit, side / 2 - 6 * unit);
  context.textAlign = "left";
  context.fillText(model.dimensions[1].name, side / 2 + 6 * unit, 14 * unit);

  circle(x(state.z[across]), y(state.z[up]), 8 * unit);
  context.fillStyle = colour("--accent");
  context.fill();
  context.lineWidth = 3 * unit;
  context.strokeStyle = colour("--card");
  context.stroke();
  const [first, second] = model.dimensions;
  map.setAttribute("aria-label", `${first.name} = ${decimal(state.z[across])}, ${second.name} = ${decimal(state.z[up])}`);
}

/** Return the colour of a class: one of the page's ten, or one of a wheel where there are more. */
function classColour(i) {
  return model.classes.length <= 10 ? colour(`--c${i}`) : `hsl(${(360 * i) / model.classes.length} 55% 55%)`;
}

function movePoint(first, second) {
  const z = state.z.slice();
  const inside = (value) => Math.min(mapReach, Math.max(-mapReach, value));
  z[across] = inside(first);
  z[up] = inside(second);
  moveTo(z);
}

function dragPoint(event) {
  if (event.type === "pointermove" && !map.hasPointerCapture(event.pointerId)) return;
  if (event.type === "pointerdown") map.setPointerCapture(event.pointerId);
  const box = map.getBoundingClientRect();
  const unit = mapScale / devicePixelRatio;
  movePoint((event.clientX - box.left - box.width / 2) / unit, (box.top + box.height / 2 - event.clientY) / unit);
}

function steerPoint(event) {
  const step = event.shiftKey ? 0.5 : 0.1;
  const moves = { ArrowRight: [step, 0], ArrowLeft: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault(); // the arrows would scroll the page
  movePoint(state.z[across] + move[0], state.z[up] + move[1]);
}

function addLegend() {
  if (model.classes.length > 10) return;
  model.classes.forEach((text, i) => {
    const entry = document.createElement("span");
    entry.innerHTML = `<i class="key c${i}"></i>`;
    entry.append(text);
    byId("legend").append(entry);
  });
}
