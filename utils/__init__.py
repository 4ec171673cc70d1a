"""Building blocks of every room: errors, atomic files, strict JSON, safe text, tensor files, bootstrap draws."""
