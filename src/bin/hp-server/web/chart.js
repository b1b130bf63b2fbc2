"use strict";

// Numbers as people read them, and charts that are drawn by them. What follows in status.js uses both.

const PREFIXES = ["", "k", "M", "G", "T"];
const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

// Three digits, or as many as there are before the point.
function threeDigits(value) {
  if (value >= 100) return String(Math.round(value));
  if (value === 0) return "0";
  return value < 0.01 ? "<0.01" : String(Number(value.toPrecision(value < 1 ? 2 : 3)));
}

function scaled(value, base, units, separator) {
  let unit = 0;
  // What would be rounded up to the next unit is that already.
  while (value >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  return threeDigits(value) + separator + units[unit];
}

function formatCount(value) {
  if (value >= 999.5 && value < 9999.5) return Math.round(value).toLocaleString("en");
  return scaled(value, 1000, PREFIXES, "");
}

function formatBytes(value) {
  return scaled(Math.round(value), 1024, BYTE_UNITS, "\u00a0");
}

function formatDuration(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = Math.max(0, parts.findIndex(([, size]) => seconds >= size));
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const [[largeName, large], [smallName, small]] = [parts[first], parts[first + 1]];
  return `${Math.floor(seconds / large)} ${largeName} ${Math.floor((seconds % large) / small)} ${smallName}`;
}

// Round numbers from 0 to what the highest value needs.
function ticksUpTo(highest, format) {
  const unit = format === formatBytes ? 1024 ** Math.max(0, Math.floor(Math.log(Math.max(highest, 1)) / Math.log(1024))) : 1;
  if (highest <= 0) return [0, format === formatBytes ? 1024 : 1];
  const raw = highest / unit / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.9999) * power * unit;
  const ticks = [];
  for (let tick = 0; tick < highest + step * 0.999; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

function element(name, classes, text) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const HEIGHT = 180;
const MARGIN = { left: 56, right: 14, top: 10, bottom: 24 };

// One picture of some columns over time.
class Chart {
  // `series`: what is drawn, each with `name`, `colour` and `of`, which takes a row and gives the value; `hint` says more.
  constructor({ title, unit, series, format, isStacked }, onCursor) {
    Object.assign(this, { title, series, format, isStacked, onCursor, width: 0, view: null, cursor: null });
    this.figure = element("figure", isStacked ? "is-stacked" : "");
    const heading = element("h3", "", `${title} `);
    heading.append(element("small", "", unit));
    const legend = element("ul", "legend");
    this.current = series.map(({ name, colour, hint }) => {
      const [item, value] = [element("li"), element("b", "", "–")];
      if (hint) item.title = hint;
      item.append(element("span", `swatch ${colour}`), element("span", "", name), value);
      legend.append(item);
      return value;
    });
    const caption = element("figcaption");
    caption.append(heading, legend);
    this.svg = drawn("svg", { role: "img", tabindex: "0" });
    this.axes = drawn("g", { "aria-hidden": "true" });
    this.plot = drawn("g", { "aria-hidden": "true" });
    this.marks = drawn("g", { "aria-hidden": "true" });
    this.shapes = series.map(({ colour }) => {
      const [area, curve] = ["area", "curve"].map((kind) => drawn("path", { class: `${kind} ${colour}` }));
      this.plot.append(area, curve);
      return { area, curve };
    });
    this.svg.append(this.axes, this.plot, this.marks);
    this.tip = element("div", "tip");
    this.tip.hidden = true;
    this.figure.append(caption, this.svg, this.tip);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  listen() {
    this.svg.addEventListener("pointermove", (event) => this.pointAt(event.clientX));
    this.svg.addEventListener("pointerdown", (event) => this.pointAt(event.clientX));
    this.svg.addEventListener("pointerleave", () => this.onCursor(null, null));
    this.svg.addEventListener("blur", () => this.onCursor(null, null));
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") this.onCursor(null, null);
      if (!step || !this.view || !this.view.rows.length) return;
      event.preventDefault();
      const { rows } = this.view;
      const at = this.cursor === null ? rows.length - (step > 0 ? 1 : 0) : this.nearest(this.cursor) + step;
      this.onCursor(rows[Math.min(Math.max(at, 0), rows.length - 1)][0], this);
    });
  }

  pointAt(clientX) {
    if (!this.view || !this.view.rows.length) return;
    const x = clientX - this.svg.getBoundingClientRect().left;
    const time = this.view.end - (1 - (x - MARGIN.left) / this.inner()) * this.view.span;
    this.onCursor(this.view.rows[this.nearest(time)][0], this);
  }

  nearest(time) {
    const { rows } = this.view;
    let best = 0;
    rows.forEach((row, at) => { if (Math.abs(row[0] - time) < Math.abs(rows[best][0] - time)) best = at; });
    return best;
  }

  inner() {
    return Math.max(1, this.width - MARGIN.left - MARGIN.right);
  }

  x(time) {
    return MARGIN.left + (1 - (this.view.end - time) / this.view.span) * this.inner();
  }

  y(value) {
    return HEIGHT - MARGIN.bottom - (value / this.top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  // `view`: rows, the time at the right end, the seconds that are shown, and marks below, as pairs of seconds ago and a label.
  show(view, latest) {
    this.view = view;
    this.current.forEach((value, number) => {
      value.textContent = latest ? this.format(this.series[number].of(latest)) : "–";
    });
    this.draw();
  }

  draw() {
    this.width = this.svg.clientWidth;
    if (!this.view || !this.width) return;
    const { rows } = this.view;
    // What is drawn of a row: each series' lower and upper end.
    this.levels = rows.map((row) => {
      let sum = 0;
      return this.series.map(({ of }) => {
        const [low, value] = [this.isStacked ? sum : 0, of(row)];
        sum += value;
        return [low, low + value];
      });
    });
    const highest = this.levels.flat().reduce((most, [, high]) => Math.max(most, high), 0);
    const ticks = ticksUpTo(highest, this.format);
    this.top = ticks[ticks.length - 1];
    this.drawAxes(ticks);
    this.shapes.forEach(({ area, curve }, number) => {
      // What is nothing all the time would hide what it is stacked on.
      const isThere = rows.length > 0 && (!this.isStacked || this.levels.some((row) => row[number][1] > row[number][0]));
      const line = (end) => rows.map((row, at) => `${this.x(row[0]).toFixed(1)},${this.y(this.levels[at][number][end]).toFixed(1)}`);
      const [lower, upper] = [line(0).reverse(), line(1)];
      // A single point is seen as a dot only if it is a line, too.
      curve.setAttribute("d", isThere ? `M${upper.join("L")}h0.1` : "");
      area.setAttribute("d", isThere ? `M${upper.join("L")}L${lower.join("L")}Z` : "");
    });
    this.svg.setAttribute("aria-label", this.description());
    this.drawCursor();
  }

  drawAxes(ticks) {
    const [left, right, bottom] = [MARGIN.left, this.width - MARGIN.right, HEIGHT - MARGIN.bottom];
    this.axes.replaceChildren();
    for (const tick of ticks) {
      const y = this.y(tick);
      this.axes.append(
        drawn("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }),
        drawn("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, this.format(tick)),
      );
    }
    let free = Infinity;
    for (const [ago, label] of this.view.marks) {
      const x = this.x(this.view.end - ago);
      const anchor = ago === 0 ? "end" : x < left + 20 ? "start" : "middle";
      // Where there is no room for a label it is left out.
      if (x + (anchor === "start" ? 22 : 0) > free) continue;
      free = x - 58;
      this.axes.append(drawn("text", { x: ago === 0 ? right : x, y: bottom + 17, "text-anchor": anchor }, label));
    }
    if (!this.view.rows.length) {
      this.axes.append(drawn("text", { x: (left + right) / 2, y: bottom / 2 + 8, "text-anchor": "middle" }, "Nothing was measured yet."));
    }
  }

  description() {
    const { rows, name } = this.view;
    if (!rows.length) return `${this.title}: nothing was measured yet.`;
    const parts = this.series.map((one) => {
      const values = rows.map(one.of);
      return `${one.name}: ${this.format(values[values.length - 1])}, at most ${this.format(Math.max(...values))}`;
    });
    return `${this.title}, ${name}. ${parts.join("; ")}.`;
  }

  // Shows the values at a time; in words, too, if this is the chart that is pointed at.
  setCursor(time, isHere) {
    this.cursor = time;
    this.isHere = isHere;
    this.drawCursor();
  }

  drawCursor() {
    this.marks.replaceChildren();
    const isShown = this.cursor !== null && this.view && this.view.rows.length > 0;
    this.tip.hidden = !isShown || !this.isHere;
    if (!isShown) return;
    const at = this.nearest(this.cursor);
    const row = this.view.rows[at];
    const x = this.x(row[0]);
    this.marks.append(drawn("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
    this.series.forEach(({ colour }, number) => {
      const [low, high] = this.levels[at][number];
      if (this.isStacked && low === high) return;
      this.marks.append(drawn("circle", { class: `dot ${colour}`, cx: x, cy: this.y(high), r: 4 }));
    });
    if (this.isHere) this.fillTip(row, x);
  }

  fillTip(row, x) {
    const list = element("ul");
    for (const { name, colour, of } of this.series) {
      const item = element("li");
      item.append(element("span", `swatch ${colour}`), element("span", "", name), element("b", "", this.format(of(row))));
      // In the order in which they are stacked.
      if (this.isStacked) list.prepend(item);
      else list.append(item);
    }
    this.tip.replaceChildren(element("p", "", this.view.label(row[0])), list);
    const [outer, inner] = [this.figure.getBoundingClientRect(), this.svg.getBoundingClientRect()];
    const [room, at] = [outer.width - this.tip.offsetWidth - 8, inner.left - outer.left + x];
    const left = at + 12 > room ? at - 12 - this.tip.offsetWidth : at + 12;
    this.tip.style.top = `${inner.top - outer.top + 4}px`;
    this.tip.style.left = `${Math.min(Math.max(left, 8), Math.max(room, 8))}px`;
  }
}
