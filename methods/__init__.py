"""One folder per paper, each an adapter behind :class:`bench.method.Method`, and what they take as given (shared)."""
