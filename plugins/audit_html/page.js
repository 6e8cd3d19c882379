"use strict";
// Draws the curves and ties them to the findings. Text from the audited files is only ever set as textContent or as the
// value of a text attribute: nothing here builds markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const tip = document.getElementById("tip");
  const same = document.getElementById("same");
  const RANK = { error: 2, warning: 1, info: 0, accepted: -1 };
  const STEPS = [1, 2, 5].flatMap((n) => Array.from({ length: 16 }, (_, e) => n * 10 ** e)).sort((a, b) => a - b);
  const NEAR = 15; // pixels: marks that are closer are drawn as one
  const everything = document.getElementById("whole");
  const charts = [];
  let printing = false;

  // -- small things -------------------------------------------------------------------------------------------------

  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const probe = make("span", "unseen");
  document.body.append(probe);
  const color = (name, alpha) => {
    probe.style.color = `var(--${name})`;
    const found = getComputedStyle(probe).color;
    if (alpha === undefined) return found;
    return found.replace(/^rgba?\((\d+), (\d+), (\d+).*$/, `rgba($1, $2, $3, ${alpha})`);
  };

  const whole = (value) => value.toLocaleString("en-US");
  const short = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-3) return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
    return String(Number(value.toPrecision(4)));
  };

  const chosen = () => new Set([...document.querySelectorAll(".filter input:checked")].map((box) => box.value));

  // -- the numbers of a chart, on one axis ----------------------------------------------------------------------------

  const table = (series) => {
    const steps = [...new Set(series.flatMap((one) => one.x))].sort((a, b) => a - b);
    const place = new Map(steps.map((step, index) => [step, index]));
    const column = (one, key) => {
      const found = new Array(steps.length).fill(undefined); // undefined: not logged here; null: not a number
      one.x.forEach((step, index) => (found[place.get(step)] = one[key][index]));
      return found;
    };
    const columns = series.flatMap((one) => (one.low ? ["y", "low", "high"] : ["y"]).map((key) => column(one, key)));
    return [steps, ...columns];
  };

  const span = (series) => {
    let low = Infinity, high = -Infinity;
    for (const one of series)
      for (const key of one.low ? ["low", "high"] : ["y"])
        for (const value of one[key])
          if (value !== null) {
            if (value < low) low = value;
            if (value > high) high = value;
          }
    return [low, high];
  };

  const wantsLog = (series) => {
    const [low, high] = span(series);
    const middles = series.flatMap((one) => one.y).filter((value) => value !== null).sort((a, b) => a - b);
    return low > 0 && high > 7 * middles[middles.length >> 1];
  };

  // -- marks over a chart ---------------------------------------------------------------------------------------------

  const clusters = (u, items) => {
    const found = [];
    const width = u.over.clientWidth;
    for (const item of [...items].sort((a, b) => a.step - b.step)) {
      const left = u.valToPos(item.step, "x");
      if (left < -1 || left > width + 1) continue;
      const last = found[found.length - 1];
      if (last && left - last.left < NEAR) last.items.push(item);
      else found.push({ left, items: [item] });
    }
    return found;
  };

  const showTip = (anchor, lines) => {
    tip.replaceChildren(...lines.slice(0, 6).map((line) => make("p", "", line)));
    if (lines.length > 6) tip.append(make("p", "", `and ${lines.length - 6} more`));
    tip.hidden = false;
    const box = anchor.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
  };
  const hideTip = () => (tip.hidden = true);

  const goTo = (id) => {
    const target = document.getElementById(id);
    if (!target) return;
    for (let up = target.parentElement; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "nearest", behavior: calm() });
    target.classList.remove("pulse");
    void target.offsetWidth; // restarts the animation
    target.classList.add("pulse");
  };
  const calm = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");

  const mark = (chart, className, cluster, lines, target, live) => {
    const made = make(live ? "button" : "span", `pin ${className}`);
    made.style.left = `${cluster.left}px`;
    made.dataset.step = cluster.items[0].step;
    if (cluster.items.length > 1) made.append(make("b", "", String(cluster.items.length)));
    if (!live) {
      made.setAttribute("aria-hidden", "true");
    } else {
      made.type = "button";
      made.setAttribute("aria-label", `step ${whole(cluster.items[0].step)}: ${lines.slice(0, 3).join("; ")}`);
      made.addEventListener("focus", () => showTip(made, lines));
      made.addEventListener("blur", hideTip);
      made.addEventListener("click", () => target && goTo(target));
      made.addEventListener("mousedown", (event) => event.stopPropagation()); // does not start a zoom
      made.addEventListener("dblclick", (event) => event.stopPropagation());
    }
    made.addEventListener("mouseenter", () => showTip(made, lines));
    made.addEventListener("mouseleave", hideTip);
    return made;
  };

  const ORDER = ["broken", "unreadable", "incomplete", "unknown", "being-deleted", "weights-only", "in-progress", "not-judged", "resumable"];
  const worst = (items) =>
    items.reduce((a, b) => (ORDER.indexOf(b.state.split(" ")[0]) < ORDER.indexOf(a.state.split(" ")[0]) ? b : a));

  const pins = (chart, u) => {
    const held = document.activeElement && document.activeElement.closest(".pins") === chart.pins;
    const heldAt = held ? [document.activeElement.dataset.step, document.activeElement.dataset.kind] : null;
    const shown = chosen();
    const made = [];
    for (const cluster of clusters(u, chart.findings.filter((item) => shown.has(item.severity)))) {
      cluster.items.sort((a, b) => RANK[b.severity] - RANK[a.severity]);
      const first = cluster.items[0];
      const lines = cluster.items.map((item) => item.text);
      const pin = mark(chart, `found ${first.severity}`, cluster, lines, `${chart.run.id}-f${first.number}`, true);
      pin.dataset.kind = "finding";
      pin.dataset.numbers = cluster.items.map((item) => item.number).join(" ");
      made.push(pin);
    }
    for (const cluster of clusters(u, chart.run.marks)) {
      const lines = cluster.items.map((item) => item.text);
      const one = cluster.items.find((item) => item.state.includes(" here")) || worst(cluster.items);
      const state = cluster.items.length > 1 ? `${worst(cluster.items).state.replace(" here", "")}${one.state.includes(" here") ? " here" : ""}` : one.state;
      const target = one.row === null ? null : `${chart.run.id}-m${one.row}`;
      const pin = mark(chart, `saved mark ${state}`, cluster, lines, target, chart.first);
      pin.dataset.kind = "checkpoint";
      made.push(pin);
    }
    chart.pins.replaceChildren(...made);
    if (heldAt) {
      const again = made.find((pin) => pin.dataset.step === heldAt[0] && pin.dataset.kind === heldAt[1]);
      if (again) again.focus({ preventScroll: true });
    }
  };

  // -- below and above the curves --------------------------------------------------------------------------------------

  const bands = (chart, u) => {
    const { ctx, bbox } = u;
    const ends = chart.run.legs;
    ctx.save();
    ctx.fillStyle = color("band", 0.06);
    for (let index = 1; index < ends.length; index += 2) {
      const from = Math.max(bbox.left, u.valToPos(ends[index - 1], "x", true));
      const to = Math.min(bbox.left + bbox.width, u.valToPos(ends[index], "x", true));
      if (to > from) ctx.fillRect(from, bbox.top, to - from, bbox.height);
    }
    ctx.restore();
  };

  const lines = (chart, u) => {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio || 1;
    const inside = (x) => x >= bbox.left - 1 && x <= bbox.left + bbox.width + 1;
    const upright = (x, style, width, dash) => {
      ctx.strokeStyle = style;
      ctx.lineWidth = width * ratio;
      ctx.setLineDash(dash.map((length) => length * ratio));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    };
    ctx.save();
    ctx.font = `${10.5 * ratio}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    ctx.textAlign = "left";
    const ends = chart.run.legs.slice(0, -1);
    let free = -Infinity;
    ends.forEach((end, index) => {
      const x = u.valToPos(end, "x", true);
      if (!inside(x)) return;
      upright(x, color("line", 0.9), 1, [4, 3]);
      const text = `batch ${index + 2}`;
      const width = ctx.measureText(text).width + 8 * ratio;
      if (x < free || x + width > bbox.left + bbox.width) return;
      free = x + width;
      ctx.fillStyle = color("faint");
      ctx.fillText(text, x + 4 * ratio, bbox.top + 3 * ratio);
    });
    const shown = chosen();
    for (const item of chart.findings) {
      const x = u.valToPos(item.step, "x", true);
      if (shown.has(item.severity) && inside(x)) upright(x, color(item.severity, 0.55), 1.25, []);
    }
    ctx.setLineDash([]);
    ctx.lineWidth = 1.75 * ratio;
    for (const one of chart.series) {
      ctx.strokeStyle = color(`c-${one.color}`);
      for (const [step] of one.odd) {
        const x = u.valToPos(step, "x", true), y = bbox.top + 20 * ratio, r = 3.5 * ratio;
        if (!inside(x)) continue;
        ctx.beginPath();
        ctx.moveTo(x - r, y - r); ctx.lineTo(x + r, y + r);
        ctx.moveTo(x + r, y - r); ctx.lineTo(x - r, y + r);
        ctx.stroke();
      }
    }
    ctx.restore();
  };

  // -- charts -----------------------------------------------------------------------------------------------------------

  const read = (chart) => {
    const u = chart.plot;
    const index = u.cursor.idx;
    if (index === null || index === undefined || u.cursor.left < 0) {
      chart.readout.replaceChildren();
      chart.figure.classList.remove("reading");
      return;
    }
    const step = u.data[0][index];
    const parts = [make("b", "", `step ${whole(step)}`)];
    chart.series.forEach((one) => {
      const at = one.x.indexOf(step);
      if (at < 0) return;
      const odd = one.odd.find((item) => item[0] === step);
      let text = one.y[at] === null ? "" : short(one.y[at]);
      if (one.low && one.y[at] !== null) text += ` (${short(one.low[at])} to ${short(one.high[at])}, ${one.each} entries)`;
      if (odd) text += `${text ? ", " : ""}${odd[1]}${odd[2] > 1 ? ` and ${odd[2] - 1} more` : ""}`;
      parts.push(key(one, text));
    });
    chart.readout.replaceChildren(...parts);
    chart.figure.classList.add("reading");
  };

  const key = (one, text) => {
    const made = make("span", `key c-${one.color}${one.current && !one.dashed ? "" : " past"}`);
    made.append(make("i"), document.createTextNode(text === undefined ? one.label : `${one.label} ${text}`));
    return made;
  };

  const range = (chart, log) => (u, low, high) => {
    if (same && same.checked) {
      const spans = charts.filter((other) => other.key === chart.key).map((other) => span(other.series));
      low = Math.min(...spans.map((pair) => pair[0]));
      high = Math.max(...spans.map((pair) => pair[1]));
    }
    if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
    if (log) return low > 0 ? [low * 0.9, high * 1.15] : [1e-6, 1];
    if (low === high) return low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
    const room = (high - low) * 0.06;
    return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
  };

  // Charts that share their scale: the same metric of all runs; with a logarithmic scale, all that can have one.
  const alike = (chart) => charts.filter((other) => other.key === chart.key && other.tell && (other === chart || (same && same.checked)));

  const limits = (chart) => {
    const last = same && same.checked ? Math.max(...data.runs.map((run) => run.last)) : chart.run.last;
    return [0, Math.max(1, last) * 1.015];
  };

  // Ticks of a logarithmic axis: 1, 2 and 5 of each power of ten, or only the powers if there are many.
  const round = (u, splits) => {
    const few = u.scales.y.max < 200 * u.scales.y.min;
    return splits.map((value) => {
      const first = Number(value.toExponential(6).split("e")[0]);
      return first === 1 || (few && (first === 2 || first === 5)) ? value : null;
    });
  };

  const options = (chart, width) => {
    const axis = { stroke: color("faint"), font: "11px system-ui, sans-serif", grid: { stroke: color("grid"), width: 1 }, ticks: { stroke: color("grid"), width: 1, size: 4 } };
    const series = [{}], filled = [];
    for (const one of chart.series) {
      const few = one.x.length <= 40;
      const style = { stroke: color(`c-${one.color}`, one.current ? 1 : 0.55), width: one.current ? 1.6 : 1.2, dash: one.dashed ? [7, 3] : one.current ? undefined : [3, 3], points: { show: few, size: few ? 5 : 0, fill: color(`c-${one.color}`) } };
      if (one.low) {
        const edge = { stroke: color(`c-${one.color}`, 0.5), width: 0.75, points: { show: false } };
        filled.push({ series: [series.length + 2, series.length + 1], fill: color(`c-${one.color}`, 0.16) });
        series.push(style, edge, edge);
      } else {
        series.push(style);
      }
    }
    return {
      width,
      height: (printing || !chart.first ? 176 : 260) + (chart.lane ? 16 : 0),
      padding: [chart.lane ? 24 : 10, 14, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, range: (u, low, high) => (chart.zoom ? chart.zoom : limits(chart)) },
        y: { distr: chart.log ? 3 : 1, range: range(chart, chart.log) },
      },
      axes: [
        { ...axis, size: 50, gap: 18, incrs: STEPS, space: 64, values: (u, splits) => splits.map((value) => (Number.isInteger(value) ? whole(value) : "")) },
        { ...axis, size: 58, gap: 4, space: 30, filter: chart.log ? round : undefined, values: (u, splits) => splits.map((value) => (value === null ? "" : short(value))) },
      ],
      series,
      bands: filled,
      cursor: {
        y: false,
        points: { size: 6 },
        drag: { x: true, y: false, setScale: false },
        sync: { key: "all", setSeries: false, scales: ["x", null] },
      },
      hooks: {
        drawClear: [(u) => bands(chart, u)],
        draw: [(u) => { lines(chart, u); pins(chart, u); }],
        setCursor: [() => read(chart)],
        setSelect: [(u) => {
          if (u.select.width > 4) {
            const from = u.posToVal(u.select.left, "x"), to = u.posToVal(u.select.left + u.select.width, "x");
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            zoom([from, to]);
          }
        }],
      },
    };
  };

  // All charts of the page show the same steps; one of a run that has none of them keeps showing all of its own.
  const zoom = (wanted) => {
    for (const other of charts) {
      const [low, high] = limits(other);
      let [from, to] = wanted || [low, high];
      if (to - from < 2) [from, to] = [from - 1, from + 1];
      from = Math.max(low, from);
      to = Math.min(high, to);
      other.zoom = wanted && to > from && (from > low || to < high) ? [from, to] : null;
      if (other.plot) other.plot.setScale("x", other.zoom ? { min: from, max: to } : { min: low, max: high });
    }
    everything.hidden = !charts.some((other) => other.zoom);
  };

  const draw = (chart) => {
    const width = Math.max(200, chart.place.clientWidth);
    if (chart.plot) chart.plot.destroy();
    let numbers = table(chart.series);
    if (!numbers[0].length) {
      chart.series = [];
      numbers = [[0, Math.max(1, chart.run.last)], [null, null]];
    }
    const opts = options(chart, width);
    if (opts.series.length === 1) opts.series.push({ points: { show: false } });
    chart.pins = make("div", "pins");
    chart.plot = new uPlot(opts, numbers, chart.place);
    chart.plot.over.append(chart.pins);
    chart.plot.over.addEventListener("dblclick", () => zoom(null));
    chart.width = width;
    chart.plot.redraw(false);
    read(chart);
  };

  const drawAll = () => charts.forEach((chart) => chart.place.clientWidth && draw(chart));

  const keys = (chart) => (event) => {
    const u = chart.plot;
    if (event.target !== chart.place || event.altKey || event.ctrlKey || event.metaKey) return;
    const [from, to] = [u.scales.x.min, u.scales.x.max];
    const steps = u.data[0];
    const move = (index) => {
      const at = Math.min(Math.max(index, 0), steps.length - 1);
      if (steps[at] < from || steps[at] > to) {
        const half = (to - from) / 2;
        zoom([steps[at] - half, steps[at] + half]);
      }
      u.setCursor({ left: u.valToPos(steps[at], "x"), top: 20 });
    };
    const now = u.cursor.idx ?? -1;
    const by = event.shiftKey ? Math.max(10, Math.round(steps.length / 20)) : 1;
    const middle = now >= 0 && u.cursor.left >= 0 ? steps[now] : (from + to) / 2;
    const part = (share) => zoom([middle - (middle - from) * share, middle + (to - middle) * share]);
    const actions = {
      ArrowLeft: () => move(now < 0 ? steps.length - 1 : now - by),
      ArrowRight: () => move(now + by),
      Home: () => move(0),
      End: () => move(steps.length - 1),
      "+": () => part(0.5),
      "=": () => part(0.5),
      "-": () => part(2),
      0: () => zoom(null),
      Escape: () => { u.setCursor({ left: -10, top: -10 }); hideTip(); },
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  };

  const begin = (run, own, number) => {
    const place = document.getElementById(`${run.id}-c${number}`);
    const figure = place.closest("figure");
    const chart = { run, key: own.key, series: own.series, place, figure, readout: figure.querySelector(".readout"), first: number === 0, zoom: null, log: false, plot: null };
    const here = new Set(run.charts.map((other) => other.key));
    chart.findings = run.findings.filter((item) => (item.key && here.has(item.key) ? item.key === own.key : number === 0));
    const spans = data.runs.flatMap((other) => other.charts.filter((one) => one.key === own.key)).map((one) => span(one.series));
    const low = Math.min(...spans.map((pair) => pair[0]));
    const high = Math.max(...spans.map((pair) => pair[1]));
    const button = figure.querySelector(".log");
    if (low > 0 && high > 3 * low && own.key !== "learning_rate") {
      button.hidden = false;
      chart.log = wantsLog(own.series);
      const tell = () => button.setAttribute("aria-pressed", String(chart.log));
      button.addEventListener("click", () => {
        const log = !chart.log;
        for (const other of alike(chart)) {
          other.log = log;
          other.tell();
          draw(other);
        }
      });
      tell();
      chart.tell = tell;
    }
    const names = new Map(own.series.map((one) => [one.label, one]));
    if (names.size > 1) figure.querySelector(".legend").append(...[...names.values()].map((one) => key(one)));
    place.addEventListener("keydown", keys(chart));
    // Announced only for the chart with the focus: with the mouse all charts of a run show values at once.
    place.addEventListener("focus", () => chart.readout.setAttribute("aria-live", "polite"));
    place.addEventListener("blur", () => {
      chart.readout.setAttribute("aria-live", "off");
      if (chart.plot) chart.plot.setCursor({ left: -10, top: -10 });
    });
    charts.push(chart);
    return chart;
  };

  // The charts of all runs: in each, the curve of one metric, a line for each run.
  const COLORS = 8;
  const overlay = () => {
    const last = Math.max(...data.runs.map((run) => run.last));
    const run = { id: "all", last, legs: [], marks: [], findings: [], charts: [] };
    data.overlaid.forEach((metric) => {
      const series = data.runs.flatMap((from, number) => {
        const own = from.charts.find((other) => other.key === metric);
        const one = own && own.series.find((curve) => curve.key === metric && curve.current);
        return one ? [{ ...one, label: from.name, color: `run${number % COLORS}`, dashed: number >= COLORS }] : [];
      });
      run.charts.push({ key: metric, series });
    });
    run.charts.forEach((own, number) => begin(run, own, number));
  };

  // -- the page ---------------------------------------------------------------------------------------------------------

  const filter = () => {
    const shown = chosen();
    for (const item of document.querySelectorAll("[data-severity]")) item.hidden = !shown.has(item.dataset.severity);
    for (const section of document.querySelectorAll(".findings")) {
      const note = section.querySelector(".filtered");
      if (note) note.hidden = Boolean(section.querySelector(".list > li:not([hidden])"));
    }
    charts.forEach((chart) => chart.plot && chart.plot.redraw(false));
  };

  const THEMES = ["automatic", "light", "dark"];
  const remember = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("audit-theme");
      localStorage.setItem("audit-theme", value);
    } catch { /* pages of a sandbox have no storage */ }
    return null;
  };
  const theme = (name) => {
    if (name === "automatic") delete root.dataset.theme;
    else root.dataset.theme = name;
    document.getElementById("theme").textContent = `Theme: ${name}`;
    drawAll();
  };

  root.classList.add("script");
  if (data.overlaid.length) overlay();
  for (const run of data.runs) run.charts.forEach((own, number) => begin(run, own, number));
  // Side by side, charts of a metric have the same height: all leave room for pins if one has some.
  for (const chart of charts) chart.lane = chart.run.id !== "all" && charts.some((other) => other.key === chart.key && other.findings.length);
  let themed = THEMES.includes(remember()) ? remember() : "automatic";
  theme(themed);
  filter();

  document.getElementById("theme").addEventListener("click", () => {
    themed = THEMES[(THEMES.indexOf(themed) + 1) % 3];
    remember(themed);
    theme(themed);
  });
  everything.addEventListener("click", () => zoom(null));
  document.getElementById("print").addEventListener("click", () => print());
  document.querySelector(".filter").addEventListener("change", filter);
  if (same) {
    const lasts = data.runs.map((run) => run.last);
    if (Math.max(...lasts) > 8 * Math.max(1, Math.min(...lasts))) same.checked = false;
    const rescale = () => {
      zoom(null);
      for (const chart of charts) {
        const others = same.checked ? alike(chart) : [];
        if (others.some((other) => other.log)) others.forEach((other) => { other.log = true; other.tell(); });
      }
      drawAll();
    };
    same.addEventListener("change", rescale);
    rescale();
  }
  for (const button of document.querySelectorAll(".where"))
    button.addEventListener("click", () => {
      const card = button.closest(".finding");
      const [run, number] = card.id.split("-f");
      const chart = charts.find((one) => one.run.id === run && one.findings.some((item) => String(item.number) === number));
      if (!chart) return;
      const item = chart.findings.find((one) => String(one.number) === number);
      const [from, to] = [chart.plot.scales.x.min, chart.plot.scales.x.max];
      if (item.step < from || item.step > to) zoom(null);
      chart.place.closest("figure").scrollIntoView({ block: "nearest", behavior: calm() });
      const pin = [...chart.pins.querySelectorAll(".found")].find((one) => one.dataset.numbers.split(" ").includes(number));
      if (pin) { pin.focus({ preventScroll: true }); pin.classList.add("pulse"); }
    });
  for (const more of document.querySelectorAll(".more")) more.addEventListener("toggle", () => charts.forEach((chart) => {
    if (more.open && more.contains(chart.place)) draw(chart);
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => themed === "automatic" && drawAll());
  addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  addEventListener("scroll", hideTip, { passive: true });

  const resized = new ResizeObserver(() => {
    if (!printing) charts.forEach((chart) => chart.place.clientWidth && Math.max(200, chart.place.clientWidth) !== chart.width && draw(chart));
  });
  charts.forEach((chart) => resized.observe(chart.place));

  // In print: light theme, all sections with content open, charts as wide as the page.
  let folded = [];
  addEventListener("beforeprint", () => {
    printing = true;
    root.classList.add("paper");
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => (one.open = true));
    drawAll();
  });
  addEventListener("afterprint", () => {
    printing = false;
    root.classList.remove("paper");
    folded.forEach((one) => (one.open = false));
    drawAll();
  });
  // A page that is written anew while its run is trained: what was zoomed and scrolled to is there again after a reload.
  const KEPT = `audit-view ${location.pathname}`;
  const seconds = Number(root.dataset.reload);
  if (seconds) {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEPT));
      sessionStorage.removeItem(KEPT);
      if (kept) {
        if (kept.zoom) zoom(kept.zoom);
        kept.open.forEach((index) => { const one = document.querySelectorAll("details")[index]; if (one) one.open = true; });
        scrollTo(0, kept.scroll);
      }
    } catch { /* no storage, or nothing of ours in it */ }
    const again = () => {
      if (document.hidden || printing) return;
      const zoomed = charts.find((chart) => chart.zoom);
      const open = [...document.querySelectorAll("details")].flatMap((one, index) => (one.open ? [index] : []));
      try { sessionStorage.setItem(KEPT, JSON.stringify({ zoom: zoomed ? zoomed.zoom : null, scroll: scrollY, open })); } catch { return; }
      location.reload();
    };
    setInterval(again, seconds * 1000);
  }
  root.dataset.ready = "true";
})();
