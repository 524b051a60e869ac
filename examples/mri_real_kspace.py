"""From undersampled multi-coil k-space in a file to an image, with its error on hidden samples.

Without a file the simulated sample of this project is used. A tenth of the measured samples is
hidden from every method; what counts is how well they are predicted.

python examples/mri_real_kspace.py [folder for the picture] [k-space file]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sciml.io import read_kspace
from solvers.mri import Method, reconstruct, scan_of
from solvers.mri.hold_out import hold_out

SAMPLE = Path(__file__).parents[1] / "data" / "samples" / "brain_8coil.h5"
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
file = Path(sys.argv[2]) if len(sys.argv) > 2 else SAMPLE

kspace = read_kspace(file)
whole = scan_of(kspace.data.reshape(-1, kspace.coils, *kspace.shape)[0])
print(f"{kspace.coils} coils, {kspace.shape}, {whole.mask.mean():.1%} sampled")

kept = whole.region or tuple(slice(0, 0) for _ in kspace.shape)
seen, hidden = hold_out(whole.mask, kept, 0.1, np.random.default_rng(0))
scan = scan_of(whole.kspace, mask=seen, maps=whole.maps)
size = np.linalg.norm(whole.kspace * hidden)

figure = Figure(figsize=(14, 4), layout="constrained")
methods = (Method.ZERO_FILLED, Method.SENSE, Method.L1_WAVELET, Method.TV)
for axis, method in zip(figure.subplots(1, len(methods)), methods, strict=True):
    found = reconstruct(scan, method)
    error = np.linalg.norm((found.kspace - whole.kspace) * hidden) / size
    print(
        f"{method.value:12} error on hidden samples {error:.3f}, misfit {found.misfit:.4f}, "
        f"weight {found.weight:.1e}, {found.seconds:.1f} s"
    )
    magnitude = np.abs(found.image)
    axis.imshow(magnitude, cmap="gray", vmin=0, vmax=np.percentile(magnitude, 99.5))
    axis.set_title(f"{method.value}: {error:.3f}")
    axis.axis("off")
figure.savefig(folder / "mri_real_kspace.png", dpi=120)
print(f"written: {folder / 'mri_real_kspace.png'}")
