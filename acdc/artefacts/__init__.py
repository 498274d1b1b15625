"""What runs leave behind, as typed files: circuits, scores, verification records, other tools' formats. No torch."""
