"""APVISO Runners: a control plane and the runners that test applications no cloud can reach."""

__version__ = "0.1.0"
