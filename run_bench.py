#!/usr/bin/env python
"""Trains, samples, scores and ranks every method of a suite: ``python run_bench.py
suites/quickstart.yaml``.
"""

import sys

from bench.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
