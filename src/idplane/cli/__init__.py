"""The command line: one module for each command, imported when it is called.

Owns arguments, words for people, and becoming the workload (`run`). Decides nothing: commands ask the running plane, over HTTPS as its
operator (`client`, `operator`) or over the control socket (`link`), or start one (`up`, through `bootstrap`).

Every command takes `--json`; a refusal is one sentence on standard error. Exit codes: 0, 1 refused or failed, 2 wrong usage,
3 not running (`status`); `run` has those of its workload, and 126 and 127 as `env` does.
"""
