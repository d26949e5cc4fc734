"""Networks: from the codes of x_<d to the raw parameters of p(x_d | x_<d), for every d at once.

A network is stateless but for its sizes. It offers

- ``settings()``: what a file must keep of it;
- ``shapes``, ``decayed``, ``zeros()``: its parameters, and which of them are weights;
- ``initialise(params, rng)``;
- ``forward(params, codes, n_threads) -> raw, cache``;
- ``backward(params, cache, graw, grads, n_threads)``, which overwrites ``grads`` and uses up the
  cache;
- ``sample(params, draw, noise, held, codes, n_threads)``, which fills ``codes`` feature by feature.

Codes (n, D) and raw outputs (n, D, P) are in model order; conditionals give them their meaning.
"""

from fastar.networks._shared_hidden import SharedHidden

BY_NAME = {"shared_hidden": SharedHidden}

__all__ = ["BY_NAME", "SharedHidden"]
