// Numbers for people, by the same rules as format.rs.

const Format = (() => {
  // A fixed number of decimals, halves upwards.
  function decimals(size, places) {
    const digits = String(Math.floor(size * 10 ** places + 0.5)).padStart(places + 1, "0");
    return places ? digits.slice(0, -places) + "." + digits.slice(-places) : digits;
  }

  // Four significant digits; from a thousand up without decimals.
  function number(value) {
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
    const size = Math.abs(value);
    let text;
    if (size === 0) text = "0";
    else if (size < 0.001 || size >= 1e15) text = size.toExponential(2).replace("e+", "e");
    else if (size >= 1000 || Number.isInteger(size)) text = decimals(size, 0).replace(/\B(?=(\d{3})+$)/g, ",");
    else text = decimals(size, [100, 10, 1, 0.1, 0.01, 0.001].findIndex((bound) => size >= bound) + 1);
    return value < 0 ? "−" + text : text;
  }

  const GIB = 1073741824, MIB = 1048576;
  const STEPS = {
    "seconds": [[1, 1, "s"], [1e-3, 1e3, "ms"], [0, 1e6, "µs"]],
    "bytes": [[GIB, 1 / GIB, "GiB"], [MIB, 1 / MIB, "MiB"], [1024, 1 / 1024, "KiB"], [0, 1, "B"]],
    "bytes/s": [[1e9, 1e-9, "GB/s"], [1e6, 1e-6, "MB/s"], [1e3, 1e-3, "kB/s"], [0, 1, "B/s"]],
    "ratio": [[0, 100, "%"]],
    "joules": [[1, 1, "J"], [0, 1e3, "mJ"]],
    "watts": [[0, 1, "W"]],
    "celsius": [[0, 1, "°C"]],
    "1/s": [[0, 1, "/s"]],
    "hertz": [[1e9, 1e-9, "GHz"], [1e6, 1e-6, "MHz"], [0, 1, "Hz"]],
  };

  // [factor, name] of the unit in which a value of this size is shown.
  function scale(size, unit) {
    const steps = STEPS[unit];
    if (!steps) return [1, unit];
    size = Math.abs(size);
    const step = size === 0 ? steps.findLast((s) => s[1] === 1) || steps.at(-1) : steps.find((s) => size >= s[0]);
    return [step[1], step[2]];
  }

  function withUnit(value, unit) {
    if (!Number.isFinite(value)) return number(value);
    const [factor, name] = scale(value, unit);
    return (number(value * factor) + " " + name).trim();
  }

  // Short numbers for axes: 12k, 1.5M. The step between ticks says how many decimals are needed, the largest one
  // which suffix all of them have.
  function tick(value, step, largest = value) {
    if (value === 0) return "0";
    const size = Math.abs(largest);
    const [factor, suffix] =
      size >= 1e9 ? [1e-9, "G"] : size >= 1e6 ? [1e-6, "M"] : size >= 1e4 ? [1e-3, "k"] : [1, ""];
    if (size < 1e-4) return value.toExponential(0).replace("-", "−");
    // As many decimals as the step has.
    const exact = (places) => Math.abs(step * factor * 10 ** places - Math.round(step * factor * 10 ** places)) < 1e-6;
    const places = [0, 1, 2, 3, 4, 5].find((n) => exact(n) && step * factor * 10 ** n >= 0.999) ?? 6;
    return (value * factor).toFixed(places).replace("-", "−") + suffix;
  }

  // Time from the origin: 0:04.2, 1:00:00. The step between ticks says how many decimals are needed.
  function clock(ms, step = 100) {
    const places = step >= 1000 ? 0 : Math.min(3, Math.ceil(-Math.log10(step / 1000) - 1e-9));
    const unit = 10 ** places;
    const all = Math.round((Math.abs(ms) / 1000) * unit);
    const seconds = Math.floor(all / unit), rest = all % unit;
    const two = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    const text = hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
    return (ms < 0 && all ? "−" : "") + text + (rest || (places && step < 100) ? "." + String(rest).padStart(places, "0") : "");
  }

  function duration(ms) {
    const seconds = ms / 1000, whole = Math.floor(seconds + 0.5);
    if (whole < 120) return withUnit(seconds, "seconds");
    return whole < 3600
      ? `${Math.floor(whole / 60)} min ${whole % 60} s`
      : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  }

  return { number, scale, withUnit, tick, clock, duration };
})();
