"""Planning: from a world model and a goal to actions.

What is wanted, as named costs over imagined futures. Each is about 1 when nothing was gained, so weights compare:

    goal = model.encode(goal_frames)[:, -1]                           # [B, D]: a goal image; see `costs` for others
    objective = Objective({
        "goal": Term(LatentDistance(goal, latent_scale(latents_of_data), over=summed)),
        "lake": Term(Forbidden(position, ball([3.0, 0.0], radius=1.0)), weight=10),
        "effort": Term(ActionSize(bounds), weight=0.01),
    })

Is the distance worth planning with? A second now saves hours:

    print(usability(episode_pairs(latents_of_episodes, rng)).verdict)

Plan, act, shift, plan again. Any solver fits, and 50 ms is a budget, not a hope:

    controller = Controller(model, ICEM(), bounds, horizon=20, rng=rng, seconds=0.05)
    for _ in range(30):
        actions = controller.act(latents, past, objective)            # [B, execute * block, A]
        latents, past = observe(actions)

Why this plan, and can the goal be reached at all?

    plan = controller.plan
    imagined = imagine(model, Situation(latents, past), plan.actions.unsqueeze(1))
    print({name: cost.item() for name, cost in objective.terms(imagined, plan.actions.unsqueeze(1)).items()})
    print(calibrate(costs_of_reachable_goals, false_alarm_rate=0.05).sentence(plan.cost.item()))

Read `solver` first (one signature, what all solvers share), then `cem`, `objective`, `horizon`.
"""

from craik.plan.bounds import Bounds as Bounds
from craik.plan.bounds import Box as Box
from craik.plan.bounds import Discrete as Discrete
from craik.plan.categorical import CategoricalCEM as CategoricalCEM
from craik.plan.cem import CEM as CEM
from craik.plan.costs import ActionSize as ActionSize
from craik.plan.costs import CriticCost as CriticCost
from craik.plan.costs import Forbidden as Forbidden
from craik.plan.costs import LatentDistance as LatentDistance
from craik.plan.costs import ReadoutCost as ReadoutCost
from craik.plan.costs import ReadoutDistance as ReadoutDistance
from craik.plan.costs import Within as Within
from craik.plan.costs import latent_scale as latent_scale
from craik.plan.detour import Detour as Detour
from craik.plan.end_effector import EndEffector as EndEffector
from craik.plan.gradient import Gradient as Gradient
from craik.plan.held import Held as Held
from craik.plan.hierarchy import HierarchicalController as HierarchicalController
from craik.plan.hierarchy import Pathfinder as Pathfinder
from craik.plan.hierarchy import SlowModel as SlowModel
from craik.plan.horizon import Controller as Controller
from craik.plan.icem import ICEM as ICEM
from craik.plan.imagine import Futures as Futures
from craik.plan.imagine import Situation as Situation
from craik.plan.imagine import evaluator as evaluator
from craik.plan.imagine import imagine as imagine
from craik.plan.mppi import MPPI as MPPI
from craik.plan.objective import Objective as Objective
from craik.plan.objective import Term as Term
from craik.plan.objective import summed as summed
from craik.plan.objective import terminal as terminal
from craik.plan.objective import worst_step as worst_step
from craik.plan.reach import Reachability as Reachability
from craik.plan.reach import calibrate as calibrate
from craik.plan.region import ball as ball
from craik.plan.region import outside as outside
from craik.plan.region import rectangle as rectangle
from craik.plan.shooting import RandomShooting as RandomShooting
from craik.plan.solver import Plan as Plan
from craik.plan.solver import Solver as Solver
from craik.plan.usable import Pairs as Pairs
from craik.plan.usable import Usability as Usability
from craik.plan.usable import episode_pairs as episode_pairs
from craik.plan.usable import usability as usability
