// How long messages between devices take, tried with known numbers before training.
#pragma once

#include <vector>

#include "comm/device_group.h"
#include "plan/step_work.h"
#include "runtime/device/backend.h"
#include "runtime/device/link_choice.h"

namespace trine {

// The kinds of communication of a step, as any rank has them at most, so that all ranks try the same. `own`: of
// this rank. Collective.
std::vector<RunMessage> messages_of(const StepWork& own, CommWorld& world);

// Times messages over the ranks' devices: from device to device by `device`, or, where that is null, staged through
// the host's memory in pieces, as the kernels do it (kernels/cuda/collective.cpp). More than 32 MiB count by their
// size. The slowest rank counts, and one rank's wrong data is all ranks'. What does not end within
// `timeout` (0: none) is aborted: HangError. Collective; what is passed outlives the timer,
// and nobody else uses it meanwhile.
MessageTimer message_timer(Backend& backend, CommWorld& world, DeviceWorld* device,
                           std::chrono::milliseconds timeout);

}  // namespace trine
