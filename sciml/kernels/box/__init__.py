"""Black-box multigrid (Dendy, J. Comput. Phys. 48, 1982) on the CPU: set-up and cycle."""
