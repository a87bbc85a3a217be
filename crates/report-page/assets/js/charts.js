// Lines and bands over time, drawn by uPlot.

class LineChart {
  // spec: title, unit, kind, log, range, bands, thresholds; lines: [{ series, label, color, dash, band }].
  constructor(figure, spec, lines) {
    Object.assign(this, { figure, spec, lines, hidden: new Set() });
    this.legend = el("div", { class: "legend" });
    this.root = el("div", { class: "plot", tabindex: "0", role: "img" });
    this.details = el("details", { class: "data" }, el("summary", {}, "Table"));
    this.details.addEventListener("toggle", () => this.table());
    figure.append(this.legend, this.root, this.details);
    Export.connect(figure, () => Export.seriesRows(this.lines.map((line) => line.series)));
    this.root.addEventListener("keydown", Selection.key);
    this.item = Drawings.add(this.root, () => this.draw());
    Selection.listenCursor((ms) => this.showCursor(ms));
  }

  // One array of times for all lines. Lines of one axis share it without a copy; others are joined.
  data() {
    const columns = this.lines.map(({ series }) => {
      let values = series.shown;
      const rate = series.kind === "counter";
      if (rate || series.column.specials.length) values = Array.from(values, (v) => (Number.isFinite(v) ? v : null));
      // A rate is that of the interval before its time: the first step begins at the first reading.
      const first = values.findIndex((v) => v !== null);
      if (rate && this.spec.kind === "step" && first > 0) values[first - 1] = values[first];
      return [series.times, values];
    });
    const times = columns[0][0];
    if (columns.every((c) => c[0] === times)) return [times, ...columns.map((c) => c[1])];
    return uPlot.join(columns.map((c) => [c[0], c[1]]));
  }

  draw() {
    const width = this.root.clientWidth;
    if (!this.plot) {
      this.plot = new uPlot(this.options(width), this.data(), this.root);
      this.drawLegend();
    } else if (this.stale) {
      this.plot.setData(this.data(), false);
    }
    this.stale = false;
    const [min, max] = Selection.view();
    this.plot.batch(() => {
      if (this.plot.width !== width) this.plot.setSize({ width, height: this.height });
      this.plot.setScale("x", { min, max });
      // Colours may have changed.
      this.plot.redraw(false, true);
    });
    this.summarise();
  }

  get height() { return this.spec.height || 196; }

