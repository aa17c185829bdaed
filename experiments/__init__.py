"""RUN: the only package that knows Hydra."""
