"use strict";

// The decoder as minivae has it: dense layers with an activation between them, and then the mean of p(x|z).

const ACTIVATIONS = {
  identity: (a) => a,
  relu: (a) => Math.max(a, 0),
  leaky_relu: (a) => Math.max(a, 0.01 * a),
  elu: (a) => (a > 0 ? a : Math.expm1(a)),
  tanh: Math.tanh,
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
  softplus: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
};

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

/** y = x W + b, with the weight stored row by row. */
function dense(x, weight, bias) {
  const y = Float64Array.from(bias);
  x.forEach((value, i) => {
    if (value === 0) return; // a rectifier leaves many
    const row = i * y.length;
    for (let j = 0; j < y.length; j++) y[j] += value * weight[row + j];
  });
  return y;
}

/** Return the function (z, and one-hot label) → E[x|z] of a decoder's record. */
function makeDecoder(record, nFeatures) {
  const activation = ACTIVATIONS[record.activation];
  const layers = record.layers.map(({ weight, bias }) => ({ weight: floats(weight), bias: floats(bias) }));
  return (input) => {
    let x = input;
    layers.forEach(({ weight, bias }, i) => {
      x = dense(x, weight, bias);
      if (i < layers.length - 1) x = x.map(activation);
    });
    if (record.likelihood === "bernoulli") return x.map(ACTIVATIONS.sigmoid); // logits
    return x.subarray(0, nFeatures); // means; a log-variance for each may follow
  };
}

/** Return how far this decoder is from Python's, at worst, on the points that Python has decoded. */
function largestDifference(decode, proof, nFeatures) {
  const inputs = floats(proof.inputs), means = floats(proof.means);
  const n = means.length / nFeatures, width = inputs.length / n;
  let worst = 0;
  for (let i = 0; i < n; i++) {
    decode(inputs.subarray(i * width, (i + 1) * width)).forEach((value, j) => {
      worst = Math.max(worst, Math.abs(value - means[i * nFeatures + j]));
    });
  }
  return worst;
}
