"""Pictures of circuits, the HTML report, and the sentences that terminal and report share."""
