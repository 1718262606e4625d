"use strict";
// The case browser: one case under two conditions, drawn from the data that the page carries.
(() => {
  const source = document.getElementById("explorer-data");
  const panel = document.getElementById("explorer");
  if (!source || !panel) return;
  const data = JSON.parse(source.textContent);
  const warm = drawing.coloured(drawing.bytes(data.colours));
  const parting = drawing.coloured(drawing.bytes(data.diverging));
  const form = panel.querySelector("form");
  const fields = form.elements;
  const tiles = panel.querySelector(".tiles");
  const note = panel.querySelector(".note");
  const output = panel.querySelector("output");

  const fixed = (number) => number.toFixed(4).replace("-", "\u2212");
  const signed = (number) => (number < 0 ? "" : "+") + fixed(number);
  const known = (number) => typeof number === "number";

  function fill(select, texts, values) {
    select.replaceChildren(...texts.map((text, i) => new Option(text, values[i])));
  }

  // The cases under headings that say why each is there.
  function fillCases(cases) {
    const groups = new Map();
    cases.forEach((one, i) => {
      if (!groups.has(one.why)) groups.set(one.why, []);
      groups.get(one.why).push(new Option(one.name, i));
    });
    fields.case.replaceChildren(
      ...Array.from(groups, ([why, options]) => {
        const group = document.createElement("optgroup");
        group.label = why;
        group.append(...options);
        return group;
      }),
    );
  }

  function choose(set) {
    fillCases(set.cases);
    const names = set.arms.map((arm) => arm.name);
    const labels = set.arms.map((arm) => arm.label);
    for (const side of ["A", "B"]) {
      fill(fields[`arm${side}`], labels, names);
      fill(fields[`seed${side}`], set.seeds.map(String), set.seeds);
    }
    fields.armA.value = names.includes("llm") ? "llm" : names[names.length - 1];
    fields.armB.value = names.includes("cnn") ? "cnn" : names[0];
    fill(fields.site, set.sites.map((site) => site.label), set.sites.map((site) => site.name));
    const last = set.sites.findIndex((site) => site.name === "after");
    fields.site.selectedIndex = last < 0 ? 0 : last;
  }

  // What one side shows: prediction and map of the chosen condition and seed, each null if not run.
  function side(set, place, name, truth) {
    const run = `${fields[`arm${name}`].value}|${fields[`seed${name}`].value}`;
    const label = `${fields[`arm${name}`].selectedOptions[0].text}, seed ${fields[`seed${name}`].value}`;
    const at = `${run}|${fields.site.value}`;
    const predicted = set.predictions[run] && drawing.mask(set.predictions[run][place], truth.length);
    const map = set.maps[at] && drawing.resized(drawing.map(set.maps[at][place]), set.grid, set.size);
    const bright = map && drawing.above(map, Number(fields.level.value));
    return {
      label,
      predicted,
      map,
      bright,
      scored: set.iou[run]?.[place],
      otsu: set.activation[at]?.[place],
      iou: bright ? drawing.overlap(truth, bright) : null,
    };
  }

  function heading(text) {
    const element = document.createElement("h3");
    element.textContent = text;
    return element;
  }

  function absent(label) {
    const element = document.createElement("p");
    element.className = "absent";
    element.textContent = `${label}: not run`;
    return element;
  }

  function predictions(set, image, truth, sides) {
    const cells = sides.map((one, i) =>
      one.predicted
        ? drawing.tile(one.label, known(one.scored) ? `IoU ${fixed(one.scored)}` : "", set.size, [image], [
            [truth, drawing.TRUTH],
            [one.predicted, i ? drawing.SECOND : drawing.FIRST],
          ])
        : absent(one.label),
    );
    const [first, second] = sides.map((one) => one.predicted);
    if (!first || !second) return [...cells, absent("Difference")];
    const only = drawing.picture(first, set.size, (value, i) => {
      if (value === second[i]) return [0, 0, 0, 0];
      return value ? [255, 176, 0, 235] : [154, 123, 255, 235];
    });
    const differ = first.reduce((sum, value, i) => sum + (value !== second[i]), 0);
    const said = `${differ} of ${first.length} pixels`;
    return [...cells, drawing.tile("Only one of them", said, set.size, [image, only], [[truth, drawing.TRUTH]])];
  }

  function maps(set, truth, sides) {
    const level = Number(fields.level.value).toFixed(3);
    const cells = sides.map((one, i) =>
      one.map
        ? drawing.tile(
            one.label,
            one.iou === null ? "no mask" : `IoU ${fixed(one.iou)} at ${level}`,
            set.size,
            [drawing.picture(one.map, set.size, warm)],
            [[truth, drawing.TRUTH], [one.bright, i ? drawing.SECOND : drawing.FIRST]],
          )
        : absent(one.label),
    );
    const [first, second] = sides;
    if (!first.map || !second.map) return [...cells, absent("Difference")];
    const less = first.map.map((value, i) => (value - second.map[i] + 1) / 2);
    const said = first.iou === null || second.iou === null ? "" : `IoU ${signed(first.iou - second.iou)}`;
    const canvas = drawing.picture(less, set.size, parting);
    return [...cells, drawing.tile("First minus second", said, set.size, [canvas], [[truth, drawing.TRUTH]])];
  }

  function draw() {
    const set = data.sets[Number(fields.set.value)];
    const place = Number(fields.case.value);
    const image = drawing.picture(drawing.bytes(set.images[place]), set.thumbnail, drawing.grey);
    const truth = drawing.mask(set.masks[place], set.size[0] * set.size[1]);
    const sides = ["A", "B"].map((name) => side(set, place, name, truth));
    output.textContent = Number(fields.level.value).toFixed(3);
    tiles.replaceChildren(
      heading("Image"),
      drawing.tile("Image", "", set.size, [image], []),
      drawing.tile("Mask", "", set.size, [image], [[truth, drawing.TRUTH]]),
      heading("Predictions"),
      ...predictions(set, image, truth, sides),
      heading(`Maps: ${fields.site.selectedOptions[0].text.toLowerCase()}`),
      ...maps(set, truth, sides),
    );
    note.textContent = sentence(set, place, sides);
  }

  function sentence(set, place, sides) {
    const level = Number(fields.level.value).toFixed(3);
    const each = sides.map((one) => {
      const parts = [
        known(one.scored) ? `prediction IoU ${fixed(one.scored)}` : "",
        known(one.iou) ? `map IoU ${fixed(one.iou)} at ${level}` : "",
        known(one.otsu) ? `${fixed(one.otsu)} at Otsu's level` : "",
      ];
      return `${one.label}: ${parts.filter(Boolean).join(", ") || "not run"}`;
    });
    const one = set.cases[place];
    const plane = data.planes ? " Of each volume one plane is shown, and the map's IoU is that of the plane." : "";
    return (
      `Case ${one.name} (${one.why.toLowerCase()}), ${set.name}. ${each.join("; ")}. ` +
      "Cyan: outline of the mask; amber: the first condition; violet: the second. In the difference " +
      `of the maps orange is where the first is brighter, purple where the second is.${plane}`
    );
  }

  function step(by) {
    const count = fields.case.options.length;
    fields.case.selectedIndex = (fields.case.selectedIndex + by + count) % count;
    draw();
  }

  fill(fields.set, data.sets.map((set) => set.name), data.sets.map((_, i) => i));
  form.querySelector("[data-part=set]").hidden = data.sets.length < 2;
  choose(data.sets[0]);
  form.addEventListener("change", (event) => {
    if (event.target === fields.set) choose(data.sets[Number(fields.set.value)]);
    draw();
  });
  fields.level.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  fields.previous.addEventListener("click", () => step(-1));
  fields.next.addEventListener("click", () => step(1));
  panel.hidden = false;
  draw();
})();
