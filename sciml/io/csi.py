"""Channel state information of Wi-Fi packets, as logged from Intel 5300 cards.

Halperin, Hu, Sheth and Wetherall, Tool release: gathering 802.11n traces with channel state
information, ACM SIGCOMM Comput. Commun. Rev. 41 (2011); format and scaling are those of its tools
(linux-80211n-csitool). A log is a row of records: their length (2 bytes, big endian), a code of one
byte, the content. Code 0xBB is a packet's "beamforming" record, little endian, of 20 bytes and a
payload of 30 subcarriers: 3 bits to skip, then real and imaginary part, 8 bits each, of every pair
of antennas, transmitting ones running fastest. Nothing is aligned to bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from ._container import readable
from ._limits import Budget, FileError, Limits, regular_file

__all__ = ["Bandwidth", "CsiFile", "read_csi"]

_CSI, _GROUPS, _MOST = 0xBB, 30, 3  # code; subcarriers that are told; antennas at either end
_HEAD = np.dtype(
    [("time", "<u4"), ("count", "<u2"), ("reserved", "<u2"), ("nrx", "u1"), ("ntx", "u1"),
     ("rssi", "u1", 3), ("noise", "i1"), ("agc", "u1"), ("antennas", "u1"), ("length", "<u2"),
     ("rate", "<u2")]
)  # fmt: skip
_WIDE = 0x800  # bit of `rate`: a channel of 40 MHz
_UNKNOWN, _USUAL = -127, -92  # noise, dBm: what monitor mode tells, and what is taken for it
_CHUNK = 1 << 12  # packets unpacked together


class Bandwidth(IntEnum):
    """MHz of a channel, and which of its subcarriers, 312.5 kHz apart, are told.

    Those of IEEE 802.11n-2009, table 7-25f, groups of two (20 MHz) and of four (40 MHz). At 20 MHz
    neighbours are 2 apart, but −2 and −1, and 27 and 28.
    """

    MHZ20 = 20
    MHZ40 = 40

    @property
    def subcarriers(self) -> tuple[int, ...]:
        """Places relative to the carrier, 30."""
        if self is Bandwidth.MHZ20:
            return (*range(-28, 0, 2), -1, *range(1, 28, 2), 28)
        return tuple(range(-58, 59, 4))


@dataclass(frozen=True, eq=False)
class CsiFile:
    """Packets of one log, n of them, all between as many antennas and of one bandwidth.

    Attributes:
        H: complex64 (n, 30, Nrx, Ntx), whole numbers in a unit that changes from packet to packet:
            `scaled` knows it better. Receivers are in the order A, B, C where `ordered` says so.
        ordered: bool (n,), whether the card told which receiver is which antenna.
        seconds: float64 (n,), since the first packet, by the card's clock of microseconds.
        counts: uint16 (n,), the card's number of the packet: gaps are packets that were lost.
        rssi: uint8 (n, 3), dB, antennas A, B, C; 0: not measured. noise: int8 (n,), dBm; -127: not
            known (monitor mode). agc: uint8 (n,), dB. rate: uint16 (n,), rate and its flags.
        bandwidth: of the channel. others: records of the log that are no packets, skipped.
        source: the file.
    """

    H: np.ndarray
    ordered: np.ndarray
    seconds: np.ndarray
    counts: np.ndarray
    rssi: np.ndarray
    noise: np.ndarray
    agc: np.ndarray
    rate: np.ndarray
    bandwidth: Bandwidth
    others: int
    source: Path

    def scaled(self) -> np.ndarray:
        """H over the noise, complex128: |·|² is the signal-to-noise ratio, as the card tells it.

        As `get_scaled_csi` of the tools: the mean power over subcarriers is made the total RSSI,
        Σ 10^(rssi / 10) at −44 − agc dBm; noise is the thermal one, −92 dBm where it is not known,
        and 1 for each pair of antennas in units of H for rounding; and a transmitter divides its
        power by 2 and, for three antennas, by 4.5 dB.
        """
        n, _, nrx, ntx = self.H.shape
        raw = np.sum(np.abs(self.H.astype(np.complex128)) ** 2, axis=(1, 2, 3)) / _GROUPS
        measured = self.rssi.astype(np.float64)
        power = np.where(self.rssi > 0, 10 ** (measured / 10), 0).sum(axis=1)
        power = power * 10 ** ((-44 - self.agc.astype(np.float64)) / 10)
        unit = np.divide(power, raw, out=np.zeros(n), where=raw > 0)
        thermal = np.where(self.noise == _UNKNOWN, _USUAL, self.noise.astype(np.float64))
        noise = 10 ** (thermal / 10) + unit * (nrx * ntx)
        split = {1: 1.0, 2: 2.0, 3: 10**0.45}[ntx]
        return self.H * np.sqrt(split * unit / noise)[:, None, None, None]


def read_csi(
    path: str | os.PathLike[str],
    *,
    antennas: tuple[int, int] | None = None,
    bandwidth: Bandwidth | None = None,
    partial: bool = False,
    limits: Limits | None = None,
) -> CsiFile:
    """The packets of an Intel 5300 log.

    Args:
        antennas: keep packets between (Nrx, Ntx) antennas only. bandwidth: of this one only. A log
            that has several of either needs them.
        partial: take a last record that is cut off, as of a log that was stopped, for the end.

    Raises:
        FileError: the file is missing, damaged, cut off or past the limits, has no such packets, or
            several kinds of them.
    """
    limits = limits or Limits()
    with readable(path):
        where, size = regular_file(path)
        budget = Budget(where, size, limits)
        budget.take(size, "the log")
        log = where.read_bytes()
        starts, others = _packets(where, memoryview(log), partial)
        content = np.frombuffer(log, np.uint8)
        heads = content[starts[:, None] + np.arange(_HEAD.itemsize)].view(_HEAD)[:, 0]
        kept = _of_one_kind(where, heads, antennas, bandwidth)
        heads, starts = heads[kept], starts[kept]
        nrx, ntx = int(heads["nrx"][0]), int(heads["ntx"][0])
        budget.take(len(heads) * _GROUPS * nrx * ntx * 8, "the packets")
        H = _unpacked(content, starts + _HEAD.itemsize, nrx, ntx)
    order, ordered = _order(heads["antennas"], nrx)
    H = np.take_along_axis(H, order[:, None, :, None], axis=2)
    ticks = np.diff(heads["time"])  # uint32, as the clock: it may pass zero
    return CsiFile(
        H=H,
        ordered=ordered,
        seconds=1e-6 * np.concatenate([[0.0], np.cumsum(ticks, dtype=np.float64)]),
        counts=heads["count"].copy(),
        rssi=heads["rssi"].copy(),
        noise=heads["noise"].copy(),
        agc=heads["agc"].copy(),
        rate=heads["rate"].copy(),
        bandwidth=_bandwidth(int(heads["rate"][0])),
        others=others,
        source=where,
    )


def _packets(path: Path, data: memoryview, partial: bool) -> tuple[np.ndarray, int]:
    """Where the packets' heads are, checked; and how many records are none."""
    starts: list[int] = []
    at, others, end = 0, 0, len(data)
    while at < end:
        length = 256 * data[at] + data[at + 1] if at + 2 <= end else 0
        if at + 2 <= end and length == 0:
            raise FileError(path, f"expected the length of a record at byte {at}, got 0: no log of "
                            "an Intel 5300, or a damaged one")  # fmt: skip
        if at + 2 + length > end or at + 2 > end:
            if partial:
                break
            raise FileError(
                path, f"expected a record of {length} bytes at byte {at}, got the end of the file: "
                "no log of an Intel 5300, or one that was cut; partial=True reads what is whole"
            )  # fmt: skip
        if data[at + 2] == _CSI:
            _check_packet(path, data[at + 3 : at + 2 + length], len(starts), at)
            starts.append(at + 3)
        else:
            others += 1
        at += 2 + length
    if not starts:
        raise FileError(path, f"expected packets with channel information, got {others} records "
                        "without: no log of an Intel 5300, or nothing received")  # fmt: skip
    return np.array(starts), others


