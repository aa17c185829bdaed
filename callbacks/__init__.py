"""MEASURE and steer: what happens around the training loop."""
