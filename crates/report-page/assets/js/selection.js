// The selected stretch of time, shared by all charts, and the page's state in the address, so that it can be linked.

const Selection = (() => {
  const listeners = [], cursorListeners = [];
  let domain = [0, 1], current = null, state = new URLSearchParams();

  const view = () => current || domain;
  const span = () => view()[1] - view()[0];

  // State in the address: t = selection in seconds, s = plotted series, q = search. A plain #name is a link to a section.
  function read() {
    const text = location.hash.slice(1);
    state = new URLSearchParams(text.includes("=") ? text : "");
    const [from, to] = (state.get("t") || "").split(",").map((s) => parseFloat(s) * 1000);
    current = to > from ? fit(from, to) : null;
  }

  function put(name, value) {
    if (value) state.set(name, value); else state.delete(name);
    const text = state.toString().replace(/%2C/g, ",");
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }

  // Within the record and at least a millisecond; nothing if it is the whole record.
  function fit(from, to) {
    const [start, end] = domain;
    const width = Math.max(1, Math.min(to - from, end - start));
    from = Math.max(start, Math.min(from, end - width));
    return width >= end - start ? null : [from, from + width];
  }

  function set(from, to) {
    current = fit(Math.min(from, to), Math.max(from, to));
    put("t", current && current.map((ms) => +(ms / 1000).toFixed(3)).join(","));
    listeners.forEach((listener) => listener());
  }

  function clear() {
    if (!current) return;
    current = null;
    put("t", null);
    listeners.forEach((listener) => listener());
  }

  // Keys of a chart in focus. Returns whether the key meant something.
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const [from, to] = view(), width = to - from, middle = (from + to) / 2;
    const zoom = (factor) => set(middle - (width * factor) / 2, middle + (width * factor) / 2);
    const action = {
      ArrowLeft: () => set(from - width / 8, to - width / 8),
      ArrowRight: () => set(from + width / 8, to + width / 8),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: clear, Home: clear, Escape: clear,
    }[event.key];
    if (!action) return false;
    event.preventDefault();
    action();
    return true;
  }

  function setDomain(from, to) {
    domain = [from, to > from ? to : from + 1];
  }

  // The time under the pointer, null when it left; every chart shows it.
  function point(ms) {
    cursorListeners.forEach((listener) => listener(ms));
  }

  return {
    view, span, set, clear, key, setDomain, read, put, point,
    get: (name) => state.get(name),
    domain: () => domain,
    current: () => current,
    listen: (listener) => listeners.push(listener),
    listenCursor: (listener) => cursorListeners.push(listener),
  };
})();
