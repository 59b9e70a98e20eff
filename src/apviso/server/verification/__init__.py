"""Proof of control: what its owner publishes at a target, how it is looked for, and how it is told."""
