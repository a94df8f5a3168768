"use strict";
// Draws the curves of the page. Reads the data element and nothing else; asks for nothing over the network.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = document.getElementById("charts");
  const tools = document.getElementById("tools");
  const readout = document.getElementById("readout");
  const theme = document.getElementById("theme");
  const all = data.variants.map((_, index) => index);
  const narrow = () => charts.clientWidth < 560;
  const view = {
    from: data.from, to: data.to, at: null, chart: 0,
    together: charts.clientWidth >= 560 && all.length > 1, shown: all.slice(0, 6), one: 0,
  };
  const dashes = ["", "7 3", "2 2.5", "9 3 2 3", "4 2", "1 3", "12 4", "6 2 1 2 1 2"];
  const hatched = { stale: "dots", wrong: "cross", shed: "up", error: "down", timeout: "level" };
  const outcomes = ["fresh", "stale", "wrong", "shed", "error", "timeout"];
  const panels = [];

  // --- words ---
  const escape = (text) => String(text).replace(/[&<>"']/g, (c) => "&#" + c.charCodeAt(0) + ";");
  const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const three = (v) => { const s = Math.abs(v); return trim(v.toFixed(s >= 99.95 || s === 0 ? 0 : s >= 9.995 ? 1 : s >= 0.9995 ? 2 : s >= 0.0995 ? 3 : 4)); };
  const number = (v) => { const s = Math.abs(v); return s >= 999.5e6 ? three(v / 1e9) + "G" : s >= 999.5e3 ? three(v / 1e6) + "M" : s >= 9995 ? three(v / 1e3) + "k" : three(v); };
  const seconds = (v) => (v >= 0.9995 || v === 0 ? three(v) + "s" : v >= 0.9995e-3 ? three(v * 1e3) + "ms" : three(v * 1e6) + "µs");
  const clock = (at) => {
    const sign = at < 0 ? "-" : "", s = Math.abs(at);
    if (s < 60) return sign + trim(s.toFixed(1)) + "s";
    const w = Math.round(s), h = Math.floor(w / 3600), m = Math.floor(w / 60) % 60, r = w % 60;
    return sign + (h ? h + "h" : "") + (m || !h ? m + "m" : "") + (r ? String(r).padStart(2, "0") + "s" : "");
  };
  const said = (chart, curve, v) => {
    if (v === null || v === undefined) return "–";
    if (curve.style === "breaker") return v >= 1.5 ? "open" : v >= 0.5 ? "half open" : v > 0.02 ? "partly open" : "closed";
    if (curve.style === "throttle") return "admits " + trim(((1 - v) * 100).toFixed(1)) + "%";
    if (curve.style === "level") return "level " + three(v);
    if (chart.unit === "share") return trim((v * 100).toFixed(1)) + "%";
    if (chart.unit === "seconds") return seconds(v);
    return number(v) + (chart.unit === "rate" ? "/s" : "");
  };
  const shownVariants = () => (view.together ? view.shown : [view.one]);

  // --- scales ---
  const indexAt = (at) => Math.max(0, Math.floor((at - data.from) / data.step));
  const visible = () => [Math.max(0, indexAt(view.from) - 1), indexAt(view.to) + 1];
  const nice = (span, count) => {
    const raw = span / count, power = 10 ** Math.floor(Math.log10(raw)), part = raw / power;
    return (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10) * power;
  };
  const scaleOf = (chart) => {
    if (chart.form === "lanes") return { lanes: chart.curves.map((curve, c) => laneTop(chart, curve, c)) };
    if (chart.unit === "share") return { low: 0, high: 1, ticks: [0, 0.5, 1] };
    const [start, end] = visible();
    let low = Infinity, high = 0;
    for (const v of shownVariants()) {
      for (let i = start; i <= end; i++) {
        let sum = 0;
        chart.data[v].forEach((points, c) => {
          const value = points && points[i];
          if (value === null || value === undefined) return;
          const half = chart.band && chart.band[v][c] ? chart.band[v][c][i] || 0 : 0;
          sum = chart.form === "stack" ? sum + value : Math.max(sum, value + half);
          if (value > 0) low = Math.min(low, value);
        });
        for (const over of (chart.over && chart.over[v]) || []) {
          const value = over && (over.band ? over.band[1][i] : over.points[i]);
          if (value === null || value === undefined) continue;
          high = Math.max(high, value);
          if (value > 0) low = Math.min(low, value);
        }
        high = Math.max(high, sum);
      }
    }
    for (const hint of chart.hints) if (hint.at < high * 3) high = Math.max(high, hint.at);
    if (high === 0) high = 1;
    if (chart.unit === "seconds") {
      let bottom = Math.floor(Math.log10(Math.max(Math.min(low, high), high / 1e5)));
      const top = Math.max(Math.ceil(Math.log10(high)), bottom + 1), ticks = [];
      for (let power = bottom; power <= top; power++) ticks.push(10 ** power);
      return { low: 10 ** bottom, high: 10 ** top, ticks, log: true };
    }
    high *= 1.04;
    const step = nice(high, 3), ticks = [];
    for (let tick = 0; tick <= high; tick += step) ticks.push(tick);
    return { low: 0, high, ticks };
  };
  const laneTop = (chart, curve, c) => {
    if (curve.style === "breaker") return 2;
    if (curve.style === "throttle") return 1;
    return Math.max(1, ...all.flatMap((v) => chart.data[v][c] || [0]));
  };
  const timeTicks = (width) => {
    const span = view.to - view.from, steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400];
    const step = steps.find((s) => span / s <= Math.max(2, width / 58)) || 86400, ticks = [];
    for (let tick = Math.ceil(view.from / step) * step; tick <= view.to + 1e-9; tick += step) ticks.push(tick);
    return ticks;
  };

  // --- drawing ---
  const defs = () => {
    const line = { up: "M-1 5L5 -1M-1 1L1 -1M3 5L5 3", down: "M-1 -1L5 5M3 -1L5 1M-1 3L1 5", level: "M0 2H4", cross: "M0 0L4 4M0 4L4 0" };
    return Object.entries(hatched).map(([style, kind]) =>
      `<pattern id="hatch-${style}" width="4" height="4" patternUnits="userSpaceOnUse">` +
      (kind === "dots" ? `<circle cx="2" cy="2" r="0.9" fill="var(--hatch)"/>` : `<path d="${line[kind]}" stroke="var(--hatch)" stroke-width="0.9" fill="none"/>`) + "</pattern>").join("") +
      `<pattern id="hatch-window" width="8" height="8" patternUnits="userSpaceOnUse"><path d="M-2 10L10 -2M-2 2L2 -2M6 10L10 6" stroke="var(--fault)" stroke-width="1" opacity="0.35"/></pattern>`;
  };
  const stroke = (curve) => {
    if (curve.style === "node") return `stroke="var(--node)" stroke-width="0.8" opacity="0.75"`;
    const index = Number((curve.style.match(/\d+$/) || [0])[0]);
    return `stroke="var(--line${index})" stroke-width="1.6" stroke-dasharray="${data.over ? "" : dashes[index]}"`;
  };
  // What was predicted: dashed, in a band over all predicted runs.
  const drawOver = (over, colour, x, y) => {
    if (!over) return "";
    const [start, end] = visible();
    let path = "", pen = false, upper = [], lower = [], shade = "";
    const close = () => {
      if (upper.length > 1) shade += `<path d="M${upper.join("L")}L${lower.reverse().join("L")}Z" fill="${colour}" opacity="0.16"/>`;
      upper = []; lower = [];
    };
    for (let i = start; i <= Math.min(end, over.points.length - 1); i++) {
      const at = x(middle(i)).toFixed(1);
      if (over.band && over.band[0][i] !== null) {
        lower.push(at + " " + y(over.band[0][i]).toFixed(1)); upper.push(at + " " + y(over.band[1][i]).toFixed(1));
      } else close();
      if (over.points[i] === null) { pen = false; continue; }
      path += (pen ? "L" : "M") + at + " " + y(over.points[i]).toFixed(1);
      pen = true;
    }
    close();
    return shade + `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.8" stroke-dasharray="6 4" stroke-linejoin="round"/>`;
  };
  const draw = (panel) => {
    const { svg, chart, variant } = panel, lanes = chart.form === "lanes";
    const width = Math.max(160, svg.clientWidth || 300);
    const height = lanes ? 40 + chart.curves.length * 30 : view.together ? 150 : narrow() ? 190 : 240;
    const box = { left: lanes ? 8 : 44, right: width - 6, top: 18, bottom: height - 18 };
    const x = (at) => box.left + ((at - view.from) / (view.to - view.from)) * (box.right - box.left);
    panel.x = x; panel.box = box; panel.width = width;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = height + "px";
    const scale = chart.scale, y = scale.log
      ? (v) => box.bottom - ((Math.log10(Math.max(v, scale.low)) - Math.log10(scale.low)) / (Math.log10(scale.high) - Math.log10(scale.low))) * (box.bottom - box.top)
      : (v) => box.bottom - (v / scale.high) * (box.bottom - box.top);
    let out = "";
    if (!lanes) for (const tick of scale.ticks) {
      const text = chart.unit === "share" ? tick * 100 + "%" : chart.unit === "seconds" ? seconds(tick) : number(tick);
      out += `<path d="M${box.left} ${y(tick).toFixed(1)}H${box.right}" stroke="var(--grid)"/><text x="${box.left - 4}" y="${(y(tick) + 3.5).toFixed(1)}" text-anchor="end">${text}</text>`;
    }
    for (const tick of timeTicks(box.right - box.left)) {
      const at = x(tick), anchor = at > box.right - 14 ? "end" : at < box.left + 12 ? "start" : "middle";
      out += `<path d="M${at.toFixed(1)} ${box.bottom}v3" stroke="var(--soft)"/><text x="${at.toFixed(1)}" y="${height - 5}" text-anchor="${anchor}">${clock(tick)}</text>`;
    }
    const inside = `<svg x="${box.left}" y="0" width="${box.right - box.left}" height="${box.bottom}" viewBox="${box.left} 0 ${box.right - box.left} ${box.bottom}">`;
    out += inside + windows(panel, false);
    if (lanes) out += drawLanes(panel); else if (chart.form === "stack") out += drawStack(panel, y); else out += drawLines(panel, y);
    out += windows(panel, true) + "</svg>";
    for (const hint of lanes ? [] : chart.hints) {
      if (hint.at > scale.high) continue;
      const at = y(hint.at).toFixed(1);
      out += `<path d="M${box.left} ${at}H${box.right}" stroke="var(--ink)" stroke-width="1.2" stroke-dasharray="8 3 2 3"/><text x="${box.right - 3}" y="${at - 4}" text-anchor="end" style="fill:var(--ink)">${escape(hint.text)}</text>`;
    }
    if (!lanes && !chart.data[variant].some((points) => points) && !(chart.over && chart.over[variant].some((over) => over))) out += `<text class="none" x="${(box.left + box.right) / 2}" y="${(box.top + box.bottom) / 2}">none here</text>`;
    out += `<rect class="pick" y="${box.top}" height="${box.bottom - box.top}" width="0"/><path class="cross" d="M0 ${box.top}V${box.bottom}" visibility="hidden"/>`;
    svg.innerHTML = out;
    panel.cross = svg.querySelector(".cross"); panel.pick = svg.querySelector(".pick");
  };
  const windows = ({ variant, x, box }, front) => {
    let out = "", last = -Infinity;
    const here = data.windows.filter((window) => (window.variant === null || window.variant === variant)
      && (window.to ?? window.from) >= view.from && window.from <= view.to);
    here.forEach((window, order) => {
      const colour = window.fault ? "fault" : "action", start = Math.max(x(window.from), box.left - 5);
      if (!front) {
        if (window.to === null) return;
        const wide = (Math.min(x(window.to), box.right + 5) - start).toFixed(1);
        out += `<rect x="${start.toFixed(1)}" y="${box.top}" width="${wide}" height="${box.bottom - box.top}" fill="var(--${colour})" opacity="0.11"/>`;
        if (window.fault) out += `<rect x="${start.toFixed(1)}" y="${box.top - 5}" width="${wide}" height="5" fill="url(#hatch-window)"/>`;
        return;
      }
      out += `<path d="M${start.toFixed(1)} ${box.top - 5}V${box.bottom}" stroke="var(--${colour})" stroke-width="1.2"${window.fault ? "" : ' stroke-dasharray="5 2"'}/>`;
      if (window.to !== null) out += `<path d="M${x(window.to).toFixed(1)} ${box.top - 5}V${box.bottom}" stroke="var(--${colour})" stroke-width="0.8" opacity="0.7"/>`;
      const at = Math.max(start, box.left, last) + 2;
      if (at - start > 40) return;
      // A label has the room up to the next one; what does not fit is in the timeline under the same tag.
      const next = here[order + 1] ? Math.max(x(here[order + 1].from), at + 16) : box.right;
      const full = window.tag + " " + window.text, room = Math.floor((next - at - 4) / 5.9);
      const text = view.together || room < 8 ? window.tag : full.length <= room ? full : full.slice(0, room - 1) + "…";
      last = at + (text === window.tag ? 16 : text.length * 5.9);
      out += `<text class="tag ${colour}" x="${at.toFixed(1)}" y="11">${escape(text)}</text>`;
    });
    return out;
  };
  const middle = (i) => data.from + (i + 0.5) * data.step;
  const drawStack = ({ chart, variant, x }, y) => {
    const [start, end] = visible(), count = Math.min(end, longest(chart.data[variant]) - 1);
    let below = new Array(Math.max(0, count - start + 1)).fill(0), out = "";
    chart.curves.forEach((curve, c) => {
      const points = chart.data[variant][c];
      if (!points || below.length === 0) return;
      const above = below.map((b, i) => b + (points[start + i] || 0));
      const edge = (row, i) => `${x(middle(start + i)).toFixed(1)} ${y(row[i]).toFixed(1)}`;
      const path = "M" + above.map((_, i) => edge(above, i)).join("L") + "L" + below.map((_, i) => edge(below, below.length - 1 - i)).join("L") + "Z";
      out += `<path d="${path}" fill="var(--${curve.style})"/>`;
      if (hatched[curve.style]) out += `<path d="${path}" fill="url(#hatch-${curve.style})"/>`;
      below = above;
    });
    // Twice, so that it is seen on every colour.
    const over = chart.over && chart.over[variant][0];
    if (over) out += drawOver({ points: over.points }, "var(--card)", x, y).replace('stroke-width="1.8" stroke-dasharray="6 4"', 'stroke-width="3.6" opacity="0.8"') + drawOver(over, "var(--ink)", x, y);
    return out;
  };
  const longest = (curves) => Math.max(0, ...curves.map((points) => (points ? points.length : 0)));
  const drawLines = ({ chart, variant, x }, y) => {
    const [start, end] = visible();
    const order = chart.curves.map((_, c) => c).sort((a, b) => (chart.curves[b].style === "node") - (chart.curves[a].style === "node"));
    return order.map((c) => {
      const points = chart.data[variant][c] || (chart.over && []), band = chart.band && chart.band[variant][c];
      if (!points) return "";
      let path = "", pen = false, upper = [], lower = [];
      for (let i = start; i <= Math.min(end, points.length - 1); i++) {
        if (points[i] === null) { pen = false; continue; }
        const at = x(middle(i)).toFixed(1);
        path += (pen ? "L" : "M") + at + " " + y(points[i]).toFixed(1);
        pen = true;
        if (band) { upper.push(at + " " + y(points[i] + (band[i] || 0)).toFixed(1)); lower.unshift(at + " " + y(Math.max(0, points[i] - (band[i] || 0))).toFixed(1)); }
      }
      const shade = upper.length ? `<path d="M${upper.join("L")}L${lower.join("L")}Z" ${stroke(chart.curves[c]).replace(/stroke="([^"]*)".*/, 'fill="$1" opacity="0.18"')}/>` : "";
      const colour = stroke(chart.curves[c]).match(/stroke="([^"]*)"/)[1];
      const over = chart.over && chart.curves[c].style !== "node" ? drawOver(chart.over[variant][c], colour, x, y) : "";
      return shade + over + `<path d="${path}" fill="none" stroke-linejoin="round" ${stroke(chart.curves[c])}/>`;
    }).join("");
  };
  const drawLanes = ({ chart, variant, x, box }) => {
    const [start, end] = visible(), colour = { breaker: "--error", throttle: "--shed", level: "--wrong" };
    return chart.curves.map((curve, c) => {
      const base = box.top + 4 + (c + 1) * 30 - 2, points = chart.data[variant][c], top = chart.scale.lanes[c];
      let out = `<path d="M${box.left} ${base}H${box.right}" stroke="var(--line)"/>`;
      if (points) {
        let path = `M${x(data.from + start * data.step).toFixed(1)} ${base}`;
        for (let i = start; i <= Math.min(end, points.length - 1); i++) {
          const high = (base - ((points[i] || 0) / top) * 15).toFixed(1);
          path += `L${x(data.from + i * data.step).toFixed(1)} ${high}L${x(data.from + (i + 1) * data.step).toFixed(1)} ${high}`;
        }
        path += `L${x(data.from + Math.min(end + 1, points.length) * data.step).toFixed(1)} ${base}Z`;
        out += `<path d="${path}" fill="var(${colour[curve.style]})"/>`;
        const hatch = { breaker: "error", throttle: "shed", level: "wrong" }[curve.style];
        out += `<path d="${path}" fill="url(#hatch-${hatch})" opacity="0.6"/>`;
      }
      out += drawOver(chart.over && chart.over[variant][c] && { points: chart.over[variant][c].points }, "var(--ink)", x, (v) => base - (Math.min(v, top) / top) * 15);
      return out + `<text class="lane" x="${box.left + 3}" y="${base - 17}">${escape(curve.name)}${points ? "" : ": not there"}</text>`;
    }).join("");
  };

  // --- the page's frame ---
  const element = (name, properties = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) if (key in made) made[key] = value; else made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const swatch = (curve) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    made.setAttribute("viewBox", "0 0 24 12"); made.setAttribute("aria-hidden", "true");
    made.innerHTML = outcomes.includes(curve.style)
      ? `<rect width="24" height="12" rx="2" fill="var(--${curve.style})"/>` + (hatched[curve.style] ? `<rect width="24" height="12" rx="2" fill="url(#hatch-${curve.style})"/>` : "")
      : `<path d="M0 6H24" ${stroke(curve)}/>`;
    return made;
  };
  const legend = (chart) => {
    const kept = chart.curves.filter((curve) => curve.style !== "node");
    const entries = kept.map((curve) => element("span", {}, swatch(curve), curve.name));
    if (kept.length < chart.curves.length) entries.push(element("span", {}, swatch({ style: "node" }), "one node each"));
    if (chart.form === "lanes") entries.length = 0;
    if (data.over) for (const [what, dash] of [["measured", ""], ["predicted", "6 4"]]) {
      if (chart.form === "stack" && what === "measured") continue;
      const line = swatch({ style: "node" });
      line.innerHTML = what === "measured" && chart.form !== "lines" ? '<rect width="24" height="12" rx="2" fill="var(--node)"/>' : `<path d="M0 6H24" stroke="var(--ink)" stroke-width="1.8" stroke-dasharray="${dash}"/>`;
      entries.push(element("span", { className: "kind" }, line, chart.form === "stack" && what === "predicted" ? "right answers, predicted" : what));
    }
    return element("div", { className: "legend" }, ...entries);
  };
  const columns = (count) => {
    const most = Math.max(1, Math.floor(charts.clientWidth / 205));
    return count <= most ? count : Math.ceil(count / Math.ceil(count / most));
  };
  const build = () => {
    charts.textContent = ""; panels.length = 0;
    data.charts.forEach((chart, index) => {
      const variants = shownVariants();
      const grid = element("div", { className: "panels" });
      grid.style.gridTemplateColumns = `repeat(${columns(variants.length)}, minmax(0, 1fr))`;
      for (const variant of variants) {
        const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        svg.setAttribute("role", "img"); svg.setAttribute("tabindex", "0");
        svg.setAttribute("aria-label", `${chart.title}, ${data.variants[variant].name}; arrow keys read it, plus and minus zoom, escape shows all`);
        grid.append(element("div", { className: "panel" }, element("h4", { textContent: data.variants[variant].name }), svg));
        const panel = { svg, chart, variant, index };
        panels.push(panel); listen(panel);
      }
      charts.append(element("div", { className: "chart" }, element("h3", {}, chart.title + " ", element("small", { textContent: chart.note })), legend(chart), grid));
    });
    redraw();
  };
  const redraw = () => {
    for (const chart of data.charts) chart.scale = scaleOf(chart);
    panels.forEach(draw);
    point();
    reset.disabled = view.from === data.from && view.to === data.to;
  };
  const point = () => {
    for (const panel of panels) {
      const inside = view.at !== null && view.at >= view.from && view.at <= view.to;
      panel.cross.setAttribute("visibility", inside ? "visible" : "hidden");
      if (inside) panel.cross.setAttribute("transform", `translate(${panel.x(view.at).toFixed(1)} 0)`);
    }
    readout.hidden = view.at === null;
    if (view.at === null) return;
    const chart = data.charts[view.chart], i = indexAt(view.at), variants = shownVariants();
    const rows = chart.curves.map((curve, c) => {
      const cells = variants.map((v) => {
        const value = chart.data[v][c] && chart.data[v][c][i], half = chart.band && chart.band[v][c] && chart.band[v][c][i];
        const over = chart.over && chart.form !== "stack" && chart.over[v][c] && chart.over[v][c].points[i];
        const beside = over === null || over === undefined || over === false ? "" : ` <i>(${said(chart, curve, over)})</i>`;
        return `<td>${said(chart, curve, value)}${half ? " ±" + said(chart, curve, half) : ""}${beside}</td>`;
      });
      return `<tr><th>${escape(curve.name)}</th>${cells.join("")}</tr>`;
    });
    const heads = variants.map((v) => `<th>${escape(data.variants[v].name)}</th>`).join("");
    if (chart.over && chart.form === "stack") rows.push(`<tr><th>right answers, predicted</th>${variants.map((v) => `<td><i>${said(chart, chart.curves[0], chart.over[v][0] && chart.over[v][0].points[i])}</i></td>`).join("")}</tr>`);
    readout.innerHTML = `<b>${clock(view.at)}</b> ${escape(chart.title)}${data.over ? " <i>(predicted)</i>" : ""}<table><tr><th></th>${heads}</tr>${rows.join("")}</table>`;
  };
  const zoom = (from, to) => {
    const least = Math.min(data.step * 4, data.to - data.from);
    if (to - from < least) { const centre = (from + to) / 2; from = centre - least / 2; to = centre + least / 2; }
    view.from = Math.max(data.from, from); view.to = Math.min(data.to, to);
    redraw();
  };

  // --- hands ---
  const listen = (panel) => {
    const { svg } = panel;
    const at = (event) => {
      const place = svg.getBoundingClientRect(), px = ((event.clientX - place.left) / place.width) * panel.width;
      const share = (px - panel.box.left) / (panel.box.right - panel.box.left);
      return Math.min(view.to, Math.max(view.from, view.from + share * (view.to - view.from)));
    };
    let began = null;
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      began = at(event); svg.setPointerCapture(event.pointerId);
      view.at = began; view.chart = panel.index; point();
    });
    svg.addEventListener("pointermove", (event) => {
      view.at = at(event); view.chart = panel.index;
      readout.classList.toggle("above", event.clientY > innerHeight * 0.55);
      if (began !== null) {
        const [a, b] = [panel.x(began), panel.x(view.at)].sort((p, q) => p - q);
        panel.pick.setAttribute("x", a); panel.pick.setAttribute("width", b - a);
      }
      point();
    });
    svg.addEventListener("pointerup", (event) => {
      if (began === null) return;
      const [from, to] = [began, at(event)].sort((p, q) => p - q), wide = panel.x(to) - panel.x(from);
      began = null; panel.pick.setAttribute("width", 0);
      if (wide > 8) zoom(from, to);
    });
    svg.addEventListener("pointercancel", () => { began = null; panel.pick.setAttribute("width", 0); });
    svg.addEventListener("pointerleave", () => { if (began === null) { view.at = null; point(); } });
    svg.addEventListener("dblclick", () => zoom(data.from, data.to));
    svg.addEventListener("blur", () => { view.at = null; point(); });
    svg.addEventListener("keydown", (event) => {
      const span = view.to - view.from, centre = view.at ?? (view.from + view.to) / 2;
      const step = event.shiftKey ? span / 10 : Math.max(data.step, span / 200);
      const go = (to) => { view.at = Math.min(view.to, Math.max(view.from, to)); view.chart = panel.index; point(); };
      const acts = {
        ArrowLeft: () => go(centre - step), ArrowRight: () => go(centre + step), Home: () => go(view.from), End: () => go(view.to),
        "+": () => zoom(centre - span / 4, centre + span / 4), "=": () => zoom(centre - span / 4, centre + span / 4),
        "-": () => zoom(centre - span, centre + span), Escape: () => zoom(data.from, data.to), 0: () => zoom(data.from, data.to),
      };
      if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
    });
  };
  const reset = element("button", { type: "button", textContent: "Whole run", onclick: () => zoom(data.from, data.to) });
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const makeTools = () => {
    const modes = [["Side by side", true], ["One at a time", false]].map(([text, together]) => {
      const button = element("button", { type: "button", textContent: text });
      press(button, view.together === together);
      button.onclick = () => { view.together = together; makeTools(); build(); };
      return button;
    });
    const chips = all.map((v) => {
      const button = element("button", { type: "button", textContent: data.variants[v].name });
      press(button, shownVariants().includes(v));
      button.onclick = () => {
        if (!view.together) view.one = v;
        else if (!view.shown.includes(v)) view.shown = [...view.shown, v].sort((a, b) => a - b);
        else if (view.shown.length > 1) view.shown = view.shown.filter((other) => other !== v);
        makeTools(); build();
      };
      return button;
    });
    tools.replaceChildren(...(all.length > 1 ? [element("div", {}, ...modes), element("div", {}, ...chips)] : []),
      element("div", {}, reset), element("span", { className: "hint", textContent: "drag to zoom, double-click for the whole run" }));
    tools.hidden = false;
  };
  const wish = location.hash.match(/light|dark/);
  if (wish) document.documentElement.dataset.theme = wish[0];
  theme.hidden = false;
  theme.onclick = () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const now = document.documentElement.dataset.theme || system;
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  };
  // Paper is white: what is printed is the light page.
  let before;
  addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; document.documentElement.dataset.theme = "light"; });
  addEventListener("afterprint", () => { if (before) document.documentElement.dataset.theme = before; else delete document.documentElement.dataset.theme; });
  const shared = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  shared.setAttribute("width", "0"); shared.setAttribute("height", "0"); shared.style.position = "absolute"; shared.setAttribute("aria-hidden", "true");
  shared.innerHTML = `<defs>${defs()}</defs>`;
  document.body.prepend(shared);
  makeTools(); build();
  let width = charts.clientWidth;
  addEventListener("resize", () => { if (charts.clientWidth !== width) { width = charts.clientWidth; build(); } });
})();
