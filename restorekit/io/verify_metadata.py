"""What of a file's metadata was kept in another: profile, EXIF, XMP, IPTC, texts, resolution.

EXIF is compared tag by tag, since other programs lay it out anew; profiles, XMP and IPTC byte for byte.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np

from restorekit.io import exif, iptc
from restorekit.io.finding import Finding, lacking
from restorekit.io.icc import color_model, matrix_profile, profile_name
from restorekit.io.ifd import Ifd, Value
from restorekit.io.picture import ImageData, Metadata
from restorekit.io.png_color import stated_colors

__all__ = ["METADATA_CHECKS"]

_EXPECTED_TO_CHANGE = frozenset({*exif.STRUCTURE, 274, 305, 306, 531, 40962, 40963, 40965, 59932})
"""Tags that follow from the pixels or from where a block lies (sides, orientation, padding, software)."""

_MAKER_NOTE = 37500
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_SAME_COLOUR = 2 / 255


def _profile(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = before.metadata.icc, after.metadata.icc
    if first is None and second is None:
        return
    # a file that says nothing is taken for sRGB, so that nothing changes when it says so
    kept = first == second if first is not None else _is_srgb(second or b"") or _same_colours(before, after)
    yield Finding("profile", kept, _named(first), _named(second))


def _same_colours(before: ImageData, after: ImageData) -> bool:
    """Return whether a profile says what the chunks of a PNG said."""
    from restorekit.io.color_profile import working_space

    if not stated_colors(before.metadata) or before.grey or after.grey:
        return False
    probe = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3), -1)
    seen = [probe if space is None else space.to_srgb(probe) for space in map(working_space, (before, after))]
    return float(np.abs(seen[0] - seen[1]).max()) < _SAME_COLOUR


def _named(profile: bytes | None) -> str:
    return "none" if profile is None else f"{profile_name(profile)} [{color_model(profile) or 'damaged'}]"


def _is_srgb(profile: bytes) -> bool:
    """Return whether the primaries and the middle of the curves of a profile are those of sRGB."""
    known = matrix_profile(profile)
    if known is None:
        return "sRGB" in profile_name(profile)
    middle = np.array([curve.decode(np.array([0.5]))[0] for curve in known.curves])
    right = bool(np.abs(middle - 0.214).max() < 0.01)
    if known.matrix is None:
        return right
    primaries = [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]]
    return right and bool(np.abs(known.matrix - primaries).max() < 0.01)


def _colour_chunks(before: ImageData, after: ImageData) -> Iterator[Finding]:
    """Compare what a PNG says of its colours beside a profile (which goes before all but cICP)."""
    first, second = stated_colors(before.metadata), stated_colors(after.metadata)
    if not first and not second:
        return
    names = [" and ".join(kind.decode() for kind in found) or "none" for found in (first, second)]
    kept = first == second
    if first and not second:
        kept = after.metadata.icc is not None and _same_colours(before, after)
        names[1] = "as a profile" if kept else f"none{lacking('colour chunks', after.format)}"
    yield Finding("colour space", kept, names[0], names[1])


def _exif(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = _flat(before.metadata.exif), _flat(after.metadata.exif)
    if not first:
        return
    lost = [key for key, value in first.items() if not _same(key, value, second.get(key))]
    result = f"{len(lost)} lost or changed: {', '.join(_tag_name(*key) for key in lost)}" if lost else "the same"
    if not second:
        result = _nothing("EXIF", after)
    yield Finding("EXIF", not lost, f"{len(first)} tag{'s' if len(first) > 1 else ''}", result)


def _flat(block: bytes | None) -> dict[tuple[int, int], Value]:
    """Return (directory, tag) -> value of all that should survive; the main directory has the number 0."""
    if block is None:
        return {}
    main = exif.directory(block)
    places: list[tuple[int, Ifd]] = [(0, main), *main.children.items()]
    return {
        (place, tag): value
        for place, directory in places
        for tag, value in directory.tags.items()
        if tag not in _EXPECTED_TO_CHANGE
    }


def _same(key: tuple[int, int], first: Value, second: Value | None) -> bool:
    """Return whether two values say the same: bytes, or numbers of another width, or text padded otherwise."""
    if second is None:
        return False
    if key == (exif.EXIF_IFD, _MAKER_NOTE):  # programs that move it change the offsets in it
        return 2 * second.count >= first.count
    return (
        first.data == second.data
        or (first.numbers() != () and first.numbers() == second.numbers())
        or (first.type == 2 and first.data.rstrip(b"\x00 ") == second.data.rstrip(b"\x00 "))
    )


def _tag_name(place: int, tag: int) -> str:
    from PIL.ExifTags import GPSTAGS, TAGS

    return str((GPSTAGS if place == exif.GPS_IFD else TAGS).get(tag, tag))


def _packets(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = before.metadata, after.metadata
    if first.xmp is not None:
        same = second.xmp is not None and exif.upright_xmp(first.xmp) == exif.upright_xmp(second.xmp)
        yield _block("XMP", first.xmp, second.xmp, after, same=same)
    if first.jpeg_segments:
        parts = [b"".join(segments) for segments in (first.jpeg_segments, second.jpeg_segments)]
        yield _block("extended XMP", parts[0], parts[1] or None, after, same=parts[0] == parts[1])
    record, other = iptc.iim(first.photoshop), iptc.iim(second.photoshop)
    if record is not None:
        same = other is not None and record.rstrip(b"\x00") == other.rstrip(b"\x00")
        yield _block("IPTC", record, other, after, same=same)


def _block(aspect: str, first: bytes, second: bytes | None, after: ImageData, *, same: bool) -> Finding:
    there = "the same" if same else _nothing(aspect, after) if second is None else "another one"
    return Finding(aspect, same, f"{len(first)} bytes", there)


def _nothing(aspect: str, after: ImageData) -> str:
    return f"none{lacking(aspect, after.format)}"


def _words(before: ImageData, after: ImageData) -> Iterator[Finding]:
    """Compare the comment of a JPEG (a text of that name in a PNG) and the texts of a PNG."""
    comment, first, second = before.metadata.comment, _texts(before.metadata), _texts(after.metadata)
    if comment is not None:
        as_text = comment.decode("utf-8", "replace").replace("\x00", "")
        kept = comment == after.metadata.comment or as_text in second.get("Comment", [])
        yield Finding("comment", kept, f"{len(comment)} bytes", "the same" if kept else _nothing("comment", after))
    if first:
        lost = [key for key, texts in first.items() if sorted(texts) != sorted(second.get(key, []))]
        result = f"without {', '.join(lost)}{lacking('texts', after.format)}" if lost else "the same"
        yield Finding("texts", not lost, ", ".join(first), result)


def _texts(metadata: Metadata) -> dict[str, list[str]]:
    """Return the texts of a PNG by their keywords, however they are packed."""
    found: dict[str, list[str]] = {}
    for kind, content in metadata.png_chunks:
        key, _, rest = content.partition(b"\x00")
        if kind in _TEXT_CHUNKS:
            found.setdefault(key.decode("latin-1"), []).append(_text(kind, rest))
    return found


def _text(kind: bytes, rest: bytes) -> str:
    """Return what follows the keyword of a text, unpacked (the reader has left out what cannot be unpacked)."""
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return zlib.decompress(rest[1:]).decode("latin-1")
    _, _, text = rest[2:].split(b"\x00", 2)
    return (zlib.decompress(text) if rest[0] else text).decode("utf-8", "replace")


def _resolution(before: ImageData, after: ImageData) -> Iterator[Finding]:
    first, second = before.metadata.dpi, after.metadata.dpi
    if first is None:
        return
    close = second is not None and all(abs(a - b) <= 0.5 + 0.005 * a for a, b in zip(first, second, strict=True))
    names = ["none" if dpi is None else f"{dpi[0]:g} x {dpi[1]:g} dpi" for dpi in (first, second)]
    yield Finding("resolution", close, names[0], names[1])


METADATA_CHECKS: tuple[Callable[[ImageData, ImageData], Iterator[Finding]], ...] = (
    *(_profile, _colour_chunks, _exif, _packets, _words, _resolution),
)
"""Each yields what it finds on two pictures."""
