"""APNs: HTTP/2 to Apple with a provider token or a certificate."""
