"use strict";

// Python's manners: signs between arrays, what is true, slices, and the built-in functions that the ops use.

class Slice {
  constructor(start, stop, step) { Object.assign(this, { start, stop, step: step ?? 1 }); }
  /** The places that the slice names in a sequence of this length. */
  places(length) {
    const forward = this.step > 0;
    const bound = (value, missing) => (value == null ? missing : value < 0 ? value + length : value);
    const start = forward ? Math.max(0, bound(this.start, 0)) : Math.min(length - 1, bound(this.start, length - 1));
    const stop = forward ? Math.min(length, bound(this.stop, length)) : Math.max(-1, bound(this.stop, -1));
    const found = [];
    for (let i = start; forward ? i < stop : i > stop; i += this.step) found.push(i);
    return found;
  }
}

const ELLIPSIS = Symbol("...");

/** For each axis of x, the places that an index names there, or null for a new axis; a single number takes its axis away. */
function named(x, index) {
  const parts = [index].flat(), used = parts.filter((part) => part !== null && part !== ELLIPSIS).length;
  const gap = parts.indexOf(ELLIPSIS);
  const whole = Array.from({ length: x.ndim - used }, () => new Slice(null, null, null));
  const full = gap < 0 ? [...parts, ...whole] : [...parts.slice(0, gap), ...whole, ...parts.slice(gap + 1)];
  let axis = 0;
  return full.map((part) => {
    if (part === null) return { places: null, keep: true };
    const length = x.shape[axis++];
    if (part instanceof Slice) return { places: part.places(length), keep: true };
    return { places: [place(part, length)], keep: false };
  });
}

/** Call f with every index into the result and the place in x's data that it names. */
function visit(x, index, f) {
  const parts = named(x, index);
  const shape = parts.filter((part) => part.keep).map((part) => part.places?.length ?? 1);
  for (let i = 0; i < sizeOf(shape); i++) {
    const wanted = indices(i, shape);
    let k = 0;
    const own = [];
    for (const { places, keep } of parts) {
      const j = keep ? wanted[k++] : 0;
      if (places) own.push(places[j]);
    }
    f(wanted, flat(own, x.shape), i);
  }
  return shape;
}

const same = (a, b) => (Array.isArray(a) && Array.isArray(b) ? a.length === b.length && a.every((x, i) => same(x, b[i])) : a === b);
const compared = (f) => elementwise((x, y) => (f(x, y) ? 1 : 0));

const py = {
  ELLIPSIS, math: { log: Math.log, log1p: Math.log1p, pi: Math.PI, prod: (values) => values.reduce((a, b) => a * b, 1) },
  add: elementwise((x, y) => (Array.isArray(x) ? [...x, ...y] : x + y)),
  sub: elementwise((x, y) => x - y),
  mul: elementwise((x, y) => (Array.isArray(x) ? Array(Math.max(0, y)).fill(x).flat() : x * y)),
  div: elementwise((x, y) => x / y),
  pow: elementwise(Math.pow),
  mod: elementwise((x, y) => ((x % y) + y) % y),
  floordiv: elementwise((x, y) => Math.floor(x / y)),
  neg: elementwise((x) => -x),
  matmul: (a, b) => xp.matmul(a, b),
  gt: compared((x, y) => x > y), ge: compared((x, y) => x >= y), lt: compared((x, y) => x < y), le: compared((x, y) => x <= y),
  eq: elementwise((x, y) => same(x, y)), ne: elementwise((x, y) => !same(x, y)),
  truth: (x) => (Array.isArray(x) ? x.length > 0 : x instanceof NDArray ? Boolean(x.data[0]) : Boolean(x)),
  and: (x, other) => (py.truth(x) ? other() : x),
  or: (x, other) => (py.truth(x) ? x : other()),
  len: (x) => (x instanceof Set ? x.size : x.length),
  range: (...bounds) => new Slice(...(bounds.length > 1 ? bounds : [0, bounds[0]])).places(Infinity),
  list: (x) => (x instanceof NDArray ? Array.from({ length: x.length }, (_, i) => py.get(x, i)) : [...x]),
  tuple: (x) => py.list(x),
  set: (x) => new Set(py.list(x).map((entry) => JSON.stringify(entry))),
  zip: (...lists) => py.list(lists[0]).map((_, i) => lists.map((list) => list[i])),
  enumerate: (x) => py.list(x).map((value, i) => [i, value]),
  max: (...values) => Math.max(...values.flat()),
  min: (...values) => Math.min(...values.flat()),
  slice: (...bounds) => (bounds.length > 1 ? new Slice(...bounds) : new Slice(null, bounds[0])),
  getattr: (x, name, missing) => x[name] ?? missing,
  hasattr: (x, name) => x instanceof NDArray && name in x,
  get: (x, index) => {
    if (!(x instanceof NDArray)) return index instanceof Slice ? index.places(x.length).map((i) => x[i]) : x[place(index, x.length)];
    const found = [];
    const shape = visit(x, index, (_, from) => found.push(x.data[from]));
    return new NDArray(shape, Float64Array.from(found));
  },
  put: (x, index, value) => {
    if (!(x instanceof NDArray)) x[place(index, x.length)] = value;
    else visit(x, index, (wanted, to) => { x.data[to] = at(array(value), wanted); });
  },
};
