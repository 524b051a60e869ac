"""The version of `sciml` that these solvers were released with."""

__version__ = "0.1.0.dev0"
