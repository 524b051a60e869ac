"""The XML header of an ISMRMRD file: matrix sizes, encoding limits, the kind of trajectory.

Inati et al., "ISMRM Raw data format", Magn. Reson. Med. 77, 411 (2017), and its schema.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ._limits import FileError

MAX_BYTES = 1 << 22
MAX_MATRIX = 1 << 16


@dataclass(frozen=True)
class Encoding:
    """One encoding of a measurement; sizes in the order x (readout), y, z.

    matrix: of k-space as sampled. recon: of the image asked for. fov: of the image, mm.
    centers: the encode steps 1 and 2 of the origin; None where the header does not say.
    trajectory: `cartesian`, `epi`, `radial`, ...
    """

    matrix: tuple[int, int, int]
    recon: tuple[int, int, int]
    fov: tuple[float, float, float] | None
    centers: tuple[int | None, int | None]
    trajectory: str


def read_header(content: bytes, path: Path) -> tuple[Encoding, ...]:
    """The encodings that the header declares. Raises FileError for anything but such a header.

    Document types are refused: their entities can expand without bound.
    """
    if len(content) > MAX_BYTES or b"<!" in content.replace(b"<!--", b"").replace(
        b"<![CDATA[", b""
    ):
        raise FileError(path, "expected a plain XML header, got a document type or over 4 MiB")
    try:
        root = ElementTree.fromstring(content.rstrip(b"\0"))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FileError(path, f"expected an XML header, got an error in it ({error})") from None
    found = tuple(_encoding(node, path) for node in root.findall("{*}encoding"))
    if not found:
        raise FileError(path, "expected an encoding in the XML header, got none; get it again")
    return found


def _encoding(node: ElementTree.Element, path: Path) -> Encoding:
    matrix = _sizes(node, "encodedSpace", path)
    recon = _sizes(node, "reconSpace", path)
    fov = tuple(
        _number(node.findtext(f"{{*}}reconSpace/{{*}}fieldOfView_mm/{{*}}{axis}")) for axis in "xyz"
    )
    centers = tuple(
        _center(node.findtext(f"{{*}}encodingLimits/{{*}}kspace_encoding_step_{step}/{{*}}center"))
        for step in (1, 2)
    )
    told = (node.findtext("{*}trajectory") or "cartesian").strip().lower()
    x, y, z = fov
    return Encoding(
        matrix,
        recon,
        (x, y, z) if x and y and z else None,
        (centers[0], centers[1]),
        told,
    )


def _sizes(node: ElementTree.Element, space: str, path: Path) -> tuple[int, int, int]:
    words = [
        (node.findtext(f"{{*}}{space}/{{*}}matrixSize/{{*}}{axis}") or "").strip() for axis in "xyz"
    ]
    if not all(w.isascii() and w.isdecimal() and len(w) < 9 for w in words):
        raise FileError(path, f"expected a matrix size in {space} of the XML header, got {words}")
    x, y, z = map(int, words)
    if not all(1 <= n <= MAX_MATRIX for n in (x, y, z)):
        raise FileError(path, f"expected sizes of 1 to {MAX_MATRIX} in {space}, got {(x, y, z)}")
    return x, y, z


def _center(text: str | None) -> int | None:
    word = (text or "").strip()
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 9 else None


def _number(text: str | None) -> float:
    """A length > 0, or 0 where there is none."""
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
