// What all drawings share: when they are drawn, their frame on a canvas, axes, pointer and keys.

// Drawings in view are drawn at once, the others when there is time or when they come into view.
const Drawings = (() => {
  const items = [];
  const whenShown = [], whenDone = [];
  let queued = false;
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.target.drawing.visible = entry.isIntersecting;
    schedule();
  }, { rootMargin: "300px" });

  function add(element, draw) {
    const item = { element, draw, dirty: true, visible: false };
    element.drawing = item;
    items.push(item);
    observer.observe(element);
    return item;
  }

  function run(item) {
    item.dirty = false;
    if (item.element.isConnected && item.element.clientWidth > 0) item.draw();
  }

  function schedule() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      items.filter((item) => item.dirty && item.visible).forEach(run);
      // Nothing is known to be visible before the observer's first report.
      if (items.some((item) => item.visible)) whenShown.splice(0).forEach((resolve) => resolve());
      idle();
    });
  }

  // In short pieces, so that the page answers in between.
  function idle() {
    setTimeout(() => {
      const end = performance.now() + 30;
      for (let next; performance.now() < end && (next = items.find((item) => item.dirty)); ) run(next);
      if (items.some((item) => item.dirty)) return idle();
      whenDone.splice(0).forEach((resolve) => resolve());
    });
  }

  function invalidate() {
    items.forEach((item) => (item.dirty = true));
    schedule();
  }

  function remove(element) {
    observer.unobserve(element);
    items.splice(items.findIndex((item) => item.element === element), 1);
  }

  return {
    add, remove, invalidate, run,
    one: (item) => { item.dirty = true; schedule(); },
    all: () => items.filter((item) => item.dirty).forEach(run),
    inView: () => new Promise((resolve) => { whenShown.push(resolve); schedule(); }),
    done: () => new Promise((resolve) => { whenDone.push(resolve); schedule(); }),
  };
})();

const Axis = (() => {
  const TIMES = [1, 2, 5, 10, 20, 50, 100, 200, 500];
  for (const s of [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]) TIMES.push(s * 1000);

  function timeTicks(from, to, width) {
    const step = TIMES.find((t) => ((to - from) / t) * 72 <= width) || TIMES.at(-1) * Math.ceil((to - from) / TIMES.at(-1) / 10);
    const ticks = [];
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) ticks.push(t);
    return [ticks, step];
  }

  function valueTicks(min, max, count) {
    const raw = (max - min) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    const ticks = [];
    for (let t = Math.ceil(min / step - 1e-9) * step; t <= max + step * 1e-6; t += step) ticks.push(t);
    return [ticks, step];
  }

  // 1, 2, 5 of every decade; only the ones if there are many.
  function logTicks(min, max) {
    const ticks = [], decades = Math.log10(max / min);
    for (let e = Math.floor(Math.log10(min)); e <= Math.ceil(Math.log10(max)); e++) {
      for (const m of decades > 3.5 ? [1] : decades > 1.6 ? [1, 3] : [1, 2, 5]) {
        const t = m * 10 ** e;
        if (t >= min * 0.999 && t <= max * 1.001) ticks.push(t);
      }
    }
    return ticks;
  }

  // Steps of axes of bytes, which are labelled in powers of 1024.
  const BYTES = Array.from({ length: 60 }, (_, i) => 2 ** i);

  return { TIMES, BYTES, timeTicks, valueTicks, logTicks, LEFT: 62, RIGHT: 24 };
})();

// A canvas with a frame. Options: height; draw(plot); tip(x, y, plot) → text or null; label() → description for
// those who do not see it; time: its x axis is the shared time axis; full: always the whole run.
class Plot {
  constructor(container, options) {
    Object.assign(this, { options, height: options.height, top: options.top ?? 8, bottom: options.bottom ?? 24, left: options.left ?? Axis.LEFT, right: options.right ?? Axis.RIGHT });
    this.canvas = el("canvas");
    this.ctx = this.canvas.getContext("2d");
    this.hairline = el("div", { class: "hairline", hidden: true });
    this.brush = el("div", { class: "brush", hidden: true });
    this.tip = el("div", { class: "tip", hidden: true });
    this.root = el("div", { class: "plot", tabindex: options.time ? "0" : null, role: "img" }, this.canvas, this.hairline, this.brush, this.tip);
    container.append(this.root);
    this.item = Drawings.add(this.root, () => this.draw());
    this.pointer();
    if (options.time) Selection.listenCursor((ms) => this.showCursor(ms));
  }

  get view() { return this.options.full ? Selection.domain() : Selection.view(); }
  x(ms) { const [from, to] = this.view; return this.left + ((ms - from) / (to - from)) * this.w; }
  ms(x) { const [from, to] = this.view; return from + ((x - this.left) / this.w) * (to - from); }
  get bottomY() { return this.top + this.h; }

