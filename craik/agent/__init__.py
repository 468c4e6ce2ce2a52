"""The agent of LeCun 2022: six modules, one file each, and the loop that joins them.

What it knows: a world model, recorded episodes as latents and actions, and a critic that learned from them how many
steps lie between two states:

    critic = fit_critic(experiences, model, rng)
    print(critic.report)                                        # off by how much, beside squared latent distance

What it is made of. Guard rails are part of its nature: no task can lower them, nothing can change them:

    agent = Agent(
        perception=Perception(model, prepare=to_frames, history=1),
        world_model=WorldModel(model, calibrate_surprise(model, held_out)),
        cost=CostModule(IntrinsicCost({"lake": Term(Forbidden(position, lake), weight=10)}), scale, critic.network),
        memory=Memory(capacity=50_000),
        actor=Actor(bounds, policy_for(latents, bounds, rng), rng),
    )

What it is to do, and all that a control loop needs:

    for goal in goals:                                          # what it looks like there, one for each environment
        task = TaskSpec(goal, horizon=8, seconds=0.1)
        agent.begin(task)                                       # what earlier episodes taught is distilled here
        for _ in range(10):
            observation = env.step(agent.act(observation))

It says what it did and why, and asks for help where it should:

    print(agent.last.reasons)                                   # for each environment: reacts, or why it thinks
    print(agent.report)                                         # share of Mode-1, seconds per decision

    starts, goals = held_out_pairs()                            # known to be reachable
    agent.reachability = calibrate_reach(agent, task, starts, goals, false_alarm_rate=0.1)
    agent.begin(task)
    agent.act(observation)
    print(agent.answers)                                        # "Cannot reach this goal: ...", or no sign of it

What it lived through makes a better critic, which takes the place of the old one:

    agent.cost.critic = fit_critic(agent.memory.experiences(), model, rng).network

`craik act` and `craik.act_run.open_agent` put all this together for a trained run.

Read `agent.py` first: Mode-2 plans, stores, and is distilled into Mode-1; Mode-1 acts alone while surprise stays within
its calibrated band and what it foresees is better than any place so far.
"""

from craik.agent.actor import Actor as Actor
from craik.agent.actor import policy_for as policy_for
from craik.agent.agent import Agent as Agent
from craik.agent.agent import calibrate_reach as calibrate_reach
from craik.agent.configurator import TaskSpec as TaskSpec
from craik.agent.cost import CostModule as CostModule
from craik.agent.cost import IntrinsicCost as IntrinsicCost
from craik.agent.critic import CriticReport as CriticReport
from craik.agent.critic import CriticTraining as CriticTraining
from craik.agent.critic import fit_critic as fit_critic
from craik.agent.experience import Experience as Experience
from craik.agent.memory import Memory as Memory
from craik.agent.perception import Perception as Perception
from craik.agent.report import Report as Report
from craik.agent.world_model import Band as Band
from craik.agent.world_model import WorldModel as WorldModel
from craik.agent.world_model import calibrate_surprise as calibrate_surprise
