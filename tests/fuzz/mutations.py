"""Mutations of inputs: of bytes, of trees as JSON and YAML hold them, of NumPy archives, and of journals."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import yaml

from stein_bench.evaluation.frames import HEADER, frame, frames
from stein_bench.evaluation.journal import MAGIC

TOKENS = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"\n", b"- ", b"? ", b": ", b"&a ", b"*a", b"<<: ", b"!!set ",
    b"!!python/object:x ", b"!!binary ", b"!!timestamp ", b"!!int ", b"!!bool ", b"!!float ", b"!!omap ", b"|\n",
    b">\n", b"#", b"%", b"@", b"`", b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"0x10",
    b"0o7", b"1_0", b"2001-99-99", b"190:20:30", b".inf", b"~", b"---\n", b"...\n", b"\\ud800", b"\\u0000", b"\xff",
    b"\xef\xbb\xbf", b"\x00", b"9" * 400, b"[" * 2000, b"eps: 8/255\n", b"PK\x03\x04", b"\x93NUMPY", b"=",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e308, float("inf"),
    float("nan"), "", "x", "nan", "8/255", "1e9", "\ud800", "\x00", "a\nb", "e" * 3000, [], {}, [[]], [None],
    {"": None}, {"x": {}}, "2001-01-01", "-", ",", ":", "=", "{a,b}", "pgd", "pgd:", "pgd:eps=1", "a/b", "..",
    "AAAA", "====", [0, 1], ["x", "x"],
)  # fmt: skip


def of_bytes(draw: random.Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change some bytes, cut, repeat or insert a part, or join two inputs."""
    data = bytearray(content)
    start = draw.randrange(len(data) + 1)
    size = min(int(draw.expovariate(1 / 8)) + 1, len(data) - start)
    kind = draw.randrange(7)
    if kind == 0 and data:
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif kind == 1 and data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == 2:
        del data[start : start + size]
    elif kind == 3:
        data[start:start] = data[start : start + size] * draw.randint(1, 3)
    elif kind == 4:
        data[start : start + draw.choice((0, size))] = draw.choice(TOKENS)
    elif kind == 5:
        del data[start:]
    else:
        other = draw.choice(corpus)
        data[start:] = other[draw.randrange(len(other) + 1) :]
    return bytes(data)


def of_tree(draw: random.Random, tree: Any) -> Any:
    """Change one place of a tree of dicts, lists and values."""
    places = list(_places(tree))
    if not places:
        return copy.deepcopy(draw.choice(VALUES))
    holder, key = draw.choice(places)
    kind = draw.randrange(9)
    value = holder[key]
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(value))
    elif kind == 2 and isinstance(holder, dict):
        holder[str(draw.choice(VALUES))[:50]] = holder.pop(key)
    elif kind == 3:
        other, index = draw.choice(places)
        holder[key] = copy.deepcopy(other[index])
    elif kind == 4 and isinstance(value, str):
        at = draw.randrange(len(value) + 1)
        holder[key] = value[:at] + str(draw.choice(VALUES))[:100] + value[at + draw.randrange(3) :]
    elif kind == 5 and isinstance(value, int | float) and abs(value) < 2**70:
        holder[key] = draw.choice((-value, value + 1, value - 1, value * 255, float(value) / 8, f"{value}"))
    elif kind == 6:
        holder[key] = [value]
    else:
        holder[key] = copy.deepcopy(draw.choice(VALUES))
    return tree


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def of_json(draw: random.Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change a place of a JSON document, or bytes of what is none."""
    if draw.random() < 0.15:
        return of_bytes(draw, content, corpus)
    try:
        return json.dumps(of_tree(draw, json.loads(content))).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return of_bytes(draw, content, corpus)


def of_yaml(draw: random.Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change a place of a YAML document, or its bytes."""
    if draw.random() < 0.5:
        return of_bytes(draw, content, corpus)
    try:
        tree = of_tree(draw, yaml.safe_load(content))
        return yaml.safe_dump(tree, sort_keys=False, default_flow_style=draw.choice((None, True, False))).encode()
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError, LookupError, UnicodeEncodeError):
        return of_bytes(draw, content, corpus)


