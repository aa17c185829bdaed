"""IN: files on disk -> Batch."""
