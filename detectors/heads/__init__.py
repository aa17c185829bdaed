"""`forward(features) -> raw outputs`."""
