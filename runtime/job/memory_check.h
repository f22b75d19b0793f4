// Whether a plan fits the memory of GPUs and hosts, asked before anything is allocated,
// so that no process is killed halfway.
#pragma once

#include <cstdint>
#include <string>

#include "comm/communicator.h"
#include "plan/plan.h"
#include "runtime/device/backend.h"

namespace trine {

// What all ranks of a host, and of a GPU, need together is compared with what can be had there: `available_bytes`
// on this host (runtime/device/process_memory.h). Collective over `world` (nullptr: this rank is alone). Error with
// ExitCode::kOutOfMemory, on all ranks.
void check_memory(const Plan& plan, Coordinate at, const Backend& backend, Communicator* world,
                  int64_t available_bytes);

// With the rank's table. `reason`: "only 3.1 GiB can be had here".
OutOfMemoryError out_of_memory(const Plan& plan, Coordinate at, const std::string& reason);

}  // namespace trine
