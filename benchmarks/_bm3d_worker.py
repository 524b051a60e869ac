"""BM3D's deblurring for `benchmarks/restoration.py`, in an interpreter that has the package.

    python _bm3d_worker.py bm3d DATA.npz RESULT.npz

The package's licence allows non-commercial use alone: it is run for comparison, and nothing here
is taken from it. Its blur is circular too, the kernel's middle being its origin.
"""

from __future__ import annotations

import sys
import time

import bm3d  # pyright: ignore[reportMissingImports]
import numpy as np


def main() -> None:
    _, source, target = sys.argv[1:]
    if not hasattr(np, "trapz"):  # which bm3d still calls, and NumPy has renamed
        np.trapz = np.trapezoid
    with np.load(source) as file:
        y, kernel, sigmas = (file[name].astype(float) for name in ("y", "kernel", "sigmas"))
    images, seconds, tried = [], [], []
    for profile in ("np", "deb"):
        for sigma in sigmas:
            began = time.perf_counter()
            # With an image of two axes it takes the rows of sigma's array for channels.
            found = bm3d.bm3d_deblurring(y[..., None], float(sigma), kernel, profile)
            images.append(np.squeeze(found))
            seconds.append(time.perf_counter() - began)
            tried.append((sigma, profile))
    levels, profiles = map(np.array, zip(*tried, strict=True))
    np.savez(
        target, images=np.stack(images), seconds=np.array(seconds), levels=levels, profiles=profiles
    )


if __name__ == "__main__":
    main()
