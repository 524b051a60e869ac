"""Generating ConDiff files in parallel, in parts that survive an interruption.

Each file is made in parts of ten samples in a folder beside it, `<file>.parts/`, every part written
atomically by the process that drew it. A run that was stopped, by Ctrl-C or by force, goes on from
the whole parts. Since a sample depends on its number alone, the file comes out the same, byte for
byte, whatever happened in between. Merged parts are removed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np

from ..io import FileError
from ._condiff_files import Block, OtherRun, Recipe, is_finished, read_exactly, write_blocks
from .condiff import ConDiffConfig, Rhs, Sampler, Source, Split

PART = 10
PUBLISHED_SEED = 42
Progress = Callable[[int, int], None]


def generate_condiff(
    config: ConDiffConfig,
    out_dir: str | os.PathLike[str],
    *,
    train: int = 1000,
    test: int = 200,
    seed: int = PUBLISHED_SEED,
    workers: int = 1,
    rhs: Rhs = Rhs.WHITE,
    source: Source = Source.CIRCULANT,
    progress: Progress | None = None,
) -> list[Path]:
    """Make <out_dir>/<name>/<name>_train.h5 and _test.h5; a split of 0 samples is left out.

    seed: 0 <= seed < 2**64. workers: processes; more than one need `if __name__ == "__main__":`
    around the calling script, as they are spawned. progress(done, total) is called in this process,
    once at the start and after each part. Files that are already there and are these are kept.

    Datasets: k (S, n+1, n+1), absent for Poisson, rhs and x (S, n²), float64, unknown i + n·j.

    Raises ValueError for bad counts or seed, or where no field has the contrast; FileError where
    `out_dir` is no folder, or another file or another run's parts are in the way; ImportError for a
    missing parafields; RuntimeError if a worker dies. What was done before is kept.
    """
    folder = Path(out_dir) / config.name
    counts = {Split.TRAIN: train, Split.TEST: test}
    targets = [
        _Target(folder / f"{config.name}_{split.value}.h5", recipe, count)
        for split, count in counts.items()
        if count != 0
        for recipe in [Recipe(config, seed, split, rhs, source)]
    ]
    if not Path(out_dir).is_dir():
        raise FileError(out_dir, "expected an existing folder to write into, got none; create it")
    if not targets:
        raise ValueError("expected train or test samples, got 0 of both: ask for at least one")
    return _generate(targets, workers, progress)


def generate_condiff_file(
    config: ConDiffConfig,
    path: str | os.PathLike[str],
    samples: int,
    *,
    split: Split = Split.TRAIN,
    seed: int = PUBLISHED_SEED,
    workers: int = 1,
    rhs: Rhs = Rhs.WHITE,
    source: Source = Source.CIRCULANT,
    progress: Progress | None = None,
) -> Path:
    """Make one file of one split at `path`; otherwise as `generate_condiff`."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileError(path, "expected an existing folder to write into, got none; create it")
    recipe = Recipe(config, seed, split, rhs, source)
    return _generate([_Target(target, recipe, samples)], workers, progress)[0]


@dataclass(frozen=True)
class _Part:
    path: Path
    recipe: Recipe
    first: int
    count: int

    def read(self) -> Block:
        return read_exactly(self.path, self.recipe, self.first, self.count)

    def is_whole(self) -> bool:
        """Whether it is done; False if missing or damaged; OtherRun if of another run."""
        if not self.path.exists():
            return False
        try:
            self.read()
        except OtherRun:
            raise
        except FileError:
            return False
        return True

    def make(self) -> None:
        recipe = self.recipe
        draw = Sampler(recipe.config, recipe.seed, recipe.split, recipe.rhs, recipe.source)
        samples = [draw(i) for i in range(self.first, self.first + self.count)]
        k, b, x = (np.stack([sample[i] for sample in samples]) for i in range(3))
        block = Block(None if recipe.config.covariance is None else k, b, x)
        write_blocks(self.path, self.path.parent, recipe, self.first, self.count, [block])


