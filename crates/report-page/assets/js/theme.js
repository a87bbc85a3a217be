// Light and dark: the system's choice, or the reader's by the button. Charts read the colours of the style sheet.

const Theme = (() => {
  const listeners = [];
  const system = matchMedia("(prefers-color-scheme: dark)");
  let cache = {};

  // Value of a colour variable.
  function color(name) {
    return (cache[name] ||= getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim());
  }

  const dark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";

  function changed() {
    cache = {};
    const button = document.getElementById("theme");
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
    listeners.forEach((listener) => listener());
  }

  function start() {
    document.getElementById("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      changed();
    });
    system.addEventListener("change", changed);
    changed();
  }

  // Eight colours, each with a dash pattern of its own, so that lines differ without colour too.
  const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 3], [1, 3], [6, 2, 2, 2, 2, 2]];
  const series = (i) => color("c" + (i % 8));
  const dash = (i) => DASHES[i % 8];

  // Colour of a density from 0 to 1, as [red, green, blue].
  function heat(share) {
    const stops = cache.stops ||= [0, 1, 2, 3, 4].map((i) => {
      const hex = color("heat" + i);
      return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    });
    const place = Math.max(0, Math.min(1, share)) * 4, below = Math.min(3, Math.floor(place));
    return stops[below].map((c, k) => c + (stops[below + 1][k] - c) * (place - below));
  }

  return { start, color, series, dash, heat, dark, listen: (listener) => listeners.push(listener), refresh: changed };
})();
