// From the text of a block to columns of numbers; reads what encode/column.rs writes.

const Decode = (() => {
  function bytesOf(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  async function inflate(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // The bytes of an element of type text/plain.
  async function block(id) {
    const element = document.getElementById(id);
    const bytes = await inflate(bytesOf(element.textContent.trim()));
    element.remove();
    return bytes;
  }

  const WHICH = ["absent", "NaN", "+Inf", "-Inf"];

  // One column: values as numbers, with NaN at special places, and these places as [start, length, which].
  function column(bytes, offset) {
    let at = offset;
    const varint = () => {
      // Multiplied and not shifted: shifts are of 32 bits, and a counter of bytes soon needs more.
      let value = 0, factor = 1, byte;
      do {
        byte = bytes[at++];
        value += (byte & 0x7f) * factor;
        factor *= 128;
      } while (byte & 0x80);
      return value;
    };
    const signed = () => {
      const value = varint();
      return value % 2 ? -(value + 1) / 2 : value / 2;
    };
    const form = bytes[at++], scale = 10 ** bytes[at++];
    const n = varint();
    const values = new Float64Array(n), specials = [];
    for (let left = varint(), from = 0; left > 0; left--) {
      from += varint();
      const length = varint(), which = WHICH[bytes[at++]];
      specials.push([from, length, which]);
      values.fill(NaN, from, from + length);
      from += length;
    }
    const raw = form === 3 ? new DataView(bytes.buffer, bytes.byteOffset) : null;
    const same = form === 0 ? signed() / scale : 0;
    let last = 0, next = 0, i = 0;
    for (;;) {
      const end = next < specials.length ? specials[next][0] : n;
      if (form === 0) { values.fill(same, i, end); i = end; }
      else if (form === 1) for (; i < end; i++) values[i] = (last += signed()) / scale;
      else if (form === 2) for (; i < end; i++) values[i] = signed() / scale;
      else for (; i < end; i++, at += 8) values[i] = raw.getFloat64(at, true);
      if (next === specials.length) break;
      i += specials[next++][1];
    }
    return { values, specials };
  }

  return { block, column };
})();
