"""The rows of the table, a module for each place that weights come from."""
