"""YAML to a suite: what its files may say, and the points that it expands to."""
