"""What benchmarks of models that draw have in common: rows, pooling, cells of tables, panels of figures."""
