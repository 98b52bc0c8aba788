"""What every other room speaks of: names, versions, times, digests, and reading what somebody else wrote."""
