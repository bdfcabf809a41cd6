"""JAX as the kernels need it: in 64 bits, which has to be said before the first array is made.

Kernel modules take `jax` and `jnp` from here, so that none can be imported without it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["jax", "jnp"]

jax.config.update("jax_enable_x64", True)