@dataclass(frozen=True)
class _Target:
    path: Path
    recipe: Recipe
    count: int

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"expected a number of samples >= 1, got {self.count!r}: raise it")

    @property
    def folder(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.parts")

    @property
    def parts(self) -> list[_Part]:
        out = []
        for first in range(0, self.count, PART):
            count = min(PART, self.count - first)
            path = self.folder / f"part-{first:06d}-{count:02d}.h5"
            out.append(_Part(path, self.recipe, first, count))
        return out

    def merge(self) -> None:
        blocks = (part.read() for part in self.parts)
        write_blocks(self.path, self.folder, self.recipe, 0, self.count, blocks)

    def clean(self) -> None:
        """Remove the parts, and what a killed process left among them; nothing of anybody else."""
        for pattern in ("part-*.h5", ".part-*.tmp", f".{self.path.name[:40]}.*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def _generate(targets: list[_Target], workers: int, progress: Progress | None) -> list[Path]:
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"expected workers >= 1, got {workers!r}: pass a number of processes")
    for target in targets:
        recipe = target.recipe
        # Bad seeds and missing packages are told before anything is written.
        Sampler(recipe.config, recipe.seed, recipe.split, recipe.rhs, recipe.source)
    open_ = [t for t in targets if not is_finished(t.path, t.recipe, t.count)]
    parts = [part for target in open_ for part in target.parts]
    todo = [part for part in parts if not part.is_whole()]
    total = sum(target.count for target in targets)
    done = total - sum(part.count for part in todo)
    report = progress or (lambda done, total: None)
    report(done, total)
    for target in open_:
        target.folder.mkdir(parents=True, exist_ok=True)
    # Closed at once whatever happens, so that no worker outlives an exception.
    with closing(_made(todo, workers)) as made:
        for count in made:
            done += count
            report(done, total)
    for target in open_:
        target.merge()
    for target in targets:
        target.clean()
    return [target.path for target in targets]


def _made(parts: Sequence[_Part], workers: int) -> Generator[int, None, None]:
    """Make the parts; yields the number of samples of each as it is done."""
    workers = min(workers, len(parts))
    if workers <= 1:
        for part in parts:
            part.make()
            yield part.count
        return
    with _processes([parts[w::workers] for w in range(workers)]) as running:
        while running:
            ready = connection.wait(list(running))
            for pipe in [pipe for pipe in running if pipe in ready]:
                try:
                    message = pipe.recv()
                except EOFError:
                    process = running[pipe]
                    process.join()
                    if process.exitcode != 0:
                        raise RuntimeError(
                            f"expected a worker to finish, got exit code {process.exitcode}: "
                            "run again to go on from the parts that are done"
                        ) from None
                    del running[pipe]
                    continue
                if isinstance(message, int):
                    yield message
                else:
                    kind, text = message
                    raise kind(text)


@contextmanager
def _processes(shares: list[Sequence[_Part]]) -> Iterator[dict[Connection, SpawnProcess]]:
    """One process for each share, by the connection it reports on; stopped when the block ends.

    Spawned: a forked child can hang in the locks of the parent's OpenMP threads. The children
    start with SIGINT blocked, so Ctrl-C reaches this process alone, and it stops them. Stopping
    one is safe at any moment, since parts are written atomically. If this process is killed they
    end at the next part, when nobody listens.
    """
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, SpawnProcess] = {}
    # The tracker unblocks SIGINT as it starts: have it running first.
    resource_tracker.ensure_running()
    try:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for share in shares:
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(theirs, share), daemon=True)
                process.start()
                theirs.close()
                running[ours] = process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        yield running
    finally:
        for process in running.values():
            process.terminate()
        for ours, process in running.items():
            process.join()
            ours.close()


def _work(report: Connection, parts: Sequence[_Part]) -> None:
    """A worker's life: make the parts, tell the number of samples of each, or the first failure."""
    try:
        for part in parts:
            part.make()
            report.send(part.count)
    except BrokenPipeError:
        return
    except Exception as error:
        kinds = (ImportError, ArithmeticError, OSError, ValueError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
        report.send((kind, str(error)))
