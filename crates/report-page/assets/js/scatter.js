// One point per request or engine step; where points are dense, colour is their number.

// data(): { times, values, marks } in milliseconds and the unit; marks are times of crosses at the top.
class Scatter {
  constructor(figure, options) {
    Object.assign(this, { figure, options, log: true });
    this.legend = el("div", { class: "legend" });
    figure.append(this.legend);
    this.plot = new Plot(figure, { time: true, height: options.height || 240, draw: (p) => this.draw(p), tip: (x, y, p) => this.tip(x, y, p), label: () => this.label });
    const toggle = el("button", { type: "button", "aria-pressed": "true" }, "log scale");
    toggle.addEventListener("click", () => {
      this.log = !this.log;
      toggle.setAttribute("aria-pressed", this.log);
      Drawings.one(this.plot.item);
    });
    // After the choices of a quantity, which the caller adds.
    queueMicrotask(() => figure.querySelector(".choices")?.append(toggle));
  }

  draw(p) {
    const { options } = this, { times, values, marks } = options.data();
    const [from, to] = Selection.view();
    const start = Stats.lowerBound(times, from);
    let end = start, min = Infinity, max = -Infinity, n = 0;
    for (; end < times.length && times[end] <= to; end++) {
      const v = values[end];
      if (!(v > 0) && !(v === 0 && !this.log)) continue;
      min = Math.min(min, v);
      max = Math.max(max, v);
      n++;
    }
    p.background(options.run, options.source);
    const failed = marks.filter((ms) => ms >= from && ms <= to);
    this.label = `${options.title()}: ${Format.number(n)} points in view` + (n ? `, ${options.show(min)} to ${options.show(max)}` : "") + (failed.length ? `, ${failed.length} not completed` : "");
    if (!n && !failed.length) { p.timeAxis(); this.legend.replaceChildren(); return p.message(options.empty || "no requests in view"); }
    if (!n) [min, max] = [1, 10];
    let place, ticks;
    if (this.log) {
      const low = min / 1.15, high = Math.max(max * 1.15, low * 2);
      const ratio = Math.log(high / low);
      place = (v) => p.bottomY - (Math.log(v / low) / ratio) * p.h;
      ticks = Axis.logTicks(low, high);
    } else {
      place = (v) => p.bottomY - (v / (max * 1.05 || 1)) * p.h;
      ticks = Axis.valueTicks(0, max * 1.05 || 1, 5)[0];
    }
    this.place = place;
    p.timeAxis();
    p.valueAxis(ticks, place, options.show);
    const dense = n > 3000;
    const most = dense ? this.density(p, times, values, start, end) : this.dots(p, times, values, start, end);
    this.limit(p, place);
    p.inside(() => {
      const { ctx } = p;
      Object.assign(ctx, { strokeStyle: Theme.color("bad"), lineWidth: 1.5 });
      ctx.beginPath();
      for (const ms of failed) {
        const x = p.x(ms), y = p.top + 6;
        ctx.moveTo(x - 3, y - 3); ctx.lineTo(x + 3, y + 3);
        ctx.moveTo(x - 3, y + 3); ctx.lineTo(x + 3, y - 3);
      }
      ctx.stroke();
    });
    this.legend.replaceChildren(
      el("span", { class: "item" }, el("b", {}, Format.number(n)), options.noun || "completed requests in view"),
      failed.length ? el("span", { class: "item" }, "✕", el("b", {}, Format.number(failed.length)), "not completed") : "",
      dense ? el("span", { class: "item" }, "1", el("span", { class: "ramp" }), `${Format.number(most)} per point`) : "",
      options.run.requests.sampled && options.source === "requests" ? el("span", { class: "item" }, "a sample") : "",
      options.run.simulated ? el("span", { class: "sim-mark" }, "SIMULATED") : "",
    );
  }

