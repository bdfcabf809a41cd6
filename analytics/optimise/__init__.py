"""How a portfolio could be held better: from prices and holdings to target weights, and from there to trades."""
