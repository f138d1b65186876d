"""Leader: workers with parameters of their own, pulled towards the best of them."""
