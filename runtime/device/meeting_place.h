// Where the ranks of a node of another lane than compute meet (comm/emulated/meetings.h).
#pragma once

#include "comm/emulated/meetings.h"
#include "kernels/kernel.h"
#include "ops/pipeline.h"

namespace trine {

inline Meetings::Place meeting_place(const Meetings& meetings, const KernelRequest& request) {
  if (const auto* const send = dynamic_cast<const SendState*>(&request.op))
    return meetings.place_of_state(send->to_rank, /*sends=*/true);
  if (const auto* const receive = dynamic_cast<const ReceiveState*>(&request.op))
    return meetings.place_of_state(receive->from_rank, /*sends=*/false);
  return meetings.place_of(request.lane);
}

}  // namespace trine
