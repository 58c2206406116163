"""The paper's recipes as switchable patches; each is one file here and offers itself as `vlmprof.recipes`."""