  draw() {
    const width = this.root.clientWidth, ratio = devicePixelRatio || 1;
    this.w = Math.max(10, width - this.left - this.right);
    this.h = this.height - this.top - this.bottom;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.canvas.style.width = width + "px";
    this.canvas.style.height = this.height + "px";
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.ctx.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    this.options.draw(this);
    if (this.options.label) this.root.setAttribute("aria-label", this.options.label());
  }

  // Runs a drawing that must not leave the plotting area.
  inside(paint) {
    const { ctx } = this;
    ctx.save();
    ctx.beginPath();
    ctx.rect(this.left, this.top, this.w, this.h);
    ctx.clip();
    paint();
    ctx.restore();
  }

  text(text, x, y, align = "left", color = Theme.color("muted")) {
    Object.assign(this.ctx, { fillStyle: color, textAlign: align, textBaseline: "middle" });
    this.ctx.fillText(text, x, y);
  }

  line(x1, y1, x2, y2, color = Theme.color("grid"), width = 1, dash = []) {
    const { ctx } = this;
    Object.assign(ctx, { strokeStyle: color, lineWidth: width });
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(x1, y1);
    ctx.lineTo(x2, y2);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  timeAxis(grid = true) {
    const [ticks, step] = Axis.timeTicks(...this.view, this.w);
    for (const t of ticks) {
      const x = Math.round(this.x(t)) + 0.5;
      if (grid) this.line(x, this.top, x, this.bottomY);
      // Labels at the ends stay within the drawing.
      const label = Format.clock(t, step), half = this.ctx.measureText(label).width / 2;
      this.text(label, Math.max(half, Math.min(x, this.left + this.w + this.right - half)), this.bottomY + 13, "center");
    }
  }

  // Horizontal lines and their labels; place(value) → y.
  valueAxis(ticks, place, label) {
    for (const t of ticks) {
      const y = Math.round(place(t)) + 0.5;
      this.line(this.left, y, this.left + this.w, y);
      this.text(label(t), this.left - 8, y, "right");
    }
  }

  // The steady window and stretches without data behind everything else.
  background(run, source) {
    const { ctx } = this;
    const shade = (from, to, color) => {
      ctx.fillStyle = color;
      ctx.fillRect(this.x(from), this.top, this.x(to) - this.x(from), this.h);
    };
    this.inside(() => {
      if (run.steady) shade(...run.steady, Theme.color("steady"));
      for (const [name, from, to] of run.meta.gaps) if (!source || name === source) shade(from, to, Theme.color("hatch"));
    });
  }

  message(text) {
    this.text(text, this.left + this.w / 2, this.top + this.h / 2, "center");
  }

  showCursor(ms) {
    const x = ms === null ? -1 : this.x(ms);
    this.hairline.hidden = !(x >= this.left && x <= this.left + this.w);
    Object.assign(this.hairline.style, { left: x + "px", top: this.top + "px", bottom: this.bottom + "px" });
  }

  showTip(x, y) {
    const text = this.options.tip?.(x, y, this);
    this.tip.hidden = !text;
    if (!text) return;
    this.tip.textContent = text;
    const right = x > this.root.clientWidth / 2;
    Object.assign(this.tip.style, {
      left: right ? "auto" : x + 14 + "px", right: right ? this.root.clientWidth - x + 14 + "px" : "auto",
      top: Math.max(0, y - 20) + "px",
    });
  }

  // Drag selects, a drag of the brush moves it, double click returns.
  pointer() {
    const { root, options } = this;
    let from = null, grabbed = null;
    const place = (event) => {
      const box = root.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const clamp = (x) => Math.max(this.left, Math.min(x, this.left + this.w));
    root.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      if (from !== null && grabbed) {
        const shift = this.ms(x) - this.ms(from);
        Selection.set(grabbed[0] + shift, grabbed[1] + shift);
      } else if (from !== null) {
        const [a, b] = [from, clamp(x)].sort((p, q) => p - q);
        this.brush.hidden = false;
        Object.assign(this.brush.style, { left: a + "px", width: b - a + "px", top: this.top + "px", height: this.h + "px" });
      }
      if (options.time && this.w) Selection.point(x >= this.left ? this.ms(clamp(x)) : null);
      this.showTip(x, y);
    });
    root.addEventListener("pointerleave", () => {
      if (options.time) Selection.point(null);
      this.tip.hidden = true;
    });
    if (!options.time) return;
    root.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      const [x] = place(event), current = Selection.current(), ms = this.ms(x);
      from = clamp(x);
      grabbed = options.full && current && ms > current[0] && ms < current[1] ? current.slice() : null;
      root.setPointerCapture(event.pointerId);
    });
    root.addEventListener("pointerup", (event) => {
      const [x] = place(event);
      if (from !== null && !grabbed && Math.abs(clamp(x) - from) > 3) Selection.set(this.ms(from), this.ms(clamp(x)));
      from = grabbed = null;
      this.brush.hidden = true;
    });
    root.addEventListener("pointercancel", () => { from = grabbed = null; this.brush.hidden = true; });
    root.addEventListener("dblclick", Selection.clear);
    root.addEventListener("keydown", Selection.key);
  }
}
