"""The connector of transaction files keeps the promises of a pull connector."""

import pytest
from sima_plugin_pos.transactions import TransactionsConnector
from sima_sdk.connectors import Source
from sima_sdk.testing.pull import PullConnectorContract, PullSubject

TILL = """\
customer_id,date,amount,mail,card
17,2026-01-05 10:30:00,12.50,ada@example.com,SIMA-1
17,2026-01-05 10:30:00,12.50,ada@example.com,SIMA-1
,2026-01-06 11:00:00,"7.00",,SIMA-2
18,2026-01-07T08:00:00+01:00,-3.00,,
,2026-01-07,4.00,,
"""
LINES = """\
receipt;customer_id;date;quantity;price
A1;17;05.01.2026;2;9,90
A1;17;05.01.2026;1;5,00
A2;18;06.01.2026;-1;5,00
A3;18;07.01.2026;x;5,00
;19;07.01.2026;1;2,00
"""


class TestTransactions(PullConnectorContract):
    """The connector `transactions`, one purchase in each record."""

    @pytest.fixture
    def subject(self) -> PullSubject:
        """Two identical purchases, one with a card only, a refund, and one of nobody."""
        options = {"email": "mail", "loyalty_card": "card", "time_zone": "Asia/Riyadh", "currency": "SAR"}
        return PullSubject(TransactionsConnector(), Source("till", options=options), TILL.encode(), facts=4, refusals=1)


class TestReceipts(PullConnectorContract):
    """The connector `transactions`, several records in one purchase."""

    @pytest.fixture
    def subject(self) -> PullSubject:
        """A receipt of two lines, a return, one that cannot be read, and one without number."""
        options = {
            "delimiter": ";",
            "order": "receipt",
            "quantity": "quantity",
            "unit_price": "price",
            "decimal_mark": ",",
            "date_format": "%d.%m.%Y",
            "time_zone": "Europe/Berlin",
        }
        return PullSubject(
            TransactionsConnector(),
            Source("till", options=options),
            LINES.encode(),
            facts=3,
            refusals=1,
            delimiter=b";",
        )
