"""Everything outside: file systems, databases, calendars, buckets and helper programs, behind the domain's ports."""
