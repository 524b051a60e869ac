"""The safeguards of learned methods, of their training and of their weights."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

__all__ = ["LEARNED"]

DIRECTIONS = "solvers/neural/directions.py"
OPERATOR = "solvers/neural/learned.py"
WEIGHTS = "sciml/networks/weights.py"
CARDS = "sciml/io/_cards.py"
TRAINER = "sciml/training/trainer.py"
CHECKPOINT = "sciml/training/checkpoint.py"
SOLVING = "tests/numerics/test_neural_directions.py::test_"
NETWORKS = "tests/numerics/test_neural_networks.py::test_"
TRAINING = "tests/numerics/test_neural_training.py::test_"
LAWS = "tests/laws/test_solvers.py::test_law"

LEARNED: tuple[Mutant, ...] = (
    Mutant(
        "a network's direction is weighed against the classical one",
        DIRECTIONS,
        "(theirs >= own)",
        "(theirs >= 0)",
        (SOLVING + "no_step_is_worse_than_the_classical_one",),
    ),
    Mutant(
        "a slow network is refused",
        DIRECTIONS,
        " & ~spent",
        "",
        (SOLVING + "a_network_that_is_slow_is_refused",),
    ),
    Mutant(
        "runs of plain CG grow",
        DIRECTIONS,
        "_GROWTH * s.length",
        "s.length",
        (SOLVING + "hostile_networks_cost_no_more_than_a_constant",),
    ),
    Mutant(
        "NaN from A is not taken for NaN from the network",
        DIRECTIONS,
        "lost |= _finite(A, q, lost.shape) & ~_finite(A, Aq, lost.shape)",
        "lost |= False",
        (LAWS + "[NeuralDirections-numpy-float64-catches_nan_inside]",),
    ),
    Mutant(
        "curvature that is not positive is told",
        DIRECTIONS,
        "mark(s.flag, energy <= 0, Status.INDEFINITE)",
        "s.flag",
        (SOLVING + "an_indefinite_operator_is_told",),
    ),
    Mutant(
        "a network moves nothing in solid cells",
        OPERATOR,
        "q = q * self.fluid",
        "q = q * 1",
        (SOLVING + "pressure_systems_around_solids",),
    ),
    Mutant(
        "a network on the CPU runs on one thread",
        "sciml/_torch.py",
        "torch.set_num_threads(1)",
        "pass",
        (SOLVING + "the_bits_do_not_depend_on_threads",),
    ),
    Mutant(
        "weights are those that the card names",
        CARDS,
        'if hashlib.sha256(content).hexdigest() != card.get("sha256"):',
        "if False:",
        (NETWORKS + "every_flipped_bit_is_told",),
    ),
    Mutant(
        "a card is as it was written",
        WEIGHTS,
        ' or card["card_sha256"] != digest(card)',
        "",
        (NETWORKS + "every_flipped_bit_is_told",),
    ),
    Mutant(
        "weights of another format are refused",
        CARDS,
        'card["format"] != FORMAT',
        'card["format"] == -1',
        (NETWORKS + "other_versions_kinds_and_dimensions_are_refused",),
    ),
    Mutant(
        "a loss that is no number ends a training",
        TRAINER,
        "if not math.isfinite(losses[-1]):",
        "if False:",
        (TRAINING + "bad_training_is_refused",),
    ),
    Mutant(
        "a checkpoint of another plan is refused",
        CHECKPOINT,
        'known["plan"] != json.loads(json.dumps(dataclasses.asdict(plan)))',
        "False",
        (TRAINING + "a_checkpoint_of_another_run_is_refused",),
    ),
    Mutant(
        "a resumed training goes on with the numbers it would have drawn",
        CHECKPOINT,
        'rng.bit_generator.state = known["rng"]',
        "pass",
        (TRAINING + "a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one",),
    ),
)
