"""What travels between server, runner and command line: models, tokens, states. No I/O, no framework."""
