"use strict";

// The search: every word that was typed has to be in a page's tag, title, chapter or formula; tags and titles come first.

const pages = JSON.parse(document.getElementById("pages").textContent);
const field = document.getElementById("search"), found = document.getElementById("found");
const plain = (text) => text.toLowerCase().normalize("NFKC");

function rank([label, title, , chapter, words], typed) {
  const places = [label, title, chapter, words].map(plain);
  let total = 0;
  for (const word of typed) {
    const place = places.findIndex((text) => text.includes(word));
    if (place < 0) return Infinity;
    total += place + (places[place].startsWith(word) ? 0 : 0.5);
  }
  return total;
}

field.addEventListener("input", () => {
  const typed = plain(field.value).split(/\s+/).filter(Boolean);
  const hits = typed.length ? pages.map((page) => [rank(page, typed), page]).filter(([score]) => score < Infinity) : [];
  hits.sort((a, b) => a[0] - b[0]);
  found.replaceChildren(...hits.slice(0, 12).map(([, [label, title, file, chapter]]) => {
    const link = Object.assign(document.createElement("a"), { href: file, textContent: `${label} ${title} ` });
    link.append(Object.assign(document.createElement("small"), { textContent: chapter }));
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
});

field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") found.querySelector("a")?.click();
  if (event.key === "Escape") found.replaceChildren();
});
