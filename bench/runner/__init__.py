"""Code shared by the suites: command line, machine line, child processes, runs, tables, reports, pools."""
