"use strict";
// The case browser: one case and seed at a time, drawn from the data that the page carries.
(() => {
  const source = document.getElementById("explorer-data");
  const panel = document.getElementById("explorer");
  if (!source || !panel) return;
  const data = JSON.parse(source.textContent);
  const [height, width] = data.size;
  const colours = bytes(data.colours);
  const TRUTH = "#35D0E0";
  const PREDICTED = "#FFB000";

  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  function bits(text) {
    const packed = bytes(text);
    return Uint8Array.from({ length: height * width }, (_, i) => (packed[i >> 3] >> (7 - (i & 7))) & 1);
  }

  // A canvas of its own size from one colour per value.
  function picture(values, rows, columns, colour) {
    const canvas = document.createElement("canvas");
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(columns, rows);
    values.forEach((value, i) => pixels.data.set([...colour(value), 255], 4 * i));
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  const grey = (value) => [value, value, value];
  const warm = (value) => colours.subarray(3 * value, 3 * value + 3);

  // Edges of a mask as line segments between pixels, on a canvas scaled by `zoom`.
  function outline(context, mask, zoom) {
    const inside = (y, x) => y >= 0 && x >= 0 && y < height && x < width && mask[y * width + x] === 1;
    context.beginPath();
    for (let y = 0; y <= height; y += 1) {
      for (let x = 0; x <= width; x += 1) {
        if (inside(y, x) !== inside(y - 1, x)) segment(x, y, x + 1, y);
        if (inside(y, x) !== inside(y, x - 1)) segment(x, y, x, y + 1);
      }
    }
    context.stroke();

    function segment(fromX, fromY, toX, toY) {
      context.moveTo(fromX * zoom, fromY * zoom);
      context.lineTo(toX * zoom, toY * zoom);
    }
  }

  // One picture with the outlines of some masks, each with its colour.
  function tile(label, content, masks, caption) {
    const zoom = 3;
    const canvas = document.createElement("canvas");
    canvas.width = width * zoom;
    canvas.height = height * zoom;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", caption ? `${label}, ${caption}` : label);
    const context = canvas.getContext("2d");
    context.drawImage(content, 0, 0, canvas.width, canvas.height);
    context.lineWidth = 3;
    for (const [mask, colour] of masks) {
      context.strokeStyle = colour;
      outline(context, mask, zoom);
    }
    const figure = document.createElement("figure");
    const text = document.createElement("figcaption");
    text.textContent = caption || "\u00a0";
    figure.append(canvas, text);
    return figure;
  }

  function words(text, name) {
    const element = document.createElement("span");
    element.className = name;
    element.textContent = text;
    return element;
  }

  function shown(number) {
    return typeof number === "number" ? `IoU ${number.toFixed(3)}` : "";
  }

  function row(arm, place, seed, image, mask) {
    const run = `${arm.name}|${seed}`;
    const cells = [words(arm.label, "arm")];
    const predictions = data.predictions[run];
    const truth = [mask, TRUTH];
    if (predictions) {
      const outlines = [truth, [bits(predictions[place]), PREDICTED]];
      cells.push(tile(`${arm.label}, prediction`, image, outlines, shown(data.iou[run]?.[place])));
    } else {
      cells.push(words("", "empty"));
    }
    for (const site of data.sites) {
      const maps = data.maps[`${run}|${site}`];
      if (!maps) {
        cells.push(words("", "empty"));
        continue;
      }
      const map = picture(bytes(maps[place]), data.grid[0], data.grid[1], warm);
      const number = data.activation[`${run}|${site}`]?.[place];
      cells.push(tile(`${arm.label}, map ${site}`, map, [truth], shown(number)));
    }
    return cells;
  }

  const form = panel.querySelector("form");
  const tiles = panel.querySelector(".tiles");
  const note = panel.querySelector(".note");

  function draw() {
    const place = Number(form.elements.case.value);
    const seed = form.elements.seed.value;
    const image = picture(bytes(data.images[place]), height, width, grey);
    const mask = bits(data.masks[place]);
    const heads = ["", "prediction", ...data.sites].map((text) => words(text, "head"));
    const first = [
      words("Image", "arm"),
      tile("Image", image, [], ""),
      tile("Image with the outline of the mask", image, [[mask, TRUTH]], ""),
      words("", "empty"),
    ];
    const rows = data.arms.flatMap((arm) => row(arm, place, seed, image, mask));
    tiles.replaceChildren(...first, ...heads, ...rows);
    note.textContent =
      `Case ${data.cases[place]}, seed ${seed}. Cyan: outline of the mask; amber: prediction. ` +
      "IoU under a prediction is that of the segmentation, under a map the activation IoU.";
  }

  function fill(select, texts, values) {
    select.replaceChildren(...texts.map((text, i) => new Option(text, values[i])));
  }

  function step(by) {
    const select = form.elements.case;
    select.selectedIndex = (select.selectedIndex + by + data.cases.length) % data.cases.length;
    draw();
  }

  fill(form.elements.case, data.cases, data.cases.map((_, i) => i));
  fill(form.elements.seed, data.seeds.map(String), data.seeds);
  form.addEventListener("change", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.previous.addEventListener("click", () => step(-1));
  form.elements.next.addEventListener("click", () => step(1));
  panel.hidden = false;
  draw();
})();
