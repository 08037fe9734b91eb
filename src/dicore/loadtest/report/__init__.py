"""What a run is shown as: one HTML page, CSV, JUnit, and the tables of the terminal."""
