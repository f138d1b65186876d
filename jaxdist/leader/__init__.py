"""Leader: workers with parameters of their own, pulled to the best or to a centre."""
