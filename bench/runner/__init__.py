"""What suites share: the command line, machine line, child processes, runs, tables, reports, pools."""
