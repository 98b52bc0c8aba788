"""Operations, one module per noun: everything that users can do, each function in numbered steps.

An operation owns its transaction (``changes.record_change`` or ``changes.read``), never calls upstream and
never knows HTTP. Only errors of ``conveyor.errors`` leave it.
"""
