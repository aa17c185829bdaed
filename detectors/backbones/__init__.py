"""Feature pyramids: `forward(images) -> list[Tensor]`, `.channels`, `.strides`."""
