"""A method in a process of its own: it does what it is told over a socket, and sleeps in between.

    PYTHON _linear_worker.py ADDRESS MODULE:TABLE:METHOD RANKS [RANK]

Several ranks of one method each have their connection, under MPI or as plain processes. A message
is a tuple (what, arguments...). The answer is a dict; one that begins with an error says why.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.metadata
import os
import platform
import sys
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import numpy as np
from _linear_methods import Method, Ranks, Target


class Worker:
    """The loop of one process."""

    def __init__(self, line: Connection, method: Method, ranks: Ranks) -> None:
        self.line, self.method, self.ranks = line, method, ranks

    def serve(self) -> None:
        """Answer until told to stop or the other end is gone."""
        while True:
            try:
                what, *arguments = self.line.recv()
            except EOFError:
                return
            if what == "stop":
                return
            try:
                answer = getattr(self, f"do_{what}")(*arguments)
            except Exception as error:
                # whatever a rival raises is a finding of the benchmark
                answer = {"error": f"{type(error).__name__}: {error}"}
            self.line.send(answer)

    def do_load(self, path: str) -> dict[str, Any]:
        """Read a system off the clock."""
        with np.load(path) as stored:
            self.method.load({name: stored[name] for name in stored.files}, self.ranks)
        return {}

    def do_run(self, targets: list[tuple[str, float]], keep: str) -> dict[str, Any]:
        """Set up and solve; x of target i goes to `keep`-i-rank.npy, nowhere if `keep` is empty.

        A run that keeps no x is one to be timed, and has one before it that nobody looks at: it
        fetches the memory, which malloc then holds until the end. On a virtual machine fresh pages
        may have to come from the host, at a cost that differs tenfold from run to run.
        """
        wanted = [Target(*t) for t in targets]
        if not keep:
            self.method.run(wanted[:1])
            self.method.drop()
        runs = self.method.run(wanted)
        self.method.drop()
        if not keep:
            _give_memory_back()
        if keep:
            for i, run in enumerate(runs):
                np.save(f"{keep}-{i}-{self.ranks.rank}.npy", np.asarray(run.x, float).ravel())
        return {"runs": [(run.setup, run.solve, run.cpu, run.iterations) for run in runs]}

    def do_batch(self, path: str, rtol: float, keep: str) -> dict[str, Any]:
        """This process's share of a batch; x goes to `keep`-0-rank.npy."""
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        seconds, x = self.method.batch(arrays, rtol, self.ranks)
        np.save(f"{keep}-0-{self.ranks.rank}.npy", np.asarray(x, float).ravel())
        return {"seconds": seconds}

    def do_weigh(self, target: tuple[str, float]) -> dict[str, Any]:
        """Bytes that a set-up and a solve add at their peak, all that is dropped before counted."""
        self.method.run([Target(*target)])
        self.method.drop()
        _give_memory_back()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now
        before = _status("VmRSS")
        self.method.run([Target(*target)])
        return {"bytes": _status("VmHWM") - before}

    def do_versions(self, packages: list[str]) -> dict[str, Any]:
        """Of Python and of the packages found here."""
        found = {"python": platform.python_version()}
        for name in packages:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return {"versions": found}


def _give_memory_back() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    address, key, size, *own = sys.argv[1:]
    rank = int(own[0]) if own else int(os.environ.get("OMPI_COMM_WORLD_RANK", "0"))
    module, table, name = key.split(":", 2)
    ranks = Ranks(rank, int(size))
    with Client(address, "AF_UNIX") as line:
        line.send(rank)
        try:
            method = getattr(importlib.import_module(module), table)[name].make()
            method.begin(ranks)
        except Exception as error:
            line.send({"error": f"{type(error).__name__}: {error}"})
            return
        line.send({})
        Worker(line, method, ranks).serve()


if __name__ == "__main__":
    main()
