"""data/: every sample is small, checksummed and described by a card."""

from __future__ import annotations

import hashlib
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"
FIELDS = ("Source", "Licence", "Shape", "Units", "Made by")


def sums() -> dict[str, str]:
    lines = (DATA / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def samples() -> set[str]:
    return {
        path.relative_to(DATA).as_posix()
        for path in (DATA / "samples").rglob("*")
        if path.is_file()
    }


def test_every_sample_is_listed_and_every_listed_one_is_there():
    assert samples() == set(sums())


def test_every_sample_is_the_one_that_was_listed():
    for name, digest in sums().items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest, name


def test_every_sample_is_under_a_megabyte():
    for name in samples():
        assert (DATA / name).stat().st_size < 1_000_000, name


def test_every_sample_is_named_on_a_card():
    cards = "".join(path.read_text(encoding="utf-8") for path in (DATA / "cards").glob("*.md"))
    for name in samples():
        assert f"`{name}`" in cards, name


def test_every_card_tells_what_a_reader_needs():
    for card in (DATA / "cards").glob("*.md"):
        text = card.read_text(encoding="utf-8")
        missing = [field for field in FIELDS if f"**{field}**" not in text]
        assert not missing, f"{card.name} does not tell: {missing}"


def test_no_code_imports_data():
    """data/ is no package: a script or module that imported it would break once installed."""
    assert not list(DATA.rglob("*.py"))
