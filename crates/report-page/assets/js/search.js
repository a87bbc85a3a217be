// All series: found by words, drawn alone or over each other.

const Search = (() => {
  const PAGE = 15, MOST = 12;
  let report, chosen = [], body, input, list, chart, explorer, shown = PAGE;

  const several = () => report.runs.length > 1;
  const id = (series) => (several() ? series.run.name + "|" : "") + series.key;

  // Every word must occur somewhere in name, labels, source or description.
  function matches() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    return report.runs.flatMap((run) => run.series).filter((s) => {
      s.haystack ||= `${s.run.name} ${s.key} ${s.source} ${s.description} ${s.unit}`.toLowerCase();
      return words.every((word) => s.haystack.includes(word));
    });
  }

  function draw() {
    chart?.destroy();
    chart = null;
    Selection.put("s", chosen.map(id).join("\n"));
    const head = explorer.querySelector("h3");
    explorer.hidden = !chosen.length;
    if (!chosen.length) return;
    // Of one unit, or each against its own largest value.
    const units = new Set(chosen.map((s) => s.shownUnit));
    const lines = chosen.map((series, i) => ({
      series: units.size > 1 ? scaled(series) : series, label: id(series) + (units.size > 1 && series.shownUnit ? ` (${series.shownUnit})` : ""),
      color: () => Theme.series(i), cssColor: `var(--c${i % 8})`, dash: Theme.dash(i),
    }));
    head.textContent = chosen.length === 1 ? chosen[0].name : units.size > 1 ? `${chosen.length} series of different units, each from 0 to its largest value` : `${chosen.length} series`;
    explorer.querySelector(".description").textContent = chosen.length === 1 ? chosen[0].description : "";
    chart = new LineChart(explorer, { title: head.textContent, unit: units.size > 1 ? "ratio" : chosen[0].shownUnit, kind: "line", height: 260 }, lines);
  }

  // A series as share of its largest value.
  function scaled(series) {
    let most = 0;
    for (const v of series.shown) if (Number.isFinite(v)) most = Math.max(most, Math.abs(v));
    const copy = Object.create(series);
    Object.defineProperty(copy, "shown", { value: series.shown.map((v) => v / (most || 1)) });
    return copy;
  }

  function toggle(series, on) {
    chosen = chosen.filter((s) => s !== series);
    if (on) chosen = [...chosen, series].slice(-MOST);
    draw();
    rows();
  }

  function alone(series) {
    chosen = [series];
    draw();
    rows();
  }

  function rows() {
    const found = matches(), [from, to] = Selection.view();
    const row = (series) => {
      const s = Stats.summary(series.times, series.shown, from, to);
      const show = (v) => (s.count ? Format.withUnit(v, series.shownUnit) : "—");
      const box = el("input", { type: "checkbox", "aria-label": "draw " + series.key, on: { change: (event) => toggle(series, event.target.checked) } });
      box.checked = chosen.includes(series);
      return el("tr", {},
        el("th", { scope: "row" }, el("label", { title: series.description }, box,
          el("span", {}, several() ? el("span", { class: `run-name run-${series.run.index}` }, series.run.name) : null,
            el("bdi", {}, series.name), " ", el("bdi", { class: "labels" }, series.labelText)))),
        el("td", { class: "narrow-hide muted" }, series.source),
        el("td", { class: "narrow-hide muted" }, series.kind === "counter" ? "rate" : series.kind),
        el("td", { class: "right narrow-hide" }, show(s.min)), el("td", { class: "right" }, show(s.mean)), el("td", { class: "right narrow-hide" }, show(s.max)),
        el("td", { class: "right" }, el("button", { type: "button", class: "quiet", "aria-label": "draw only " + series.key, on: { click: () => alone(series) } }, "Plot")));
    };
    const head = ["Series", "source", "kind", "minimum", "mean", "maximum", ""];
    const classes = [null, "narrow-hide", "narrow-hide", "right narrow-hide", "right", "right narrow-hide", null];
    list.replaceChildren(
      el("p", { class: "muted" }, `${found.length} of ${report.runs.reduce((n, run) => n + run.series.length, 0)} series` + (Selection.current() ? ", numbers of the selection" : "")),
      el("div", { class: "scroll" }, el("table", { class: "series-list" },
        el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: classes[i] }, text)))),
        el("tbody", {}, ...found.slice(0, shown).map(row)))),
      found.length > shown ? el("button", { type: "button", class: "quiet", on: { click: () => { shown += 200; rows(); } } }, `${found.length - shown} more`) : "");
  }

  // Draws a series and goes to it.
  function show(series) {
    alone(series);
    explorer.scrollIntoView({ block: "start" });
    explorer.querySelector(".plot")?.focus({ preventScroll: true });
  }

  function start(report_) {
    report = report_;
    body = document.querySelector("#series .body");
    input = el("input", { type: "search", placeholder: "Name, label, source or word of the description", "aria-label": "Search series" });
    list = el("div");
    explorer = el("figure", { class: "chart", id: "explorer", hidden: true },
      el("figcaption", {}, el("h3"), el("span", { class: "actions" },
        el("button", { type: "button", "data-action": "copy" }, "Copy"), el("button", { type: "button", "data-action": "csv" }, "CSV"),
        el("button", { type: "button", on: { click: () => { chosen = []; draw(); rows(); } } }, "Clear"))),
      el("p", { class: "description muted" }));
    body.append(el("div", { class: "search" }, input), explorer, list);
    input.addEventListener("input", () => { shown = PAGE; Selection.put("q", input.value); rows(); });
    input.value = Selection.get("q") || "";
    const wanted = new Set((Selection.get("s") || "").split("\n"));
    chosen = report.runs.flatMap((run) => run.series).filter((s) => wanted.has(id(s)));
    let timer;
    Selection.listen(() => { clearTimeout(timer); timer = setTimeout(rows, 200); });
    draw();
    // Rows cost a look at every series; the charts above come first.
    Drawings.add(list, rows);
  }

  return { start, show };
})();
