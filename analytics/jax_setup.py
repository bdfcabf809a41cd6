"""JAX as the kernels need it: in 64 bits, which has to be said before the first array is made.

Kernel modules take `jax` and `jnp` from here, so that none can be imported without it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["host", "jax", "jnp"]

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def host(tree: Any) -> Any:
    """The same tree with NumPy's arrays in place of JAX's; on CPUs they share their memory."""
    return jax.tree.map(np.asarray, tree)
