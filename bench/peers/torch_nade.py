"""
Binary NADE in PyTorch, in the formulations that are fastest on a CPU.

Three peers are kept: the plain loop with autograd, the fastest one that does the same
dense work for every data set (a loop with a hand-derived backward pass), and the fastest
one of all, which uses that the hidden layer only changes after a one.
"""

# Tried on 2 cores (PyTorch 2.13, float32, 784 features, 500 sigmoid units, 100 rows with
# 13 % ones; sampling 1000 rows), best of repeats in milliseconds:
#
#                                                     score   gradient   sample
#   SCORES_TABLE

from .torch_loops import TorchLoop, TorchManualLoop
from .torch_segments import TorchSegments

__all__ = ["PEERS", "TorchLoop", "TorchManualLoop", "TorchSegments"]

PEERS: list[type] = [TorchLoop, TorchManualLoop, TorchSegments]
