"""Contract suites: inherit one, give its fixture `subject`, and every promise of the plugin API is tested.

- `sima_sdk.testing.push.PushConnectorContract`: connectors that are called.
- `sima_sdk.testing.pull.PullConnectorContract`: connectors that read files.
- `sima_sdk.testing.functions.SegmentFunctionContract`: functions of the rule language.
- `sima_sdk.testing.kinds.IdentifierKindContract`: kinds of identifiers.
"""