  options(width) {
    const { spec } = this;
    const muted = () => Theme.color("muted"), grid = { stroke: () => Theme.color("grid"), width: 1 };
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: muted, grid, ticks: { show: false }, font, gap: 6 };
    // A gauge holds until its next sample; a rate is that of the interval before its time.
    const rates = this.lines.every(({ series }) => series.kind === "counter");
    const path = spec.kind === "step" ? uPlot.paths.stepped({ align: rates ? -1 : 1 }) : uPlot.paths.linear();
    return {
      width, height: this.height, padding: [10, Axis.RIGHT, 0, 0], legend: { show: false },
      cursor: {
        y: false, drag: { x: true, y: false, setScale: false, dist: 4 }, points: { size: 6 },
        bind: { dblclick: () => () => { Selection.clear(); return null; } },
      },
      scales: { x: { time: false }, y: { distr: spec.log ? 3 : 1, range: (u, min, max) => this.range(min, max) } },
      axes: [
        { ...axis, size: 26, space: 72, incrs: Axis.TIMES, values: (u, ticks, i, space, step) => ticks.map((t) => Format.clock(t, step)) },
        { ...axis, size: Axis.LEFT, space: 34, ...(spec.unit === "bytes" && !spec.log ? { incrs: Axis.BYTES } : {}), values: (u, ticks) => this.labels(ticks) },
      ],
      series: [{}, ...this.lines.map((line, i) => ({
        label: line.label, stroke: () => line.color(), dash: line.dash, width: line.edge ? 1 : 1.75, paths: path,
        points: { show: (u, s, from, to) => to - from < 2 || undefined, size: 5 },
        gaps: (u, s, from, to, gaps) => this.gaps(u, line.series, gaps),
        show: !this.hidden.has(i),
      }))],
      bands: this.bands(),
      hooks: {
        drawClear: [(u) => this.shade(u)],
        draw: [(u) => this.thresholds(u)],
        setCursor: [(u) => { if (u.cursor.event && !this.following) Selection.point(u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null); }],
        setSelect: [(u) => {
          if (u.select.width > 3) Selection.set(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
      },
    };
  }

  bands() {
    const alpha = (color) => (color.length === 7 ? color + "2b" : color);
    return this.lines.flatMap((line, i) => (line.bandTo === undefined ? [] : [{ series: [line.bandTo + 1, i + 1], fill: () => alpha(line.color()) }]));
  }

  // Of what is sampled, for each run: the time before the first reading and after the last one, if a reading was due in it.
  get unread() { return (this.ownUnread ||= this.runs.flatMap((run) => this.findUnread(run))); }

  get runs() { return [...new Set(this.lines.map((line) => line.series.run))]; }

  findUnread(run) {
    const series = this.lines.map((line) => line.series).filter((s) => s.run === run);
    if (series.every((s) => s.kind === "derived")) return [];
    // Series may share times, at which some have no value.
    const read = series.map(({ times, values }) => times.filter((_, i) => Number.isFinite(values[i]))).filter((times) => times.length > 1);
    if (!read.length) return [];
    const first = Math.min(...read.map((times) => times[0])), last = Math.max(...read.map((times) => times.at(-1)));
    const due = 2.5 * Math.max(...read.map(Stats.usualStep));
    return [[run.start, first, run], [last, run.end, run]].filter(([from, to]) => to - from > due);
  }

  // Ends of the value axis: from zero, unless the values are far from it.
  range(min, max) {
    const { spec } = this;
    if (min === null || max === null) return spec.log ? [1, 10] : spec.range || [0, 1];
    for (const t of spec.thresholds || []) if (t.value <= max * 2.5 && t.value > 0) max = Math.max(max, t.value);
    if (spec.log) {
      const low = min > 0 ? min : max / 1000 || 0.1;
      return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(max > 0 ? max : 1))];
    }
    if (spec.range) return [Math.min(spec.range[0], min), Math.max(spec.range[1], max)];
    if (min >= 0 && min < max * 0.7) return [0, max * 1.05];
    if (min === max) return min === 0 ? [0, 1] : min > 0 ? [0, max * 1.25] : [min * 1.25, 0];
    const pad = (max - min) * 0.08;
    return [min - pad, max + pad];
  }

