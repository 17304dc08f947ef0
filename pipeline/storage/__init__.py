"""Files of this machine and of buckets, and Pub/Sub, as the system and its clients offer them.

Here belongs how a path is found, opened, compressed, renamed or refused, with errors of one line
that name the path. Which files a run reads and writes, and what is in them, is the affair of
`pipeline.sources` and `pipeline.sinks`.
"""
