"""Parquet files written byte by byte, honest and hostile. Nothing here needs a Parquet library."""

import gzip
import struct

MAGIC = b"PAR1"
# Thrift's compact protocol: types of fields.
BOOL, I32, I64, BINARY, LIST, STRUCT = 1, 5, 6, 8, 9, 12
BYTE_ARRAY, INT32 = 6, 1
PLAIN, RLE, RLE_DICTIONARY = 0, 3, 8


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def struct_of(*fields):
    """(id, type, value) in order of their ids; a value of None leaves the field out."""
    out, last = b"", 0
    for at, kind, value in fields:
        if value is None:
            continue
        if kind == BOOL:
            out += bytes([(at - last) << 4 | (1 if value else 2)])
        else:
            out += bytes([(at - last) << 4 | kind]) + value_of(kind, value)
        last = at
    return out + b"\0"


def value_of(kind, value):
    if kind in (I32, I64):
        return zigzag(value)
    if kind == BINARY:
        data = value.encode() if isinstance(value, str) else value
        return varint(len(data)) + data
    if kind == LIST:
        inner, items = value
        head = bytes([min(len(items), 15) << 4 | inner]) + (varint(len(items)) if len(items) > 14 else b"")
        return head + b"".join(value_of(inner, item) for item in items)
    return value


def schema(name="input", kind=BYTE_ARRAY, optional=False, depth=0):
    root = struct_of((4, BINARY, "schema"), (5, I32, 1))
    nested = [struct_of((3, I32, 0), (4, BINARY, "g"), (5, I32, 1)) for _ in range(depth)]
    leaf = struct_of((1, I32, kind), (3, I32, int(optional)), (4, BINARY, name), (6, I32, 0 if kind == BYTE_ARRAY else None))
    return [root, *nested, leaf]


def page(kind, data, values, packed=None, claims=None, encoding=PLAIN, level=RLE):
    """A page with its header: kind 0 data, 2 dictionary; `claims` is what its header says of its size."""
    body = data if packed is None else packed
    head = struct_of((1, I32, kind), (2, I32, len(data) if claims is None else claims), (3, I32, len(body)),
                     (5, STRUCT, struct_of((1, I32, values), (2, I32, encoding), (3, I32, level), (4, I32, level)) if kind == 0 else None),
                     (7, STRUCT, struct_of((1, I32, values), (2, I32, PLAIN)) if kind == 2 else None))
    return head + body


def file_of(pages, rows, values=None, codec=0, kind=BYTE_ARRAY, name="input", optional=False, depth=0, dictionary=None,
            group_rows=None, offset=4, size=None, path=None, groups=1, version=2, elements=None):
    """One column of one row group; every number of the footer can be given."""
    body = b"".join(pages)
    column = struct_of(
        (1, I32, kind), (2, LIST, (I32, [PLAIN, RLE])), (3, LIST, (BINARY, path or ["g"] * depth + [name])), (4, I32, codec),
        (5, I64, rows if values is None else values), (6, I64, len(body)), (7, I64, len(body) if size is None else size),
        (9, I64, offset if dictionary is None else dictionary), (11, I64, None if dictionary is None else offset))
    chunk = struct_of((2, I64, offset), (3, STRUCT, column))
    group = struct_of((1, LIST, (STRUCT, [chunk])), (2, I64, len(body)), (3, I64, rows if group_rows is None else group_rows))
    footer = struct_of((1, I32, version), (2, LIST, (STRUCT, elements or schema(name, kind, optional, depth))), (3, I64, rows),
                       (4, LIST, (STRUCT, [group] * groups)))
    return MAGIC + body + footer + struct.pack("<I", len(footer)) + MAGIC


def plain(*texts):
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def honest(count=4):
    return file_of([page(0, plain(*[b"a prompt"] * count), count)], count)


def dictionary_of(text, rows, codec=0):
    """`rows` rows that all refer to one text: one run of a dictionary index."""
    words = plain(text)
    packed = gzip.compress(words, 9) if codec else words
    first = page(2, words, 1, packed)
    run = b"\x01" + varint(rows << 1) + b"\0"
    second = page(0, run, rows, gzip.compress(run) if codec else run, encoding=RLE_DICTIONARY)
    return file_of([first, second], rows, codec=codec, dictionary=4 + len(first))


def nulls(rows):
    """`rows` rows without a value: one run of definition levels."""
    run = varint(rows << 1) + b"\0"
    return file_of([page(0, struct.pack("<I", len(run)) + run, rows)], rows, optional=True)


