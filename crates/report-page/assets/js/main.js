// Starts everything: toolbar, sections, redrawing.

const Toolbar = (() => {
  function start(report) {
    const nav = document.querySelector("#toolbar nav");
    for (const section of document.querySelectorAll("[data-nav]")) {
      const link = el("a", { href: "#" + section.id }, section.dataset.nav);
      // The address keeps the selection, so the section is not written there.
      link.addEventListener("click", (event) => {
        event.preventDefault();
        section.scrollIntoView({ block: "start" });
        section.setAttribute("tabindex", "-1");
        section.focus({ preventScroll: true });
      });
      nav.append(link);
    }
    minimap(report);
    range(report);
  }

  // The whole run in small: the first chart's first line, phases, the steady window, warnings, and the selection.
  function minimap(report) {
    const lines = report.charts.flatMap((chart, c) => chart.lines.slice(0, 1).map((line, l) => report.chart_series[c][l]));
    const of = lines.find((by) => by.some((index) => index !== null)) || [];
    const shown = report.runs.flatMap((run, r) => (of[r] === null || of[r] === undefined ? [] : [run.series[of[r]]]));
    const plot = new Plot(document.getElementById("minimap"), {
      time: true, full: true, height: innerWidth < 720 ? 44 : 50, top: 2, bottom: 18, left: 1, right: 1,
      label: () => "The whole run" + (shown[0] ? `, ${shown[0].name}` : "") + ". Arrow keys move the selection, plus and minus change it, 0 shows all.",
      draw(p) {
        const { ctx } = p, run = report.runs[0];
        ctx.fillStyle = Theme.color("surface");
        ctx.fillRect(p.left, p.top, p.w, p.h);
        p.background(run);
        shown.forEach((series, i) => sparkline(p, series, shown.length > 1 ? Theme.series(i) : Theme.color("muted")));
        for (const [ms, severity] of run.meta.events) {
          if (severity === 0) continue;
          ctx.fillStyle = Theme.color(severity === 2 ? "bad" : "warn");
          ctx.fillRect(p.x(ms) - 1, p.top, 2, 7);
        }
        p.timeAxis(false);
        phases(p, run);
        const chosen = Selection.current();
        if (chosen) {
          const [a, b] = chosen.map((ms) => p.x(ms));
          ctx.fillStyle = Theme.color("bg") + "b8";
          ctx.fillRect(p.left, p.top, a - p.left, p.h);
          ctx.fillRect(b, p.top, p.left + p.w - b, p.h);
          Object.assign(ctx, { strokeStyle: Theme.color("accent"), lineWidth: 2 });
          ctx.strokeRect(a, p.top + 1, Math.max(2, b - a), p.h - 2);
        } else {
          Object.assign(ctx, { strokeStyle: Theme.color("line"), lineWidth: 1 });
          ctx.strokeRect(p.left + 0.5, p.top + 0.5, p.w - 1, p.h - 1);
        }
      },
    });
    return plot;
  }

  function sparkline(p, series, color) {
    const sum = Stats.summary(series.times, series.shown, ...Selection.domain());
    if (!sum.count) return;
    const low = Math.min(0, sum.min), high = sum.max > low ? sum.max : low + 1;
    const { ctx } = p, y = (v) => p.bottomY - 2 - ((v - low) / (high - low)) * (p.h - 5);
    Object.assign(ctx, { strokeStyle: color, lineWidth: 1 });
    ctx.beginPath();
    const step = Math.max(1, Math.floor(series.times.length / (p.w * 2)));
    let pen = false;
    for (let i = 0; i < series.times.length; i += step) {
      const v = series.shown[i];
      if (!Number.isFinite(v)) { pen = false; continue; }
      if (pen) ctx.lineTo(p.x(series.times[i]), y(v)); else ctx.moveTo(p.x(series.times[i]), y(v));
      pen = true;
    }
    ctx.stroke();
  }

  function phases(p, run) {
    for (const [name, from, to] of run.meta.phases) {
      const a = p.x(from), b = p.x(to);
      p.line(Math.round(a) + 0.5, p.top, Math.round(a) + 0.5, p.bottomY, Theme.color("muted"), 1, [2, 2]);
      if (b - a > p.ctx.measureText(name).width + 10) p.text(name, a + 5, p.top + 9);
    }
  }

  function range(report) {
    const form = document.getElementById("range"), text = document.getElementById("range-text");
    const steady = document.getElementById("steady-button"), reset = document.getElementById("reset-button");
    // That of a live page moves.
    const window = () => report.runs.map((run) => run.steady).find(Boolean);
    const seconds = (ms) => String(+(ms / 1000).toFixed(3));
    const same = (a, b) => a && b && Math.abs(a[0] - b[0]) < 1 && Math.abs(a[1] - b[1]) < 1;
    function update() {
      const [from, to] = Selection.view(), chosen = Selection.current();
      const step = to - from < 10000 ? 10 : 1000;
      text.textContent = `${chosen ? "Selection" : "Whole record"} ${Format.clock(from, step)} – ${Format.clock(to, step)} (${Format.duration(to - from)})`;
      form.from.value = seconds(from);
      form.to.value = seconds(to);
      reset.disabled = !chosen;
      steady.disabled = !window();
      steady.title = window() ? "" : "this run has no steady window";
      steady.setAttribute("aria-pressed", Boolean(same(chosen, window())));
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [from, to] = [parseFloat(form.from.value) * 1000, parseFloat(form.to.value) * 1000];
      if (to > from) Selection.set(from, to);
      update();
    });
    for (const field of [form.from, form.to]) field.addEventListener("change", () => form.requestSubmit());
    steady.addEventListener("click", () => Selection.set(...window()));
    reset.addEventListener("click", Selection.clear);
    Selection.listen(update);
    report.toolbar = update;
    update();
  }

  return { start };
})();

