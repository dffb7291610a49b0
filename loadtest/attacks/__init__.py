"""What `loadtest/attack` runs; see there."""
