"""The dashboards of deploy/dashboards."""