// Which rule bound the run when. Called again when that changes.
function boundStrip(report) {
  for (const place of document.querySelectorAll("[data-bound]")) {
    const { meta } = report.runs[+place.dataset.bound];
    place.hidden = !meta.bound.length;
    const used = [...new Set(meta.bound.map((span) => span[2]))].sort((a, b) => meta.rules[a][1] - meta.rules[b][1]);
    if (place.nextElementSibling?.className === "keys") place.nextElementSibling.remove();
    place.after(el("div", { class: "keys", "aria-hidden": "true" }, ...used.map((rule) =>
      el("span", {}, el("i", { class: `key rule-${meta.rules[rule][1]}` }), el("bdi", {}, meta.rules[rule][0])))));
    if (place.firstElementChild) continue;
    new Plot(place, {
      time: true, height: 22, top: 0, bottom: 0, left: 0, right: 0,
      label: () => "Which rule bound each second: " + meta.rules.map(([name], i) => {
        const ms = meta.bound.reduce((sum, [from, to, rule]) => sum + (rule === i ? to - from : 0), 0);
        return ms ? `${name} ${Format.duration(ms)}` : null;
      }).filter(Boolean).join(", "),
      draw(p) {
        p.inside(() => {
          p.ctx.fillStyle = Theme.color("grid");
          p.ctx.fillRect(p.left, p.top, p.w, p.h);
          for (const [from, to, rule] of meta.bound) {
            p.ctx.fillStyle = Theme.series(meta.rules[rule][1]);
            p.ctx.fillRect(p.x(from), p.top, Math.max(0.5, p.x(to) - p.x(from)), p.h);
          }
        });
      },
      tip(x, y, p) {
        const ms = p.ms(x), span = meta.bound.find(([from, to]) => ms >= from && ms < to);
        return span ? `${meta.rules[span[2]][0]}\n${Format.clock(span[0])} – ${Format.clock(span[1])}` : null;
      },
    });
  }
}

// Definitions close when the reader goes on.
function definitions() {
  const close = (except) => document.querySelectorAll(".define[open]").forEach((d) => { if (d !== except) d.open = false; });
  document.addEventListener("click", (event) => close(event.target.closest(".define")));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(null); });
  document.addEventListener("toggle", (event) => {
    const box = event.target.matches?.(".define[open]") && event.target.querySelector(".definition");
    if (!box) return;
    // Kept inside the window.
    box.style.transform = "";
    const over = box.getBoundingClientRect().right - document.documentElement.clientWidth + 12;
    if (over > 0) box.style.transform = `translateX(${-over}px)`;
  }, true);
}

function events() {
  const chosen = Selection.current();
  for (const row of document.querySelectorAll("#events tr[data-ms]")) {
    row.classList.toggle("outside", Boolean(chosen) && (+row.dataset.ms < chosen[0] || +row.dataset.ms > chosen[1]));
  }
}

// Paper is white: colours are read again while the print style holds, and everything is drawn.
function printing() {
  const redraw = () => { Theme.refresh(); Drawings.all(); };
  let before;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    redraw();
  });
  addEventListener("afterprint", () => {
    if (before) document.documentElement.dataset.theme = before; else delete document.documentElement.dataset.theme;
    redraw();
  });
}

async function start() {
  document.documentElement.classList.remove("no-js");
  Theme.start();
  definitions();
  const report = await Model.load();
  Selection.setDomain(Math.min(0, ...report.runs.map((run) => run.start)), Math.max(...report.runs.map((run) => run.end), 1));
  if (report.runs.length) Selection.setDomain(Math.min(...report.runs.map((run) => run.start)), Math.max(...report.runs.map((run) => run.end)));
  Selection.read();
  Toolbar.start(report);
  boundStrip(report);
  report.charts_ = Charts.start(report);
  Heatmap.start(report);
  Distribution.start(report);
  Scatters.start(report);
  Lanes.start(report);
  Search.start(report);
  Changed.start(report);
  const numbers = () => { Numbers.update(report); events(); };
  Selection.listen(numbers);
  Selection.listen(Drawings.invalidate);
  Theme.listen(Drawings.invalidate);
  addEventListener("hashchange", () => {
    Selection.read();
    report.refresh();
  });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; Drawings.invalidate(); } });
  report.refresh = () => { report.toolbar(); numbers(); Drawings.invalidate(); };
  numbers();
  printing();
  Live.start(report);
  await Drawings.inView();
  report.inViewAfter = performance.now();
  await Drawings.done();
  report.drawnAfter = performance.now();
  document.documentElement.dataset.drawn = "yes";
  return report;
}

// For tests, and for use from the console of the browser.
window.report = start();
