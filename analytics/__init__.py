"""What portfolios are worth, what they risk and how they could be held better: frames, SQL and kernels. Floats begin here."""
