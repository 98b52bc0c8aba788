"""Words that every other room uses: names, versions, times, digests, and readers of foreign documents."""
