"""The REST service: a Ray Serve application that passes each request to the shard that owns its portfolio."""
