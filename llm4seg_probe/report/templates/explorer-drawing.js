"use strict";
// What the case browser computes and draws, without any state: unpacking, resizing, IoU, pictures.
const drawing = (() => {
  const TRUTH = "#35D0E0";
  const FIRST = "#FFB000";
  const SECOND = "#9A7BFF";
  const HIT = [29, 190, 210];
  const MISS = [255, 170, 0];
  const ALARM = [214, 60, 205];
  const LEVELS = 65535;

  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  // A mask from lengths of runs of equal pixels, those of background first.
  function mask(text, count) {
    const found = new Uint8Array(count);
    let [at, value, length, shift] = [0, 0, 0, 0];
    for (const byte of bytes(text)) {
      length += (byte & 127) << shift;
      shift += 7;
      if (byte & 128) continue;
      if (value) found.fill(1, at, at + length);
      at += length;
      value = 1 - value;
      length = shift = 0;
    }
    return found;
  }

  function map(text) {
    const packed = bytes(text);
    return Float64Array.from(
      { length: packed.length / 2 },
      (_, i) => (packed[2 * i] + 256 * packed[2 * i + 1]) / LEVELS,
    );
  }

  // Where each of `wanted` places lies among `given` ones, centres on centres: [[below, above, share]].
  function places(given, wanted) {
    return Array.from({ length: wanted }, (_, i) => {
      const at = Math.max(0, ((i + 0.5) * given) / wanted - 0.5);
      const below = Math.min(Math.floor(at), given - 1);
      return [below, Math.min(below + 1, given - 1), at - below];
    });
  }

  // Bilinear, rounded to 12 decimals as measures.activation.resized does.
  function resized(values, [rows, columns], [height, width]) {
    if (rows === height && columns === width) return values;
    const across = places(columns, width);
    const found = new Float64Array(height * width);
    places(rows, height).forEach(([top, bottom, down], y) => {
      across.forEach(([left, right, over], x) => {
        const upper = (1 - over) * values[top * columns + left] + over * values[top * columns + right];
        const lower = (1 - over) * values[bottom * columns + left] + over * values[bottom * columns + right];
        found[y * width + x] = Math.round(((1 - down) * upper + down * lower) * 1e12) / 1e12;
      });
    });
    return found;
  }

  // Mean of some arrays of one length, value by value.
  function mean(arrays) {
    if (arrays.length === 1) return arrays[0];
    const found = new Float64Array(arrays[0].length);
    for (const values of arrays) values.forEach((value, i) => { found[i] += value / arrays.length; });
    return found;
  }

  const above = (values, level) => Uint8Array.from(values, (value) => (value > level ? 1 : 0));

  // Intersection over union of two masks; null where the first is empty.
  function overlap(truth, other) {
    let [both, either, any] = [0, 0, 0];
    truth.forEach((inside, i) => {
      both += inside & other[i];
      either += inside | other[i];
      any |= inside;
    });
    return any ? both / either : null;
  }

  // A canvas of its own size from one colour per value.
  function picture(values, [rows, columns], colour) {
    const canvas = document.createElement("canvas");
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(columns, rows);
    values.forEach((value, i) => pixels.data.set(colour(value, i), 4 * i));
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  const grey = (value) => [value, value, value, 255];
  const coloured = (table) => (value) => {
    const at = 3 * Math.round(255 * Math.min(1, Math.max(0, value)));
    return [table[at], table[at + 1], table[at + 2], 255];
  };

  // Colours of a prediction against the mask; of several seeds, as many of each as agree.
  const errors = (truth, opacity) => (share, i) => {
    if (!truth[i]) return [...ALARM, 255 * opacity * share];
    return [...HIT.map((part, k) => share * part + (1 - share) * MISS[k]), 255 * opacity];
  };

  // Where one of two predictions says more: amber the first, violet the second.
  const parting = (other) => (share, i) => {
    const more = share - other[i];
    return [...(more > 0 ? [255, 176, 0] : [154, 123, 255]), 235 * Math.abs(more)];
  };

  // Edges of a mask as line segments between pixels, on a canvas scaled by `zoom`.
  function outline(context, inside, [height, width], zoom) {
    const at = (y, x) => y >= 0 && x >= 0 && y < height && x < width && inside[y * width + x] === 1;
    context.beginPath();
    for (let y = 0; y <= height; y += 1) {
      for (let x = 0; x <= width; x += 1) {
        if (at(y, x) !== at(y - 1, x)) segment(x, y, x + 1, y);
        if (at(y, x) !== at(y, x - 1)) segment(x, y, x, y + 1);
      }
    }
    context.stroke();

    function segment(fromX, fromY, toX, toY) {
      context.moveTo(fromX * zoom, fromY * zoom);
      context.lineTo(toX * zoom, toY * zoom);
    }
  }

  // A picture with the outlines of some masks; `label` names it, `said` stands below it.
  function tile(label, said, size, layers, outlines) {
    const zoom = Math.max(1, Math.round(288 / size[1]));
    const canvas = document.createElement("canvas");
    canvas.width = size[1] * zoom;
    canvas.height = size[0] * zoom;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", said ? `${label}: ${said}` : label);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    for (const layer of layers) context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    context.lineWidth = Math.max(2, zoom * 0.8);
    for (const [inside, colour] of outlines) {
      context.strokeStyle = colour;
      outline(context, inside, size, zoom);
    }
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = label;
    caption.append(name, said);
    figure.append(canvas, caption);
    return figure;
  }

  return { TRUTH, FIRST, SECOND, bytes, mask, map, resized, mean, above, overlap, picture, grey, coloured, errors, parting, tile };
})();
