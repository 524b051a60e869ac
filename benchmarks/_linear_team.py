"""The processes of one method, seen from the benchmark: started, asked, stopped.

Also who else uses the machine: a run during which other processes took a noticeable part of it
counts as disturbed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from _linear_methods import Entry

WORKER = Path(__file__).resolve().with_name("_linear_worker.py")
_START_SECONDS = 120.0
_TICK = os.sysconf("SC_CLK_TCK")


class Unavailable(Exception):
    """The method cannot run here, and why."""


class TooLong(Exception):
    """The method did not answer in time; its processes are ended."""


class Team:
    """The processes of one method.

    Args:
        name: what reports call the method. key: "MODULE:TABLE:NAME", where a worker finds it.
        interpreter: the command that runs Python.
        threads: for a method of one process; several get one thread each.
        folder: for the socket and for solutions.

    Raises:
        Unavailable: the interpreter has not what the method needs.
    """

    def __init__(
        self,
        name: str,
        key: str,
        entry: Entry,
        interpreter: Sequence[str],
        threads: int,
        folder: Path,
    ) -> None:
        self.name, self.entry, self.folder = name, entry, folder
        address = folder / f"{os.getpid()}-{time.monotonic_ns()}.sock"
        each = str(threads if entry.ranks == 1 else 1)
        names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        self._env = {**os.environ, **{f"{n}_NUM_THREADS": each for n in names}}
        # malloc keeps what is freed until it is told to give it back: see the worker's do_run
        self._env.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**40))
        # Open MPI refuses root otherwise; containers know no other user
        allow = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
        self._env.update(dict.fromkeys(allow, "1"))
        command = [*interpreter, str(WORKER), str(address), key, str(entry.ranks)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lines: list[Connection] = []
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(address))
            server.listen(entry.ranks)
            server.settimeout(_START_SECONDS)
            try:
                self._spawn(command)
                self._greet(server)
            except BaseException:
                self.end()
                raise
            finally:
                address.unlink()

    def _spawn(self, command: list[str]) -> None:
        commands = [[*command, str(rank)] for rank in range(self.entry.ranks)]
        if self.entry.mpi:
            launcher = shutil.which("mpirun")
            if launcher is None:
                raise Unavailable("mpirun is not there")
            commands = [[launcher, "-n", str(self.entry.ranks), *command]]
        for one in commands:
            self._processes.append(
                subprocess.Popen(
                    one,
                    env=self._env,
                    start_new_session=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )

    def _greet(self, server: socket.socket) -> None:
        found: dict[int, Connection] = {}
        for _ in range(self.entry.ranks):
            try:
                accepted = server.accept()[0]
            except TimeoutError:
                raise Unavailable("its processes did not start") from None
            line = Connection(accepted.detach())
            found[line.recv()] = line
        self._lines = [found[rank] for rank in sorted(found)]
        for answer in (line.recv() for line in self._lines):
            if "error" in answer:
                raise Unavailable(answer["error"])

    def ask(self, *message: Any, limit: float | None = None) -> list[dict[str, Any]]:
        """The answer of each process.

        Raises:
            RuntimeError: the method failed, or its process died.
            TooLong: no answer within `limit` seconds.
        """
        for line in self._lines:
            line.send(message)
        until = None if limit is None else time.monotonic() + limit
        answers = []
        for line in self._lines:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not line.poll(left):
                self.end()
                raise TooLong(f"more than {limit:g} s")
            try:
                answers.append(line.recv())
            except EOFError:
                self.end()
                raise RuntimeError("its process died") from None
        for answer in answers:
            if "error" in answer:
                self.end()  # the other ranks may wait for the one that failed
                raise RuntimeError(answer["error"])
        return answers

    def solutions(self, keep: Path, count: int) -> list[np.ndarray]:
        """What a message left in files named `keep`, the parts put together; they are removed."""
        found = []
        for i in range(count):
            parts = [Path(f"{keep}-{i}-{rank}.npy") for rank in range(self.entry.ranks)]
            found.append(np.concatenate([np.load(part) for part in parts]))
            for part in parts:
                part.unlink()
        return found

    def cpu_seconds(self) -> float:
        """Processor time that the processes have used, those they started included."""
        return sum(map(_tree_seconds, (process.pid for process in self._processes)))

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return bool(self._lines)

    def end(self) -> None:
        """End the processes."""
        for line in self._lines:
            line.close()
        self._lines = []
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


class Quiet:
    """Waits for a quiet machine, and tells afterwards whether it was.

    Args:
        share: of one core that others may use.
        patience: seconds to wait, in all.
    """

    def __init__(self, share: float = 0.1, patience: float = 300.0) -> None:
        self.share, self.left = share, patience

    def wait(self) -> None:
        """Return when others leave the machine alone, or patience is at its end."""
        while self.left > 0:
            before, began = _busy_seconds(), time.monotonic()
            time.sleep(0.1)
            if _busy_seconds() - before <= 2 / _TICK:
                return
            time.sleep(0.2)
            self.left -= time.monotonic() - began

    def disturbed(self, others: float, wall: float) -> bool:
        """Whether `others` processor seconds within `wall` seconds are too many."""
        return others > self.share * wall + 3 / _TICK


class Watch:
    """Processor seconds that others used while a team worked: `with Watch(team) as w: ...`."""

    def __init__(self, team: Team) -> None:
        self._team, self.others, self.wall = team, 0.0, 0.0

    def __enter__(self) -> Watch:
        self._own = self._team.cpu_seconds()
        self._all, self._began = _busy_seconds(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.monotonic() - self._began
        own = self._team.cpu_seconds() - self._own if self._team.alive else 0.0
        self.others = _busy_seconds() - self._all - own


def _busy_seconds() -> float:
    """Processor time of all cores that was not idle, since the machine started."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICK  # 3 and 4: idle, waiting for a disk


def _tree_seconds(pid: int) -> float:
    """Processor time of a process and of its descendants that live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0.0
    own = (int(fields[11]) + int(fields[12])) / _TICK
    return own + sum(_tree_seconds(int(child)) for child in children)
