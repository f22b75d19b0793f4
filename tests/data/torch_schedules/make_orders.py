"""Writes orders.txt: in which order PyTorch's pipeline schedules run their actions, to compare Trine's with.

    python3 make_orders.py > orders.txt        (written with torch 2.15.0)

Each line: kind pp vpp microbatches rank : actions. Interleaved and zero-bubble orders are the schedule's own calculation;
1F1B's, which PyTorch does not calculate ahead, are the calls that its step makes on a stand-in for the stage.
"""

from types import SimpleNamespace
from unittest import mock

from torch.distributed.pipelining import schedules as pipelining


def one_forward_one_backward(pp, vpp, microbatches, rank):
    order = []
    stage = mock.MagicMock(stage_index=rank)
    stage.forward_one_chunk.side_effect = lambda m, *args, **kwargs: order.append(f"{rank}F{m}")
    stage.backward_one_chunk.side_effect = lambda m, *args, **kwargs: order.append(f"{rank}B{m}")
    schedule = mock.MagicMock(_stage=stage, _num_stages=pp, _n_microbatches=microbatches)
    schedule._check_inputs.return_value = ([()] * microbatches, [{}] * microbatches)
    messages = ("_batch_p2p", "_wait_batch_p2p", "_wait_and_release_fwd_send")
    with mock.patch.multiple(pipelining, **{name: mock.DEFAULT for name in messages}):
        pipelining.Schedule1F1B._step_microbatches(schedule)
    return order


def calculated(kind):
    def order(pp, vpp, microbatches, rank):
        rounds = max(1, microbatches // pp)
        schedule = SimpleNamespace(n_local_stages=vpp, pp_group_size=pp, _n_microbatches=microbatches,
                                   number_of_rounds=rounds, microbatches_per_round=microbatches // rounds)
        actions = kind._calculate_single_rank_operations(schedule, rank)
        return [str(action) for action in actions if action is not None]
    return order


CASES = (
    ("1f1b", one_forward_one_backward, [(4, 1, 8), (4, 1, 4), (3, 1, 7)]),
    ("interleaved", calculated(pipelining.ScheduleInterleaved1F1B),
     [(4, 2, 8), (4, 2, 10), (4, 3, 3), (2, 4, 6), (3, 1, 6)]),
    ("zero-bubble", calculated(pipelining.ScheduleInterleavedZeroBubble), [(4, 1, 8), (3, 1, 2)]),
)

for name, order, layouts in CASES:
    for pp, vpp, microbatches in layouts:
        for rank in range(pp):
            print(name, pp, vpp, microbatches, rank, ":", *order(pp, vpp, microbatches, rank))
