"""Pickles of pandas tables written opcode by opcode, honest and hostile. Nothing here needs pandas."""

import gzip
import struct

STOP = b"."
NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
MARK = b"("
MEMOIZE = b"\x94"


def s(text):
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return b"X" + struct.pack("<I", len(data)) + data


def i(number):
    if -2**31 <= number < 2**31:
        return b"J" + struct.pack("<i", number)
    size = 8 if -2**63 <= number < 2**63 else 9
    return bytes([0x8A, size]) + number.to_bytes(size, "little", signed=True)


def raw(data):
    return b"B" + struct.pack("<I", len(data)) + data


def named(module, name):
    return s(module) + s(name) + b"\x93"


def tup(*items):
    return MARK + b"".join(items) + b"t"


def lst(*items):
    return b"]" + MARK + b"".join(items) + b"e"


def dct(**items):
    return b"}" + MARK + b"".join(s(key) + value for key, value in items.items()) + b"u"


def call(function, *args):
    return function + tup(*args) + b"R"


def build(thing, state):
    return thing + state + b"b"


def get(at):
    return b"j" + struct.pack("<I", at)


def dtype(name, order="|"):
    made = call(named("numpy", "dtype"), s(name), FALSE, TRUE)
    return build(made, tup(i(3), s(order), NONE, NONE, NONE, i(-1), i(-1), i(63)))


def array(shape, kind, data, fortran=FALSE):
    empty = call(named("numpy._core.multiarray", "_reconstruct"), named("numpy", "ndarray"), tup(i(0)), raw(b"b"))
    return build(empty, tup(i(1), tup(*map(i, shape)), kind, fortran, data))


def objects(*items):
    return array((len(items),), dtype("O8"), lst(*items))


def labels(data):
    return call(named("pandas.core.indexes.base", "_new_Index"), named("pandas.core.indexes.base", "Index"),
                dct(data=data, name=NONE))


def numbers(start, stop, step=1):
    return call(named("pandas.core.indexes.base", "_new_Index"), named("pandas.core.indexes.range", "RangeIndex"),
                dct(name=NONE, start=i(start), stop=i(stop), step=i(step)))


def places(start, stop, step=1):
    return call(named("builtins", "slice"), i(start), i(stop), i(step))


def block(values, where):
    return call(named("pandas._libs.internals", "_unpickle_block"), values, where, i(2))


def frame(columns, rows, *blocks, before=b""):
    manager = call(named("pandas.core.internals.managers", "BlockManager"), tup(*blocks), lst(columns, rows))
    new = named("pandas.core.frame", "DataFrame") + b")\x81"
    return b"\x80\x04" + before + build(new, dct(_mgr=manager)) + STOP


def texts(count, text="a prompt"):
    """One column `input` of texts."""
    return array((1, count), dtype("O8"), lst(*[s(text)] * count))


def honest(count=4):
    return frame(labels(objects(s("input"), s("tok_input"))), numbers(0, count),
                 block(array((2, count), dtype("O8"), lst(*[s("a prompt")] * count, *[lst(i(11), i(12))] * count)), places(0, 2)))


ONE = labels(objects(s("input")))


def of_values(values, rows=4, where=None):
    """A table of one column `input` with the given block values."""
    return frame(ONE, numbers(0, rows), block(values, where or places(0, 1)))


def runs(module, name, *args):
    """A pickle that would call something if it were executed."""
    return b"\x80\x04" + call(named(module, name), *args) + STOP


