"use strict";

// A walk through one training step: what is not yet computed is pale, what is computed now is lit.

const rows = [...document.querySelectorAll(".stepped tbody tr")], walk = document.getElementById("walk");
const button = (text, step) => {
  const element = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  element.addEventListener("click", () => show(step()));
  return element;
};
const where = Object.assign(document.createElement("span"), { ariaLive: "polite" });
let at = rows.length; // all of it, until somebody begins to walk

function show(next) {
  at = Math.max(0, Math.min(rows.length, next));
  rows.forEach((row, i) => {
    row.classList.toggle("pale", i > at);
    row.classList.toggle("now", i === at);
  });
  where.textContent = at < rows.length ? `row ${at + 1} of ${rows.length}` : "all of it";
  rows[at]?.scrollIntoView({ block: "nearest" });
}
walk.append(button("from the start", () => 0), button("← back", () => at - 1), button("next →", () => (at < rows.length ? at + 1 : 0)), where);
show(rows.length);
