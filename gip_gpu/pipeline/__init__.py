"""Pipeline: the stages from a raw data set to its chosen rows: read, embed, score, select, write."""
