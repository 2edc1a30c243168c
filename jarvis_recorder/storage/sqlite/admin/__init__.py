"""Operations on a database file: backup, restore, verification, vacuum."""
