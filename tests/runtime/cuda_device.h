// The machine's GPU, for tests that need one: the others are reported as skipped, "no GPU".
#pragma once

#include "base/error.h"
#include "runtime/device/backend.h"

namespace trine {

inline bool has_gpu() {
  try {
    return find_cuda_devices() > 0;
  } catch (const ConfigError&) {
    return false;
  }
}

}  // namespace trine
