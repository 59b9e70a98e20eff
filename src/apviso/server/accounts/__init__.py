"""People who sign in: users with a role, their passwords, their sessions, and the one-time links that let somebody in."""
