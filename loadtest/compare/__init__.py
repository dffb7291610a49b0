"""`loadtest/run`: Tidegate beside other load balancers, in one run."""
