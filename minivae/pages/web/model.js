"use strict";

// What the page carries: the model, its test examples, and how an example is drawn.

const model = JSON.parse(document.getElementById("model").textContent);
const byId = (id) => document.getElementById(id);
const latentDim = model.dimensions.length;
const [height, width] = model.image_shape ?? [0, 0];
const [low, high] = model.limits;
const { reach, map_reach: mapReach } = model;

const decoder = makeDecoder(model.decoder, model.n_features);
const noise = floats(model.noise);
const means = floats(model.examples.mean);
const stds = floats(model.examples.std);
const greys = bytes(model.examples.grey);
const row = (array, i, length) => array.subarray(i * length, (i + 1) * length);
const nExamples = model.examples.row.length;

/** Return E[x|z] under the chosen label. */
function decode(z) {
  if (!model.conditional) return decoder(z);
  const oneHot = model.classes.map((_, i) => Number(i === state.label));
  return decoder([...z, ...oneHot]);
}

const level = (value) => Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low || 1))));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/** Draw grey levels, 0 to 255, one canvas pixel each; data that are no images become a line. */
function draw(canvas, levels) {
  const context = canvas.getContext("2d");
  if (!model.image_shape) return drawLine(canvas, context, levels);
  canvas.width = width;
  canvas.height = height;
  const image = context.createImageData(width, height);
  levels.forEach((grey, i) => image.data.set([grey, grey, grey, 255], 4 * i));
  context.putImageData(image, 0, 0);
}

function drawLine(canvas, context, levels) {
  canvas.width = 240;
  canvas.height = 160;
  canvas.style.imageRendering = "auto";
  context.strokeStyle = colour("--accent");
  context.lineWidth = 3;
  context.beginPath();
  levels.forEach((grey, i) => context.lineTo(8 + (224 * i) / Math.max(1, levels.length - 1), 152 - (144 * grey) / 255));
  context.stroke();
}

const drawDecoded = (canvas, z) => draw(canvas, Array.from(decode(z), level));
const drawExample = (canvas, i) => draw(canvas, row(greys, i, model.n_features));

function nameOf(i, separator = ", ") {
  const label = model.examples.label?.[i] ?? -1;
  return `test ${model.examples.row[i]}` + (label < 0 ? "" : `${separator}class ${model.classes[label]}`);
}
