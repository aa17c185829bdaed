"""THINK: Batch -> Losses / Detections. Read structures.py, then detector.py, then families/."""
