"""What synthetic scenes show: one file per world, and what they share."""
