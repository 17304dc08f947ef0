"""The command: options to settings, settings to a run, a run to a summary and an exit code.

Here the folders above are put together. `options` makes the command line from their tables, `batch`
and `streaming` are the two flows, `here` and `job` run them in this process or as the job of a
service. Nothing here knows one kind of source, format or runner: what only one of them needs
belongs to its own module.
"""
