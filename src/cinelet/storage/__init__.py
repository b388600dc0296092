"""Where bytes stay: blobs in a folder or a bucket, and a cache of finished videos."""
