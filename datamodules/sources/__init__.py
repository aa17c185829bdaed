"""One file per annotation format: index -> (image, Target in original pixels)."""
