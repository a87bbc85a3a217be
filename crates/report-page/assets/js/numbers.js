// The tables of requests: fills the rows of the selection.

const Numbers = (() => {
  function cell(value, estimate) {
    if (value === null || Number.isNaN(value)) return [el("span", { class: "absent" }, "—")];
    const number = el("span", { class: "number" }, Format.number(value));
    return estimate ? [el("abbr", { class: "estimate", title: "estimate" }, "≈"), number] : [number];
  }

  function fill(row, values, estimates) {
    [...row.querySelectorAll("td")].forEach((td, i) => td.replaceChildren(...cell(values[i], estimates(i))));
    row.hidden = false;
  }

  // Numbers of one window, as the tables hold them.
  function of(report, run, from, to) {
    const latencies = {};
    for (const { id } of report.metrics) {
      const d = Stats.distribution(...Stats.metricIn(run, id, from, to), report.quantiles);
      latencies[id] = d ? [d.count, d.mean, ...d.quantiles, d.max] : new Array(7).fill(null);
    }
    return { counts: Stats.counts(run, from, to), latencies };
  }

  function fillWindow(report, run, window, from, to) {
    const numbers = of(report, run, from, to), sample = run.requests.sampled;
    const rows = document.querySelectorAll(`#numbers tr[data-run="${run.index}"][data-window="${window}"]`);
    for (const row of rows) {
      const metric = row.closest("tbody").dataset.metric;
      if (metric) fill(row, numbers.latencies[metric], () => sample);
      else fill(row, numbers.counts, (i) => (sample && i > 0) || (i === 6 && window !== "whole"));
    }
  }

  function update(report) {
    const chosen = Selection.current();
    for (const run of report.runs) {
      if (chosen) fillWindow(report, run, "selection", ...chosen);
      else document.querySelectorAll('#numbers tr[data-window="selection"]').forEach((row) => (row.hidden = true));
    }
  }

  return { update, of, fillWindow };
})();
