// A page that is served while the run goes on: appends what arrives, then draws again.

const Live = (() => {
  const shown = {};

  // update: { end, steady, phases, gaps, series_gaps: [[index, [[start, end]]]], series: [[index, from, times, values]], histograms: [[index, [[start, end, counts]]]], requests: [...], rules, bound, fragments: { id: html } }.
  function apply(report, update) {
    const run = report.runs[0];
    for (const [index, from, times, values] of update.series) run.series[index].replace(from, times, values);
    for (const [index, columns] of update.histograms) appendColumns(run.histogram(run.meta.histograms[index].id), columns);
    if (update.requests.length) appendRequests(run, update.requests);
    run.meta.end = Math.max(run.meta.end, update.end);
    for (const name of ["rules", "bound", "steady", "phases", "gaps"]) run.meta[name] = update[name];
    for (const [index, gaps] of update.series_gaps) run.series[index].gaps = gaps;
    for (const [id, html] of Object.entries(update.fragments)) replace(id, html);
    boundStrip(report);
    Selection.setDomain(Math.min(...report.runs.map((r) => r.start)), Math.max(...report.runs.map((r) => r.end)));
    report.charts_.forEach((chart) => chart.changed());
    if (report.runs[0].requests.n) Numbers.fillWindow(report, run, "whole", ...run.whole);
    if (run.steady) Numbers.fillWindow(report, run, "steady", ...run.steady);
    report.refresh();
  }

  // A section was rendered and escaped by the program that serves this page. A parsed document runs no scripts. What
  // the reader has open stays until it is closed; drawings move into the new section.
  function replace(id, html) {
    const old = document.getElementById(id);
    if (shown[id] === html || old.querySelector("details[open]") || old.contains(document.activeElement)) return;
    const element = new DOMParser().parseFromString(html, "text/html").getElementById(id);
    if (!element) return;
    const [strip, place] = [old, element].map((section) => section.querySelector("[data-bound]"));
    if (strip && place) place.replaceWith(strip);
    old.replaceWith(document.adoptNode(element));
    shown[id] = html;
  }

  function appendColumns(histogram, columns) {
    const { starts, ends, counts } = histogram.columns, known = ends.at(-1) ?? -Infinity;
    const later = columns.filter(([, end]) => end > known);
    const join = (values, more) => Float64Array.from([...values, ...more]);
    histogram.columns = {
      starts: join(starts, later.map((c) => c[0])), ends: join(ends, later.map((c) => c[1])),
      counts: counts.map((row, b) => join(row, later.map((c) => c[2][b]))),
    };
  }

  function appendRequests(run, rows) {
    const r = run.requests, all = { n: r.n + rows.length, sampled: r.sampled };
    const value = (row, name) => {
      if (name === "source") return row.queue === null ? NaN : row.estimate ? 1 : 0;
      if (name === "weight") return 1;
      return row[name] ?? NaN;
    };
    for (const name of Object.keys(r)) {
      if (name === "n" || name === "sampled") continue;
      all[name] = new Float64Array(all.n);
      all[name].set(r[name]);
      rows.forEach((row, i) => (all[name][r.n + i] = value(row, name)));
    }
    // They arrive when they end, and everything else expects them by time of issue.
    const order = Array.from(all.issued.keys()).sort((a, b) => all.issued[a] - all.issued[b]);
    for (const name of Object.keys(all)) if (all[name].length) all[name] = Float64Array.from(order, (i) => all[name][i]);
    run.ownRequests = all;
    run.metrics = {};
  }

  function start(report) {
    if (!report.events_url) return;
    const source = new EventSource(report.events_url);
    source.addEventListener("update", (event) => apply(report, JSON.parse(event.data)));
    // Updates cannot describe what has changed. The choices of the reader are in the address, and stay.
    source.addEventListener("reload", () => { source.close(); location.reload(); });
    source.addEventListener("report", (event) => {
      source.close();
      const url = new URL(event.data, location.href);
      if (url.origin !== location.origin) return;
      document.querySelectorAll("#verdict .pending strong").forEach((word) => (word.textContent = "ENDED"));
      document.getElementById("main").prepend(el("p", { class: "note" }, "The run has ended. ", el("a", { href: url.href }, "Open the report")));
    });
  }

  return { start, apply };
})();
