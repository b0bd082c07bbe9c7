"""The sources of the sample: which channel speaks through which connector, with which secrets and options."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from sima_cli.sample import crm, shop, social, till, web
from sima_cli.sample.places import PLACES


def sources_yaml(workspace: str, import_token: str) -> str:
    """Return the text of a sources file for the collector."""
    sources = [{"workspace": workspace, **source} for source in _sources(import_token)]
    return yaml.safe_dump({"sources": sources}, allow_unicode=True, sort_keys=False)


def _sources(import_token: str) -> Iterator[dict[str, Any]]:
    yield _source(web.SOURCE, "pixel")
    for place in PLACES:
        yield _source(shop.source_of(place), "shopify", place.region, {"webhook": shop.SECRET})
    for network in (social.INSTAGRAM, social.FACEBOOK):
        yield _source(network, "meta", secrets={"app_secret": social.APP_SECRET, "verify_token": social.VERIFY_TOKEN})
    token = {"import_token": import_token}
    for place in PLACES:
        yield _source(till.source_of(place), "transactions", place.region, token, till.options_of(place))
    yield _source(crm.SOURCE, "contacts", None, token, crm.OPTIONS)


def _source(
    name: str,
    connector: str,
    region: str | None = None,
    secrets: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    source: dict[str, Any] = {"name": name, "connector": connector}
    if region:
        source["default_region"] = region
    if secrets:
        source["secrets"] = {purpose: {"value": secret} for purpose, secret in secrets.items()}
    return {**source, "options": dict(options)} if options else source
