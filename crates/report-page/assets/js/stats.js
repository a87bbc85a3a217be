// Statistics; the same definitions as numbers.rs and requests.rs.

const Stats = (() => {
  // First index whose value is not below x, in a rising array.
  function lowerBound(values, x) {
    let low = 0, high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < x) low = middle + 1; else high = middle;
    }
    return low;
  }

  // LoadGen's rule: the value at index n × q, rounded down.
  function quantile(sorted, q) {
    return sorted.length ? sorted[Math.min(Math.floor(sorted.length * q), sorted.length - 1)] : NaN;
  }

  // The same rule for values that stand for different numbers of requests.
  function weightedQuantile(pairs, total, q) {
    let sum = 0;
    for (const [value, weight] of pairs) if ((sum += weight) > q * total) return value;
    return pairs.length ? pairs.at(-1)[0] : NaN;
  }

  // Count, mean, quantiles and maximum. Without weights every value counts once.
  function distribution(values, weights, quantiles) {
    if (!values.length) return null;
    if (!weights) {
      const sorted = Float64Array.from(values).sort();
      const mean = sorted.reduce((sum, v) => sum + v, 0) / sorted.length;
      return { count: sorted.length, mean, quantiles: quantiles.map((q) => quantile(sorted, q)), max: sorted.at(-1) };
    }
    const pairs = values.map((value, i) => [value, weights[i]]).sort((a, b) => a[0] - b[0]);
    const count = pairs.reduce((sum, p) => sum + p[1], 0);
    const mean = pairs.reduce((sum, p) => sum + p[0] * p[1], 0) / count;
    return { count, mean, quantiles: quantiles.map((q) => weightedQuantile(pairs, count, q)), max: pairs.at(-1)[0] };
  }

  // Greatest distance between two distributions (Kolmogorov and Smirnov), from sorted values.
  function ks(a, b) {
    let i = 0, j = 0, most = 0;
    while (i < a.length && j < b.length) {
      const x = Math.min(a[i], b[j]);
      while (i < a.length && a[i] === x) i++;
      while (j < b.length && b[j] === x) j++;
      most = Math.max(most, Math.abs(i / a.length - j / b.length));
    }
    return most;
  }

  // Median of the steps of rising times.
  function usualStep(times) {
    const steps = Float64Array.from({ length: times.length - 1 }, (_, i) => times[i + 1] - times[i]).sort();
    return steps[steps.length >> 1];
  }

  // Of samples from..to (ms): number, extremes, last, and the mean weighted by time, in which a value holds until the
  // next sample. Samples crowd at the edges of phases, so a plain mean would count these moments too often.
  function summary(times, values, from, to) {
    const start = lowerBound(times, from);
    let count = 0, min = Infinity, max = -Infinity, last = NaN, sum = 0, weight = 0, plain = 0;
    for (let i = start; i < times.length && times[i] <= to; i++) {
      const value = values[i];
      if (!Number.isFinite(value)) continue;
      const hold = (i + 1 < times.length ? Math.min(times[i + 1], to) : times[i]) - times[i];
      count++;
      min = Math.min(min, value);
      max = Math.max(max, value);
      last = value;
      plain += value;
      sum += value * hold;
      weight += hold;
    }
    return { count, min, max, last, mean: weight > 0 ? sum / weight : plain / count };
  }

  // A counter as its rate per second at the end of each interval; a fall is a restart and gives no rate. After a late
  // scrape the next one follows at once, and a rate over so short a time would be a spike: intervals below a third of
  // the usual one are taken together with the next.
  function rate(times, values) {
    const out = new Float64Array(values.length).fill(NaN);
    const known = Array.from(values.keys()).filter((i) => !Number.isNaN(values[i]));
    const gaps = known.slice(1).map((i, k) => times[i] - times[known[k]]);
    const least = quantile(Float64Array.from(gaps).sort(), 0.5) / 3;
    let from = 0;
    for (let k = 1; k < known.length; k++) {
      const [a, b] = [known[from], known[k]];
      if (times[b] - times[a] < least && k + 1 < known.length) continue;
      const difference = values[b] - values[a];
      if (difference >= 0) for (let i = from + 1; i <= k; i++) out[known[i]] = difference / ((times[b] - times[a]) / 1000);
      from = k;
    }
    return out;
  }

  // Output tokens of a request in a window: the first at its time, the others evenly from then to the last; all at the
  // end where the time of the first is not known.
  function tokensInside(first, done, tokens, from, to) {
    if (Number.isNaN(done) || !(tokens > 0)) return 0;
    const at = (ms, n) => (ms >= from && ms <= to ? n : 0);
    if (Number.isNaN(first)) return at(done, tokens);
    if (done <= first) return at(first, 1) + at(done, tokens - 1);
    const overlap = Math.min(done, to) - Math.max(first, from);
    return at(first, 1) + ((tokens - 1) * Math.max(overlap, 0)) / (done - first);
  }

  // Counts and rates of a run's requests in a window, in the order of the table of counts.
  function counts(run, from, to) {
    const r = run.requests, seconds = (to - from) / 1000;
    let issued = 0, completed = 0, failed = 0, tokens = 0;
    const inside = (ms) => ms >= from && ms <= to;
    for (let i = 0; i < r.n; i++) {
      const weight = r.weight[i];
      if (inside(r.issued[i])) issued += weight;
      if (inside(r.done[i])) {
        if (r.outcome[i] === 0) completed += weight;
        else if (r.outcome[i] === 1) failed += weight;
      }
      if (r.outcome[i] === 0) tokens += weight * tokensInside(r.first[i], r.done[i], r.output[i], from, to);
    }
    const perSecond = (n) => (seconds > 0 ? n / seconds : NaN);
    return [seconds, issued, completed, failed, perSecond(issued), perSecond(completed), tokens > 0 ? perSecond(tokens) : NaN];
  }

  // A metric of the completed requests that were issued in a window: [values, weights or nothing].
  function metricIn(run, id, from, to) {
    const r = run.requests, all = run.metric(id), values = [], weights = r.sampled ? [] : null;
    const end = r.n;
    for (let i = lowerBound(r.issued, from); i < end && r.issued[i] <= to; i++) {
      if (Number.isNaN(all[i])) continue;
      values.push(all[i]);
      weights?.push(r.weight[i]);
    }
    return [values, weights];
  }

  return { lowerBound, usualStep, quantile, distribution, ks, summary, rate, counts, metricIn };
})();