def hostile(mark_file):
    """Name and bytes of every hostile pickle; none may read as a table, none may create `mark_file`."""
    touch = f"touch {mark_file}"
    top = b"\x80\x04"
    yield "empty", b""
    yield "only-proto", top
    yield "no-stop", top + NONE
    yield "stop-on-empty-stack", top + STOP
    yield "proto-255", b"\x80\xff" + NONE + STOP
    yield "proto-0-text", b"I1\n."
    yield "not-a-table", top + i(1) + STOP
    for module, name in (("os", "system"), ("posix", "system"), ("subprocess", "check_call"), ("builtins", "eval"),
                         ("builtins", "exec"), ("builtins", "__import__"), ("shutil", "rmtree"), ("pandas", "read_pickle")):
        yield f"runs-{module}.{name}", runs(module, name, s(touch))
    yield "runs-in-a-cell", of_values(array((1, 1), dtype("O8"), lst(call(named("os", "system"), s(touch)))), 1)
    yield "runs-by-global", b"\x80\x02cos\nsystem\n" + tup(s(touch)) + b"R."
    yield "runs-by-inst", b"\x80\x02(" + s(touch) + b"ios\nsystem\n."
    yield "runs-by-obj", top + MARK + named("os", "system") + s(touch) + b"o."
    yield "runs-by-partial", top + call(named("functools", "partial"), named("os", "system"), s(touch)) + b")R."
    yield "runs-by-build", top + build(named("os", "environ"), dct(PATH=s("/nowhere"))) + STOP
    yield "extension-registry", top + b"\x82\x01."
    yield "persistent-id", top + s("id") + b"Q."
    # Lengths that no file holds.
    for opcode, name in ((b"\x8d", "binunicode8"), (b"\x8e", "binbytes8"), (b"\x96", "bytearray8"), (b"\x95", "frame")):
        for length in (2**31, 2**40, 2**63 - 1, 2**64 - 1):
            yield f"{name}-{length:x}", top + opcode + struct.pack("<Q", length) + b"x" * 64 + STOP
    yield "binbytes-4g", top + b"B" + struct.pack("<I", 2**32 - 1) + b"x" * 64 + STOP
    yield "long4-2g", top + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x" * 64 + STOP
    yield "long4-negative", top + b"\x8b" + struct.pack("<i", -1) + b"x" * 64 + STOP
    yield "long4-4mb", top + b"\x8b" + struct.pack("<i", 1 << 22) + b"\x7f" * (1 << 22) + STOP
    yield "memo-4g", top + NONE + b"r" + struct.pack("<I", 2**32 - 1) + STOP
    yield "memo-1g", top + NONE + b"r" + struct.pack("<I", 2**30) + STOP
    yield "get-missing", top + get(2**32 - 1) + STOP
    # Depth and repetition.
    yield "deep-tuples", top + b")" + b"\x85" * 3_000_000 + STOP
    yield "deep-lists", top + b"]" * 2_000_000 + b"a" * 1_999_999 + STOP
    yield "deep-marks", top + MARK * 5_000_000 + STOP
    yield "deep-dicts", top + b"}" + (MARK + s("k") + b"}") * 300_000 + b"u" * 300_000 + STOP
    yield "deep-table", of_values(array((1, 1), dtype("O8"), lst(b")" + b"\x85" * 1_000_000)), 1)
    yield "list-in-itself", top + b"]" + MEMOIZE + get(0) + b"a" + STOP
    yield "table-of-itself", top + named("pandas.core.frame", "DataFrame") + b")\x81" + MEMOIZE + b"}" + s("_mgr") + get(0) + b"sb."
    doubled = b"]" + MEMOIZE + b"".join(b"]" + MEMOIZE + MARK + get(n) * 10 + b"e" for n in range(24))
    yield "laughs", top + doubled + STOP
    yield "laughs-in-a-cell", of_values(array((1, 1), dtype("O8"), lst(doubled)), 1)
    long = lst(*[i(7)] * 100_000)
    yield "one-list-in-every-row", of_values(array((1, 30_000), dtype("O8"), MARK + long + MEMOIZE + b"\x94" + b"l"), 30_000)
    many = b"]" + MARK + long + MEMOIZE + get(0) * 40_000 + b"e"
    yield "one-list-40000-times", frame(ONE, numbers(0, 40_001), block(array((1, 40_001), dtype("O8"), many), places(0, 1)))
    text = b"]" + MARK + s("x" * 1_000_000) + MEMOIZE + get(0) * 60_000 + b"e"
    yield "one-text-60000-times", frame(ONE, numbers(0, 60_001), block(array((1, 60_001), dtype("O8"), text), places(0, 1)))
    yield "one-name-for-60000-columns", frame(labels(array((60_001,), dtype("O8"), text)), numbers(0, 1), block(texts(1), places(0, 1)))
    shared = block(texts(1), places(0, 1 << 20)) + MEMOIZE
    yield "one-block-40000-times", frame(numbers(0, 1 << 20), numbers(0, 1), shared, *[get(0)] * 40_000)
    yield "columns-2^62", frame(numbers(0, 2**62), numbers(0, 1), block(texts(1), places(0, 1)))
    yield "columns-a-million", frame(numbers(0, 1 << 20), numbers(0, 1), block(texts(1), places(0, 1)))
    yield "rows-2^62", frame(ONE, numbers(0, 2**62), block(texts(1), places(0, 1)))
    yield "rows-backwards", frame(ONE, numbers(-2**63, 2**63 - 1, 1), block(texts(1), places(0, 1)))
    yield "rows-step-0", frame(ONE, numbers(0, 5, 0), block(texts(1), places(0, 1)))
    yield "slice-2^62", of_values(texts(1), 1, places(0, 2**62))
    yield "slice-step-0", of_values(texts(1), 1, places(0, 1, 0))
    yield "slice-negative", of_values(texts(1), 1, places(-5, -1))
    # Arrays that lie about themselves.
    for shape in ((2**62,), (2**32, 2**32), (2**62, 4), (-1, 4), (), (1, 1, 1), (0,), (1, 2**40)):
        yield f"shape-{'x'.join(map(str, shape)) or 'none'}", of_values(array(shape, dtype("i8"), raw(b"\0" * 64)))
    for name in ("i0", "i3", "i9", "V0", "u0", "f0", "é8", "", "i" + "9" * 30, "U" + "4611686018427387904", "b0", "M8[ns]", "c16"):
        yield f"dtype-{name or 'empty'}", of_values(array((1, 4), dtype(name), raw(b"\0" * 32)))
        yield f"positions-{name or 'empty'}", of_values(texts(4), 4, array((1,), dtype(name), raw(b"\0" * 8)))
    yield "positions-of-nothing", of_values(texts(4), 4, array((2**61,), dtype("i0"), raw(b"")))
    yield "positions-far", of_values(texts(4), 4, array((1,), dtype("i8"), raw(struct.pack("<q", 2**62))))
    yield "data-short", of_values(array((1, 1000), dtype("i8"), raw(b"\0" * 8)))
    yield "objects-short", of_values(array((1, 1000), dtype("O8"), lst(s("x"))))
    yield "cells-of-wrong-type", of_values(array((1, 4), dtype("O8"), lst(dct(a=i(1)), raw(b"x"), tup(), named("os", "system"))))
    yield "ids-of-wrong-type", frame(labels(objects(s("tok_input"))), numbers(0, 1),
                                     block(array((1, 1), dtype("O8"), lst(lst(s("x"), NONE))), places(0, 1)))
    yield "ids-too-large", frame(labels(objects(s("tok_input"))), numbers(0, 1),
                                 block(array((1, 1), dtype("O8"), lst(lst(i(2**60)))), places(0, 1)))
    yield "no-columns", frame(labels(objects()), numbers(0, 4))
    yield "no-axes", top + build(named("pandas.core.frame", "DataFrame") + b")\x81",
                                 dct(_mgr=call(named("pandas.core.internals.managers", "BlockManager"), tup(), lst()))) + STOP
    yield "text-not-utf8", top + s(b"\xff\xfe\xfd") + STOP
    yield "text-of-surrogates", top + s("\ud800") + STOP
    good = honest()
    for share in range(1, 10):
        yield f"cut-at-{share}0-percent", good[:len(good) * share // 10]
    yield "gzip-cut", gzip.compress(good)[:-9]
    yield "gzip-of-zeros", gzip.compress(b"\0" * (1 << 29), 9)
    yield "gzip-of-opcodes", gzip.compress(top + b")" + b"\x85" * (1 << 28) + STOP, 1)


def damaged(random, count):
    """Honest tables with a few bytes changed; some still read, so only a crash is a fault."""
    good = honest()
    for number in range(count):
        data = bytearray(good)
        for _ in range(random.randint(1, 4)):
            data[random.randrange(2, len(data))] = random.randrange(256)
        yield f"damaged-{number}", bytes(data)
