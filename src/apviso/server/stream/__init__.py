"""The organization's live stream: what happened, in order, resumable."""
