"use strict";
// What every page does: sort tables, filter by verdict, search, follow the reader, copy, print.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const one = (selector, root = document) => root.querySelector(selector);
  document.documentElement.classList.add("scripted");

  // Tables: a heading becomes a button; a third press gives the first order back.
  const key = (row, column) => {
    const value = row.cells[column].dataset.value;
    const number = Number(value);
    return value === "" || value === undefined ? null : Number.isNaN(number) ? value : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  function sort(table, column, direction, first) {
    const rows = first.map((row) => ({ row, key: key(row, column) }));
    if (direction) {
      rows.sort((left, right) => {
        if (left.key === null || right.key === null) return (left.key === null) - (right.key === null);
        return direction * compare(left.key, right.key);
      });
    }
    table.tBodies[0].append(...rows.map(({ row }) => row));
  }

  for (const table of all("table.sortable")) {
    const first = Array.from(table.tBodies[0].rows);
    const headings = Array.from(table.tHead.rows[0].cells);
    headings.forEach((heading, column) => {
      if (heading.classList.contains("pick")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "none" }[heading.ariaSort] || "ascending";
        for (const other of headings) other.removeAttribute("aria-sort");
        if (next !== "none") heading.setAttribute("aria-sort", next);
        sort(table, column, { ascending: 1, descending: -1, none: 0 }[next], first);
      });
    });
  }

  for (const button of all("button.columns")) {
    const fewer = "Fewer columns";
    const every = button.textContent;
    button.hidden = false;
    button.addEventListener("click", () => {
      const shown = button.parentElement.classList.toggle("all");
      button.setAttribute("aria-pressed", String(shown));
      button.textContent = shown ? fewer : every;
    });
  }

  // The strip of verdicts filters the list, the sections of the claims, and the contents.
  const strip = all("button[data-verdict]");
  const chosen = one(".chosen");
  for (const button of strip) {
    button.disabled = false;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of strip) other.setAttribute("aria-pressed", String(on && other === button));
      const wanted = on ? button.dataset.verdict : null;
      let count = 0;
      for (const item of all("li[data-verdict], section[data-verdict]")) {
        item.hidden = wanted !== null && item.dataset.verdict !== wanted;
        count += item.classList.contains("verdict-row") && !item.hidden;
      }
      chosen.hidden = !on;
      chosen.textContent = on ? `Shown: ${count} claims, ${button.textContent.replace(/^\d+ /, "")}. Press again for all.` : "";
      if (on) one("#verdicts").scrollIntoView({ block: "start" });
    });
  }

  // Search over claims, conditions, cases and sections.
  const form = one("form.find");
  const data = one("#search-data");
  if (form && data) {
    const entries = JSON.parse(data.textContent);
    const field = one("input", form);
    const list = one("ul", form);
    const own = location.pathname.split("/").pop() || "index.html";
    form.hidden = false;
    const look = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const hits = words.length
        ? entries.filter(([, text]) => words.every((word) => text.toLowerCase().includes(word)))
        : [];
      list.replaceChildren(
        ...hits.slice(0, 12).map(([kind, text, file, anchor]) => {
          const item = document.createElement("li");
          const link = document.createElement("a");
          link.href = file && file !== own ? `${file}#${anchor}` : `#${anchor}`;
          const label = document.createElement("span");
          label.className = "kind";
          label.textContent = kind;
          link.append(label, text);
          item.append(link);
          return item;
        }),
      );
      if (hits.length > 12 || (words.length && !hits.length)) {
        const item = document.createElement("li");
        item.className = "measured";
        item.textContent = hits.length ? `and ${hits.length - 12} more` : "Nothing found";
        list.append(item);
      }
    };
    field.addEventListener("input", look);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      one("a", list)?.click();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
      event.preventDefault();
      openMenu(true);
      field.focus();
    });
  }

  // On narrow screens the contents open from the bar.
  const menu = one("button.menu");
  const contents = one("#contents");
  function openMenu(open) {
    if (!menu) return;
    contents.classList.toggle("open", open);
    menu.setAttribute("aria-expanded", String(open));
  }
  if (menu) {
    menu.hidden = false;
    menu.addEventListener("click", () => openMenu(!contents.classList.contains("open")));
    contents.addEventListener("click", (event) => event.target.closest("a") && openMenu(false));
    document.addEventListener("keydown", (event) => event.key === "Escape" && openMenu(false));
  }

  // The contents show where the reader is.
  const links = all(".places a").filter((link) => link.hash && link.pathname === location.pathname);
  const places = links
    .map((link) => ({ link, target: document.getElementById(decodeURIComponent(link.hash.slice(1))) }))
    .filter(({ target }) => target);
  function follow() {
    const line = 120;
    const above = places.filter(({ target }) => target.getClientRects().length && target.getBoundingClientRect().top < line);
    const current = above.length ? above[above.length - 1] : places[0];
    for (const { link } of places) link.removeAttribute("aria-current");
    if (!current) return;
    current.link.setAttribute("aria-current", "location");
    const box = contents.getBoundingClientRect();
    const at = current.link.getBoundingClientRect();
    if (at.top < box.top || at.bottom > box.bottom) contents.scrollTop += at.top - box.top - 160;
  }
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      follow();
    });
  }, { passive: true });
  follow();

  // An address may lead into what is folded, or carry the state of a part after "&".
  function arrive() {
    const [anchor] = location.hash.slice(1).split("&");
    const target = anchor && document.getElementById(decodeURIComponent(anchor));
    if (!target) return;
    for (let outer = target; outer; outer = outer.parentElement) if (outer.tagName === "DETAILS") outer.open = true;
    if (location.hash.includes("&")) target.scrollIntoView();
  }
  addEventListener("hashchange", arrive);
  arrive();

  const theme = one("button.theme");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      const root = document.documentElement;
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
    });
  }

  const printing = one("button.printing");
  if (printing) {
    printing.hidden = false;
    printing.addEventListener("click", () => print());
  }
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));

  for (const button of all("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }
})();
