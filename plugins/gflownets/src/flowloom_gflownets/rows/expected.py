"""Expected and adversarial flow networks (2310.02779)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

NO_TARGET = {
    "check_exact_answers_have_no_loss": "a walk is no point of a path, and has no target",
    "check_field_is_of_its_kind": "log probabilities of actions that are not allowed are -inf",
}
ONLY_ACTIONS = "a policy answers with actions, and reads no time and no state between tokens"


def register(reg: Registrar) -> None:
    """Add chance with its balance, games with theirs, what is compared with them, and recipes."""
    home, paper = "flowloom_gflownets", "2310.02779"
    reg.add(
        "environment",
        "chance-tree",
        f"{home}.expected.tree:ChanceTree",
        summary="choices with random outcomes",
        example={"energy": {"use": "random-leaves", "length": 4, "vocab": 4}, "rounds": 2},
        paper=paper,
    )
    reg.add(
        "environment",
        "line-game",
        f"{home}.games.line:LineGame",
        summary="two players, and a line of stones wins: tic-tac-toe, Connect Four",
        example={"rows": 3, "columns": 3, "line": 3},
        paper=paper,
    )
    reg.add(
        "energy",
        "random-leaves",
        f"{home}.expected.tree:RandomLeaves",
        summary="log-normal rewards of sequences",
        example={"length": 4},
    )
    for name, target, within, summary in (
        (
            "expected-balance",
            "expected.objectives:ExpectedDetailedBalance",
            "chance-tree-edb",
            "detailed balance where chance moves too",
        ),
        (
            "chance-blind-balance",
            "expected.objectives:ChanceBlind",
            "chance-tree-edb",
            "trajectory balance that leaves chance out, to compare with",
        ),
        (
            "adversarial-balance",
            "games.objectives:AdversarialBalance",
            "tic-tac-toe",
            "one balance for both players of a game",
        ),
        (
            "uniform-opponent-balance",
            "games.objectives:UniformOpponent",
            "tic-tac-toe",
            "trajectory balance against random moves, to compare with",
        ),
    ):
        reg.add(
            "objective",
            name,
            f"{home}.{target}",
            summary=summary,
            paper=paper,
            within=within,
            known_failures=NO_TARGET,
        )
    for name, target, example, summary in (
        ("player-mlps", "PlayerMLPs", {"width": 8}, "a policy network for each player"),
        ("az-resnet", "AZResNet", {"filters": 4, "blocks": 1, "head": 2}, "AlphaZero's tower with two heads"),
    ):
        reg.add(
            "model",
            name,
            f"{home}.games.models:{target}",
            summary=summary,
            example={"environment": "line-game", **example},
            paper=paper,
            within="tic-tac-toe",
            known_failures=dict.fromkeys(("check_output_shape", "check_time_and_state_matter"), ONLY_ACTIONS),
        )
    reg.add(
        "feed",
        "self-play",
        f"{home}.games.feed:SelfPlay",
        summary="a buffer of games of the softened policy",
        example={"capacity": 40, "first": 16, "fresh": 8, "every": 3},
        paper=paper,
        within="tic-tac-toe",
    )
    reg.add(
        "score",
        "optimal-moves",
        f"{home}.games.solved:OptimalMoves",
        summary="share of optimal moves by minimax, and losses against random moves, exactly",
        paper=paper,
        within="tic-tac-toe",
    )
    for name, summary in (
        ("chance-tree-edb", "expected flows in a tree of choices and outcomes"),
        ("tic-tac-toe", "both players by one balance, judged by minimax"),
        ("tic-tac-toe-uniform", "the same networks against random moves"),
        ("connect-three", "a line of three where stones fall, on a board of 4 x 4"),
        ("tic-tac-toe-full", "the residual tower of the paper"),
        ("connect-four-full", "Connect Four at the paper's size"),
    ):
        reg.recipe(name, f"{home}:recipes/{name}.yaml", summary=summary, paper=paper)
