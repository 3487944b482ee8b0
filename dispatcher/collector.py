"""The garbage collector of a process that serves: it looks rarely, and not at what lives as long as the process."""

import gc


def calm_collector() -> None:
    """Collects in large steps, and never again what lives already. Call it once all that lives long is there.

    Batches and lines make thousands of values that hardly ever hold a cycle: with Python's own thresholds a fifth of
    the pipeline's time goes into looking for cycles that are not there, and a look at everything stops a process for
    tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