def _check_packet(path: Path, record: memoryview, index: int, at: int) -> None:
    told = f"packet {index} at byte {at}"
    if len(record) < _HEAD.itemsize:
        raise FileError(path, f"{told}: expected a head of {_HEAD.itemsize} bytes, got "
                        f"{len(record)}: the log is damaged")  # fmt: skip
    nrx, ntx = record[8], record[9]
    if not (1 <= nrx <= _MOST and 1 <= ntx <= _MOST):
        raise FileError(path, f"{told}: expected 1 to {_MOST} antennas at either end, got {nrx} "
                        f"receiving and {ntx} transmitting: the log is damaged")  # fmt: skip
    wanted = (_GROUPS * (nrx * ntx * 16 + 3) + 7) // 8
    declared, there = record[16] + 256 * record[17], len(record) - _HEAD.itemsize
    if not declared == there == wanted:
        raise FileError(
            path, f"{told}: expected {wanted} bytes between {ntx} and {nrx} antennas, got {there}, "
            f"{declared} declared: the log is damaged"
        )  # fmt: skip


def _of_one_kind(
    path: Path,
    heads: np.ndarray,
    antennas: tuple[int, int] | None,
    bandwidth: Bandwidth | None,
) -> np.ndarray:
    """Indices of the packets that were asked for, which have to be alike."""
    kinds = np.stack([heads["nrx"], heads["ntx"], (heads["rate"] & _WIDE) > 0], axis=1).astype(int)
    wanted = np.ones(len(kinds), bool)
    if antennas is not None:
        wanted &= (kinds[:, :2] == antennas).all(axis=1)
    if bandwidth is not None:
        wanted &= kinds[:, 2] == (Bandwidth(bandwidth) is Bandwidth.MHZ40)
    found, counts = np.unique(kinds[wanted], axis=0, return_counts=True)
    if len(found) == 1:
        return np.flatnonzero(wanted)
    every, many = (found, counts) if len(found) else np.unique(kinds, axis=0, return_counts=True)
    listed = ", ".join(
        f"{count} between {ntx} and {nrx} antennas at {_bandwidth(_WIDE * wide)} MHz"
        for (nrx, ntx, wide), count in zip(every.tolist(), many.tolist(), strict=True)
    )
    asked = "one kind" if len(found) else f"antennas={antennas}, bandwidth={bandwidth}"
    raise FileError(path, f"expected packets of {asked}, got {listed}: choose by antennas=(Nrx, "
                    "Ntx) and bandwidth=")  # fmt: skip


