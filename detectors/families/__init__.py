"""One file per paper; a family wires parts together, nothing else."""
