"""The span agent: runs inside the served processes, standard library only, and never raises into them.

Loaded by `bootstrap/sitecustomize.py` through PYTHONPATH. Modules import one another relatively, because in a
served process this package is called `_vlmprof_agent`.
"""
