"""The connector of contact files keeps the promises of a pull connector."""

import pytest
from sima_plugin_crm.contacts import ContactsConnector
from sima_sdk.connectors import Source
from sima_sdk.testing.pull import PullConnectorContract, PullSubject

COLUMNS = (
    *("Record ID", "First Name", "Last Name", "Email", "Phone Number", "City", "Annual Revenue"),
    *("Newsletter", "Last Modified Date", "Merged record IDs", "_fivetran_deleted"),
)
RECORDS = """
101,Ada,Lovelace,ada@example.com,+44 20 7946 0018,London,1000.50,yes,2026-01-05 10:30,99;98,false
102,علي,حسيني,,٠٥٠١٢٣٤٥٦٧,الرياض,,no,2026-01-06 10:30,,false
103,Bob,,bob@example.com,,,n/a,,,,false
104,Eve,,eve@example.com,,,,,,,true
,,,,,Nowhere,,,,,false
"""


class TestContacts(PullConnectorContract):
    """The connector `contacts`."""

    @pytest.fixture
    def subject(self) -> PullSubject:
        """Two good contacts, one with a number that is none, one deleted, and one without any name."""
        content = ",".join(COLUMNS) + RECORDS
        source = Source("crm", options={"consent.email_marketing": "Newsletter"})
        return PullSubject(ContactsConnector(), source, content.encode(), facts=2, refusals=3)
