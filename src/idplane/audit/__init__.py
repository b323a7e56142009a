"""What the activity log says of a control-plane operation.

Owns how a request, its caller and its outcome become an `ActivityEvent`. Does not store events (the kernel commits each one with
the change that it tells of) and does not show them (`providers.insights` does). Sign-ins are the token service's business.

Flow: `arm.kernel` calls `activity_event` once for every attempted change, whether it succeeded or was refused.
"""