def hostile():
    """Name and bytes of every hostile file; none may read as a dataset."""
    good = honest()
    yield "empty", b""
    yield "magic-only", MAGIC * 2
    yield "no-footer", MAGIC + b"x" * 64 + MAGIC
    yield "encrypted", b"PARE" + good[4:-4] + b"PARE"
    for length in (0, 2**16, 2**31 - 1, 2**32 - 1):
        yield f"footer-length-{length:x}", good[:-8] + struct.pack("<I", length) + MAGIC
    for share in range(1, 10):
        yield f"cut-at-{share}0-percent", good[:len(good) * share // 10]
    one = [page(0, plain(b"x"), 1)]
    for rows in (2**31, 2**62, -1, 10_000_001, 9_999_999):
        yield f"rows-{rows}", file_of(one, rows, values=1, group_rows=1)
        yield f"group-rows-{rows}", file_of(one, 1, group_rows=rows)
        yield f"values-{rows}", file_of(one, 9_999_999, values=rows)
    for offset in (0, 2**31, 2**62, -1):
        yield f"offset-{offset}", file_of(one, 1, offset=offset)
    for size in (0, 2**31, 2**62, -1):
        yield f"chunk-size-{size}", file_of(one, 1, size=size)
    zipped = gzip.compress(plain(b"x"))
    for claims in (0, 2**30, 2**31 - 1, -1):
        yield f"page-size-{claims}", file_of([page(0, plain(b"x"), 1, zipped, claims)], 1, codec=2)
        yield f"page-size-plain-{claims}", file_of([page(0, plain(b"x"), 1, None, claims)], 1)
    zeros = b"\0" * (1 << 29)
    yield "page-of-zeros", file_of([page(0, zeros, 1 << 27, gzip.compress(zeros, 9))], 1 << 23, codec=2)
    yield "text-length-2g", file_of([page(0, struct.pack("<I", 2**31 - 1) + b"x", 1)], 1)
    yield "text-length-4g", file_of([page(0, struct.pack("<I", 2**32 - 1) + b"x", 1)], 1)
    yield "dictionary-8mb", dictionary_of(b"x" * (8 << 20), 9_000_000)
    yield "dictionary-8mb-packed", dictionary_of(b"x" * (8 << 20), 9_000_000, codec=2)
    yield "dictionary-256mb-packed", dictionary_of(b"x" * (1 << 28), 1000, codec=2)
    yield "dictionary-1kb", dictionary_of(b"x" * 1024, 9_999_999)
    yield "nulls-50-million", nulls(50_000_000)
    yield "nulls-9-million", nulls(9_999_999)
    yield "index-beyond-dictionary", file_of(
        [page(2, plain(b"x"), 1), page(0, b"\x08" + varint(2) + b"\xff", 1, encoding=RLE_DICTIONARY)], 1,
        dictionary=4 + len(page(2, plain(b"x"), 1)))
    yield "no-dictionary", file_of([page(0, b"\x01" + varint(2) + b"\0", 1, encoding=RLE_DICTIONARY)], 1)
    yield "bit-width-255", file_of([page(2, plain(b"x"), 1), page(0, b"\xff" + varint(2) + b"\0" * 40, 1, encoding=RLE_DICTIONARY)], 1,
                                   dictionary=4 + len(page(2, plain(b"x"), 1)))
    yield "level-length-4g", file_of([page(0, struct.pack("<I", 2**32 - 1) + b"\x02\x01", 1)], 1, optional=True)
    for codec in (1, 3, 4, 5, 6, 7, 99, -1):
        yield f"codec-{codec}", file_of([page(0, plain(b"x"), 1, b"\xff" * 40, 2**28)], 1, codec=codec)
    for encoding in (1, 5, 6, 7, 9, 77, -1):
        yield f"encoding-{encoding}", file_of([page(0, b"\xff" * 40, 1, encoding=encoding)], 1)
    yield "other-kind-than-schema", file_of(one, 1, kind=INT32, elements=schema())
    yield "no-text-column", file_of([page(0, struct.pack("<i", 1), 1)], 1, kind=INT32)
    yield "other-path", file_of(one, 1, path=["another"])
    yield "no-columns", file_of(one, 1, elements=[struct_of((4, BINARY, "schema"), (5, I32, 0))])
    yield "children-2g", file_of(one, 1, elements=[struct_of((4, BINARY, "schema"), (5, I32, 2**31 - 1)), schema()[1]])
    yield "children-negative", file_of(one, 1, elements=[struct_of((4, BINARY, "schema"), (5, I32, -1)), schema()[1]])
    yield "schema-deep", file_of(one, 1, depth=100_000)
    yield "schema-wide", file_of(one, 1, elements=[struct_of((4, BINARY, "schema"), (5, I32, 200_000)), *schema()[1:] * 200_000])
    yield "groups-100000", file_of(one, 100_000, group_rows=1, groups=100_000)
    yield "list-length-2g", MAGIC + b"\x19\xfc" + varint(2**31 - 1) + struct.pack("<I", 7) + MAGIC
    yield "text-length-in-footer-2g", MAGIC + b"\x15\x04\x68" + varint(2**31 - 1) + struct.pack("<I", 8) + MAGIC
    yield "footer-nested", MAGIC + b"\x1c" * 200_000 + struct.pack("<I", 200_000) + MAGIC
    yield "footer-of-lists", MAGIC + b"\x19\x19" * 200_000 + struct.pack("<I", 400_000) + MAGIC
    yield "text-not-utf8", file_of([page(0, plain(b"\xff\xfe"), 1)], 1)


def damaged(random, count):
    """Honest files with a few bytes changed; some still read, so only a crash is a fault."""
    for number in range(count):
        data = bytearray(honest(40))
        for _ in range(random.randint(1, 6)):
            data[random.randrange(4, len(data) - 4)] = random.randrange(256)
        yield f"damaged-{number}", bytes(data)
