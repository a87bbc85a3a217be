// What a chart shows as CSV: copied, or saved as a file.

const Export = (() => {
  const field = (value) => {
    if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
    return /[",\n\r]/.test(value) ? `"${value.replace(/"/g, '""')}"` : value;
  };
  const csv = (head, rows) => [head, ...rows].map((row) => row.map(field).join(",")).join("\n") + "\n";

  // Series over the times in view, joined where their times differ. Special values are written as words.
  function seriesRows(list) {
    const [from, to] = Selection.view();
    const rows = new Map();
    list.forEach((series, column) => {
      for (let i = Stats.lowerBound(series.times, from); i < series.times.length && series.times[i] <= to; i++) {
        const time = series.times[i];
        if (!rows.has(time)) rows.set(time, new Array(list.length).fill(""));
        const value = series.shown[i];
        rows.get(time)[column] = Number.isNaN(value) ? series.special(i).replace("absent", "") : value;
      }
    });
    const several = new Set(list.map((s) => s.run)).size > 1;
    const head = ["seconds", ...list.map((s) => (several ? s.run.name + " " : "") + s.key + (s.kind === "counter" ? " per second" : ""))];
    return [head, [...rows].sort((a, b) => a[0] - b[0]).map(([time, values]) => [time / 1000, ...values])];
  }

  async function copy(text, button) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without the permission, a hidden text field does the same.
      const area = el("textarea", { class: "hidden" });
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    const label = button.textContent;
    button.textContent = done ? "Copied" : "Not allowed";
    setTimeout(() => (button.textContent = label), 1500);
  }

  function save(text, name) {
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    const link = el("a", { href: url, download: name + ".csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  // Connects the buttons of a figure. `rows` returns [head, rows] of what is in view.
  function connect(figure, rows) {
    figure.querySelector('[data-action="copy"]')?.addEventListener("click", (event) => copy(csv(...rows()), event.currentTarget));
    figure.querySelector('[data-action="csv"]')?.addEventListener("click", () => save(csv(...rows()), figure.id || "series"));
  }

  return { connect, seriesRows, csv };
})();
