"""Python's garbage collector in processes that work in batches."""

import atexit
import gc

_OBJECTS_BETWEEN_COLLECTIONS = 100_000


def relieve_collector() -> None:
    """Keep the garbage collector from walking over what stays for ever, which took a seventh of the time of a batch.

    To be called once everything is set up. A batch makes some ten objects a fact, none of them in a circle, so they
    need no collector to go away.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    atexit.register(gc.unfreeze)  # DuckDB complains in the log, and not in JSON, of objects that stay even then
