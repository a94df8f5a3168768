"use strict";
// Repaints the maps of the page. Reads the data element and nothing else; asks for nothing over the network.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tools = document.getElementById("tools");
  const scale = document.getElementById("scale");
  const readout = document.getElementById("readout");
  const theme = document.getElementById("theme");
  const grids = [...document.querySelectorAll(".grid")];
  const across = data.axes[0] ? data.axes[0].values.length : 1;
  const up = data.axes[1] ? data.axes[1].values.length : 1;
  const view = { figure: -1, slice: data.axes.map(() => 0) };
  const cells = grids.map((grid) => {
    const found = [...grid.querySelectorAll("[role=gridcell]")];
    // The page is written from the top row down; points are counted from the bottom row up.
    return found.map((cell, index) => ({ cell, x: index % across, y: up - 1 - Math.floor(index / across) }));
  });

  // --- words ---
  const escape = (text) => String(text).replace(/[&<>"']/g, (c) => "&#" + c.charCodeAt(0) + ";");
  const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const three = (v) => { const s = Math.abs(v); return trim(v.toFixed(s >= 99.95 || s === 0 ? 0 : s >= 9.995 ? 1 : s >= 0.9995 ? 2 : s >= 0.0995 ? 3 : 4)); };
  const number = (v) => { const s = Math.abs(v); return s >= 999.5e6 ? three(v / 1e9) + "G" : s >= 999.5e3 ? three(v / 1e6) + "M" : s >= 9995 ? three(v / 1e3) + "k" : three(v); };
  const seconds = (v) => (v >= 120 ? Math.floor(v / 60) + "m" + String(Math.round(v) % 60).padStart(2, "0") + "s" : v >= 0.9995 || v === 0 ? three(v) + "s" : v >= 0.9995e-3 ? three(v * 1e3) + "ms" : three(v * 1e6) + "µs");
  const said = (figure, v) => {
    if (v === null || v === undefined) return "–";
    if (figure.unit === "share") return trim((v * 100).toFixed(1)) + "%";
    if (figure.unit === "seconds") return seconds(v);
    return number(v) + (figure.unit === "rate" ? "/s" : "");
  };
  const brief = (figure, v) => (v === null ? "–" : figure.unit === "share" ? String(Math.round(v * 100)) : said(figure, v).replace("/s", ""));

  // --- points ---
  const pointOf = (x, y) => {
    let point = 0, stride = 1;
    data.axes.forEach((axis, index) => {
      point += stride * (index === 0 ? x : index === 1 ? y : view.slice[index]);
      stride *= axis.values.length;
    });
    return point;
  };

  // --- paint ---
  // Dark is worse, light is better; luminance rises evenly, so that it can be read in grey and with any colour vision.
  const stops = [[20, 41, 77], [77, 90, 115], [141, 139, 122], [196, 181, 108], [253, 230, 75]];
  const paint = (share) => {
    const place = Math.min(0.9999, Math.max(0, share)) * (stops.length - 1), low = Math.floor(place), part = place - low;
    const colour = stops[low].map((value, i) => Math.round(value + (stops[low + 1][i] - value) * part));
    return { back: `rgb(${colour.join(" ")})`, ink: place < 1.9 ? "#fff" : "#111" };
  };
  const extent = (figure) => {
    let low = Infinity, high = -Infinity;
    for (const values of figure.values) for (const v of values) if (v !== null) { low = Math.min(low, v); high = Math.max(high, v); }
    if (figure.unit === "share" && high <= 1) return [0, 1];
    return low > high ? [0, 1] : [Math.min(0, low), high || 1];
  };
  const draw = () => {
    const figure = data.figures[view.figure];
    const [low, high] = figure ? extent(figure) : [0, 1];
    cells.forEach((list, variant) => list.forEach(({ cell, x, y }) => {
      const point = pointOf(x, y), kind = data.classes[variant][point];
      cell.className = "cell " + (figure ? "" : data.styles[kind]);
      cell.style.background = cell.style.color = "";
      cell.textContent = data.signs[kind];
      if (figure) {
        const value = figure.values[variant][point];
        const share = value === null ? 0 : (value - low) / (high - low || 1);
        const colour = paint(value === null ? 0 : figure.better ? share : 1 - share);
        cell.style.background = colour.back; cell.style.color = colour.ink;
        cell.textContent = across <= 12 || value === null ? brief(figure, value) : "";
      }
      cell.setAttribute("aria-label", figure ? `${figure.title} ${said(figure, figure.values[variant][point])}` : data.words[kind]);
    }));
    scale.hidden = !figure;
    if (figure) {
      const [worse, better] = figure.better ? [low, high] : [high, low];
      scale.innerHTML = `<span>${escape(said(figure, worse))}</span><i></i><span>${escape(said(figure, better))}</span><span>· – is never</span>`;
      if (!figure.values.some((values) => values.includes(null))) scale.lastChild.remove();
    }
    document.querySelectorAll(".slice").forEach((span) => {
      const index = data.axes.findIndex((axis) => axis.path === span.dataset.axis);
      span.textContent = data.axes[index].values[view.slice[index]];
    });
  };

  // --- read-out ---
  const tell = (variant, x, y) => {
    const point = pointOf(x, y);
    const at = data.axes.map((axis, index) => `${escape(axis.path)} = ${escape(axis.values[index === 0 ? x : index === 1 ? y : view.slice[index]])}`);
    const rows = data.figures.map((figure) => `<tr><td>${escape(figure.title)}</td><td>${escape(said(figure, figure.values[variant][point]))}</td></tr>`);
    const kind = data.classes[variant][point];
    readout.innerHTML = `<b>${escape(data.variants[variant])}: ${escape(data.words[kind])}</b><br>${at.join("<br>")}<table>${rows.join("")}</table>`;
    readout.hidden = false;
    const spot = cells[variant].find((one) => one.x === x && one.y === y).cell.getBoundingClientRect();
    readout.classList.toggle("above", spot.bottom > window.innerHeight * 0.55);
    cells.forEach((list) => list.forEach((one) => one.cell.classList.toggle("here", one.x === x && one.y === y)));
  };
  const hush = () => { readout.hidden = true; document.querySelectorAll(".here").forEach((cell) => cell.classList.remove("here")); };
  grids.forEach((grid, variant) => {
    const spot = (target) => cells[variant].find((one) => one.cell === target);
    grid.addEventListener("pointerover", (event) => { const one = spot(event.target); if (one) tell(variant, one.x, one.y); });
    grid.addEventListener("focusin", (event) => { const one = spot(event.target); if (one) tell(variant, one.x, one.y); });
    grid.addEventListener("pointerleave", () => { if (!grid.contains(document.activeElement)) hush(); });
    grid.addEventListener("focusout", hush);
    grid.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      const one = spot(event.target);
      if (event.key === "Escape") { event.target.blur(); return; }
      if (!step || !one) return;
      const next = cells[variant].find((other) => other.x === one.x + step[0] && other.y === one.y + step[1]);
      if (!next) return;
      event.preventDefault();
      one.cell.tabIndex = -1; next.cell.tabIndex = 0; next.cell.focus();
    });
  });

  // --- tools ---
  const choice = document.createElement("select");
  ["what becomes of it", ...data.figures.map((figure) => figure.title)].forEach((title, index) => choice.add(new Option(title, index - 1)));
  choice.addEventListener("change", () => { view.figure = Number(choice.value); draw(); });
  const label = document.createElement("label");
  label.append("Show ", choice);
  tools.append(label);
  data.axes.slice(2).forEach((axis, extra) => {
    const index = extra + 2, slider = document.createElement("input"), value = document.createElement("output"), wrap = document.createElement("label");
    Object.assign(slider, { type: "range", min: 0, max: axis.values.length - 1, step: 1, value: 0 });
    value.textContent = axis.values[0];
    slider.addEventListener("input", () => { view.slice[index] = Number(slider.value); value.textContent = axis.values[slider.value]; draw(); });
    wrap.append(axis.path + " ", slider, value);
    tools.append(wrap);
  });
  tools.hidden = false;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  draw();
})();
