"""Inside the scan: the guard, the scanners, their findings and the verdict. Knows neither the server nor the runner."""
