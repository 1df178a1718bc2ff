"""Where executions are kept: one item schema, several engines."""
