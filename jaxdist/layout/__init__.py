"""Layout: whose gradient, whose state, and where both live on a mesh."""