def of_npz(draw: random.Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change a member of an archive, which is written anew with the right checksums; or its bytes."""
    if draw.random() < 0.2:
        return of_bytes(draw, content, corpus)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # noqa: BLE001  (zipfile raises many kinds for a damaged file)
        return of_bytes(draw, content, corpus)
    if not members:
        return of_bytes(draw, content, corpus)
    number = draw.randrange(len(members))
    name, data = members[number]
    kind = draw.randrange(6)
    if kind == 0:
        del members[number]
    elif kind == 1:
        members[number] = (draw.choice(NAMES), data)
    elif kind == 2:
        members.append((draw.choice((name, *NAMES)), data))
    elif kind == 3:
        members[number] = (name, of_bytes(draw, data, [one for _, one in members]))
    else:
        members[number] = (name, _of_npy(draw, data, [one for _, one in members]))
    stream = io.BytesIO()
    with zipfile.ZipFile(
        stream, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    ) as made:
        for member, part in members:
            made.writestr(member, part)
    return stream.getvalue()


NAMES = (
    "images.npy", "labels.npy", "classes.npy", "train_images.npy", "x_test.npy", "y_test.npy", "x.npy", "y.npy",
    "x.txt",
    "../x.npy", "/x.npy", ".npy", "a\x00b.npy", "images", "test_images.npy", "test_labels.npy", "val_images.npy",
)  # fmt: skip
DTYPES = (
    "|u1", "<u2", "<i4", "<i8", "<f4", "<f8", "<f2", "|b1", "|O", "<U3", "<U0", "|S2", "<c8", "|V3", "<M8[ns]", ">f4",
    ">i8", "<f16", "|i1", "<U999999",
)  # fmt: skip
AXES = ("0", "1", "2", "3", "4", "8", "28", "-1", "1000000000000", "18446744073709551616", "True", "1.5", "None")


def _of_npy(draw: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change the header of an array, which gets its right length."""
    if data[:6] != b"\x93NUMPY" or len(data) < 10:
        return of_bytes(draw, data, others)
    (size,) = struct.unpack_from("<H", data, 8)
    head, values = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    kind = draw.randrange(6)
    if kind == 0:
        head = head.replace(head[head.find("'descr'") :].partition(",")[0], f"'descr': '{draw.choice(DTYPES)}'")
    elif kind == 1:
        shape = ", ".join(draw.choice(AXES) for _ in range(draw.randrange(6)))
        head = head[: head.find("'shape'")] + f"'shape': ({shape},), }}"
    elif kind == 2:
        head = head.replace("False", draw.choice(("True", "None", "1")))
    elif kind == 3:
        head = of_bytes(draw, head.encode("latin-1"), others).decode("latin-1")
    elif kind == 4:
        values = of_bytes(draw, values, others)
    else:
        values = struct.pack("<d", draw.choice((float("nan"), float("inf"), -1.0, 256.0, 1e300))) * max(
            1, len(values) // 8
        )
    version = draw.choice((b"\x01\x00", b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    text = head.encode("latin-1")
    length = struct.pack("<H", min(len(text), 65535)) if version == b"\x01\x00" else struct.pack("<I", len(text))
    return b"\x93NUMPY" + version + length + text + values


def of_journal(draw: random.Random, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change a frame of a journal, which gets its right checksum; or its bytes."""
    if draw.random() < 0.15 or not content.startswith(MAGIC):
        return of_bytes(draw, content, corpus)
    parts = [part for _, part in frames(io.BytesIO(content[len(MAGIC) :]))]
    if not parts:
        return of_bytes(draw, content, corpus)
    # The first frame says to which run a journal belongs: changed, nothing behind it is read.
    number = draw.randrange(len(parts)) if draw.random() < 0.1 or len(parts) == 1 else draw.randrange(1, len(parts))
    kind = draw.randrange(8)
    part = parts[number]
    if kind == 0:
        del parts[number]
    elif kind == 1:
        parts.insert(number + 1, draw.choice(parts))
    elif kind == 2:
        parts[number] = draw.choice((b"I", b"N", b"U", b"X", b"")) + part[1:]
    elif kind == 3:
        parts[number] = of_bytes(draw, part, parts) or b"U"
    elif part[:1] == b"U":
        parts[number] = b"U" + _of_unit(draw, part[1:], parts)
    else:
        parts[number] = part[:1] + of_json(draw, part[1:], parts)
    made = MAGIC + b"".join(map(frame, parts))
    return made + HEADER.pack(draw.randrange(2**32), 0) if draw.random() < 0.05 else made


def _of_unit(draw: random.Random, packed: bytes, others: Sequence[bytes]) -> bytes:
    """Change the description of a unit or its arrays, and compress them again."""
    try:
        text = zlib.decompress(packed)
        (size,) = struct.unpack_from("<I", text)
        head, arrays = json.loads(text[4 : 4 + size]), text[4 + size :]
    except (zlib.error, struct.error, ValueError):
        return of_bytes(draw, packed, others)
    if draw.random() < 0.75:
        head = of_tree(draw, head)
        if draw.random() < 0.3 and isinstance(head, list) and len(head) > 1 and isinstance(head[1], dict) and head[1]:
            column = draw.choice(list(head[1]))
            head[1][column] = [
                draw.choice((*DTYPES, "bits", "range")),
                *draw.choices((0, 1, 2, 3, -1, 2**40, "x"), k=2),
            ]
    else:
        arrays = of_bytes(draw, arrays, others)
    described = json.dumps(head).encode("utf-8", "surrogatepass")
    length = len(described) if draw.random() < 0.95 else draw.randrange(2**32)
    return zlib.compress(struct.pack("<I", length) + described + arrays)
