"""Data sets: cards, readers of each format, splits, digests and conditioning."""
