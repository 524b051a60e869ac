"""What `sciml solve` says of a solve: for a person, and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sciml import Result, Solver, Status, __version__
from solvers import Auto

from ._options import words
from ._output import count, finite, one_line, size
from ._system import System

_OPTIONS = {
    "Stop.max_iters": "--max-iters",
    "Stop.max_seconds": "--max-seconds",
    "or float64": "or --double",
}


@dataclass(frozen=True)
class Report:
    """A system, its result, and the files that were written (None: not asked for, or failed)."""

    system: System
    solver: Solver  # as it was asked for
    result: Result
    out: str | None = None
    plot: str | None = None

    @property
    def status(self) -> Status:
        return Status(self.result.status)

    @property
    def advice(self) -> str | None:
        """What to try, in the words of the command line; None where it converged."""
        if self.status.ok:
            return None
        text = self.status.advice
        for python, option in _OPTIONS.items():
            text = text.replace(python, option)
        return text

    @property
    def reason(self) -> str | None:
        """Why the method was chosen, where it was."""
        return getattr(self.result.solver, "reason", "") or None

    @property
    def notes(self) -> list[str]:
        """Findings that are told nowhere else in the report."""
        told = self.result.solver.notes if self.reason else ()
        return [*self.system.notes, *(n for n in self.result.notes if n not in told)]

    @property
    def measure(self) -> str:
        """What the relative residual is."""
        if self.system.square:
            return "||b - A x|| / ||b||"
        return "||A^H (b - A x)|| / ||A^H b||"

    @property
    def symmetry(self) -> str:
        if not self.system.square:
            return "not square"
        kind = "Hermitian" if self.system.problem.A.domain.is_complex else "symmetric"
        return kind if self.system.hermitian else f"not {kind}"

    def text(self) -> str:
        """The report for a person, a line each."""
        r, file, A = self.result, self.system.file, self.system.problem.A
        where = str(file.path) if file.key is None else f"{file.path}, {file.key}"
        rows, columns = self.system.shape
        dense = ", dense" if hasattr(A, "matrix") else ""
        lines = [
            ("matrix", f"{where} ({file.format.value})"),
            (
                "",
                f"{count(rows)} x {count(columns)}, {count(self.system.nonzeros)} nonzeros{dense}, "
                f"{self.symmetry}, {A.domain.dtype}",
            ),
            ("rhs", self.system.rhs),
            ("method", r.solver.name),
        ]
        if self.reason:
            lines.append(("", f"chosen because {self.reason}"))
        lines += [
            ("status", self.status.name),
            ("residual", f"{float(r.residual):.3e}, true, of {self.measure}"),
            ("", f"asked for {float(r.target):.3e}; the method believed {float(r.estimate):.3e}"),
            ("iterations", self._iterations()),
            ("time", f"set-up {r.seconds.setup:.3g} s, solve {r.seconds.solve:.3g} s"),
            ("memory", f"{size(r.memory)} for set-up and iteration"),
        ]
        if self.out is not None:
            which = "x" if self.status.ok else "the best x, not converged,"
            lines.append(("written", f"{which} to {self.out} (key x)"))
        if self.plot is not None:
            lines.append(("written", f"plot to {self.plot}"))
        lines += [("note", note) for note in self.notes]
        if self.advice is not None:
            lines.append(("advice", self.advice))
        return "\n".join(f"{name:<11} {one_line(words)}" for name, words in lines)

    def json(self) -> str:
        """One JSON object on one line; what is not finite is null."""
        r, file, A = self.result, self.system.file, self.system.problem.A
        # A chosen method is known once it is set up; the others keep the name they were given.
        method, precond = words(r.solver if isinstance(r.solver, Auto) else self.solver)
        rows, columns = self.system.shape
        found: dict[str, Any] = {
            "status": self.status.name,
            "residual": finite(r.residual),
            "target": finite(r.target),
            "estimate": finite(r.estimate),
            "residual_is": self.measure,
            "iterations": int(r.iterations),
            "restarts": r.restarts,
            "method": method,
            "preconditioner": precond,
            "reason": self.reason,
            "advice": self.advice,
            "setup_seconds": finite(r.seconds.setup),
            "solve_seconds": finite(r.seconds.solve),
            "memory_bytes": r.memory,
            "file": str(file.path),
            "format": file.format.value,
            "key": file.key,
            "m": rows,
            "n": columns,
            "nnz": self.system.nonzeros,
            "hermitian": self.system.hermitian,
            "dtype": str(A.domain.dtype),
            "rhs": self.system.rhs,
            "certified_in": str(r.certified_in),
            "out": self.out,
            "plot": self.plot,
            "notes": self.notes,
            "version": __version__,
        }
        return json.dumps(found, allow_nan=False)

    def _iterations(self) -> str:
        r = self.result
        times = "once" if r.restarts == 1 else f"{r.restarts} times"
        restarts = f", restarted {times} from the true residual" if r.restarts else ""
        return f"{count(int(r.iterations))}{restarts}"