def _bandwidth(rate: int) -> Bandwidth:
    return Bandwidth.MHZ40 if rate & _WIDE else Bandwidth.MHZ20


def _unpacked(content: np.ndarray, starts: np.ndarray, nrx: int, ntx: int) -> np.ndarray:
    """complex64 (n, 30, Nrx, Ntx)."""
    bits = 3 + 16 * nrx * ntx  # of a subcarrier
    taken = (_GROUPS * bits + 7) // 8
    H = np.empty((len(starts), _GROUPS, nrx, ntx), np.complex64)
    for first in range(0, len(starts), _CHUNK):
        some = content[starts[first : first + _CHUNK, None] + np.arange(taken)]
        flat = np.unpackbits(some, axis=1, count=_GROUPS * bits, bitorder="little")
        parts = flat.reshape(len(some), _GROUPS, bits)[:, :, 3:]
        whole = np.packbits(parts, axis=2, bitorder="little").view(np.int8)
        pairs = whole.reshape(len(some), _GROUPS, nrx, ntx, 2).astype(np.float32)
        H[first : first + _CHUNK] = pairs.view(np.complex64)[..., 0]
    return H


def _order(told: np.ndarray, nrx: int) -> tuple[np.ndarray, np.ndarray]:
    """Which row of the payload is antenna 0, 1, ...: (n, Nrx); and whether it was told.

    Two bits a row name its antenna; what is no permutation tells nothing.
    """
    antenna = (told[:, None] >> np.array([0, 2, 4], np.uint8)[:nrx]) & 3
    order = np.argsort(antenna, axis=1)
    known = (np.sort(antenna, axis=1) == np.arange(nrx)).all(axis=1)
    return np.where(known[:, None], order, np.arange(nrx)), known
