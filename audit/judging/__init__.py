"""From facts to a report, a decision, a proof."""
