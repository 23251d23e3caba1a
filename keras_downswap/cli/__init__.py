"""The command line, one file a command: files in, files out, exit codes; no decisions."""
