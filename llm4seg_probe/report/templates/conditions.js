"use strict";
// The table of conditions: facets, and two conditions side by side, case by case.
(() => {
  const source = document.getElementById("conditions-data");
  const table = document.getElementById("condition-rows");
  if (!source || !table) return;
  const data = JSON.parse(source.textContent);
  const form = document.querySelector("form.facets");
  const rows = Array.from(table.tBodies[0].rows);
  const fields = new Map(rows.map((row) => [row, JSON.parse(row.dataset.fields)]));
  const find = form.elements.find;
  const selects = Array.from(form.querySelectorAll("select"));
  const count = form.querySelector(".count");
  const panel = document.querySelector(".compared");
  const hint = document.querySelector(".compare .hint");
  const NS = "http://www.w3.org/2000/svg";
  let picked = [];

  const fixed = (value, decimals, signed = false) => {
    if (value === null || value === undefined) return "\u2013";
    const text = (signed && value > 0 ? "+" : "") + value.toFixed(decimals);
    return text.replace("-", "\u2212");
  };

  function filter() {
    const words = find.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const label = row.cells[0].textContent.toLowerCase();
      const fits = selects.every((select) => select.value === "*" || (fields.get(row)[select.dataset.field] || "") === select.value);
      row.hidden = !fits || !words.every((word) => label.includes(word));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} conditions`;
  }

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function drawn(name, attributes, text) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function measures(first, second) {
    const made = document.createElement("table");
    const head = made.createTHead().insertRow();
    for (const text of ["", first.label, second.label, "Difference"]) head.append(element("th", text, { scope: "col" }));
    const body = made.createTBody();
    for (const { key, label, decimals } of data.measures) {
      const [a, b] = [first.values[key] ?? null, second.values[key] ?? null];
      const row = body.insertRow();
      row.append(
        element("th", label, { scope: "row" }),
        element("td", fixed(a, decimals)),
        element("td", fixed(b, decimals)),
        element("td", a === null || b === null ? "\u2013" : fixed(a - b, decimals, true)),
      );
    }
    return made;
  }

  // A point per case: the second condition's score across, the first's upwards.
  function scatter(first, second) {
    const known = data.cases[first.dataset];
    const [up, across] = [known?.scores[first.name], known?.scores[second.name]];
    if (first.dataset !== second.dataset || !up || !across) return element("p", "The two share no cases whose scores lie here.", { class: "absent" });
    const points = known.names
      .map((name, i) => ({ name, x: across[i], y: up[i] }))
      .filter(({ x, y }) => x !== null && y !== null);
    const values = points.flatMap(({ x, y }) => [x, y]);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const room = 0.04 * (high - low) || 0.01;
    [low, high] = [low - room, high + room];
    const [size, edge] = [320, 44];
    const at = (value) => edge + ((value - low) / (high - low)) * (size - edge - 8);
    const svg = drawn("svg", { viewBox: `0 0 ${size} ${size}`, role: "img" });
    const better = points.filter(({ x, y }) => y > x).length;
    const said = `${first.label} has the higher score in ${better} of ${points.length} cases.`;
    svg.setAttribute("aria-label", said);
    const flip = (value) => size - at(value);
    svg.append(
      drawn("line", { x1: at(low), x2: at(high), y1: flip(low), y2: flip(low) }),
      drawn("line", { x1: at(low), x2: at(low), y1: flip(low), y2: flip(high) }),
      drawn("line", { class: "same", x1: at(low), x2: at(high), y1: flip(low), y2: flip(high) }),
      drawn("text", { x: size - 8, y: size - 8, "text-anchor": "end" }, `${data.score}, ${second.label}`),
      drawn("text", { x: edge + 6, y: 14 }, `${data.score}, ${first.label}`),
    );
    const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((one) => (high - low) / one <= 5) || (high - low) / 4;
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
      const text = fixed(tick, step < 0.1 ? 2 : step < 1 ? 1 : 0);
      svg.append(
        drawn("text", { x: at(tick), y: size - 26, "text-anchor": "middle" }, text),
        drawn("text", { x: edge - 6, y: flip(tick) + 4, "text-anchor": "end" }, text),
      );
    }
    for (const { name, x, y } of points) {
      const dot = drawn("circle", { cx: at(x), cy: flip(y), r: 4 });
      dot.append(drawn("title", {}, `${name}: ${fixed(y, 3)} against ${fixed(x, 3)}`));
      svg.append(dot);
    }
    const figure = document.createElement("figure");
    figure.className = "pairing";
    figure.append(svg, element("figcaption", `A point is a test case, mean over seeds; on the dashed line both are equal. ${said}`));
    return figure;
  }

  function show() {
    for (const row of rows) {
      const box = row.querySelector(".pick input");
      box.checked = picked.includes(row.dataset.key);
    }
    const [first, second] = picked.map((key) => data.conditions.find((one) => one.key === key));
    panel.hidden = !first || !second;
    hint.hidden = !panel.hidden;
    hint.textContent = first ? `${first.label} is chosen. Choose a second condition.` : "Choose two conditions in the table above.";
    if (!panel.hidden) panel.replaceChildren(measures(first, second), scatter(first, second));
  }

  function remember() {
    const state = picked.map((key) => `&pick=${encodeURIComponent(key)}`).join("");
    history.replaceState(null, "", state ? `#compare${state}` : "#conditions");
  }

  function restore() {
    const [anchor, ...parts] = location.hash.slice(1).split("&");
    const state = new URLSearchParams(parts.join("&"));
    if (state.has("find")) find.value = state.get("find");
    const known = new Set(data.conditions.map((one) => one.key));
    if (anchor === "compare") picked = state.getAll("pick").filter((key) => known.has(key)).slice(0, 2);
    filter();
    show();
  }

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  for (const row of rows) {
    const box = row.querySelector(".pick input");
    box.disabled = false;
    box.addEventListener("change", () => {
      picked = box.checked ? [...picked, row.dataset.key].slice(-2) : picked.filter((key) => key !== row.dataset.key);
      show();
      remember();
    });
  }
  addEventListener("hashchange", restore);
  restore();
})();
