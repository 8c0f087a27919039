"""Quality and diversity of selections from rated pools."""
