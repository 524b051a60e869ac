"""Logs of Intel 5300 cards: as they are, damaged, cut, and not what they should be."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from sciml.io import FileError, Limits
from sciml.io.csi import Bandwidth, CsiFile, read_csi
from tests.faults._fuzz import check_damaged

IDENTITY, SWAPPED, CYCLE = 0b100100, 0b011000, 0b010010  # antennas of rows: ABC, ACB, CAB
OTHER = struct.pack(">HB", 5, 0xC1) + b"abcd"


def packet(
    H: np.ndarray,
    *,
    time: int = 0,
    count: int = 0,
    rssi: tuple[int, int, int] = (40, 38, 0),
    noise: int = -90,
    agc: int = 30,
    antennas: int = IDENTITY,
    rate: int = 0x101,
    length: int | None = None,
) -> bytes:
    """A record with H (30, Nrx, Ntx), bit by bit as the card writes it."""
    _, nrx, ntx = H.shape
    bits = ""
    for k in range(30):
        bits += "000"
        for value in H[k].reshape(-1):
            for part in (int(value.real), int(value.imag)):
                bits += f"{part & 0xFF:08b}"[::-1]
    bits += "0" * (-len(bits) % 8)
    payload = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    head = struct.pack(
        "<IHHBBBBBbBBHH", time, count, 0, nrx, ntx, *rssi, noise, agc, antennas,
        len(payload) if length is None else length, rate,
    )  # fmt: skip
    return struct.pack(">HB", 1 + len(head) + len(payload), 0xBB) + head + payload


def channels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    parts = rng.integers(-128, 128, (*shape, 2))
    return parts[..., 0] + 1j * parts[..., 1]


def log(path: Path, *records: bytes) -> Path:
    path.write_bytes(b"".join(records))
    return path


@pytest.mark.parametrize("nrx", [1, 2, 3])
@pytest.mark.parametrize("ntx", [1, 2, 3])
def test_every_number_comes_back(nrx, ntx, rng: np.random.Generator, tmp_path: Path) -> None:
    H = channels(rng, 5, 30, nrx, ntx)
    records = [packet(one, time=1000 * i, count=i + 7) for i, one in enumerate(H)]
    found = read_csi(log(tmp_path / "a.dat", OTHER, *records, OTHER))
    assert isinstance(found, CsiFile) and found.H.dtype == np.complex64
    np.testing.assert_array_equal(found.H, H)
    assert found.others == 2 and found.ordered.all()
    np.testing.assert_allclose(found.seconds, 1e-3 * np.arange(5))
    np.testing.assert_array_equal(found.counts, np.arange(7, 12))
    np.testing.assert_array_equal(found.rssi, [[40, 38, 0]] * 5)
    assert set(found.noise) == {-90} and set(found.agc) == {30} and set(found.rate) == {0x101}
    assert found.bandwidth is Bandwidth.MHZ20 and found.source == tmp_path / "a.dat"


def test_rows_are_put_in_the_order_of_antennas(rng: np.random.Generator, tmp_path: Path) -> None:
    H = channels(rng, 30, 3, 1)
    codes = (IDENTITY, SWAPPED, CYCLE, 0b000000, 0b111100)
    found = read_csi(log(tmp_path / "a.dat", *(packet(H, antennas=code) for code in codes)))
    for row, order in zip(found.H, ([0, 1, 2], [0, 2, 1], [1, 2, 0]), strict=False):
        np.testing.assert_array_equal(row, H[:, order])
    np.testing.assert_array_equal(found.ordered, [True, True, True, False, False])
    np.testing.assert_array_equal(found.H[3], H)  # nothing told, nothing changed


def test_the_clock_may_pass_zero(rng: np.random.Generator, tmp_path: Path) -> None:
    H = channels(rng, 30, 1, 1)
    times = (0xFFFFFF00, 0x100, 0x500)
    found = read_csi(log(tmp_path / "a.dat", *(packet(H, time=t) for t in times)))
    np.testing.assert_allclose(found.seconds, [0, 512e-6, 1536e-6])


def test_scaled_is_the_signal_over_the_noise(tmp_path: Path) -> None:
    """By hand: total RSSI 40 and 40 dB is 43.01; −44 − 30 makes −30.99 dBm; thermal −90 dBm."""
    H = np.full((30, 2, 1), 3 + 4j)  # 50 in all for each subcarrier
    one = packet(H, rssi=(40, 40, 0), noise=-90, agc=30)
    unknown = packet(H, rssi=(40, 40, 0), noise=-127, agc=30)
    dark, silent = packet(0 * H), packet(H, rssi=(0, 0, 0))
    found = read_csi(log(tmp_path / "a.dat", one, unknown, dark, silent)).scaled()
    unit = 10 ** (-3.0989700) / 50
    for row, thermal in zip(found, (1e-9, 10**-9.2), strict=False):
        np.testing.assert_allclose(np.abs(row) ** 2, 25 * unit / (thermal + 2 * unit), rtol=1e-6)
    assert not found[2:].any()
    two = packet(np.full((30, 1, 2), 5 + 0j), rssi=(40, 40, 0), noise=-90, agc=30)
    row = read_csi(log(tmp_path / "b.dat", two)).scaled()[0]
    np.testing.assert_allclose(np.abs(row) ** 2, 2 * 25 * unit / (1e-9 + 2 * unit), rtol=1e-6)


def test_packets_of_several_kinds_are_told_apart(rng: np.random.Generator, tmp_path: Path) -> None:
    one, two = channels(rng, 30, 3, 1), channels(rng, 30, 3, 2)
    path = log(tmp_path / "a.dat", packet(one), packet(two), packet(one, rate=0x901))
    with pytest.raises(FileError, match=r"1 between 2 and 3 antennas at 20 MHz.*choose"):
        read_csi(path)
    np.testing.assert_array_equal(read_csi(path, antennas=(3, 2)).H, two[None])
    wide = read_csi(path, bandwidth=Bandwidth.MHZ40)
    assert wide.bandwidth is Bandwidth.MHZ40 and len(wide.H) == 1
    with pytest.raises(FileError, match=r"of antennas=\(1, 1\)"):
        read_csi(path, antennas=(1, 1))


def test_subcarriers_are_those_of_the_standard() -> None:
    for band, edge in ((Bandwidth.MHZ20, 28), (Bandwidth.MHZ40, 58)):
        places = np.array(band.subcarriers)
        assert len(places) == 30 and 0 not in places
        assert places[0] == -edge and places[-1] == edge
    steps = np.diff(Bandwidth.MHZ20.subcarriers).tolist()
    assert steps == [2] * 13 + [1] + [2] * 14 + [1]
    assert set(np.diff(Bandwidth.MHZ40.subcarriers)) == {4}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r[:-1], "got the end of the file.*partial=True"),
        (lambda r: r + b"\0", "got the end of the file"),
        (lambda r: r + b"\0\0\0", "length of a record at byte .*got 0"),
        (lambda r: OTHER, "got 1 records without"),
        (lambda r: b"\xff\xff\xbb", "65535 bytes at byte 0, got the end"),
        (lambda r: b"\x00\x05\xbbabcd", "a head of 20 bytes, got 4"),
        (lambda r: r[:11] + b"\x04" + r[12:], "1 to 3 antennas at either end, got 4"),
        (lambda r: r[:12] + b"\x00" + r[13:], "and 0 transmitting"),
        (lambda r: r[:19] + b"\x01\x00" + r[21:], "got 192, 1 declared"),
    ],
)  # fmt: skip
def test_bad_logs_are_refused(change, told, rng: np.random.Generator, tmp_path: Path) -> None:
    path = log(tmp_path / "a.dat", change(packet(channels(rng, 30, 3, 1))))
    with pytest.raises(FileError, match=told):
        read_csi(path)


def test_a_cut_log_is_read_to_its_last_whole_packet(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    whole = packet(channels(rng, 30, 3, 1))
    for cut in (1, 2, 100):
        path = log(tmp_path / "a.dat", whole, whole, whole[:cut])
        assert len(read_csi(path, partial=True).H) == 2
    with pytest.raises(FileError, match="0 records without"):
        read_csi(log(tmp_path / "a.dat", whole[:50]), partial=True)


def test_limits_hold_before_the_file_is_read(rng: np.random.Generator, tmp_path: Path) -> None:
    path = log(tmp_path / "a.dat", packet(channels(rng, 30, 3, 1)))
    with pytest.raises(FileError, match="at the log"):
        read_csi(path, limits=Limits(max_bytes=100))
    with pytest.raises(FileError, match="at the packets"):
        read_csi(path, limits=Limits(max_bytes=400))
    for bad in (tmp_path, tmp_path / "none.dat"):
        with pytest.raises(FileError):
            read_csi(bad)


def test_damaged_logs_end_in_a_result_or_a_file_error(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    records = [packet(channels(rng, 30, 3, ntx)) for ntx in (1, 1, 1, 1)]
    pair = [packet(channels(rng, 30, 2, 2)) for _ in range(2)]
    files = [log(tmp_path / "a.dat", OTHER, *records), log(tmp_path / "b.dat", *pair)]
    check_damaged("csi", files, tmp_path, 400)


def test_a_measured_log_is_what_its_source_says(shared_data: Path) -> None:
    found = read_csi(shared_data / "mimo/sample_0x5_64_3000.dat")
    assert found.H.shape == (2998, 30, 3, 1) and found.bandwidth is Bandwidth.MHZ20
    assert found.ordered.all() and found.others == 2998
    np.testing.assert_array_equal(np.diff(found.counts.astype(int)), 1)
    np.testing.assert_allclose(np.diff(found.seconds).mean(), 1e-3, rtol=0.01)
    # Where the card's order of antennas is undone, powers follow the RSSI of their own antenna.
    power = 10 * np.log10(np.mean(np.abs(found.H[..., 0]) ** 2, axis=1) + 0.1)
    for antenna in (1, 2):
        alike = [np.corrcoef(power[:, antenna], found.rssi[:, a])[0, 1] for a in (1, 2)]
        assert alike[antenna - 1] > 0.8 and int(np.argmax(alike)) == antenna - 1
    # The phase turns half as far where subcarriers are 1 apart, not 2.
    turn = np.angle(np.mean(found.H[:, 1:, 0] * found.H[:, :-1, 0].conj(), axis=(0, 2)))
    steps = np.diff(found.bandwidth.subcarriers)
    np.testing.assert_allclose(turn[steps == 1].mean() / turn[steps == 2].mean(), 0.5, atol=0.1)
