"""The segments of the demo."""

from sima.segment.v1.segment_service_pb2 import CreateSegmentRequest, Segment
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub

from sima_cli.connection import Connection

BIG_SPENDERS = "big-spenders-berlin"
SEGMENTS = (
    Segment(
        name=BIG_SPENDERS,
        description="Paid more than 600 euros in a year, in the shop and at the till together",
        rule='events("order_completed").filter(e, e.currency == "EUR").within("365d").sum("total") > 600.0',
    ),
    Segment(
        name="loyal",
        description="Three purchases or more within a year",
        rule='events("order_completed").within("365d").count() >= 3',
    ),
    Segment(
        name="best-customers",
        description="Recent, frequent and generous",
        rule="rfm.score() >= 12",
    ),
    Segment(
        name="forgotten-carts",
        description="Put something into the cart within two weeks and bought nothing",
        rule='events("product_added").within("14d").exists() && !events("order_completed").within("14d").exists()',
    ),
    Segment(
        name="runners",
        description="Looked at running shoes for more than three minutes",
        rule='events("page_viewed").within("60d").filter(e, e.category == "running").sum("duration_s") > 180.0',
    ),
    Segment(
        name="letters-to-loyal",
        description="Loyal, and agreed to letters",
        rule='segment("loyal") && consent("email_marketing")',
    ),
)


async def create_segments(connection: Connection) -> list[Segment]:
    """Create them and return them with their sizes."""
    async with connection.calls("segment", SegmentServiceStub) as service:
        return [
            (await service.call(service.stub.CreateSegment, CreateSegmentRequest(segment=segment))).segment
            for segment in SEGMENTS
        ]
