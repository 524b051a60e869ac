"""The hot loops: numba for the CPU, CuPy kernels for CUDA. The only place with either."""
