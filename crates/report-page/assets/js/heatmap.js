// Histograms over time: colour is the number of observations in a bucket and an interval, lines are quantiles.

const Heatmap = (() => {
  const QUANTILES = [0.5, 0.9, 0.99];
  const NAMES = ["p50", "p90", "p99"];

  // Quantile of one column of counts by interpolation within its bucket; null without observations. The infinite
  // bucket has no width: what falls there is at least its lower bound.
  function quantile(histogram, counts, q) {
    const total = counts.reduce((sum, n) => sum + n, 0);
    if (!total) return null;
    let below = 0;
    for (let b = 0; b < counts.length; b++) {
      if (counts[b] && below + counts[b] >= q * total) {
        const low = b ? histogram.bounds[b - 1] : Math.min(0, histogram.bounds[0] ?? 0);
        if (b === histogram.bounds.length) return low;
        return low + ((histogram.bounds[b] - low) * (q * total - below)) / counts[b];
      }
      below += counts[b];
    }
    return null;
  }

  // Place of a value in buckets: 2.5 is the middle of the third.
  function bucketPlace(histogram, value) {
    const b = Stats.lowerBound(histogram.bounds, value);
    if (b >= histogram.bounds.length) return histogram.bounds.length + 0.5;
    const low = b ? histogram.bounds[b - 1] : 0;
    return b + (value - low) / (histogram.bounds[b] - low || 1);
  }

  function start(report) {
    for (const figure of document.querySelectorAll("[data-heatmap]")) {
      const run = report.runs[+figure.dataset.run];
      one(figure, run, run.histogram(figure.dataset.heatmap));
    }
  }

  function one(figure, run, histogram) {
    let starts, ends, counts, used, first, last;
    // Again when the columns have grown.
    function take() {
      if (counts === histogram.columns.counts) return;
      ({ starts, ends, counts } = histogram.columns);
      // Buckets that are never used stay away, but for one at each end.
      used = counts.map((row) => row.some((n) => n > 0));
      first = Math.max(0, used.indexOf(true) - 1);
      last = Math.min(counts.length - 1, used.lastIndexOf(true) + 1);
    }
    take();
    const legend = el("div", { class: "legend" });
    figure.append(legend);
    const show = (value) => Format.withUnit(value, histogram.unit);
    // A quantile for reading. In the first and in the infinite bucket nothing is known but the bound.
    const read = (sum, q) => {
      const value = quantile(histogram, sum, q), first = histogram.bounds[0], top = histogram.bounds.at(-1);
      if (value === null) return "—";
      return value <= first && first > 0 ? "≤ " + show(first) : value >= top ? "≥ " + show(top) : "≈ " + show(value);
    };
    const bound = (b) => (b >= histogram.bounds.length ? "> " + show(histogram.bounds.at(-1) ?? 0) : "≤ " + show(histogram.bounds[b]));
    // Beside the rows there is no room for long units, which the legend names.
    const unit = Format.scale(histogram.bounds.at(-1) ?? 0, histogram.unit)[1];
    const short = (value) => (unit.length > 3 ? Format.number(value) : show(value));
    const inView = () => {
      const [from, to] = Selection.view();
      return [Stats.lowerBound(ends, from), Stats.lowerBound(starts, to)];
    };
    const sumOf = (a, b) => counts.map((row) => { let sum = 0; for (let i = a; i < b; i++) sum += row[i]; return sum; });

    const plot = new Plot(figure, {
      time: true, height: 230,
      label() {
        const sum = sumOf(...inView()), total = sum.reduce((a, b) => a + b, 0);
        return `Heat map of ${histogram.title}: ${Format.number(total)} observations in view` +
          (total ? "; " + QUANTILES.map((q, i) => `${NAMES[i]} ${read(sum, q)}`).join(", ") : "");
      },
      draw(p) {
        take();
        p.background(run, histogram.source);
        if (!used.includes(true)) { legend.replaceChildren(); p.timeAxis(false); return p.message("no observations"); }
        const rows = last - first + 1, height = p.h / rows;
        const y = (place) => p.bottomY - (place - first) * height;
        const most = paint(p, rows);
        // Bounds of buckets, as many as there is room for.
        const every = Math.ceil(16 / height);
        for (let b = first; b < last; b += every) {
          if (b < histogram.bounds.length) p.text(short(histogram.bounds[b]), p.left - 6, y(b + 1), "right");
        }
        p.timeAxis(false);
        p.line(p.left, p.bottomY + 0.5, p.left + p.w, p.bottomY + 0.5);
        quantiles(p, y);
        const [a, b] = inView(), sum = sumOf(a, b);
        legend.replaceChildren(
          ...QUANTILES.map((q, i) => el("span", { class: "item" }, Dom.swatch("var(--ink)", DASH[i], WIDTH[i]), NAMES[i],
            el("b", {}, read(sum, q)))),
          el("span", { class: "item" }, "0", el("span", { class: "ramp" }), Format.number(most)),
          run.simulated ? el("span", { class: "sim-mark" }, "SIMULATED") : "",
        );
      },
      tip(x, y, p) {
        const ms = p.ms(x), i = Stats.lowerBound(ends, ms);
        if (i >= ends.length || starts[i] > ms || x < p.left || y > p.bottomY) return null;
        const b = first + Math.floor((p.bottomY - y) / (p.h / (last - first + 1)));
        if (b < first || b > last) return null;
        const column = counts.map((row) => row[i]), total = column.reduce((s, n) => s + n, 0);
        const values = total ? "\n" + QUANTILES.map((q, k) => `${NAMES[k]} ${read(column, q)}`).join("  ") : "";
        return `${Format.clock(starts[i])} – ${Format.clock(ends[i])}\n${bound(b)}: ${Format.number(counts[b][i])} of ${Format.number(total)}${values}`;
      },
    });

    const DASH = [[], [6, 3], [2, 2]], WIDTH = [2, 1.5, 1.5];

    // One pixel per column and bucket, stretched without smoothing. Where columns are narrower than a pixel, several
    // are added. The square root spreads small counts.
    function paint(p, rows) {
      const [a, b] = inView();
      const pixels = Math.max(1, Math.round(p.w * (devicePixelRatio || 1)));
      const cells = new Float32Array(pixels * rows);
      let most = 0;
      for (let i = a; i < b; i++) {
        const from = Math.max(0, Math.floor(((p.x(starts[i]) - p.left) / p.w) * pixels));
        const to = Math.min(pixels, Math.max(from + 1, Math.floor(((p.x(ends[i]) - p.left) / p.w) * pixels)));
        for (let r = 0; r < rows; r++) {
          const n = counts[first + r][i];
          if (n) for (let x = from; x < to; x++) most = Math.max(most, (cells[r * pixels + x] += n));
        }
      }
      const off = document.createElement("canvas");
      off.width = pixels;
      off.height = rows;
      const image = off.getContext("2d").createImageData(pixels, rows);
      for (let r = 0; r < rows; r++) {
        for (let x = 0; x < pixels; x++) {
          const n = cells[r * pixels + x], at = ((rows - 1 - r) * pixels + x) * 4;
          if (!n) continue;
          const [red, green, blue] = Theme.heat(0.12 + 0.88 * Math.sqrt(n / most));
          image.data.set([red, green, blue, 255], at);
        }
      }
      off.getContext("2d").putImageData(image, 0, 0);
      p.ctx.imageSmoothingEnabled = false;
      p.ctx.drawImage(off, p.left, p.top, p.w, p.h);
      return most;
    }

    // Lines over about one point per three pixels.
    function quantiles(p, y) {
      const [a, b] = inView(), step = Math.max(1, Math.round((b - a) / (p.w / 3)));
      const { ctx } = p;
      p.inside(() => QUANTILES.forEach((q, k) => {
        for (const [color, width] of [[Theme.color("surface"), WIDTH[k] + 2], [Theme.color("ink"), WIDTH[k]]]) {
          Object.assign(ctx, { strokeStyle: color, lineWidth: width });
          ctx.setLineDash(width === WIDTH[k] ? DASH[k] : []);
          ctx.beginPath();
          let end = NaN;
          for (let i = a; i < b; i += step) {
            const to = Math.min(b, i + step), value = quantile(histogram, sumOf(i, to), q);
            if (value === null) { end = NaN; continue; }
            const x = p.x((starts[i] + ends[to - 1]) / 2), place = y(bucketPlace(histogram, value));
            // A gap in time breaks the line.
            if (starts[i] - end <= 1) ctx.lineTo(x, place); else ctx.moveTo(x, place);
            end = ends[to - 1];
          }
          ctx.stroke();
          ctx.setLineDash([]);
        }
      }));
    }

    Export.connect(figure, () => {
      const [a, b] = inView(), rows = [];
      for (let i = a; i < b; i++) rows.push([starts[i] / 1000, ends[i] / 1000, ...counts.map((row) => row[i])]);
      return [["start_seconds", "end_seconds", ...counts.map((row, k) => "le_" + (histogram.bounds[k] ?? "Inf"))], rows];
    });
    return plot;
  }

  return { start, quantile };
})();
