"""The scenarios of `loadtest/resilience`; see there. Python's standard library is all they need.

One file a scenario, each with `async def run(report)`. `client` makes load, `backend` runs sample backends,
`tidegate` runs Tidegate, `report` keeps what was measured. All times are seconds of the monotonic clock, which all
processes of a machine share.
"""
