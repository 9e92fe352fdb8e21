"""Other people's documents as oracles: one random history through all of them."""
