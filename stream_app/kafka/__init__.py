"""The worker's transport: chunks of records in, batches out, and the lease that says whether we may still write.

Faust loads `transport`, and `stream_app.flow` and `stream_app.worker` call the rest. Begin with `transport`, then
`fetch_loop` (asks for records), `fetching` (a fetch becomes `Records`), `sending` and `lease`.
"""
