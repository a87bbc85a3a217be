// The page's data as runs, series and requests. Columns are decoded when they are first asked for.

const Model = (() => {
  class Series {
    constructor(run, index, meta) {
      Object.assign(this, meta);
      this.run = run;
      this.index = index;
      const labels = Object.entries(meta.labels);
      const quote = (text) => text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
      this.labelText = labels.map(([name, value]) => `${name}="${quote(value)}"`).join(",");
      this.key = this.labelText ? `${meta.name}{${this.labelText}}` : meta.name;
    }

    get times() { return (this.ownTimes ||= this.run.axis(this.axis)); }
    get column() { return (this.ownColumn ||= Decode.column(this.run.seriesBlock, this.at)); }
    // Values with NaN where there is no finite number.
    get values() { return this.column.values; }
    get thinned() { return this.run.meta.axes[this.axis].thinned; }

    // A counter as a rate per second, all else as it is.
    get shown() {
      if (this.kind !== "counter") return this.values;
      return (this.ownRate ||= Stats.rate(this.times, this.values));
    }
    get shownUnit() { return this.kind === "counter" ? (this.unit ? this.unit + "/s" : "1/s") : this.unit; }

    get constant() {
      if (this.ownConstant === undefined) this.ownConstant = this.shown.every((v) => Number.isNaN(v) || v === this.shown.find((w) => !Number.isNaN(w)));
      return this.ownConstant;
    }

    // What a special place in the column is, for tables and CSV.
    special(i) {
      const found = this.column.specials.find(([from, length]) => i >= from && i < from + length);
      return found ? found[2] : "";
    }

    // Points from a time on: new ones, and those that answers which arrived late have changed. The page's own times are
    // rounded.
    replace(from, times, values) {
      const kept = Stats.lowerBound(this.times, from - 0.5);
      const join = (a, b) => { const out = new Float64Array(kept + b.length); out.set(a.subarray(0, kept)); out.set(b, kept); return out; };
      const numbers = values.map((v) => (v === null ? NaN : v));
      const before = this.column.specials.filter(([at]) => at < kept).map(([at, length, kind]) => [at, Math.min(length, kept - at), kind]);
      const specials = numbers.flatMap((v, i) => (Number.isNaN(v) ? [[kept + i, 1, "absent"]] : []));
      const times_ = join(this.times, times);
      this.ownColumn = { values: join(this.values, numbers), specials: before.concat(specials) };
      this.ownTimes = times_;
      this.ownRate = this.ownConstant = undefined;
    }
  }

  class Run {
    constructor(index, meta, blocks) {
      this.index = index;
      this.meta = meta;
      this.name = meta.name;
      this.simulated = meta.simulated;
      [this.seriesBlock, this.requestBlock, this.histogramBlock] = blocks;
      this.axes = [];
      this.series = meta.series.map((s, i) => new Series(this, i, s));
      this.byKey = new Map(this.series.map((s) => [s.key, s]));
      this.metrics = {};
    }

    get start() { return this.meta.start; }
    get end() { return this.meta.end; }
    get steady() { return this.meta.steady; }
    // From the first request issued to the last answer.
    get whole() {
      const r = this.requests;
      let from = Infinity, to = -Infinity;
      for (let i = 0; i < r.n; i++) {
        from = Math.min(from, r.issued[i]);
        to = Math.max(to, [r.done[i], r.first[i], r.issued[i]].find((ms) => !Number.isNaN(ms)));
      }
      return r.n ? [from, to] : [0, 0];
    }

    axis(i) { return (this.axes[i] ||= Decode.column(this.seriesBlock, this.meta.axes[i].at).values); }

    // Requests as columns in milliseconds from the origin; NaN is absent.
    get requests() {
      if (this.ownRequests) return this.ownRequests;
      const at = this.meta.requests;
      const column = (name) => Decode.column(this.requestBlock, at[name]).values;
      const r = { n: this.meta.request_count, sampled: this.meta.request_sample };
      for (const name of ["issued", "prompt", "output", "queue", "prefill", "decode", "source", "outcome", "server", "weight"]) r[name] = column(name);
      // Sums of exact decimals are rounded to a tick again, or 0.1 + 0.2 would show.
      const tick = 10 ** this.meta.request_exponent;
      const sum = (a, b) => Math.round((a + b) * tick) / tick;
      const map = (base, column_, sign) => column_.map((v, i) => sum(base[i], sign * v));
      const lag = column("lag"), wait = column("wait"), ttft = column("ttft"), rest = column("rest");
      r.scheduled = map(r.issued, lag, -1);
      r.sent = map(r.issued, wait, 1);
      const or = (a, b) => a.map((v, i) => (Number.isNaN(v) ? b[i] : v));
      const begun = or(r.sent, r.issued);
      r.first = map(begun, ttft, 1);
      r.done = map(or(r.first, begun), rest, 1);
      // Stored as what is left of the client's times, where these are known.
      r.prefill = r.prefill.map((v, i) => (Number.isNaN(r.first[i] - r.sent[i] - r.queue[i]) ? v : sum(r.first[i] - r.sent[i], -r.queue[i] - v)));
      r.decode = r.decode.map((v, i) => (Number.isNaN(r.done[i] - r.first[i]) ? v : sum(r.done[i] - r.first[i], -v)));
      return (this.ownRequests = r);
    }

    // A metric of every request; NaN where it was not completed or the metric is absent.
    metric(id) {
      if (this.metrics[id]) return this.metrics[id];
      const r = this.requests;
      const tick = 10 ** this.meta.request_exponent;
      const round = (v) => Math.round(v * tick) / tick;
      const of = {
        ttft: (i) => round(r.first[i] - r.sent[i]),
        ttft_scheduled: (i) => round(r.first[i] - r.scheduled[i]),
        tpot: (i) => (r.output[i] >= 2 ? round(r.done[i] - r.first[i]) / (r.output[i] - 1) : NaN),
        e2e: (i) => round(r.done[i] - r.sent[i]),
        schedule_lag: (i) => round(r.issued[i] - r.scheduled[i]),
        client_queue: (i) => round(r.sent[i] - r.issued[i]),
        queue: (i) => r.queue[i],
        prefill: (i) => r.prefill[i],
        decode: (i) => r.decode[i],
        outside: (i) => round(r.done[i] - r.sent[i] - r.queue[i] - r.prefill[i] - r.decode[i]),
      }[id];
      const out = new Float64Array(r.n);
      for (let i = 0; i < r.n; i++) out[i] = r.outcome[i] === 0 ? of(i) : NaN;
      return (this.metrics[id] = out);
    }

    histogram(id) {
      const meta = this.meta.histograms.find((h) => h.id === id);
      if (!meta.columns) {
        const column = (at) => Decode.column(this.histogramBlock, at).values;
        meta.columns = { starts: column(meta.starts), ends: column(meta.ends), counts: meta.counts.map(column) };
      }
      return meta;
    }

    // Columns of steps or batches, or nothing.
    table(name) {
      const at = this.meta[name];
      if (!Object.keys(at).length) return null;
      return Object.fromEntries(Object.entries(at).map(([key, offset]) => [key, Decode.column(this.requestBlock, offset).values]));
    }
  }

  async function load() {
    const text = new TextDecoder();
    const meta = JSON.parse(text.decode(await Decode.block("data-meta")));
    const runs = await Promise.all(meta.runs.map(async (run, i) =>
      new Run(i, run, await Promise.all(["series", "requests", "histograms"].map((name) => Decode.block(`data-${name}-${i}`))))));
    // Limits in milliseconds, by metric.
    const limits = {};
    for (const { metric, label, seconds } of meta.limits) (limits[metric] ||= []).push({ label, value: seconds * 1000 });
    return { ...meta, limits, runs };
  }

  return { load };
})();
