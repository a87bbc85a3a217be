// Requests as bars on lanes: the height is the number in flight, colours are the parts of each request.

const Lanes = (() => {
  // The first free lane of every bar, by start. Lanes are stable: zooming does not move bars.
  function assign(starts, ends) {
    const lanes = new Int32Array(starts.length), busy = [], free = [];
    // Two heaps: lanes in use by their end, free lanes by their number.
    const heap = (compare) => {
      const items = [];
      return {
        items,
        push(item) {
          let i = items.push(item) - 1;
          while (i) {
            const parent = (i - 1) >> 1;
            if (compare(items[parent], item) <= 0) break;
            items[i] = items[parent];
            i = parent;
          }
          items[i] = item;
        },
        pop() {
          const top = items[0], item = items.pop();
          if (!items.length) return top;
          let i = 0;
          for (;;) {
            let child = 2 * i + 1;
            if (child >= items.length) break;
            if (child + 1 < items.length && compare(items[child + 1], items[child]) < 0) child++;
            if (compare(item, items[child]) <= 0) break;
            items[i] = items[child];
            i = child;
          }
          items[i] = item;
          return top;
        },
      };
    };
    const inUse = heap((a, b) => a[0] - b[0]), idle = heap((a, b) => a - b);
    let count = 0;
    for (let i = 0; i < starts.length; i++) {
      while (inUse.items.length && inUse.items[0][0] <= starts[i]) idle.push(inUse.pop()[1]);
      const lane = idle.items.length ? idle.pop() : count++;
      lanes[i] = lane;
      inUse.push([ends[i], lane]);
    }
    return [lanes, count];
  }

  const PARTS = [
    { name: "client and network", color: () => Theme.color("muted") + "66", css: "color-mix(in srgb, var(--muted) 40%, transparent)" },
    { name: "server queue", color: () => Theme.color("c4"), css: "var(--c4)" },
    { name: "prefill", color: () => Theme.color("c2"), css: "var(--c2)" },
    { name: "decode", color: () => Theme.color("c0"), css: "var(--c0)" },
    { name: "not completed", color: () => Theme.color("bad"), css: "var(--bad)" },
  ];

  // Ends of the parts of one request, in the order of PARTS: client, queue, prefill, decode. The server's parts end
  // with the first token and with the end; what is left before them was spent on the way.
  function parts(r, i) {
    const { issued, first, done, queue, prefill } = r;
    const end = done[i];
    if (r.outcome[i] !== 0 || Number.isNaN(first[i])) return [[issued[i], end, 4]];
    if (Number.isNaN(queue[i]) || Number.isNaN(prefill[i])) return [[issued[i], first[i], 0], [first[i], end, 3]];
    const prefillStart = Math.max(issued[i], first[i] - prefill[i]);
    const queueStart = Math.max(issued[i], prefillStart - queue[i]);
    return [[issued[i], queueStart, 0], [queueStart, prefillStart, 1], [prefillStart, first[i], 2], [first[i], end, 3]];
  }

  // data(): { starts, ends, parts(i), describe(i) }; legendParts: numbers of parts and their names.
  function bars(figure, run, data, legendParts, noun, height = 260) {
    const legend = el("div", { class: "legend" });
    figure.append(legend);
    let label = "", lanes, count, longest = 0, known = null;
    const prepare = () => {
      const d = data();
      if (known === d.starts) return d;
      known = d.starts;
      [lanes, count] = assign(d.starts, d.ends);
      longest = d.starts.reduce((most, s, i) => Math.max(most, d.ends[i] - s), 0);
      return d;
    };
    const plot = new Plot(figure, {
      time: true, height, label: () => label,
      draw(p) {
        const d = prepare();
        const [from, to] = Selection.view();
        p.background(run);
        // Bars that reach into view began at most the longest length before it.
        const first = Stats.lowerBound(d.starts, from - longest), end = Stats.lowerBound(d.starts, to);
        let inView = 0, top = 0;
        for (let i = first; i < end; i++) if (d.ends[i] >= from) { inView++; top = Math.max(top, lanes[i] + 1); }
        label = `${noun} in view: ${Format.number(inView)}, at most ${top} at once`;
        legend.replaceChildren(
          ...legendParts.map(([k, name]) => el("span", { class: "item" }, Dom.swatch(PARTS[k].css, [], 8), name)),
          el("span", { class: "item" }, el("b", {}, Format.number(inView)), "in view, at most", el("b", {}, Format.number(top)), "at once"),
          d.estimated ? el("span", { class: "item" }, el("abbr", { class: "estimate", title: "estimate" }, "≈"), "server times are estimates") : "",
          run.simulated ? el("span", { class: "sim-mark" }, "SIMULATED") : "",
        );
        p.timeAxis();
        if (!inView) return p.message(`no ${noun} in view`);
        p.height_ = Math.min(18, p.h / top);
        p.top_ = top;
        const [ticks] = Axis.valueTicks(0, top, Math.min(5, top));
        const scale = p.height_ * top;
        p.valueAxis(ticks.filter((t) => Number.isInteger(t)), (t) => p.bottomY - (t / top) * scale, (t) => Format.number(t));
        paint(p, d, first, end, from);
      },
      tip(x, y, p) {
        if (!lanes || !p.height_) return null;
        const d = data(), lane = Math.floor((p.bottomY - y) / p.height_), ms = p.ms(x);
        if (lane < 0) return null;
        for (let i = Stats.lowerBound(d.starts, ms - longest); i < d.starts.length && d.starts[i] <= ms; i++) {
          if (lanes[i] === lane && d.ends[i] >= ms) return d.describe(i);
        }
        return null;
      },
    });

    // Parts narrower than a third of a pixel are left out when their place on the lane is painted already.
    function paint(p, d, first, end, from) {
      const height = p.height_ > 3 ? p.height_ - 1 : p.height_;
      const painted = new Float64Array(count).fill(-1);
      const byPart = PARTS.map(() => new Path2D());
      for (let i = first; i < end; i++) {
        if (d.ends[i] < from) continue;
        const lane = lanes[i], y = p.bottomY - (lane + 1) * p.height_;
        for (const [a, b, part] of d.parts(i)) {
          const x1 = Math.max(p.x(a), p.left), x2 = Math.min(p.x(b), p.left + p.w);
          if (!(x2 > x1) || (x2 - x1 < 0.34 && x2 - painted[lane] < 0.34)) continue;
          byPart[part].rect(x1, y, Math.max(x2 - x1, 0.34), height);
          painted[lane] = x2;
        }
      }
      p.inside(() => byPart.forEach((path, part) => {
        p.ctx.fillStyle = PARTS[part].color();
        p.ctx.fill(path);
      }));
    }
    return plot;
  }

  function start(report) {
    for (const figure of document.querySelectorAll("[data-lanes]")) {
      const run = report.runs[+figure.dataset.lanes];
      Export.connect(figure, () => Scatters.requestRows(run));
      let cache = null, of = null;
      const data = () => {
        const r = run.requests;
        if (of === r.issued) return cache;
        of = r.issued;
        const ends = r.done.map((done, i) => (Number.isNaN(done) ? (r.outcome[i] === 3 ? run.end : r.issued[i]) : done));
        cache = {
          starts: r.issued, ends, describe: (i) => Scatters.describe(run, i), estimated: r.source.includes(1),
          parts: (i) => parts({ ...r, done: ends }, i),
        };
        return cache;
      };
      const r = run.requests, server = r.queue.some((v) => !Number.isNaN(v));
      const legend = server || report.events_url ? [0, 1, 2, 3] : [0, 3];
      if (r.outcome.some((o) => o !== 0)) legend.push(4);
      bars(figure, run, data, legend.map((part) => [part, !server && part === 0 ? "until the first token" : PARTS[part].name]), "requests");
    }
    for (const figure of document.querySelectorAll("[data-batches]")) {
      const run = report.runs[+figure.dataset.batches], t = run.table("batches");
      if (!t) { figure.append(el("p", { class: "absent empty" }, "— no batches in this run")); continue; }
      const order = Array.from(t.issued.keys()).sort((a, b) => t.issued[a] - t.issued[b]);
      const pick = (column) => Float64Array.from(order, (i) => column[i]);
      const issued = pick(t.issued), requests = pick(t.requests), failed = pick(t.failed);
      const ends = pick(t.done).map((v) => (Number.isNaN(v) ? run.end : v));
      Export.connect(figure, () => [["issued_ms", "done_ms", "requests", "failed"], Array.from(issued, (v, i) => [v, ends[i], requests[i], failed[i]])]);
      bars(figure, run, () => ({
        starts: issued, ends, parts: (i) => [[issued[i], ends[i], failed[i] ? 4 : 3]],
        describe: (i) => `issued at ${Format.clock(issued[i], 1)}\n${Format.number(requests[i])} requests, ${Format.number(failed[i])} failed\n${Format.withUnit((ends[i] - issued[i]) / 1000, "seconds")}`,
      }), [[3, "completed"], ...(failed.some((n) => n > 0) ? [[4, "with failed requests"]] : [])], "batches", 130);
    }
  }

  return { start, assign };
})();
