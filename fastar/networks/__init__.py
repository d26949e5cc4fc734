"""Networks: from the codes of x_<d to the raw parameters of p(x_d | x_<d), for every d at once.

Conditionals give codes and raw outputs their meaning; networks know none of it.
"""

from typing import Any

from fastar._data.packed import Steps
from fastar.networks._grid import DiagonalBiLSTM, RowLSTM
from fastar.networks._masked import Masked
from fastar.networks._network import Network, Stages
from fastar.networks._orderless import Orderless
from fastar.networks._pixels import PixelRecurrent
from fastar.networks._recurrent import Recurrent
from fastar.networks._recurrent_frames import RecurrentFrames
from fastar.networks._shared_hidden import SharedHidden

_NETWORKS: tuple[type[Any], ...] = (
    SharedHidden,
    Masked,
    Orderless,
    Recurrent,
    RecurrentFrames,
    PixelRecurrent,
    RowLSTM,
    DiagonalBiLSTM,
)
BY_NAME: dict[str, type[Any]] = {network.name: network for network in _NETWORKS}

__all__ = [
    "BY_NAME",
    "DiagonalBiLSTM",
    "Masked",
    "Network",
    "Orderless",
    "PixelRecurrent",
    "Recurrent",
    "RecurrentFrames",
    "RowLSTM",
    "SharedHidden",
    "Stages",
    "Steps",
]
