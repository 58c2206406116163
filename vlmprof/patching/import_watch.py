"""Calls back as soon as a module is loaded, before anyone could bind its functions."""

from vlmprof.agent.import_hook import ImportWatch

__all__ = ["ImportWatch"]
