"""Radial MRI: k-space along spokes, and the normal operator as a Toeplitz matrix.

The same reconstruction, CG on A^H A + lamda I, with A^H A as a convolution and as two non-uniform
transforms; both are certified, and they agree.

python examples/mri_radial.py [pixels a side] [spokes] [picture]
"""

import sys
import time

import numpy as np
from matplotlib.figure import Figure

from sciml import Identity, LinearSystem, Stop, solve
from sciml.mri import Contrast, birdcage, brain, nrmse, radial
from sciml.operators import NonCartesianSENSE
from solvers import CG

n = int(sys.argv[1]) if len(sys.argv) > 1 else 256
spokes = int(sys.argv[2]) if len(sys.argv) > 2 else 101
picture = sys.argv[3] if len(sys.argv) > 3 else "mri_radial.png"
rng = np.random.default_rng(0)

image = brain((n, n), Contrast.T1, rng=rng).astype(np.complex64)
maps = birdcage((n, n), 8).astype(np.complex64)
A = NonCartesianSENSE(maps, radial(spokes, 2 * n))
kspace = A(image)
kspace = kspace + 0.02 * np.abs(kspace).std() * A.range.random(rng)
print(f"{n} x {n}, 8 coils, {spokes} spokes of {2 * n} samples")

b = A.adjoint(kspace)
ridge = 1e-2 * float(np.abs(b).max() / np.abs(image).max()) * Identity(A.domain)
seconds, images = {}, {}
for name, normal in (("Toeplitz", A.normal), ("twice", A.H @ A)):
    normal(b)  # what is made at first use is made
    began = time.perf_counter()
    result = solve(LinearSystem(normal + ridge, b), CG(), stop=Stop(rtol=1e-3))
    seconds[name], images[name] = time.perf_counter() - began, result.x
    told = (
        f"{result.iterations} iterations, {seconds[name]:.2f} s, NRMSE {nrmse(result.x, image):.3f}"
    )
    print(f"{name:9} {told}")
print(f"the Toeplitz matrix is {seconds['twice'] / seconds['Toeplitz']:.1f} times as fast")
assert np.linalg.norm(images["twice"] - images["Toeplitz"]) < 0.01 * np.linalg.norm(image)

figure = Figure(figsize=(9, 3.4), layout="constrained")
panels = {"object": image, "A^H y": b, "least squares": images["Toeplitz"]}
for axis, (title, panel) in zip(figure.subplots(1, 3), panels.items(), strict=True):
    axis.imshow(np.abs(panel), cmap="gray")
    axis.set_title(title)
    axis.axis("off")
figure.savefig(picture, dpi=120)
