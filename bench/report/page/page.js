"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // The row under the pointer, or under the keyboard.
  const tip = document.getElementById("tip");
  const show = (mark) => {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const at = mark.querySelector(".target, .diamond").getBoundingClientRect();
    const left = Math.min(at.right + 12, innerWidth - tip.offsetWidth - 8);
    const top = Math.min(at.top - 8, innerHeight - tip.offsetHeight - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  };
  const hide = () => { tip.hidden = true; };
  for (const mark of all(".mark")) {
    mark.querySelector("title").remove(); // the tip takes its place
    for (const name of ["pointerenter", "focus"]) mark.addEventListener(name, () => show(mark));
    for (const name of ["pointerleave", "blur"]) mark.addEventListener(name, hide);
  }
  for (const title of all(".chart > title")) title.remove(); // else the browser shows it as well

  // One model alone: its line, its name or its button.
  const views = document.querySelector(".views");
  const isolate = (model) => {
    const on = views.dataset.only !== model;
    views.dataset.only = on ? model : "";
    for (const button of all(".isolate")) {
      button.setAttribute("aria-pressed", String(on && button.dataset.model === model));
    }
    views.classList.toggle("only", on);
    for (const line of all(".model", views)) {
      line.classList.toggle("on", on && line.dataset.model === model);
    }
  };
  for (const button of all(".isolate")) {
    button.addEventListener("click", () => isolate(button.dataset.model));
  }
  for (const line of all(".model")) {
    line.addEventListener("click", () => isolate(line.dataset.model));
  }

  // The leaderboard: filters, order, unfolding.
  const body = document.querySelector("#board tbody");
  const rows = all("tr.row", body);
  const more = (row) => document.getElementById(row.id.replace("r", "d"));
  const chosen = (id) => document.getElementById(id);
  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      const fits = ["budget", "method", "sampler"].every((name) => {
        const wanted = chosen(`by-${name}`).value;
        return !wanted || row.dataset[name] === wanted;
      }) && (!chosen("only-front").checked || row.dataset.front === "yes")
        && (!chosen("only-established").checked || row.dataset.established === "yes");
      row.hidden = !fits;
      more(row).hidden = !fits;
      shown += fits;
    }
    const text = `${shown} of ${rows.length} rows`;
    chosen("count").textContent = shown ? text : `${text}: loosen the filters to see more`;
  };
  const unfold = (row, open) => {
    row.querySelector(".unfold").setAttribute("aria-expanded", String(open));
    more(row).classList.toggle("open", open);
  };
  for (const row of rows) {
    row.querySelector(".unfold").addEventListener("click", () => {
      unfold(row, !more(row).classList.contains("open"));
    });
  }
  const value = (row, column) => {
    const key = row.cells[column].dataset.v;
    return key === "" || Number.isNaN(Number(key)) ? key : Number(key);
  };
  const compare = (a, b, sign) => {
    if (a === b) return 0;
    if (a === "") return 1; // blanks come last in either order
    if (b === "") return -1;
    return (a < b ? -1 : 1) * sign;
  };
  for (const button of all("#board th button")) {
    button.addEventListener("click", () => {
      const heading = button.parentElement;
      const falling = heading.getAttribute("aria-sort") === "ascending";
      for (const other of all("#board th")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const column = Number(button.dataset.column);
      const order = [...rows].sort(
        (a, b) => compare(value(a, column), value(b, column), falling ? -1 : 1));
      for (const row of order) body.append(row, more(row));
    });
  }
  const filters = document.getElementById("filters");
  filters.addEventListener("change", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  const front = chosen("only-front");
  front.checked = rows.some((row) => row.dataset.front === "yes");
  filter();

  // A link to a row shows it, whatever the filters say.
  const reveal = () => {
    const row = rows.find((one) => `#${one.id}` === location.hash);
    if (!row) return;
    if (row.hidden) {
      filters.reset();
      filter();
    }
    unfold(row, true);
    row.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
