"""How a runner comes in: one-time tokens and their crash-safe exchange."""
