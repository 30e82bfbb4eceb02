"""Tables over the projections: Ganeti's resources, fields, filters and order of rows."""