  // Points as blocks of pixels in one image, coloured by their number.
  density(p, times, values, start, end) {
    const size = 2, width = Math.max(1, Math.floor(p.w / size)), height = Math.max(1, Math.floor(p.h / size));
    const cells = new Float32Array(width * height);
    let most = 1;
    for (let i = start; i < end; i++) {
      if (!(values[i] > 0) && !(values[i] === 0 && !this.log)) continue;
      const x = Math.min(width - 1, Math.floor((p.x(times[i]) - p.left) / size));
      const y = Math.max(0, Math.min(height - 1, Math.floor((this.place(values[i]) - p.top) / size)));
      if (x >= 0) most = Math.max(most, ++cells[y * width + x]);
    }
    const image = new ImageData(width, height);
    for (let i = 0; i < cells.length; i++) {
      if (!cells[i]) continue;
      const [r, g, b] = Theme.heat(0.3 + (0.7 * Math.log(cells[i])) / Math.log(Math.max(most, 2)));
      image.data.set([r, g, b, 255], i * 4);
    }
    const off = document.createElement("canvas");
    off.width = width;
    off.height = height;
    off.getContext("2d").putImageData(image, 0, 0);
    p.ctx.imageSmoothingEnabled = false;
    p.ctx.drawImage(off, p.left, p.top, width * size, height * size);
    return most;
  }

  dots(p, times, values, start, end) {
    p.inside(() => {
      p.ctx.fillStyle = Theme.color("accent") + "b0";
      const radius = end - start > 400 ? 1.8 : 2.6;
      for (let i = start; i < end; i++) {
        if (!(values[i] > 0) && !(values[i] === 0 && !this.log)) continue;
        p.ctx.beginPath();
        p.ctx.arc(p.x(times[i]), this.place(values[i]), radius, 0, 7);
        p.ctx.fill();
      }
    });
    return 1;
  }

  limit(p, place) {
    for (const t of this.options.thresholds?.() || []) {
      const y = place(t.value);
      if (!(y > p.top && y < p.bottomY)) continue;
      p.line(p.left, y, p.left + p.w, y, Theme.color("bad"), 1, [5, 4]);
      p.text(`${t.label} ${this.options.show(t.value)}`, p.left + p.w - 4, y - p.top < 16 ? y + 9 : y - 8, "right", Theme.color("bad"));
    }
  }

