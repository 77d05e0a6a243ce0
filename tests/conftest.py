"""What holds for every test: one thread, and no window for figures."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "agg"

import torch  # reads the number of threads when it is imported

torch.set_num_threads(1)
