"""Numbers from a sample set and a reference: cards, extractors, references and scoring."""
