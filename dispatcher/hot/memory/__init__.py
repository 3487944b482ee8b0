"""The hot store's ports in this process's memory: the default fakes, and what benchmarks measure a part alone with."""
