// Making elements. Text is only ever set as text: nothing that was recorded becomes markup.

const Dom = (() => {
  function el(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }

  // A table of plain cells; numbers are set to the right.
  function table(head, rows, className = "compact") {
    const cell = (value, i) => typeof value === "object" && value
      ? el(i ? "td" : "th", i ? {} : { scope: "row" }, value)
      : el(i ? "td" : "th", i ? { class: "right" } : { scope: "row" }, String(value));
    return el("table", { class: className },
      el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i ? "right" : null }, text)))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map(cell)))));
  }

  // A short piece of line as it is drawn in a chart.
  function swatch(color, dash, width = 2) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", "22");
    svg.setAttribute("height", "8");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const set = { x1: 0, x2: 22, y1: 4, y2: 4, "stroke-width": width, "stroke-dasharray": (dash || []).join(" ") };
    for (const [name, value] of Object.entries(set)) line.setAttribute(name, value);
    line.style.stroke = color;
    svg.append(line);
    return svg;
  }

  return { el, table, swatch };
})();
const { el } = Dom;
