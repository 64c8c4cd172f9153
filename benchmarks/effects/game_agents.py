"""How far trained agents stay below the Bayes value of a four-type mixture, exactly, seed by seed.

The prisoner's dilemma at discount 0.9 against TFT, ALLC, ALLD and Grim, equally likely (Bayes value 1004497/40000 =
25.112425). Tabular Q-learning takes 300,000 steps, PPO and DQN 40,000; matches are truncated after 60 steps. Every
policy is read out as a table of the last k steps and evaluated by linear solves, so that a gap has no noise of its own:
the interval is over seeds. Baseline: uniform play; reference within reach: the best pure memory-k strategy, where it
is computed. Must hold: no value above the Bayes value, and with k = 3 one Q-learning seed within 0.01 of it.

Resumable: every agent's figures are kept as soon as it is trained. Writes ``results/game_agents.json``.
"""

import argparse
import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from effects_file import write

from backcast.core.files import cache_folder, code_version, write_atomic
from backcast.core.stats import bootstrap
from backcast.games.agents import Training, train
from backcast.games.memory import named_automaton, own_first, parse_mixture
from backcast.games.mixtures import bayes_value, best_memory
from backcast.games.problems import load_game
from backcast.games.solve import evaluate

MIXTURE, DISCOUNT, BAYES = "tft:1,allc:1,alld:1,grim:1", "9/10", Fraction(1004497, 40000)
STEPS = {"q": 300_000, "ppo": 40_000, "dqn": 40_000}
Q_SEEDS = 5
ARMS = (("q", 1), ("q", 2), ("q", 3), ("ppo", 1), ("ppo", 3), ("dqn", 1), ("dqn", 3))


def worth(game: Any, strategy: Any, mixture: Any) -> float:
    """Exact mean value of a strategy over the drawn type."""
    parts = [evaluate(game, [strategy, kind], DISCOUNT).values[0] for kind in mixture.types]
    return float(sum(float(w) * part for w, part in zip(mixture.weights, parts, strict=True)))


def one(agent: str, k: int, seed: int) -> dict[str, Any]:
    """Trains one agent; its exact value, and what it plays after every window (for k = 1)."""
    game = load_game("ipd")
    mixture = parse_mixture(game, MIXTURE, 1)
    begun = time.process_time()
    found = train(game, mixture, Training(agent, k, STEPS[agent], seed=seed), DISCOUNT)
    seconds = time.process_time() - begun
    table = own_first(found.strategy)
    plays = "".join("CD"[int(row[1] > row[0])] for row in table.values()) if k == 1 else None
    return {"value": worth(game, found.strategy, mixture), "cpu_seconds": round(seconds, 2), "plays": plays}


def summary(agent: str, k: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One arm: values by seed, mean gap to Bayes with its interval over seeds."""
    gaps = [float(BAYES) - row["value"] for row in rows]
    spread = bootstrap(gaps)
    return {
        "agent": agent,
        "k": k,
        "steps": STEPS[agent],
        "seeds": len(rows),
        "values": [round(row["value"], 6) for row in rows],
        "gap": spread.value,
        "low": spread.low,
        "high": spread.high,
        "smallest_gap": min(gaps),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows) / len(rows), 2),
        "plays": sorted({row["plays"] for row in rows if row["plays"]}),
    }


def references() -> dict[str, Any]:
    """Bayes, uniform play, and the best pure memory-k values."""
    game = load_game("ipd")
    mixture = parse_mixture(game, MIXTURE, 1)
    best = {k: best_memory(game, mixture, k, 0, DISCOUNT) for k in (0, 1, 2, 3)}
    return {
        "bayes": str(bayes_value(game, mixture, 0, DISCOUNT).exact),
        "uniform": worth(game, named_automaton(game, "uniform", 0), mixture),
        "best_memory": {str(k): {"value": one.value, "at_most": one.upper} for k, one in best.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="of PPO and DQN; Q-learning takes at least five")
    parser.add_argument("--work", type=Path, default=None, help="where finished agents are kept")
    options = parser.parse_args()
    work = options.work or cache_folder() / "effects" / f"game-agents-{code_version()}"
    work.mkdir(parents=True, exist_ok=True)
    arms = []
    for agent, k in ARMS:
        rows = []
        for seed in range(max(Q_SEEDS, options.seeds) if agent == "q" else options.seeds):
            path = work / f"{agent}-{k}-{seed}.json"
            if not path.exists():
                write_atomic(path, json.dumps(one(agent, k, seed)))
            rows.append(json.loads(path.read_text()))
            print(agent, f"k={k} seed={seed}", rows[-1], flush=True)
        arms.append(summary(agent, k, rows))
    refs = references()
    q3 = next(arm for arm in arms if (arm["agent"], arm["k"]) == ("q", 3))
    held = {
        "no value above Bayes": all(arm["smallest_gap"] >= -1e-9 for arm in arms),
        "a q seed with k = 3 within 0.01 of Bayes": q3["smallest_gap"] <= 0.01,
        "the Bayes value is the one above": refs["bayes"] == str(BAYES),
    }
    path = write("game_agents", {"mixture": MIXTURE, "discount": DISCOUNT, **refs, "arms": arms, "held": held})
    for arm in arms:
        print(f"{arm['agent']:4} k={arm['k']}: gap {arm['gap']:.4f} [{arm['low']:.4f}, {arm['high']:.4f}]")
    print(json.dumps(held, indent=1))
    print(f"written: {path}")
    raise SystemExit(not all(held.values()))


if __name__ == "__main__":
    main()
