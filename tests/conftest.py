"""What every test may ask for. One thread: equal bytes are only promised for equal thread counts."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
