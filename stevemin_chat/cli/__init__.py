"""The command line: parses arguments, runs one command, turns every error into one line and an exit code.

`main` is the entry point. Modules import what is heavy inside the commands, so that `stevemin --help` is
quick; only `root` starts the screen.
"""

__all__: tuple[str, ...] = ()
