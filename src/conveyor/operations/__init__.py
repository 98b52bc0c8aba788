"""What users can do, one module per noun: each function tells its story in numbered steps.

An operation owns its transaction (``changes.record_change`` or ``changes.read``), never calls upstream and
never knows HTTP. Only errors of ``conveyor.errors`` leave it.
"""
