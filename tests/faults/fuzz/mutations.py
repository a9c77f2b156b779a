"""Valid files made wrong in the ways of transfers, disks and ill will."""

from collections.abc import Mapping
import functools
import gzip
import re
from typing import NamedTuple

from hypothesis import strategies as st

MOST_CHANGES = 4

NUMBERS = (
  *(b"0", b"-0", b"-1", b"00", b"1.5", b"1e309", b"-1e309", b"1e-400"),
  *(b"nan", b"inf", b"NaN", b"Infinity", b"1_000", b"0x10", b"+5", b"true"),
  *(b"2147483648", b"9223372036854775807", b"9223372036854775808"),
  *(b"18446744073709551616", b"253402300800", b"-62135596801"),
  *(b"9" * 400, b"9" * 5000, b"1" + b"0" * 400, b"0." + b"3" * 5000),
)
TEXTS = (
  *(b"\0", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[2J"),
  *(b"\n", b"\r", b"\r\n", b"\n\n\n", b"\x0b", b"\x85", b"\xe2\x80\xa8"),
  *(b'"', b'""', b"'", b"\\", b"\\u", b"\\ud800", b"\\u0000", b",", b"\t"),
  *(b"|", b";", b"@", b":", b"@,", b"|;@", b"{", b"}", b"[", b"]", b"[[x]]"),
  *(b"null", b"{}", b"[]", b'{"a":1}', b'[["x"]]', b"[1,null]", b"1979-05-27"),
  *(b"../", b"../../../x", b"/etc/passwd", b"a/b", b"C:\\x", b"%s", b"%n"),
  *(b"x" * 300, b"a\xcc\x81" * 40, "İıſß".encode(), "١٢".encode()),
)
LONG = 150_000
"""Bytes of a field that is far too long: more than Python's csv takes."""
LEVELS = (10, 120, 1000, 60_000)
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


class Change(NamedTuple):
  """One change of a file."""

  kind: str
  place: int
  """Where: as it is modulo the length."""
  value: int
  """What or how much, as the kind takes it."""


def _apply(data: bytes, change: Change, other: bytes) -> bytes:
  at = change.place % (len(data) + 1)
  size = 1 + change.value % 40
  head, tail = data[:at], data[at:]
  value = change.value
  match change.kind:
    case "flip" if tail:
      return head + bytes([tail[0] ^ (1 << value % 8)]) + tail[1:]
    case "byte" if tail:
      return head + bytes([value % 256]) + tail[1:]
    case "truncate":
      return head
    case "remove":
      return head + tail[size:]
    case "double":
      return head + tail[:size] + tail
    case "text":
      return head + TEXTS[value % len(TEXTS)] + tail
    case "number":
      return _number(data, change)
    case "line":
      return _line(data, change)
    case "splice":
      return head + other[value % (len(other) + 1) :]
    case "extreme":
      return head + _extreme(value) + tail[len(_extreme(value)) :]
    case "random":
      return head + value.to_bytes(4, "little") * (value % 9) + tail[size:]
    case "long":
      return head + bytes([32 + value % 96]) * LONG + tail
    case "nest":
      mark = (b"[", b"{", b'{"a":', b"x.")[value % 4]
      return head + mark * LEVELS[value // 4 % len(LEVELS)] + tail
  return data


def _number(data: bytes, change: Change) -> bytes:
  """Another number, or a text, in the place of one of the numbers."""
  found = list(re.finditer(rb"-?\d[\d.]*", data[:20_000]))
  if not found:
    return data
  chosen = found[change.place % len(found)]
  new = (NUMBERS + TEXTS)[change.value % (len(NUMBERS) + len(TEXTS))]
  return data[: chosen.start()] + new + data[chosen.end() :]


def _line(data: bytes, change: Change) -> bytes:
  """A line or field is there twice, is gone, or changes places."""
  mark = (b"\n", b",", b"|", b";")[change.value % 4]
  parts = data.split(mark)
  if len(parts) > 5000:
    return data
  one, two = change.place % len(parts), change.value // 4 % len(parts)
  match change.value // 64 % 3:
    case 0:
      parts.insert(two, parts[one])
    case 1:
      parts[one], parts[two] = parts[two], parts[one]
    case 2:
      del parts[one]
  return mark.join(parts)


def _extreme(value: int) -> bytes:
  """A number as binary formats have it, of 1, 2, 4 or 8 bytes."""
  width = (1, 2, 4, 8)[value % 4]
  number = EXTREMES[value // 4 % len(EXTREMES)]
  order = "little" if value // 64 % 2 else "big"
  if value // 128 % 2:
    number = -1 - number
  return (number % 256**width).to_bytes(width, order)


_ANYWHERE = ("flip", "byte", "truncate", "remove", "double", "text", "number")
_KINDS = (
  *(_ANYWHERE * 3),
  *("line", "line", "splice", "extreme", "extreme", "random", "long", "nest"),
)
_CHANGES = st.lists(
  st.builds(
    Change,
    st.sampled_from(_KINDS),
    st.integers(0, 2**20),
    st.integers(0, 2**32 - 1),
  ),
  min_size=1,
  max_size=MOST_CHANGES,
)


def of(files: Mapping[str, bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
  """Names of the files, with contents made wrong.

  What is compressed is changed before, half of the time.

  Args:
    files: valid ones by name.
  """
  names = sorted(files)
  return st.builds(
    functools.partial(_changed, dict(files)),
    st.sampled_from(names),
    st.sampled_from(names),
    _CHANGES,
    st.booleans(),
  )


def _changed(
  files: dict[str, bytes],
  name: str,
  other: str,
  changes: list[Change],
  inside: bool,
) -> tuple[str, bytes]:
  data, more = files[name], files[other]
  inside = inside and name.endswith((".gz", ".tgz"))
  if inside:
    data = _unpacked(data)
    more = _unpacked(more) if other.endswith((".gz", ".tgz")) else more
  for change in changes:
    data = _apply(data, change, more)
  return name, gzip.compress(data, 1) if inside else data


@functools.lru_cache(maxsize=64)
def _unpacked(data: bytes) -> bytes:
  return gzip.decompress(data)