  tip(x, y, p) {
    if (!this.place) return null;
    const { times, values, describe } = this.options.data();
    const from = Stats.lowerBound(times, p.ms(x - 8)), to = Stats.lowerBound(times, p.ms(x + 8));
    let best = -1, least = 12 ** 2;
    for (let i = from; i < to; i++) {
      const distance = (p.x(times[i]) - x) ** 2 + (this.place(values[i]) - y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best < 0 ? null : describe(best);
  }
}

const Scatters = (() => {
  // What is known of one request.
  function describe(run, i) {
    const r = run.requests, ms = (v) => (Number.isNaN(v) ? "—" : Format.withUnit(v / 1000, "seconds"));
    const outcome = ["completed", "failed", "cancelled", "not ended"][r.outcome[i]];
    const server = run.meta.servers[r.server[i]];
    const about = r.source[i] === 1 ? " ≈" : "";
    return [`issued at ${Format.clock(r.issued[i], 1)}, ${outcome}`, server,
      `prompt ${Format.number(r.prompt[i])}, output ${Format.number(r.output[i])} tokens`,
      `TTFT ${ms(run.metric("ttft")[i])}   TPOT ${ms(run.metric("tpot")[i])}   latency ${ms(run.metric("e2e")[i])}`,
      Number.isNaN(r.queue[i]) ? null : `server${about}: queue ${ms(r.queue[i])}, prefill ${ms(r.prefill[i])}, decode ${ms(r.decode[i])}`,
    ].filter(Boolean).join("\n").replaceAll("NaN", "—");
  }

  function choices(figure, options, current, choose) {
    const box = figure.querySelector(".choices");
    const buttons = options.map(([id, title]) => el("button", { type: "button", "aria-pressed": id === current, on: { click: () => {
      buttons.forEach((b, i) => b.setAttribute("aria-pressed", options[i][0] === id));
      choose(id);
    } } }, title));
    box.append(...buttons);
  }

  // Requests in the order of sending, since Offline issues all of them at once. One that was not sent is at its issue.
  function bySending(r) {
    const begun = r.sent.map((ms, i) => (Number.isNaN(ms) ? r.issued[i] : ms));
    const order = Uint32Array.from(begun.keys()).sort((a, b) => begun[a] - begun[b]);
    const times = Float64Array.from(order, (i) => begun[i]);
    return { r, order, times, marks: Array.from(times).filter((ms, k) => r.outcome[order[k]] === 1 || r.outcome[order[k]] === 2) };
  }

  function start(report) {
    for (const figure of document.querySelectorAll("[data-scatter]")) {
      const run = report.runs[+figure.dataset.scatter];
      let sorted = {};
      let metric = "ttft";
      const title = () => report.metrics.find((m) => m.id === metric).title;
      const scatter = new Scatter(figure, {
        run, source: "requests", title,
        show: (v) => Format.withUnit(v / 1000, "seconds"),
        thresholds: () => (report.limits[metric] || []),
        data: () => {
          // A page that grows has other requests then.
          if (sorted.r !== run.requests) sorted = bySending(run.requests);
          const { order, times, marks } = sorted, values = run.metric(metric);
          return { times, marks, values: Float64Array.from(order, (i) => values[i]), describe: (k) => describe(run, order[k]) };
        },
      });
      const some = report.metrics.filter((m) => ["ttft", "tpot", "e2e", "queue", "prefill", "decode"].includes(m.id) && (report.events_url || run.metric(m.id).some((v) => !Number.isNaN(v))));
      choices(figure, some.map((m) => [m.id, m.title]), metric, (id) => { metric = id; Drawings.one(scatter.plot.item); });
      Export.connect(figure, () => requestRows(run));
    }
    for (const figure of document.querySelectorAll("[data-steps]")) steps(figure, report.runs[+figure.dataset.steps]);
  }

  function requestRows(run) {
    const r = run.requests, [from, to] = Selection.view(), rows = [];
    const names = ["scheduled", "issued", "sent", "first", "done", "prompt", "output", "queue", "prefill", "decode"];
    for (let i = 0; i < r.n; i++) {
      if (r.issued[i] < from || r.issued[i] > to) continue;
      rows.push([...names.map((name) => r[name][i]), ["measured", "estimate"][r.source[i]] || "", ["completed", "failed", "cancelled", "open"][r.outcome[i]], run.meta.servers[r.server[i]] || ""]);
    }
    const head = ["scheduled_ms", "issued_ms", "sent_ms", "first_token_ms", "done_ms", "prompt_tokens", "output_tokens", "queue_ms", "prefill_ms", "decode_ms", "time_source", "outcome", "server"];
    return [head, rows];
  }

  function steps(figure, run) {
    const t = run.table("steps");
    if (!t) return figure.append(el("p", { class: "absent empty" }, "— no engine steps in this run"));
    const sum = t.prompt.map((v, i) => v + t.output[i]);
    const columns = { tokens: sum, output: t.output, duration: t.duration };
    let which = "tokens";
    const scatter = new Scatter(figure, {
      run, source: "steps", title: () => "Engine steps", noun: "engine steps in view", empty: "no engine steps in view",
      show: (v) => (which === "duration" ? Format.withUnit(v / 1000, "seconds") : Format.number(v)),
      data: () => ({ times: t.end, values: columns[which], marks: [], describe: (i) =>
        `${Format.clock(t.end[i], 1)}\n${Format.number(t.prompt[i])} prompt + ${Format.number(t.output[i])} output tokens` +
        (Number.isNaN(t.duration[i]) ? "" : `\n${Format.withUnit(t.duration[i] / 1000, "seconds")}`) }),
    });
    choices(figure, [["tokens", "tokens"], ["output", "output tokens"], ["duration", "duration"]], which, (id) => { which = id; Drawings.one(scatter.plot.item); });
    Export.connect(figure, () => [["end_ms", "duration_ms", "prompt_tokens", "output_tokens"], Array.from(t.end, (e, i) => [e, t.duration[i], t.prompt[i], t.output[i]])]);
  }

  return { start, describe, requestRows };
})();
