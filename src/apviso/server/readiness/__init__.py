"""The answer to "why not?"."""
