"""From settings to a running daemon in this process: folders, lock, logging, event loop. Decides nothing about scans."""

from __future__ import annotations

import asyncio
import logging
import os
import resource

from apviso.runner.daemon import Daemon
from apviso.runner.identity import Identity
from apviso.runner.logs import start_logging
from apviso.runner.redaction import Redactor
from apviso.runner.setup import Setup
from apviso.runner.shutdown import Outcome
from apviso.runner.workspace import sole_use

# A scan may hold hundreds of connections to its guard, each of which is two open files here. More than this no runner needs.
MOST_FILES = 65_536


def run_daemon(setup: Setup, identity: Identity, *, stalled_exit: int) -> Outcome:
    """Run until the end. Raises ConfigProblem, BadAuthority, BadProxy, WorkspaceTaken or OSError where it cannot begin.

    A stalled process ends with `stalled_exit` without returning here.
    """
    raise_file_limit()
    workspace, api_url = setup.workspace, setup.api_url
    workspace.prepare()
    redactor = Redactor()
    with sole_use(workspace):
        start_logging(workspace.log_file, redactor)

        def end_process() -> None:
            logging.shutdown()
            os._exit(stalled_exit)

        daemon = Daemon(setup.config, workspace, identity, api_url, setup.environ, redactor, end_process)
        return asyncio.run(daemon.run_with_signals())


def raise_file_limit() -> None:
    """Open as many files as the system lets this account, where the usual first limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
