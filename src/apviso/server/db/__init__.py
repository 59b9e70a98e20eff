"""Both databases: the schema, the engine with its unit of work, the migrations. No rule of any slice."""
