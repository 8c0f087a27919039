"""The problem of a selection: options, objectives, the query behind the scores, the formulation."""
