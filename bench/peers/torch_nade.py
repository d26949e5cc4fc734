"""
Binary NADE in PyTorch, in the formulations that are fastest on a CPU.

Three peers are kept: the plain loop with autograd, the fastest one that does the same
dense work for every data set (a loop with a hand-derived backward pass), and the fastest
one for sparse data, which uses that the hidden layer only changes after a one.
"""

# Tried on 2 cores (PyTorch 2.13, float32, 784 features, 500 sigmoid units, 100 rows with
# 13 % ones; 1000 rows sampled), best of repeats in milliseconds:
#
#                                               score  gradient  train step  sample
#   eager segments (kept)                         5.4        13          14      83
#   eager loop, manual backward (kept)             19        68          71     127
#   eager loop, autograd (kept)                    19        97          99     127
#   eager loop, manual backward, states wound
#     back instead of hidden states kept                     73
#   compiled blocks of 8 features by masked
#     matmul, manual backward                      26        77
#   the same with blocks of 16; of 28          36; 44    82; 90
#   compiled cumsum, 2 rows at a time              52       144
#   compiled cumsum, 10 rows at a time             61       148
#   compiled cumsum, 100 rows at a time           126       258
#   eager cumsum, 5 rows; 100 rows at a time  69; 228  223; 557
#   compiled dense sampling step                                            130
#   segments sampling, compiled update                                       94
#   segments sampling, one Python thread a core                             120
#
# With 50 % ones the segments score in 18 and differentiate in 61, with 90 % in 36 and 106; the
# loops take the same time whatever the data.
#
# Compiling (default mode, gcc 12) was never the fastest. In the segments, a compiled gather
# and dot product for the logits took 1.9 ms, the embedding-bag kernel 1.7 ms, sampled_addmm
# 1.8 ms; for the sums over segments, sparse CSR @ dense took 2.3 ms, the bag 1.6 ms.

from .torch_loops import TorchLoop, TorchManualLoop
from .torch_segments import TorchSegments

__all__ = ["TorchLoop", "TorchManualLoop", "TorchSegments"]
