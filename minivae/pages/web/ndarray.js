"use strict";

// What the ops run on: arrays of float64 as NumPy has them, row by row, and the few manners of Python that differ from JavaScript's.

class NDArray {
  constructor(shape, data) {
    this.shape = shape;
    this.data = data ?? new Float64Array(sizeOf(shape));
    this.dtype = "float64";
  }
  get ndim() { return this.shape.length; }
  get length() { return this.shape[0]; }
  get size() { return this.data.length; }
  astype() { return this; }
  sum(options) { return reduce(this, options, (a, b) => a + b, 0); }
  max(options) { return reduce(this, options, Math.max, -Infinity); }
  mean(options) {
    const total = this.sum(options);
    return py.div(total, this.data.length / total.data.length);
  }
  squeeze(axis) { return new NDArray(this.shape.filter((_, i) => i !== place(axis, this.ndim)), this.data); }
  reshape(...shape) {
    const wanted = shape.flat(), known = wanted.reduce((a, b) => (b < 0 ? a : a * b), 1);
    return new NDArray(wanted.map((n) => (n < 0 ? this.data.length / known : n)), this.data.slice());
  }
}

const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);
const place = (axis, ndim) => (axis < 0 ? axis + ndim : axis);
const array = (x) => (x instanceof NDArray ? x : new NDArray([], Float64Array.of(+x)));

/** The indices of the entry number i of an array of this shape. */
function indices(i, shape) {
  const result = new Array(shape.length);
  for (let k = shape.length - 1; k >= 0; k--) {
    result[k] = i % shape[k];
    i = Math.floor(i / shape[k]);
  }
  return result;
}
const flat = (index, shape) => index.reduce((at, i, k) => at * shape[k] + i, 0);

/** A new array whose entry at `index` is f(index). */
function fill(shape, f) {
  const out = new NDArray(shape);
  for (let i = 0; i < out.data.length; i++) out.data[i] = f(indices(i, shape));
  return out;
}

function broadcastShapes(...shapes) {
  const ndim = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: ndim }, (_, k) => {
    const lengths = shapes.map((shape) => shape[k - ndim + shape.length] ?? 1);
    const stretched = lengths.find((n) => n !== 1) ?? 1;
    if (lengths.some((n) => n !== 1 && n !== stretched)) throw new RangeError("shapes that do not broadcast");
    return stretched;
  });
}

/** The entry of a broadcast array at an index of the larger shape. */
function at(a, index) {
  const own = index.slice(index.length - a.ndim).map((i, k) => (a.shape[k] === 1 ? 0 : i));
  return a.data[flat(own, a.shape)];
}

function combine(f, ...inputs) {
  const arrays = inputs.map(array);
  const shape = broadcastShapes(...arrays.map((a) => a.shape));
  return fill(shape, (index) => f(...arrays.map((a) => at(a, index))));
}

function reduce(a, { axis = null, keepdims = false } = {}, f, start) {
  const axes = axis === null ? a.shape.map((_, k) => k) : [axis].flat().map((k) => place(k, a.ndim));
  const kept = new NDArray(a.shape.map((n, k) => (axes.includes(k) ? 1 : n)));
  kept.data.fill(start);
  a.data.forEach((value, i) => {
    const to = flat(indices(i, a.shape).map((j, k) => (axes.includes(k) ? 0 : j)), kept.shape);
    kept.data[to] = f(kept.data[to], value);
  });
  return keepdims ? kept : new NDArray(a.shape.filter((_, k) => !axes.includes(k)), kept.data);
}

const elementwise = (f) => (...inputs) => (inputs.some((x) => x instanceof NDArray) ? combine(f, ...inputs) : f(...inputs));

/** Round half to even, as NumPy does. */
function rint(x) {
  const near = Math.round(x);
  return Math.abs(x % 1) === 0.5 && near % 2 ? near - 1 : near;
}

const xp = {
  exp: elementwise(Math.exp), log: elementwise(Math.log), log1p: elementwise(Math.log1p), expm1: elementwise(Math.expm1),
  tanh: elementwise(Math.tanh), sqrt: elementwise(Math.sqrt), abs: elementwise(Math.abs), sign: elementwise(Math.sign),
  square: elementwise((x) => x * x), round: elementwise(rint), isfinite: elementwise((x) => +Number.isFinite(x)),
  isinf: elementwise((x) => +(Math.abs(x) === Infinity)), float64: "float64", float32: "float32",
  normalize_axis_tuple: (axes, ndim) => [axes].flat().map((axis) => place(axis, ndim)),
  maximum: elementwise((x, y) => Math.max(x, y)), minimum: elementwise((x, y) => Math.min(x, y)),
  where: elementwise((test, yes, no) => (test ? yes : no)),
  zeros: (shape) => new NDArray([shape].flat()),
  empty: (shape) => new NDArray([shape].flat()),
  zeros_like: (x) => new NDArray(x.shape),
  full: (shape, value) => fill(shape, () => value),
  broadcast_to: (x, shape) => fill(shape, (index) => at(array(x), index)),
  broadcast_shapes: broadcastShapes,
  expand_dims: (x, axis) => {
    const axes = [axis].flat().map((k) => place(k, x.ndim + [axis].flat().length)), shape = [...x.shape];
    axes.sort((a, b) => a - b).forEach((k) => shape.splice(k, 0, 1));
    return new NDArray(shape, x.data);
  },
  transpose: (x) => fill([...x.shape].reverse(), (index) => x.data[flat([...index].reverse(), x.shape)]),
  matmul: (a, b) => fill([a.shape[0], b.shape[1]], ([i, j]) => {
    let sum = 0;
    for (let k = 0; k < a.shape[1]; k++) sum += a.data[i * a.shape[1] + k] * b.data[k * b.shape[1] + j];
    return sum;
  }),
  concatenate: (parts, { axis }) => {
    const k = place(axis, parts[0].ndim), shape = [...parts[0].shape];
    shape[k] = parts.reduce((sum, part) => sum + part.shape[k], 0);
    return fill(shape, (index) => {
      const own = [...index];
      const part = parts.find((candidate) => own[k] < candidate.shape[k] || ((own[k] -= candidate.shape[k]), false));
      return part.data[flat(own, part.shape)];
    });
  },
  repeat: (x, times, { axis }) => {
    const k = place(axis, x.ndim);
    const shape = x.shape.map((n, i) => (i === k ? n * times : n));
    return fill(shape, (index) => x.data[flat(index.map((i, j) => (j === k ? Math.floor(i / times) : i)), x.shape)]);
  },
};
