"""The figures of all portfolios, or some: worked through as tasks on the cluster, written as one Parquet file."""
