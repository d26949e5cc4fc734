"""Networks: from the codes of x_<d to the raw parameters of p(x_d | x_<d), for every d at once.

Conditionals give codes and raw outputs their meaning; networks know none of it.
"""

from fastar.networks._masked import Masked
from fastar.networks._network import Network
from fastar.networks._orderless import Orderless
from fastar.networks._recurrent import Recurrent, Steps
from fastar.networks._shared_hidden import SharedHidden

BY_NAME: dict[str, type[SharedHidden] | type[Masked] | type[Orderless] | type[Recurrent]] = {
    SharedHidden.name: SharedHidden,
    Masked.name: Masked,
    Orderless.name: Orderless,
    Recurrent.name: Recurrent,
}

__all__ = ["BY_NAME", "Masked", "Network", "Orderless", "Recurrent", "SharedHidden", "Steps"]
