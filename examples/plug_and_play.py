"""Deblurring by a learned proximal operator, and what can be said of its convergence.

The prior is told six times the noise of the data, which restores best and has no theorem. The
answer is certified all the same, and each step is watched.

python examples/plug_and_play.py [picture] [image]
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sciml import Gaussian, InverseProblem, Space, Stop, solve
from sciml.io import read_image
from sciml.mri import Contrast, brain, psnr
from sciml.networks import PretrainedProximal, load_proximal
from sciml.operators import Blur, Boundary, gaussian_kernel
from sciml.priors import LearnedProximal
from solvers import CG, PlugAndPlayADMM
from solvers.proximal import Watch

SIGMA, N = 0.02, 96

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument(
    "picture", type=Path, nargs="?", default=Path("plug_and_play.png"), help="to be written"
)
arguments.add_argument("image", type=Path, nargs="?", help="to be blurred; a head without")
options = arguments.parse_args()

rng = np.random.default_rng(0)
if options.image is not None:
    truth = np.asarray(read_image(options.image).data)[:N, :N]
else:
    truth = brain((N, N), Contrast.T1, rng=rng)
truth = np.ascontiguousarray(truth / truth.max(), np.float64)
space = Space(truth.shape)
A = Blur(gaussian_kernel(1.6), space, boundary=Boundary.CIRCULAR)
y = A(truth) + SIGMA * rng.standard_normal(truth.shape)

network = load_proximal(PretrainedProximal.LPN_NATURAL)
prior = LearnedProximal(network, space, sigma=6 * SIGMA, solver=CG())
problem, method = InverseProblem(A, y, Gaussian(SIGMA), prior), PlugAndPlayADMM()
watch = Watch(problem, method, start=False)
result = solve(problem, method, x0=y, stop=Stop(rtol=1e-4), observe=watch)
found = watch.certify(result)
print(found.explain())
psnrs = [psnr(image, truth, peak=1.0) for image in (y, result.x)]
print(f"blurred {psnrs[0]:.2f} dB, restored {psnrs[1]:.2f} dB")
assert result.ok and psnrs[1] > psnrs[0] + 2

figure = Figure(figsize=(11, 6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
images = {"truth": truth, "blurred": y, "restored": result.x}
for axis, (name, image) in zip(above.subplots(1, 3), images.items(), strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set_title(name)
    axis.axis("off")
curves = {
    "f + g above its last value": found.objective - found.objective[-1],
    f"{found.theory.falls}, above its last value": found.merit - found.merit[-1],
    "relative change by a step": found.fixed_point,
}
for axis, (name, curve) in zip(below.subplots(1, 3), curves.items(), strict=True):
    axis.semilogy(found.iterations, np.where(curve > 0, curve, np.nan))
    axis.set(title=name, xlabel="iteration")
figure.savefig(options.picture, dpi=120)
