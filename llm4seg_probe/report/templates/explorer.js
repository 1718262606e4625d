"use strict";
// The case browser: one case under two conditions, drawn from the data that the page carries.
(() => {
  const source = document.getElementById("explorer-data");
  const panel = document.getElementById("explorer");
  if (!source || !panel) return;
  const data = JSON.parse(source.textContent);
  const warm = drawing.coloured(drawing.bytes(data.colours));
  const diverging = drawing.coloured(drawing.bytes(data.diverging));
  const form = panel.querySelector("form");
  const fields = form.elements;
  const order = panel.querySelector("[name=order]");
  const tiles = panel.querySelector(".tiles");
  const thumbs = panel.querySelector(".thumbs");
  const note = panel.querySelector(".note");
  const output = panel.querySelector("output");
  const MEAN = "mean";

  const fixed = (number) => number.toFixed(3).replace("-", "\u2212");
  const signed = (number) => (number > 0 ? "+" : "") + fixed(number);
  const known = (number) => typeof number === "number";
  const average = (numbers) => {
    const there = numbers.filter(known);
    return there.length ? there.reduce((sum, one) => sum + one, 0) / there.length : null;
  };

  function fill(select, texts, values) {
    select.replaceChildren(...texts.map((text, i) => new Option(text, values[i])));
  }

  const images = () => data.sets[Number(fields.set.value)];
  const seedsOf = (set) => (fields.seed.value === MEAN ? set.seeds : [Number(fields.seed.value)]);
  const scoreOf = (set, arm, index) => average(seedsOf(set).map((seed) => set.iou[`${arm}|${seed}`]?.[index]));

  function choose(set) {
    const names = set.arms.map((arm) => arm.name);
    const labels = set.arms.map((arm) => arm.label);
    for (const side of ["A", "B"]) fill(fields[`arm${side}`], labels, names);
    [fields.armA.value, fields.armB.value] = set.pair;
    fill(fields.seed, ["mean of all", ...set.seeds.map(String)], [MEAN, ...set.seeds]);
    fill(fields.site, set.sites.map((site) => site.label), set.sites.map((site) => site.name));
    const last = set.sites.findIndex((site) => site.name === "after");
    fields.site.selectedIndex = last < 0 ? 0 : last;
    list(set);
  }

  // Cases in the wanted order, in the drop-down under the reasons why they are there, and as thumbnails.
  function list(set) {
    const kept = fields.case.value;
    const [a, b] = [fields.armA.value, fields.armB.value];
    const less = (index) => (scoreOf(set, a, index) ?? NaN) - (scoreOf(set, b, index) ?? NaN);
    const keys = { difference: less, score: (index) => scoreOf(set, a, index) ?? NaN };
    const order_of = set.cases.map((_, index) => index);
    const key = keys[order.value];
    if (key) order_of.sort((one, other) => (Number.isNaN(key(one)) - Number.isNaN(key(other))) || key(one) - key(other));
    if (order.value === "name") order_of.sort((one, other) => set.cases[one].name.localeCompare(set.cases[other].name));
    const groups = new Map();
    for (const index of order_of) {
      const why = order.value === "why" ? set.cases[index].why : "Cases";
      if (!groups.has(why)) groups.set(why, []);
      groups.get(why).push(new Option(set.cases[index].name, index));
    }
    fields.case.replaceChildren(
      ...Array.from(groups, ([why, options]) => {
        const group = document.createElement("optgroup");
        group.label = why;
        group.append(...options);
        return group;
      }),
    );
    if (kept !== "" && set.cases[Number(kept)]) fields.case.value = kept;
    thumbs.replaceChildren(...order_of.map((index) => thumb(set, index, a, b)));
  }

  function thumb(set, index, a, b) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.index = index;
    const name = document.createElement("span");
    name.textContent = set.cases[index].name;
    const numbers = document.createElement("span");
    const both = [a, b].map((arm) => scoreOf(set, arm, index));
    numbers.textContent = both.map((score) => (known(score) ? fixed(score) : "\u2013")).join(" · ");
    const canvas = drawing.picture(drawing.bytes(set.images[index]), set.thumbnail, drawing.grey);
    canvas.setAttribute("aria-hidden", "true");
    button.append(canvas, name, numbers);
    button.title = set.cases[index].name;
    button.addEventListener("click", () => {
      fields.case.value = String(index);
      draw();
    });
    return button;
  }

  // What one side shows: its seeds' predictions and maps, averaged; each null if not run.
  function side(set, index, name, truth) {
    const arm = fields[`arm${name}`].value;
    const seeds = seedsOf(set);
    const label = fields[`arm${name}`].selectedOptions[0].text;
    const predictions = seeds.map((seed) => set.predictions[`${arm}|${seed}`]?.[index]).filter(Boolean);
    const at = seeds.map((seed) => `${arm}|${seed}|${fields.site.value}`).filter((one) => set.maps[one]);
    const maps = at.map((one) => drawing.resized(drawing.map(set.maps[one][index]), set.grid, set.size));
    const level = Number(fields.level.value);
    return {
      label,
      share: predictions.length ? drawing.mean(predictions.map((one) => drawing.mask(one, truth.length))) : null,
      map: maps.length ? drawing.mean(maps) : null,
      scored: scoreOf(set, arm, index),
      otsu: average(at.map((one) => set.activation[one]?.[index])),
      iou: average(maps.map((one) => drawing.overlap(truth, drawing.above(one, level)))),
    };
  }

  function absent(label) {
    const element = document.createElement("p");
    element.className = "absent";
    element.textContent = `${label}: not run`;
    return element;
  }

  function predictions(set, image, truth, sides) {
    const opacity = Number(fields.opacity.value);
    const cells = sides.map((one, i) => {
      if (!one.share) return absent(one.label);
      const colour = i ? drawing.SECOND : drawing.FIRST;
      const mode = fields.overlay.value;
      const layers = mode === "errors" ? [image, drawing.picture(one.share, set.size, drawing.errors(truth, opacity))] : [image];
      const lines = mode === "outline" ? [[truth, drawing.TRUTH], [drawing.above(one.share, 0.5), colour]] : [];
      return drawing.tile(one.label, known(one.scored) ? `IoU ${fixed(one.scored)}` : "", set.size, layers, lines);
    });
    const [first, second] = sides.map((one) => one.share);
    if (!first || !second) return [...cells, absent("Difference")];
    const only = drawing.picture(first, set.size, drawing.parting(second));
    const differ = first.reduce((sum, value, i) => sum + Math.abs(value - second[i]), 0);
    const said = `${Math.round(differ)} of ${first.length} pixels`;
    return [...cells, drawing.tile("Only one of them", said, set.size, [image, only], [[truth, drawing.TRUTH]])];
  }

  function maps(set, truth, sides) {
    const level = Number(fields.level.value);
    const cells = sides.map((one, i) =>
      one.map
        ? drawing.tile(
            one.label,
            one.iou === null ? "no mask" : `map IoU ${fixed(one.iou)} at ${level.toFixed(3)}`,
            set.size,
            [drawing.picture(one.map, set.size, warm)],
            [[truth, drawing.TRUTH], [drawing.above(one.map, level), i ? drawing.SECOND : drawing.FIRST]],
          )
        : absent(one.label),
    );
    const [first, second] = sides;
    if (!first.map || !second.map) return [...cells, absent("Difference")];
    const less = first.map.map((value, i) => (value - second.map[i] + 1) / 2);
    const said = first.iou === null || second.iou === null ? "" : `map IoU ${signed(first.iou - second.iou)}`;
    const canvas = drawing.picture(less, set.size, diverging);
    return [...cells, drawing.tile("First minus second", said, set.size, [canvas], [[truth, drawing.TRUTH]])];
  }

  function draw() {
    const set = images();
    const index = Number(fields.case.value);
    const image = drawing.picture(drawing.bytes(set.images[index]), set.thumbnail, drawing.grey);
    const truth = drawing.mask(set.masks[index], set.size[0] * set.size[1]);
    const sides = ["A", "B"].map((name) => side(set, index, name, truth));
    output.textContent = Number(fields.level.value).toFixed(3);
    tiles.replaceChildren(...predictions(set, image, truth, sides), ...maps(set, truth, sides));
    for (const button of thumbs.children) button.setAttribute("aria-pressed", String(button.dataset.index === String(index)));
    note.textContent = sentence(set, index, sides);
    remember(set, index);
  }

  function sentence(set, index, sides) {
    const seeds = fields.seed.value === MEAN ? "mean of all seeds" : `seed ${fields.seed.value}`;
    const each = sides.map((one) => {
      const parts = [known(one.scored) ? `IoU ${fixed(one.scored)}` : "", known(one.otsu) ? `map ${fixed(one.otsu)} at Otsu's level` : ""];
      return `${one.label} ${parts.filter(Boolean).join(", ") || "not run"}`;
    });
    const one = set.cases[index];
    const plane = data.planes ? " Of each volume one plane is shown, and the map's IoU is that of the plane." : "";
    return `${one.name} (${one.why.toLowerCase()}), ${set.name}, ${seeds}: ${each.join("; ")}.${plane}`;
  }

  // The state of the explorer is in the address, so that a view can be sent to somebody.
  const KEPT = { a: "armA", b: "armB", seed: "seed", site: "site", level: "level", overlay: "overlay" };
  function remember(set, index) {
    if (!ready) return;
    const state = new URLSearchParams({ set: fields.set.value, case: set.cases[index].name });
    for (const [name, field] of Object.entries(KEPT)) state.set(name, fields[field].value);
    history.replaceState(null, "", `#look&${state}`);
  }

  function restore() {
    const [anchor, ...parts] = location.hash.slice(1).split("&");
    if (anchor !== "look" || !parts.length) return false;
    const state = new URLSearchParams(parts.join("&"));
    const number = Number(state.get("set") ?? 0);
    if (!data.sets[number]) return false;
    fields.set.value = String(number);
    choose(data.sets[number]);
    for (const [name, field] of Object.entries(KEPT)) {
      const wanted = state.get(name);
      const control = fields[field];
      const offered = !control.options || Array.from(control.options).some((option) => option.value === wanted);
      if (wanted !== null && offered) control.value = wanted;
    }
    list(data.sets[number]);
    const index = data.sets[number].cases.findIndex((one) => one.name === state.get("case"));
    if (index >= 0) fields.case.value = String(index);
    return true;
  }

  function step(by) {
    const options = Array.from(fields.case.options);
    const next = (fields.case.selectedIndex + by + options.length) % options.length;
    fields.case.selectedIndex = next;
    draw();
    thumbs.children[next]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function key(event) {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = panel.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight) return;
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      step(event.key === "ArrowRight" ? 1 : -1);
    }
    if (/^\d$/.test(event.key) && fields.seed.options[Number(event.key)]) {
      fields.seed.selectedIndex = Number(event.key);
      list(images());
      draw();
    }
  }

  let ready = false;
  fill(fields.set, data.sets.map((set) => set.name), data.sets.map((_, i) => i));
  form.querySelector("[data-part=set]").hidden = data.sets.length < 2;
  choose(data.sets[0]);
  restore();
  form.addEventListener("change", (event) => {
    if (event.target === fields.set) choose(images());
    else if ([fields.armA, fields.armB, fields.seed].includes(event.target)) list(images());
    draw();
  });
  fields.level.addEventListener("input", draw);
  fields.opacity.addEventListener("input", draw);
  order.addEventListener("change", () => {
    list(images());
    draw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  fields.previous.addEventListener("click", () => step(-1));
  fields.next.addEventListener("click", () => step(1));
  document.addEventListener("keydown", key);
  panel.querySelector(".copy").addEventListener("click", async (event) => {
    ready = true;
    draw();
    await navigator.clipboard.writeText(location.href);
    event.target.textContent = "Copied";
  });
  addEventListener("hashchange", () => restore() && draw());
  panel.hidden = false;
  draw();
  ready = true;
})();
