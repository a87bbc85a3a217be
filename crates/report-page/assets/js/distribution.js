// Cumulative distributions of request metrics: whole run, steady window and selection of every run.

const Distribution = (() => {
  function start(report) {
    for (const figure of document.querySelectorAll("[data-distribution]")) one(figure, report, figure.dataset.distribution);
  }

  function one(figure, report, id) {
    const legend = el("div", { class: "legend" });
    figure.append(legend);
    const title = report.metrics.find((m) => m.id === id).title;
    const show = (v) => Format.withUnit(v / 1000, "seconds");
    let label = "";

    function curves() {
      const out = [], several = report.runs.length > 1, chosen = Selection.current();
      report.runs.forEach((run, r) => {
        const add = (name, window, paint, dash, width) => {
          const values = Float64Array.from(Stats.metricIn(run, id, ...window)[0]).sort();
          if (values.length) out.push({ name: several ? `${run.name} ${name}` : name, values, paint, dash, width, run });
        };
        add("whole run", [run.start, run.end], several ? r : 6, [], chosen || run.steady ? 1.25 : 2);
        if (run.steady) add("steady", run.steady, several ? r : 2, [6, 3], 1.75);
        if (chosen) add("selection", chosen, several ? r : 0, [2, 2], 2.5);
      });
      return out;
    }

    new Plot(figure, {
      height: 220, bottom: 26, left: 46, label: () => label,
      draw(p) {
        const all = curves();
        label = `Distribution of ${title}: ` + (all.map((c) => `${c.name}: median ${show(Stats.quantile(c.values, 0.5))}, p99 ${show(Stats.quantile(c.values, 0.99))}`).join("; ") || "no request has it");
        legend.replaceChildren(...all.map((c) => el("span", { class: "item" }, Dom.swatch(`var(--c${c.paint % 8})`, c.dash, c.width), el("bdi", {}, c.name), el("b", {}, "p50 " + show(Stats.quantile(c.values, 0.5))))),
          report.runs.some((run) => run.simulated) ? el("span", { class: "sim-mark" }, "SIMULATED") : "");
        if (!all.length) return p.message("no completed request has it");
        const positive = (values) => values.find((v) => v > 0) || 0.001;
        let low = Math.min(...all.map((c) => positive(c.values))) / 1.1, high = Math.max(...all.map((c) => c.values.at(-1))) * 1.1;
        if (!(high > low * 1.5)) [low, high] = [low / 1.5, Math.max(high, low) * 1.5];
        const x = (v) => p.left + (Math.log(Math.max(v, low) / low) / Math.log(high / low)) * p.w;
        const y = (share) => p.bottomY - share * p.h;
        const room = Math.floor(p.w / 62), marks = Axis.logTicks(low, high), every = Math.ceil(marks.length / room);
        marks.forEach((t, i) => {
          p.line(Math.round(x(t)) + 0.5, p.top, Math.round(x(t)) + 0.5, p.bottomY);
          if (i % every === 0) p.text(show(t), x(t), p.bottomY + 14, "center");
        });
        p.valueAxis([0, 0.25, 0.5, 0.75, 1], y, (t) => `${t * 100} %`);
        for (const t of report.limits[id] || []) {
          const at = x(t.value);
          if (at > p.left && at < p.left + p.w) p.line(at, p.top, at, p.bottomY, Theme.color("bad"), 1, [5, 4]);
        }
        const { ctx } = p;
        p.xOf = (at) => low * Math.exp(((at - p.left) / p.w) * Math.log(high / low));
        p.curves = all;
        p.inside(() => all.forEach((curve) => {
          Object.assign(ctx, { strokeStyle: Theme.series(curve.paint), lineWidth: curve.width });
          ctx.setLineDash(curve.dash);
          ctx.beginPath();
          ctx.moveTo(p.left, y(0));
          const n = curve.values.length, step = Math.max(1, Math.floor(n / 800));
          let last = 0;
          const point = (i) => {
            const at = x(curve.values[i]);
            // Few values are drawn as the steps that they are.
            if (n < 200) ctx.lineTo(at, y(last));
            ctx.lineTo(at, y((last = (i + 1) / n)));
          };
          for (let i = 0; i < n; i += step) point(i);
          point(n - 1);
          ctx.lineTo(p.left + p.w, y(1));
          ctx.stroke();
          ctx.setLineDash([]);
        }));
      },
      tip(x, y, p) {
        if (!p.curves || x < p.left || y > p.bottomY) return null;
        const value = p.xOf(x);
        return `${show(value)}\n` + p.curves.map((c) => `${c.name}: ${((Stats.lowerBound(c.values, value) / c.values.length) * 100).toFixed(1)} % below`).join("\n");
      },
    });

    Export.connect(figure, () => {
      const all = curves();
      return [["share", ...all.map((c) => c.name + "_ms")], Array.from({ length: 1001 }, (_, k) => [k / 1000, ...all.map((c) => Stats.quantile(c.values, k / 1000))])];
    });
  }

  return { start };
})();
