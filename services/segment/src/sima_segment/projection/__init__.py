"""The projection: all facts of a workspace in DuckDB, in the form in which rules read them.

It is a cache. Delete the file and it is built again from the feeds of profile and identity. Every statement that
DuckDB runs stands in this package, and nothing else of the service speaks to DuckDB.
"""

from sima_segment.projection import exchange
from sima_segment.projection.file import ProjectionError, Resources, discard, is_broken, owned
from sima_segment.projection.pages import ChangePage, FactPage
from sima_segment.projection.projection import Configuration, Projection
from sima_segment.projection.tables import Limits, Position

__all__ = [
    "ChangePage",
    "Configuration",
    "FactPage",
    "Limits",
    "Position",
    "Projection",
    "ProjectionError",
    "Resources",
    "discard",
    "exchange",
    "is_broken",
    "owned",
]
