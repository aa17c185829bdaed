"""Pure tensor maths: no configuration, no Lightning, no state."""
