// A device that takes as long as a modelled one would, and computes nothing: the real runtime, with its threads,
// queues, messages and time-outs, on hardware that is not there. Its memory is reserved and never touched: a touch
// is a bug that shows. What the host reads from it is what the host wrote there, and zeros elsewhere.
#pragma once

#include <memory>

#include "base/modelled_device.h"
#include "comm/device_group.h"
#include "comm/world.h"
#include "runtime/device/backend.h"

namespace trine {

// Its kind is CUDA, for whose kernels the plan is made. OutOfMemoryError of allocate() beyond the device's memory.
std::unique_ptr<Backend> make_rehearsal_backend(ModelledDevice device);

// Devices that meet: a collective begins when the last rank of its group is ready, takes the modelled time, and all
// leave together; so does a message with its two ends. Collective: before the first step, on all ranks of one host.
// ConfigError if they are on several. PeerLostError out of a step if a rank has ended its world, which must not
// outlive `backend`: one of make_rehearsal_backend().
std::unique_ptr<DeviceWorld> make_rehearsal_world(CommWorld& world, Backend& backend);

}  // namespace trine
