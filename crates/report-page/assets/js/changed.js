// "What changed here": series whose values in the selection differ most from those in the rest of the run.

const Changed = (() => {
  const SHOWN = 12, FEWEST = 5;

  // Distance between the values in a window and outside of it; nothing if either has too few.
  function score(times, values, from, to) {
    const inside = [], outside = [];
    for (let i = 0; i < times.length; i++) {
      const v = values[i];
      if (Number.isNaN(v)) continue;
      (times[i] >= from && times[i] <= to ? inside : outside).push(v);
    }
    if (inside.length < FEWEST || outside.length < FEWEST) return null;
    const a = Float64Array.from(inside).sort(), b = Float64Array.from(outside).sort();
    const middle = [Stats.quantile(a, 0.5), Stats.quantile(b, 0.5)];
    // Decides between equal distances: how far the median moved, in spreads of the rest.
    const shift = Math.abs(middle[0] - middle[1]) / (Stats.quantile(b, 0.75) - Stats.quantile(b, 0.25) || 1e-12);
    return { ks: Stats.ks(a, b), shift, inside: middle[0], outside: middle[1] };
  }

  function rank(report, from, to) {
    const found = [];
    const add = (name, detail, unit, times, values, series) => {
      const s = score(times, values, from, to);
      if (s && s.ks > 0.1) found.push({ name, detail, unit, times, values, series, ...s });
    };
    for (const run of report.runs) {
      const prefix = report.runs.length > 1 ? run.name + " " : "";
      for (const series of run.series) if (!series.constant) add(prefix + series.name, series.labelText, series.shownUnit, series.times, series.shown, series);
      for (const metric of report.metrics) {
        const values = run.metric(metric.id);
        if (values.length) add(prefix + metric.title, "requests", "seconds", run.requests.issued, values.map((v) => v / 1000), null);
      }
    }
    return found.sort((a, b) => Math.round(b.ks * 100) - Math.round(a.ks * 100) || b.shift - a.shift || (a.name + a.detail < b.name + b.detail ? -1 : 1));
  }

  // A small line with the selection behind it.
  function spark(item, from, to) {
    const width = 120, height = 26, ratio = devicePixelRatio || 1;
    const canvas = el("canvas", { width: width * ratio, height: height * ratio, style: `width:${width}px;height:${height}px`, "aria-hidden": true });
    const ctx = canvas.getContext("2d"), [start, end] = Selection.domain();
    ctx.scale(ratio, ratio);
    const x = (ms) => ((ms - start) / (end - start)) * width;
    ctx.fillStyle = Theme.color("accent") + "40";
    ctx.fillRect(x(from), 0, Math.max(2, x(to) - x(from)), height);
    // Smallest and largest of every pixel.
    const low = new Float64Array(width).fill(Infinity), high = new Float64Array(width).fill(-Infinity);
    let min = Infinity, max = -Infinity;
    for (let i = 0; i < item.times.length; i++) {
      const v = item.values[i], at = Math.max(0, Math.min(width - 1, Math.floor(x(item.times[i]))));
      if (!Number.isFinite(v)) continue;
      low[at] = Math.min(low[at], v); high[at] = Math.max(high[at], v);
      min = Math.min(min, v); max = Math.max(max, v);
    }
    const y = (v) => height - 2 - ((v - min) / (max - min || 1)) * (height - 4);
    ctx.strokeStyle = Theme.color("ink");
    ctx.lineWidth = 1;
    ctx.beginPath();
    let begun = false;
    for (let at = 0; at < width; at++) {
      if (low[at] > high[at]) continue;
      if (!begun) ctx.moveTo(at, y(low[at]));
      begun = true;
      ctx.lineTo(at, y(low[at]));
      ctx.lineTo(at, y(high[at]));
    }
    ctx.stroke();
    return canvas;
  }

  function start(report) {
    const section = document.getElementById("changed"), body = section.querySelector(".body");
    let timer;
    const update = () => {
      clearTimeout(timer);
      section.hidden = !Selection.current();
      if (section.hidden) return;
      // After the charts, which the reader waits for.
      timer = setTimeout(() => show(SHOWN), 120);
    };
    function show(count) {
      const chosen = Selection.current();
      if (!chosen) return;
      const found = rank(report, ...chosen);
      const items = found.slice(0, count).map((item) => el("button", {
        type: "button", class: "change", disabled: item.series ? null : true,
        on: { click: () => item.series && Search.show(item.series) },
      },
        el("span", { class: "score" }, item.ks.toFixed(2)),
        el("span", { class: "what" }, el("bdi", {}, item.name), " ", el("small", { class: "muted" }, el("bdi", {}, item.detail)),
          el("small", {}, `median ${Format.withUnit(item.inside, item.unit)} here, ${Format.withUnit(item.outside, item.unit)} elsewhere`)),
        spark(item, ...chosen)));
      const more = found.length > count ? el("button", { type: "button", class: "quiet", on: { click: () => show(count + 24) } }, `${found.length - count} more`) : "";
      body.replaceChildren(
        el("p", { class: "muted" }, found.length
          ? "Ranked by the distance between the distribution in the selection and in the rest of the run (Kolmogorov–Smirnov, 0 to 1). Counters are compared by their rates."
          : `No series has at least ${FEWEST} samples on both sides and differs.`),
        el("div", { class: "changes" }, ...items), more);
    }
    Selection.listen(update);
    Theme.listen(update);
    update();
  }

  return { start, rank };
})();
