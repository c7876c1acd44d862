"use strict";
// Draws the page from its data. Names reach the document as text (textContent, setAttribute) and never as markup.
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const ROWS_AT_ONCE = 200;

  function size(count) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = 0;
    while (count >= 999.5 && unit < units.length - 1) { count /= 1024; unit++; }
    const digits = unit === 0 || count >= 99.95 ? 0 : count >= 9.995 ? 1 : 2;
    const shown = count.toFixed(digits);
    return (shown.includes(".") ? shown.replace(/\.?0+$/, "") : shown) + " " + units[unit];
  }
  function seconds(span) {
    if (span < 1) return Math.round(span * 1000) + " ms";
    if (span < 60) return span.toFixed(1) + " s";
    if (span < 3600) return Math.floor(span / 60) + " min " + Math.floor(span % 60) + " s";
    return Math.floor(span / 3600) + " h " + Math.floor(span % 3600 / 60) + " min";
  }
  const number = (count) => Math.round(count).toLocaleString("en");
  const percent = (part, whole) => whole > 0 ? (100 * part / whole).toFixed(part / whole < 0.0995 ? 1 : 0) + " %" : "–";
  const className = (block) => block === 0 ? "huge" : size(block);
  const about = (row) => row.live > row.recorded * 1.0001 ? "≈ " : "";

  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "text") element.textContent = value;
      else if (key === "style") Object.assign(element.style, value);
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }
  function draw(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "text") element.textContent = value;
      else if (key === "fill" && value.startsWith("var")) element.style.fill = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }
  const part = (id, selector) => document.querySelector("#" + id + (selector ? " " + selector : ""));
  const empty = (text) => make("p", { class: "empty", text });

  // The largest owners have a colour each, the same everywhere; the others share one.
  const named = data.history.owners;
  const colour = (owner) => "var(--c" + (named.includes(owner) ? named.indexOf(owner) : 7) + ")";

  function head() {
    const at = new Date(data.taken * 1000);
    part("taken").textContent = "as it was at " + at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    const grades = { Low: "good", Medium: "warn", High: "warn", Critical: "bad" };
    const badge = (label, value, grade) =>
      make("span", { class: "badge " + (grade || "") }, label + " ", make("b", { text: value }));
    part("badges").append(badge("pressure", data.pressure, grades[data.pressure]), badge("leak level", data.level));
  }

  function figures() {
    const t = data.totals, into = part("figures");
    const figure = (label, value, note, grade) => {
      const box = make("div", { class: "figure " + (grade || "") }, make("span", { text: label }), make("strong", { text: value }));
      if (note instanceof Node) box.append(note);
      else if (note) box.append(make("span", { text: note }));
      into.append(box);
      return box;
    };
    const meter = make("div", { class: "meter" });
    for (const bytes of [t.live_bytes, t.idle_bytes])
      meter.append(make("i", { style: { width: (100 * bytes / Math.max(t.limit_bytes, t.held_bytes, 1)) + "%" } }));
    figure("leased", size(t.live_bytes), number(t.live) + (t.live === 1 ? " buffer" : " buffers"));
    figure("idle, to be leased again", size(t.idle_bytes), "of " + size(t.retain_bytes) + " it may keep");
    const held = figure("held of the limit", percent(t.held_bytes, t.limit_bytes), meter);
    held.append(make("span", { text: size(t.held_bytes) + " of " + size(t.limit_bytes) }));
    figure("most ever leased", size(t.high_water_bytes), percent(t.high_water_bytes, t.limit_bytes) + " of the limit");
    const known = data.classes.filter((each) => each.live > 0 && each.waste_bytes !== null);
    const waste = known.reduce((sum, each) => sum + each.waste_bytes, 0);
    const covered = known.reduce((sum, each) => sum + each.live_bytes, 0);
    const estimated = known.some((each) => each.recorded < each.live);
    figure("unused inside of blocks", covered ? (estimated ? "≈ " : "") + percent(waste, covered) : "–",
      covered ? size(waste) + (covered < t.live_bytes ? " where known" : "") : "no lease is recorded");
    figure("leases ever", number(t.allocations), percent(t.recycled, t.allocations) + " from idle blocks");
    figure("refused", number(t.failures), "requests, ever", t.failures > 0 ? "bad" : "");
    const leaks = data.leaks.reduce((sum, leak) => sum + leak.equal, 0) + data.tooOld;
    figure("known leaks", number(leaks), data.tooOld ? data.tooOld + " of them still held" : "", leaks > 0 ? "bad" : "");
  }

  // Round figures of a binary scale, four or so of them up to `most`.
  function ticks(most) {
    const step = Math.pow(2, Math.ceil(Math.log2(Math.max(most, 4) / 4)));
    const all = [];
    for (let at = 0; at <= most + step * 0.01; at += step) all.push(at);
    return all;
  }

  function curve() {
    const h = data.history, into = part("curve", ".plot"), legend = part("curve", ".legend");
    into.replaceChildren();
    legend.replaceChildren();
    const from = h.at[0], until = h.at[h.at.length - 1], span = until - from;
    if (!(span > 0)) { into.append(empty("There is one sample so far: a second later there is a curve.")); return; }
    const width = Math.max(into.clientWidth, 320), height = 260, left = 64, right = 14, top = 18, bottom = 40;
    const limit = h.limit[h.limit.length - 1], peak = h.held.reduce((most, held) => Math.max(most, held), 1);
    const most = limit <= peak * 1.6 ? Math.max(limit, peak) * 1.03 : peak * 1.08;
    const x = (at) => left + (width - left - right) * (at - from) / span;
    const y = (bytes) => height - bottom - (height - bottom - top) * bytes / most;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", tabindex: 0,
      "aria-label": "Bytes over time; the arrow keys go through it" });
    for (const at of ticks(most)) {
      svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }),
        draw("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end", text: size(at) }));
    }
    // No more words than have room beside each other.
    const words = Math.min(Math.max(Math.floor((width - left - right) / 80), 2), 8);
    const every = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((step) => span / step <= words) || span / words;
    for (let ago = 0; ago <= span; ago += every) {
      svg.append(draw("text", { x: x(until - ago), y: height - 12, "text-anchor": ago ? "middle" : "end",
        text: ago === 0 ? "now" : "−" + seconds(ago).replace(".0 s", " s").replace(" 0 s", "") }));
    }
    // Layers from below: the owners with a colour, the other owners, what lies idle.
    const layers = h.owners.map((owner, n) => ({ name: owner, fill: "var(--c" + n + ")", bytes: h.series[n] }));
    const rest = h.live.map((live, n) => Math.max(live - h.series.reduce((sum, of) => sum + of[n], 0), 0));
    if (rest.some((bytes) => bytes > 0)) layers.push({ name: "other owners", fill: "var(--c7)", bytes: rest });
    layers.push({ name: "idle", fill: "var(--idle)", bytes: h.held.map((held, n) => Math.max(held - h.live[n], 0)) });
    const below = h.at.map(() => 0);
    for (const layer of layers) {
      const lower = h.at.map((at, n) => x(at).toFixed(1) + "," + y(below[n]).toFixed(1)).reverse();
      layer.bytes.forEach((bytes, n) => { below[n] += bytes; });
      const upper = h.at.map((at, n) => x(at).toFixed(1) + "," + y(below[n]).toFixed(1));
      svg.append(draw("polygon", { class: "layer", fill: layer.fill, points: upper.concat(lower).join(" ") }));
      legend.append(make("span", null, make("i", { style: { background: layer.fill } }), layer.name));
    }
    if (limit <= most) svg.append(draw("line", { class: "limit", x1: left, x2: width - right, y1: y(limit), y2: y(limit) }));
    else legend.append(make("span", { text: "limit " + size(limit) + ", above the picture" }));
    h.at.forEach((at, n) => {
      const next = n + 1 < h.at.length ? h.at[n + 1] : at;
      svg.append(draw("rect", { class: "strip " + h.pressure[n], x: x(at), y: height - bottom + 3,
        width: Math.max(x(next) - x(at), 0), height: 4 }));
    });
    for (const mark of data.marks) {
      const at = x(Math.min(Math.max(mark.at, from), until));
      svg.append(draw("g", { class: "mark " + mark.kind }, draw("title", { text: mark.text }),
        draw("line", { x1: at, x2: at, y1: top - 6, y2: height - bottom, "stroke-dasharray": "2 3" }),
        draw("path", { d: `M${at - 5} ${top - 12}h10l-5 8z` })));
    }
    for (const [kind, words] of [["crash", "an actor failed"], ["pressure", "pressure changed"]])
      if (data.marks.some((mark) => mark.kind === kind))
        legend.append(make("span", null, make("i", { style: { background: kind === "crash" ? "var(--bad)" : "var(--warn)" } }), words));
    const cursor = draw("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
    const tip = make("div", { class: "tip", role: "status", hidden: "" });
    svg.append(cursor);
    let chosen = null;
    function choose(n) {
      chosen = n;
      const at = x(h.at[n]);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.setAttribute("visibility", "visible");
      const near = data.marks.filter((mark) => Math.abs(x(mark.at) - at) < 8).map((mark) => "\n" + mark.text);
      const held = layers.filter((layer) => layer.bytes[n] > 0).map((layer) => "\n" + layer.name + "  " + size(layer.bytes[n]));
      tip.textContent = "−" + seconds(until - h.at[n]) + "   held " + size(h.held[n]) + "   pressure " + h.pressure[n] +
        held.reverse().join("") + near.join("");
      tip.hidden = false;
      // On the side that has more room, and no wider than that.
      const place = at * into.clientWidth / width, aside = place > into.clientWidth / 2;
      tip.style.left = aside ? "" : place + 12 + "px";
      tip.style.right = aside ? into.clientWidth - place + 12 + "px" : "";
      tip.style.maxWidth = (aside ? place : into.clientWidth - place) - 12 + "px";
    }
    function leave() {
      chosen = null;
      tip.hidden = true;
      cursor.setAttribute("visibility", "hidden");
    }
    function point(event) {
      const box = svg.getBoundingClientRect();
      const at = from + span * ((event.clientX - box.left) * width / box.width - left) / (width - left - right);
      let n = h.at.findIndex((each) => each >= at);
      if (n < 0) n = h.at.length - 1;
      if (n > 0 && at - h.at[n - 1] < h.at[n] - at) n--;
      choose(n);
    }
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const last = h.at.length - 1, now = chosen === null ? last + 1 : chosen;
      const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") leave();
      else if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      else choose(Math.min(Math.max(to, 0), last));
      event.preventDefault();
    });
    into.append(svg, tip);
  }

  // Squarified treemap (Bruls, Huizing, van Wijk 2000): rows of rectangles as square as they can be.
  function squarify(items, x, y, width, height) {
    const placed = [];
    let rest = items.filter((item) => item.bytes > 0), total = rest.reduce((sum, item) => sum + item.bytes, 0);
    while (rest.length > 0 && width > 0 && height > 0) {
      const side = Math.min(width, height), scale = width * height / total;
      let row = [], sum = 0, worst = Infinity;
      for (const item of rest) {
        const next = sum + item.bytes, breadth = next * scale / side;
        const ratios = row.concat([item]).map((each) => {
          const length = each.bytes * scale / breadth;
          return Math.max(length / breadth, breadth / length);
        });
        if (Math.max(...ratios) > worst) break;
        worst = Math.max(...ratios);
        row.push(item);
        sum = next;
      }
      const breadth = sum * scale / side;
      let at = 0;
      for (const item of row) {
        const length = item.bytes * scale / breadth;
        placed.push(width >= height ? { item, x, y: y + at, width: breadth, height: length }
          : { item, x: x + at, y, width: length, height: breadth });
        at += length;
      }
      if (width >= height) { x += breadth; width -= breadth; } else { y += breadth; height -= breadth; }
      total -= sum;
      rest = rest.slice(row.length);
    }
    return placed;
  }

  function map() {
    const into = part("map", ".plot");
    into.replaceChildren();
    if (!(data.totals.live_bytes > 0)) { into.append(empty("Nothing is leased.")); return; }
    const width = Math.max(into.clientWidth, 320), height = 280;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "Bytes by owner and size class" });
    const fits = (text, box, letter) => text.length * letter < box.width - 12;
    for (const outer of squarify(data.owners, 0, 0, width, height)) {
      const owner = outer.item;
      if (outer.width * outer.height < 4) continue;
      const classes = owner.classes.map(([block, live, bytes]) => ({ block, live, bytes })).sort((a, b) => b.bytes - a.bytes);
      squarify(classes, outer.x, outer.y, outer.width, outer.height).forEach((inner, n) => {
        const title = `${owner.owner}\n${number(inner.item.live)} × ${className(inner.item.block)} = ${size(inner.item.bytes)}` +
          `, ${percent(inner.item.bytes, data.totals.live_bytes)} of what is leased`;
        svg.append(draw("rect", { fill: colour(owner.owner), "fill-opacity": Math.max(1 - 0.07 * n, 0.72), x: inner.x, y: inner.y,
          width: inner.width, height: inner.height }, draw("title", { text: title })));
        const label = `${number(inner.item.live)} × ${className(inner.item.block)}`;
        // Below the owner's name, which may reach over several fields of the top.
        const at = inner.y + (inner.y < outer.y + 1 ? 34 : 16);
        if (fits(label, inner, 6) && at + 6 < inner.y + inner.height)
          svg.append(draw("text", { class: "small", x: inner.x + 7, y: at, text: label }));
      });
      svg.append(draw("rect", { class: "frame", x: outer.x, y: outer.y, width: outer.width, height: outer.height }));
      const label = `${owner.owner}  ${size(owner.bytes)}`;
      const shown = fits(label, outer, 7.2) ? label : fits(owner.owner, outer, 7.2) ? owner.owner : "";
      if (shown && outer.height > 22) svg.append(draw("text", { x: outer.x + 7, y: outer.y + 17, "font-weight": 650, text: shown }));
    }
    into.append(svg);
  }

  // A table whose heads sort it. A column: [name, cell's content, what it is sorted by, class]; one without a name sorts
  // nothing. Rows with a stack open below themselves, and stay open whatever is done to the table.
  function table(into, columns, rows, sorted, told) {
    let order = { column: sorted, down: true }, limit = ROWS_AT_ONCE, kept = rows;
    const body = make("tbody"), heads = make("tr");
    columns.forEach(([name, , by, style], n) => {
      const head = make("th", { class: style || "", scope: "col" });
      if (name) {
        const button = make("button", { type: "button", text: name });
        button.addEventListener("click", () => {
          // Figures begin with the largest, words with A.
          const down = rows.length > 0 && typeof by(rows[0]) === "number";
          order = { column: n, down: order.column === n ? !order.down : down };
          fill();
        });
        head.append(button);
      }
      heads.append(head);
    });
    function fill() {
      const by = columns[order.column][2], sign = order.down ? -1 : 1;
      const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      const shown = kept.slice().sort((a, b) => sign * compare(by(a), by(b)));
      heads.childNodes.forEach((head, n) => {
        if (n === order.column) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      body.replaceChildren();
      for (const row of shown.slice(0, limit)) {
        const line = make("tr");
        for (const [, content, , style] of columns) {
          const cell = make("td", { class: style || "" });
          cell.append(content(row, line));
          line.append(cell);
        }
        body.append(line);
        if (row.opened) open(row, line, columns.length);
      }
      if (told) told({ total: rows.length, kept: kept.length, shown: Math.min(limit, kept.length) });
    }
    into.append(make("table", null, make("thead", null, heads), body));
    fill();
    return { keep(test) { kept = rows.filter(test); limit = ROWS_AT_ONCE; fill(); }, more() { limit += ROWS_AT_ONCE; fill(); } };
  }

  // The stack of a row, in one of its own below it.
  function open(row, line, columns) {
    const list = make("ol", { class: "stack" });
    for (const place of data.stacks[row.stack]) {
      const [call, ...where] = data.frames[place].split(" at ");
      list.append(make("li", null, call, make("span", { class: "at", text: where.length ? "  " + where.join(" at ") : "" })));
    }
    line.classList.add("open");
    line.after(make("tr", { class: "detail" }, make("td", { class: "left", colspan: columns }, list)));
  }

  // The button that does so.
  function opener(row, line, columns) {
    if (row.stack === null) return make("span");
    const button = make("button", { type: "button", "aria-label": "calls" });
    const show = () => {
      button.textContent = row.opened ? "▾" : "▸";
      button.setAttribute("aria-expanded", String(Boolean(row.opened)));
    };
    button.addEventListener("click", () => {
      row.opened = !row.opened;
      show();
      if (row.opened) { open(row, line, columns); return; }
      line.classList.remove("open");
      line.nextSibling.remove();
    });
    show();
    return button;
  }
  const key = (owner) => make("span", { class: "name" }, make("i", { class: "key", style: { background: colour(owner) } }),
    make("span", { text: owner }));
  const mono = (text) => make("span", { class: "mono", text });

  function owners() {
    const held = data.owners.filter((each) => each.live > 0), into = part("owners", ".scroll");
    if (held.length === 0) { into.append(empty("Nobody holds anything.")); return; }
    const most = held[0].bytes;
    table(into, [
      ["owner", (row) => key(row.owner), (row) => row.owner, "left wide"],
      ["leases", (row) => number(row.live), (row) => row.live],
      ["bytes", (row) => size(row.bytes), (row) => row.bytes],
      ["", (row) => make("i", { class: "bar", style: { width: 70 * row.bytes / most + "px", background: colour(row.owner) } }),
        (row) => row.bytes, "left"],
      ["recorded", (row) => percent(row.bytes - row.unrecorded, row.bytes), (row) => row.bytes - row.unrecorded],
    ], held, 2);
  }

  function classes() {
    const into = part("classes", ".scroll");
    if (data.classes.length === 0) { into.append(empty("No block was ever made.")); return; }
    const wasted = (row) => row.live === 0 || row.waste_bytes === null ? -1 : row.waste_bytes / Math.max(row.live_bytes, 1);
    table(into, [
      ["class", (row) => className(row.size), (row) => row.size || Infinity, "left"],
      ["leased", (row) => number(row.live), (row) => row.live],
      ["bytes", (row) => size(row.live_bytes), (row) => row.live_bytes],
      ["idle in caches", (row) => number(row.idle_in_caches), (row) => row.idle_in_caches],
      ["on shelf", (row) => number(row.idle_on_shelf), (row) => row.idle_on_shelf],
      ["most", (row) => number(row.high_water), (row) => row.high_water],
      ["unused", (row) => wasted(row) < 0 ? "–" : (row.recorded < row.live ? "≈ " : "") + percent(row.waste_bytes, row.live_bytes), wasted],
    ], data.classes, 2);
  }

  // Who keeps the idle blocks: the threads for themselves, the shelves for anybody.
  function idle() {
    const into = part("idle", ".scroll"), sum = (rows, by) => rows.reduce((all, row) => all + by(row), 0);
    const onShelf = data.classes.filter((each) => each.idle_on_shelf > 0 && each.size > 0);
    const rows = data.threads.map((each) => ({ name: each.name, bytes: each.bytes, classes: each.classes }));
    if (onShelf.length > 0) {
      rows.push({ name: "the shelves, for any thread", classes: onShelf.map((each) => [each.size, each.idle_on_shelf]),
        bytes: sum(onShelf, (each) => each.size * each.idle_on_shelf) });
    }
    if (rows.length === 0) { into.append(empty("No block lies idle.")); return; }
    const most = rows.reduce((all, row) => Math.max(all, row.bytes), 1);
    table(into, [
      ["kept by", (row) => row.name, (row) => row.name, "left wide"],
      ["blocks", (row) => number(sum(row.classes, (of) => of[1])), (row) => sum(row.classes, (of) => of[1])],
      ["bytes", (row) => size(row.bytes), (row) => row.bytes],
      ["", (row) => make("i", { class: "bar", style: { width: 70 * row.bytes / most + "px", background: "var(--dim)" } }),
        (row) => row.bytes, "left"],
      ["by size class, most bytes first", (row) => row.classes.slice().sort((a, b) => b[0] * b[1] - a[0] * a[1])
        .map(([block, count]) => number(count) + " × " + className(block)).join(", "), (row) => row.classes.length, "left wide"],
    ], rows, 2);
  }

  function leaks() {
    if (data.leaks.length === 0) return;
    part("leaks").hidden = false;
    table(part("leaks", ".scroll"), [
      ["", (row, line) => opener(row, line, 7), (row) => row.stack === null ? 0 : 1, "tight"],
      ["owner", (row) => key(row.owner), (row) => row.owner, "left"],
      ["site", (row) => mono(row.site === null ? "(no site)" : row.site), (row) => row.site || "", "left wide"],
      ["what", (row) => row.kind.replaceAll("_", " "), (row) => row.kind, "left"],
      ["how many", (row) => number(row.equal), (row) => row.equal],
      ["class", (row) => className(row.size), (row) => row.size || Infinity],
      ["bytes", (row) => size(row.bytes), (row) => row.bytes],
    ], data.leaks, 4);
  }

  function leases() {
    const t = data.totals, sampled = data.level === "simple" || data.level === "advanced";
    const words = [`${number(data.recorded)} of ${number(t.live)} leases carry a record.`];
    if (data.level === "paranoid") words.push("At the level paranoid every new lease does.");
    if (sampled) words.push(`At the level ${data.level} one in ${number(data.every)} does, and all that must be released.`);
    if (data.level === "disabled") words.push("At the level disabled no new lease does.");
    if (data.recorded > 0 && data.recorded < t.live) words.push("≈ is an estimate from those; sums by owner and class are exact.");
    if (data.lost > 0) words.push(`${number(data.lost)} events were lost because the tracker did not keep up.`);
    if (data.grouped) words.push("There are many, so those of one owner, class and place share a row.");
    if (data.leftOut.leases > 0) words.push(`${number(data.leftOut.leases)} smaller ones (${size(data.leftOut.bytes)}) are left out.`);
    part("sampling").textContent = words.join(" ");
    const into = part("leases", ".scroll"), more = part("more"), filter = part("filter");
    if (data.rows.length === 0) {
      into.append(empty("No lease carries a record."));
      part("leases", ".tools").hidden = true;
      return;
    }
    const columns = [
      ["", (row, line) => opener(row, line, columns.length), (row) => row.stack === null ? 0 : 1, "tight"],
      ["leak", (row) => row.leaks ? make("span", { class: "tag", text: row.leaks > 1 ? "leak × " + number(row.leaks) : "leak" }) : "", (row) => row.leaks, "left"],
      ["owner", (row) => key(row.owner), (row) => row.owner, "left"],
      ["site", (row) => mono(row.site), (row) => row.site, "left wide"],
      ["task", (row) => row.task || "", (row) => row.task || "", "left"],
      ["class", (row) => className(row.size), (row) => row.size || Infinity],
      ["buffer", (row) => size(row.own / row.recorded), (row) => row.own / row.recorded],
      ["leases", (row) => about(row) + number(row.live), (row) => row.live],
      ["bytes", (row) => about(row) + size(row.bytes), (row) => row.bytes],
      [data.grouped ? "oldest" : "age", (row) => seconds(row.age), (row) => row.age],
    ];
    if (data.rows.every((row) => row.task === null)) columns.splice(4, 1);
    // Leaks first; those that are equal stay in their order, which is by bytes.
    const shown = table(into, columns, data.rows, 1, (count) => {
      part("shown").textContent = count.kept < count.total ? `${number(count.kept)} of ${number(count.total)} rows` : `${number(count.total)} rows`;
      more.hidden = count.shown >= count.kept;
    });
    more.addEventListener("click", () => shown.more());
    filter.addEventListener("input", () => {
      const wanted = filter.value.toLowerCase();
      const calls = (row) => row.stack === null ? "" : data.stacks[row.stack].map((place) => data.frames[place]).join(" ");
      shown.keep((row) => [row.owner, row.site, row.task || "", calls(row)].join(" ").toLowerCase().includes(wanted));
    });
  }

  [head, figures, curve, map, owners, classes, idle, leaks, leases].forEach((each) => each());
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) { width = window.innerWidth; curve(); map(); }
  });
})();