  // Labels of the value axis; all in one unit, which the uppermost one names.
  labels(ticks) {
    const top = Math.max(...ticks.map((t) => Math.abs(t)));
    const [factor, unit] = Format.scale(top, this.spec.unit);
    const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) * factor : top * factor || 1;
    const short = unit.length <= 4 ? " " + unit : "";
    return ticks.map((t) => {
      if (this.spec.log && Math.log10(t) % 1) return "";
      return Format.tick(t * factor, this.spec.log ? t * factor : step, this.spec.log ? t * factor : top * factor) + (short && t !== 0 ? short : "");
    });
  }

  // Breaks the line where the recorder says that there was no data.
  gaps(u, series, gaps) {
    const [from, to] = Selection.view();
    for (const [start, end] of series.gaps) {
      if (end < from || start > to) continue;
      const after = Stats.lowerBound(series.times, end), before = Stats.lowerBound(series.times, start + 1e-6) - 1;
      if (before < 0 || after >= series.times.length || after <= before) continue;
      uPlot.addGap(gaps, u.valToPos(series.times[before], "x", true), u.valToPos(series.times[after], "x", true));
    }
    return gaps.sort((a, b) => a[0] - b[0]);
  }

  shade(u) {
    const { ctx } = u, { left, top, width, height } = u.bbox;
    const { runs } = this;
    // Marks of several runs have a row each, since they may be at the same time.
    const band = (from, to, color, text, row = 0, rows = 1) => {
      const a = Math.max(left, u.valToPos(from, "x", true)), b = Math.min(left + width, u.valToPos(to, "x", true));
      if (b <= a) return;
      const high = height / rows, y = top + row * high;
      ctx.fillStyle = color;
      ctx.fillRect(a, y, b - a, high);
      if (!text) return;
      ctx.save();
      ctx.font = `${11 * uPlot.pxRatio}px ${getComputedStyle(document.body).fontFamily}`;
      Object.assign(ctx, { fillStyle: Theme.color("muted"), textAlign: "center", textBaseline: "middle" });
      if (ctx.measureText(text).width < b - a - 6 * uPlot.pxRatio) ctx.fillText(text, (a + b) / 2, y + high / 2);
      ctx.restore();
    };
    if (runs.length === 1 && runs[0].steady) band(...runs[0].steady, Theme.color("steady"));
    runs.forEach((run, row) => {
      const gaps = this.lines.find((line) => line.series.run === run).series.gaps;
      for (const [from, to] of gaps) band(from, to, Theme.color("hatch"), "", row, runs.length);
    });
    for (const [from, to, run] of this.unread) {
      const text = runs.length > 1 ? `${run.name}: no reading` : "no reading";
      band(from, to, Theme.color("hatch"), text, runs.indexOf(run), runs.length);
    }
  }

  thresholds(u) {
    const { ctx } = u, { left, width, top, height } = u.bbox, ratio = uPlot.pxRatio;
    for (const t of this.spec.thresholds || []) {
      const y = u.valToPos(t.value, "y", true);
      if (!(y >= top && y <= top + height)) continue;
      ctx.save();
      Object.assign(ctx, { strokeStyle: Theme.color("bad"), lineWidth: ratio, fillStyle: Theme.color("bad"), textAlign: "right" });
      // Under the line where there is no room above it.
      const above = y - top > 16 * ratio;
      ctx.textBaseline = above ? "bottom" : "top";
      ctx.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
      ctx.setLineDash([5 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(left + width, y);
      ctx.stroke();
      ctx.fillText(`${t.label} ${Format.withUnit(t.value, this.spec.unit)}`, left + width - 4 * ratio, y + (above ? -2 : 3) * ratio);
      ctx.restore();
    }
  }

  drawLegend() {
    this.values = [];
    const items = this.lines.map((line, i) => {
      const value = el("b");
      this.values.push(value);
      const button = el("button", { type: "button", "aria-pressed": "true", title: line.series.key }, Dom.swatch(line.cssColor, line.dash), el("bdi", {}, line.label), value);
      button.addEventListener("click", () => {
        const show = this.hidden.delete(i) || (this.hidden.add(i), false);
        button.setAttribute("aria-pressed", show);
        this.plot.setSeries(i + 1, { show });
      });
      return button;
    });
    this.note = el("span", { class: "item" });
    const mark = this.lines.some((line) => line.series.run.simulated) ? el("span", { class: "sim-mark" }, "SIMULATED") : null;
    this.legend.replaceChildren(this.note, ...items, mark ?? "");
  }

  // Mean of what is in view in the legend, and the numbers as text for those who do not see the chart.
  summarise() {
    const [from, to] = Selection.view();
    this.sums = this.lines.map(({ series }) => Stats.summary(series.times, series.shown, from, to));
    const show = (v, n) => (n ? Format.withUnit(v, this.spec.unit) : "—");
    this.sums.forEach((s, i) => (this.values[i].textContent = show(s.mean, s.count)));
    const off = (this.spec.thresholds || []).filter((t) => t.value > this.plot.scales.y.max);
    const odd = this.lines.reduce((sum, line) => sum + line.series.column.specials.reduce((n, s) => n + (s[2] === "absent" ? 0 : s[1]), 0), 0);
    this.noteText = ["mean", ...off.map((t) => `${t.label} ${Format.withUnit(t.value, this.spec.unit)}, above`), ...(odd ? [`${odd} values are not finite`] : []),
      ...(this.lines.some((l) => l.series.thinned) ? ["thinned"] : [])].join(" · ");
    this.note.textContent = this.noteText;
    this.root.setAttribute("aria-label", `${this.spec.title}, ${Format.clock(from)} to ${Format.clock(to)}. ` +
      this.lines.map((line, i) => `${line.label}: minimum ${show(this.sums[i].min, this.sums[i].count)}, mean ${show(this.sums[i].mean, this.sums[i].count)}, maximum ${show(this.sums[i].max, this.sums[i].count)}`).join("; "));
    this.table();
  }

  table() {
    if (!this.details.open || !this.sums) return;
    const show = (v, s) => (s.count ? Format.withUnit(v, this.spec.unit) : "—");
    const rows = this.lines.map((line, i) => {
      const s = this.sums[i];
      return [line.label, Format.number(s.count), show(s.min, s), show(s.mean, s), show(s.max, s), show(s.last, s)];
    });
    this.details.querySelector("table")?.remove();
    this.details.append(Dom.table(["Series in view", "samples", "minimum", "mean by time", "maximum", "last"], rows));
  }

  showCursor(ms) {
    if (!this.plot || !this.item.visible || this.item.dirty) return;
    this.following = true;
    const own = this.plot.root.matches(":hover");
    if (!own) this.plot.setCursor(ms === null ? { left: -10, top: -10 } : { left: this.plot.valToPos(ms, "x"), top: 0 }, false);
    this.following = false;
    if (ms === null) {
      this.values.forEach((value, i) => (value.textContent = this.sums[i].count ? Format.withUnit(this.sums[i].mean, this.spec.unit) : "—"));
      this.note.textContent = this.noteText;
      return;
    }
    this.lines.forEach(({ series }, i) => {
      // The last sample at or before the pointer, unless a gap lies between.
      const at = Stats.lowerBound(series.times, ms + 1e-6) - 1;
      const gap = series.gaps.some(([from, to]) => ms > from && ms < to && at >= 0 && series.times[at] <= from);
      const value = at < 0 || gap ? NaN : series.shown[at];
      this.values[i].textContent = Number.isFinite(value) ? Format.withUnit(value, this.spec.unit) : "—";
    });
    this.note.textContent = "at " + Format.clock(ms, Selection.span() / 500);
  }

  changed() {
    this.stale = true;
    this.ownUnread = null;
  }

  destroy() {
    Drawings.remove(this.root);
    this.plot?.destroy();
    [this.legend, this.root, this.details].forEach((e) => e.remove());
  }
}

const Charts = (() => {
  // Lines of a chart in all runs. One run: colour and dash by line. Several: dash by run, and colour by line, or by
  // run where there is one line only.
  function lines(report, chart, of) {
    const out = [];
    const several = report.runs.length > 1;
    report.runs.forEach((run, r) => chart.lines.forEach((line, l) => {
      const index = of[l][r];
      if (index === null || (!report.events_url && !run.series[index].times.length)) return;
      const paint = several && chart.lines.length === 1 ? r : l;
      out.push({
        series: run.series[index], label: several ? `${run.name} ${line.label}` : line.label, line: l, run: r,
        color: () => Theme.series(paint), cssColor: `var(--c${paint % 8})`, dash: Theme.dash(several ? r : l),
      });
    }));
    for (const band of chart.bands) {
      for (const low of out.filter((o) => o.line === band.low)) {
        const high = out.findIndex((o) => o.line === band.high && o.run === low.run);
        if (high < 0) continue;
        low.bandTo = high;
        low.edge = out[high].edge = true;
      }
    }
    return out;
  }

  function start(report) {
    const charts = [];
    for (const figure of document.querySelectorAll("[data-chart]")) {
      const index = +figure.dataset.chart, chart = report.charts[index];
      const of = lines(report, chart, report.chart_series[index]);
      if (of.length) charts.push(new LineChart(figure, chart, of));
      else if (!figure.querySelector(".empty")) figure.append(el("p", { class: "absent empty" }, "— no samples"));
    }
    return charts;
  }

  return { start };
})();
