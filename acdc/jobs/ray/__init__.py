"""Jobs on Ray: workers on this machine, and on clusters."""
