"""Physics-informed training whose operator is preconditioned."""
