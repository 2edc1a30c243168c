"""From deliveries to committed records, and what to do with the rest."""
